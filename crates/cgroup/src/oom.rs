//! How often the kernel ended a process of a cgroup for want of memory.

use std::fs;
use std::path::PathBuf;

use crate::hierarchy::{Hierarchy, Version};
use crate::{CgroupError, CgroupPath, parse, tree};

/// Where the counter of a cgroup is read. Plain data, so that a monitor can be told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OomSource {
    /// `memory.events` (version 2) or `memory.oom_control` (version 1). The former changes with an
    /// event for `inotify` and `poll`.
    pub file: PathBuf,
    /// First word of the line whose second word is the count.
    pub key: String,
}

impl Hierarchy {
    /// Where the counter is; `None` without the memory controller. The cgroup need not be there.
    #[must_use]
    pub fn oom_source(&self, path: &CgroupPath) -> Option<OomSource> {
        let (version, directory) = self.directory("memory", path)?;
        let file = match version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        Some(OomSource {
            file: directory.join(file),
            key: "oom_kill".to_owned(),
        })
    }
}

/// The count; `None` when the cgroup is gone, or on a kernel of version 1 before 4.13, which does
/// not count.
///
/// # Errors
/// The file cannot be read.
pub fn read_oom_kills(source: &OomSource) -> Result<Option<u64>, CgroupError> {
    match fs::read_to_string(&source.file) {
        Ok(text) => Ok(parse::keyed(&text, &source.key)),
        Err(error) if tree::is_gone(&error) => Ok(None),
        Err(error) => Err(CgroupError::Read {
            file: source.file.clone(),
            source: error,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn the_counter_is_there_while_the_cgroup_is() {
        let scratch = Scratch::new("oom");
        let source = scratch.hierarchy.oom_source(&scratch.path).unwrap();
        assert_eq!(read_oom_kills(&source).unwrap(), None);
        scratch.hierarchy.create(&scratch.path).unwrap();
        assert_eq!(read_oom_kills(&source).unwrap(), Some(0));

        let limits = pinpod_model::LinuxResources {
            memory_limit: 16 << 20,
            memory_swap_limit: 16 << 20,
            ..pinpod_model::LinuxResources::default()
        };
        scratch.hierarchy.apply(&scratch.path, &limits).unwrap();
        let mut hungry = hungry();
        scratch.hierarchy.join(&scratch.path, hungry.id()).unwrap();
        drop(hungry.stdin.take());
        assert!(!hungry.wait().unwrap().success());
        assert_eq!(read_oom_kills(&source).unwrap(), Some(1));
    }

    /// Takes more memory than the test allows when its standard input ends.
    #[allow(clippy::disallowed_methods, reason = "a process that is to be ended")]
    fn hungry() -> std::process::Child {
        std::process::Command::new("sh")
            .args(["-c", "read line; exec tail /dev/zero"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    }
}
