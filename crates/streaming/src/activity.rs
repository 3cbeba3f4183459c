//! Whether a connection is still of use: when bytes last moved on it, and whether its client has
//! hung up while nothing is read from it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How often is looked.
const TICK: Duration = Duration::from_secs(5);
/// How long a connection whose client has hung up may still be without progress: what the client
/// had sent is given that time to find a reader.
const HANG_UP_GRACE: Duration = Duration::from_secs(15);

/// Why a connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Useless {
    /// No byte moved for the longest time allowed.
    Idle,
    /// The client has hung up, and nothing takes what it had sent.
    HungUp,
}

/// When bytes last moved on a connection.
#[derive(Debug)]
pub(crate) struct Activity {
    begun: Instant,
    /// Milliseconds from `begun` to the last progress.
    last: AtomicU64,
    socket: Arc<TcpStream>,
}

impl Activity {
    pub(crate) fn new(socket: Arc<TcpStream>) -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            last: AtomicU64::new(0),
            socket,
        })
    }

    fn touch(&self) {
        let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
    }

    /// Returns when the connection is of no more use.
    pub(crate) async fn useless(&self, idle: Duration) -> Useless {
        loop {
            tokio::time::sleep(TICK.min(idle)).await;
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            let quiet = self.begun.elapsed().saturating_sub(last);
            if quiet >= idle {
                return Useless::Idle;
            }
            if quiet >= HANG_UP_GRACE && self.is_hung_up() {
                return Useless::HungUp;
            }
        }
    }

    fn is_hung_up(&self) -> bool {
        let mut fds = [PollFd::new(&*self.socket, PollFlags::RDHUP)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        matches!(poll(&mut fds, Some(&at_once)), Ok(count) if count > 0)
    }
}

/// A client's socket, of which others may hold a share to look at it: with a descriptor less than a
/// duplicate would take.
#[derive(Debug)]
pub(crate) struct Socket(Arc<TcpStream>);

impl Socket {
    pub(crate) fn new(socket: Arc<TcpStream>) -> Self {
        Self(socket)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read(buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(rustix::net::shutdown(&*self.0, Shutdown::Write)?))
    }
}

/// A connection that notes its progress.
#[derive(Debug)]
pub(crate) struct Watched<IO> {
    io: IO,
    activity: Arc<Activity>,
}

impl<IO> Watched<IO> {
    pub(crate) fn new(io: IO, activity: Arc<Activity>) -> Self {
        Self { io, activity }
    }

    fn note<T>(&self, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if matches!(progress, Poll::Ready(Ok(_))) {
            self.activity.touch();
        }
        progress
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.io).poll_read(context, buffer);
        self.note(progress)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.io).poll_write(context, bytes);
        self.note(progress)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Arc<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = tokio::join!(listener.accept(), far);
        (Arc::new(near.unwrap().0), far.unwrap())
    }

    #[tokio::test]
    async fn silence_ends_a_connection_and_bytes_keep_it() {
        let (near, mut far) = pair().await;
        let activity = Activity::new(near.clone());
        let mut watched = Watched::new(Socket::new(near), activity.clone());
        let idle = Duration::from_millis(400);
        let begun = Instant::now();
        let talking = async {
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_millis(200)).await;
                far.write_all(b"x").await.unwrap();
                watched.read_u8().await.unwrap();
                watched.write_u8(b'y').await.unwrap();
                far.read_u8().await.unwrap();
            }
        };
        let (ended, ()) = tokio::join!(activity.useless(idle), talking);
        assert_eq!(ended, Useless::Idle);
        assert!(begun.elapsed() >= Duration::from_millis(1100));
    }

    #[tokio::test]
    async fn a_client_that_hung_up_shows() {
        let (near, mut far) = pair().await;
        let activity = Activity::new(near);
        far.write_all(b"unread").await.unwrap();
        assert!(!activity.is_hung_up());
        far.shutdown().await.unwrap();
        assert!(activity.is_hung_up());
    }
}
