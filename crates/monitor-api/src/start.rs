//! Starts the monitor of a pod.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pinpod_command::{Command, RunError};
use pinpod_model::{Classify, ErrorClass};

use crate::{Hello, LOG_NAME, VERSION};

/// How long a monitor may take until it listens. It takes some milliseconds; the rest is for a
/// machine under load.
const READY_DEADLINE: Duration = Duration::from_secs(20);

/// A monitor that did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The program did not run, or died before it listened; its last words are in the pod's
    /// `monitor.log`.
    #[error("cannot start the monitor of {}", pod_dir.display())]
    Run {
        /// The pod's directory.
        pod_dir: PathBuf,
        /// What happened.
        #[source]
        source: RunError,
    },
    /// It started, but did not introduce itself as it should.
    #[error("{} is not a monitor of version {VERSION}: it says {line:?}", binary.display())]
    Hello {
        /// The program.
        binary: PathBuf,
        /// Its first line.
        line: String,
    },
}

impl Classify for SpawnError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Run { source, .. } => source.class(),
            Self::Hello { .. } => ErrorClass::Internal,
        }
    }
}

/// Starts `binary` as the monitor of the pod in `pod_dir`. When this returns, it listens on the
/// pod's socket and belongs to a session of its own; it lives on when the daemon ends, however
/// that happens. Its stderr goes to `monitor.log` in `pod_dir`.
///
/// `root` are the user and group of the node that are root in the pod's user namespace, if it has
/// one: they own the stdio of its containers.
///
/// The daemon must not hold an earlier monitor of the same pod to be alive: the new one takes the
/// socket over.
///
/// # Errors
/// [`SpawnError`]; no monitor is left then.
pub async fn spawn_monitor(
    binary: &Path,
    pod_dir: &Path,
    root: Option<(u32, u32)>,
) -> Result<Hello, SpawnError> {
    let mut command = Command::new(binary).arg("--pod-dir").arg(pod_dir);
    if let Some((user, group)) = root {
        command = command.arg("--root").arg(format!("{user}:{group}"));
    }
    let started = command
        .start_service(&pod_dir.join(LOG_NAME), READY_DEADLINE)
        .await
        .map_err(|source| SpawnError::Run {
            pod_dir: pod_dir.to_owned(),
            source,
        })?;
    match serde_json::from_str::<Hello>(&started.line) {
        Ok(hello) if hello.version == VERSION && hello.pid == started.pid => Ok(hello),
        _ => Err(SpawnError::Hello {
            binary: binary.to_owned(),
            line: started.line,
        }),
    }
}
