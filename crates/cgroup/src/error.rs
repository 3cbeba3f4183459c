//! What goes wrong with the files of cgroups.

use std::io;
use std::path::PathBuf;

use pinpod_kernel::process::ProcessError;
use pinpod_model::{Classify, ErrorClass};

/// Why a cgroup could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// It cannot be made.
    #[error("cannot make the cgroup {}", directory.display())]
    Create {
        /// Its directory.
        directory: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// Processes or other cgroups are still in it.
    #[error("the cgroup {} is in use", directory.display())]
    Busy {
        /// Its directory.
        directory: PathBuf,
    },
    /// It cannot be removed.
    #[error("cannot remove the cgroup {}", directory.display())]
    Remove {
        /// Its directory.
        directory: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A process cannot be put into it.
    #[error("cannot add process {pid} to {}", file.display())]
    Join {
        /// Process id.
        pid: u32,
        /// The `cgroup.procs` file.
        file: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A file is not in the form that the kernel documents.
    #[error("cannot understand {}", file.display())]
    Parse {
        /// The file.
        file: PathBuf,
    },
    /// The kernel does not take a value.
    #[error("cannot write {value:?} to {}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// The value.
        value: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The node lacks a controller.
    #[error("the cgroup controller {controller} that {setting} needs is not there on this node")]
    NoController {
        /// The controller.
        controller: String,
        /// What needs it.
        setting: String,
    },
    /// A key of `unified` that is not the name of a cgroup file.
    #[error("{key:?} is not the name of a cgroup v2 file")]
    BadUnifiedKey {
        /// The key.
        key: String,
    },
    /// A process in it cannot be signalled.
    #[error("cannot end the processes of a cgroup")]
    Kill(#[from] ProcessError),
    /// Processes went on in spite of SIGKILL, which is the kernel's doing (`D` state).
    #[error("{count} processes of the cgroup {cgroup} do not end")]
    NotEnding {
        /// The cgroup.
        cgroup: String,
        /// How many are left.
        count: usize,
    },
}

impl Classify for CgroupError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoController { .. } => ErrorClass::FailedPrecondition,
            Self::BadUnifiedKey { .. } => ErrorClass::InvalidArgument,
            Self::Write { source, .. } if source.kind() == io::ErrorKind::InvalidInput => {
                ErrorClass::InvalidArgument
            }
            _ => ErrorClass::Internal,
        }
    }
}
