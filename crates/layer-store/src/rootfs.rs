//! Root file systems of containers.

use std::io;
use std::path::PathBuf;

use pinpod_model::{Classify, ContainerId, ErrorClass, ImageId, UserNamespace};
use pinpod_record::RecordError;
use serde::{Deserialize, Serialize};

/// How a root file system is made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RootfsOptions {
    /// The user namespace of the pod: files of the image appear as owned by its ids.
    pub user_namespace: Option<UserNamespace>,
}

/// The directories of a root file system, as overlayfs wants them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootfsSpec {
    /// Unpacked layers, the topmost first.
    pub lower: Vec<PathBuf>,
    /// Where the container's changes go.
    pub upper: PathBuf,
    /// Overlayfs's own directory, on the same file system as `upper`.
    pub work: PathBuf,
}

/// Bytes and inodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes on disk.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

/// Why a root file system could not be made, mounted, unmounted or removed.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// No root file system of this container was prepared.
    #[error("container {container} has no root file system")]
    Unknown {
        /// The container.
        container: ContainerId,
    },
    /// The image is not in the store.
    #[error("image {image} is not in the store")]
    NoImage {
        /// The image.
        image: ImageId,
    },
    /// A directory of it cannot be made or removed.
    #[error("cannot prepare or remove {}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Its record cannot be read or written.
    #[error("cannot keep the record of the root file system of container {container}")]
    Record {
        /// The container.
        container: ContainerId,
        /// Why.
        source: RecordError,
    },
    /// The kernel refused the mount.
    #[error("cannot mount the root file system on {}", target.display())]
    Mount {
        /// The mount point.
        target: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The kernel refused to take the mount away.
    #[error("cannot unmount {}", target.display())]
    Unmount {
        /// The mount point.
        target: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl Classify for RootfsError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Unknown { .. } | Self::NoImage { .. } => ErrorClass::NotFound,
            Self::Record { source, .. } => source.class(),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                ErrorClass::ResourceExhausted
            }
            Self::Io { .. } | Self::Mount { .. } | Self::Unmount { .. } => ErrorClass::Internal,
        }
    }
}
