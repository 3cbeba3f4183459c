//! A process group that ends with its owner.

use rustix::process::{Pid, Signal, kill_process_group};

/// Kills a process group with SIGKILL when dropped, unless it was let go.
///
/// The leader must not be reaped while this is armed: only then is the number surely still ours.
#[derive(Debug)]
pub(crate) struct GroupGuard(Option<Pid>);

impl GroupGuard {
    /// Guards the group led by `pid`.
    pub(crate) fn new(pid: Option<u32>) -> Self {
        Self(
            pid.and_then(|pid| i32::try_from(pid).ok())
                .and_then(Pid::from_raw),
        )
    }

    /// The group ended by itself, or may live on.
    pub(crate) fn let_go(mut self) {
        self.0 = None;
    }
}

impl Drop for GroupGuard {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // ESRCH: all of it is gone, which is what is wanted.
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}
