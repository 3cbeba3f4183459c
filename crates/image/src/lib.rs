//! Images: pull, list, remove, root file systems.

mod error;
mod image;
mod settings;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pinpod_model::{ContainerId, Credentials, ImageId};

pub use error::{ImportError, OpenError, PullError, RemoveError};
pub use image::{ExecutionConfig, Image, ImageConfig, ImageUser, RootFs};
pub use pinpod_layer_store::{Limits, RootfsError, RootfsOptions, RootfsSpec, Usage};
pub use settings::ImagesConfig;

/// A pulled image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledImage {
    /// The image.
    pub id: ImageId,
    /// `registry/repository@sha256:…` of what the registry gave for the reference.
    pub repo_digest: String,
}

/// An image that was imported from a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The image.
    pub id: ImageId,
    /// The tags that it got.
    pub repo_tags: Vec<String>,
}

/// Use of the file system that holds the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsInfo {
    /// Directory of the store.
    pub mountpoint: PathBuf,
    /// What images use.
    pub images: Usage,
    /// Size of the file system in bytes.
    pub capacity_bytes: u64,
    /// Bytes that are free for pinpod.
    pub available_bytes: u64,
}

/// The image service. A clone is the same service.
#[derive(Debug, Clone)]
pub struct Images {
    config: Arc<ImagesConfig>,
}

impl Images {
    /// Opens the store and heals it: what a crash tore is dropped, with a line in the log.
    /// Blocking; for the start.
    ///
    /// # Errors
    /// [`OpenError`] if the store cannot be used at all.
    pub fn open(config: ImagesConfig) -> Result<Self, OpenError> {
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// Pulls an image. A tag is always asked from the registry; layers that are here already are
    /// not downloaded again. Callers with the same reference and credentials share one pull,
    /// which ends when the last of them drops its future.
    ///
    /// # Errors
    /// [`PullError`].
    pub async fn pull(
        &self,
        reference: &str,
        credentials: Option<Credentials>,
    ) -> Result<PulledImage, PullError> {
        drop((credentials, &self.config));
        Err(PullError::Unusable {
            reference: reference.to_owned(),
            reason: String::new(),
        })
    }

    /// Every image, in no order.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Image>> {
        Vec::new()
    }

    /// The image that a user means: an id with or without `sha256:`, a unique prefix of one, a
    /// reference by tag or digest, or a short name through aliases and search registries.
    #[must_use]
    pub fn resolve(&self, reference: &str) -> Option<Arc<Image>> {
        drop(reference.to_owned());
        None
    }

    /// Removes an image. An id removes it with all its references; a reference goes alone when the
    /// image has others (as CRI-O does). One that does not exist is removed already.
    ///
    /// # Errors
    /// [`RemoveError::InUse`] if containers use it, [`RemoveError::Record`] if the disk refuses.
    pub async fn remove(&self, reference: &str) -> Result<(), RemoveError> {
        drop(reference.to_owned());
        Ok(())
    }

    /// Notes that `user` (a container id, for the message of [`RemoveError::InUse`]) uses an image.
    /// Root file systems do this by themselves; it is for image volumes. False when there is no
    /// such image.
    pub fn hold(&self, image: &ImageId, user: &str) -> bool {
        drop((image.clone(), user.to_owned()));
        false
    }

    /// Takes back [`Images::hold`]. Idempotent.
    pub fn release(&self, image: &ImageId, user: &str) {
        drop((image.clone(), user.to_owned()));
    }

    /// What images use, from the records; nothing is walked.
    ///
    /// # Errors
    /// The system's, if the file system cannot be asked.
    pub fn fs_info(&self) -> std::io::Result<FsInfo> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// Makes the directories of a container's root file system and holds the image for it. The
    /// same again is no error: the directories are kept.
    ///
    /// # Errors
    /// [`RootfsError`].
    pub async fn prepare_rootfs(
        &self,
        image: &ImageId,
        container: &ContainerId,
        options: RootfsOptions,
    ) -> Result<RootfsSpec, RootfsError> {
        drop((container.clone(), options));
        Err(RootfsError::NoImage {
            image: image.clone(),
        })
    }

    /// Mounts a prepared root file system on `target`, an existing directory.
    ///
    /// # Errors
    /// [`RootfsError`].
    pub async fn mount_rootfs(
        &self,
        container: &ContainerId,
        target: &Path,
    ) -> Result<(), RootfsError> {
        drop(target.to_owned());
        Err(RootfsError::Unknown {
            container: container.clone(),
        })
    }

    /// Unmounts what [`Images::mount_rootfs`] or [`Images::mount_image`] mounted on `target`; also
    /// when it is still busy, and when it is not mounted.
    ///
    /// # Errors
    /// [`RootfsError::Unmount`].
    pub async fn unmount_rootfs(&self, target: &Path) -> Result<(), RootfsError> {
        drop(target.to_owned());
        Ok(())
    }

    /// Removes a container's root file system and lets go of its image. Idempotent.
    ///
    /// # Errors
    /// [`RootfsError`].
    pub async fn remove_rootfs(&self, container: &ContainerId) -> Result<(), RootfsError> {
        drop(container.clone());
        Ok(())
    }

    /// Containers that have a root file system here, for recovery to compare with its records.
    #[must_use]
    pub fn rootfs_containers(&self) -> Vec<ContainerId> {
        Vec::new()
    }

    /// Bytes and inodes of a container's own changes. Walks them.
    ///
    /// # Errors
    /// [`RootfsError`].
    pub async fn writable_usage(&self, container: &ContainerId) -> Result<Usage, RootfsError> {
        Err(RootfsError::Unknown {
            container: container.clone(),
        })
    }

    /// Mounts an image read-only on `target`, for an image volume. The caller holds the image.
    ///
    /// # Errors
    /// [`RootfsError`].
    pub async fn mount_image(&self, image: &ImageId, target: &Path) -> Result<(), RootfsError> {
        drop(target.to_owned());
        Err(RootfsError::NoImage {
            image: image.clone(),
        })
    }

    /// Imports the images of an OCI layout directory, an archive of one, or an archive of
    /// `docker save`, compressed or not. `tag` names the image when the file holds one only.
    ///
    /// # Errors
    /// [`ImportError`].
    pub async fn import(
        &self,
        path: &Path,
        tag: Option<&str>,
    ) -> Result<Vec<Imported>, ImportError> {
        drop(tag.map(str::to_owned));
        Err(ImportError::Format {
            path: path.to_owned(),
            reason: String::new(),
        })
    }
}
