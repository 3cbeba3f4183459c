//! Frames on the socket: kind (u8), length (u32, big endian), payload.

/// Bytes before the payload.
pub const HEADER_LEN: usize = 5;

/// The longest payload that either side accepts.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// The longest payload of a stream frame that either side writes.
pub const MAX_CHUNK: usize = 32 << 10;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// JSON of a `Hello`, `Request`, `Reply` or `Event`.
    Message = 0,
    /// Bytes for the process's stdin.
    Stdin = 1,
    /// No more stdin will come. Empty.
    StdinClosed = 2,
    /// Bytes that the process wrote on stdout, or on its terminal.
    Stdout = 3,
    /// Bytes that the process wrote on stderr.
    Stderr = 4,
    /// New size of the terminal: width and height in characters, u16 big endian each.
    Resize = 5,
    /// The process ended: exit code, i32 big endian. The last frame of a stream.
    Exit = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Message,
            1 => Self::Stdin,
            2 => Self::StdinClosed,
            3 => Self::Stdout,
            4 => Self::Stderr,
            5 => Self::Resize,
            6 => Self::Exit,
            _ => return None,
        })
    }
}

/// Bytes that are no frame. The connection is of no further use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A kind that this version does not know.
    #[error("frame of unknown kind {0}")]
    Kind(u8),
    /// Longer than [`MAX_PAYLOAD`].
    #[error("frame of {0} bytes")]
    TooLong(usize),
    /// The payload does not fit the kind.
    #[error("malformed {0:?} frame")]
    Malformed(Kind),
}

/// The header of a frame with `len` bytes of payload.
///
/// # Errors
/// [`FrameError::TooLong`].
pub fn header(kind: Kind, len: usize) -> Result<[u8; HEADER_LEN], FrameError> {
    if len > MAX_PAYLOAD {
        return Err(FrameError::TooLong(len));
    }
    let [a, b, c, d] = u32::try_from(len)
        .map_err(|_| FrameError::TooLong(len))?
        .to_be_bytes();
    Ok([kind as u8, a, b, c, d])
}

/// Appends one frame to `out`.
///
/// # Errors
/// [`FrameError::TooLong`], and `out` is as it was.
pub fn encode(kind: Kind, payload: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
    let header = header(kind, payload.len())?;
    out.reserve(HEADER_LEN + payload.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
    Ok(())
}

/// Kind and payload length of the frame whose header this is.
///
/// # Errors
/// [`FrameError::Kind`], [`FrameError::TooLong`].
pub fn decode_header(header: [u8; HEADER_LEN]) -> Result<(Kind, usize), FrameError> {
    let [kind, len @ ..] = header;
    let kind = Kind::from_byte(kind).ok_or(FrameError::Kind(kind))?;
    let len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
    if len > MAX_PAYLOAD {
        Err(FrameError::TooLong(len))
    } else {
        Ok((kind, len))
    }
}

/// A frame within a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// What it holds.
    pub kind: Kind,
    /// Its payload.
    pub payload: &'a [u8],
    /// Bytes that the frame takes in the buffer.
    pub len: usize,
}

/// The first frame in `bytes`; `None` when more bytes are needed.
///
/// # Errors
/// As [`decode_header`].
pub fn decode(bytes: &[u8]) -> Result<Option<Decoded<'_>>, FrameError> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let (kind, len) = decode_header(*head)?;
    Ok(rest.get(..len).map(|payload| Decoded {
        kind,
        payload,
        len: HEADER_LEN + len,
    }))
}

/// A frame of an attach or exec stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamFrame {
    /// Daemon to monitor: bytes for stdin.
    Stdin(Vec<u8>),
    /// Daemon to monitor: no more stdin.
    StdinClosed,
    /// Monitor to daemon: bytes of stdout or of the terminal.
    Stdout(Vec<u8>),
    /// Monitor to daemon: bytes of stderr.
    Stderr(Vec<u8>),
    /// Daemon to monitor: new size of the terminal, in characters.
    Resize {
        /// Columns.
        width: u16,
        /// Rows.
        height: u16,
    },
    /// Monitor to daemon: the process ended; 128 + signal when by a signal. The last frame.
    Exit {
        /// Exit code.
        code: i32,
    },
}

impl StreamFrame {
    /// A stream frame from the parts of a frame.
    ///
    /// # Errors
    /// [`FrameError::Malformed`] when the payload does not fit, or the frame is a message.
    pub fn from_parts(kind: Kind, payload: &[u8]) -> Result<Self, FrameError> {
        let malformed = FrameError::Malformed(kind);
        Ok(match kind {
            Kind::Message => return Err(malformed),
            Kind::Stdin => Self::Stdin(payload.to_owned()),
            Kind::StdinClosed => Self::StdinClosed,
            Kind::Stdout => Self::Stdout(payload.to_owned()),
            Kind::Stderr => Self::Stderr(payload.to_owned()),
            Kind::Resize => {
                let &[a, b, c, d] = payload else {
                    return Err(malformed);
                };
                Self::Resize {
                    width: u16::from_be_bytes([a, b]),
                    height: u16::from_be_bytes([c, d]),
                }
            }
            Kind::Exit => {
                let code = payload.try_into().map_err(|_| malformed)?;
                Self::Exit {
                    code: i32::from_be_bytes(code),
                }
            }
        })
    }

    /// Appends the frame to `out`; bytes longer than [`MAX_CHUNK`] become several frames.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Stdin(bytes) => encode_chunks(Kind::Stdin, bytes, out),
            Self::StdinClosed => encode_small(Kind::StdinClosed, &[], out),
            Self::Stdout(bytes) => encode_chunks(Kind::Stdout, bytes, out),
            Self::Stderr(bytes) => encode_chunks(Kind::Stderr, bytes, out),
            Self::Resize { width, height } => {
                let ([a, b], [c, d]) = (width.to_be_bytes(), height.to_be_bytes());
                encode_small(Kind::Resize, &[a, b, c, d], out);
            }
            Self::Exit { code } => encode_small(Kind::Exit, &code.to_be_bytes(), out),
        }
    }
}

/// Appends bytes as frames of at most [`MAX_CHUNK`] each.
pub fn encode_chunks(kind: Kind, bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.chunks(MAX_CHUNK) {
        encode_small(kind, chunk, out);
    }
}

/// A payload that is within the limit by construction.
fn encode_small(kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
    debug_assert!(
        payload.len() <= MAX_PAYLOAD,
        "chunks are shorter than the limit"
    );
    encode(kind, payload, out).ok();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stream_frames_come_back_as_they_were() {
        for frame in [
            StreamFrame::Stdin(b"a".to_vec()),
            StreamFrame::StdinClosed,
            StreamFrame::Stdout(vec![0; MAX_CHUNK]),
            StreamFrame::Stderr(vec![1, 2]),
            StreamFrame::Resize {
                width: 80,
                height: 24,
            },
            StreamFrame::Exit { code: -1 },
        ] {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            let Decoded {
                kind,
                payload,
                len: used,
            } = decode(&bytes).unwrap().unwrap();
            assert_eq!(used, bytes.len());
            assert_eq!(StreamFrame::from_parts(kind, payload).unwrap(), frame);
        }
    }

    #[test]
    fn long_output_is_cut_in_chunks() {
        let mut bytes = Vec::new();
        StreamFrame::Stdout(vec![7; 2 * MAX_CHUNK + 1]).encode(&mut bytes);
        let mut lengths = Vec::new();
        let mut rest = &bytes[..];
        while let Some(Decoded {
            payload, len: used, ..
        }) = decode(rest).unwrap()
        {
            lengths.push(payload.len());
            rest = &rest[used..];
        }
        assert_eq!(lengths, [MAX_CHUNK, MAX_CHUNK, 1]);
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert_eq!(decode(&[9, 0, 0, 0, 0]), Err(FrameError::Kind(9)));
        assert_eq!(
            decode(&[0, 255, 0, 0, 0]),
            Err(FrameError::TooLong(0xff00_0000))
        );
        assert_eq!(decode(&[0, 0, 0, 0]), Ok(None));
        assert_eq!(decode(&[0, 0, 0, 0, 1]), Ok(None));
        assert!(StreamFrame::from_parts(Kind::Resize, b"abc").is_err());
        assert!(StreamFrame::from_parts(Kind::Exit, b"").is_err());
        assert!(StreamFrame::from_parts(Kind::Message, b"{}").is_err());
    }

    proptest! {
        #[test]
        fn decoding_never_fails_on_a_prefix(payload: Vec<u8>, cut: prop::sample::Index) {
            let mut bytes = Vec::new();
            encode(Kind::Stdin, &payload, &mut bytes).unwrap();
            let cut = cut.index(bytes.len());
            prop_assert_eq!(decode(&bytes[..cut]), Ok(None));
        }

        #[test]
        fn decoding_survives_anything(bytes: Vec<u8>) {
            if let Ok(Some(Decoded { kind, payload, len: used })) = decode(&bytes) {
                prop_assert!(used <= bytes.len());
                StreamFrame::from_parts(kind, payload).ok();
            }
        }
    }
}
