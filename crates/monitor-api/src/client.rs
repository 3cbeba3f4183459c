//! The daemon's side, on tokio.

use std::path::Path;
use std::sync::Arc;

use pinpod_model::ContainerId;

use crate::connection::{Connection, Receiver, Sender};
use crate::frame::Kind;
use crate::{
    Attach, ClientError, ContainerEntry, CreateContainer, Event, ExecStream, ExecSync, Exit, Hello,
    Reply, Request, Stream,
};

/// Asks one monitor.
///
/// Each request has a connection of its own, so requests run side by side and a dropped future is a
/// closed connection: it kills an [`ExecSync`] process and leaves a [`CreateContainer`] running.
#[derive(Debug, Clone)]
pub struct Client {
    socket: Arc<Path>,
    hello: Hello,
}

/// What an [`ExecSync`] process left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Exit code; 128 + signal when by a signal; -1 when it timed out.
    pub exit_code: i32,
    /// Its stdout, up to the cap.
    pub stdout: Vec<u8>,
    /// Its stderr, up to the cap.
    pub stderr: Vec<u8>,
    /// It was killed at its deadline.
    pub timed_out: bool,
    /// Output beyond the cap was dropped.
    pub truncated: bool,
}

/// The start of a subscription: all exits so far, and those to come.
#[derive(Debug)]
pub struct Subscription {
    /// Containers that have ended and are not forgotten.
    pub exits: Vec<(ContainerId, Exit)>,
    /// What happens from now on. Its end means that the monitor is gone.
    pub events: Events,
}

/// Events of a monitor, as they happen.
#[derive(Debug)]
pub struct Events {
    receiver: Receiver,
    /// Held because dropping it closes the daemon's half, which ends a subscription.
    _sender: Sender,
}

impl Client {
    /// Connects to the monitor's socket and compares versions. Nothing stays open.
    ///
    /// # Errors
    /// [`ClientError::Gone`] when there is no monitor, [`ClientError::Version`].
    pub async fn connect(socket: &Path) -> Result<Self, ClientError> {
        let socket: Arc<Path> = socket.into();
        let (_, hello) = Connection::open(&socket, None).await?;
        Ok(Self { socket, hello })
    }

    /// Process id and start time of the monitor.
    #[must_use]
    pub fn hello(&self) -> Hello {
        self.hello
    }

    /// Path of the monitor's socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Creates a container. Returns process id and start time of its first process.
    ///
    /// # Errors
    /// [`ClientError::Runtime`] with the runtime's words, [`ClientError::RuntimeTimedOut`].
    pub async fn create_container(&self, it: CreateContainer) -> Result<(i32, u64), ClientError> {
        let (mut connection, reply) = self.ask(Request::CreateContainer(it)).await?;
        match reply {
            Reply::Created { pid, start_time } => Ok((pid, start_time)),
            other => Err(surprise(&mut connection, &other)),
        }
    }

    /// Runs a process to its end. Dropping the future kills the process.
    ///
    /// # Errors
    /// [`ClientError::Runtime`] when the process could not be started.
    pub async fn exec_sync(&self, it: ExecSync) -> Result<ExecOutput, ClientError> {
        let request = Request::ExecSync(it);
        let (mut connection, _) = Connection::open(&self.socket, Some(&request)).await?;
        let receiver = connection.receiver();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            match receiver.frame().await? {
                None => {
                    return Err(ClientError::Gone {
                        socket: self.socket.to_path_buf(),
                    });
                }
                Some((Kind::Stdout, bytes)) => stdout.extend_from_slice(&bytes),
                Some((Kind::Stderr, bytes)) => stderr.extend_from_slice(&bytes),
                Some((Kind::Message, bytes)) => {
                    let reply = receiver.parse(&bytes)?;
                    return match receiver.judge(reply)? {
                        Reply::Executed {
                            exit_code,
                            timed_out,
                            truncated,
                        } => Ok(ExecOutput {
                            exit_code,
                            stdout,
                            stderr,
                            timed_out,
                            truncated,
                        }),
                        other => Err(receiver.unexpected(format!("{other:?}"))),
                    };
                }
                Some((kind, _)) => {
                    return Err(receiver.unexpected(format!("a frame of kind {kind:?}")));
                }
            }
        }
    }

    /// Starts a process and returns its stdio.
    ///
    /// # Errors
    /// [`ClientError::Runtime`] when the process could not be started.
    pub async fn exec_stream(&self, it: ExecStream) -> Result<Stream, ClientError> {
        self.stream(Request::ExecStream(it)).await
    }

    /// The stdio of a container's first process.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when it does not run.
    pub async fn attach(&self, it: Attach) -> Result<Stream, ClientError> {
        self.stream(Request::Attach(it)).await
    }

    /// Sets the size of a container's terminal, in characters.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when it does not run or has no terminal.
    pub async fn resize_tty(
        &self,
        container_id: ContainerId,
        width: u16,
        height: u16,
    ) -> Result<(), ClientError> {
        self.done(Request::ResizeTty {
            container_id,
            width,
            height,
        })
        .await
    }

    /// Opens a container's log again by its path; returns when the new file is open.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when it is not known, or the file cannot be opened.
    pub async fn reopen_log(&self, container_id: ContainerId) -> Result<(), ClientError> {
        self.done(Request::ReopenLog { container_id }).await
    }

    /// Drops what the monitor knows of a container that was removed.
    ///
    /// # Errors
    /// [`ClientError::Refused`] while it runs.
    pub async fn forget(&self, container_id: ContainerId) -> Result<(), ClientError> {
        self.done(Request::Forget { container_id }).await
    }

    /// Lets the monitor end as soon as no container is being created or runs.
    ///
    /// # Errors
    /// Only those of the connection.
    pub async fn shutdown(&self) -> Result<(), ClientError> {
        self.done(Request::Shutdown).await
    }

    /// All containers of the monitor.
    ///
    /// # Errors
    /// Only those of the connection.
    pub async fn list(&self) -> Result<Vec<ContainerEntry>, ClientError> {
        let (mut connection, reply) = self.ask(Request::List).await?;
        match reply {
            Reply::Containers(entries) => Ok(entries),
            other => Err(surprise(&mut connection, &other)),
        }
    }

    /// All exits so far, and those to come: none is lost between the two.
    ///
    /// # Errors
    /// Only those of the connection.
    pub async fn subscribe(&self) -> Result<Subscription, ClientError> {
        let (mut connection, reply) = self.ask(Request::Subscribe).await?;
        match reply {
            Reply::Subscribed { exits } => {
                let (receiver, sender) = connection.into_parts();
                Ok(Subscription {
                    exits,
                    events: Events {
                        receiver,
                        _sender: sender,
                    },
                })
            }
            other => Err(surprise(&mut connection, &other)),
        }
    }

    async fn ask(&self, request: Request) -> Result<(Connection, Reply), ClientError> {
        let (mut connection, _) = Connection::open(&self.socket, Some(&request)).await?;
        let reply = connection.receiver().reply().await?;
        Ok((connection, reply))
    }

    async fn done(&self, request: Request) -> Result<(), ClientError> {
        let (mut connection, reply) = self.ask(request).await?;
        match reply {
            Reply::Done => Ok(()),
            other => Err(surprise(&mut connection, &other)),
        }
    }

    async fn stream(&self, request: Request) -> Result<Stream, ClientError> {
        let (mut connection, reply) = self.ask(request).await?;
        match reply {
            Reply::Streaming => Ok(Stream::new(connection)),
            other => Err(surprise(&mut connection, &other)),
        }
    }
}

impl Events {
    /// The next event; `None` when the monitor is gone.
    ///
    /// # Errors
    /// [`ClientError::Io`], [`ClientError::Frame`], [`ClientError::Unexpected`].
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        match self.receiver.frame().await? {
            None => Ok(None),
            Some((Kind::Message, payload)) => self.receiver.parse(&payload).map(Some),
            Some((kind, _)) => Err(self
                .receiver
                .unexpected(format!("a frame of kind {kind:?}"))),
        }
    }
}

fn surprise(connection: &mut Connection, reply: &Reply) -> ClientError {
    connection.receiver().unexpected(format!("{reply:?}"))
}
