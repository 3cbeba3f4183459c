//! [`Stats`]: as few files as CRI's statistics need.

use std::path::Path;

use super::files::{parsed, text};
use super::{CpuStats, MemoryStats, Stats};
use crate::hierarchy::{Hierarchy, Version};
use crate::{CgroupError, CgroupPath, parse};

impl Hierarchy {
    /// Reads what a cgroup uses. A cgroup that is not there has no part.
    ///
    /// # Errors
    /// A file cannot be read or understood.
    pub fn stats(&self, path: &CgroupPath) -> Result<Stats, CgroupError> {
        let unified = self.unified(path);
        let pressure = |name: &str| match &unified {
            // The root's are those of the node, and not in its files.
            Some(directory) if !path.is_root() => parsed(directory, name, parse::pressure),
            _ => Ok(None),
        };
        let cpu = match self.cpu_usage(path)? {
            Some(usage_ns) => Some(CpuStats {
                usage_ns,
                pressure: pressure("cpu.pressure")?,
            }),
            None => None,
        };
        let memory = match self.memory_stats(path)? {
            Some(memory) => Some(MemoryStats {
                pressure: pressure("memory.pressure")?,
                ..memory
            }),
            None => None,
        };
        Ok(Stats {
            cpu,
            memory,
            io_pressure: pressure("io.pressure")?,
        })
    }

    /// CPU time of a cgroup since it was made, in nanoseconds.
    ///
    /// # Errors
    /// A file cannot be read or understood.
    pub fn cpu_usage(&self, path: &CgroupPath) -> Result<Option<u64>, CgroupError> {
        if let Some((Version::V1, directory)) = self.directory("cpuacct", path) {
            return parsed(&directory, "cpuacct.usage", parse::number);
        }
        // In version 2 the file is there even without the controller.
        match self.unified(path) {
            Some(directory) => parsed(&directory, "cpu.stat", |stat| {
                Some(parse::keyed(stat, "usage_usec")?.saturating_mul(1000))
            }),
            None => Ok(None),
        }
    }

    /// How many processes and threads a cgroup has, with those below it.
    ///
    /// # Errors
    /// The file cannot be read or understood.
    pub fn task_count(&self, path: &CgroupPath) -> Result<Option<u64>, CgroupError> {
        match self.directory("pids", path) {
            Some((_, directory)) => parsed(&directory, "pids.current", parse::number),
            None => Ok(None),
        }
    }

    fn memory_stats(&self, path: &CgroupPath) -> Result<Option<MemoryStats>, CgroupError> {
        let Some((version, directory)) = self.directory("memory", path) else {
            return Ok(None);
        };
        let usage = match version {
            Version::V1 => "memory.usage_in_bytes",
            Version::V2 => "memory.current",
        };
        let usage = parsed(&directory, usage, parse::number)?;
        let (Some(usage), Some(stat)) = (usage, text(&directory, "memory.stat")?) else {
            return Ok(None);
        };
        match version {
            Version::V1 => memory_v1(&directory, usage, &stat),
            Version::V2 => memory_v2(&directory, usage, &stat),
        }
        .map(Some)
    }
}

/// A limit, or `None` for none.
fn limit(directory: &Path, name: &str) -> Result<Option<u64>, CgroupError> {
    Ok(parsed(directory, name, parse::limit)?.flatten())
}

/// In version 1 the swap files count memory and swap together, and are there only where swap is
/// counted; so is the line of `memory.stat` that counts it alone.
fn memory_v1(directory: &Path, usage: u64, stat: &str) -> Result<MemoryStats, CgroupError> {
    let keyed = |key| parse::keyed(stat, key).unwrap_or_default();
    let swap_usage = parse::keyed(stat, "total_swap");
    let memory_limit = limit(directory, "memory.limit_in_bytes")?;
    let swap_limit = match swap_usage {
        Some(_) => limit(directory, "memory.memsw.limit_in_bytes")?
            .map(|both| both.saturating_sub(memory_limit.unwrap_or_default())),
        None => None,
    };
    let memory = MemoryStats {
        usage,
        limit: memory_limit,
        rss: keyed("total_rss"),
        page_faults: keyed("total_pgfault"),
        major_page_faults: keyed("total_pgmajfault"),
        swap_usage,
        ..MemoryStats::default()
    };
    Ok(finish(memory, keyed("total_inactive_file"), swap_limit))
}

fn memory_v2(directory: &Path, usage: u64, stat: &str) -> Result<MemoryStats, CgroupError> {
    let keyed = |key| parse::keyed(stat, key).unwrap_or_default();
    let memory = MemoryStats {
        usage,
        limit: limit(directory, "memory.max")?,
        rss: keyed("anon"),
        page_faults: keyed("pgfault"),
        major_page_faults: keyed("pgmajfault"),
        swap_usage: parsed(directory, "memory.swap.current", parse::number)?,
        ..MemoryStats::default()
    };
    let swap_limit = limit(directory, "memory.swap.max")?;
    Ok(finish(memory, keyed("inactive_file"), swap_limit))
}

/// What follows from the numbers of both versions.
fn finish(memory: MemoryStats, inactive_file: u64, swap_limit: Option<u64>) -> MemoryStats {
    let working_set = memory.usage.saturating_sub(inactive_file);
    MemoryStats {
        working_set,
        available: memory.limit.map(|limit| limit.saturating_sub(working_set)),
        swap_available: swap_limit
            .zip(memory.swap_usage)
            .map(|(limit, usage)| limit.saturating_sub(usage)),
        ..memory
    }
}
