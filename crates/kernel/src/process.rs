//! Processes by a name that is never reused: process id and start time.
#![allow(
    unsafe_code,
    reason = "rustix only makes real-time signal numbers through an unsafe constructor"
)]

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use pinpod_model::Signal;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

/// A process for ever: a process id is used again, the pair is not (within one boot).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Process id as this process sees it.
    pub pid: u32,
    /// Field 22 of `/proc/<pid>/stat`: clock ticks from boot to the start of the process.
    pub start_time: u64,
}

/// Why a process cannot be looked at or signalled. A process that is gone is never an error.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// `/proc/<pid>/stat` cannot be read.
    #[error("cannot read the state of process {pid}")]
    ReadStat {
        /// Process id.
        pid: u32,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// `/proc/<pid>/stat` is not what `proc(5)` describes.
    #[error("the state of process {pid} has no start time")]
    ParseStat {
        /// Process id.
        pid: u32,
    },
    /// A process id of 0 or above `i32::MAX`.
    #[error("{pid} is not a process id")]
    BadPid {
        /// The number.
        pid: u32,
    },
    /// `pidfd_open` failed.
    #[error("cannot open a pidfd of process {pid}")]
    Open {
        /// Process id.
        pid: u32,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// `pidfd_send_signal` failed, most likely with `EPERM`.
    #[error("cannot send {signal}")]
    Signal {
        /// The signal.
        signal: Signal,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// `waitid` or `poll` failed.
    #[error("cannot wait for the process")]
    Wait {
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A file of the own process under `/proc` cannot be read or understood.
    #[error("cannot read {file}")]
    OwnState {
        /// The file.
        file: &'static str,
        /// Cause.
        #[source]
        source: io::Error,
    },
}

/// Names the process that has this id now; `None` when there is none (or only a zombie's id that
/// was reaped meanwhile).
///
/// # Errors
/// `/proc` cannot be read or parsed.
pub fn identify(pid: u32) -> Result<Option<ProcessIdentity>, ProcessError> {
    let text = match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(text) => text,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(source) => return Err(ProcessError::ReadStat { pid, source }),
    };
    let start_time = parse_start_time(&text).ok_or(ProcessError::ParseStat { pid })?;
    Ok(Some(ProcessIdentity { pid, start_time }))
}

/// Opens a pidfd (close-on-exec) of exactly this process; `None` when it is gone.
///
/// # Errors
/// The kernel refuses, or `/proc` cannot be read.
pub fn open_pidfd(identity: &ProcessIdentity) -> Result<Option<OwnedFd>, ProcessError> {
    let pid = identity.pid;
    let raw = to_pid(pid)?;
    let fd = match rustix::process::pidfd_open(raw, PidfdFlags::empty()) {
        Ok(fd) => fd,
        Err(Errno::SRCH) => return Ok(None),
        Err(errno) => {
            let source = errno.into();
            return Err(ProcessError::Open { pid, source });
        }
    };
    // Only now that the pidfd holds the process can the start time be trusted to be its own.
    Ok((identify(pid)? == Some(*identity)).then_some(fd))
}

/// Sends a signal through a pidfd. `false` when the process is gone.
///
/// # Errors
/// The kernel refuses.
pub fn send_signal(pidfd: impl AsFd, signal: Signal) -> Result<bool, ProcessError> {
    // SAFETY: the number is in 1..=64 by construction of `Signal`, and it is only sent, so that no
    // handler of this process can conflict with what libc uses real-time signals for.
    let raw = unsafe { rustix::process::Signal::from_raw_unchecked(signal.number()) };
    match rustix::process::pidfd_send_signal(pidfd, raw) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(errno) => {
            let source = errno.into();
            Err(ProcessError::Signal { signal, source })
        }
    }
}

/// Sends a signal to exactly this process. `false` when it is gone.
///
/// # Errors
/// The kernel refuses, or `/proc` cannot be read.
pub fn kill(identity: &ProcessIdentity, signal: Signal) -> Result<bool, ProcessError> {
    match open_pidfd(identity)? {
        Some(pidfd) => send_signal(pidfd, signal),
        None => Ok(false),
    }
}

/// Whether the process has not ended. A zombie has ended.
///
/// # Errors
/// The kernel refuses, or `/proc` cannot be read.
pub fn is_alive(identity: &ProcessIdentity) -> Result<bool, ProcessError> {
    match open_pidfd(identity)? {
        Some(pidfd) => Ok(!wait_exit(pidfd, Duration::ZERO)?),
        None => Ok(false),
    }
}

/// Waits until the process of a pidfd ends; `false` when it has not by then.
///
/// # Errors
/// `poll` fails.
pub fn wait_exit(pidfd: impl AsFd, at_most: Duration) -> Result<bool, ProcessError> {
    poll_readable(pidfd, at_most).map_err(|source| ProcessError::Wait { source })
}

/// Takes the exit status of an ended child, so that it is no zombie any more. `false` when it has
/// not ended yet or is not a child of this process (then nothing needs to be done here).
///
/// # Errors
/// `waitid` fails otherwise.
pub fn reap(pid: u32) -> Result<bool, ProcessError> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    loop {
        match rustix::process::waitid(WaitId::Pid(to_pid(pid)?), options) {
            Ok(status) => return Ok(status.is_some()),
            Err(Errno::CHILD) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(errno) => {
                let source = errno.into();
                return Err(ProcessError::Wait { source });
            }
        }
    }
}

/// The capabilities that this process can hand to a container, `CAP_…` names in the order of their
/// numbers: those in its bounding and in its permitted set. Asking an OCI runtime for another one
/// makes it fail.
///
/// # Errors
/// `/proc/self/status` cannot be read.
pub fn bounding_capabilities() -> Result<Vec<String>, ProcessError> {
    let file = "/proc/self/status";
    let own = |source| ProcessError::OwnState { file, source };
    let text = fs::read_to_string(file).map_err(own)?;
    let mask = capability_mask(&text)
        .ok_or_else(|| own(io::Error::other("no CapPrm and CapBnd lines")))?;
    Ok(capability_names(mask))
}

/// `oom_score_adj` of this process. Without `CAP_SYS_RESOURCE` no child can go below it.
///
/// # Errors
/// `/proc/self/oom_score_adj` cannot be read.
pub fn own_oom_score_adj() -> Result<i32, ProcessError> {
    let file = "/proc/self/oom_score_adj";
    let own = |source| ProcessError::OwnState { file, source };
    let text = fs::read_to_string(file).map_err(own)?;
    text.trim()
        .parse()
        .map_err(|error| own(io::Error::other(error)))
}

/// Waits until `fd` can be read or was hung up; `false` at the end of the time.
pub(crate) fn poll_readable(fd: impl AsFd, at_most: Duration) -> io::Result<bool> {
    let end = std::time::Instant::now() + at_most;
    loop {
        let left = end.saturating_duration_since(std::time::Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn to_pid(pid: u32) -> Result<Pid, ProcessError> {
    i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(ProcessError::BadPid { pid })
}

/// `ESRCH` comes from a read when the process ended after the open.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

/// The command name (field 2) may hold spaces and parentheses, so fields count from the last one.
fn parse_start_time(stat: &str) -> Option<u64> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn capability_mask(status: &str) -> Option<u64> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    Some(field("CapPrm:")? & field("CapBnd:")?)
}

fn capability_names(mask: u64) -> Vec<String> {
    CAPABILITIES
        .iter()
        .enumerate()
        .filter(|(number, _)| mask >> number & 1 == 1)
        .map(|(_, name)| format!("CAP_{name}"))
        .collect()
}

/// `capabilities(7)`, by number.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_is_found_behind_any_name() {
        let tail = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        for name in ["sh", "a b", "x) S 1 (y", ""] {
            let stat = format!("7 ({name}) {tail}");
            assert_eq!(parse_start_time(&stat), Some(4711), "{name:?}");
        }
        for bad in ["", "7 (sh", "7 (sh) S 1"] {
            assert_eq!(parse_start_time(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn capabilities_by_number() {
        let status = "CapPrm:\t0000000000200001\nCapBnd:\t000001ffffffffff\n";
        let mask = capability_mask(status).unwrap();
        assert_eq!(capability_names(mask), ["CAP_CHOWN", "CAP_SYS_ADMIN"]);
        assert_eq!(capability_mask("CapPrm:\t1\n"), None);
        assert!(!bounding_capabilities().unwrap().is_empty());
    }

    #[test]
    fn a_child_is_found_killed_and_reaped_once() {
        let child = spawn_sleep();
        let identity = identify(child).unwrap().unwrap();
        assert!(is_alive(&identity).unwrap());
        let other = ProcessIdentity {
            start_time: identity.start_time + 1,
            ..identity
        };
        assert!(open_pidfd(&other).unwrap().is_none());
        assert!(!kill(&other, Signal::KILL).unwrap());

        let pidfd = open_pidfd(&identity).unwrap().unwrap();
        assert!(!reap(child).unwrap());
        assert!(send_signal(&pidfd, Signal::KILL).unwrap());
        assert!(wait_exit(&pidfd, Duration::from_secs(5)).unwrap());
        assert!(!is_alive(&identity).unwrap());
        assert!(reap(child).unwrap());
        assert!(!reap(child).unwrap());
        assert!(!send_signal(&pidfd, Signal::KILL).unwrap());
        assert!(open_pidfd(&identity).unwrap().is_none());
    }

    #[test]
    fn identity_is_plain_json() {
        let identity = identify(std::process::id()).unwrap().unwrap();
        let text = serde_json::to_string(&identity).unwrap();
        assert_eq!(
            serde_json::from_str::<ProcessIdentity>(&text).unwrap(),
            identity
        );
    }

    #[allow(clippy::disallowed_methods, reason = "a child to watch")]
    fn spawn_sleep() -> u32 {
        std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap()
            .id()
    }
}
