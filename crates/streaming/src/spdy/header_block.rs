//! Header blocks of SPDY/3.1: names and values with their lengths, in one zlib stream for each
//! direction of a connection (SPDY/3 draft, section 2.6.10).

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary::dictionary;

/// The longest header block that is accepted, in bytes after inflation. Kubernetes' clients send
/// some 200.
pub const MAX_BLOCK: usize = 16 << 10;
/// Most headers in a block.
pub const MAX_HEADERS: usize = 64;

/// Names, in lower case, and values, in the order in which they came.
pub type Headers = Vec<(String, String)>;

/// A header block that cannot be read. The connection is of no further use, as the compression's
/// state is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// It is not the next part of the zlib stream.
    #[error("header block is not compressed as it must be")]
    Zlib,
    /// Longer than [`MAX_BLOCK`], or more headers than [`MAX_HEADERS`].
    #[error("header block is too long")]
    TooLong,
    /// Lengths that lead out of the block, or an empty name.
    #[error("malformed header block")]
    Malformed,
    /// A name or value that is not UTF-8.
    #[error("header that is not UTF-8")]
    NotText,
}

/// The receiving side of a connection's header compression.
#[derive(Debug)]
pub struct Inflater {
    zlib: Decompress,
}

impl Default for Inflater {
    fn default() -> Self {
        Self {
            zlib: Decompress::new(true),
        }
    }
}

impl Inflater {
    /// Reads the next header block of the connection.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn decode(&mut self, block: &[u8]) -> Result<Headers, HeaderError> {
        parse(&self.inflate(block)?)
    }

    fn inflate(&mut self, mut input: &[u8]) -> Result<Vec<u8>, HeaderError> {
        let mut output = vec![0; MAX_BLOCK + 1];
        let mut filled = 0;
        while !input.is_empty() {
            let (taken, made) = (self.zlib.total_in(), self.zlib.total_out());
            let room = output.get_mut(filled..).unwrap_or_default();
            let result = self.zlib.decompress(input, room, FlushDecompress::Sync);
            let taken = usize::try_from(self.zlib.total_in() - taken).unwrap_or(usize::MAX);
            let made = usize::try_from(self.zlib.total_out() - made).unwrap_or(usize::MAX);
            input = input.get(taken..).unwrap_or_default();
            filled += made;
            if filled > MAX_BLOCK {
                return Err(HeaderError::TooLong);
            }
            match result {
                Ok(Status::Ok) if taken > 0 || made > 0 => {}
                Ok(_) => return Err(HeaderError::Zlib),
                Err(error) if error.needs_dictionary().is_some() => {
                    let set = self.zlib.set_dictionary(&dictionary());
                    set.map_err(|_| HeaderError::Zlib)?;
                }
                Err(_) => return Err(HeaderError::Zlib),
            }
        }
        output.truncate(filled);
        Ok(output)
    }
}

/// Blocks without headers, all that a server of Kubernetes' streams says: the zlib stream of its side
/// of a connection without a compressor, whose state takes 300 KiB.
#[derive(Debug, Default)]
pub(crate) struct EmptyBlocks {
    begun: bool,
}

impl EmptyBlocks {
    /// Header of the stream (deflate, a window of 32 KiB, a dictionary by its Adler-32), then as below.
    const FIRST: &[u8] = b"\x78\xbb\xe3\xc6\xa7\xc2\x00\x04\x00\xfb\xff\0\0\0\0\x00\0\0\xff\xff";
    /// A stored block (RFC 1951, section 3.2.4) of four bytes, which say that there are no headers,
    /// and an empty one: a reader takes that for the end of what can be read now.
    const NEXT: &[u8] = b"\x00\x04\x00\xfb\xff\0\0\0\0\x00\0\0\xff\xff";

    /// The next block.
    pub(crate) fn next(&mut self) -> &'static [u8] {
        if std::mem::replace(&mut self.begun, true) {
            Self::NEXT
        } else {
            Self::FIRST
        }
    }
}

/// The sending side of a connection's header compression.
#[derive(Debug)]
pub struct Deflater {
    zlib: Compress,
    primed: bool,
}

impl Default for Deflater {
    fn default() -> Self {
        Self {
            zlib: Compress::new(Compression::fast(), true),
            primed: false,
        }
    }
}

impl Deflater {
    /// Writes the next header block of the connection.
    ///
    /// # Errors
    /// [`HeaderError::TooLong`] before anything was compressed; [`HeaderError::Zlib`].
    pub fn encode(&mut self, headers: &[(&str, &str)]) -> Result<Vec<u8>, HeaderError> {
        let plain = unparse(headers)?;
        if !self.primed {
            let set = self.zlib.set_dictionary(&dictionary());
            set.map_err(|_| HeaderError::Zlib)?;
            self.primed = true;
        }
        let mut block = Vec::with_capacity(plain.len() + 64);
        let before = self.zlib.total_in();
        loop {
            let taken = usize::try_from(self.zlib.total_in() - before).unwrap_or(usize::MAX);
            let rest = plain.get(taken..).unwrap_or_default();
            self.zlib
                .compress_vec(rest, &mut block, FlushCompress::Sync)
                .map_err(|_| HeaderError::Zlib)?;
            // A full buffer may hide a part of the flush.
            if block.len() < block.capacity() {
                return Ok(block);
            }
            block.reserve(256);
        }
    }
}

fn unparse(headers: &[(&str, &str)]) -> Result<Vec<u8>, HeaderError> {
    if headers.len() > MAX_HEADERS {
        return Err(HeaderError::TooLong);
    }
    let number = |value: usize| u32::try_from(value).map_err(|_| HeaderError::TooLong);
    let mut plain = number(headers.len())?.to_be_bytes().to_vec();
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        plain.extend_from_slice(&number(text.len())?.to_be_bytes());
        plain.extend_from_slice(text.as_bytes());
    }
    if plain.len() > MAX_BLOCK {
        return Err(HeaderError::TooLong);
    }
    Ok(plain)
}

/// Reads an inflated header block.
///
/// # Errors
/// [`HeaderError`].
pub fn parse(mut plain: &[u8]) -> Result<Headers, HeaderError> {
    let count = number(&mut plain)?;
    if count > MAX_HEADERS {
        return Err(HeaderError::TooLong);
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let name = text(&mut plain)?;
        if name.is_empty() {
            return Err(HeaderError::Malformed);
        }
        headers.push((name.to_ascii_lowercase(), text(&mut plain)?.to_owned()));
    }
    if plain.is_empty() {
        Ok(headers)
    } else {
        Err(HeaderError::Malformed)
    }
}

fn number(plain: &mut &[u8]) -> Result<usize, HeaderError> {
    let (number, rest) = plain
        .split_first_chunk::<4>()
        .ok_or(HeaderError::Malformed)?;
    *plain = rest;
    usize::try_from(u32::from_be_bytes(*number)).map_err(|_| HeaderError::Malformed)
}

fn text<'a>(plain: &mut &'a [u8]) -> Result<&'a str, HeaderError> {
    let length = number(plain)?;
    let (text, rest) = plain
        .split_at_checked(length)
        .ok_or(HeaderError::Malformed)?;
    *plain = rest;
    std::str::from_utf8(text).map_err(|_| HeaderError::NotText)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owned(headers: &[(&str, &str)]) -> Headers {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        headers.iter().map(pair).collect()
    }

    #[test]
    fn blocks_of_one_connection_share_a_history() {
        let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
        let mut lengths = Vec::new();
        for headers in [
            &[("streamtype", "error"), ("port", "80"), ("requestid", "0")][..],
            &[("streamtype", "data"), ("port", "80"), ("requestid", "0")],
            &[("streamtype", "data"), ("port", "80"), ("requestid", "0")],
            &[],
        ] {
            let block = deflater.encode(headers).unwrap();
            lengths.push(block.len());
            assert_eq!(inflater.decode(&block), Ok(owned(headers)));
        }
        assert!(lengths[2] < lengths[0], "{lengths:?}");
    }

    #[test]
    fn empty_blocks_are_a_zlib_stream() {
        let (mut blocks, mut inflater) = (EmptyBlocks::default(), Inflater::default());
        for _ in 0..3 {
            assert_eq!(inflater.decode(blocks.next()), Ok(Vec::new()));
        }
    }

    #[test]
    fn a_block_that_a_client_of_kubernetes_sends() {
        // `Streamtype: error` as the Go client wrote it at the beginning of a connection.
        let name = b"\0\0\0\x01\0\0\0\x0aStreamtype\0\0\0\x05error";
        assert_eq!(parse(name), Ok(owned(&[("streamtype", "error")])));
    }

    #[test]
    fn blocks_that_lie() {
        for (plain, error) in [
            (&b""[..], HeaderError::Malformed),
            (b"\0\0\0\x01", HeaderError::Malformed),
            (b"\0\0\0\x01\0\0\0\0\0\0\0\0", HeaderError::Malformed),
            (
                b"\0\0\0\x01\0\0\0\x01a\xff\xff\xff\xff",
                HeaderError::Malformed,
            ),
            (b"\0\0\0\x01\0\0\0\x01a\0\0\0\x01\xff", HeaderError::NotText),
            (b"\0\0\0\0x", HeaderError::Malformed),
            (b"\xff\xff\xff\xff", HeaderError::TooLong),
        ] {
            assert_eq!(parse(plain), Err(error), "{plain:?}");
        }
    }

    #[test]
    fn a_bomb_is_refused_without_inflating_it() {
        let mut zlib = Compress::new(Compression::best(), true);
        zlib.set_dictionary(&dictionary()).unwrap();
        let mut block = Vec::with_capacity(1 << 20);
        let zeros = vec![0; 8 << 20];
        zlib.compress_vec(&zeros, &mut block, FlushCompress::Sync)
            .unwrap();
        assert!(block.len() < 16 << 10);
        assert_eq!(
            Inflater::default().decode(&block),
            Err(HeaderError::TooLong)
        );
    }

    #[test]
    fn what_is_not_the_stream_is_refused() {
        for block in [
            &b"\0\0\0\0"[..],
            b"GET / HTTP/1.1\r\n",
            &[0x78, 0xbb, 1, 2, 3, 4],
        ] {
            assert_eq!(Inflater::default().decode(block), Err(HeaderError::Zlib));
        }
    }

    proptest! {
        #[test]
        fn headers_come_back(
            headers in proptest::collection::vec(("[a-z-]{1,20}", "\\PC{0,40}"), 0..20),
        ) {
            let borrowed: Vec<(&str, &str)> =
                headers.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            let block = Deflater::default().encode(&borrowed).unwrap();
            prop_assert_eq!(Inflater::default().decode(&block), Ok(headers));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            parse(&bytes).ok();
            Inflater::default().decode(&bytes).ok();
        }
    }
}
