//! Processes that are run in a container beside its first one.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pinpod_monitor_api::frame::Kind;
use pinpod_monitor_api::{ExecStream, ExecSync, Refusal, Reply};
use rustix::process::WaitStatus;

use crate::connection::Mode;
use crate::exit;
use crate::kill::kill_tree;
use crate::monitor::Monitor;
use crate::process::{Exec, ExecKind, Process, Role, Stage, Sync};
use crate::request::Refused;
use crate::runtime::{Born, Console, Files, Run, spawn};
use crate::stdio::Stdio;

/// The longest that a runtime may take to start a process, whatever the request allows.
const START_LIMIT: Duration = Duration::from_secs(120);

impl Monitor {
    /// Starts a process whose output is collected.
    pub(crate) fn exec_sync(
        &mut self,
        connection: u32,
        request: ExecSync,
    ) -> Result<Option<Reply>, Refused> {
        self.running(&request.container_id)?;
        let container = request.container_id;
        let now = Instant::now();
        let deadline = request
            .timeout_ms
            .and_then(|ms| now.checked_add(Duration::from_millis(ms)));
        let cap = usize::try_from(request.output_cap).unwrap_or(usize::MAX);
        let sync = Sync {
            deadline,
            stdout_left: cap,
            stderr_left: cap,
            truncated: false,
        };
        let root = self.root;
        let start = || {
            let (stdio, ends) = Stdio::pipes(false, root)?;
            let files = files(request.pid_file, request.runtime_log, request.scratch);
            let limit = now + START_LIMIT;
            let deadline = Some(deadline.map_or(limit, |at| at.min(limit)));
            let argv = &request.argv;
            let run = Run {
                argv,
                dir: "/".as_ref(),
                ends,
                console: None,
                files,
                deadline,
            };
            Ok((stdio, spawn(run)?))
        };
        let (stdio, starting) = start().map_err(|error: io::Error| {
            (
                Refusal::Internal,
                format!("cannot start a process in container {container}: {error}"),
            )
        })?;
        let kind = ExecKind::Sync(sync);
        let exec = Exec {
            connection: Some(connection),
            doomed: false,
            kind,
        };
        self.add_exec(Process {
            container,
            stage: Stage::Starting(starting),
            stdio,
            role: Role::Exec(exec),
            attached: vec![connection],
        });
        Ok(None)
    }

    /// Starts a process whose stdio is streamed.
    pub(crate) fn exec_stream(
        &mut self,
        connection: u32,
        request: ExecStream,
    ) -> Result<Option<Reply>, Refused> {
        self.running(&request.container_id)?;
        let container = request.container_id;
        let root = self.root;
        let start = || {
            let socket = request.console_socket.as_deref();
            let (stdio, ends) = match socket {
                Some(_) => Stdio::terminal(request.stdin, root)?,
                None => Stdio::pipes(request.stdin, root)?,
            };
            let console = socket.map(Console::listen).transpose()?;
            let files = files(request.pid_file, request.runtime_log, request.scratch);
            let limit = Duration::from_millis(request.start_timeout_ms).min(START_LIMIT);
            let deadline = Some(Instant::now() + limit);
            let run = Run {
                argv: &request.argv,
                dir: "/".as_ref(),
                ends,
                console,
                files,
                deadline,
            };
            Ok((stdio, spawn(run)?))
        };
        let (stdio, starting) = start().map_err(|error: io::Error| {
            (
                Refusal::Internal,
                format!("cannot start a process in container {container}: {error}"),
            )
        })?;
        let kind = ExecKind::Stream {
            stdin: request.stdin,
        };
        let exec = Exec {
            connection: Some(connection),
            doomed: false,
            kind,
        };
        self.add_exec(Process {
            container,
            stage: Stage::Starting(starting),
            stdio,
            role: Role::Exec(exec),
            attached: vec![connection],
        });
        Ok(None)
    }

    fn add_exec(&mut self, process: Process) {
        let id = self.new_id();
        for connection in &process.attached {
            self.set_mode(*connection, Mode::Executing { process: id });
        }
        self.processes.insert(id, process);
    }

    /// The runtime has made a process: a container's first one, or another.
    pub(crate) fn started(&mut self, id: u32, born: Born) {
        let Some(process) = self.processes.get(&id) else {
            return;
        };
        let Role::Exec(exec) = &process.role else {
            self.container_created(id, born);
            return;
        };
        if exec.doomed {
            kill_tree(born.pid);
            return;
        }
        if let (ExecKind::Stream { stdin }, Some(number)) = (&exec.kind, exec.connection) {
            let mode = Mode::Streaming {
                process: id,
                stdin: *stdin,
                stdout: true,
                stderr: true,
            };
            if let Some(connection) = self.connections.get_mut(&number) {
                connection.reply(&Reply::Streaming);
                connection.mode = mode;
            }
        }
    }

    /// The runtime has failed to make a process.
    pub(crate) fn failed(&mut self, id: u32, message: &str, timed_out: bool) {
        let Some(process) = self.processes.remove(&id) else {
            return;
        };
        let waiters = match process.role {
            Role::Init(init) => init.waiters,
            Role::Exec(exec) => exec.connection.into_iter().collect(),
        };
        self.answer(
            &waiters,
            &Reply::Failed {
                message: message.to_owned(),
                timed_out,
            },
        );
    }

    /// An exec'd process has ended, and its output was read.
    pub(crate) fn exec_exited(&mut self, id: u32, status: WaitStatus) {
        let Some(Process {
            role: Role::Exec(exec),
            ..
        }) = self.processes.remove(&id)
        else {
            return;
        };
        let code = exit::from_status(status, false).exit_code;
        let Some(number) = exec.connection else {
            return;
        };
        match exec.kind {
            ExecKind::Sync(sync) => {
                let truncated = sync.truncated;
                let reply = Reply::Executed {
                    exit_code: code,
                    timed_out: false,
                    truncated,
                };
                self.answer(&[number], &reply);
            }
            ExecKind::Stream { .. } => {
                if let Some(connection) = self.connections.get_mut(&number) {
                    connection.send_frame(Kind::Exit, &code.to_be_bytes());
                    connection.closing = true;
                }
            }
        }
    }

    /// The deadline of an `ExecSync` has passed: what there is of output goes out, and the process
    /// is killed without waiting for its end.
    pub(crate) fn exec_timed_out(&mut self, id: u32) {
        let role = self.processes.get(&id).map(|process| &process.role);
        if !matches!(
            role,
            Some(Role::Exec(Exec {
                kind: ExecKind::Sync(_),
                ..
            }))
        ) {
            return;
        }
        self.drain(id);
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        let Role::Exec(exec) = &mut process.role else {
            return;
        };
        let ExecKind::Sync(sync) = &mut exec.kind else {
            return;
        };
        sync.deadline = None;
        let truncated = sync.truncated;
        exec.doomed = true;
        let waiter = exec.connection.take();
        process.attached.clear();
        match &mut process.stage {
            Stage::Starting(starting) => starting.kill(),
            Stage::Alive(born) => kill_tree(born.pid),
            Stage::Exited(..) => {}
        }
        let reply = Reply::Executed {
            exit_code: -1,
            timed_out: true,
            truncated,
        };
        self.answer(waiter.as_slice(), &reply);
    }

    /// The connection of an exec was closed before it was done.
    pub(crate) fn exec_abandoned(&mut self, id: u32) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        let Role::Exec(exec) = &mut process.role else {
            return;
        };
        exec.connection = None;
        match (&process.stage, &exec.kind) {
            (Stage::Starting(_), _) => exec.doomed = true,
            (Stage::Alive(born), ExecKind::Sync(_)) => {
                exec.doomed = true;
                kill_tree(born.pid);
            }
            (Stage::Alive(_), ExecKind::Stream { .. }) => process.stdio.abandon(),
            (Stage::Exited(..), _) => {}
        }
    }
}

/// The process id and the log are of no use after the run.
fn files(pid_file: PathBuf, log: PathBuf, mut scratch: Vec<PathBuf>) -> Files {
    scratch.extend([pid_file.clone(), log.clone()]);
    Files {
        pid_file,
        log,
        scratch,
    }
}
