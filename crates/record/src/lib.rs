//! Records on disk: one small file each, replaced as a whole.
//!
//! ```text
//! <dir>/<name>            the record; always complete, whatever died while it was written
//! <dir>/.<name>.<n>.tmp   a write under way, or what a crash left of one
//! ```
//!
//! A write goes to a temporary file in the same directory and is renamed over the record, so a
//! reader in any process sees the old content or the new, never a part. [`Durability::Durable`]
//! also makes it outlive a power loss; [`Durability::Volatile`] is for directories that a reboot
//! empties anyway (`/run`), where waiting for a disk would buy nothing. No locks: each record has
//! one writer. Temporary files are never read; [`clean_temporary`] removes them at start.

mod error;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::RecordError;

/// How much a written record must outlive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A power loss: the file and its directory are synced.
    Durable,
    /// The death of this process, but not of the machine.
    Volatile,
}

/// Writes `value` as JSON over the record at `path`; its directory must exist. The file can be
/// read and written by its owner only.
///
/// # Errors
/// [`RecordError::Encode`] if the value has no JSON form, [`RecordError::NoSpace`] on a full disk
/// or quota, [`RecordError::Write`] for anything else. The old record is then still in place.
pub fn write_json<T: Serialize>(
    path: &Path,
    value: &T,
    durability: Durability,
) -> Result<(), RecordError> {
    let mut bytes = serde_json::to_vec(value).map_err(|source| RecordError::Encode {
        path: path.to_owned(),
        source,
    })?;
    bytes.push(b'\n');
    write_bytes(path, &bytes, durability)
}

/// Writes `bytes` to the letter over the file at `path`, as [`write_json`] does.
///
/// # Errors
/// As [`write_json`], without [`RecordError::Encode`].
pub fn write_bytes(path: &Path, bytes: &[u8], durability: Durability) -> Result<(), RecordError> {
    let temporary = temporary_path(path)?;
    let result = replace(path, &temporary, bytes, durability);
    if result.is_err() {
        // The write's own error is the one to report; a leftover is swept at the next start.
        drop(std::fs::remove_file(&temporary));
    }
    result.map_err(|source| RecordError::from_write(path, source))
}

fn replace(path: &Path, temporary: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = rustix::fs::open(temporary, flags, Mode::RUSR | Mode::WUSR)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    if durability == Durability::Durable {
        file.sync_all()?;
    }
    drop(file);
    std::fs::rename(temporary, path)?;
    if durability == Durability::Durable {
        sync_parent(path)?;
    }
    Ok(())
}

/// Reads the record at `path`; `None` when there is none.
///
/// # Errors
/// [`RecordError::Corrupt`] if the file is not the JSON of a `T`, [`RecordError::Read`] if it
/// cannot be read.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RecordError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(RecordError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| RecordError::Corrupt {
            path: path.to_owned(),
            source,
        })
}

/// Removes the record at `path`; one that is not there is removed already.
///
/// # Errors
/// [`RecordError::Remove`].
pub fn remove(path: &Path) -> Result<(), RecordError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(RecordError::Remove {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Removes what interrupted writes left in `dir` and says how many files that were. Only for a
/// time when nobody writes there. A directory that does not exist is clean.
///
/// # Errors
/// [`RecordError::Read`] if the directory cannot be listed, [`RecordError::Remove`] for a file.
pub fn clean_temporary(dir: &Path) -> Result<usize, RecordError> {
    let unreadable = |source| RecordError::Read {
        path: dir.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(unreadable(error)),
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        if is_temporary(&entry.file_name()) {
            remove(&entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Whether a file of this name is a write under way and not a record.
#[must_use]
pub fn is_temporary(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    bytes.starts_with(b".") && bytes.ends_with(b".tmp")
}

fn temporary_path(path: &Path) -> Result<PathBuf, RecordError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or_else(|| RecordError::Write {
        path: path.to_owned(),
        source: io::ErrorKind::InvalidInput.into(),
    })?;
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}-{number}.tmp", std::process::id()));
    Ok(path.with_file_name(temporary))
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pinpod_model::{Classify, ErrorClass};

    use super::*;

    fn value() -> BTreeMap<String, u32> {
        BTreeMap::from([("a".to_owned(), 1)])
    }

    #[test]
    fn what_is_written_is_read_and_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record.json");
        assert_eq!(
            read_json::<BTreeMap<String, u32>>(&path).unwrap_or_default(),
            None
        );
        for durability in [Durability::Durable, Durability::Volatile] {
            write_json(&path, &value(), durability).unwrap();
            assert_eq!(read_json(&path).unwrap(), Some(value()));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
    }

    #[test]
    fn a_torn_record_is_corrupt_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record.json");
        for torn in ["", "{", "[1,", "{\"a\":\"text\"}"] {
            std::fs::write(&path, torn).unwrap();
            let error = read_json::<BTreeMap<String, u32>>(&path).unwrap_err();
            assert!(matches!(error, RecordError::Corrupt { .. }), "{torn:?}");
            assert!(error.to_string().contains("record.json"));
        }
    }

    #[test]
    fn leftovers_of_a_crash_go_and_records_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record.json");
        write_json(&path, &value(), Durability::Volatile).unwrap();
        std::fs::write(dir.path().join(".record.json.12-3.tmp"), "{\"a").unwrap();
        assert_eq!(clean_temporary(dir.path()).unwrap(), 1);
        assert_eq!(clean_temporary(dir.path()).unwrap(), 0);
        assert_eq!(clean_temporary(&dir.path().join("none")).unwrap(), 0);
        assert_eq!(read_json(&path).unwrap(), Some(value()));
    }

    #[test]
    fn a_full_disk_is_said_to_be_one() {
        let full = RecordError::from_write(
            Path::new("/x/record.json"),
            io::Error::from(rustix::io::Errno::NOSPC),
        );
        assert!(matches!(full, RecordError::NoSpace { .. }));
        assert_eq!(full.class(), ErrorClass::ResourceExhausted);
        let missing = write_json(Path::new("/nowhere/x/y"), &value(), Durability::Volatile);
        let error = missing.unwrap_err();
        assert!(matches!(error, RecordError::Write { .. }));
        assert!(error.to_string().contains("/nowhere/x/y"));
    }
}
