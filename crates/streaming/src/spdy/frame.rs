//! Frames of SPDY/3.1 as bytes: pure, and as strict as its peers are known to be.
//!
//! A frame begins with eight bytes: for a control frame a set bit, the version (15 bits) and the
//! type (16 bits), for a data frame a clear bit and the stream (31 bits); then flags (8 bits) and
//! the length of the rest (24 bits). All numbers are big endian.

/// Bytes of the head of a frame.
pub const HEAD_LEN: usize = 8;
/// The longest control frame that is accepted, in bytes after its head. Data frames have no limit
/// of their own: they are passed on in pieces.
pub const MAX_CONTROL: usize = 32 << 10;
/// The longest data frame that is written, in bytes after its head.
pub const MAX_DATA: usize = 32 << 10;

/// Status of RST_STREAM: the frame broke the protocol.
pub const PROTOCOL_ERROR: u32 = 1;
/// Status of RST_STREAM: refused before anything was done for it.
pub const REFUSED_STREAM: u32 = 3;
/// Status of RST_STREAM: the stream is no longer wanted.
pub const CANCEL: u32 = 5;

/// Status of GOAWAY: an ordinary end.
pub const GOAWAY_OK: u32 = 0;
/// Status of GOAWAY: the other side broke the protocol.
pub const GOAWAY_PROTOCOL_ERROR: u32 = 1;

const VERSION: u16 = 3;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

const FIN: u8 = 1;
const UNIDIRECTIONAL: u8 = 2;
const STREAM_MASK: u32 = 0x7fff_ffff;

/// Bytes that are no frame. The connection is of no further use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A control frame of another version of SPDY.
    #[error("frame of SPDY version {0}")]
    Version(u16),
    /// A control frame longer than [`MAX_CONTROL`].
    #[error("control frame of {0} bytes")]
    TooLong(usize),
    /// The payload does not fit the type.
    #[error("malformed control frame of type {0}")]
    Malformed(u16),
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// A control frame; its payload is for [`Control::decode`].
    Control {
        /// Type of the frame.
        kind: u16,
        /// Flags, of a meaning that the type gives them.
        flags: u8,
        /// Bytes that follow.
        length: usize,
    },
    /// Bytes of a stream.
    Data {
        /// The stream.
        stream: u32,
        /// The sender has no more.
        fin: bool,
        /// Bytes that follow.
        length: usize,
    },
}

impl Head {
    /// Reads a head.
    ///
    /// # Errors
    /// [`FrameError::Version`], [`FrameError::TooLong`].
    pub fn decode(bytes: [u8; HEAD_LEN]) -> Result<Self, FrameError> {
        let [a, b, c, d, flags, e, f, g] = bytes;
        let first = u32::from_be_bytes([a, b, c, d]);
        let length = usize::try_from(u32::from_be_bytes([0, e, f, g])).unwrap_or(usize::MAX);
        if first & !STREAM_MASK == 0 {
            return Ok(Self::Data {
                stream: first,
                fin: flags & FIN != 0,
                length,
            });
        }
        let version = u16::from_be_bytes([a, b]) & 0x7fff;
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        if length > MAX_CONTROL {
            return Err(FrameError::TooLong(length));
        }
        Ok(Self::Control {
            kind: u16::from_be_bytes([c, d]),
            flags,
            length,
        })
    }
}

/// A control frame. Header blocks stay compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control<'a> {
    /// A new stream.
    SynStream {
        /// Its number; a client's is odd.
        stream: u32,
        /// The sender will send nothing on it.
        fin: bool,
        /// The receiver may send nothing on it.
        unidirectional: bool,
        /// Headers, compressed.
        block: &'a [u8],
    },
    /// A new stream is accepted.
    SynReply {
        /// The stream.
        stream: u32,
        /// The sender will send nothing on it.
        fin: bool,
        /// Headers, compressed.
        block: &'a [u8],
    },
    /// A stream ends at once, both ways.
    RstStream {
        /// The stream.
        stream: u32,
        /// Why.
        status: u32,
    },
    /// Settings; none of them matters here.
    Settings,
    /// Asks for the same frame back.
    Ping {
        /// Odd when a client asked.
        id: u32,
    },
    /// No more streams will be taken.
    GoAway {
        /// The last stream that was taken.
        last_good: u32,
        /// Why; 0 for an ordinary end.
        status: u32,
    },
    /// More headers of a stream.
    Headers {
        /// The stream.
        stream: u32,
        /// The sender has no more.
        fin: bool,
        /// Headers, compressed.
        block: &'a [u8],
    },
    /// The sender has room for more of a stream.
    WindowUpdate {
        /// The stream; 0 for the connection.
        stream: u32,
        /// Bytes more.
        delta: u32,
    },
    /// A type that SPDY/3.1 does not know, to be ignored.
    Unknown(u16),
}

impl<'a> Control<'a> {
    /// Reads the payload of a control frame.
    ///
    /// # Errors
    /// [`FrameError::Malformed`].
    pub fn decode(kind: u16, flags: u8, payload: &'a [u8]) -> Result<Self, FrameError> {
        let malformed = FrameError::Malformed(kind);
        let fin = flags & FIN != 0;
        Ok(match kind {
            SYN_STREAM => {
                let (stream, rest) = stream_and_rest(payload).ok_or(malformed)?;
                // Associated stream (4), priority (1), slot (1): of no use here.
                let block = rest.get(6..).ok_or(malformed)?;
                Self::SynStream {
                    stream,
                    fin,
                    unidirectional: flags & UNIDIRECTIONAL != 0,
                    block,
                }
            }
            SYN_REPLY => {
                let (stream, block) = stream_and_rest(payload).ok_or(malformed)?;
                Self::SynReply { stream, fin, block }
            }
            RST_STREAM => {
                let (stream, status) = two(payload).ok_or(malformed)?;
                Self::RstStream {
                    stream: stream & STREAM_MASK,
                    status,
                }
            }
            SETTINGS => Self::Settings,
            PING => {
                let id = payload.try_into().map_err(|_| malformed)?;
                Self::Ping {
                    id: u32::from_be_bytes(id),
                }
            }
            GOAWAY => {
                let (last_good, status) = two(payload).ok_or(malformed)?;
                Self::GoAway {
                    last_good: last_good & STREAM_MASK,
                    status,
                }
            }
            HEADERS => {
                let (stream, block) = stream_and_rest(payload).ok_or(malformed)?;
                Self::Headers { stream, fin, block }
            }
            WINDOW_UPDATE => {
                let (stream, delta) = two(payload).ok_or(malformed)?;
                Self::WindowUpdate {
                    stream: stream & STREAM_MASK,
                    delta: delta & STREAM_MASK,
                }
            }
            other => Self::Unknown(other),
        })
    }

    /// The frame as bytes, head included.
    ///
    /// # Errors
    /// [`FrameError::TooLong`].
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let numbers = |a: u32, b: u32| [a.to_be_bytes(), b.to_be_bytes()].concat();
        let with_block = |stream: u32, between: &[u8], block: &[u8]| {
            [&stream.to_be_bytes(), between, block].concat()
        };
        let (kind, flags, payload) = match *self {
            Self::SynStream {
                stream,
                fin,
                unidirectional,
                block,
            } => {
                let flags = flag(fin, FIN) | flag(unidirectional, UNIDIRECTIONAL);
                (SYN_STREAM, flags, with_block(stream, &[0; 6], block))
            }
            Self::SynReply { stream, fin, block } => {
                (SYN_REPLY, flag(fin, FIN), with_block(stream, &[], block))
            }
            Self::RstStream { stream, status } => (RST_STREAM, 0, numbers(stream, status)),
            Self::Settings => (SETTINGS, 0, vec![0; 4]),
            Self::Ping { id } => (PING, 0, id.to_be_bytes().to_vec()),
            Self::GoAway { last_good, status } => (GOAWAY, 0, numbers(last_good, status)),
            Self::Headers { stream, fin, block } => {
                (HEADERS, flag(fin, FIN), with_block(stream, &[], block))
            }
            Self::WindowUpdate { stream, delta } => (WINDOW_UPDATE, 0, numbers(stream, delta)),
            Self::Unknown(kind) => (kind, 0, Vec::new()),
        };
        if payload.len() > MAX_CONTROL {
            return Err(FrameError::TooLong(payload.len()));
        }
        let first = 0x8000_0000 | u32::from(VERSION) << 16 | u32::from(kind);
        let mut bytes = head(first, flags, payload.len()).to_vec();
        bytes.extend_from_slice(&payload);
        Ok(bytes)
    }
}

/// The head of a data frame; the caller keeps `length` to [`MAX_DATA`].
#[must_use]
pub fn data_head(stream: u32, fin: bool, length: usize) -> [u8; HEAD_LEN] {
    head(stream & STREAM_MASK, u8::from(fin), length)
}

fn head(first: u32, flags: u8, length: usize) -> [u8; HEAD_LEN] {
    debug_assert!(length < 1 << 24, "the length has 24 bits");
    let [a, b, c, d] = first.to_be_bytes();
    let [_, e, f, g] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [a, b, c, d, flags, e, f, g]
}

fn stream_and_rest(payload: &[u8]) -> Option<(u32, &[u8])> {
    let (stream, rest) = payload.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*stream) & STREAM_MASK, rest))
}

fn two(payload: &[u8]) -> Option<(u32, u32)> {
    let (first, rest) = payload.split_first_chunk::<4>()?;
    let second = rest.try_into().ok()?;
    Some((u32::from_be_bytes(*first), u32::from_be_bytes(second)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn heads() {
        for (bytes, expected) in [
            (
                [0, 0, 0, 5, 1, 0, 1, 2],
                Ok(Head::Data {
                    stream: 5,
                    fin: true,
                    length: 258,
                }),
            ),
            (
                [0x7f, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0xff],
                Ok(Head::Data {
                    stream: 0x7fff_ffff,
                    fin: false,
                    length: (1 << 24) - 1,
                }),
            ),
            (
                [0x80, 3, 0, 6, 0, 0, 0, 4],
                Ok(Head::Control {
                    kind: 6,
                    flags: 0,
                    length: 4,
                }),
            ),
            ([0x80, 2, 0, 6, 0, 0, 0, 4], Err(FrameError::Version(2))),
            (
                *b"\x80\x03\0\x01\0\0\x80\x01",
                Err(FrameError::TooLong(32_769)),
            ),
            (*b"\xff\xffGARBAG", Err(FrameError::Version(0x7fff))),
        ] {
            assert_eq!(Head::decode(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn control_frames_that_are_too_short_or_too_long() {
        for (kind, payload) in [
            (SYN_STREAM, &[0; 9][..]),
            (SYN_REPLY, &[0; 3]),
            (RST_STREAM, &[0; 7]),
            (RST_STREAM, &[0; 9]),
            (PING, &[0; 3]),
            (PING, &[]),
            (GOAWAY, &[0; 4]),
            (HEADERS, &[0; 2]),
            (WINDOW_UPDATE, &[0; 12]),
        ] {
            let result = Control::decode(kind, 0, payload);
            assert_eq!(result, Err(FrameError::Malformed(kind)), "{kind}");
        }
        assert_eq!(Control::decode(77, 0, b"x"), Ok(Control::Unknown(77)));
        assert_eq!(Control::decode(SETTINGS, 0, b"x"), Ok(Control::Settings));
    }

    fn decode_all(bytes: &[u8]) -> Result<Control<'_>, FrameError> {
        let (head, payload) = bytes.split_first_chunk::<HEAD_LEN>().unwrap();
        match Head::decode(*head)? {
            Head::Control {
                kind,
                flags,
                length,
            } => {
                assert_eq!(length, payload.len());
                Control::decode(kind, flags, payload)
            }
            Head::Data { .. } => panic!("a control frame became data"),
        }
    }

    proptest! {
        #[test]
        fn control_frames_come_back(
            stream in 0..=STREAM_MASK,
            number in 0..=STREAM_MASK,
            fin: bool,
            unidirectional: bool,
            block in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let block = &block[..];
            for frame in [
                Control::SynStream { stream, fin, unidirectional, block },
                Control::SynReply { stream, fin, block },
                Control::RstStream { stream, status: number },
                Control::Settings,
                Control::Ping { id: number },
                Control::GoAway { last_good: stream, status: number },
                Control::Headers { stream, fin, block },
                Control::WindowUpdate { stream, delta: number },
            ] {
                let bytes = frame.encode().unwrap();
                prop_assert_eq!(decode_all(&bytes), Ok(frame));
            }
        }

        #[test]
        fn data_heads_come_back(stream in 0..=STREAM_MASK, fin: bool, length in 0..=MAX_DATA) {
            let head = Head::decode(data_head(stream, fin, length));
            prop_assert_eq!(head, Ok(Head::Data { stream, fin, length }));
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            head: [u8; HEAD_LEN],
            payload in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            if let Ok(Head::Control { kind, flags, .. }) = Head::decode(head) {
                Control::decode(kind, flags, &payload).ok();
            }
        }
    }
}
