//! Reads the entries of a tar stream (POSIX ustar and pax, GNU), for [`super::apply`] to act on.
//!
//! The `tar` crate decodes the fields of a header block; what spans blocks (long names, pax
//! records, sparse maps) is read here, because it must be bounded: it is kept in memory.

use std::io::{self, BufRead};

use rustix::fs::Timespec;

use super::error::UnpackError;
use super::pax::{self, PaxRecords};
use super::sparse::{self, Region, SparseMap};
use crate::Limits;

pub(super) const BLOCK: u64 = 512;

/// What kind of file an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// One entry; its content, if any, is read with [`TarReader::content`].
#[derive(Debug)]
pub(crate) struct TarEntry {
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) kind: EntryKind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timespec,
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the content goes when the file has holes.
    pub(crate) sparse: Option<SparseMap>,
}

/// Where the reader is in the stream.
#[derive(Debug)]
pub(crate) struct TarReader<R> {
    input: R,
    limits: Limits,
    /// Bytes of content of the current entry that are not read yet.
    content: u64,
    /// Zero bytes after the content, to the next block.
    padding: u64,
    number: u64,
}

/// What precedes an entry and describes it.
#[derive(Default)]
struct Prefix {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: PaxRecords,
    seen: bool,
}

impl<R: BufRead> TarReader<R> {
    pub(crate) fn new(input: R, limits: Limits) -> Self {
        Self {
            input,
            limits,
            content: 0,
            padding: 0,
            number: 0,
        }
    }

    /// The next entry; `None` at the end of the archive.
    pub(crate) fn next_entry(&mut self) -> Result<Option<TarEntry>, UnpackError> {
        let mut prefix = Prefix::default();
        loop {
            self.skip_rest()?;
            let Some(header) = self.header()? else {
                if prefix.seen {
                    return Err(self.malformed("a long name or pax header describes nothing"));
                }
                return Ok(None);
            };
            let kind = header.entry_type();
            let size = self.number_field(header.entry_size(), "size")?;
            if kind.is_gnu_longname() {
                prefix.path = Some(trim_nul(self.side_data(size)?));
            } else if kind.is_gnu_longlink() {
                prefix.link = Some(trim_nul(self.side_data(size)?));
            } else if kind.is_pax_local_extensions() {
                let data = self.side_data(size)?;
                prefix.pax = pax::parse(&data).map_err(|reason| self.malformed(reason))?;
            } else if kind.is_pax_global_extensions() {
                // Comments (git writes its commit id) and defaults that no image tool relies on.
                self.side_data(size)?;
                continue;
            } else {
                self.number += 1;
                if self.number > self.limits.entries {
                    return Err(UnpackError::Limit {
                        what: "entries",
                        limit: self.limits.entries,
                    });
                }
                return self.entry(&header, prefix).map(Some);
            }
            prefix.seen = true;
        }
    }

    /// The next piece of the current entry's content; empty at its end.
    pub(crate) fn content(&mut self) -> Result<&[u8], UnpackError> {
        if self.content == 0 {
            return Ok(&[]);
        }
        let available = self.input.fill_buf().map_err(from_input)?;
        if available.is_empty() {
            return Err(UnpackError::Malformed {
                number: self.number,
                reason: "the archive ends inside a file".to_owned(),
            });
        }
        let length = usize::try_from(self.content)
            .map_or(available.len(), |content| content.min(available.len()));
        Ok(&available[..length])
    }

    /// Takes `length` bytes of what [`TarReader::content`] gave.
    pub(crate) fn consume(&mut self, length: usize) {
        self.input.consume(length);
        self.content = self.content.saturating_sub(length as u64);
    }

    /// Reads to the end of the stream: what follows the archive is part of its digest.
    pub(crate) fn drain(mut self) -> Result<R, UnpackError> {
        loop {
            let length = self.input.fill_buf().map_err(from_input)?.len();
            if length == 0 {
                return Ok(self.input);
            }
            self.input.consume(length);
        }
    }

    pub(crate) fn malformed(&self, reason: impl Into<String>) -> UnpackError {
        UnpackError::Malformed {
            number: self.number.max(1),
            reason: reason.into(),
        }
    }

    fn entry(&mut self, header: &tar::Header, prefix: Prefix) -> Result<TarEntry, UnpackError> {
        let mut pax = prefix.pax;
        let path = pax.path.take().or(prefix.path);
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = pax.link.take().or(prefix.link);
        let link = link.unwrap_or_else(|| {
            let link = header.link_name_bytes();
            link.map(std::borrow::Cow::into_owned).unwrap_or_default()
        });
        let kind = self.kind(header, &path)?;
        let size = match pax.size {
            Some(size) => size,
            None => self.number_field(header.entry_size(), "size")?,
        };
        // Only files have content; some writers give a size to links and directories all the same.
        if kind == EntryKind::File {
            self.content = size;
            self.padding = (BLOCK - size % BLOCK) % BLOCK;
        }
        let id = |pax: Option<u64>, field: io::Result<u64>, what| {
            let value = match pax {
                Some(value) => value,
                None => self.number_field(field, what)?,
            };
            u32::try_from(value).map_err(|_large| self.malformed(format!("{what} {value}")))
        };
        let uid = id(pax.uid, header.uid(), "uid")?;
        let gid = id(pax.gid, header.gid(), "gid")?;
        let mtime = match pax.mtime {
            Some(mtime) => mtime,
            None => Timespec {
                tv_sec: header.mtime().map(u64::cast_signed).unwrap_or_default(),
                tv_nsec: 0,
            },
        };
        let device = (
            header.device_major().ok().flatten().unwrap_or_default(),
            header.device_minor().ok().flatten().unwrap_or_default(),
        );
        let mode = self.number_field(header.mode(), "mode")? & 0o7777;
        let sparse = self.sparse_map(header, &mut pax)?;
        Ok(TarEntry {
            path: pax.sparse.name.take().unwrap_or(path),
            link,
            kind,
            mode,
            uid,
            gid,
            mtime,
            device,
            xattrs: pax.xattrs,
            sparse,
        })
    }

    fn kind(&self, header: &tar::Header, path: &[u8]) -> Result<EntryKind, UnpackError> {
        Ok(match header.entry_type().as_byte() {
            // Before POSIX a directory was a file whose name ends in a slash.
            0 if path.ends_with(b"/") => EntryKind::Directory,
            0 | b'0' | b'7' | b'S' => EntryKind::File,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' => EntryKind::CharDevice,
            b'4' => EntryKind::BlockDevice,
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => {
                let reason = format!("unknown type {:?}", char::from(other));
                return Err(self.malformed(reason));
            }
        })
    }

    fn sparse_map(
        &mut self,
        header: &tar::Header,
        pax: &mut PaxRecords,
    ) -> Result<Option<SparseMap>, UnpackError> {
        let map = if header.entry_type().as_byte() == b'S' {
            let (map, extended) = sparse::old_gnu(header).map_err(|r| self.malformed(r))?;
            Some(self.extended_map(map, extended)?)
        } else if pax.sparse.is_version_1() {
            Some(self.map_before_content(pax.sparse.real_size)?)
        } else {
            pax.sparse.map().map_err(|r| self.malformed(r))?
        };
        if let Some(map) = &map {
            map.check(self.content).map_err(|r| self.malformed(r))?;
        }
        Ok(map)
    }

    /// GNU's old format: further blocks of regions follow the header.
    fn extended_map(&mut self, mut map: SparseMap, more: bool) -> Result<SparseMap, UnpackError> {
        let mut more = more;
        while more {
            let block = self.block()?;
            let block = block.ok_or_else(|| self.malformed("the archive ends in a sparse map"))?;
            more = sparse::extend(&mut map, &block).map_err(|reason| self.malformed(reason))?;
            self.check_side_data((map.regions.len() * size_of::<Region>()) as u64)?;
        }
        Ok(map)
    }

    /// Pax format 1.0: the map is text at the start of the content, padded to a block.
    fn map_before_content(&mut self, real_size: Option<u64>) -> Result<SparseMap, UnpackError> {
        let mut text = Vec::new();
        let mut lines = 0;
        loop {
            if self.content < BLOCK {
                return Err(self.malformed("a sparse map is longer than its file"));
            }
            let block = self.block()?;
            let block = block.ok_or_else(|| self.malformed("the archive ends in a sparse map"))?;
            self.content -= BLOCK;
            lines += block.iter().filter(|byte| **byte == b'\n').count() as u64;
            text.extend_from_slice(&block);
            self.check_side_data(text.len() as u64)?;
            // Read once, when its last line is there: a long map must not be read again and again.
            let needed = sparse::lines_needed(&text).map_err(|reason| self.malformed(reason))?;
            if needed.is_some_and(|needed| lines >= needed) {
                let map = sparse::version_1(&text, real_size);
                return map.map_err(|reason| self.malformed(reason));
            }
        }
    }

    fn header(&mut self) -> Result<Option<tar::Header>, UnpackError> {
        // One zero block ends the archive as two do; what follows is only hashed.
        let Some(block) = self.block()? else {
            return Ok(None);
        };
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let mut header = tar::Header::new_old();
        header.as_mut_bytes().copy_from_slice(&block);
        let sum = |byte: fn(u8) -> i64| -> i64 {
            let fields = block[..148].iter().chain(&block[156..]);
            fields.map(|b| byte(*b)).sum::<i64>() + 8 * i64::from(b' ')
        };
        let written = header.cksum().map(i64::from);
        // Old writers summed signed bytes.
        let signed = |byte: u8| i64::from(byte.cast_signed());
        match written {
            Ok(written) if written == sum(i64::from) || written == sum(signed) => Ok(Some(header)),
            Ok(_) | Err(_) => {
                self.number += 1;
                Err(self.malformed("wrong checksum of a header"))
            }
        }
    }

    /// The next block of the stream; `None` at its end.
    fn block(&mut self) -> Result<Option<[u8; 512]>, UnpackError> {
        let mut block = [0; 512];
        let mut filled = 0;
        while filled < block.len() {
            let available = self.input.fill_buf().map_err(from_input)?;
            if available.is_empty() {
                if filled == 0 {
                    return Ok(None);
                }
                return Err(self.malformed("the archive ends inside a block"));
            }
            let length = available.len().min(block.len() - filled);
            block[filled..filled + length].copy_from_slice(&available[..length]);
            self.input.consume(length);
            filled += length;
        }
        Ok(Some(block))
    }

    fn check_side_data(&self, bytes: u64) -> Result<(), UnpackError> {
        if bytes > self.limits.header_bytes {
            return Err(UnpackError::Limit {
                what: "bytes of metadata in one entry",
                limit: self.limits.header_bytes,
            });
        }
        Ok(())
    }

    /// The content of a header that describes the next one.
    fn side_data(&mut self, size: u64) -> Result<Vec<u8>, UnpackError> {
        self.check_side_data(size)?;
        self.content = size;
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
        let mut data = Vec::new();
        loop {
            let piece = self.content()?;
            let length = piece.len();
            if length == 0 {
                return Ok(data);
            }
            data.extend_from_slice(piece);
            self.consume(length);
        }
    }

    fn skip_rest(&mut self) -> Result<(), UnpackError> {
        self.content += std::mem::take(&mut self.padding);
        loop {
            let length = self.content()?.len();
            if length == 0 {
                return Ok(());
            }
            self.consume(length);
        }
    }

    fn number_field<T>(&self, field: io::Result<T>, what: &str) -> Result<T, UnpackError> {
        field.map_err(|error| self.malformed(format!("{what}: {error}")))
    }
}

/// The layers below wrap their own error in an `io::Error`; it is taken out again.
fn from_input(error: io::Error) -> UnpackError {
    match error.downcast::<UnpackError>() {
        Ok(error) => error,
        Err(source) => UnpackError::Decompress { source },
    }
}

fn trim_nul(mut name: Vec<u8>) -> Vec<u8> {
    while name.last() == Some(&0) {
        name.pop();
    }
    name
}
