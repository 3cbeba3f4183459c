//! The state of the monitor and its loop: wait, handle what happened, settle.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixListener;
use std::time::Instant;

use pinpod_kernel::signal::SignalFd;
use pinpod_model::Signal;
use pinpod_monitor_api::Hello;
use rustix::event::epoll::EventFlags;
use rustix::process::{Pid, WaitOptions, WaitStatus, wait, waitpid};

use crate::complain;
use crate::connection::{Connection, Mode};
use crate::oom::OomCounter;
use crate::poller::{Channel, Poller, Token, Watch};
use crate::process::{Process, Role, Stage};
use crate::stdio::Root;

/// Bytes of one read.
const BUFFER: usize = 16 << 10;

/// Bytes taken from one stream in one turn, so that a loud process does not starve the others.
const TURN: usize = 64 << 10;

/// Bytes taken from one stream when its process has ended: more than a pipe holds, and bounded, as
/// its children may write for ever.
const DRAIN: usize = 1 << 20;

/// Everything there is.
#[derive(Debug)]
pub(crate) struct Monitor {
    pub(crate) hello: Hello,
    pub(crate) root: Option<Root>,
    listener: UnixListener,
    signals: SignalFd,
    pub(crate) poller: Poller,
    pub(crate) processes: BTreeMap<u32, Process>,
    pub(crate) connections: BTreeMap<u32, Connection>,
    /// Children that ended while a runtime was about to name its process: it may be one of them.
    orphans: Vec<(Pid, WaitStatus)>,
    last_id: u32,
    /// To end when no container holds it.
    pub(crate) shutdown: bool,
    buffer: Box<[u8]>,
}

impl Monitor {
    pub(crate) fn new(
        hello: Hello,
        root: Option<Root>,
        listener: UnixListener,
        signals: SignalFd,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        let on = Watch::On(EventFlags::IN);
        poller.watch(&listener, Token::Listener, &mut Watch::Off, on)?;
        poller.watch(&signals, Token::Signals, &mut Watch::Off, on)?;
        Ok(Self {
            hello,
            root,
            listener,
            signals,
            poller,
            processes: BTreeMap::new(),
            connections: BTreeMap::new(),
            orphans: Vec::new(),
            last_id: 0,
            shutdown: false,
            buffer: vec![0; BUFFER].into_boxed_slice(),
        })
    }

    /// Runs until it was told to end and no container holds it.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        while !(self.shutdown && self.is_free()) {
            let wait = self
                .next_deadline()
                .map(|at| at.saturating_duration_since(Instant::now()));
            for (token, flags) in self.poller.wait(wait)? {
                self.dispatch(token, flags);
            }
            self.expire(Instant::now());
            self.settle();
        }
        Ok(())
    }

    /// A number for a new process or connection. Numbers are not used again while they may still
    /// be in a batch of events.
    pub(crate) fn new_id(&mut self) -> u32 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            let id = self.last_id;
            if !self.processes.contains_key(&id) && !self.connections.contains_key(&id) {
                return id;
            }
        }
    }

    fn is_free(&self) -> bool {
        !self.processes.values().any(Process::holds_monitor)
    }

    fn dispatch(&mut self, token: Token, flags: EventFlags) {
        let readable = flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR);
        match token {
            Token::Listener => self.accept(),
            Token::Signals => self.take_signals(),
            Token::Connection(id) => {
                let Some(connection) = self.connections.get_mut(&id) else {
                    return;
                };
                if flags.contains(EventFlags::OUT) {
                    connection.flush();
                }
                if readable {
                    connection.receive(&mut self.buffer);
                }
                connection.hung_up |= flags.intersects(EventFlags::HUP | EventFlags::ERR);
            }
            Token::Oom(id) => {
                if let Some(oom) = self.oom_counter(id) {
                    oom.changed();
                }
            }
            Token::Stream(id, channel) => {
                let writable = flags.contains(EventFlags::OUT) || channel == Channel::Stdin;
                if let Some(process) = self.processes.get_mut(&id).filter(|_| writable) {
                    process.stdio.flush();
                }
                if readable && channel != Channel::Stdin {
                    self.pump(id, channel, TURN);
                }
            }
        }
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => match Connection::new(stream) {
                    Ok(connection) => {
                        let id = self.new_id();
                        self.connections.insert(id, connection);
                    }
                    Err(error) => complain(&format!("cannot take a connection: {error}")),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    complain(&format!("cannot accept a connection: {error}"));
                    return;
                }
            }
        }
    }

    fn take_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.next() {
            // SIGHUP and SIGINT are taken to be ignored. SIGCHLD says only that someone ended.
            if signal == Signal::TERM && self.is_free() {
                self.shutdown = true;
            }
        }
        self.reap();
    }

    /// Takes the status of every child that has ended, ours or inherited.
    ///
    /// A process can only become our child when the runtime that made it has ended, so runtimes
    /// come first: then a process is known by the time its own end is looked at.
    fn reap(&mut self) {
        let runtimes: Vec<(u32, Pid)> = self
            .processes
            .iter()
            .filter_map(|(&id, process)| match &process.stage {
                Stage::Starting(starting) => Some((id, starting.runtime)),
                Stage::Alive(_) | Stage::Exited(..) => None,
            })
            .collect();
        for (id, pid) in runtimes {
            if let Ok(Some((_, status))) = waitpid(Some(pid), WaitOptions::NOHANG) {
                self.runtime_ended(id, status);
            }
        }
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            self.child_ended(pid, status);
        }
        if !self
            .processes
            .values()
            .any(|it| matches!(it.stage, Stage::Starting(_)))
        {
            self.orphans = Vec::new();
        }
    }

    fn child_ended(&mut self, pid: Pid, status: WaitStatus) {
        let known = self
            .processes
            .iter()
            .find_map(|(&id, process)| match &process.stage {
                Stage::Starting(starting) if starting.runtime == pid => Some((id, true)),
                Stage::Alive(born) if born.pid == pid => Some((id, false)),
                Stage::Starting(_) | Stage::Alive(_) | Stage::Exited(..) => None,
            });
        match known {
            Some((id, true)) => self.runtime_ended(id, status),
            Some((id, false)) => self.process_ended(id, status),
            None => self.orphans.push((pid, status)),
        }
    }

    /// The runtime has made the process, or has failed to.
    fn runtime_ended(&mut self, id: u32, status: WaitStatus) {
        let Some(Process {
            stage: Stage::Starting(starting),
            stdio,
            role,
            ..
        }) = self.processes.get_mut(&id)
        else {
            return;
        };
        let mut result = starting.finish(status, stdio);
        let timed_out = starting.timed_out;
        let doomed = matches!(role, Role::Exec(exec) if exec.doomed);
        if let (Err(_), true) = (&result, doomed) {
            // Killed at its deadline it may still have left a process behind.
            result = starting.born().ok_or_else(String::new);
        }
        starting.files.remove();
        match result {
            Ok(born) => {
                if let Some(process) = self.processes.get_mut(&id) {
                    process.stage = Stage::Alive(born);
                }
                self.started(id, born);
                let ended = self.orphans.iter().position(|(pid, _)| *pid == born.pid);
                if let Some(index) = ended {
                    let (_, status) = self.orphans.swap_remove(index);
                    self.process_ended(id, status);
                }
            }
            Err(message) => self.failed(id, &message, timed_out),
        }
    }

    /// A process has ended: first its output, then its end.
    fn process_ended(&mut self, id: u32, status: WaitStatus) {
        // Before anything else: the counter goes with the cgroup.
        if let Some(oom) = self.oom_counter(id) {
            oom.look();
        }
        self.drain(id);
        match self.processes.get(&id).map(|process| &process.role) {
            Some(Role::Init(_)) => self.container_exited(id, status),
            Some(Role::Exec(_)) => self.exec_exited(id, status),
            None => {}
        }
    }

    fn oom_counter(&mut self, id: u32) -> Option<&mut OomCounter> {
        match &mut self.processes.get_mut(&id)?.role {
            Role::Init(init) => init.oom.as_mut(),
            Role::Exec(_) => None,
        }
    }

    /// Reads a stream until it has nothing, or a limit.
    pub(crate) fn pump(&mut self, id: u32, channel: Channel, limit: usize) {
        let Self {
            processes,
            connections,
            buffer,
            ..
        } = self;
        let Some(process) = processes.get_mut(&id) else {
            return;
        };
        process.pump(channel, limit, buffer, connections);
    }

    /// Reads all that an ending process has left.
    pub(crate) fn drain(&mut self, id: u32) {
        self.pump(id, Channel::Stdout, DRAIN);
        self.pump(id, Channel::Stderr, DRAIN);
    }

    /// Handles what connections have sent, closes those that are done, and watches every
    /// descriptor for what its state asks for.
    fn settle(&mut self) {
        let ids: Vec<u32> = self.connections.keys().copied().collect();
        for id in ids {
            self.handle_input(id);
        }
        let done = |connection: &Connection| {
            connection.dead || (connection.closing && connection.is_flushed())
        };
        let ids = self
            .connections
            .iter()
            .filter(|(_, it)| done(it))
            .map(|(&id, _)| id);
        for id in ids.collect::<Vec<u32>>() {
            if let Some(connection) = self.connections.remove(&id) {
                self.connection_closed(id, connection.mode);
            }
        }
        let Self {
            processes,
            connections,
            poller,
            ..
        } = self;
        for (&id, process) in processes {
            let full = |id: &u32| connections.get(id).is_some_and(Connection::is_full);
            let starting = matches!(process.stage, Stage::Starting(_));
            let read = !starting && !process.attached.iter().any(full);
            if let Err(error) = process.stdio.arm(poller, id, read) {
                let container = &process.container;
                complain(&format!(
                    "cannot watch a process of container {container}: {error}"
                ));
            }
        }
        for (&id, connection) in connections {
            if let Err(error) = connection.arm(poller, id) {
                complain(&format!("cannot watch a connection: {error}"));
                connection.dead = true;
            }
        }
    }

    /// The connection with its next request to come.
    pub(crate) fn set_mode(&mut self, id: u32, mode: Mode) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.mode = mode;
        }
    }
}
