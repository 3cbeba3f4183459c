//! What a cgroup uses, in the units of CRI's statistics: [`Stats`] for each of the many calls that
//! ask for it, [`Details`] for metrics, which cost some more files.

mod details;
mod files;
mod usage;

/// What a cgroup uses now. A part is `None` when the node lacks its controller or the cgroup is not
/// in that hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stats {
    /// CPU.
    pub cpu: Option<CpuStats>,
    /// Memory and swap.
    pub memory: Option<MemoryStats>,
    /// Stalls for block devices (version 2).
    pub io_pressure: Option<Pressure>,
}

/// CPU time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CpuStats {
    /// Since the cgroup was made, in nanoseconds.
    pub usage_ns: u64,
    /// Stalls (version 2).
    pub pressure: Option<Pressure>,
}

/// Memory in bytes, and faults since the cgroup was made.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MemoryStats {
    /// All that is charged, page cache included.
    pub usage: u64,
    /// Most that may be charged.
    pub limit: Option<u64>,
    /// Usage without the page cache that was not used lately: what the kubelet evicts by.
    pub working_set: u64,
    /// What is left of the limit beside the working set.
    pub available: Option<u64>,
    /// Anonymous memory.
    pub rss: u64,
    /// Page faults.
    pub page_faults: u64,
    /// Page faults that had to wait for a device.
    pub major_page_faults: u64,
    /// Swap in use; `None` where swap is not counted.
    pub swap_usage: Option<u64>,
    /// What is left of the swap limit, when there is one.
    pub swap_available: Option<u64>,
    /// Stalls (version 2).
    pub pressure: Option<Pressure>,
}

/// Pressure stall information of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pressure {
    /// Time in which some tasks stalled.
    pub some: PressureAverages,
    /// Time in which all did.
    pub full: PressureAverages,
}

/// Shares of time in percent, and the time itself.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PressureAverages {
    /// Over the last 10 seconds.
    pub avg10: f64,
    /// Over the last 60 seconds.
    pub avg60: f64,
    /// Over the last 300 seconds.
    pub avg300: f64,
    /// Since the cgroup was made, in microseconds.
    pub total_us: u64,
}

/// What metrics tell beside [`Stats`]. A part is `None` for the same reasons.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details {
    /// CPU time by kind, and throttling.
    pub cpu: Option<CpuDetails>,
    /// Kinds of memory.
    pub memory: Option<MemoryDetails>,
    /// Processes and threads.
    pub pids: Option<PidStats>,
    /// Block devices that were used.
    pub io: Option<Vec<IoDevice>>,
    /// Huge pages, by the size as the kernel writes it (`2MB`).
    pub hugepages: Vec<HugepageStats>,
    /// How often the kernel ended a process for want of memory.
    pub oom_kills: Option<u64>,
}

/// CPU time since the cgroup was made, in nanoseconds, and CFS periods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuDetails {
    /// In user mode.
    pub user_ns: u64,
    /// In the kernel.
    pub system_ns: u64,
    /// CFS periods in which something ran.
    pub periods: u64,
    /// Of these, in how many the quota ran out.
    pub throttled_periods: u64,
    /// How long it was kept waiting by that.
    pub throttled_ns: u64,
    /// CFS periods in which more than the quota was used.
    pub burst_periods: u64,
    /// How much more that was.
    pub burst_ns: u64,
}

/// Memory by kind, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryDetails {
    /// Page cache.
    pub cache: u64,
    /// Page cache that is mapped into processes.
    pub mapped_file: u64,
    /// Page cache that was used lately.
    pub active_file: u64,
    /// Page cache that was not.
    pub inactive_file: u64,
    /// The kernel's own memory for these processes.
    pub kernel: Option<u64>,
    /// Most that was ever charged (version 2: since Linux 5.19).
    pub max_usage: Option<u64>,
    /// How often the limit was met.
    pub limit_hits: Option<u64>,
    /// Page faults of this cgroup without those below it (version 2 counts them together).
    pub own_page_faults: u64,
    /// The same, of faults that had to wait for a device.
    pub own_major_page_faults: u64,
}

/// Processes and threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PidStats {
    /// How many there are.
    pub current: u64,
    /// How many there may be.
    pub limit: Option<u64>,
}

/// Use of one block device since the cgroup was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoDevice {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Read operations.
    pub reads: u64,
    /// Write operations.
    pub writes: u64,
}

impl IoDevice {
    /// A device not used yet.
    #[must_use]
    pub fn new(major: u32, minor: u32) -> Self {
        Self {
            major,
            minor,
            read_bytes: 0,
            write_bytes: 0,
            reads: 0,
            writes: 0,
        }
    }
}

/// Huge pages of one size, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HugepageStats {
    /// Their size as the kernel writes it.
    pub page_size: String,
    /// In use.
    pub usage: u64,
    /// Most that was ever in use (version 1).
    pub max_usage: Option<u64>,
    /// How often the limit was met.
    pub limit_hits: Option<u64>,
}

#[cfg(test)]
mod tests;
