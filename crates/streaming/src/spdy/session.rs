//! One connection: a reader that feeds streams, a writer that drains them, and the application.

use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::frame::{
    CANCEL, Control, FrameError, GOAWAY_OK, GOAWAY_PROTOCOL_ERROR, HEAD_LEN, Head, PROTOCOL_ERROR,
    REFUSED_STREAM, data_head,
};
use super::header_block::{EmptyBlocks, HeaderError, Headers, Inflater};
use crate::channel::{Budget, CHUNK, Feeder, Held, Incoming, Out, Outgoing, incoming, out_queue};

/// Most streams of a connection at once; a port-forward takes two for each client of the port.
const MAX_STREAMS: usize = 512;
/// Streams that wait for the application to take them.
const OPEN_QUEUE: usize = 16;
/// Control frames that wait to be written.
const CONTROL_QUEUE: usize = 64;
/// How long a client is given to close the connection after all is said.
const LINGER: Duration = Duration::from_secs(5);
/// How long the last frame to a client that broke the protocol may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// A stream that the client opened.
#[derive(Debug)]
pub(crate) struct OpenStream {
    /// Its number, odd, and higher than that of each stream before.
    pub(crate) id: u32,
    /// Its headers.
    headers: Headers,
    /// What comes.
    pub(crate) incoming: Incoming,
    /// What goes.
    pub(crate) outgoing: Outgoing,
    /// Cancelled when the client resets the stream.
    pub(crate) reset: CancellationToken,
}

impl OpenStream {
    /// Value of a header; the name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(known, _)| known == name)?;
        Some(value)
    }
}

/// Why a connection ended before the application did.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// The connection failed.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// What came is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Headers cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A frame that a client may not send.
    #[error("stream {stream}: {what}")]
    Protocol {
        /// The stream.
        stream: u32,
        /// What the client did.
        what: &'static str,
    },
}

impl SessionError {
    fn is_the_clients(&self) -> bool {
        !matches!(self, Self::Io(_))
    }
}

/// Serves a connection until the client closes it or `app`, which gets the streams that the client
/// opens, returns; then everything that was sent is written out, and the client has some time to
/// close first. Dropping the future closes the connection.
///
/// # Errors
/// [`SessionError`] when the client broke the protocol or the connection failed.
pub(crate) async fn serve<IO, A, F>(io: IO, app: A) -> Result<(), SessionError>
where
    IO: AsyncRead + AsyncWrite + Send,
    A: FnOnce(mpsc::Receiver<OpenStream>) -> F,
    F: Future<Output = ()>,
{
    let (read, write) = tokio::io::split(io);
    let (opened, streams) = mpsc::channel(OPEN_QUEUE);
    let (control, controls) = mpsc::channel(CONTROL_QUEUE);
    let (queue, queued) = out_queue();
    let (finish, finished) = oneshot::channel();
    let mut finish = Some(finish);
    let mut reader = pin!(
        Reader {
            io: read,
            inflater: Inflater::default(),
            blocks: EmptyBlocks::default(),
            budget: Budget::default(),
            streams: HashMap::new(),
            last: 0,
            opened: Some(opened),
            control,
            queue,
        }
        .run()
    );
    let mut writer = pin!(
        Writer {
            io: write,
            queue: queued,
            control: controls,
        }
        .run(finished)
    );
    let mut work = pin!(app(streams));
    loop {
        tokio::select! {
            read = &mut reader => {
                if let Err(error) = &read
                    && error.is_the_clients()
                    && let Some(finish) = finish
                {
                    farewell(finish, writer).await;
                }
                return read;
            }
            written = &mut writer => {
                written?;
                // The client reads what it was sent, and closes.
                return tokio::time::timeout(LINGER, reader).await.unwrap_or(Ok(()));
            }
            () = &mut work, if finish.is_some() => {
                if let Some(finish) = finish.take() {
                    finish.send(GOAWAY_OK).unwrap_or_default();
                }
            }
        }
    }
}

/// Tells a client that it broke the protocol, if it still listens.
async fn farewell(finish: oneshot::Sender<u32>, writer: impl Future<Output = io::Result<()>>) {
    finish.send(GOAWAY_PROTOCOL_ERROR).unwrap_or_default();
    if let Ok(Err(error)) = tokio::time::timeout(FAREWELL, writer).await {
        tracing::debug!(%error, "a client did not wait to hear why it is cut off");
    }
}

/// A stream as the reader knows it.
#[derive(Debug)]
struct Entry {
    /// `None` after the client's last byte.
    feeder: Option<Feeder>,
    held: Held,
    reset: CancellationToken,
}

impl Entry {
    fn is_done(&self) -> bool {
        self.feeder.as_ref().is_none_or(Feeder::is_closed) && !self.held.is_held()
    }
}

struct Reader<IO> {
    io: ReadHalf<IO>,
    inflater: Inflater,
    blocks: EmptyBlocks,
    budget: Budget,
    streams: HashMap<u32, Entry>,
    last: u32,
    /// `None` when the application takes no more.
    opened: Option<mpsc::Sender<OpenStream>>,
    control: mpsc::Sender<Vec<u8>>,
    queue: mpsc::Sender<Out>,
}

impl<IO: AsyncRead> Reader<IO> {
    /// Returns when the client closed the connection in good order.
    async fn run(mut self) -> Result<(), SessionError> {
        let mut payload = Vec::new();
        loop {
            let mut head = [0; HEAD_LEN];
            if !self.head(&mut head).await? {
                return Ok(());
            }
            match Head::decode(head)? {
                Head::Data {
                    stream,
                    fin,
                    length,
                } => self.data(stream, fin, length).await?,
                Head::Control {
                    kind,
                    flags,
                    length,
                } => {
                    payload.resize(length, 0);
                    self.io.read_exact(&mut payload).await?;
                    let frame = Control::decode(kind, flags, &payload)?;
                    if matches!(frame, Control::GoAway { .. }) {
                        return Ok(());
                    }
                    self.control(frame).await?;
                }
            }
        }
    }

    /// Whether there was one.
    async fn head(&mut self, head: &mut [u8; HEAD_LEN]) -> io::Result<bool> {
        if self.io.read(&mut head[..1]).await? == 0 {
            return Ok(false);
        }
        self.io.read_exact(&mut head[1..]).await?;
        Ok(true)
    }

    async fn data(&mut self, stream: u32, fin: bool, mut left: usize) -> Result<(), SessionError> {
        // A stream that this side has ended may still be sent to: that is dropped.
        let entry = self.streams.get_mut(&stream);
        if entry.is_none() && (stream > self.last || stream.is_multiple_of(2)) {
            let what = "data for a stream that was never opened";
            return Err(SessionError::Protocol { stream, what });
        }
        let mut buffer = vec![0; CHUNK.min(left)];
        let feeder = entry.and_then(|entry| entry.feeder.as_ref());
        while left > 0 {
            let length = buffer.len().min(left);
            let room = buffer.get_mut(..length).unwrap_or_default();
            let count = self.io.read(room).await?;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            left -= count;
            if let Some(feeder) = feeder {
                let bytes = Bytes::copy_from_slice(room.get(..count).unwrap_or_default());
                feeder.feed(bytes).await;
            }
        }
        if fin && let Some(entry) = self.streams.get_mut(&stream) {
            entry.feeder = None;
        }
        Ok(())
    }

    async fn control(&mut self, frame: Control<'_>) -> Result<(), SessionError> {
        match frame {
            Control::SynStream {
                stream,
                fin,
                unidirectional,
                block,
            } => {
                let headers = self.inflater.decode(block)?;
                if unidirectional {
                    self.tell(Control::RstStream {
                        stream,
                        status: PROTOCOL_ERROR,
                    })
                    .await;
                    return Ok(());
                }
                self.open(stream, fin, headers).await
            }
            Control::RstStream { stream, .. } => {
                if let Some(entry) = self.streams.remove(&stream) {
                    entry.reset.cancel();
                }
                Ok(())
            }
            Control::Headers { stream, fin, block } => {
                // The next block can be read only after this one.
                self.inflater.decode(block)?;
                if fin && let Some(entry) = self.streams.get_mut(&stream) {
                    entry.feeder = None;
                }
                Ok(())
            }
            Control::SynReply { stream, .. } => Err(SessionError::Protocol {
                stream,
                what: "a reply to a stream that this side never opens",
            }),
            // An even number is an answer to a question that this side never asks.
            Control::Ping { id } if id % 2 == 1 => {
                self.tell(Control::Ping { id }).await;
                Ok(())
            }
            Control::Ping { .. }
            | Control::Settings
            | Control::WindowUpdate { .. }
            | Control::GoAway { .. }
            | Control::Unknown(_) => Ok(()),
        }
    }

    async fn open(&mut self, id: u32, fin: bool, headers: Headers) -> Result<(), SessionError> {
        if id.is_multiple_of(2) || id <= self.last {
            let what = "opened with a number that is even or not higher than the last";
            return Err(SessionError::Protocol { stream: id, what });
        }
        self.last = id;
        self.streams.retain(|_, entry| !entry.is_done());
        if self.streams.len() >= MAX_STREAMS || self.opened.is_none() {
            self.tell(Control::RstStream {
                stream: id,
                status: REFUSED_STREAM,
            })
            .await;
            return Ok(());
        }
        let block = self.blocks.next();
        self.tell(Control::SynReply {
            stream: id,
            fin: false,
            block,
        })
        .await;
        let (feeder, incoming) = incoming(&self.budget);
        let (outgoing, held) = Outgoing::new(id, self.queue.clone());
        let reset = CancellationToken::new();
        let entry = Entry {
            feeder: (!fin).then_some(feeder),
            held,
            reset: reset.clone(),
        };
        self.streams.insert(id, entry);
        let stream = OpenStream {
            id,
            headers,
            incoming,
            outgoing,
            reset,
        };
        if let Some(opened) = &self.opened
            && opened.send(stream).await.is_err()
        {
            self.opened = None;
            self.streams.remove(&id);
            self.tell(Control::RstStream {
                stream: id,
                status: CANCEL,
            })
            .await;
        }
        Ok(())
    }

    /// Queues a control frame. A writer that has ended needs none.
    async fn tell(&mut self, frame: Control<'_>) {
        match frame.encode() {
            Ok(bytes) => self.control.send(bytes).await.unwrap_or_default(),
            Err(error) => tracing::debug!(%error, "a control frame of our own is too long"),
        }
    }
}

struct Writer<IO> {
    io: WriteHalf<IO>,
    queue: mpsc::Receiver<Out>,
    control: mpsc::Receiver<Vec<u8>>,
}

impl<IO: AsyncWrite> Writer<IO> {
    /// Writes until `finished` has the status of the end, then what is queued, then the end.
    async fn run(mut self, mut finished: oneshot::Receiver<u32>) -> io::Result<()> {
        let status = loop {
            // Control frames first: the reply to a stream goes before its first byte.
            tokio::select! {
                biased;
                Some(frame) = self.control.recv() => self.io.write_all(&frame).await?,
                Some(out) = self.queue.recv() => self.out(out).await?,
                status = &mut finished => break status.unwrap_or(GOAWAY_OK),
            }
            self.io.flush().await?;
        };
        while let Ok(frame) = self.control.try_recv() {
            self.io.write_all(&frame).await?;
        }
        while let Ok(out) = self.queue.try_recv() {
            self.out(out).await?;
        }
        let last_good = 0;
        let end = Control::GoAway { last_good, status }.encode();
        self.io.write_all(&end.unwrap_or_default()).await?;
        self.io.flush().await?;
        self.io.shutdown().await
    }

    async fn out(&mut self, out: Out) -> io::Result<()> {
        let frame = match out {
            Out::Data(_, bytes) if bytes.is_empty() => return Ok(()),
            // One write, as the socket sends each at once.
            Out::Data(stream, bytes) => [&data_head(stream, false, bytes.len()), &*bytes].concat(),
            Out::End(stream) => data_head(stream, true, 0).to_vec(),
            Out::Reset(stream) => {
                let status = CANCEL;
                let frame = Control::RstStream { stream, status };
                frame.encode().unwrap_or_default()
            }
        };
        self.io.write_all(&frame).await
    }
}
