//! What can go wrong with images, one enum for each operation. They are cheap to clone, because
//! one pull may have several callers.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pinpod_model::{Classify, Digest, ErrorClass, ImageId};
use pinpod_record::RecordError;

/// Why the image service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A directory of the store cannot be made or read.
    #[error("cannot open the image store at {}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A record of the store cannot be read or written.
    #[error("cannot read the records of the image store")]
    Record(#[source] RecordError),
}

/// Why a pull failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PullError {
    /// The text is not an image reference.
    #[error("{reference:?} is not an image reference: {reason}")]
    Reference {
        /// What was given.
        reference: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store cannot be written.
    #[error("cannot store image {reference}")]
    Store {
        /// The image.
        reference: String,
        /// Why.
        source: Arc<RecordError>,
    },
    /// The manifest or config is not one that this node can run.
    #[error("image {reference} is not usable here: {reason}")]
    Unusable {
        /// The image.
        reference: String,
        /// Why.
        reason: String,
    },
    /// Nothing was received for the configured time.
    #[error("pull of {reference} made no progress for {} s", timeout.as_secs())]
    NoProgress {
        /// The image.
        reference: String,
        /// The time.
        timeout: Duration,
    },
}

impl Classify for PullError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Reference { .. } => ErrorClass::InvalidArgument,
            Self::Store { source, .. } => source.class(),
            Self::Unusable { .. } => ErrorClass::FailedPrecondition,
            Self::NoProgress { .. } => ErrorClass::DeadlineExceeded,
        }
    }
}

/// Why an image was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// Containers use it.
    #[error("image {image} is in use by {}", users.join(", "))]
    InUse {
        /// The image.
        image: ImageId,
        /// Who uses it: container ids, or what was given to `hold`.
        users: Vec<String>,
    },
    /// Its record cannot be removed or rewritten.
    #[error("cannot remove image {image}")]
    Record {
        /// The image.
        image: ImageId,
        /// Why.
        source: RecordError,
    },
}

impl Classify for RemoveError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::InUse { .. } => ErrorClass::FailedPrecondition,
            Self::Record { source, .. } => source.class(),
        }
    }
}

/// Why a local image was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file or directory cannot be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It is neither an OCI layout nor an archive of one, nor what `docker save` writes.
    #[error("{} holds no image: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// A blob of it is not what its digest says, or is missing.
    #[error("blob {digest} of {} is missing or damaged", path.display())]
    Blob {
        /// The file.
        path: PathBuf,
        /// The blob.
        digest: Digest,
    },
    /// The image could not be stored.
    #[error("cannot store what {} holds", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PullError,
    },
}

impl Classify for ImportError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Io { .. } => ErrorClass::NotFound,
            Self::Format { .. } | Self::Blob { .. } => ErrorClass::InvalidArgument,
            Self::Store { source, .. } => source.class(),
        }
    }
}
