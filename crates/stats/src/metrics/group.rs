//! Groups of metrics, by the names that CRI-O has for them.

/// A group of metrics that the configuration can leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricGroup {
    /// Every group.
    All,
    /// That it was seen; always there.
    Seen,
    /// CPU time and throttling.
    Cpu,
    /// Use of the file system by the writable layer.
    Disk,
    /// Reads and writes of block devices.
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

impl MetricGroup {
    /// Whether a configuration of these groups has it.
    pub(crate) fn is_among(self, groups: &[Self]) -> bool {
        self == Self::Seen || groups.contains(&self) || groups.contains(&Self::All)
    }
}
