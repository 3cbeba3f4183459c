//! Groups of pod metrics.

use serde::{Deserialize, Serialize};

/// A group of metrics; each is written as its name in lower case, but `diskIO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricGroup {
    /// Every group.
    All,
    /// CPU time and throttling.
    Cpu,
    /// Use of the file system by the writable layer.
    Disk,
    /// Reads and writes of block devices.
    #[serde(rename = "diskIO")]
    DiskIo,
    /// Huge pages.
    Hugetlb,
    /// Memory by kind.
    Memory,
    /// Interfaces of pods.
    Network,
    /// Processes ended for want of memory.
    Oom,
    /// Stalls.
    Pressure,
    /// Processes, threads, descriptors.
    Process,
    /// What the container was asked to be.
    Spec,
}
