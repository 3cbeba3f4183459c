//! Processes and their memory. In `bench/run`'s PID namespace every process that appears between
//! two looks was started by the daemon under test.

use std::collections::BTreeSet;
use std::path::Path;

use crate::request::CONTAINER_PROGRAMS;

/// Memory of one or more processes, in kB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) proportional: u64,
}

/// All processes of this PID namespace.
///
/// # Errors
/// If `/proc` cannot be read.
pub(crate) fn all() -> std::io::Result<BTreeSet<u32>> {
    let mut pids = BTreeSet::new();
    for entry in std::fs::read_dir("/proc")? {
        if let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        {
            pids.insert(pid);
        }
    }
    Ok(pids)
}

/// Those that are there now, were not before, and run no program of a container.
///
/// # Errors
/// If `/proc` cannot be read.
pub(crate) fn new_since(before: &BTreeSet<u32>) -> std::io::Result<Vec<u32>> {
    let new = all()?.into_iter().filter(|pid| !before.contains(pid));
    Ok(new.filter(|pid| holds_pods(*pid)).collect())
}

fn holds_pods(pid: u32) -> bool {
    let process = format!("/proc/{pid}");
    let name = name(&process);
    // One without memory is a zombie or a thread of the kernel.
    !CONTAINER_PROGRAMS.contains(&name.as_str()) && memory_of(Path::new(&process)).is_some()
}

fn name(process: &str) -> String {
    let name = std::fs::read_to_string(format!("{process}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

/// The sum of these processes; those that ended count nothing.
pub(crate) fn memory(pids: &[u32]) -> Memory {
    let each = pids
        .iter()
        .filter_map(|pid| memory_of(Path::new(&format!("/proc/{pid}"))));
    each.fold(Memory::default(), |sum, one| Memory {
        resident: sum.resident + one.resident,
        proportional: sum.proportional + one.proportional,
    })
}

/// All processes of that name.
///
/// # Errors
/// If `/proc` cannot be read.
pub(crate) fn named(wanted: &str) -> std::io::Result<Vec<u32>> {
    // The kernel keeps fifteen bytes of a name.
    let wanted: String = wanted.chars().take(15).collect();
    let mut pids: Vec<u32> = all()?.into_iter().collect();
    pids.retain(|pid| name(&format!("/proc/{pid}")) == wanted);
    Ok(pids)
}

fn memory_of(process: &Path) -> Option<Memory> {
    let rollup = std::fs::read_to_string(process.join("smaps_rollup")).ok()?;
    Some(Memory {
        resident: kilobytes(&rollup, "Rss:")?,
        proportional: kilobytes(&rollup, "Pss:")?,
    })
}

fn kilobytes(rollup: &str, key: &str) -> Option<u64> {
    let rest = rollup.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rollup_lines() {
        let rollup = "5555-7fff ---p [rollup]\nRss:    1234 kB\nPss:     99 kB\nPss_Anon: 1 kB\n";
        assert_eq!(kilobytes(rollup, "Rss:"), Some(1234));
        assert_eq!(kilobytes(rollup, "Pss:"), Some(99));
        assert_eq!(kilobytes(rollup, "Swap:"), None);
    }

    #[test]
    fn this_process_has_memory_and_is_not_new() {
        let before = all().unwrap();
        let own = std::process::id();
        assert!(before.contains(&own));
        assert!(memory(&[own]).resident > 0);
        assert!(!new_since(&before).unwrap().contains(&own));
        assert!(new_since(&BTreeSet::new()).unwrap().contains(&own));
    }
}
