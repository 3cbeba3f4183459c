//! Starting `pinpod-init` as PID 1 of a new PID namespace.

use std::fs;
use std::io::{self, PipeReader, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::thread::UnshareFlags;

use crate::namespace::{EnterError, enter_here, unshare_thread};
use crate::process::{self, ProcessError, ProcessIdentity};
use crate::throwaway;

/// How long `pinpod-init` may take to confine itself; it needs well under a millisecond.
const READY_WITHIN: Duration = Duration::from_secs(5);

/// What a pod that shares its PID namespace needs started.
#[derive(Debug, Clone, Default)]
pub struct PodInitRequest {
    /// The `pinpod-init` program.
    pub binary: PathBuf,
    /// Pinned network namespace of the pod; `None` is the node's.
    pub netns: Option<PathBuf>,
    /// Pinned IPC namespace of the pod; `None` is the node's.
    pub ipcns: Option<PathBuf>,
    /// Pinned UTS namespace of the pod; `None` is the node's.
    pub utsns: Option<PathBuf>,
    /// Pinned user namespace of the pod, the owner of the new PID namespace; `None` is the node's.
    pub userns: Option<PathBuf>,
    /// `cgroup.procs` files that the process is put into.
    pub cgroup_procs: Vec<PathBuf>,
}

/// A running `pinpod-init`. Dropping this does not end it.
#[derive(Debug)]
pub struct PodInit {
    /// Its name for records.
    pub identity: ProcessIdentity,
    /// Readable when it has ended.
    pub pidfd: OwnedFd,
}

/// Why there is no `pinpod-init`. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// No thread can be made.
    #[error("cannot run a thread to start pinpod-init")]
    Thread(#[source] io::Error),
    /// A namespace of the pod cannot be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// There can be no new PID namespace.
    #[error("cannot make a PID namespace")]
    Unshare(#[source] io::Error),
    /// The program cannot be run.
    #[error("cannot run {}", binary.display())]
    Exec {
        /// The program.
        binary: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// It cannot be put into a cgroup.
    #[error("cannot add pinpod-init to {}", procs.display())]
    Cgroup {
        /// The `cgroup.procs` file.
        procs: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// It ended without saying that it is ready.
    #[error("pinpod-init ended before it was ready ({status})")]
    Ended {
        /// How it ended; the code tells the step that failed.
        status: ExitStatus,
    },
    /// It did not say in time that it is ready.
    #[error("pinpod-init was not ready within {} s", READY_WITHIN.as_secs())]
    NotReady,
    /// Its answer cannot be read.
    #[error("cannot hear from pinpod-init")]
    Hear(#[source] io::Error),
    /// It cannot be looked at.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// Starts `pinpod-init` as PID 1 of a new PID namespace and waits until it has confined itself. It
/// is a child of this process (see [`process::reap`]) in a session of its own, and outlives it.
///
/// # Errors
/// See [`SpawnError`].
pub fn spawn_pod_init(request: &PodInitRequest) -> Result<PodInit, SpawnError> {
    let (ready, child) = throwaway::run("pinpod-init", || start(request))
        .map_err(SpawnError::Thread)
        .flatten()?;
    finish(request, ready, child)
}

#[allow(
    clippy::disallowed_methods,
    reason = "this is the place that starts programs inside of namespaces"
)]
fn start(request: &PodInitRequest) -> Result<(PipeReader, Child), SpawnError> {
    let own: Vec<&Path> = [&request.netns, &request.ipcns, &request.utsns]
        .into_iter()
        .filter_map(|path| path.as_deref())
        .collect();
    enter_here(&own)?;
    let exec = |source| SpawnError::Exec {
        binary: request.binary.clone(),
        source,
    };
    let (reader, writer) = io::pipe().map_err(SpawnError::Hear)?;
    let mut command = Command::new(&request.binary);
    command
        .env_clear()
        .current_dir("/")
        .stdout(writer)
        .stderr(Stdio::null());
    match &request.userns {
        // A thread cannot enter a user namespace: the program does so itself, then makes the PID
        // namespace and forks PID 1 into it as a child of ours.
        Some(path) => {
            let file = fs::File::open(path).map_err(|source| {
                let path = path.clone();
                SpawnError::Enter(EnterError::Open { path, source })
            })?;
            command.arg("enter-user-namespace").stdin(file);
        }
        None => {
            unshare_thread(UnshareFlags::NEWPID).map_err(SpawnError::Unshare)?;
            command.stdin(Stdio::null());
        }
    }
    // Dropping the command closes our copy of the writing end, so that the reader sees the end.
    Ok((reader, command.spawn().map_err(exec)?))
}

fn finish(
    request: &PodInitRequest,
    ready: PipeReader,
    mut child: Child,
) -> Result<PodInit, SpawnError> {
    let heard = hear(ready);
    let forked = heard.as_ref().ok().and_then(|answer| answer.forked);
    let result = heard.and_then(|answer| match (answer.closed, answer.ready) {
        (true, true) => hold(request, answer.forked.unwrap_or(child.id())),
        // It closed its end without a word, so it has ended or is about to.
        (true, false) => Err(SpawnError::Ended {
            status: child.wait().map_err(SpawnError::Hear)?,
        }),
        (false, _) => Err(SpawnError::NotReady),
    });
    if let Some(pid) = forked {
        // The program that forked PID 1 has ended by itself.
        child.wait().map_err(SpawnError::Hear)?;
        if result.is_err() {
            end_forked(pid)?;
        }
    } else if result.is_err() {
        // Both fail only for a child that has ended and been waited for above.
        child.kill().ok();
        child.wait().ok();
    }
    result
}

/// What `pinpod-init` said: `R` when it is ready, `P` and a process id when it forked; and whether
/// it closed its end, as it does right after.
#[derive(Default)]
struct Answer {
    closed: bool,
    ready: bool,
    forked: Option<u32>,
}

fn hear(mut reader: PipeReader) -> Result<Answer, SpawnError> {
    let end = std::time::Instant::now() + READY_WITHIN;
    let mut bytes = Vec::new();
    loop {
        let left = end.saturating_duration_since(std::time::Instant::now());
        if !process::poll_readable(&reader, left).map_err(SpawnError::Hear)? {
            return Ok(parse_answer(&bytes));
        }
        let mut buffer = [0; 16];
        match reader.read(&mut buffer).map_err(SpawnError::Hear)? {
            0 => {
                return Ok(Answer {
                    closed: true,
                    ..parse_answer(&bytes)
                });
            }
            count => bytes.extend(&buffer[..count]),
        }
    }
}

fn parse_answer(mut bytes: &[u8]) -> Answer {
    let mut answer = Answer::default();
    loop {
        match bytes {
            [b'R', rest @ ..] => {
                answer.ready = true;
                bytes = rest;
            }
            [b'P', a, b, c, d, rest @ ..] => {
                answer.forked = Some(u32::from_le_bytes([*a, *b, *c, *d]));
                bytes = rest;
            }
            _ => return answer,
        }
    }
}

fn hold(request: &PodInitRequest, pid: u32) -> Result<PodInit, SpawnError> {
    let gone = || SpawnError::Hear(io::ErrorKind::NotFound.into());
    let identity = process::identify(pid)?.ok_or_else(gone)?;
    let pidfd = process::open_pidfd(&identity)?.ok_or_else(gone)?;
    for procs in &request.cgroup_procs {
        fs::write(procs, pid.to_string()).map_err(|source| SpawnError::Cgroup {
            procs: procs.clone(),
            source,
        })?;
    }
    Ok(PodInit { identity, pidfd })
}

fn end_forked(pid: u32) -> Result<(), SpawnError> {
    if let Some(identity) = process::identify(pid)?
        && let Some(pidfd) = process::open_pidfd(&identity)?
    {
        process::send_signal(&pidfd, pinpod_model::Signal::KILL)?;
        process::wait_exit(&pidfd, READY_WITHIN)?;
        process::reap(pid)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_any_order() {
        for (bytes, ready, forked) in [
            (&b""[..], false, None),
            (b"R", true, None),
            (b"P\x07\x01\0\0R", true, Some(263)),
            (b"RP\x07\0\0\0", true, Some(7)),
            (b"P\x07\0", false, None),
        ] {
            let answer = parse_answer(bytes);
            assert_eq!((answer.ready, answer.forked), (ready, forked), "{bytes:?}");
        }
    }
}
