//! The client's side of SPDY, as far as tests need it.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::frame::{Control, HEAD_LEN, Head, data_head};
use super::header_block::Deflater;

/// A frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    Data(u32, Vec<u8>),
    End(u32),
    Reply(u32),
    Reset(u32, u32),
    Ping(u32),
    GoAway(u32),
}

pub(crate) struct Client<IO> {
    pub(crate) io: IO,
    deflater: Deflater,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Client<IO> {
    pub(crate) fn new(io: IO) -> Self {
        Self {
            io,
            deflater: Deflater::default(),
        }
    }

    pub(crate) async fn send(&mut self, frame: Control<'_>) {
        self.io.write_all(&frame.encode().unwrap()).await.unwrap();
    }

    pub(crate) async fn open(&mut self, stream: u32, headers: &[(&str, &str)]) {
        let block = self.deflater.encode(headers).unwrap();
        let frame = Control::SynStream {
            stream,
            fin: false,
            unidirectional: false,
            block: &block,
        };
        self.send(frame).await;
    }

    pub(crate) async fn data(&mut self, stream: u32, fin: bool, bytes: &[u8]) {
        let head = data_head(stream, fin, bytes.len());
        self.io.write_all(&head).await.unwrap();
        self.io.write_all(bytes).await.unwrap();
    }

    /// `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; HEAD_LEN];
        self.io.read_exact(&mut head).await.ok()?;
        let (Head::Data { length, .. } | Head::Control { length, .. }) =
            Head::decode(head).unwrap();
        let mut payload = vec![0; length];
        self.io.read_exact(&mut payload).await.unwrap();
        Some(match Head::decode(head).unwrap() {
            Head::Data { stream, fin, .. } if fin => {
                assert!(payload.is_empty(), "the server ends streams by themselves");
                Frame::End(stream)
            }
            Head::Data { stream, .. } => Frame::Data(stream, payload),
            Head::Control { kind, flags, .. } => {
                match Control::decode(kind, flags, &payload).unwrap() {
                    Control::SynReply { stream, .. } => Frame::Reply(stream),
                    Control::RstStream { stream, status } => Frame::Reset(stream, status),
                    Control::Ping { id } => Frame::Ping(id),
                    Control::GoAway { status, .. } => Frame::GoAway(status),
                    other => panic!("a server does not send {other:?}"),
                }
            }
        })
    }

    /// Frames until one of them is `last`.
    pub(crate) async fn until(&mut self, last: &Frame) -> Vec<Frame> {
        let mut frames = Vec::new();
        while frames.last() != Some(last) {
            frames.push(self.next().await.expect("the connection goes on"));
        }
        frames
    }
}
