//! What was read ahead of the calls, where the configuration asks for that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pinpod_model::{ContainerId, PodId};
use pinpod_pod::{ContainerSnapshot, PodSnapshot};

use crate::metrics::PodMetrics;
use crate::read::began;
use crate::usage::{ContainerUsage, PodUsage};

/// The last collection. The lock is held to exchange a pointer only.
#[derive(Debug, Default)]
pub(crate) struct Collected(Mutex<Arc<Collection>>);

/// Everything that was read in one turn; nothing before the first.
#[derive(Debug, Default)]
pub(crate) struct Collection {
    pods: HashMap<PodId, PodUsage>,
    /// Where a container's usage is among that of its pod.
    containers: HashMap<ContainerId, (PodId, usize)>,
    metrics: Option<Vec<PodMetrics>>,
}

impl Collected {
    pub(crate) fn put(&self, usages: Vec<PodUsage>, metrics: Vec<PodMetrics>) {
        let mut collection = Collection {
            metrics: Some(metrics),
            ..Collection::default()
        };
        for usage in usages {
            let id = usage.pod.id.clone();
            for (index, container) in usage.containers.iter().enumerate() {
                let key = container.container.id.clone();
                collection.containers.insert(key, (id.clone(), index));
            }
            collection.pods.insert(id, usage);
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(collection);
    }

    pub(crate) fn get(&self) -> Arc<Collection> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Collection {
    /// What is known of a container, unless it was started or has ended since.
    pub(crate) fn container(&self, container: &ContainerSnapshot) -> Option<&ContainerUsage> {
        let (pod, index) = self.containers.get(&container.id)?;
        let usage = self.pods.get(pod)?.containers.get(*index)?;
        let is_same = began(container).is_some() == usage.stats.is_some();
        is_same.then_some(usage)
    }

    /// What is known of a pod, unless its containers are others now.
    pub(crate) fn pod(&self, pod: &PodSnapshot) -> Option<&PodUsage> {
        let usage = self.pods.get(&pod.id)?;
        let is_same = usage.pod.state == pod.state
            && usage.containers.len() == pod.containers.len()
            && pod
                .containers
                .iter()
                .all(|container| self.container(container).is_some());
        is_same.then_some(usage)
    }

    pub(crate) fn metrics(&self) -> Option<&[PodMetrics]> {
        self.metrics.as_deref()
    }
}
