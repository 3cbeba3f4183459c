//! Requests, replies and events, as JSON.

use std::ffi::OsString;
use std::path::PathBuf;

use pinpod_model::ContainerId;
use serde::{Deserialize, Serialize};

/// Version of this protocol. A daemon talks to monitors that an older daemon started, so a change
/// that an old monitor would not understand needs a new number and a way to speak the old one.
pub const VERSION: u32 = 1;

/// The first message of each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the protocol that this side speaks.
    pub version: u32,
    /// Its process id.
    pub pid: i32,
    /// When that process started, in clock ticks after boot (`/proc/<pid>/stat`, field 22): tells
    /// it from a later process of the same number.
    pub start_time: u64,
}

/// The file and the key in it that count how often the kernel killed for want of memory:
/// `memory.events` and `oom_kill` on cgroup v2, `memory.oom_control` and `oom_kill` on v1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OomFile {
    /// Absolute path. It need not exist before the container is created.
    pub path: PathBuf,
    /// First word of the line with the counter.
    pub key: String,
}

/// Create a container: run the OCI runtime's `create` with the container's stdio.
///
/// The same request for a container that was created, or is being created, joins it: the answer is
/// the same. The request goes on when the connection is closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateContainer {
    /// The container.
    pub id: ContainerId,
    /// Full command line of the runtime's `create`, its own options included.
    pub argv: Vec<OsString>,
    /// The bundle; working directory of the runtime.
    pub bundle: PathBuf,
    /// The file that `argv` names for the process id.
    pub pid_file: PathBuf,
    /// For a container with a terminal: the socket that `argv` names (`--console-socket`). The
    /// monitor listens on it before it runs the runtime, and removes it after. At most 107 bytes.
    pub console_socket: Option<PathBuf>,
    /// Keep stdin open for attach; otherwise stdin is `/dev/null` (of no meaning with a terminal).
    pub stdin: bool,
    /// Close stdin when the first attach that has it ends.
    pub stdin_once: bool,
    /// The CRI log; `None` throws the output away (attach still gets it).
    pub log_path: Option<PathBuf>,
    /// Where [`Exit`] is written as JSON, by write and rename.
    pub exit_file: PathBuf,
    /// Where OOM kills are counted; `None` never reports one.
    pub oom: Option<OomFile>,
    /// The file that `argv` names for the runtime's own log, to pass its error on.
    pub runtime_log: PathBuf,
    /// How long the runtime may take, in milliseconds.
    pub timeout_ms: u64,
}

/// Run a process in a container and collect its output.
///
/// `argv` runs the runtime's `exec` with `--detach` and `--pid-file`, so that the process becomes
/// a child of the monitor and the runtime does not stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecSync {
    /// The container.
    pub container_id: ContainerId,
    /// Full command line of the runtime's `exec`.
    pub argv: Vec<OsString>,
    /// The file that `argv` names for the process id; removed by the monitor.
    pub pid_file: PathBuf,
    /// The file that `argv` names for the runtime's own log; removed by the monitor.
    pub runtime_log: PathBuf,
    /// Files to remove when the runtime has ended, as the process's JSON.
    pub scratch: Vec<PathBuf>,
    /// How long all of it may take, in milliseconds; `None` is without limit.
    pub timeout_ms: Option<u64>,
    /// Bytes of stdout and of stderr, each, that are passed on; what follows is read and dropped.
    pub output_cap: u64,
}

/// Run a process in a container and stream its stdio over this connection.
///
/// When the connection is closed first, stdin is closed and the process's output is thrown away;
/// a process with a terminal gets SIGHUP by that. It is not killed otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecStream {
    /// The container.
    pub container_id: ContainerId,
    /// Full command line of the runtime's `exec`, with `--detach` and `--pid-file`.
    pub argv: Vec<OsString>,
    /// The file that `argv` names for the process id; removed by the monitor.
    pub pid_file: PathBuf,
    /// The file that `argv` names for the runtime's own log; removed by the monitor.
    pub runtime_log: PathBuf,
    /// Files to remove when the runtime has ended, as the process's JSON.
    pub scratch: Vec<PathBuf>,
    /// For a process with a terminal: as in [`CreateContainer::console_socket`].
    pub console_socket: Option<PathBuf>,
    /// Whether stdin frames will come; otherwise its stdin is `/dev/null`.
    pub stdin: bool,
    /// How long the runtime may take to start the process, in milliseconds.
    pub start_timeout_ms: u64,
}

/// Stream the stdio of a container's first process over this connection, from now on.
///
/// Several clients may be attached to one container; each gets all output. A client that reads
/// slowly slows the container down, and one that reads nothing for five seconds while its queue is
/// full is cut off, so that neither the container nor its log waits for a dead client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// The container.
    pub container_id: ContainerId,
    /// Whether stdin frames will come.
    pub stdin: bool,
    /// Whether stdout, or the terminal's output, is wanted.
    pub stdout: bool,
    /// Whether stderr is wanted.
    pub stderr: bool,
}

/// What the daemon asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// See [`CreateContainer`]. Answered with `Created` or `Failed`.
    CreateContainer(CreateContainer),
    /// See [`ExecSync`]. Answered with `Executed` or `Failed`.
    ExecSync(ExecSync),
    /// See [`ExecStream`]. Answered with `Streaming` or `Failed`.
    ExecStream(ExecStream),
    /// See [`Attach`]. Answered with `Streaming`.
    Attach(Attach),
    /// Set the size of a container's terminal. Answered with `Done`.
    ResizeTty {
        /// The container.
        container_id: ContainerId,
        /// Columns.
        width: u16,
        /// Rows.
        height: u16,
    },
    /// Open the log file again by its path, after it was renamed. Answered with `Done` when the
    /// new file is open.
    ReopenLog {
        /// The container.
        container_id: ContainerId,
    },
    /// The container was removed: drop its state. Refused while it runs. Answered with `Done`,
    /// also when it is not known.
    Forget {
        /// The container.
        container_id: ContainerId,
    },
    /// All containers. Answered with `Containers`.
    List,
    /// Exits so far and from now on. Answered with `Subscribed`, then [`Event`]s.
    Subscribe,
    /// End as soon as no container is being created or runs. Answered with `Done`.
    Shutdown,
}

/// How a container's first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit status, or 128 + the signal that ended it.
    pub exit_code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When, in nanoseconds of Unix time.
    pub finished_at_ns: i64,
    /// The kernel killed in its cgroup for want of memory, and it ended by SIGKILL or with 137.
    pub oom_killed: bool,
}

/// Where a container is, as the monitor knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The runtime's `create` runs.
    Creating,
    /// The first process is there, started or not.
    Alive {
        /// Its process id.
        pid: i32,
        /// Its start time (see [`Hello::start_time`]).
        start_time: u64,
    },
    /// The first process ended.
    Exited(Exit),
}

/// One container of `Reply::Containers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerEntry {
    /// The container.
    pub id: ContainerId,
    /// Where it is.
    pub phase: Phase,
    /// Log lines that could not be written, as the disk was full.
    pub lost_log_lines: u64,
}

/// Why a request was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// No such container here.
    NotFound,
    /// The container's process ended, or is not there yet.
    NotRunning,
    /// The container runs.
    Running,
    /// The request is wrong: a bad path, a terminal asked of a container that has none.
    Invalid,
    /// The monitor could not do it (a system call failed).
    Internal,
}

/// What the monitor answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The container is created.
    Created {
        /// Process id of its first process.
        pid: i32,
        /// Its start time (see [`Hello::start_time`]); 0 when it is gone already.
        start_time: u64,
    },
    /// The process ended, or was killed at its deadline. All its output was sent before.
    Executed {
        /// Exit code; -1 when it timed out.
        exit_code: i32,
        /// The deadline passed; the process was killed.
        timed_out: bool,
        /// Output beyond the cap was dropped.
        truncated: bool,
    },
    /// Stream frames follow.
    Streaming,
    /// Done.
    Done,
    /// Answer to `List`.
    Containers(Vec<ContainerEntry>),
    /// Answer to `Subscribe`.
    Subscribed {
        /// Containers that have ended and are not forgotten.
        exits: Vec<(ContainerId, Exit)>,
    },
    /// The runtime failed.
    Failed {
        /// The runtime's own words, where it left any.
        message: String,
        /// It was killed at the deadline.
        timed_out: bool,
    },
    /// The request was not carried out.
    Refused {
        /// Why.
        reason: Refusal,
        /// In words; names the object.
        message: String,
    },
}

/// What a subscriber is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The first process of a container ended; its exit file is written.
    Exited {
        /// The container.
        id: ContainerId,
        /// How.
        exit: Exit,
    },
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn requests_come_back_as_they_were() {
        let id = ContainerId::generate().unwrap();
        let request = Request::ExecSync(ExecSync {
            container_id: id,
            argv: vec!["runc".into(), OsString::from_vec(vec![0xff, b'a'])],
            pid_file: "/p".into(),
            runtime_log: "/l".into(),
            scratch: vec!["/s".into()],
            timeout_ms: None,
            output_cap: 16 << 20,
        });
        let json = serde_json::to_vec(&request).unwrap();
        assert_eq!(serde_json::from_slice::<Request>(&json).unwrap(), request);
    }
}
