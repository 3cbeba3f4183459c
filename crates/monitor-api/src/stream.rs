//! A stream of stdio frames after an exec or attach request.

use crate::ClientError;
use crate::connection::{Connection, Receiver, Sender};
use crate::frame::StreamFrame;

/// Both directions of an exec or attach stream.
#[derive(Debug)]
pub struct Stream {
    reader: StreamReader,
    writer: StreamWriter,
}

/// What comes from the process.
#[derive(Debug)]
pub struct StreamReader(Receiver);

/// What goes to the process.
#[derive(Debug)]
pub struct StreamWriter {
    sender: Sender,
    buffer: Vec<u8>,
}

impl Stream {
    pub(crate) fn new(connection: Connection) -> Self {
        let (receiver, sender) = connection.into_parts();
        Self {
            reader: StreamReader(receiver),
            writer: StreamWriter {
                sender,
                buffer: Vec::new(),
            },
        }
    }

    /// Both directions, to be used by two tasks.
    #[must_use]
    pub fn into_split(self) -> (StreamReader, StreamWriter) {
        (self.reader, self.writer)
    }

    /// See [`StreamReader::next`].
    ///
    /// # Errors
    /// As there.
    pub async fn next(&mut self) -> Result<Option<StreamFrame>, ClientError> {
        self.reader.next().await
    }

    /// See [`StreamWriter::send`].
    ///
    /// # Errors
    /// As there.
    pub async fn send(&mut self, frame: &StreamFrame) -> Result<(), ClientError> {
        self.writer.send(frame).await
    }
}

impl StreamReader {
    /// The next frame; `None` when the monitor closed the connection, which after an `Exit` is the
    /// normal end and before it means that the client was cut off or the monitor died.
    ///
    /// # Errors
    /// [`ClientError::Io`], [`ClientError::Frame`].
    pub async fn next(&mut self) -> Result<Option<StreamFrame>, ClientError> {
        let Some((kind, payload)) = self.0.frame().await? else {
            return Ok(None);
        };
        match StreamFrame::from_parts(kind, &payload) {
            Ok(frame) => Ok(Some(frame)),
            Err(source) => Err(self.0.frame_error(source)),
        }
    }
}

impl StreamWriter {
    /// Sends one frame; waits while the monitor has no room for it.
    ///
    /// # Errors
    /// [`ClientError::Gone`] when the stream has ended, [`ClientError::Io`].
    pub async fn send(&mut self, frame: &StreamFrame) -> Result<(), ClientError> {
        self.buffer.clear();
        frame.encode(&mut self.buffer);
        self.sender.write(&self.buffer).await
    }
}
