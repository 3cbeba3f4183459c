//! A plugin's socket: calls go out, calls come in, and the end of it is known at once.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::frame::{
    FrameError, Kind, Message, MessageDecoder, MuxDecoder, PLUGIN_CONNECTION, RUNTIME_CONNECTION,
};
use crate::rpc::{self, Request, Response, Status};

/// Requests of a plugin that wait to be handled; more are refused.
const QUEUE: usize = 16;
/// How much is read at once, in bytes.
const CHUNK: usize = 64 << 10;
/// The service that plugins are.
const PLUGIN_SERVICE: &str = "nri.pkg.api.v1alpha1.Plugin";
/// The service that the runtime is.
const RUNTIME_SERVICE: &str = "nri.pkg.api.v1alpha1.Runtime";

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The connection ended.
    #[error("its connection is closed")]
    Closed,
    /// It did not answer in time.
    #[error("it did not answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// It answered something else than what was asked.
    #[error("its answer cannot be read")]
    Decode(#[from] prost::DecodeError),
    /// The request does not fit into a message.
    #[error("the request is too long")]
    TooLong(#[source] FrameError),
    /// It refused; the text is its own.
    #[error("{}", .0.message)]
    Status(Status),
}

/// A call of the plugin, to be answered through [`Connection::answer`].
#[derive(Debug)]
pub(crate) struct Incoming {
    stream: u32,
    pub(crate) method: String,
    pub(crate) payload: Bytes,
}

/// A plugin's socket. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    out: mpsc::Sender<Frames>,
    waiting: Mutex<HashMap<u32, oneshot::Sender<Response>>>,
    next_stream: AtomicU32,
    closed: CancellationToken,
}

/// Encoded frames.
type Frames = Vec<u8>;

impl Connection {
    /// Takes a socket into use; the plugin's calls come out of the receiver.
    pub(crate) fn open(socket: UnixStream) -> (Self, mpsc::Receiver<Incoming>) {
        let (out, outgoing) = mpsc::channel(QUEUE);
        let (incoming, calls) = mpsc::channel(QUEUE);
        let connection = Self {
            shared: Arc::new(Shared {
                out,
                waiting: Mutex::default(),
                next_stream: AtomicU32::new(1),
                closed: CancellationToken::new(),
            }),
        };
        let (reader, writer) = socket.into_split();
        let closed = connection.shared.closed.clone();
        tokio::spawn(async move {
            // Whoever waits for an answer is told by the reader.
            closed.run_until_cancelled(write(writer, outgoing)).await;
            closed.cancel();
        });
        let own = connection.clone();
        tokio::spawn(async move { own.serve(reader, incoming).await });
        (connection, calls)
    }

    /// Ends the connection; calls that wait fail at once.
    pub(crate) fn close(&self) {
        self.shared.closed.cancel();
    }

    /// Whether it has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.closed.is_cancelled()
    }

    /// Returns when it has ended.
    pub(crate) async fn closed(&self) {
        self.shared.closed.cancelled().await;
    }

    /// Calls a method of the plugin.
    pub(crate) async fn call<Q, A>(
        &self,
        method: &str,
        request: &Q,
        limit: Duration,
    ) -> Result<A, CallError>
    where
        Q: prost::Message,
        A: prost::Message + Default,
    {
        let request = Request {
            service: PLUGIN_SERVICE.to_owned(),
            method: method.to_owned(),
            payload: request.encode_to_vec().into(),
            timeout_nano: i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX),
        };
        // Those of a client are odd.
        let stream = self.shared.next_stream.fetch_add(2, Ordering::Relaxed);
        let frames = encode(PLUGIN_CONNECTION, stream, Kind::Request, &request)?;
        let (reply, answer) = oneshot::channel();
        self.waiting().insert(stream, reply);
        let answer = async {
            self.send(frames).await?;
            answer.await.map_err(|_| CallError::Closed)
        };
        let answer = tokio::select! {
            biased;
            answer = answer => answer,
            () = self.closed() => Err(CallError::Closed),
            () = tokio::time::sleep(limit) => Err(CallError::TimedOut(limit)),
        };
        self.waiting().remove(&stream);
        let answer = answer?;
        match answer.status {
            Some(status) if status.code != 0 => Err(CallError::Status(status)),
            _ => Ok(A::decode(answer.payload)?),
        }
    }

    /// Answers a call of the plugin. One that has gone away does not mind.
    pub(crate) async fn answer<A: prost::Message>(
        &self,
        call: &Incoming,
        result: Result<A, Status>,
    ) {
        let response = match result {
            Ok(answer) => Response {
                status: None,
                payload: answer.encode_to_vec().into(),
            },
            Err(status) => Response {
                status: Some(status),
                payload: Bytes::new(),
            },
        };
        match encode(RUNTIME_CONNECTION, call.stream, Kind::Response, &response) {
            Ok(frames) => drop(self.send(frames).await),
            Err(error) => tracing::warn!(%error, "cannot answer an NRI plugin"),
        }
    }

    async fn send(&self, frames: Vec<u8>) -> Result<(), CallError> {
        tokio::select! {
            biased;
            () = self.closed() => Err(CallError::Closed),
            sent = self.shared.out.send(frames) => sent.map_err(|_| CallError::Closed),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u32, oneshot::Sender<Response>>> {
        // Each change is one insert or remove, so poison leaves nothing half-done.
        self.shared
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads until the end, however it comes.
    async fn serve(&self, reader: OwnedReadHalf, incoming: mpsc::Sender<Incoming>) {
        let closed = self.shared.closed.clone();
        let ended = closed.run_until_cancelled(self.read(reader, incoming));
        if let Some(Err(error)) = ended.await {
            tracing::warn!(%error, "an NRI plugin's connection is broken");
        }
        closed.cancel();
        self.waiting().clear();
    }

    async fn read(
        &self,
        mut reader: OwnedReadHalf,
        incoming: mpsc::Sender<Incoming>,
    ) -> Result<(), ReadError> {
        let mut mux = MuxDecoder::default();
        let mut answers = MessageDecoder::default();
        let mut requests = MessageDecoder::default();
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = reader.read(&mut chunk).await?;
            if count == 0 {
                return Ok(());
            }
            mux.feed(chunk.get(..count).unwrap_or_default());
            while let Some((connection, bytes)) = mux.next_frame()? {
                match connection {
                    PLUGIN_CONNECTION => {
                        answers.feed(&bytes);
                        while let Some(message) = answers.next_message()? {
                            self.take_answer(message)?;
                        }
                    }
                    RUNTIME_CONNECTION => {
                        requests.feed(&bytes);
                        while let Some(message) = requests.next_message()? {
                            self.take_request(message, &incoming).await?;
                        }
                    }
                    // Both sides may open more; nobody here listens to them.
                    _ => {}
                }
            }
        }
    }

    fn take_answer(&self, message: Message) -> Result<(), ReadError> {
        if message.kind != Kind::Response {
            return Err(ReadError::Unexpected);
        }
        // One that came too late has nobody waiting.
        if let Some(reply) = self.waiting().remove(&message.stream) {
            drop(reply.send(Response::decode(message.payload)?));
        }
        Ok(())
    }

    async fn take_request(
        &self,
        message: Message,
        incoming: &mpsc::Sender<Incoming>,
    ) -> Result<(), ReadError> {
        if message.kind != Kind::Request {
            return Err(ReadError::Unexpected);
        }
        let Request {
            service,
            method,
            payload,
            ..
        } = Request::decode(message.payload)?;
        let call = Incoming {
            stream: message.stream,
            method,
            payload,
        };
        let refused = if service == RUNTIME_SERVICE {
            match incoming.try_send(call) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(call)) => {
                    (call, rpc::RESOURCE_EXHAUSTED, "too many requests at once")
                }
                Err(mpsc::error::TrySendError::Closed(call)) => {
                    (call, rpc::UNKNOWN, "the runtime has let the plugin go")
                }
            }
        } else {
            (call, rpc::UNIMPLEMENTED, "the runtime has no such service")
        };
        let (call, code, message) = refused;
        let message = message.to_owned();
        self.answer::<crate::api::Empty>(&call, Err(Status { code, message }))
            .await;
        Ok(())
    }
}

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Decode(#[from] prost::DecodeError),
    #[error("a message that does not belong on its connection")]
    Unexpected,
}

fn encode(
    connection: u32,
    stream: u32,
    kind: Kind,
    content: &impl prost::Message,
) -> Result<Vec<u8>, CallError> {
    let message = Message {
        stream,
        kind,
        flags: 0,
        payload: content.encode_to_vec().into(),
    };
    let mut frames = Vec::new();
    message
        .encode(connection, &mut frames)
        .map_err(CallError::TooLong)?;
    Ok(frames)
}

async fn write(mut writer: OwnedWriteHalf, mut outgoing: mpsc::Receiver<Frames>) {
    while let Some(frames) = outgoing.recv().await {
        if let Err(error) = writer.write_all(&frames).await {
            tracing::debug!(%error, "an NRI plugin reads no more");
            return;
        }
    }
}
