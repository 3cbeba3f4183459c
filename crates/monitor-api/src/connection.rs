//! One connection to a monitor: frames over tokio's Unix stream.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::frame::{self, FrameError, Kind};
use crate::{ClientError, Hello, Reply, Request, VERSION};

/// The reading half.
#[derive(Debug)]
pub(crate) struct Receiver {
    socket: Arc<Path>,
    half: BufReader<OwnedReadHalf>,
}

/// The writing half.
#[derive(Debug)]
pub(crate) struct Sender {
    socket: Arc<Path>,
    half: OwnedWriteHalf,
}

/// Both halves.
#[derive(Debug)]
pub(crate) struct Connection {
    receiver: Receiver,
    sender: Sender,
}

impl Connection {
    /// Connects and sends `Hello` and, with it, the request.
    pub(crate) async fn open(
        socket: &Arc<Path>,
        request: Option<&Request>,
    ) -> Result<(Self, Hello), ClientError> {
        let stream = UnixStream::connect(socket)
            .await
            .map_err(|e| io_error(socket, e))?;
        let (read, write) = stream.into_split();
        let mut connection = Self {
            receiver: Receiver {
                socket: Arc::clone(socket),
                half: BufReader::with_capacity(frame::MAX_CHUNK, read),
            },
            sender: Sender {
                socket: Arc::clone(socket),
                half: write,
            },
        };
        let mut bytes = Vec::with_capacity(1024);
        let ours = Hello {
            version: VERSION,
            pid: i32::try_from(std::process::id()).unwrap_or_default(),
            start_time: 0,
        };
        connection.receiver.encode(&ours, &mut bytes)?;
        if let Some(request) = request {
            connection.receiver.encode(request, &mut bytes)?;
        }
        connection.sender.write(&bytes).await?;
        let theirs: Hello = connection.receiver.message().await?;
        if theirs.version != VERSION {
            let socket = PathBuf::from(&**socket);
            return Err(ClientError::Version {
                socket,
                theirs: theirs.version,
            });
        }
        Ok((connection, theirs))
    }

    pub(crate) fn receiver(&mut self) -> &mut Receiver {
        &mut self.receiver
    }

    pub(crate) fn into_parts(self) -> (Receiver, Sender) {
        (self.receiver, self.sender)
    }
}

impl Sender {
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.half
            .write_all(bytes)
            .await
            .map_err(|e| io_error(&self.socket, e))
    }
}

impl Receiver {
    /// The next frame; `None` at the end of the connection.
    pub(crate) async fn frame(&mut self) -> Result<Option<(Kind, Vec<u8>)>, ClientError> {
        let mut header = [0; frame::HEADER_LEN];
        match self.half.read_exact(&mut header).await {
            Ok(_) => {}
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(io_error(&self.socket, error)),
        }
        let (kind, len) = frame::decode_header(header).map_err(|e| self.frame_error(e))?;
        let mut payload = vec![0; len];
        self.half
            .read_exact(&mut payload)
            .await
            .map_err(|e| io_error(&self.socket, e))?;
        Ok(Some((kind, payload)))
    }

    /// The next frame, which must be a message.
    pub(crate) async fn message<T: DeserializeOwned>(&mut self) -> Result<T, ClientError> {
        match self.frame().await? {
            None => Err(ClientError::Gone {
                socket: self.socket.to_path_buf(),
            }),
            Some((Kind::Message, payload)) => self.parse(&payload),
            Some((kind, _)) => Err(self.unexpected(format!("a frame of kind {kind:?}"))),
        }
    }

    /// The next message as a reply, with refusals and failures as errors.
    pub(crate) async fn reply(&mut self) -> Result<Reply, ClientError> {
        let reply = self.message().await?;
        self.judge(reply)
    }

    /// Turns refusals and failures into errors.
    pub(crate) fn judge(&self, reply: Reply) -> Result<Reply, ClientError> {
        match reply {
            Reply::Refused { reason, message } => Err(ClientError::Refused { reason, message }),
            Reply::Failed {
                message,
                timed_out: false,
            } => Err(ClientError::Runtime { message }),
            Reply::Failed {
                message,
                timed_out: true,
            } => Err(ClientError::RuntimeTimedOut { message }),
            other => Ok(other),
        }
    }

    pub(crate) fn parse<T: DeserializeOwned>(&self, payload: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(payload).map_err(|error| self.unexpected(error.to_string()))
    }

    pub(crate) fn unexpected(&self, what: String) -> ClientError {
        ClientError::Unexpected {
            socket: self.socket.to_path_buf(),
            what,
        }
    }

    pub(crate) fn frame_error(&self, source: FrameError) -> ClientError {
        ClientError::Frame {
            socket: self.socket.to_path_buf(),
            source,
        }
    }

    fn encode<T: Serialize>(&self, message: &T, out: &mut Vec<u8>) -> Result<(), ClientError> {
        let json = serde_json::to_vec(message)
            .map_err(|error| io_error(&self.socket, io::Error::other(error)))?;
        frame::encode(Kind::Message, &json, out).map_err(|error| self.frame_error(error))
    }
}

/// The errors of a socket whose other side does not exist any more.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
    )
}

fn io_error(socket: &Path, source: io::Error) -> ClientError {
    let socket = socket.to_path_buf();
    if is_gone(&source) {
        ClientError::Gone { socket }
    } else {
        ClientError::Io { socket, source }
    }
}
