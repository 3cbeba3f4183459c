//! Drives an OCI runtime (runc, crun, youki) by its command line.
//!
//! `create` and `exec` are run by the pod's monitor, so that the processes become its children:
//! here are only their argument lists. The rest is short and is run by the daemon. The OCI runtime
//! command line is the one that runc set and the others follow; where they part, [`Kind`] knows.

#[cfg(feature = "run")]
mod argv;
#[cfg(feature = "run")]
mod checkpoint;
#[cfg(feature = "run")]
mod error;
#[cfg(feature = "run")]
mod features;
mod log;
#[cfg(feature = "run")]
mod run;

use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(feature = "run")]
pub use argv::{CreateArgs, ExecArgs};
#[cfg(feature = "run")]
pub use checkpoint::{CheckpointDirs, first_error};
#[cfg(feature = "run")]
pub use error::{Operation, RuntimeError};
#[cfg(feature = "run")]
pub use features::{
    CgroupFeatures, Enabled, Features, FeaturesError, LinuxFeatures, MountExtensions,
};
pub use log::log_error;
#[cfg(feature = "run")]
pub use run::{RuntimeState, Status};

/// Which runtime a program is, as far as its command line or its messages differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// runc, and what is written in its likeness.
    Runc,
    /// crun.
    Crun,
    /// youki.
    Youki,
}

impl Kind {
    /// By the name of the program: `crun…` and `youki…` are themselves, all else is taken as runc.
    #[must_use]
    pub fn of_program(path: &Path) -> Self {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy())
            .unwrap_or_default();
        if name.starts_with("crun") {
            Self::Crun
        } else if name.starts_with("youki") {
            Self::Youki
        } else {
            Self::Runc
        }
    }
}

/// An OCI runtime under the name of its handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Name of the runtime handler.
    pub name: String,
    /// The program.
    pub path: PathBuf,
    /// Which runtime it is.
    pub kind: Kind,
    /// Directory of the runtime's own state (`--root`), in `/run`.
    pub root: PathBuf,
    /// Cgroup paths are systemd's `slice:prefix:name`.
    pub systemd_cgroup: bool,
    /// How long one command may take.
    pub deadline: Duration,
}

impl Runtime {
    /// A runtime whose kind is taken from the program's name, with cgroupfs paths and a deadline of
    /// two minutes for each command.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        path: impl Into<PathBuf>,
        root: impl Into<PathBuf>,
    ) -> Self {
        let path = path.into();
        Self {
            name: name.into(),
            kind: Kind::of_program(&path),
            path,
            root: root.into(),
            systemd_cgroup: false,
            deadline: Duration::from_secs(120),
        }
    }
}
