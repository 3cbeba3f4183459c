//! What can go wrong with images, one enum for each operation. They are cheap to clone, because
//! one pull may have several callers.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pinpod_layer_store::UnpackError;
use pinpod_model::{Classify, Digest, ErrorClass, ImageId};
use pinpod_record::RecordError;
use pinpod_registry::{
    BlobError, ReferenceError, RegistriesConfError, RegistryError, ResolveError,
};

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
    /// The layers cannot be opened.
    #[error("cannot open the image store")]
    Layers(#[source] pinpod_layer_store::OpenError),
    /// `registries.conf` is not valid.
    #[error("cannot use the configuration of registries")]
    Registries(#[source] RegistriesConfError),
}

impl Classify for OpenError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Io { .. } => ErrorClass::Internal,
            Self::Record(source) => source.class(),
            Self::Layers(source) => source.class(),
            Self::Registries(_) => ErrorClass::InvalidArgument,
        }
    }
}

/// Why a pull failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PullError {
    /// The text is not an image reference.
    #[error("cannot pull {reference:?}")]
    Reference {
        /// What was given.
        reference: String,
        /// What is wrong with it.
        source: Arc<ReferenceError>,
    },
    /// No registry gave a manifest for it.
    #[error("cannot pull {reference}")]
    Resolve {
        /// The image.
        reference: String,
        /// Why.
        source: Arc<ResolveError>,
    },
    /// The registry that has it did not give the manifest for this node.
    #[error("cannot pull {reference}")]
    Manifest {
        /// The image.
        reference: String,
        /// Why.
        source: Arc<RegistryError>,
    },
    /// A blob could not be downloaded.
    #[error("cannot download {digest} of {reference}")]
    Blob {
        /// The image.
        reference: String,
        /// The blob.
        digest: Digest,
        /// Why.
        source: Arc<BlobError>,
    },
    /// A layer could not be unpacked or stored.
    #[error("cannot unpack layer {digest} of {reference}")]
    Layer {
        /// The image.
        reference: String,
        /// The layer's blob.
        digest: Digest,
        /// Why.
        source: Arc<UnpackError>,
    },
    /// A blob of a local file is not what its digest says, or is missing.
    #[error("blob {digest} of {reference} is missing or damaged")]
    Damaged {
        /// The file.
        reference: String,
        /// The blob.
        digest: Digest,
    },
    /// The records of the image cannot be written.
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
    #[error("the pull of {reference} made no progress for {} s", timeout.as_secs())]
    NoProgress {
        /// The image.
        reference: String,
        /// The time.
        timeout: Duration,
    },
    /// The daemon is going down.
    #[error("the pull of {reference} was cut off")]
    Cancelled {
        /// The image.
        reference: String,
    },
}

impl Classify for PullError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Reference { .. } => ErrorClass::InvalidArgument,
            Self::Resolve { source, .. } => source.class(),
            Self::Manifest { source, .. } => source.class(),
            Self::Blob { source, .. } => source.class(),
            Self::Layer { source, .. } => source.class(),
            Self::Store { source, .. } => source.class(),
            Self::Unusable { .. } | Self::Damaged { .. } => ErrorClass::FailedPrecondition,
            Self::NoProgress { .. } => ErrorClass::DeadlineExceeded,
            Self::Cancelled { .. } => ErrorClass::Cancelled,
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
    /// The daemon is going down.
    #[error("the removal of image {image} was cut off")]
    Cancelled {
        /// The image.
        image: ImageId,
    },
}

impl Classify for RemoveError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::InUse { .. } => ErrorClass::FailedPrecondition,
            Self::Record { source, .. } => source.class(),
            Self::Cancelled { .. } => ErrorClass::Cancelled,
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
            Self::Format { .. } => ErrorClass::InvalidArgument,
            Self::Store { source, .. } => source.class(),
        }
    }
}
