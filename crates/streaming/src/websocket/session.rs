//! One WebSocket connection with numbered channels.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role};
use tokio_tungstenite::tungstenite::{self, Utf8Bytes};

use super::channel_frame::{ChannelFrame, Encoding, MessageError};
use super::config;
use crate::channel::{Budget, Feeder, Incoming, Out, Outgoing, incoming, out_queue};

/// How long a client is given to close the connection after all is said.
const LINGER: Duration = Duration::from_secs(5);

/// Why a connection ended before the application did.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// The connection failed, or what came is no WebSocket frame.
    #[error("the connection broke")]
    WebSocket(#[from] Box<tungstenite::Error>),
    /// What came is no message of the channel protocol.
    #[error(transparent)]
    Message(#[from] MessageError),
}

impl SessionError {
    /// What the client hears of it.
    fn close_frame(&self) -> Option<CloseFrame> {
        let code = match self {
            Self::Message(_) => CloseCode::Protocol,
            Self::WebSocket(error) => match **error {
                tungstenite::Error::Capacity(_) => CloseCode::Size,
                tungstenite::Error::Protocol(_) => CloseCode::Protocol,
                tungstenite::Error::Utf8(_) => CloseCode::Invalid,
                _ => return None,
            },
        };
        // The text of a close frame has at most 123 bytes; all of ours are shorter.
        let reason = match self {
            Self::Message(error) => error.to_string().into(),
            Self::WebSocket(_) => Utf8Bytes::from_static("the message is too long or malformed"),
        };
        Some(CloseFrame { code, reason })
    }
}

/// The channels of a connection, to be taken by their numbers.
#[derive(Debug)]
pub(crate) struct Channels {
    budget: Budget,
    feeders: HashMap<u8, Feeder>,
    queue: mpsc::Sender<Out>,
    queued: mpsc::Receiver<Out>,
}

impl Default for Channels {
    fn default() -> Self {
        let (queue, queued) = out_queue();
        Self {
            budget: Budget::default(),
            feeders: HashMap::new(),
            queue,
            queued,
        }
    }
}

impl Channels {
    /// What comes on a channel; what comes on others is dropped.
    pub(crate) fn input(&mut self, channel: u8) -> Incoming {
        let (feeder, incoming) = incoming(&self.budget);
        self.feeders.insert(channel, feeder);
        incoming
    }

    /// What goes on a channel.
    pub(crate) fn output(&self, channel: u8) -> Outgoing {
        Outgoing::new(channel.into(), self.queue.clone()).0
    }
}

/// Serves an upgraded connection until the client closes it or `app` returns; then everything that
/// was sent is written out, with a close frame of code 1000 at the end. Dropping the future closes
/// the connection.
///
/// # Errors
/// [`SessionError`] when the client broke the protocol or the connection failed.
pub(crate) async fn serve<IO>(
    io: IO,
    encoding: Encoding,
    channels: Channels,
    app: impl Future<Output = ()>,
) -> Result<(), SessionError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config())).await;
    let (sink, stream) = socket.split();
    let (finish, finished) = oneshot::channel();
    let mut finish = Some(finish);
    let mut reader = pin!(read(stream, encoding, channels.feeders));
    drop(channels.queue);
    let mut writer = pin!(write(sink, encoding, channels.queued, finished));
    let mut work = pin!(app);
    loop {
        tokio::select! {
            read = &mut reader => {
                if let Err(error) = &read
                    && let Some(frame) = error.close_frame()
                    && let Some(finish) = finish
                {
                    finish.send(frame).unwrap_or_default();
                    tokio::time::timeout(LINGER, writer).await.unwrap_or(Ok(()))?;
                }
                return read;
            }
            written = &mut writer => {
                written?;
                return tokio::time::timeout(LINGER, reader).await.unwrap_or(Ok(()));
            }
            () = &mut work, if finish.is_some() => {
                let frame = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
                if let Some(finish) = finish.take() {
                    finish.send(frame).unwrap_or_default();
                }
            }
        }
    }
}

/// Returns when the client closed the connection in good order.
async fn read<IO>(
    mut stream: SplitStream<WebSocketStream<IO>>,
    encoding: Encoding,
    mut feeders: HashMap<u8, Feeder>,
) -> Result<(), SessionError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = stream.next().await {
        let payload = match message.map_err(Box::new)? {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.into(),
            // Pings and the close are answered below this; after a close there is no next message.
            Message::Close(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
        match encoding.decode(&payload)? {
            ChannelFrame::Data(channel, bytes) => {
                if let Some(feeder) = feeders.get(&channel) {
                    feeder.feed(Bytes::from(bytes)).await;
                }
            }
            ChannelFrame::Close(channel) => {
                feeders.remove(&channel);
            }
            ChannelFrame::Empty => {}
        }
    }
    Ok(())
}

async fn write<IO>(
    mut sink: SplitSink<WebSocketStream<IO>, Message>,
    encoding: Encoding,
    mut queue: mpsc::Receiver<Out>,
    mut finished: oneshot::Receiver<CloseFrame>,
) -> Result<(), Box<tungstenite::Error>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let frame = loop {
        tokio::select! {
            biased;
            Some(out) = queue.recv() => send(&mut sink, encoding, out).await?,
            frame = &mut finished => break frame.ok(),
        }
    };
    sink.send(Message::Close(frame)).await.map_err(Box::new)
}

async fn send<IO>(
    sink: &mut SplitSink<WebSocketStream<IO>, Message>,
    encoding: Encoding,
    out: Out,
) -> Result<(), Box<tungstenite::Error>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    // The end of a channel shows to a client by the end of the connection.
    let Out::Data(channel, bytes) = out else {
        return Ok(());
    };
    let Ok(channel) = u8::try_from(channel) else {
        return Ok(());
    };
    let payload = encoding.encode(channel, &bytes);
    let message = match encoding {
        Encoding::Binary { .. } => Message::Binary(payload.into()),
        Encoding::Base64 => match String::from_utf8(payload) {
            Ok(text) => Message::Text(text.into()),
            Err(_) => return Ok(()),
        },
    };
    sink.send(message).await.map_err(Box::new)
}
