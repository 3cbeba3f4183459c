//! The values of metrics.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pinpod_cgroup::{CgroupPath, Stats};
use pinpod_kernel::mountinfo;
use pinpod_pod::{ContainerPhase, UnixNanos};

use super::families as f;
use super::values::{self, BlockDevices, Sink};
use super::{Metric, MetricGroup, PodMetrics};
use crate::pod::OwnCgroups;
use crate::read::{Sources, now, told};
use crate::usage::{ContainerUsage, PodUsage};

/// The file system of writable layers.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) mountpoint: PathBuf,
}

impl Device {
    /// What is mounted where `path` lies.
    pub(crate) fn of(path: &Path) -> Self {
        let mounts = mountinfo::read().unwrap_or_default();
        let here = mounts
            .iter()
            .filter(|mount| path.starts_with(&mount.mount_point));
        let nearest = here.max_by_key(|mount| mount.mount_point.as_os_str().len());
        Self {
            name: nearest.map_or_else(String::new, |mount| {
                mount.source.to_string_lossy().into_owned()
            }),
            mountpoint: path.to_owned(),
        }
    }
}

/// Turns what pods use into metrics.
#[derive(Debug)]
pub(crate) struct Collector<'a> {
    pub(crate) sources: &'a Sources,
    pub(crate) own: &'a OwnCgroups,
    pub(crate) groups: &'a [MetricGroup],
    pub(crate) device: &'a Device,
}

impl Collector<'_> {
    /// The metrics of pods. Blocking.
    pub(crate) fn pods(
        &self,
        usages: &[PodUsage],
        collected_at: Option<UnixNanos>,
    ) -> Vec<PodMetrics> {
        let mut names = BlockDevices::default();
        let usages = usages.iter();
        usages
            .map(|usage| self.pod(usage, collected_at, &mut names))
            .collect()
    }

    fn pod(
        &self,
        usage: &PodUsage,
        collected_at: Option<UnixNanos>,
        names: &mut BlockDevices,
    ) -> PodMetrics {
        let own = self.own.of(&usage.pod);
        let mut metrics = Vec::new();
        if let Some(path) = &own {
            let mut sink = self.pod_sink(usage, path.as_str(), "");
            sink.put(&f::LAST_SEEN, &[], values::seconds(now()));
            sink.put(&f::START_TIME, &[], values::seconds(usage.pod.created_at));
            let quota = usage
                .pod
                .config
                .resources
                .as_ref()
                .is_some_and(values::has_quota);
            self.cgroup(&mut sink, path, &usage.stats, quota, names);
            metrics.append(&mut sink.metrics);
        }
        if let Some(network) = &usage.network {
            let id = own.as_ref().map_or("", CgroupPath::as_str);
            let mut sink = self.pod_sink(usage, id, "POD");
            values::network(&mut sink, network);
            metrics.append(&mut sink.metrics);
        }
        let containers = usage.containers.iter();
        let running = containers.filter(|container| container.stats.is_some());
        let containers = running.map(|container| {
            let metrics = self.container(usage, container, names);
            (Arc::clone(&container.container), metrics)
        });
        PodMetrics {
            collected_at,
            metrics,
            containers: containers.collect(),
            pod: Arc::clone(&usage.pod),
        }
    }

    /// Labels of a pod's own metrics. With other runtimes, its network is that of a container
    /// called "POD", and its cgroup has no container.
    fn pod_sink(&self, usage: &PodUsage, id: &str, container: &str) -> Sink<'_> {
        let metadata = &usage.pod.config.metadata;
        let name = if container.is_empty() {
            ""
        } else {
            usage.pod.id.as_str()
        };
        let labels = [id, name, "", &metadata.name, &metadata.namespace, container];
        Sink::new(self.groups, labels)
    }

    fn container(
        &self,
        pod: &PodUsage,
        usage: &ContainerUsage,
        names: &mut BlockDevices,
    ) -> Vec<Metric> {
        let container = &usage.container;
        let config = &container.config;
        let metadata = &pod.pod.config.metadata;
        let image = match config.image.user_specified.as_str() {
            "" => config.image.image.as_str(),
            written => written,
        };
        let mut sink = Sink::new(
            self.groups,
            [
                container.cgroup.as_str(),
                container.id.as_str(),
                image,
                &metadata.name,
                &metadata.namespace,
                &config.metadata.name,
            ],
        );
        sink.put(&f::LAST_SEEN, &[], values::seconds(now()));
        let started_at = match container.phase {
            ContainerPhase::Running { started_at, .. } => started_at,
            _ => container.created_at,
        };
        sink.put(&f::START_TIME, &[], values::seconds(started_at));
        values::spec(&mut sink, &config.resources);
        let stats = usage.stats.unwrap_or_default();
        let quota = values::has_quota(&config.resources);
        self.cgroup(&mut sink, &container.cgroup, &stats, quota, names);
        self.processes(&mut sink, usage);
        values::disk(&mut sink, self.device, usage.layer);
        sink.metrics
    }

    fn cgroup(
        &self,
        sink: &mut Sink<'_>,
        path: &CgroupPath,
        stats: &Stats,
        has_quota: bool,
        names: &mut BlockDevices,
    ) {
        let details = told(path, self.sources.cgroups.details(path)).unwrap_or_default();
        values::cgroup(sink, stats, &details, has_quota, names);
    }

    fn processes(&self, sink: &mut Sink<'_>, usage: &ContainerUsage) {
        let path = &usage.container.cgroup;
        if sink.wants(MetricGroup::Process)
            && let Some(pids) = told(path, self.sources.cgroups.procs(path))
        {
            let init = usage.container.phase.process();
            values::processes(sink, &pids, init.map(|process| process.pid));
        }
    }
}
