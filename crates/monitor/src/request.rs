//! What a daemon sends: greetings, requests, stream frames.

use pinpod_model::ContainerId;
use pinpod_monitor_api::frame::Kind;
use pinpod_monitor_api::{Hello, Refusal, Reply, Request, StreamFrame, VERSION};

use crate::connection::{Connection, Mode};
use crate::monitor::Monitor;
use crate::process::{Role, Stage};

/// A request that is not carried out: why, and in words.
pub(crate) type Refused = (Refusal, String);

impl Monitor {
    /// Handles the frames that a connection has sent, as far as its state lets.
    pub(crate) fn handle_input(&mut self, id: u32) {
        while self.handle_frame(id) {}
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if !connection.eof || connection.closing {
            connection.dead |= connection.hung_up && connection.closing;
            return;
        }
        if let Mode::Streaming { process, stdin, .. } = connection.mode {
            // A client may close its half and go on reading.
            connection.dead |= connection.hung_up;
            if stdin {
                self.stdin_ended(process);
            }
        } else {
            connection.dead = true;
        }
    }

    /// Handles one frame; `false` when there is none to handle now.
    fn handle_frame(&mut self, id: u32) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        if connection.dead || connection.closing {
            return false;
        }
        match connection.mode {
            Mode::Creating | Mode::Executing { .. } | Mode::Subscribed => false,
            Mode::Streaming { process, stdin, .. } => {
                let full = |id| {
                    self.processes
                        .get(id)
                        .is_some_and(|it| it.stdio.stdin_is_full())
                };
                if full(&process) {
                    return false;
                }
                let Some((kind, payload)) = connection.take_frame() else {
                    return false;
                };
                match StreamFrame::from_parts(kind, &payload) {
                    Ok(frame) => self.stream_frame(process, stdin, frame),
                    Err(_) => connection.dead = true,
                }
                true
            }
            Mode::New => {
                let Some((kind, payload)) = connection.take_frame() else {
                    return false;
                };
                greet(connection, kind, &payload, &self.hello);
                true
            }
            Mode::Idle => {
                let Some((kind, payload)) = connection.take_frame() else {
                    return false;
                };
                match serde_json::from_slice(&payload) {
                    Ok(request) if kind == Kind::Message => self.handle_request(id, request),
                    Ok(_) => connection.dead = true,
                    Err(error) => {
                        connection.refuse(Refusal::Invalid, format!("not a request: {error}"));
                    }
                }
                true
            }
        }
    }

    fn handle_request(&mut self, id: u32, request: Request) {
        let result = match request {
            Request::CreateContainer(request) => self.create_container(id, request),
            Request::ExecSync(request) => self.exec_sync(id, request),
            Request::ExecStream(request) => self.exec_stream(id, request),
            Request::Attach(request) => self.attach(id, &request),
            Request::ResizeTty {
                container_id,
                width,
                height,
            } => self
                .resize(&container_id, width, height)
                .map(|()| Some(Reply::Done)),
            Request::ReopenLog { container_id } => {
                self.reopen_log(&container_id).map(|()| Some(Reply::Done))
            }
            Request::Forget { container_id } => {
                self.forget(&container_id).map(|()| Some(Reply::Done))
            }
            Request::List => Ok(Some(Reply::Containers(self.entries()))),
            Request::Subscribe => {
                self.set_mode(id, Mode::Subscribed);
                Ok(Some(Reply::Subscribed {
                    exits: self.exits(),
                }))
            }
            Request::Shutdown => {
                self.shutdown = true;
                Ok(Some(Reply::Done))
            }
        };
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        match result {
            Ok(Some(reply)) => connection.reply(&reply),
            // It will be answered when it is done.
            Ok(None) => {}
            Err((reason, message)) => connection.refuse(reason, message),
        }
    }

    /// Bytes and news for a process's stdin or terminal.
    fn stream_frame(&mut self, id: u32, stdin: bool, frame: StreamFrame) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        match frame {
            StreamFrame::Stdin(bytes) if stdin => process.stdio.write(&bytes),
            StreamFrame::StdinClosed if stdin => self.stdin_ended(id),
            StreamFrame::Resize { width, height } => {
                // Without a terminal there is no size to set: no reason to end the stream.
                process.stdio.resize(width, height).ok();
            }
            StreamFrame::Stdin(_)
            | StreamFrame::StdinClosed
            | StreamFrame::Stdout(_)
            | StreamFrame::Stderr(_)
            | StreamFrame::Exit { .. } => {}
        }
    }

    /// The sender of stdin has no more. A container's stdin outlives it unless it is for one.
    fn stdin_ended(&mut self, id: u32) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        let for_one = match &process.role {
            Role::Init(init) => init.stdin_once,
            Role::Exec(_) => true,
        };
        if for_one {
            process.stdio.close_stdin();
        }
    }

    /// The process of a container that is there and has not ended.
    pub(crate) fn running(&mut self, id: &ContainerId) -> Result<u32, Refused> {
        match self.init_of(id) {
            None => Err((Refusal::NotFound, format!("no container {id} here"))),
            Some((number, Stage::Alive(_))) => Ok(number),
            Some((_, Stage::Starting(_))) => Err((
                Refusal::NotRunning,
                format!("container {id} is being created"),
            )),
            Some((_, Stage::Exited(..))) => {
                Err((Refusal::NotRunning, format!("container {id} has exited")))
            }
        }
    }

    /// The first process of a container and its stage.
    pub(crate) fn init_of(&self, id: &ContainerId) -> Option<(u32, &Stage)> {
        let mut all = self.processes.iter();
        all.find(|(_, it)| it.is_init_of(id))
            .map(|(&number, it)| (number, &it.stage))
    }
}

fn greet(connection: &mut Connection, kind: Kind, payload: &[u8], ours: &Hello) {
    let theirs = serde_json::from_slice::<Hello>(payload).ok();
    match theirs.filter(|_| kind == Kind::Message) {
        Some(theirs) => {
            connection.hello(ours);
            connection.closing = theirs.version != VERSION;
            connection.mode = Mode::Idle;
        }
        None => connection.dead = true,
    }
}
