//! Pods: by a cgroup of their own where they have one, else by their containers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use pinpod_cgroup::{CgroupPath, CpuStats, MemoryStats, Stats, driver};
use pinpod_model::CgroupDriver;
use pinpod_pod::{PodSnapshot, PodState};

use crate::network;
use crate::read::{Sources, now, told};
use crate::usage::{ContainerUsage, PodUsage};

/// Which pods have a cgroup of their own. The kubelet makes one for each pod and names it as
/// `cgroup_parent`; where it makes none, all pods name the same or none.
#[derive(Debug)]
pub(crate) struct OwnCgroups {
    driver: CgroupDriver,
    shared: HashSet<String>,
}

impl OwnCgroups {
    /// From all pods of the node.
    pub(crate) fn new(driver: CgroupDriver, pods: &[Arc<PodSnapshot>]) -> Self {
        let mut users: HashMap<&str, &str> = HashMap::new();
        let mut shared = HashSet::new();
        for pod in pods {
            let parent = pod.config.cgroup_parent.as_str();
            // A new sandbox of the same pod is in the same cgroup.
            let uid = pod.config.metadata.uid.as_str();
            if *users.entry(parent).or_insert(uid) != uid {
                shared.insert(parent.to_owned());
            }
        }
        Self { driver, shared }
    }

    /// The cgroup that holds this pod and nothing else.
    pub(crate) fn of(&self, pod: &PodSnapshot) -> Option<CgroupPath> {
        let parent = pod.config.cgroup_parent.as_str();
        if parent.is_empty() || pod.state != PodState::Ready || self.shared.contains(parent) {
            return None;
        }
        let path = driver::pod_cgroup(self.driver, parent).ok()?;
        (!path.is_root()).then_some(path)
    }
}

/// Reads pods. Blocking, for some tens of microseconds a container.
pub(crate) fn read(
    sources: &Sources,
    own: &OwnCgroups,
    pods: &[Arc<PodSnapshot>],
) -> Vec<PodUsage> {
    let with_network: Vec<_> = pods
        .iter()
        .filter(|pod| pod.state == PodState::Ready)
        .filter_map(|pod| Some((&pod.id, pod.namespaces.net.as_deref()?)))
        .collect();
    let files: Vec<_> = with_network.iter().map(|(_, file)| *file).collect();
    let ids = with_network.iter().map(|(id, _)| *id);
    let mut networks: HashMap<_, _> = ids.zip(network::read(&files)).collect();
    let usages = pods.iter().map(|pod| {
        let mut usage = one(sources, own, pod);
        usage.network = networks.remove(&pod.id).flatten();
        usage
    });
    usages.collect()
}

fn one(sources: &Sources, own: &OwnCgroups, pod: &Arc<PodSnapshot>) -> PodUsage {
    let containers = pod.containers.iter();
    let containers: Vec<_> = containers
        .map(|container| sources.container(container))
        .collect();
    let mut usage = PodUsage {
        pod: Arc::clone(pod),
        read_at: now(),
        stats: sum(&containers),
        cpu_rate: sum_of(&containers, |container| container.cpu_rate),
        tasks: None,
        network: None,
        containers,
    };
    let count = |path: &CgroupPath| told(path, sources.cgroups.task_count(path)).flatten();
    if let Some(path) = own.of(pod)
        && let (Some(stats), cpu_rate) = sources.cgroup(&path, pod.created_at)
    {
        usage.stats = stats;
        usage.cpu_rate = cpu_rate;
        usage.tasks = count(&path);
    } else {
        usage.tasks = sum_of(&usage.containers, |container| {
            container.stats?;
            count(&container.container.cgroup)
        });
    }
    usage
}

/// The sum of what is there; `None` if nothing is.
fn sum_of(
    containers: &[ContainerUsage],
    part: impl Fn(&ContainerUsage) -> Option<u64>,
) -> Option<u64> {
    containers
        .iter()
        .filter_map(part)
        .reduce(u64::saturating_add)
}

/// What the containers use together. Stalls of several do not add up, and what is left of a limit
/// is known only where each has one.
fn sum(containers: &[ContainerUsage]) -> Stats {
    let cpus = containers.iter().filter_map(|known| known.stats?.cpu);
    let cpus = cpus.map(|cpu| CpuStats {
        pressure: None,
        ..cpu
    });
    let memories = containers.iter().filter_map(|known| known.stats?.memory);
    let memories = memories.map(|memory| MemoryStats {
        pressure: None,
        ..memory
    });
    Stats {
        cpu: cpus.reduce(|a, b| CpuStats {
            usage_ns: a.usage_ns.saturating_add(b.usage_ns),
            pressure: None,
        }),
        memory: memories.reduce(add_memory),
        io_pressure: None,
    }
}

fn add_memory(a: MemoryStats, b: MemoryStats) -> MemoryStats {
    let both = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
    let any = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (one, other) => one.or(other),
    };
    MemoryStats {
        usage: a.usage.saturating_add(b.usage),
        limit: both(a.limit, b.limit),
        working_set: a.working_set.saturating_add(b.working_set),
        available: both(a.available, b.available),
        rss: a.rss.saturating_add(b.rss),
        page_faults: a.page_faults.saturating_add(b.page_faults),
        major_page_faults: a.major_page_faults.saturating_add(b.major_page_faults),
        swap_usage: any(a.swap_usage, b.swap_usage),
        swap_available: both(a.swap_available, b.swap_available),
        pressure: None,
    }
}
