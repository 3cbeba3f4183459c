//! What can fail of a container that is there.

use pinpod_model::{Classify, ContainerId, ErrorClass};

use super::{CreateContainerError, FileError, LookupError, MonitorError, PodGone, TeardownError};

/// An operation on an existing container failed.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// The identifier.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// Its state does not allow it.
    #[error("container {id} is {state}, so it cannot be {verb}")]
    State {
        /// The container.
        id: ContainerId,
        /// What it is.
        state: &'static str,
        /// What was asked, as a participle.
        verb: &'static str,
    },
    /// The handler that the pod was made with is no longer configured.
    #[error("runtime handler {0:?} is no longer configured")]
    NoHandler(String),
    /// The OCI runtime.
    #[error(transparent)]
    Runtime(#[from] pinpod_oci_runtime::RuntimeError),
    /// The monitor.
    #[error("the monitor of container {id} does not answer")]
    Monitor {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: MonitorError,
    },
    /// A signal could not be sent.
    #[error("cannot signal container {id}")]
    Signal {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: pinpod_kernel::process::ProcessError,
    },
    /// Its end could not be waited for.
    #[error("cannot wait for the end of container {id}")]
    Wait {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The record.
    #[error("cannot record the container's state")]
    Record(#[from] pinpod_record::RecordError),
    /// Not everything could be taken away.
    #[error(transparent)]
    Teardown(#[from] TeardownError),
    /// New limits that cannot be set.
    #[error(transparent)]
    Resources(#[from] pinpod_bundle::SpecError),
    /// The command of an exec could not be run; the text is the runtime's.
    #[error("cannot execute in container {id}: {message}")]
    Exec {
        /// The container.
        id: ContainerId,
        /// The runtime's message.
        message: String,
    },
    /// The command of an exec ran longer than it may.
    #[error("the command in container {id} did not end within {seconds} s")]
    ExecTimeout {
        /// The container.
        id: ContainerId,
        /// The limit.
        seconds: u64,
    },
    /// A file of the bundle.
    #[error(transparent)]
    File(#[from] FileError),
    /// NRI plugins do not want it.
    #[error("container {id}")]
    Plugin {
        /// The container.
        id: ContainerId,
        /// Who, and why.
        #[source]
        source: pinpod_nri::NriError,
    },
    /// Nothing can be checkpointed here.
    #[error("runtime handler {handler:?} cannot take a checkpoint: {lack}")]
    NoCheckpoints {
        /// The handler.
        handler: String,
        /// What is missing.
        lack: String,
    },
    /// A checkpoint took longer than it may.
    #[error("the checkpoint of container {id} was not taken within {seconds} s")]
    CheckpointTimeout {
        /// The container.
        id: ContainerId,
        /// The limit.
        seconds: u64,
    },
    /// Criu failed at a checkpoint.
    #[error("criu cannot save container {id}: {reason}")]
    Criu {
        /// The container.
        id: ContainerId,
        /// Criu's first error.
        reason: String,
        /// What the runtime says.
        #[source]
        source: pinpod_oci_runtime::RuntimeError,
    },
    /// A container made from a checkpoint does not start.
    #[error("cannot restore container {id}: {reason}")]
    Restore {
        /// The container.
        id: ContainerId,
        /// Criu's first error.
        reason: String,
        /// What the runtime says.
        #[source]
        source: Box<CreateContainerError>,
    },
    /// Removed while it was waited for.
    #[error(transparent)]
    Gone(#[from] PodGone),
}

impl Classify for ContainerError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Lookup(error) => error.class(),
            Self::State { .. } | Self::NoHandler(_) => ErrorClass::FailedPrecondition,
            Self::Monitor { .. } => ErrorClass::Unavailable,
            Self::Record(error) => error.class(),
            Self::Resources(error) => error.class(),
            Self::File(error) => error.class(),
            Self::Plugin { source, .. } => source.class(),
            Self::NoCheckpoints { .. } => ErrorClass::Unimplemented,
            Self::Restore { source, .. } => source.class(),
            Self::ExecTimeout { .. } | Self::CheckpointTimeout { .. } => {
                ErrorClass::DeadlineExceeded
            }
            Self::Gone(_) => ErrorClass::NotFound,
            Self::Runtime(_)
            | Self::Criu { .. }
            | Self::Signal { .. }
            | Self::Wait { .. }
            | Self::Teardown(_)
            | Self::Exec { .. } => ErrorClass::Internal,
        }
    }
}
