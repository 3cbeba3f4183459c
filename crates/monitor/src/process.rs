//! A process that the monitor looks after: a container's first one, or an exec'd one.

use std::path::PathBuf;
use std::time::Instant;

use pinpod_model::ContainerId;
use pinpod_monitor_api::Exit;

use crate::log_file::LogFile;
use crate::oom::OomCounter;
use crate::runtime::{Born, Starting};
use crate::stdio::Stdio;

/// A process, from the start of the runtime that makes it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) container: ContainerId,
    pub(crate) stage: Stage,
    pub(crate) stdio: Stdio,
    pub(crate) role: Role,
    /// Connections that get its output.
    pub(crate) attached: Vec<u32>,
}

/// Where it is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// The runtime runs.
    Starting(Starting),
    /// It is there.
    Alive(Born),
    /// It ended.
    Exited(Born, Exit),
}

/// What it is.
#[derive(Debug)]
pub(crate) enum Role {
    /// The first process of a container.
    Init(Box<Init>),
    /// Another process in it.
    Exec(Exec),
}

/// What is kept of a container.
#[derive(Debug)]
pub(crate) struct Init {
    pub(crate) log: LogFile,
    pub(crate) stdin_once: bool,
    pub(crate) exit_file: PathBuf,
    pub(crate) oom: Option<OomCounter>,
    /// Connections that wait for the creation.
    pub(crate) waiters: Vec<u32>,
}

/// What is kept of an exec.
#[derive(Debug)]
pub(crate) struct Exec {
    /// The connection that it belongs to, until it is closed.
    pub(crate) connection: Option<u32>,
    /// Nobody wants it any more: to be killed as soon as it is there.
    pub(crate) doomed: bool,
    pub(crate) kind: ExecKind,
}

/// How its output goes.
#[derive(Debug)]
pub(crate) enum ExecKind {
    /// Collected by the daemon.
    Sync(Sync),
    /// Streamed.
    Stream {
        /// Stdin frames are wanted.
        stdin: bool,
    },
}

/// Limits of an `ExecSync`.
#[derive(Debug)]
pub(crate) struct Sync {
    pub(crate) deadline: Option<Instant>,
    pub(crate) stdout_left: usize,
    pub(crate) stderr_left: usize,
    pub(crate) truncated: bool,
}

impl Process {
    /// Whether it is the first process of this container.
    pub(crate) fn is_init_of(&self, id: &ContainerId) -> bool {
        matches!(self.role, Role::Init(_)) && self.container == *id
    }

    /// Whether it is the first process of a container, and not ended.
    pub(crate) fn holds_monitor(&self) -> bool {
        matches!(self.role, Role::Init(_)) && !matches!(self.stage, Stage::Exited(..))
    }
}
