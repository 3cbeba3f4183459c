//! The two layers of frames on a plugin's socket, as bytes only.
//!
//! The socket carries two connections side by side, told apart by a number: on one the runtime
//! calls the plugin, on the other the plugin calls the runtime.
//!
//! ```text
//! socket:      connection (4) │ length (4) │ bytes of that connection
//! connection:  length (4) │ stream (4) │ type (1) │ flags (1) │ message      (ttrpc)
//! ```
//!
//! All numbers are big-endian. A frame of the socket need not hold a whole message, nor only one.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// Length of the head of a ttrpc message.
pub const MESSAGE_HEAD: usize = 10;
/// Longest ttrpc message, without its head.
pub const MAX_MESSAGE: usize = 4 << 20;
/// Length of the head of a frame of the socket.
pub const MUX_HEAD: usize = 8;
/// Longest frame of the socket, without its head: one whole message.
pub const MAX_FRAME: usize = MESSAGE_HEAD + MAX_MESSAGE;

/// Connection on which the plugin is the server.
pub const PLUGIN_CONNECTION: u32 = 1;
/// Connection on which the runtime is the server.
pub const RUNTIME_CONNECTION: u32 = 2;

/// Bytes that are not what the protocol says. There is no way to find the next frame after one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame of the socket that is too long.
    #[error("a frame of {0} bytes; at most {MAX_FRAME} are allowed")]
    Frame(usize),
    /// A message that is too long.
    #[error("a message of {0} bytes; at most {MAX_MESSAGE} are allowed")]
    Message(usize),
    /// A type that ttrpc does not have.
    #[error("a message of the unknown type {0}")]
    Kind(u8),
}

/// Takes the socket apart into its connections.
#[derive(Debug, Default)]
pub struct MuxDecoder {
    buffer: BytesMut,
}

impl MuxDecoder {
    /// Takes in what came from the socket.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame: its connection and what it carries.
    ///
    /// # Errors
    /// A frame that announces too much.
    pub fn next_frame(&mut self) -> Result<Option<(u32, Bytes)>, FrameError> {
        let Some(head) = self.buffer.first_chunk::<MUX_HEAD>() else {
            return Ok(None);
        };
        let [c0, c1, c2, c3, l0, l1, l2, l3] = *head;
        let length = as_length([l0, l1, l2, l3]);
        if length > MAX_FRAME {
            return Err(FrameError::Frame(length));
        }
        if self.buffer.len() < MUX_HEAD + length {
            return Ok(None);
        }
        self.buffer.advance(MUX_HEAD);
        let bytes = self.buffer.split_to(length).freeze();
        Ok(Some((u32::from_be_bytes([c0, c1, c2, c3]), bytes)))
    }
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Begins a call.
    Request,
    /// Ends one.
    Response,
    /// Of a streaming call; NRI has none.
    Data,
}

/// One ttrpc message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The call that it belongs to.
    pub stream: u32,
    /// What it is.
    pub kind: Kind,
    /// Flags, by the kind.
    pub flags: u8,
    /// Content.
    pub payload: Bytes,
}

impl Message {
    /// Appends the message to `out` as frames of `connection`.
    ///
    /// The head goes in a frame of its own: peers read it through a buffer of some kilobytes and
    /// take no frame that is longer than what they read for; and they hold a limited number of
    /// frames, so that a long message must not be cut into many.
    ///
    /// # Errors
    /// A message that is too long.
    pub fn encode(&self, connection: u32, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let too_long = || FrameError::Message(self.payload.len());
        if self.payload.len() > MAX_MESSAGE {
            return Err(too_long());
        }
        let length = u32::try_from(self.payload.len()).map_err(|_| too_long())?;
        out.reserve(2 * MUX_HEAD + MESSAGE_HEAD + self.payload.len());
        out.put_u32(connection);
        out.put_u32(10);
        out.put_u32(length);
        out.put_u32(self.stream);
        out.put_u8(match self.kind {
            Kind::Request => 1,
            Kind::Response => 2,
            Kind::Data => 3,
        });
        out.put_u8(self.flags);
        if length > 0 {
            out.put_u32(connection);
            out.put_u32(length);
            out.put_slice(&self.payload);
        }
        Ok(())
    }
}

/// Takes one connection apart into its messages.
#[derive(Debug, Default)]
pub struct MessageDecoder {
    buffer: BytesMut,
}

impl MessageDecoder {
    /// Takes in what a frame of this connection carried.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message.
    ///
    /// # Errors
    /// A message that is too long, or of no known type.
    pub fn next_message(&mut self) -> Result<Option<Message>, FrameError> {
        let Some(head) = self.buffer.first_chunk::<MESSAGE_HEAD>() else {
            return Ok(None);
        };
        let [l0, l1, l2, l3, s0, s1, s2, s3, kind, flags] = *head;
        let length = as_length([l0, l1, l2, l3]);
        if length > MAX_MESSAGE {
            return Err(FrameError::Message(length));
        }
        let kind = match kind {
            1 => Kind::Request,
            2 => Kind::Response,
            3 => Kind::Data,
            other => return Err(FrameError::Kind(other)),
        };
        if self.buffer.len() < MESSAGE_HEAD + length {
            return Ok(None);
        }
        self.buffer.advance(MESSAGE_HEAD);
        Ok(Some(Message {
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            kind,
            flags,
            payload: self.buffer.split_to(length).freeze(),
        }))
    }
}

fn as_length(bytes: [u8; 4]) -> usize {
    usize::try_from(u32::from_be_bytes(bytes)).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
