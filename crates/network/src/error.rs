//! What can go wrong with an attachment.

use pinpod_model::{Classify, ErrorClass, PodId, PodMetadata};

use crate::{AnnotationError, CacheError, PluginError};

/// Why a pod did not get its network. What had been set up was taken down again.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// There is no network to attach to.
    #[error("no CNI network for pod {pod}: {why}")]
    NotReady {
        /// The pod.
        pod: PodMetadata,
        /// What is missing.
        why: String,
    },
    /// An annotation that sets up the network is wrong.
    #[error("annotations of pod {pod}")]
    Annotation {
        /// The pod.
        pod: PodMetadata,
        /// Which one, and why.
        #[source]
        source: AnnotationError,
    },
    /// The attachment could not be noted on disk.
    #[error("attachment of pod {pod} not noted")]
    Cache {
        /// The pod.
        pod: PodMetadata,
        /// Which file, and why.
        #[source]
        source: Box<CacheError>,
    },
    /// A plugin failed.
    #[error("pod {pod} not attached to network {network:?}")]
    Plugin {
        /// The pod.
        pod: PodMetadata,
        /// The network.
        network: String,
        /// Which plugin, and why.
        #[source]
        source: Box<PluginError>,
    },
}

impl Classify for AttachError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NotReady { .. } => ErrorClass::Unavailable,
            Self::Annotation { .. } => ErrorClass::InvalidArgument,
            Self::Cache { .. } => ErrorClass::Internal,
            Self::Plugin { source, .. } => source.class(),
        }
    }
}

/// Why an attachment, or a part of one, is still there. The note about it is kept, so that the
/// next call tries again.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// The note could not be read or removed.
    #[error("note about the attachment of pod {pod}")]
    Cache {
        /// The pod.
        pod: PodId,
        /// Which file, and why.
        #[source]
        source: Box<CacheError>,
    },
    /// The note is torn, and no network is configured that could tell what to undo.
    #[error("attachment of pod {pod} is unreadable and there is no CNI network: {why}")]
    NotReady {
        /// The pod.
        pod: PodId,
        /// What is missing.
        why: String,
    },
    /// A plugin failed; the plugins before it in the list ran nevertheless.
    #[error("pod {pod} not detached from network {network:?}{}", also(.others))]
    Plugin {
        /// The pod.
        pod: PodId,
        /// The network.
        network: String,
        /// The first that failed.
        #[source]
        source: Box<PluginError>,
        /// Those that failed after it.
        others: Vec<PluginError>,
    },
}

fn also(others: &[PluginError]) -> String {
    others
        .iter()
        .map(|error| format!(" (also: {error})"))
        .collect()
}

impl Classify for DetachError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Cache { .. } => ErrorClass::Internal,
            Self::NotReady { .. } => ErrorClass::Unavailable,
            Self::Plugin { source, .. } => source.class(),
        }
    }
}

/// One thing that garbage collection could not do; it goes on past each.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// The directory of notes could not be read.
    #[error("attachments not listed")]
    List(#[source] CacheError),
    /// An attachment without a pod could not be undone.
    #[error("attachment without a pod")]
    Detach(#[from] DetachError),
    /// A plugin failed its GC.
    #[error("garbage collection of network {network:?}")]
    Plugin {
        /// The network.
        network: String,
        /// Which plugin, and why.
        #[source]
        source: Box<PluginError>,
    },
}
