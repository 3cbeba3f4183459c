//! What can go wrong with a record.

use std::io;
use std::path::{Path, PathBuf};

use pinpod_model::{Classify, ErrorClass};

/// Why a record could not be read, written or removed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The value has no JSON form.
    #[error("the record for {} cannot be written as JSON", path.display())]
    Encode {
        /// The record.
        path: PathBuf,
        /// What JSON cannot carry.
        source: serde_json::Error,
    },
    /// The file is there and is not a valid record.
    #[error("record {} is corrupt", path.display())]
    Corrupt {
        /// The record.
        path: PathBuf,
        /// Where its JSON breaks.
        source: serde_json::Error,
    },
    /// The file or directory cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The record or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The disk or the quota is full (`ENOSPC`, `EDQUOT`).
    #[error("no space left to write {}", path.display())]
    NoSpace {
        /// The record.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The record.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file cannot be removed.
    #[error("cannot remove {}", path.display())]
    Remove {
        /// The record.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl RecordError {
    pub(crate) fn from_write(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace { path, source }
            }
            _ => Self::Write { path, source },
        }
    }
}

impl Classify for RecordError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoSpace { .. } => ErrorClass::ResourceExhausted,
            Self::Encode { .. }
            | Self::Corrupt { .. }
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::Remove { .. } => ErrorClass::Internal,
        }
    }
}
