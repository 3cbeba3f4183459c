//! Why a layer could not be unpacked.

use std::io;
use std::path::PathBuf;

use pinpod_model::{Classify, Digest, ErrorClass};
use pinpod_record::RecordError;

/// Why a layer could not be unpacked. Nothing of it is left in the store.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The blob ended, or nobody feeds it any more, before it was complete.
    #[error("the download of the layer was given up")]
    Abandoned,
    /// The blob is not as long as its descriptor says.
    #[error("the blob is {received} bytes or more and should be {declared}")]
    BlobSize {
        /// Bytes by the descriptor.
        declared: u64,
        /// Bytes that came until this was clear.
        received: u64,
    },
    /// The blob cannot be decompressed.
    #[error("the blob cannot be decompressed")]
    Decompress {
        /// What the decoder says.
        source: io::Error,
    },
    /// The tar breaks one of the [`crate::Limits`].
    #[error("the layer has more than {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// The archive is damaged.
    #[error("the layer's tar is malformed at entry {number}: {reason}")]
    Malformed {
        /// Number of the entry, from 1.
        number: u64,
        /// What is wrong.
        reason: String,
    },
    /// An entry wants something that no layer may do.
    #[error("entry {entry:?} of the layer is refused: {reason}")]
    Refused {
        /// Its path in the tar.
        entry: String,
        /// What it wants.
        reason: &'static str,
    },
    /// The file system refused an entry.
    #[error("cannot {what} for entry {entry:?} of the layer")]
    Entry {
        /// Its path in the tar.
        entry: String,
        /// What was tried.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The content is not the one that the image's config names.
    #[error("the layer's content is {actual} and should be {expected}")]
    DiffId {
        /// By the config.
        expected: Digest,
        /// As unpacked.
        actual: Digest,
    },
    /// The staging directory cannot be made or committed.
    #[error("cannot stage a layer in {}", path.display())]
    Staging {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The layer's own record cannot be written.
    #[error("cannot record a layer")]
    Record {
        /// Why.
        source: RecordError,
    },
}

impl UnpackError {
    pub(crate) fn entry(entry: &[u8], what: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Entry {
            entry: String::from_utf8_lossy(entry).into_owned(),
            what,
            source: source.into(),
        }
    }

    pub(crate) fn refused(entry: &[u8], reason: &'static str) -> Self {
        Self::Refused {
            entry: String::from_utf8_lossy(entry).into_owned(),
            reason,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl Classify for UnpackError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Abandoned => ErrorClass::Cancelled,
            Self::Entry { source, .. } | Self::Staging { source, .. } if is_full(source) => {
                ErrorClass::ResourceExhausted
            }
            Self::Record { source } => source.class(),
            Self::BlobSize { .. }
            | Self::Decompress { .. }
            | Self::Limit { .. }
            | Self::Malformed { .. }
            | Self::Refused { .. }
            | Self::DiffId { .. } => ErrorClass::FailedPrecondition,
            Self::Entry { .. } | Self::Staging { .. } => ErrorClass::Internal,
        }
    }
}
