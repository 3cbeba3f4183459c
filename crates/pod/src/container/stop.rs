//! StopContainer: the signal, the grace period, SIGKILL.

use std::sync::Arc;
use std::time::Duration;

use pinpod_cgroup::CgroupPath;
use pinpod_kernel::process::{self, ProcessError, ProcessIdentity};
use pinpod_model::{ContainerId, Signal};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::driver::Chain;
use crate::error::ContainerError;
use crate::sandbox::blocking;
use crate::settings::Parts;
use crate::watch_process;

/// How often a process that survives SIGKILL (in an uninterruptible sleep, or frozen) gets it
/// again.
const KILL_AGAIN: Duration = Duration::from_secs(5);

/// What to stop, and how.
#[derive(Debug)]
pub(crate) struct StopOrder {
    pub(crate) id: ContainerId,
    pub(crate) process: ProcessIdentity,
    pub(crate) signal: Signal,
    pub(crate) cgroup: CgroupPath,
}

/// Stops a container's process and returns when it has ended. The deadline can be moved while this
/// runs.
pub(crate) async fn stop(
    parts: &Arc<Parts>,
    order: StopOrder,
    mut deadline: watch::Receiver<Instant>,
) -> Result<(), ContainerError> {
    let signal_error = |source: ProcessError| ContainerError::Signal {
        id: order.id.clone(),
        source,
    };
    let Some(pidfd) = process::open_pidfd(&order.process).map_err(signal_error)? else {
        return Ok(());
    };
    let wait_error = |source| ContainerError::Wait {
        id: order.id.clone(),
        source,
    };
    let pidfd = watch_process::readable(pidfd).map_err(wait_error)?;
    let first = *deadline.borrow_and_update();
    if first > Instant::now() {
        process::send_signal(pidfd.get_ref(), order.signal).map_err(signal_error)?;
        let mut until = first;
        loop {
            tokio::select! {
                ended = pidfd.readable() => {
                    ended.map_err(wait_error)?.retain_ready();
                    return Ok(());
                }
                () = tokio::time::sleep_until(until) => break,
                changed = deadline.changed() => match changed {
                    Ok(()) => until = *deadline.borrow_and_update(),
                    // The driver dropped the stop: the exit was told by the monitor.
                    Err(_) => return Ok(()),
                },
            }
        }
    }
    loop {
        process::send_signal(pidfd.get_ref(), Signal::KILL).map_err(signal_error)?;
        tokio::select! {
            ended = pidfd.readable() => {
                ended.map_err(wait_error)?.retain_ready();
                return Ok(());
            }
            () = tokio::time::sleep(KILL_AGAIN) => {
                tracing::warn!(container = %order.id, "it survives SIGKILL; killing all of its cgroup");
                kill_rest(parts, &order.id, &order.cgroup);
            }
        }
    }
}

/// Kills whatever is left in a container's cgroup, beside the caller.
pub(crate) fn kill_rest(parts: &Arc<Parts>, id: &ContainerId, cgroup: &CgroupPath) {
    let cgroups = parts.cgroups.clone();
    let (id, cgroup) = (id.clone(), cgroup.clone());
    tokio::spawn(async move {
        let killed = blocking(move || {
            if cgroups.exists(&cgroup) {
                cgroups.kill_all(&cgroup)
            } else {
                Ok(())
            }
        });
        if let Err(error) = killed.await {
            tracing::warn!(container = %id, error = %Chain(&error), "cannot kill its cgroup");
        }
    });
}
