//! Waiting for the end of a process that is not our child, by its pidfd.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use pinpod_kernel::process::{self, ProcessIdentity};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::driver::Chain;
use crate::record::EXIT_FILE;
use crate::sandbox::now;
use crate::snapshot::Exit;

/// A pidfd whose end of process can be awaited: it becomes readable then.
#[allow(
    deprecated,
    reason = "what is deprecated is unsound for types that lend out a descriptor; an OwnedFd is its own"
)]
pub(crate) fn readable(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}

/// Returns when the process has ended, also when it had before. A child of ours is reaped.
pub(crate) async fn gone(identity: ProcessIdentity) {
    match process::open_pidfd(&identity) {
        Ok(Some(pidfd)) => match readable(pidfd) {
            Ok(pidfd) => {
                if let Err(error) = pidfd.readable().await {
                    tracing::error!(pid = identity.pid, %error, "cannot wait for a process");
                }
            }
            Err(error) => tracing::error!(pid = identity.pid, %error, "cannot watch a process"),
        },
        Ok(None) => {}
        Err(error) => tracing::error!(error = %Chain(&error), "cannot watch a process"),
    }
    if let Err(error) = process::reap(identity.pid) {
        tracing::warn!(error = %Chain(&error), "cannot reap a process");
    }
}

/// How a container ended, if its monitor has noted that it did.
pub(crate) fn noted_exit(bundle: &Path) -> Option<Exit> {
    match pinpod_record::read_json::<pinpod_monitor_api::Exit>(&bundle.join(EXIT_FILE)) {
        Ok(exit) => exit.map(Exit::from),
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "cannot read how a container ended");
            None
        }
    }
}

/// How a container ended whose monitor is gone: what the monitor wrote before it died, or that
/// nobody knows.
pub(crate) fn exit_of_unwatched(bundle: &Path) -> Exit {
    noted_exit(bundle).unwrap_or_else(|| Exit {
        code: 255,
        finished_at: now(),
        oom_killed: false,
        message: "its monitor ended before it, so the exit code is not known".to_owned(),
    })
}

impl From<pinpod_monitor_api::Exit> for Exit {
    fn from(exit: pinpod_monitor_api::Exit) -> Self {
        Self {
            code: exit.exit_code,
            finished_at: exit.finished_at_ns,
            oom_killed: exit.oom_killed,
            message: String::new(),
        }
    }
}
