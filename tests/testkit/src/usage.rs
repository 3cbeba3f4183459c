//! What a process takes: memory, descriptors, threads.

use std::fmt;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::{Result, program};

/// What a process takes at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Memory in KiB: resident set.
    pub rss: u64,
    /// The most that it ever was, in KiB.
    pub peak: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
}

impl Usage {
    /// Of a process by its number.
    ///
    /// # Errors
    /// When it is gone.
    pub fn of(pid: u32) -> Result<Self> {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let status = std::fs::read_to_string(proc.join("status"));
        let status = status.with_context(|| format!("process {pid}"))?;
        let number = |name: &str| -> Result<u64> {
            let mut lines = status.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let word = value.and_then(|value| value.split_whitespace().next());
            Ok(word.with_context(|| format!("{name} of {pid}"))?.parse()?)
        };
        Ok(Self {
            rss: number("VmRSS")?,
            peak: number("VmHWM")?,
            descriptors: u64::try_from(std::fs::read_dir(proc.join("fd"))?.count())?,
            threads: number("Threads")?,
        })
    }

    /// Of the only process with this name.
    ///
    /// # Errors
    /// When there is none, or there are several.
    pub async fn of_name(name: &str) -> Result<Self> {
        let pids = program::run("pgrep", &["-x", name]).await?;
        let pid = pids.trim().parse();
        Self::of(pid.with_context(|| format!("{name}: {pids:?}"))?)
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} KiB (peak {}), {} fds, {} threads",
            self.rss, self.peak, self.descriptors, self.threads
        )
    }
}
