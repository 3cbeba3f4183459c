//! Containers, by their cgroups.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pinpod_cgroup::{CgroupError, CgroupPath, Hierarchy, Stats};
use pinpod_pod::{ContainerPhase, ContainerSnapshot, UnixNanos};

use crate::cpu_rate::{Rates, Sample};
use crate::layers::Layers;
use crate::usage::ContainerUsage;

/// Nanoseconds since 1970.
pub(crate) fn now() -> UnixNanos {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// How long ago that was.
pub(crate) fn age(since: UnixNanos) -> Duration {
    let nanoseconds = now().saturating_sub(since);
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default())
}

/// What reading a cgroup needs.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) cgroups: Hierarchy,
    pub(crate) rates: Rates<CgroupPath>,
    pub(crate) layers: Layers,
}

impl Sources {
    /// Reads one container. Blocking, for some tens of microseconds.
    pub(crate) fn container(&self, container: &Arc<ContainerSnapshot>) -> ContainerUsage {
        let read_at = now();
        let (stats, cpu_rate) = match began(container) {
            Some(began) => self.cgroup(&container.cgroup, began),
            None => (None, None),
        };
        ContainerUsage {
            container: Arc::clone(container),
            read_at,
            stats,
            cpu_rate,
            layer: self.layers.usage(&container.id),
        }
    }

    /// Reads one cgroup that was made at that time, and its CPU rate.
    pub(crate) fn cgroup(
        &self,
        path: &CgroupPath,
        began: UnixNanos,
    ) -> (Option<Stats>, Option<u64>) {
        let Some(stats) = told(path, self.cgroups.stats(path)) else {
            return (None, None);
        };
        // A cgroup that has just gone has no part.
        if stats == Stats::default() {
            return (None, None);
        }
        let rate = stats.cpu.and_then(|cpu| {
            let sample = Sample {
                at: Instant::now(),
                usage_ns: cpu.usage_ns,
                age: age(began),
            };
            self.rates.note(path.clone(), sample)
        });
        (Some(stats), rate)
    }

    /// Takes a sample of the CPU time of a cgroup and nothing else.
    pub(crate) fn sample(&self, path: &CgroupPath, began: UnixNanos) {
        if let Some(Some(usage_ns)) = told(path, self.cgroups.cpu_usage(path)) {
            let sample = Sample {
                at: Instant::now(),
                usage_ns,
                age: age(began),
            };
            self.rates.note(path.clone(), sample);
        }
    }
}

/// Since when a container's cgroup is there; `None` when it has ended.
pub(crate) fn began(container: &ContainerSnapshot) -> Option<UnixNanos> {
    match container.phase {
        ContainerPhase::Creating | ContainerPhase::Prepared | ContainerPhase::Exited { .. } => None,
        ContainerPhase::Created { .. } | ContainerPhase::Running { .. } => {
            Some(container.created_at)
        }
    }
}

/// One cgroup that cannot be read must not hide the others.
pub(crate) fn told<T>(path: &CgroupPath, read: Result<T, CgroupError>) -> Option<T> {
    read.inspect_err(|error| {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::debug!(cgroup = %path, %error, cause, "cannot read a cgroup");
    })
    .ok()
}
