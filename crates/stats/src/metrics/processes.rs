//! What the processes of a container hold open, and what they are limited to (`proc(5)`).

use std::path::{Path, PathBuf};

/// A container with more descriptors than this has no count of sockets: each would be looked at.
const MOST_LOOKED_AT: u64 = 4096;

/// What processes hold open together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) descriptors: u64,
    /// `None` when there are too many descriptors to look at.
    pub(super) sockets: Option<u64>,
}

/// Counts. A process that has ended meanwhile has nothing open.
pub(super) fn open(pids: &[u32]) -> Open {
    let directories: Vec<PathBuf> = pids
        .iter()
        .map(|pid| PathBuf::from(format!("/proc/{pid}/fd")))
        .collect();
    let descriptors = directories.iter().map(|fds| count(fds)).sum();
    let sockets = directories.iter().map(|fds| count_sockets(fds));
    Open {
        descriptors,
        sockets: (descriptors <= MOST_LOOKED_AT).then(|| sockets.sum()),
    }
}

/// Since Linux 6.2 the size of the directory is the number of its entries.
fn count(fds: &Path) -> u64 {
    match std::fs::metadata(fds).map(|metadata| metadata.len()) {
        Ok(size) if size > 0 => size,
        _ => std::fs::read_dir(fds).map_or(0, |entries| entries.count().try_into().unwrap_or(0)),
    }
}

fn count_sockets(fds: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(fds) else {
        return 0;
    };
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let sockets = targets.filter(|target| target.to_string_lossy().starts_with("socket:"));
    sockets.count().try_into().unwrap_or(0)
}

/// The soft limit of open files of a process; `None` when there is none.
pub(super) fn open_files_limit(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    soft_limit(&text, "Max open files")
}

/// `Max open files            1024                 524288               files`.
fn soft_limit(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_numbers_or_none() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max processes             unlimited            unlimited            processes \n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!(soft_limit(text, "Max open files"), Some(1024));
        assert_eq!(soft_limit(text, "Max processes"), None);
        assert_eq!(soft_limit("", "Max open files"), None);
    }

    #[test]
    fn this_process_has_files_and_sockets() {
        let own = std::process::id();
        let before = open(&[own]);
        let (_one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let after = open(&[own, u32::MAX]);
        assert!(
            after.descriptors >= 2 && after.sockets.unwrap() >= 2,
            "{before:?} {after:?}"
        );
        assert!(open_files_limit(own).is_some());
    }
}
