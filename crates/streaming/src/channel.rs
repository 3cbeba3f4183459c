//! The two ends of one direction of a stream, the same for SPDY and for WebSocket.
//!
//! Back-pressure goes through: a full [`Incoming`] makes the connection's reader wait, and so the
//! client's kernel; a connection that takes no bytes makes [`Outgoing::send`] wait, and so the
//! process or the socket behind it. All chunks of a connection that nobody has taken yet share one
//! budget of bytes.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// The longest piece in which bytes are passed on.
pub(crate) const CHUNK: usize = 32 << 10;
/// Pieces that may wait in one stream.
const CHUNKS_PER_STREAM: usize = 8;
/// Bytes that may wait in all streams of a connection.
const BYTES_PER_CONNECTION: usize = 4 << 20;
/// Pieces that may wait to be written to one connection.
const OUT_QUEUE: usize = 8;

/// Room for the bytes of one connection that nobody has taken yet.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BYTES_PER_CONNECTION)))
    }
}

#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    /// Gives the bytes back to the budget when the chunk is taken or dropped.
    _room: OwnedSemaphorePermit,
}

/// What comes from the client on one stream.
#[derive(Debug)]
pub(crate) struct Incoming {
    chunks: mpsc::Receiver<Chunk>,
}

impl Incoming {
    /// The next bytes; `None` when the client has no more. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        self.chunks.recv().await.map(|chunk| chunk.bytes)
    }
}

/// The connection's end of an [`Incoming`].
#[derive(Debug)]
pub(crate) struct Feeder {
    chunks: mpsc::Sender<Chunk>,
    budget: Budget,
}

/// A new direction from the client.
pub(crate) fn incoming(budget: &Budget) -> (Feeder, Incoming) {
    let (sender, receiver) = mpsc::channel(CHUNKS_PER_STREAM);
    let feeder = Feeder {
        chunks: sender,
        budget: budget.clone(),
    };
    (feeder, Incoming { chunks: receiver })
}

impl Feeder {
    /// Passes bytes on; waits for room. Bytes that nobody wants any more are dropped.
    pub(crate) async fn feed(&self, mut bytes: Bytes) {
        while !bytes.is_empty() && !self.chunks.is_closed() {
            let piece = bytes.split_to(bytes.len().min(CHUNK));
            let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            let Ok(room) = self.budget.0.clone().acquire_many_owned(length).await else {
                return;
            };
            let chunk = Chunk {
                bytes: piece,
                _room: room,
            };
            if self.chunks.send(chunk).await.is_err() {
                return;
            }
        }
    }

    /// Nobody will take anything any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.chunks.is_closed()
    }
}

/// What is to be written to the client.
#[derive(Debug)]
pub(crate) enum Out {
    /// Bytes of a stream or channel.
    Data(u32, Bytes),
    /// No more bytes will come on it.
    End(u32),
    /// It ends at once, both ways.
    Reset(u32),
}

/// The connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client is gone")]
pub(crate) struct ClientGone;

/// What goes to the client on one stream. Dropping it says nothing to the client.
#[derive(Debug)]
pub(crate) struct Outgoing {
    id: u32,
    queue: mpsc::Sender<Out>,
    /// Tells the connection that somebody may still write.
    _held: Arc<()>,
}

/// Whether an [`Outgoing`] is still held.
#[derive(Debug)]
pub(crate) struct Held(Weak<()>);

impl Held {
    pub(crate) fn is_held(&self) -> bool {
        self.0.strong_count() > 0
    }
}

/// The queue of everything that is to be written to one client.
pub(crate) fn out_queue() -> (mpsc::Sender<Out>, mpsc::Receiver<Out>) {
    mpsc::channel(OUT_QUEUE)
}

impl Outgoing {
    pub(crate) fn new(id: u32, queue: mpsc::Sender<Out>) -> (Self, Held) {
        let held = Arc::new(());
        let watch = Held(Arc::downgrade(&held));
        let outgoing = Self {
            id,
            queue,
            _held: held,
        };
        (outgoing, watch)
    }

    /// Queues bytes, in pieces of at most [`CHUNK`]; waits for room.
    pub(crate) async fn send(&self, mut bytes: Bytes) -> Result<(), ClientGone> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(CHUNK));
            self.put(Out::Data(self.id, piece)).await?;
        }
        Ok(())
    }

    /// Queues a message without bytes, by which a WebSocket client learns that the channel is open.
    pub(crate) async fn announce(&self) -> Result<(), ClientGone> {
        self.put(Out::Data(self.id, Bytes::new())).await
    }

    /// No more bytes will come.
    pub(crate) async fn end(self) -> Result<(), ClientGone> {
        self.put(Out::End(self.id)).await
    }

    /// The stream ends at once, both ways.
    pub(crate) async fn reset(self) -> Result<(), ClientGone> {
        self.put(Out::Reset(self.id)).await
    }

    async fn put(&self, out: Out) -> Result<(), ClientGone> {
        self.queue.send(out).await.map_err(|_| ClientGone)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_stream_that_nobody_reads_takes_little_and_then_waits() {
        let budget = Budget::default();
        let (feeder, mut incoming) = incoming(&budget);
        let long = Bytes::from(vec![1; CHUNK * 20]);
        let feeding = feeder.feed(long);
        tokio::pin!(feeding);
        let wait = tokio::time::timeout(Duration::from_millis(50), &mut feeding);
        wait.await.unwrap_err();
        let taken = BYTES_PER_CONNECTION - budget.0.available_permits();
        assert!(taken <= (CHUNKS_PER_STREAM + 1) * CHUNK, "{taken}");
        let reading = async {
            let mut count = 0;
            while count < CHUNK * 20 {
                count += incoming.next().await.unwrap().len();
            }
        };
        tokio::join!(feeding, reading);
        assert_eq!(budget.0.available_permits(), BYTES_PER_CONNECTION);
    }

    #[tokio::test]
    async fn bytes_that_nobody_wants_are_dropped() {
        let budget = Budget::default();
        let (feeder, incoming) = incoming(&budget);
        drop(incoming);
        feeder
            .feed(Bytes::from(vec![1; BYTES_PER_CONNECTION * 2]))
            .await;
        assert_eq!(budget.0.available_permits(), BYTES_PER_CONNECTION);
    }
}
