//! Root file systems of containers: an overlay of an image's layers and a directory of the
//! container's own.

use std::collections::HashSet;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pinpod_kernel::mount::{self, BindFlags, MountError, OverlayMount};
use pinpod_model::{Classify, ContainerId, ErrorClass, IdMapping, ImageId, UserNamespace};
use pinpod_record::{Durability, RecordError, write_json};
use serde::{Deserialize, Serialize};

use crate::store::{LayerStore, lock};
use crate::{Layer, LayerKey, trash};

/// How a root file system is made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RootfsOptions {
    /// The user namespace of the pod: files of the image appear as owned by its ids.
    pub user_namespace: Option<RootfsUserNamespace>,
}

/// A pinned user namespace and what it maps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootfsUserNamespace {
    /// The ids.
    pub mapping: UserNamespace,
    /// The file that the namespace is pinned on.
    pub path: PathBuf,
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
    /// The kernel refused a mount.
    #[error("cannot mount the root file system on {}", target.display())]
    Mount {
        /// The mount point.
        target: PathBuf,
        /// The kernel's reason.
        source: MountError,
    },
    /// The kernel refused to take the mount away.
    #[error("cannot unmount {}", target.display())]
    Unmount {
        /// The mount point.
        target: PathBuf,
        /// The kernel's reason.
        source: MountError,
    },
    /// The daemon is going down.
    #[error("work on a root file system was cut off")]
    Cancelled,
}

impl Classify for RootfsError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Unknown { .. } | Self::NoImage { .. } => ErrorClass::NotFound,
            Self::Record { source, .. } => source.class(),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                ErrorClass::ResourceExhausted
            }
            Self::Cancelled => ErrorClass::Cancelled,
            Self::Io { .. } | Self::Mount { .. } | Self::Unmount { .. } => ErrorClass::Internal,
        }
    }
}

/// `rootfs.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RootfsRecord {
    /// The lowest first.
    pub(crate) layers: Vec<LayerKey>,
    pub(crate) image: ImageId,
    #[serde(default)]
    pub(crate) options: RootfsOptions,
}

/// A root file system and what it keeps from being collected.
#[derive(Debug)]
pub(crate) struct Rootfs {
    pub(crate) layers: Vec<Arc<Layer>>,
    pub(crate) record: RootfsRecord,
}

impl LayerStore {
    /// Makes the directories of a root file system on `layers` (the lowest first) of `image`, and
    /// keeps the layers until [`LayerStore::remove_rootfs`]. What an earlier call made is kept.
    /// Blocking.
    ///
    /// # Errors
    /// [`RootfsError`].
    pub fn prepare_rootfs(
        &self,
        container: &ContainerId,
        image: &ImageId,
        layers: &[Arc<Layer>],
        options: RootfsOptions,
    ) -> Result<RootfsSpec, RootfsError> {
        let dir = self.rootfs_dir(container);
        let record = RootfsRecord {
            layers: layers.iter().map(|layer| layer.key.clone()).collect(),
            image: image.clone(),
            options,
        };
        self.make_rootfs(&dir, layers, &record.options)?;
        let path = dir.join("rootfs.json");
        // After a reboot no container is left that could want it.
        write_json(&path, &record, Durability::Volatile).map_err(|source| RootfsError::Record {
            container: container.clone(),
            source,
        })?;
        let rootfs = Rootfs {
            layers: layers.to_vec(),
            record,
        };
        let spec = self.spec(&dir, &rootfs);
        lock(&self.shared.rootfs).insert(container.clone(), rootfs);
        Ok(spec)
    }

    /// The root of the container's changes is what a look at `/` shows: it gets mode and owner of
    /// the image's root directory.
    fn make_rootfs(
        &self,
        dir: &Path,
        layers: &[Arc<Layer>],
        options: &RootfsOptions,
    ) -> Result<(), RootfsError> {
        let upper = dir.join("upper");
        let failed = |source| RootfsError::Io {
            path: dir.to_owned(),
            source,
        };
        let top = layers.iter().rev().find(|layer| layer.has_root);
        let (mode, uid, gid) = match top {
            None => (0o755, 0, 0),
            Some(layer) => {
                let root = std::fs::metadata(self.diff(&layer.key)).map_err(failed)?;
                (root.mode() & 0o7777, root.uid(), root.gid())
            }
        };
        let (uid, gid) = match &options.user_namespace {
            None => (uid, gid),
            Some(RootfsUserNamespace { mapping, .. }) => {
                (mapped(mapping.uid, uid), mapped(mapping.gid, gid))
            }
        };
        let make = || {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder.create(&upper)?;
            builder.create(dir.join("work"))?;
            std::os::unix::fs::chown(&upper, Some(uid), Some(gid))?;
            std::fs::set_permissions(&upper, std::fs::Permissions::from_mode(mode))
        };
        make().map_err(failed)
    }

    /// Mounts a prepared root file system on `target`. With a user namespace in its
    /// [`RootfsOptions`] the layers are seen through id-mapped mounts. Already mounted is fine.
    /// Blocking.
    ///
    /// # Errors
    /// [`RootfsError`].
    pub fn mount_rootfs(&self, container: &ContainerId, target: &Path) -> Result<(), RootfsError> {
        let dir = self.rootfs_dir(container);
        let (spec, user_namespace) = {
            let known = lock(&self.shared.rootfs);
            let rootfs = known.get(container).ok_or_else(|| RootfsError::Unknown {
                container: container.clone(),
            })?;
            let user_namespace = rootfs.record.options.user_namespace.clone();
            (
                self.spec(&dir, rootfs),
                user_namespace.map(|user| user.path),
            )
        };
        let failed = mount_failed(target);
        if mount::is_mount_point(target).map_err(&failed)? {
            return Ok(());
        }
        self.fresh_work(&spec.work)?;
        self.with_lower(spec.lower, user_namespace.as_deref(), target, |lower| {
            let mut overlay = OverlayMount {
                lower,
                upper: Some(spec.upper),
                work: Some(spec.work),
                // A container's changes need not survive a power loss: the container does not.
                options: vec!["volatile".into(), "index=off".into()],
            };
            match mount::overlay(&overlay, target) {
                Err(MountError::Unsupported { .. } | MountError::Failed { .. }) => {
                    overlay.options.clear();
                    mount::overlay(&overlay, target)
                }
                result => result,
            }
        })
    }

    /// A volatile mount leaves a mark by which the kernel refuses the next one, in case the
    /// machine went down meanwhile. Our own record of that is better.
    fn fresh_work(&self, work: &Path) -> Result<(), RootfsError> {
        let marked = work.join("work/incompat");
        let fresh = || -> io::Result<()> {
            if marked.try_exists()? {
                trash::throw(&self.shared.root, work)?;
                DirBuilder::new().mode(0o700).create(work)?;
            }
            Ok(())
        };
        fresh().map_err(|source| RootfsError::Io {
            path: work.to_owned(),
            source,
        })
    }

    /// Mounts layers (the lowest first) read-only on `target`, with ids mapped by the user namespace
    /// that is pinned on a file, if one is given. Blocking.
    ///
    /// # Errors
    /// [`RootfsError::Mount`].
    pub fn mount_layers(
        &self,
        layers: &[Arc<Layer>],
        target: &Path,
        user_namespace: Option<&Path>,
    ) -> Result<(), RootfsError> {
        let lower = self.lower(layers);
        self.with_lower(lower, user_namespace, target, |lower| {
            let overlay = OverlayMount {
                lower,
                ..OverlayMount::default()
            };
            mount::overlay(&overlay, target)
        })
    }

    /// Calls `make` with the lower directories, seen through the user namespace if there is one.
    /// The kernel keeps its own hold of them, so these mounts go as soon as the overlay is made.
    fn with_lower(
        &self,
        lower: Vec<PathBuf>,
        user_namespace: Option<&Path>,
        target: &Path,
        make: impl FnOnce(Vec<PathBuf>) -> Result<(), MountError>,
    ) -> Result<(), RootfsError> {
        let failed = mount_failed(target);
        let Some(user_namespace) = user_namespace else {
            return make(lower).map_err(failed);
        };
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |source| RootfsError::Io { path, source }
        };
        let namespace = std::fs::File::open(user_namespace).map_err(unusable(user_namespace))?;
        let mut mapped = Mapped {
            dir: self.new_path("staging"),
            mounts: Vec::new(),
        };
        for (index, dir) in lower.iter().enumerate() {
            let place = mapped.dir.join(index.to_string());
            std::fs::create_dir_all(&place).map_err(unusable(&place))?;
            mapped.mounts.push(place);
            let flags = BindFlags {
                readonly: true,
                recursive: false,
            };
            let place = &mapped.mounts[index];
            mount::bind_idmapped(dir, place, flags, &namespace).map_err(&failed)?;
        }
        make(mapped.mounts.clone()).map_err(failed)
    }

    /// Takes away what is mounted on `target`, now for its name, and for good when nobody uses it.
    /// Not mounted is fine.
    ///
    /// # Errors
    /// [`RootfsError::Unmount`].
    pub fn unmount(&self, target: &Path) -> Result<(), RootfsError> {
        mount::unmount(target).map_err(|source| RootfsError::Unmount {
            target: target.to_owned(),
            source,
        })
    }

    /// Removes a root file system that is not mounted any more; its layers are held no longer.
    /// Deleting goes on behind. Idempotent.
    ///
    /// # Errors
    /// [`RootfsError::Io`].
    pub fn remove_rootfs(&self, container: &ContainerId) -> Result<(), RootfsError> {
        let dir = self.rootfs_dir(container);
        trash::throw(&self.shared.root, &dir)
            .map_err(|source| RootfsError::Io { path: dir, source })?;
        if lock(&self.shared.rootfs).remove(container).is_some() {
            trash::empty(&self.shared.root);
        }
        Ok(())
    }

    /// Containers that have a root file system, and of which image.
    #[must_use]
    pub fn rootfs_images(&self) -> Vec<(ContainerId, ImageId)> {
        let known = lock(&self.shared.rootfs);
        let images = known.iter();
        images
            .map(|(id, rootfs)| (id.clone(), rootfs.record.image.clone()))
            .collect()
    }

    /// What a container's own changes use. Walks them. Blocking.
    ///
    /// # Errors
    /// [`RootfsError`].
    pub fn writable_usage(&self, container: &ContainerId) -> Result<Usage, RootfsError> {
        if !lock(&self.shared.rootfs).contains_key(container) {
            return Err(RootfsError::Unknown {
                container: container.clone(),
            });
        }
        let upper = self.rootfs_dir(container).join("upper");
        let mut usage = Usage::default();
        walk(&upper, &mut usage).map_err(|source| RootfsError::Io {
            path: upper,
            source,
        })?;
        Ok(usage)
    }

    /// The directory on disk of a container that has a root file system here. `upper` in it has the
    /// container's changes; what others put beside it goes with the root file system.
    #[must_use]
    pub fn container_dir(&self, container: &ContainerId) -> PathBuf {
        self.rootfs_dir(container)
    }

    fn rootfs_dir(&self, container: &ContainerId) -> PathBuf {
        self.shared.root.join("containers").join(container.as_str())
    }

    fn spec(&self, dir: &Path, rootfs: &Rootfs) -> RootfsSpec {
        RootfsSpec {
            lower: self.lower(&rootfs.layers),
            upper: dir.join("upper"),
            work: dir.join("work"),
        }
    }

    /// The directories, the topmost first. The kernel refuses one that comes twice, and images do
    /// have the same layer twice; what the lower one shows or hides, the upper one does too.
    pub(crate) fn lower(&self, layers: &[Arc<Layer>]) -> Vec<PathBuf> {
        let mut seen = HashSet::new();
        let from_top = layers.iter().rev();
        let once = from_top.filter(|layer| seen.insert(&layer.key));
        once.map(|layer| self.diff(&layer.key)).collect()
    }
}

/// Id-mapped mounts of layers, for as long as an overlay is made of them.
struct Mapped {
    dir: PathBuf,
    mounts: Vec<PathBuf>,
}

impl Drop for Mapped {
    fn drop(&mut self) {
        for place in &self.mounts {
            if let Err(error) = mount::unmount(place) {
                // Deleting would go through the mount; the next start takes it away.
                tracing::warn!(place = %place.display(), %error, "cannot unmount a mapped layer");
                return;
            }
        }
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), %error, "cannot remove a staging directory");
        }
    }
}

fn mount_failed(target: &Path) -> impl Fn(MountError) -> RootfsError + use<> {
    let target = target.to_owned();
    move |source| RootfsError::Mount {
        target: target.clone(),
        source,
    }
}

/// The node's id for an id of the image; one that the namespace does not have stays unmapped.
fn mapped(mapping: IdMapping, id: u32) -> u32 {
    match id.checked_sub(mapping.container_id) {
        Some(offset) if offset < mapping.length => mapping.host_id + offset,
        _ => mapping.host_id,
    }
}

fn walk(dir: &Path, usage: &mut Usage) -> io::Result<()> {
    let metadata = std::fs::symlink_metadata(dir)?;
    usage.bytes += metadata.blocks() * 512;
    usage.inodes += 1;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => match walk(&entry.path(), usage) {
                // The container goes on while this looks.
                Err(error) if gone(&error) => {}
                result => result?,
            },
            Ok(metadata) => {
                usage.bytes += metadata.blocks() * 512 / metadata.nlink().max(1);
                usage.inodes += 1;
            }
            Err(error) if gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
