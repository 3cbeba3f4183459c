//! [`Meter`]: the calls of this crate, and the tasks that measure beside them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pinpod_cgroup::{CgroupPath, Hierarchy};
use pinpod_image::Images;
use pinpod_model::CgroupDriver;
use pinpod_pod::{ContainerSnapshot, Engine, PodSnapshot, UnixNanos};
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

use crate::collected::Collected;
use crate::cpu_rate::Rates;
use crate::layers::Layers;
use crate::metrics::{self, Collector, Descriptor, Device, MetricGroup, PodMetrics};
use crate::pod::{self, OwnCgroups};
use crate::read::{Sources, began, now};
use crate::usage::{ContainerUsage, PodUsage};

/// How often CPU time is looked at when nobody asks, so that a rate is of the last seconds.
const SAMPLE_PERIOD: Duration = Duration::from_secs(10);

/// What a meter stands on.
#[derive(Debug)]
pub struct Parts {
    /// Whose pods and containers are measured.
    pub engine: Engine,
    /// Whose writable layers are.
    pub images: Images,
    /// Control groups of this node.
    pub cgroups: Hierarchy,
    /// Form of the cgroups that pods name.
    pub cgroup_driver: CgroupDriver,
    /// What the configuration says.
    pub settings: Settings,
}

/// What the configuration says of statistics.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// How often everything is read ahead of the calls that ask for it; zero means never, each call
    /// reads for itself.
    pub collection_period: Duration,
    /// Metrics that there are.
    pub metrics: Vec<MetricGroup>,
}

/// Reads what pods and containers use. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Meter {
    shared: Arc<Shared>,
    _tasks: Arc<Tasks>,
}

#[derive(Debug)]
struct Shared {
    engine: Engine,
    cgroup_driver: CgroupDriver,
    sources: Sources,
    groups: Vec<MetricGroup>,
    device: Device,
    collected: Collected,
}

/// End with the last clone of the meter.
#[derive(Debug)]
struct Tasks(Vec<AbortHandle>);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl Meter {
    /// Begins to measure writable layers and CPU rates in the background; within a tokio runtime.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let images = parts.images;
        let shared = Arc::new(Shared {
            engine: parts.engine,
            cgroup_driver: parts.cgroup_driver,
            sources: Sources {
                cgroups: parts.cgroups,
                rates: Rates::new(),
                layers: Layers::default(),
            },
            groups: parts.settings.metrics,
            device: Device::of(images.root()),
            collected: Collected::default(),
        });
        let measuring = Arc::clone(&shared);
        let layers = tokio::spawn(async move {
            let layers = &measuring.sources.layers;
            layers.measure(&measuring.engine, &images).await;
        });
        let period = parts.settings.collection_period;
        let samples = if period.is_zero() {
            tokio::spawn(every(SAMPLE_PERIOD, Arc::clone(&shared), Shared::sample))
        } else {
            tokio::spawn(every(period, Arc::clone(&shared), Shared::collect))
        };
        let tasks = vec![layers.abort_handle(), samples.abort_handle()];
        Self {
            shared,
            _tasks: Arc::new(Tasks(tasks)),
        }
    }

    /// What these containers use, in their order.
    pub async fn containers(&self, wanted: Vec<Arc<ContainerSnapshot>>) -> Vec<ContainerUsage> {
        self.blocking(move |shared| {
            let known = shared.collected.get();
            let wanted = wanted.iter();
            let usage = |container: &Arc<ContainerSnapshot>| match known.container(container) {
                Some(usage) => usage.clone(),
                None => shared.sources.container(container),
            };
            wanted.map(usage).collect()
        })
        .await
    }

    /// What these pods use, in their order.
    pub async fn pods(&self, wanted: Vec<Arc<PodSnapshot>>) -> Vec<PodUsage> {
        self.blocking(move |shared| {
            let known = shared.collected.get();
            let mut unknown = wanted.clone();
            unknown.retain(|pod| known.pod(pod).is_none());
            let read = pod::read(&shared.sources, &shared.own_cgroups(), &unknown);
            let mut read = read.into_iter();
            let usage = |pod: &Arc<PodSnapshot>| known.pod(pod).cloned().or_else(|| read.next());
            wanted.iter().filter_map(usage).collect()
        })
        .await
    }

    /// The metrics of all pods and containers.
    pub async fn metrics(&self) -> Vec<PodMetrics> {
        self.blocking(|shared| match shared.collected.get().metrics() {
            Some(metrics) => metrics.to_vec(),
            None => shared.read_metrics(None).1,
        })
        .await
    }

    /// The metrics that there are.
    #[must_use]
    pub fn descriptors(&self) -> Vec<Descriptor> {
        metrics::descriptors(&self.shared.groups)
    }

    /// Directory that the writable layers lie in, for the identifier of their file system.
    #[must_use]
    pub fn layers_root(&self) -> &Path {
        &self.shared.device.mountpoint
    }

    async fn blocking<T: Send + Default + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> T {
        blocking(&self.shared, work).await
    }
}

/// Runs reading off the runtime's threads. Nothing is read any more when the runtime ends.
async fn blocking<T: Send + Default + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce(&Shared) -> T + Send + 'static,
) -> T {
    let shared = Arc::clone(shared);
    let done = tokio::task::spawn_blocking(move || work(&shared)).await;
    done.inspect_err(|error| tracing::error!(%error, "reading statistics was cut off"))
        .unwrap_or_default()
}

/// Does this work for ever, at once and then each period.
async fn every(period: Duration, shared: Arc<Shared>, work: fn(&Shared)) {
    let mut turns = tokio::time::interval(period);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        blocking(&shared, work).await;
    }
}

impl Shared {
    fn own_cgroups(&self) -> OwnCgroups {
        OwnCgroups::new(self.cgroup_driver, &self.engine.pods())
    }

    /// Reads all pods and makes metrics of it.
    fn read_metrics(&self, collected_at: Option<UnixNanos>) -> (Vec<PodUsage>, Vec<PodMetrics>) {
        let pods = self.engine.pods();
        let own = OwnCgroups::new(self.cgroup_driver, &pods);
        let usages = pod::read(&self.sources, &own, &pods);
        let collector = Collector {
            sources: &self.sources,
            own: &own,
            groups: &self.groups,
            device: &self.device,
        };
        let metrics = collector.pods(&usages, collected_at);
        (usages, metrics)
    }

    /// Reads everything ahead of the calls.
    fn collect(&self) {
        let (usages, metrics) = self.read_metrics(Some(now()));
        self.collected.put(usages, metrics);
        self.forget();
    }

    /// Samples the CPU time of everything.
    fn sample(&self) {
        for (path, began) in self.running() {
            self.sources.sample(&path, began);
        }
        self.forget();
    }

    /// Forgets samples of what is not there any more.
    fn forget(&self) {
        let there = self.running().into_iter().map(|(path, _)| path);
        self.sources.rates.keep(&there.collect());
    }

    /// The cgroups that are there, and since when.
    fn running(&self) -> Vec<(CgroupPath, UnixNanos)> {
        let pods = self.engine.pods();
        let own = OwnCgroups::new(self.cgroup_driver, &pods);
        let mut running = Vec::new();
        for pod in &pods {
            running.extend(own.of(pod).map(|path| (path, pod.created_at)));
            let containers = pod.containers.iter();
            running.extend(
                containers
                    .filter_map(|container| Some((container.cgroup.clone(), began(container)?))),
            );
        }
        running
    }
}
