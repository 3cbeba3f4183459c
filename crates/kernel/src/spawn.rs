//! Starting `pinpod-init` as PID 1 of a new PID namespace.

use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions};

use crate::fork_exec::{EXEC, FAILED, ForkExec, fork_exec};
use crate::namespace::{EnterError, enter_here};
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
    /// There can be no process in a new PID namespace, or none in its cgroup.
    #[error("cannot fork pinpod-init")]
    Fork(#[source] io::Error),
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

fn start(request: &PodInitRequest) -> Result<(PipeReader, Pid), SpawnError> {
    let own: Vec<&Path> = [&request.netns, &request.ipcns, &request.utsns]
        .into_iter()
        .filter_map(|path| path.as_deref())
        .collect();
    enter_here(&own)?;
    let (reader, writer) = io::pipe().map_err(SpawnError::Fork)?;
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(SpawnError::Fork)?;
    // A thread cannot enter a user namespace: the program does so itself, then makes the PID
    // namespace and forks PID 1 into it as a child of ours.
    let user = match &request.userns {
        Some(path) => Some(File::open(path).map_err(|source| {
            let path = path.clone();
            SpawnError::Enter(EnterError::Open { path, source })
        })?),
        None => None,
    };
    let pid = fork_exec(&ForkExec {
        program: &request.binary,
        argument: user.is_some().then_some("enter-user-namespace"),
        stdin: user.as_ref().unwrap_or(&null).as_fd(),
        stdout: writer.as_fd(),
        stderr: null.as_fd(),
        cgroup_procs: &request.cgroup_procs,
        pid_namespace: user.is_none(),
    });
    // Our copy of the writing end is closed on return, so that the reader sees the end.
    Ok((reader, to_pid(pid.map_err(SpawnError::Fork)?)?))
}

fn to_pid(pid: u32) -> Result<Pid, ProcessError> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    raw.ok_or(ProcessError::BadPid { pid })
}

/// Waits for the end of a child that has ended or is about to.
fn wait(child: Pid) -> Result<ExitStatus, SpawnError> {
    loop {
        match rustix::process::waitpid(Some(child), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(ExitStatus::from_raw(status.as_raw())),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(SpawnError::Hear(errno.into())),
        }
    }
}

fn finish(request: &PodInitRequest, ready: PipeReader, child: Pid) -> Result<PodInit, SpawnError> {
    let heard = hear(ready);
    let forked = heard.as_ref().ok().and_then(|answer| answer.forked);
    let own = child.as_raw_nonzero().get().unsigned_abs();
    let mut ended = None;
    let result = heard.and_then(|answer| match (answer.closed, answer.ready) {
        (true, true) => hold(answer.forked.unwrap_or(own)),
        // It closed its end without being ready, so it has ended or is about to.
        (true, false) => {
            let status = *ended.insert(wait(child)?);
            Err(match answer.failed {
                Some((step, source)) => failed_step(request, step, source),
                None => SpawnError::Ended { status },
            })
        }
        (false, _) => Err(SpawnError::NotReady),
    });
    if let Some(pid) = forked {
        // The program that forked PID 1 has ended by itself.
        if ended.is_none() {
            wait(child)?;
        }
        if result.is_err() {
            end_forked(pid)?;
        }
    } else if result.is_err() && ended.is_none() {
        rustix::process::kill_process(child, Signal::KILL)
            .map_err(|errno| SpawnError::Hear(errno.into()))?;
        wait(child)?;
    }
    result
}

/// What went wrong between fork and exec.
fn failed_step(request: &PodInitRequest, step: u8, source: io::Error) -> SpawnError {
    let cgroup = usize::from(step).checked_sub(usize::from(EXEC) + 1);
    match cgroup.and_then(|index| request.cgroup_procs.get(index)) {
        Some(procs) => SpawnError::Cgroup {
            procs: procs.clone(),
            source,
        },
        None => SpawnError::Exec {
            binary: request.binary.clone(),
            source,
        },
    }
}

/// What `pinpod-init` said: `R` when it is ready, `P` and a process id when it forked, or
/// [`FAILED`] when it never ran; and whether it closed its end, as it does right after.
#[derive(Default)]
struct Answer {
    closed: bool,
    ready: bool,
    forked: Option<u32>,
    failed: Option<(u8, io::Error)>,
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
            [FAILED, step, a, b, c, d, rest @ ..] => {
                let errno = i32::from_le_bytes([*a, *b, *c, *d]);
                answer.failed = Some((*step, io::Error::from_raw_os_error(errno)));
                bytes = rest;
            }
            _ => return answer,
        }
    }
}

fn hold(pid: u32) -> Result<PodInit, SpawnError> {
    let gone = || SpawnError::Hear(io::ErrorKind::NotFound.into());
    let identity = process::identify(pid)?.ok_or_else(gone)?;
    let pidfd = process::open_pidfd(&identity)?.ok_or_else(gone)?;
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
            assert!(answer.failed.is_none(), "{bytes:?}");
        }
        let (step, error) = parse_answer(b"E\x02\x0d\0\0\0").failed.unwrap();
        assert_eq!((step, error.raw_os_error()), (2, Some(13)));
    }
}
