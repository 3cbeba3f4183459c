//! What the configuration says of statistics.

use std::time::Duration;

use pinpod_config::{MetricGroup, Stats};
use pinpod_stats::{MetricGroup as Group, Settings};

/// The same for the crate that reads them.
pub(super) fn settings(stats: &Stats) -> Settings {
    let groups = stats.included_pod_metrics.iter();
    Settings {
        collection_period: Duration::from_secs(stats.collection_period.into()),
        metrics: groups.map(|known| group(*known)).collect(),
    }
}

fn group(group: MetricGroup) -> Group {
    match group {
        MetricGroup::All => Group::All,
        MetricGroup::Cpu => Group::Cpu,
        MetricGroup::Disk => Group::Disk,
        MetricGroup::DiskIo => Group::DiskIo,
        MetricGroup::Hugetlb => Group::Hugetlb,
        MetricGroup::Memory => Group::Memory,
        MetricGroup::Network => Group::Network,
        MetricGroup::Oom => Group::Oom,
        MetricGroup::Pressure => Group::Pressure,
        MetricGroup::Process => Group::Process,
        MetricGroup::Spec => Group::Spec,
    }
}
