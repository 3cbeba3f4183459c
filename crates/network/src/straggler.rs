//! Plugins that still run for an attachment which is being undone.
//!
//! A plugin outlives the daemon that started it when that one is killed, and dies a moment after
//! the future that ran it was dropped. What it still sets up would come after the DEL, or between
//! its steps. A plugin and everything it starts have the pod's identifier in their environment.

use std::io;
use std::time::{Duration, Instant};

use pinpod_model::PodId;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How long killed processes are waited for; DEL runs then all the same.
const PATIENCE: Duration = Duration::from_secs(5);

/// Kills the plugins that run for a pod and waits until they are gone.
pub(crate) async fn end(pod: &PodId) {
    let mark = format!("CNI_CONTAINERID={pod}").into_bytes();
    let end = Instant::now() + PATIENCE;
    loop {
        let mark = mark.clone();
        let killed = tokio::task::spawn_blocking(move || kill_marked(&mark)).await;
        match killed {
            Ok(Ok(0)) => return,
            Ok(Ok(count)) => tracing::debug!(%pod, count, "killed CNI plugins that ran on"),
            Ok(Err(error)) => {
                tracing::warn!(%pod, %error, "cannot look for CNI plugins that run on");
                return;
            }
            // Only when the runtime shuts down.
            Err(_) => return,
        }
        if Instant::now() > end {
            tracing::warn!(%pod, "CNI plugins run on after SIGKILL");
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Kills every process whose environment holds `mark`, and returns how many there were.
fn kill_marked(mark: &[u8]) -> io::Result<usize> {
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
        // The number may be another process's by now, so it is looked at again once it is held.
        if let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
            && is_marked(pid, mark)
        {
            count += 1;
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
