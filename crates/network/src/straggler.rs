//! Plugins that still run for an attachment which is being undone.
//!
//! A plugin outlives the daemon that started it when that one is killed, and dies a moment after
//! the future that ran it was dropped. What it still sets up would come after the DEL, or between
//! its steps. A plugin and everything it starts have the pod's identifier in their environment.

use std::io;
use std::time::{Duration, Instant};

use pinpod_model::PodId;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The longest that plugins are left to end by themselves. One that is killed half-way leaves what
/// its own DEL may not understand, so they get time.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long killed ones are waited for; DEL runs then all the same.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// Waits until no plugin runs for a pod any more; kills those that still do after `deadline`.
pub(crate) async fn end(pod: &PodId, deadline: Duration) {
    let mark = format!("CNI_CONTAINERID={pod}").into_bytes();
    let begin = Instant::now();
    let patience = deadline.min(PATIENCE);
    let mut killed = false;
    loop {
        let kill = begin.elapsed() >= patience;
        let mark = mark.clone();
        let found = tokio::task::spawn_blocking(move || look(&mark, kill)).await;
        match found {
            Ok(Ok(0)) => return,
            Ok(Ok(count)) if kill && !killed => {
                tracing::warn!(%pod, count, "killed CNI plugins that ran on");
                killed = true;
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(%pod, %error, "cannot look for CNI plugins that run on");
                return;
            }
            // Only when the runtime shuts down.
            Err(_) => return,
        }
        if begin.elapsed() > patience + AFTER_KILL {
            tracing::warn!(%pod, "CNI plugins run on after SIGKILL");
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Counts the processes whose environment holds `mark`, and kills them when told to.
fn look(mark: &[u8], kill: bool) -> io::Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            continue;
        };
        if !is_marked(pid, mark) {
            continue;
        }
        count += 1;
        // The number may be another process's by now, so it is looked at again once it is held.
        if kill
            && let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
            && is_marked(pid, mark)
        {
            pidfd_send_signal(process, Signal::KILL).ok();
        }
    }
    Ok(count)
}

/// False for a process that is gone, or a zombie.
fn is_marked(pid: Pid, mark: &[u8]) -> bool {
    let path = format!("/proc/{}/environ", pid.as_raw_nonzero());
    let Ok(environment) = std::fs::read(path) else {
        return false;
    };
    environment
        .split(|byte| *byte == 0)
        .any(|entry| entry == mark)
}
