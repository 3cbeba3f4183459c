//! Metrics of pods and containers under the names that cAdvisor gave them, so that the kubelet's
//! `/metrics/cadvisor` has the same from here.
//!
//! Every metric has the labels `id` (cgroup), `name` (identifier), `image`, `pod`, `namespace` and
//! `container`, then those of its own. A value is a whole number, as CRI has it: seconds have no
//! fractions.

mod collect;
mod families;
mod group;
mod processes;
mod values;

use std::sync::Arc;

use pinpod_pod::{ContainerSnapshot, PodSnapshot, UnixNanos};

pub(crate) use collect::{Collector, Device};
pub use group::MetricGroup;

/// Labels that every metric has, in the order of their values.
pub(crate) const BASE_LABELS: [&str; 6] = ["id", "name", "image", "pod", "namespace", "container"];

/// Whether a metric only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// It does, as long as the container lives.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// Everything that is the same for all values of one name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Family {
    pub(crate) group: MetricGroup,
    pub(crate) kind: MetricKind,
    pub(crate) name: &'static str,
    pub(crate) labels: &'static [&'static str],
    pub(crate) help: &'static str,
}

/// What a metric is called and means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Its name.
    pub name: &'static str,
    /// Its meaning.
    pub help: &'static str,
    /// Names of its labels, in the order of their values.
    pub labels: Vec<&'static str>,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// Name, as in its [`Descriptor`].
    pub name: &'static str,
    /// Whether it only grows.
    pub kind: MetricKind,
    /// One for each label.
    pub labels: Vec<Arc<str>>,
    /// The value, in the unit of the name.
    pub value: u64,
}

/// The metrics of a pod and of its containers that have not ended.
#[derive(Debug, Clone)]
pub struct PodMetrics {
    /// The pod.
    pub pod: Arc<PodSnapshot>,
    /// When they were collected ahead of the call that asks for them; `None` when for it.
    pub collected_at: Option<UnixNanos>,
    /// Its network and its own cgroup.
    pub metrics: Vec<Metric>,
    /// Each container's.
    pub containers: Vec<(Arc<ContainerSnapshot>, Vec<Metric>)>,
}

/// What is known of the metrics of these groups.
pub(crate) fn descriptors(groups: &[MetricGroup]) -> Vec<Descriptor> {
    families::ALL
        .iter()
        .filter(|family| family.group.is_among(groups))
        .map(|family| Descriptor {
            name: family.name,
            help: family.help,
            labels: BASE_LABELS.iter().chain(family.labels).copied().collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
