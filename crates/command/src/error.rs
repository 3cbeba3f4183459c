//! Why a program did not run to its own end.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use pinpod_model::{Classify, ErrorClass};

/// A program that could not be run to its own end. One that ended with a failure status is no
/// error here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// There is no such program.
    #[error("program {} does not exist", program.display())]
    NotFound {
        /// As the caller named it.
        program: PathBuf,
    },
    /// The kernel did not start it.
    #[error("cannot start {}", program.display())]
    Spawn {
        /// As the caller named it.
        program: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// Its stdio or its end could not be waited for; its process group was killed.
    #[error("cannot talk to {}", program.display())]
    Io {
        /// As the caller named it.
        program: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// It did not end in time; its process group was killed.
    #[error("{} did not end within {deadline:?}", program.display())]
    TimedOut {
        /// As the caller named it.
        program: PathBuf,
        /// The time it had.
        deadline: Duration,
    },
    /// It wrote more than the cap; its process group was killed.
    #[error("{} wrote more than {cap} bytes", program.display())]
    TooMuchOutput {
        /// As the caller named it.
        program: PathBuf,
        /// The cap on each of stdout and stderr.
        cap: usize,
    },
    /// A service closed its stdout before it said that it is ready.
    #[error("{} ended before it was ready", program.display())]
    NotReady {
        /// As the caller named it.
        program: PathBuf,
    },
}

impl Classify for RunError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound { .. } => ErrorClass::Unavailable,
            Self::TimedOut { .. } => ErrorClass::DeadlineExceeded,
            Self::TooMuchOutput { .. } => ErrorClass::ResourceExhausted,
            Self::Spawn { .. } | Self::Io { .. } | Self::NotReady { .. } => ErrorClass::Internal,
        }
    }
}
