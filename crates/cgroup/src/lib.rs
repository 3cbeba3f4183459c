//! Control groups by their files: version 1 (a hierarchy for each controller), version 2 (one for
//! all) and hybrid (version 1 with a version 2 mount beside it that has what is left).
//!
//! A [`Hierarchy`] is found once. A [`CgroupPath`] is the name of a cgroup below the mount point,
//! the same in each hierarchy. How the kubelet and OCI runtimes write names is in [`driver`].
//!
//! Text is parsed by functions without I/O, tested with tables; the rest reads and writes files.

pub mod driver;
mod error;
mod hierarchy;
mod kill;
mod limits;
mod oom;
mod parse;
mod path;
mod stats;
mod tree;

pub use error::CgroupError;
pub use hierarchy::{DetectError, Hierarchy, HierarchyKind, Version};
pub use oom::{OomSource, read_oom_kills};
pub use path::{CgroupPath, CgroupPathError};
pub use stats::{
    CpuDetails, CpuStats, Details, HugepageStats, IoDevice, MemoryDetails, MemoryStats, PidStats,
    Pressure, PressureAverages, Stats,
};

#[cfg(test)]
mod testing;
