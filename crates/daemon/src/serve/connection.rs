//! Connections to the CRI socket: how many there may be, and how long one may say nothing.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_stream::Stream;
use tonic::transport::server::{Connected, UdsConnectInfo};

/// Connections at once. A kubelet has three, each `crictl` one; one more than these is closed at
/// once, so that who knocks hears of it.
const MAX_CONNECTIONS: usize = 1024;
/// How long a client may take for the first bytes of HTTP/2, which end its silence: from then on
/// the server's pings tell whether it is there.
const SILENCE: Duration = Duration::from_secs(10);
/// How long the listener rests when a connection cannot be accepted.
const REST: Duration = Duration::from_millis(100);
/// Bytes that begin every connection (RFC 9113, section 3.4).
const PREFACE: usize = 24;

/// The connections that a listener takes.
#[derive(Debug)]
pub(super) struct Incoming {
    listener: UnixListener,
    places: Arc<Semaphore>,
    /// After a connection that could not be accepted.
    rest: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    pub(super) fn new(listener: UnixListener) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            rest: None,
        }
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(rest) = &mut self.rest {
                ready!(rest.as_mut().poll(context));
                self.rest = None;
            }
            let accepted = ready!(self.listener.poll_accept(context));
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors or memory: the same call would fail at once again.
                    tracing::warn!(%error, "cannot accept a connection");
                    self.rest = Some(Box::pin(tokio::time::sleep(REST)));
                    continue;
                }
            };
            let Ok(place) = self.places.clone().try_acquire_owned() else {
                tracing::warn!("{MAX_CONNECTIONS} connections are open: a further one is closed");
                continue;
            };
            let silence = Silence {
                left: PREFACE,
                end: Box::pin(tokio::time::sleep(SILENCE)),
            };
            return Poll::Ready(Some(Ok(Connection {
                stream,
                silence: Some(silence),
                _place: place,
            })));
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    silence: Option<Silence>,
    _place: OwnedSemaphorePermit,
}

/// A client that has not yet said what every client says first.
#[derive(Debug)]
struct Silence {
    /// Bytes that are missing.
    left: usize,
    end: Pin<Box<Sleep>>,
}

impl Connected for Connection {
    type ConnectInfo = UdsConnectInfo;

    fn connect_info(&self) -> UdsConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(silence) = &mut self.silence {
            silence.left = silence
                .left
                .saturating_sub(buffer.filled().len().saturating_sub(before));
            if silence.left == 0 {
                self.silence = None;
            } else if read.is_pending() && silence.end.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_stream::StreamExt as _;

    use super::*;

    fn listen() -> (tempfile::TempDir, std::path::PathBuf, Incoming) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let incoming = Incoming::new(UnixListener::bind(&path).unwrap());
        (directory, path, incoming)
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_connection_until_it_has_begun() {
        let (_directory, path, mut incoming) = listen();
        for (said, ends) in [(&b"PRI * HTTP/2"[..], true), (&[b'x'; PREFACE], false)] {
            let mut client = UnixStream::connect(&path).await.unwrap();
            let mut connection = incoming.next().await.unwrap().unwrap();
            client.write_all(said).await.unwrap();
            let mut buffer = vec![0; said.len()];
            connection.read_exact(&mut buffer).await.unwrap();
            let read = tokio::time::timeout(SILENCE * 2, connection.read_u8()).await;
            match read {
                Ok(ended) => {
                    assert!(ends);
                    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
                }
                Err(_) => assert!(!ends),
            }
        }
    }

    #[tokio::test]
    async fn one_too_many_is_closed_and_a_place_comes_back() {
        let (_directory, path, mut incoming) = listen();
        incoming.places = Arc::new(Semaphore::new(1));
        let first = UnixStream::connect(&path).await.unwrap();
        let taken = incoming.next().await.unwrap().unwrap();
        let mut second = UnixStream::connect(&path).await.unwrap();
        let mut byte = [0];
        let refused = tokio::select! {
            _ = incoming.next() => panic!("there is no place"),
            read = second.read(&mut byte) => read,
        };
        assert_eq!(refused.unwrap(), 0);
        drop((first, taken));
        let _third = UnixStream::connect(&path).await.unwrap();
        incoming.next().await.unwrap().unwrap();
    }
}
