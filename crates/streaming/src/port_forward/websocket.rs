//! Port-forward over WebSocket: two channels for each port of the request, data and error, in the
//! order of the ports. The first message on each is the port (u16, little endian). There is one
//! connection for each port. SPDY inside of a WebSocket is the other form.

use bytes::Bytes;
use futures_util::future::join_all;
use pinpod_pod::Engine;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::{Pair, forward, pod_gone};
use crate::channel::ClientGone;
use crate::request::PortForward;
use crate::websocket::channel_frame::Encoding;
use crate::websocket::{self, Channels, SessionError};

/// A subprotocol of port-forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// SPDY inside.
    Tunnel,
    /// Numbered channels.
    Channels(Encoding),
}

impl Protocol {
    /// All, the one that is liked best first.
    pub(crate) const ALL: [(&'static str, Self); 3] = [
        ("SPDY/3.1+portforward.k8s.io", Self::Tunnel),
        ("v4.channel.k8s.io", Self::Channels(BINARY)),
        ("v4.base64.channel.k8s.io", Self::Channels(Encoding::Base64)),
    ];
    /// For a client that names none.
    pub(crate) const UNNAMED: Self = Self::Channels(BINARY);
}

const BINARY: Encoding = Encoding::Binary { half_close: false };

/// Serves one client until all its connections have ended, it goes away, or the pod does.
pub(crate) async fn run<IO>(
    engine: &Engine,
    what: &PortForward,
    encoding: Encoding,
    io: IO,
) -> Result<(), SessionError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut channels = Channels::default();
    let pairs: Vec<Pair> = (0_u8..)
        .zip(&what.ports)
        .map(|(index, &port)| {
            let data = index.saturating_mul(2);
            Pair {
                port,
                from_client: channels.input(data),
                to_client: channels.output(data),
                error: channels.output(data.saturating_add(1)),
                ends: false,
                reset: CancellationToken::new(),
            }
        })
        .collect();
    let app = async {
        let all = join_all(pairs.into_iter().map(|pair| begin(what, pair)));
        tokio::select! {
            _ = all => {}
            () = pod_gone(engine, what) => {}
        }
    };
    websocket::serve(io, encoding, channels, app).await
}

async fn begin(what: &PortForward, pair: Pair) -> Result<(), ClientGone> {
    let port = pair.port.to_le_bytes();
    pair.to_client.send(Bytes::copy_from_slice(&port)).await?;
    pair.error.send(Bytes::copy_from_slice(&port)).await?;
    forward(what, pair).await
}
