//! The files of an archive or a directory, read where they are: nothing is extracted.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

/// Symbolic links of an archive that are followed for one file.
const LINKS_MAX: usize = 8;

/// Where the files are.
#[derive(Debug)]
pub(super) enum Files {
    Directory(PathBuf),
    Archive {
        file: File,
        /// Offset and length of each.
        members: HashMap<PathBuf, (u64, u64)>,
        links: HashMap<PathBuf, PathBuf>,
    },
}

/// A piece of an open file.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) file: File,
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Files {
    /// Opens `path`. A compressed archive is unpacked into an unnamed file in `scratch` first,
    /// because its members come in any order.
    pub(super) fn open(path: &Path, scratch: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        let mut start = BufReader::new(&file);
        let magic = start.fill_buf()?;
        let kind = [magic.first(), magic.get(1), magic.get(2), magic.get(3)];
        let kind = kind.map(|byte| byte.copied().unwrap_or_default());
        let file = match kind {
            [0x1f, 0x8b, _, _] => unpacked(flate2::bufread::MultiGzDecoder::new(start), scratch)?,
            [0x28, 0xb5, 0x2f, 0xfd] => unpacked(zstd::Decoder::with_buffer(start)?, scratch)?,
            _ => file,
        };
        Self::scan(file)
    }

    fn scan(mut file: File) -> io::Result<Self> {
        file.seek(SeekFrom::Start(0))?;
        let (mut members, mut links) = (HashMap::new(), HashMap::new());
        let mut archive = tar::Archive::new(&file);
        for entry in archive.entries_with_seek()? {
            let entry = entry?;
            let name = plain(&entry.path()?);
            let kind = entry.header().entry_type();
            if kind.is_file() {
                members.insert(name, (entry.raw_file_position(), entry.size()));
            } else if let (true, Some(target)) = (kind.is_symlink(), entry.link_name()?) {
                let target = name.parent().unwrap_or(Path::new("")).join(target);
                links.insert(name, plain(&target));
            }
        }
        Ok(Self::Archive {
            file,
            members,
            links,
        })
    }

    /// A file by its path inside.
    pub(super) fn section(&self, name: &str) -> io::Result<Option<Section>> {
        match self {
            Self::Directory(dir) => {
                let file = match File::open(dir.join(plain(Path::new(name)))) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(error),
                };
                let length = file.metadata()?.len();
                Ok(Some(Section {
                    file,
                    offset: 0,
                    length,
                }))
            }
            Self::Archive {
                file,
                members,
                links,
            } => {
                let mut name = plain(Path::new(name));
                for _ in 0..LINKS_MAX {
                    match links.get(&name) {
                        Some(target) => name.clone_from(target),
                        None => break,
                    }
                }
                let Some((offset, length)) = members.get(&name) else {
                    return Ok(None);
                };
                Ok(Some(Section {
                    file: file.try_clone()?,
                    offset: *offset,
                    length: *length,
                }))
            }
        }
    }

    /// A file of at most `max` bytes as a whole; one that is longer is an error.
    pub(super) fn read(&self, name: &str, max: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(section) = self.section(name)? else {
            return Ok(None);
        };
        if section.length > max {
            return Err(io::Error::other(format!(
                "{name} has {} bytes",
                section.length
            )));
        }
        let length = usize::try_from(section.length).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        section.file.read_exact_at(&mut bytes, section.offset)?;
        Ok(Some(bytes))
    }
}

/// The path without `.`, `..` and `/`; `..` takes the name before it away.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    plain
}

fn unpacked(mut from: impl Read, scratch: &Path) -> io::Result<File> {
    let path = scratch.join(format!(".import.{}.tmp", std::process::id()));
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    // From here on the file goes with its descriptor.
    std::fs::remove_file(&path)?;
    io::copy(&mut from, &mut file)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_through_links_and_inside_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        let mut tar = tar::Builder::new(File::create(&path).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_cksum();
        tar.append_data(&mut header, "one/layer.tar", b"abc".as_slice())
            .unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, "two/layer.tar", "../one/layer.tar")
            .unwrap();
        tar.into_inner().unwrap();
        for files in [Files::open(&path, dir.path()).unwrap(), {
            let gz = dir.path().join("a.tar.gz");
            let file = File::create(&gz).unwrap();
            let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            io::copy(&mut File::open(&path).unwrap(), &mut encoder).unwrap();
            encoder.finish().unwrap();
            Files::open(&gz, dir.path()).unwrap()
        }] {
            for name in ["one/layer.tar", "two/layer.tar", "./one/../two/layer.tar"] {
                assert_eq!(files.read(name, 10).unwrap().unwrap(), b"abc", "{name}");
            }
            assert!(files.read("one/layer.tar", 2).is_err());
            assert!(files.read("three", 10).unwrap().is_none());
        }
        let directory = Files::open(dir.path(), dir.path()).unwrap();
        assert!(directory.section("../../../etc/passwd").unwrap().is_none());
        assert!(directory.section("a.tar").unwrap().is_some());
    }
}
