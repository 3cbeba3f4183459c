//! Why a runtime command did not do its work.

use std::fmt;

use pinpod_command::RunError;
use pinpod_model::{Classify, ContainerId, ErrorClass};

use crate::Kind;

/// A command of the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `start`
    Start,
    /// `kill`
    Kill,
    /// `delete`
    Delete,
    /// `update`
    Update,
    /// `pause`
    Pause,
    /// `resume`
    Resume,
    /// `state`
    State,
    /// `checkpoint`
    Checkpoint,
}

impl Operation {
    /// The subcommand.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Kill => "kill",
            Self::Delete => "delete",
            Self::Update => "update",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::State => "state",
            Self::Checkpoint => "checkpoint",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A runtime command that did not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The runtime knows no such container.
    #[error("cannot {operation} container {id}: the runtime does not know it")]
    NotFound {
        /// What was asked.
        operation: Operation,
        /// Of which container.
        id: ContainerId,
    },
    /// Its process has ended, or was never started.
    #[error("cannot {operation} container {id}: it does not run")]
    NotRunning {
        /// What was asked.
        operation: Operation,
        /// Of which container.
        id: ContainerId,
    },
    /// The runtime says that it failed.
    #[error("cannot {operation} container {id}: {message}")]
    Failed {
        /// What was asked.
        operation: Operation,
        /// Of which container.
        id: ContainerId,
        /// The runtime's own words.
        message: String,
    },
    /// It did not end in time, and was killed.
    #[error("cannot {operation} container {id}: the runtime did not end in time")]
    TimedOut {
        /// What was asked.
        operation: Operation,
        /// Of which container.
        id: ContainerId,
    },
    /// It did not run.
    #[error("cannot {operation} container {id}")]
    Run {
        /// What was asked.
        operation: Operation,
        /// Of which container.
        id: ContainerId,
        /// What happened.
        #[source]
        source: RunError,
    },
}

impl RuntimeError {
    /// The error of a command that ended with a failure status and these words.
    pub(crate) fn from_message(
        kind: Kind,
        operation: Operation,
        id: &ContainerId,
        message: String,
    ) -> Self {
        let id = id.clone();
        match meaning(kind, &message) {
            Meaning::NotFound => Self::NotFound { operation, id },
            Meaning::NotRunning => Self::NotRunning { operation, id },
            Meaning::Other => Self::Failed {
                operation,
                id,
                message,
            },
        }
    }

    /// The error of a command that did not end by itself.
    pub(crate) fn from_run(operation: Operation, id: &ContainerId, source: RunError) -> Self {
        let id = id.clone();
        if matches!(source, RunError::TimedOut { .. }) {
            Self::TimedOut { operation, id }
        } else {
            Self::Run {
                operation,
                id,
                source,
            }
        }
    }
}

impl Classify for RuntimeError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound { .. } => ErrorClass::NotFound,
            Self::NotRunning { .. } => ErrorClass::FailedPrecondition,
            Self::TimedOut { .. } => ErrorClass::DeadlineExceeded,
            Self::Run { source, .. } => source.class(),
            Self::Failed { .. } => ErrorClass::Internal,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    NotFound,
    NotRunning,
    Other,
}

/// Runtimes tell these cases apart in words alone, so the words are here, in one place, and tests
/// with real runtimes hold them to it.
fn meaning(kind: Kind, message: &str) -> Meaning {
    let any = |needles: &[&str]| needles.iter().any(|needle| message.contains(needle));
    let missing = any(&["No such file or directory", "os error 2"]);
    let not_found = match kind {
        Kind::Runc => any(&["container does not exist"]),
        // The status file is the first that crun opens; its directory is what `delete` opens.
        Kind::Crun => {
            missing && any(&["/status`", "cannot open directory"])
                || any(&["container does not exist"])
        }
        Kind::Youki => any(&["does not exist", "could not be found"]) || missing,
    };
    if not_found {
        Meaning::NotFound
    } else if any(&[
        "container not running",
        "process already finished",
        "no such process",
        "No such process",
        "is not running",
        "stopped container",
        "container is in `stopped` state",
        "already stopped",
    ]) {
        Meaning::NotRunning
    } else {
        Meaning::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_what_they_mean() {
        for (kind, message, expected) in [
            (Kind::Runc, "container does not exist", Meaning::NotFound),
            (Kind::Runc, "container not running", Meaning::NotRunning),
            (
                Kind::Runc,
                "os: process already finished",
                Meaning::NotRunning,
            ),
            (
                Kind::Runc,
                "cannot start a container that has stopped",
                Meaning::Other,
            ),
            (
                Kind::Crun,
                "error opening file `/r/x/status`: No such file or directory",
                Meaning::NotFound,
            ),
            (
                Kind::Crun,
                "cannot open directory '/r/x': No such file or directory",
                Meaning::NotFound,
            ),
            (
                Kind::Crun,
                "executable file `x`: No such file or directory",
                Meaning::Other,
            ),
            (
                Kind::Crun,
                "kill container: No such process",
                Meaning::NotRunning,
            ),
            (Kind::Youki, "container x does not exist", Meaning::NotFound),
        ] {
            assert_eq!(meaning(kind, message), expected, "{message}");
        }
    }
}
