//! From the chunks of a download to the bytes of a tar: two threads, joined by a few buffers that
//! go round. One decompresses, the other hashes and applies, so that a single large layer uses
//! two processors. Fresh buffers for each piece would cost more in page faults than the hashing.

use std::io::{self, BufRead, Cursor, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::error::UnpackError;
use crate::Limits;

const BUFFER_BYTES: usize = 256 << 10;
const BUFFERS: usize = 4;

/// A piece of a blob as the download gives it.
#[derive(Debug)]
pub(super) enum Chunk {
    Data(Bytes),
    /// The blob is complete. Without this the download was given up.
    End,
}

/// The chunks of a download as a stream for the decoders.
#[derive(Debug)]
pub(super) struct BlobReader {
    chunks: tokio::sync::mpsc::Receiver<Chunk>,
    current: Bytes,
    declared: u64,
    received: u64,
    ended: bool,
}

impl BlobReader {
    pub(super) fn new(chunks: tokio::sync::mpsc::Receiver<Chunk>, declared: u64) -> Self {
        Self {
            chunks,
            current: Bytes::new(),
            declared,
            received: 0,
            ended: false,
        }
    }

    /// Reads what a decoder left, and checks the length.
    fn finish(&mut self) -> Result<(), UnpackError> {
        loop {
            let length = self.fill_buf().map_err(from_blob)?.len();
            if length == 0 {
                break;
            }
            self.consume(length);
        }
        if self.received == self.declared {
            return Ok(());
        }
        Err(UnpackError::BlobSize {
            declared: self.declared,
            received: self.received,
        })
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for BlobReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() && !self.ended {
            match self.chunks.blocking_recv() {
                Some(Chunk::Data(data)) => {
                    self.received += data.len() as u64;
                    self.current = data;
                }
                Some(Chunk::End) => self.ended = true,
                None => return Err(io::Error::other(UnpackError::Abandoned)),
            }
            if self.received > self.declared {
                return Err(io::Error::other(UnpackError::BlobSize {
                    declared: self.declared,
                    received: self.received,
                }));
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, length: usize) {
        drop(self.current.split_to(length));
    }
}

/// Our own errors travel through the decoders inside an `io::Error`.
fn from_blob(error: io::Error) -> UnpackError {
    match error.downcast::<UnpackError>() {
        Ok(error) => error,
        Err(source) => UnpackError::Decompress { source },
    }
}

type Filled = Result<Vec<u8>, UnpackError>;

/// The decompressing end.
#[derive(Debug)]
pub(super) struct Inflater {
    filled: SyncSender<Filled>,
    empty: Receiver<Vec<u8>>,
    limits: Limits,
}

/// The bytes of the tar, hashed as they are read.
#[derive(Debug)]
pub(super) struct HashingReader {
    filled: Receiver<Filled>,
    empty: SyncSender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
    hash: Sha256,
}

/// The two ends.
pub(super) fn pipeline(limits: Limits) -> (Inflater, HashingReader) {
    let (filled_sender, filled) = sync_channel(BUFFERS);
    let (empty, empty_receiver) = sync_channel(BUFFERS);
    for _ in 0..BUFFERS {
        // Cannot fail: the receiver is here and there is room.
        drop(empty.try_send(Vec::new()));
    }
    let inflater = Inflater {
        filled: filled_sender,
        empty: empty_receiver,
        limits,
    };
    let reader = HashingReader {
        filled,
        empty,
        current: Vec::new(),
        position: 0,
        hash: Sha256::new(),
    };
    (inflater, reader)
}

impl Inflater {
    /// Decompresses the whole blob. Errors go to the reader, in their place in the stream.
    pub(super) fn run(self, mut blob: BlobReader) {
        let result = self.inflate(&mut blob).and_then(|()| blob.finish());
        if let Err(error) = result {
            // A reader that is gone has failed itself and does not want to know.
            drop(self.filled.send(Err(error)));
        }
    }

    fn inflate(&self, blob: &mut BlobReader) -> Result<(), UnpackError> {
        let declared = blob.declared;
        let mut magic = Vec::with_capacity(4);
        let by_ref = <BlobReader as Read>::by_ref(blob);
        by_ref.take(4).read_to_end(&mut magic).map_err(from_blob)?;
        let kind = [magic.first(), magic.get(1), magic.get(2), magic.get(3)];
        let kind = kind.map(|byte| byte.copied().unwrap_or_default());
        let blob = Cursor::new(magic).chain(blob);
        match kind {
            [0x1f, 0x8b, _, _] => self.pump(flate2::bufread::MultiGzDecoder::new(blob), declared),
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
                let decoder = zstd::stream::read::Decoder::with_buffer(blob);
                self.pump(decoder.map_err(from_blob)?, declared)
            }
            _ => self.pump(blob, declared),
        }
    }

    fn pump(&self, mut decoder: impl Read, declared: u64) -> Result<(), UnpackError> {
        let mut total = 0_u64;
        // The reader is gone when it failed; there is nobody to work for then.
        while let Ok(mut buffer) = self.empty.recv() {
            buffer.resize(BUFFER_BYTES, 0);
            let mut length = 0;
            while length < buffer.len() {
                match decoder.read(&mut buffer[length..]) {
                    Ok(0) => break,
                    Ok(more) => length += more,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(from_blob(error)),
                }
            }
            total += length as u64;
            self.check(total, declared)?;
            let at_end = length < buffer.len();
            buffer.truncate(length);
            if self.filled.send(Ok(buffer)).is_err() || at_end {
                break;
            }
        }
        Ok(())
    }

    fn check(&self, total: u64, declared: u64) -> Result<(), UnpackError> {
        if total > self.limits.unpacked_bytes {
            return Err(UnpackError::Limit {
                what: "bytes unpacked",
                limit: self.limits.unpacked_bytes,
            });
        }
        let bound = declared.saturating_mul(self.limits.ratio);
        if total > Limits::RATIO_FREE_BYTES && total > bound {
            return Err(UnpackError::Limit {
                what: "bytes unpacked for the size of its blob",
                limit: bound,
            });
        }
        Ok(())
    }
}

impl HashingReader {
    /// The hash of everything that was read; to be asked at the end of the stream.
    pub(super) fn digest(self) -> pinpod_model::Digest {
        pinpod_model::Digest::from_sha256(self.hash.finalize().into())
    }
}

impl Read for HashingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for HashingReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.position == self.current.len() {
            let used = std::mem::take(&mut self.current);
            self.position = 0;
            if used.capacity() > 0 {
                // The other end has gone when the stream ends; the buffer is then let go.
                drop(self.empty.try_send(used));
            }
            match self.filled.recv() {
                Ok(Ok(buffer)) => {
                    self.hash.update(&buffer);
                    self.current = buffer;
                }
                Ok(Err(error)) => return Err(io::Error::other(error)),
                Err(_ended) => return Ok(&[]),
            }
        }
        Ok(&self.current[self.position..])
    }

    fn consume(&mut self, length: usize) {
        self.position = (self.position + length).min(self.current.len());
    }
}
