//! Why the monitor could not be asked, or did not do what was asked.

use std::io;
use std::path::PathBuf;

use pinpod_model::{Classify, ErrorClass};

use crate::frame::FrameError;
use crate::{Refusal, VERSION};

/// An error of a [`crate::Client`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There is no monitor: no socket, nobody listens, or the connection ended in the middle.
    #[error("the monitor at {} is gone", socket.display())]
    Gone {
        /// Its socket.
        socket: PathBuf,
    },
    /// The monitor speaks another version.
    #[error("the monitor at {} speaks version {theirs}, not {VERSION}", socket.display())]
    Version {
        /// Its socket.
        socket: PathBuf,
        /// Its version.
        theirs: u32,
    },
    /// The connection failed otherwise.
    #[error("cannot talk to the monitor at {}", socket.display())]
    Io {
        /// Its socket.
        socket: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The monitor said something that is no frame.
    #[error("the monitor at {} sent what is no frame", socket.display())]
    Frame {
        /// Its socket.
        socket: PathBuf,
        /// What is wrong.
        #[source]
        source: FrameError,
    },
    /// The monitor said something that is no message, or not the one that fits.
    #[error("the monitor at {} gave an unexpected answer: {what}", socket.display())]
    Unexpected {
        /// Its socket.
        socket: PathBuf,
        /// What it said.
        what: String,
    },
    /// The monitor did not do it.
    #[error("refused by the monitor: {message}")]
    Refused {
        /// Why.
        reason: Refusal,
        /// In words; names the object.
        message: String,
    },
    /// The OCI runtime failed.
    #[error("OCI runtime: {message}")]
    Runtime {
        /// The runtime's own words.
        message: String,
    },
    /// The OCI runtime was killed at its deadline.
    #[error("the OCI runtime did not end in time: {message}")]
    RuntimeTimedOut {
        /// What it said until then.
        message: String,
    },
}

impl Classify for ClientError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Gone { .. } => ErrorClass::Unavailable,
            Self::RuntimeTimedOut { .. } => ErrorClass::DeadlineExceeded,
            Self::Refused { reason, .. } => match reason {
                Refusal::NotFound => ErrorClass::NotFound,
                Refusal::NotRunning | Refusal::Running => ErrorClass::FailedPrecondition,
                Refusal::Invalid => ErrorClass::InvalidArgument,
                Refusal::Internal => ErrorClass::Internal,
            },
            Self::Version { .. }
            | Self::Io { .. }
            | Self::Frame { .. }
            | Self::Unexpected { .. }
            | Self::Runtime { .. } => ErrorClass::Internal,
        }
    }
}
