//! [`Meter`]: the calls of this crate, and the tasks that measure beside them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pinpod_cgroup::{CgroupPath, Hierarchy};
use pinpod_image::Images;
use pinpod_model::CgroupDriver;
use pinpod_pod::{ContainerSnapshot, Engine, PodSnapshot};
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

use crate::cpu_rate::Rates;
use crate::layers::Layers;
use crate::pod::{self, OwnCgroups};
use crate::read::{Sources, began};
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
    layers_root: PathBuf,
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
            layers_root: images.root().to_owned(),
        });
        let measuring = Arc::clone(&shared);
        let layers = tokio::spawn(async move {
            let layers = &measuring.sources.layers;
            layers.measure(&measuring.engine, &images).await;
        });
        let samples = tokio::spawn(sample(Arc::clone(&shared)));
        let tasks = vec![layers.abort_handle(), samples.abort_handle()];
        Self {
            shared,
            _tasks: Arc::new(Tasks(tasks)),
        }
    }

    /// What these containers use, in their order.
    pub async fn containers(&self, wanted: Vec<Arc<ContainerSnapshot>>) -> Vec<ContainerUsage> {
        self.blocking(move |shared| {
            let wanted = wanted.iter();
            wanted
                .map(|container| shared.sources.container(container))
                .collect()
        })
        .await
    }

    /// What these pods use, in their order.
    pub async fn pods(&self, wanted: Vec<Arc<PodSnapshot>>) -> Vec<PodUsage> {
        self.blocking(move |shared| pod::read(&shared.sources, &shared.own_cgroups(), &wanted))
            .await
    }

    /// Directory that the writable layers lie in, for the identifier of their file system.
    #[must_use]
    pub fn layers_root(&self) -> &Path {
        &self.shared.layers_root
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

/// Samples CPU time for ever.
async fn sample(shared: Arc<Shared>) {
    let mut turns = tokio::time::interval(SAMPLE_PERIOD);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        blocking(&shared, Shared::sample).await;
    }
}

impl Shared {
    fn own_cgroups(&self) -> OwnCgroups {
        OwnCgroups::new(self.cgroup_driver, &self.engine.pods())
    }

    fn sample(&self) {
        let own = self.own_cgroups();
        let mut there: HashSet<CgroupPath> = HashSet::new();
        for pod in self.engine.pods() {
            if let Some(path) = own.of(&pod) {
                self.sources.sample(&path, pod.created_at);
                there.insert(path);
            }
            for container in &pod.containers {
                if let Some(began) = began(container) {
                    self.sources.sample(&container.cgroup, began);
                    there.insert(container.cgroup.clone());
                }
            }
        }
        self.sources.rates.keep(&there);
    }
}
