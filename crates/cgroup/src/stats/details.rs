//! [`Details`]: what only metrics tell.

use std::path::Path;

use super::files::{parsed, text};
use super::{CpuDetails, Details, HugepageStats, IoDevice, MemoryDetails, PidStats};
use crate::hierarchy::{Hierarchy, Version};
use crate::oom::read_oom_kills;
use crate::{CgroupError, CgroupPath, parse, tree};

impl Hierarchy {
    /// Reads what metrics tell of a cgroup beside [`Hierarchy::stats`].
    ///
    /// # Errors
    /// A file cannot be read or understood.
    pub fn details(&self, path: &CgroupPath) -> Result<Details, CgroupError> {
        let oom_kills = match self.oom_source(path) {
            Some(source) => read_oom_kills(&source)?,
            None => None,
        };
        Ok(Details {
            cpu: self.cpu_details(path)?,
            memory: self.memory_details(path)?,
            pids: self.pid_stats(path)?,
            io: self.io_devices(path)?,
            hugepages: self.hugepages(path)?,
            oom_kills,
        })
    }

    fn cpu_details(&self, path: &CgroupPath) -> Result<Option<CpuDetails>, CgroupError> {
        if let Some((Version::V1, directory)) = self.directory("cpuacct", path) {
            let user = parsed(&directory, "cpuacct.usage_user", parse::number)?;
            let system = parsed(&directory, "cpuacct.usage_sys", parse::number)?;
            let (Some(user_ns), Some(system_ns)) = (user, system) else {
                return Ok(None);
            };
            let stat = match self.directory("cpu", path) {
                Some((_, cpu)) => text(&cpu, "cpu.stat")?.unwrap_or_default(),
                None => String::new(),
            };
            let nanoseconds = |key| parse::keyed(&stat, key).unwrap_or_default();
            return Ok(Some(CpuDetails {
                user_ns,
                system_ns,
                throttled_ns: nanoseconds("throttled_time"),
                burst_ns: nanoseconds("burst_time"),
                ..periods(&stat)
            }));
        }
        match self.unified(path) {
            Some(directory) => parsed(&directory, "cpu.stat", cpu_stat_v2),
            None => Ok(None),
        }
    }

    fn memory_details(&self, path: &CgroupPath) -> Result<Option<MemoryDetails>, CgroupError> {
        let Some((version, directory)) = self.directory("memory", path) else {
            return Ok(None);
        };
        let Some(stat) = text(&directory, "memory.stat")? else {
            return Ok(None);
        };
        let number = |name| parsed(&directory, name, parse::number);
        let keyed = |key| parse::keyed(&stat, key).unwrap_or_default();
        Ok(Some(match version {
            Version::V1 => MemoryDetails {
                cache: keyed("total_cache"),
                mapped_file: keyed("total_mapped_file"),
                active_file: keyed("total_active_file"),
                inactive_file: keyed("total_inactive_file"),
                kernel: number("memory.kmem.usage_in_bytes")?,
                max_usage: number("memory.max_usage_in_bytes")?,
                limit_hits: number("memory.failcnt")?,
                own_page_faults: keyed("pgfault"),
                own_major_page_faults: keyed("pgmajfault"),
            },
            Version::V2 => MemoryDetails {
                cache: keyed("file"),
                mapped_file: keyed("file_mapped"),
                active_file: keyed("active_file"),
                inactive_file: keyed("inactive_file"),
                kernel: parse::keyed(&stat, "kernel"),
                max_usage: number("memory.peak")?,
                limit_hits: limit_hits(&directory, "memory.events")?,
                own_page_faults: keyed("pgfault"),
                own_major_page_faults: keyed("pgmajfault"),
            },
        }))
    }

    fn pid_stats(&self, path: &CgroupPath) -> Result<Option<PidStats>, CgroupError> {
        let Some((_, directory)) = self.directory("pids", path) else {
            return Ok(None);
        };
        let Some(current) = parsed(&directory, "pids.current", parse::number)? else {
            return Ok(None);
        };
        let limit = parsed(&directory, "pids.max", parse::limit)?.flatten();
        Ok(Some(PidStats { current, limit }))
    }

    fn io_devices(&self, path: &CgroupPath) -> Result<Option<Vec<IoDevice>>, CgroupError> {
        if let Some((_, directory)) = self.directory("blkio", path) {
            let bytes = "blkio.throttle.io_service_bytes_recursive";
            let operations = "blkio.throttle.io_serviced_recursive";
            return match (text(&directory, bytes)?, text(&directory, operations)?) {
                (Some(in_bytes), Some(in_operations)) => parse::blkio(&in_bytes, &in_operations)
                    .map(Some)
                    .ok_or_else(|| CgroupError::Parse {
                        file: directory.join(bytes),
                    }),
                _ => Ok(None),
            };
        }
        match self.directory("io", path) {
            Some((_, directory)) => parsed(&directory, "io.stat", parse::io_stat),
            None => Ok(None),
        }
    }

    fn hugepages(&self, path: &CgroupPath) -> Result<Vec<HugepageStats>, CgroupError> {
        let Some((version, directory)) = self.directory("hugetlb", path) else {
            return Ok(Vec::new());
        };
        let suffix = match version {
            Version::V1 => ".usage_in_bytes",
            Version::V2 => ".current",
        };
        let mut found = Vec::new();
        for page_size in page_sizes(&directory, suffix)? {
            let name = |what: &str| format!("hugetlb.{page_size}{what}");
            let number = |what| parsed(&directory, &name(what), parse::number);
            let Some(usage) = number(suffix)? else {
                continue;
            };
            let (max_usage, limit_hits) = match version {
                Version::V1 => (number(".max_usage_in_bytes")?, number(".failcnt")?),
                Version::V2 => (None, limit_hits(&directory, &name(".events"))?),
            };
            found.push(HugepageStats {
                max_usage,
                limit_hits,
                usage,
                page_size,
            });
        }
        Ok(found)
    }
}

/// The page sizes that have a file of that suffix, sorted. Reservations (`.rsvd`) are not pages.
fn page_sizes(directory: &Path, suffix: &str) -> Result<Vec<String>, CgroupError> {
    let failed = |source| CgroupError::Read {
        file: directory.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if tree::is_gone(&error) => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut sizes = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy();
        let size = name
            .strip_prefix("hugetlb.")
            .and_then(|rest| rest.strip_suffix(suffix));
        sizes.extend(size.filter(|size| !size.contains('.')).map(str::to_owned));
    }
    sizes.sort_unstable();
    Ok(sizes)
}

/// How often a limit of version 2 was met.
fn limit_hits(directory: &Path, name: &str) -> Result<Option<u64>, CgroupError> {
    Ok(text(directory, name)?.and_then(|events| parse::keyed(&events, "max")))
}

fn periods(stat: &str) -> CpuDetails {
    let keyed = |key| parse::keyed(stat, key).unwrap_or_default();
    CpuDetails {
        periods: keyed("nr_periods"),
        throttled_periods: keyed("nr_throttled"),
        burst_periods: keyed("nr_bursts"),
        ..CpuDetails::default()
    }
}

fn cpu_stat_v2(stat: &str) -> Option<CpuDetails> {
    let nanoseconds = |key| parse::keyed(stat, key).map(|us| us.saturating_mul(1000));
    Some(CpuDetails {
        user_ns: nanoseconds("user_usec")?,
        system_ns: nanoseconds("system_usec")?,
        throttled_ns: nanoseconds("throttled_usec").unwrap_or_default(),
        burst_ns: nanoseconds("burst_usec").unwrap_or_default(),
        ..periods(stat)
    })
}
