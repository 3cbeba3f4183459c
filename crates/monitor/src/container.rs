//! Containers: creation, exit, and what is asked about them.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use pinpod_model::ContainerId;
use pinpod_monitor_api::frame::Kind;
use pinpod_monitor_api::{ContainerEntry, CreateContainer, Event, Exit, Phase, Refusal, Reply};
use rustix::process::WaitStatus;

use crate::complain;
use crate::connection::Mode;
use crate::exit;
use crate::log_file::LogFile;
use crate::monitor::Monitor;
use crate::oom::OomCounter;
use crate::process::{Init, Process, Role, Stage};
use crate::request::Refused;
use crate::runtime::{Born, Console, Files, Run, spawn};
use crate::stdio::{Root, Stdio};

impl Monitor {
    /// Starts the creation of a container, or joins it.
    pub(crate) fn create_container(
        &mut self,
        connection: u32,
        request: CreateContainer,
    ) -> Result<Option<Reply>, Refused> {
        let known = match self.init_of(&request.id) {
            None => None,
            Some((id, Stage::Starting(_))) => Some(id),
            Some((_, Stage::Alive(born) | Stage::Exited(born, _))) => {
                return Ok(Some(created(*born)));
            }
        };
        let id = match known {
            Some(id) => id,
            None => {
                let path = request.exit_file.clone();
                let process = prepare(request, self.root).map_err(|error| {
                    (
                        Refusal::Internal,
                        format!("cannot prepare {}: {error}", path.display()),
                    )
                })?;
                let id = self.new_id();
                self.processes.insert(id, process);
                id
            }
        };
        if let Some(Process {
            role: Role::Init(init),
            ..
        }) = self.processes.get_mut(&id)
        {
            init.waiters.push(connection);
        }
        self.set_mode(connection, Mode::Creating);
        Ok(None)
    }

    /// The container is created.
    pub(crate) fn container_created(&mut self, id: u32, born: Born) {
        let Some(Process {
            role: Role::Init(init),
            ..
        }) = self.processes.get_mut(&id)
        else {
            return;
        };
        if let Some(oom) = &mut init.oom {
            oom.begin(&self.poller, id);
        }
        let waiters = std::mem::take(&mut init.waiters);
        self.answer(&waiters, &created(born));
    }

    /// The first process of a container has ended, and its output was read.
    pub(crate) fn container_exited(&mut self, id: u32, status: WaitStatus) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        let (Role::Init(init), Stage::Alive(born)) = (&mut process.role, &process.stage) else {
            return;
        };
        let oom = init.oom.as_mut().is_some_and(OomCounter::end);
        let exit = exit::from_status(status, oom);
        if let Err(error) = exit::write_file(&init.exit_file, &exit) {
            complain(&format!(
                "cannot write {}: {error}",
                init.exit_file.display()
            ));
        }
        process.stage = Stage::Exited(*born, exit);
        let event = Event::Exited {
            id: process.container.clone(),
            exit,
        };
        for connection in std::mem::take(&mut process.attached) {
            if let Some(connection) = self.connections.get_mut(&connection) {
                connection.send_frame(Kind::Exit, &exit.exit_code.to_be_bytes());
                connection.closing = true;
            }
        }
        for connection in self.connections.values_mut() {
            if connection.mode == Mode::Subscribed {
                connection.event(&event);
            }
        }
        if oom {
            self.settle_oom_counters();
        }
    }

    /// The kernel's kill of one container is none of the others in the pod.
    fn settle_oom_counters(&mut self) {
        for process in self.processes.values_mut() {
            if let Role::Init(init) = &mut process.role
                && let Some(oom) = &mut init.oom
            {
                oom.settle();
            }
        }
    }

    /// Answers connections that wait, and lets them ask again.
    pub(crate) fn answer(&mut self, waiters: &[u32], reply: &Reply) {
        for id in waiters {
            if let Some(connection) = self.connections.get_mut(id) {
                connection.mode = Mode::Idle;
                connection.reply(reply);
            }
        }
    }

    pub(crate) fn resize(&mut self, id: &ContainerId, w: u16, h: u16) -> Result<(), Refused> {
        let number = self.running(id)?;
        let Some(process) = self.processes.get(&number) else {
            return Ok(());
        };
        process
            .stdio
            .resize(w, h)
            .map_err(|error| match error.kind() {
                io::ErrorKind::Unsupported => {
                    (Refusal::Invalid, format!("container {id} has no terminal"))
                }
                _ => (
                    Refusal::Internal,
                    format!("cannot resize the terminal of {id}: {error}"),
                ),
            })
    }

    /// Opens the log again, also of a container that has ended: its children may still write.
    pub(crate) fn reopen_log(&mut self, id: &ContainerId) -> Result<(), Refused> {
        for process in self.processes.values_mut().filter(|it| it.is_init_of(id)) {
            if let Role::Init(init) = &mut process.role {
                return init.log.reopen().map_err(|error| {
                    (
                        Refusal::Internal,
                        format!("cannot open the log of container {id}: {error}"),
                    )
                });
            }
        }
        Err((Refusal::NotFound, format!("no container {id} here")))
    }

    pub(crate) fn forget(&mut self, id: &ContainerId) -> Result<(), Refused> {
        match self.init_of(id) {
            None => Ok(()),
            Some((number, Stage::Exited(..))) => {
                self.drain(number);
                self.processes.remove(&number);
                Ok(())
            }
            Some((_, Stage::Alive(_) | Stage::Starting(_))) => {
                Err((Refusal::Running, format!("container {id} runs")))
            }
        }
    }

    /// All containers.
    pub(crate) fn entries(&self) -> Vec<ContainerEntry> {
        let entry = |process: &Process| {
            let Role::Init(init) = &process.role else {
                return None;
            };
            let phase = match &process.stage {
                Stage::Starting(_) => Phase::Creating,
                Stage::Alive(born) => Phase::Alive {
                    pid: born.pid.as_raw_nonzero().get(),
                    start_time: born.start_time,
                },
                Stage::Exited(_, exit) => Phase::Exited(*exit),
            };
            let lost_log_lines = init.log.lost();
            Some(ContainerEntry {
                id: process.container.clone(),
                phase,
                lost_log_lines,
            })
        };
        self.processes.values().filter_map(entry).collect()
    }

    /// Containers that have ended.
    pub(crate) fn exits(&self) -> Vec<(ContainerId, Exit)> {
        let exit = |process: &Process| match (&process.role, &process.stage) {
            (Role::Init(_), Stage::Exited(_, exit)) => Some((process.container.clone(), *exit)),
            _ => None,
        };
        self.processes.values().filter_map(exit).collect()
    }
}

fn created(born: Born) -> Reply {
    Reply::Created {
        pid: born.pid.as_raw_nonzero().get(),
        start_time: born.start_time,
    }
}

/// Opens the log and starts the runtime.
fn prepare(request: CreateContainer, root: Option<Root>) -> io::Result<Process> {
    let log = LogFile::open(request.log_path)?;
    let (stdio, ends) = match &request.console_socket {
        Some(_) => Stdio::terminal(request.stdin, root)?,
        None => Stdio::pipes(request.stdin, root)?,
    };
    let console = request
        .console_socket
        .as_deref()
        .map(Console::listen)
        .transpose()?;
    // The error of an earlier try is not this one's.
    match fs::remove_file(&request.runtime_log) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let files = Files {
        pid_file: request.pid_file,
        log: request.runtime_log,
        scratch: Vec::new(),
    };
    let starting = spawn(Run {
        argv: &request.argv,
        dir: &request.bundle,
        ends,
        console,
        files,
        deadline: Some(Instant::now() + Duration::from_millis(request.timeout_ms)),
    })?;
    let init = Init {
        log,
        stdin_once: request.stdin_once,
        exit_file: request.exit_file,
        oom: request.oom.map(OomCounter::new),
        waiters: Vec::new(),
    };
    Ok(Process {
        container: request.id,
        stage: Stage::Starting(starting),
        stdio,
        role: Role::Init(Box::new(init)),
        attached: Vec::new(),
    })
}
