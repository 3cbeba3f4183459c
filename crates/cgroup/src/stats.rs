//! What a cgroup uses, in the units of CRI's statistics.

use std::fs;
use std::path::Path;

use crate::hierarchy::{Hierarchy, Version};
use crate::{CgroupError, CgroupPath, parse, tree};

/// What a cgroup uses now. A part is `None` when the node lacks its controller or the cgroup is not
/// in that hierarchy.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stats {
    /// CPU.
    pub cpu: Option<CpuStats>,
    /// Memory and swap.
    pub memory: Option<MemoryStats>,
    /// Processes.
    pub pids: Option<PidStats>,
    /// Block devices.
    pub io: Option<IoStats>,
}

/// CPU time since the cgroup was made.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CpuStats {
    /// All of it, in nanoseconds.
    pub usage_ns: u64,
    /// In user mode, in nanoseconds.
    pub user_ns: u64,
    /// In the kernel, in nanoseconds.
    pub system_ns: u64,
    /// CFS periods in which something ran.
    pub periods: u64,
    /// Of these, in how many the quota ran out.
    pub throttled_periods: u64,
    /// How long it was kept waiting by that, in nanoseconds.
    pub throttled_ns: u64,
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

/// Processes and threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PidStats {
    /// How many there are.
    pub current: u64,
    /// How many there may be.
    pub limit: Option<u64>,
}

/// Block devices.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct IoStats {
    /// Those used.
    pub devices: Vec<IoDevice>,
    /// Stalls (version 2).
    pub pressure: Option<Pressure>,
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

impl Hierarchy {
    /// Reads what a cgroup uses. A cgroup that is not there has no part.
    ///
    /// # Errors
    /// A file cannot be read or understood.
    pub fn stats(&self, path: &CgroupPath) -> Result<Stats, CgroupError> {
        let unified = self.unified(path);
        let pressure = |name: &str| match &unified {
            Some(directory) => read(directory, name, parse::pressure),
            None => Ok(None),
        };
        let mut stats = Stats {
            cpu: self.cpu_stats(path)?,
            memory: self.memory_stats(path)?,
            pids: self.pid_stats(path)?,
            io: self.io_stats(path)?,
        };
        if let Some(cpu) = &mut stats.cpu {
            cpu.pressure = pressure("cpu.pressure")?;
        }
        if let Some(memory) = &mut stats.memory {
            memory.pressure = pressure("memory.pressure")?;
        }
        if let Some(io) = &mut stats.io {
            io.pressure = pressure("io.pressure")?;
        }
        Ok(stats)
    }

    fn cpu_stats(&self, path: &CgroupPath) -> Result<Option<CpuStats>, CgroupError> {
        if let Some((Version::V1, directory)) = self.directory("cpuacct", path) {
            let Some(usage_ns) = read(&directory, "cpuacct.usage", parse::number)? else {
                return Ok(None);
            };
            let stat = match self.directory("cpu", path) {
                Some((_, cpu)) => text(&cpu, "cpu.stat")?.unwrap_or_default(),
                None => String::new(),
            };
            let user = read(&directory, "cpuacct.usage_user", parse::number)?;
            let system = read(&directory, "cpuacct.usage_sys", parse::number)?;
            return Ok(Some(CpuStats {
                usage_ns,
                user_ns: user.unwrap_or_default(),
                system_ns: system.unwrap_or_default(),
                throttled_ns: parse::keyed(&stat, "throttled_time").unwrap_or_default(),
                ..throttling(&stat)
            }));
        }
        // In version 2 the file is there even without the controller.
        match self.unified(path) {
            Some(directory) => read(&directory, "cpu.stat", cpu_stat_v2),
            None => Ok(None),
        }
    }

    fn memory_stats(&self, path: &CgroupPath) -> Result<Option<MemoryStats>, CgroupError> {
        let Some((version, directory)) = self.directory("memory", path) else {
            return Ok(None);
        };
        let names = match version {
            Version::V1 => &MEMORY_V1,
            Version::V2 => &MEMORY_V2,
        };
        let number = |name: &str| read(&directory, name, parse::number);
        let limit =
            |name: &str| Ok::<_, CgroupError>(read(&directory, name, parse::limit)?.flatten());
        let (Some(usage), Some(stat)) = (number(names.usage)?, text(&directory, "memory.stat")?)
        else {
            return Ok(None);
        };
        let sizes = MemorySizes {
            usage,
            limit: limit(names.limit)?,
            swap: number(names.swap)?,
            swap_limit: limit(names.swap_limit)?,
        };
        Ok(Some(memory(version, sizes, &stat)))
    }

    fn pid_stats(&self, path: &CgroupPath) -> Result<Option<PidStats>, CgroupError> {
        let Some((_, directory)) = self.directory("pids", path) else {
            return Ok(None);
        };
        let Some(current) = read(&directory, "pids.current", parse::number)? else {
            return Ok(None);
        };
        let limit = read(&directory, "pids.max", parse::limit)?.flatten();
        Ok(Some(PidStats { current, limit }))
    }

    fn io_stats(&self, path: &CgroupPath) -> Result<Option<IoStats>, CgroupError> {
        let devices = match (self.directory("blkio", path), self.directory("io", path)) {
            (Some((_, directory)), _) => {
                let bytes = "blkio.throttle.io_service_bytes_recursive";
                let operations = "blkio.throttle.io_serviced_recursive";
                match (text(&directory, bytes)?, text(&directory, operations)?) {
                    (Some(bytes_text), Some(operations_text)) => {
                        Some(parse::blkio(&bytes_text, &operations_text).ok_or_else(|| {
                            let file = directory.join(bytes);
                            CgroupError::Parse { file }
                        })?)
                    }
                    _ => None,
                }
            }
            (None, Some((_, directory))) => read(&directory, "io.stat", parse::io_stat)?,
            (None, None) => None,
        };
        Ok(devices.map(|devices| IoStats {
            devices,
            pressure: None,
        }))
    }
}

struct MemoryNames {
    usage: &'static str,
    limit: &'static str,
    swap: &'static str,
    swap_limit: &'static str,
}

/// In version 1 the swap files count memory and swap together.
const MEMORY_V1: MemoryNames = MemoryNames {
    usage: "memory.usage_in_bytes",
    limit: "memory.limit_in_bytes",
    swap: "memory.memsw.usage_in_bytes",
    swap_limit: "memory.memsw.limit_in_bytes",
};

const MEMORY_V2: MemoryNames = MemoryNames {
    usage: "memory.current",
    limit: "memory.max",
    swap: "memory.swap.current",
    swap_limit: "memory.swap.max",
};

/// What the files of [`MemoryNames`] say.
struct MemorySizes {
    usage: u64,
    limit: Option<u64>,
    swap: Option<u64>,
    swap_limit: Option<u64>,
}

fn memory(version: Version, sizes: MemorySizes, stat: &str) -> MemoryStats {
    let keyed = |key| parse::keyed(stat, key).unwrap_or_default();
    let [inactive, rss, faults, major] = match version {
        Version::V1 => [
            keyed("total_inactive_file"),
            keyed("total_rss"),
            keyed("total_pgfault"),
            keyed("total_pgmajfault"),
        ],
        Version::V2 => [
            keyed("inactive_file"),
            keyed("anon"),
            keyed("pgfault"),
            keyed("pgmajfault"),
        ],
    };
    let (swap_usage, swap_limit) = match version {
        Version::V1 => (
            sizes.swap.map(|both| both.saturating_sub(sizes.usage)),
            sizes
                .swap_limit
                .map(|both| both.saturating_sub(sizes.limit.unwrap_or_default())),
        ),
        Version::V2 => (sizes.swap, sizes.swap_limit),
    };
    let working_set = sizes.usage.saturating_sub(inactive);
    MemoryStats {
        usage: sizes.usage,
        limit: sizes.limit,
        working_set,
        available: sizes.limit.map(|limit| limit.saturating_sub(working_set)),
        rss,
        page_faults: faults,
        major_page_faults: major,
        swap_usage,
        swap_available: swap_limit
            .zip(swap_usage)
            .map(|(limit, usage)| limit.saturating_sub(usage)),
        pressure: None,
    }
}

fn throttling(stat: &str) -> CpuStats {
    CpuStats {
        periods: parse::keyed(stat, "nr_periods").unwrap_or_default(),
        throttled_periods: parse::keyed(stat, "nr_throttled").unwrap_or_default(),
        ..CpuStats::default()
    }
}

fn cpu_stat_v2(stat: &str) -> Option<CpuStats> {
    let nanoseconds = |key| parse::keyed(stat, key).map(|us| us.saturating_mul(1000));
    Some(CpuStats {
        usage_ns: nanoseconds("usage_usec")?,
        user_ns: nanoseconds("user_usec").unwrap_or_default(),
        system_ns: nanoseconds("system_usec").unwrap_or_default(),
        throttled_ns: nanoseconds("throttled_usec").unwrap_or_default(),
        ..throttling(stat)
    })
}

/// The text of a file; `None` when it is not there.
fn text(directory: &Path, name: &str) -> Result<Option<String>, CgroupError> {
    let file = directory.join(name);
    match fs::read_to_string(&file) {
        Ok(text) => Ok(Some(text)),
        // Pressure files exist but cannot be read where the kernel was booted without it.
        Err(error) if tree::is_gone(&error) || error.kind() == std::io::ErrorKind::Unsupported => {
            Ok(None)
        }
        Err(source) => Err(CgroupError::Read { file, source }),
    }
}

fn read<T>(
    directory: &Path,
    name: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, CgroupError> {
    let Some(text) = text(directory, name)? else {
        return Ok(None);
    };
    let file = || directory.join(name);
    match parse(&text) {
        Some(value) => Ok(Some(value)),
        None => Err(CgroupError::Parse { file: file() }),
    }
}

#[cfg(test)]
mod tests;
