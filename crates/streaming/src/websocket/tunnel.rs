//! SPDY inside of a WebSocket: binary messages whose payloads, one after the other, are the bytes
//! of the connection.

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf,
};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role};
use tokio_tungstenite::tungstenite::{self, Utf8Bytes};

use super::config;
use crate::channel::CHUNK;

/// Moves bytes between an upgraded connection and `inside` until either ends.
///
/// # Errors
/// When the connection broke, or the client sent what is no WebSocket frame.
pub(crate) async fn tunnel<IO>(io: IO, inside: DuplexStream) -> Result<(), Box<tungstenite::Error>>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config())).await;
    let (sink, stream) = socket.split();
    let (from_inside, to_inside) = tokio::io::split(inside);
    tokio::select! {
        result = inward(stream, to_inside) => result,
        result = outward(from_inside, sink) => result,
    }
}

async fn inward<IO>(
    mut stream: SplitStream<WebSocketStream<IO>>,
    mut inside: WriteHalf<DuplexStream>,
) -> Result<(), Box<tungstenite::Error>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = stream.next().await {
        let bytes = match message? {
            Message::Binary(bytes) => bytes,
            // Pings and the close are answered below this; after a close there is no next message.
            Message::Close(_)
            | Message::Text(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Frame(_) => continue,
        };
        if inside.write_all(&bytes).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn outward<IO>(
    mut inside: ReadHalf<DuplexStream>,
    mut sink: SplitSink<WebSocketStream<IO>, Message>,
) -> Result<(), Box<tungstenite::Error>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = vec![0; CHUNK];
    while let Ok(count) = inside.read(&mut buffer).await
        && count > 0
    {
        let bytes = Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default());
        sink.send(Message::Binary(bytes)).await?;
    }
    let frame = CloseFrame {
        code: CloseCode::Normal,
        reason: Utf8Bytes::default(),
    };
    Ok(sink.send(Message::Close(Some(frame))).await?)
}
