//! One error type for each operation of the engine. What waits for a job shares its error, so
//! replies carry `Arc`s.

mod container;
mod create;
mod pod;

use std::path::PathBuf;
use std::sync::Arc;

use pinpod_model::{Classify, ErrorClass};

pub use container::ContainerError;
pub use create::CreateContainerError;
pub use pod::{EndPodError, RunPodError, UpdatePodError};

/// An identifier in a request that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No pod sandbox has it.
    #[error("pod sandbox {0:?} is not known")]
    NoPod(String),
    /// No container has it.
    #[error("container {0:?} is not known")]
    NoContainer(String),
    /// A prefix that fits several.
    #[error("{0:?} is the beginning of more than one identifier")]
    Ambiguous(String),
}

impl Classify for LookupError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoPod(_) | Self::NoContainer(_) => ErrorClass::NotFound,
            Self::Ambiguous(_) => ErrorClass::InvalidArgument,
        }
    }
}

/// The task that owns a pod ended before it answered, which only happens when the pod was removed
/// in the meantime or the daemon shuts down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pod sandbox was removed in the meantime")]
pub struct PodGone;

/// What failed while something was taken away. All of it was tried.
#[derive(Debug, thiserror::Error)]
#[error("{object}: {}", .failures.join("; "))]
pub struct TeardownError {
    /// What was being torn down.
    pub object: String,
    /// Each failure with its causes.
    pub failures: Vec<String>,
}

/// A file or directory that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}", path = .path.display())]
pub struct FileError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

impl FileError {
    fn class(&self) -> ErrorClass {
        match self.source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                ErrorClass::ResourceExhausted
            }
            _ => ErrorClass::Internal,
        }
    }
}

/// Something is still mounted in a bundle.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct UnstageError(pub pinpod_kernel::mount::MountError);

/// The monitor of a pod could not be started or asked.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// It did not start.
    #[error("cannot start it")]
    Spawn(#[from] pinpod_monitor_api::SpawnError),
    /// It cannot be looked at.
    #[error(transparent)]
    Process(#[from] pinpod_kernel::process::ProcessError),
    /// It did not answer.
    #[error(transparent)]
    Client(#[from] pinpod_monitor_api::ClientError),
}

/// Shared result of a job that several requests may wait for.
pub(crate) type Shared<T, E> = Result<T, Arc<E>>;
