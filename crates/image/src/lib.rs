//! Images: pull, import, list, remove, and root file systems made of them.
//!
//! ```text
//! <root>                      /var/lib/pinpod; what else is in it, pinpod-layer-store draws
//! ├── images/<hex id>.json    one image: its references, layers, blobs; without it, no image
//! └── blobs/sha256/<hex>      configs and manifests, to the byte; verified when read at start
//! ```
//!
//! An image is its config's digest. It is in the catalog when all of it is in the store; a start
//! drops an image of which a layer or the config is missing, says so in the log, and drops nothing
//! else. Layers are shared, and kept while an image or a container holds them.
//!
//! Order of a pull: manifest (always from the registry, with the caller's credentials), config,
//! layers in parallel, then the record. It may be dropped at any point; layers that were complete
//! stay until the next removal of an image and are found by the next try.

mod assemble;
mod catalog;
mod error;
mod image;
mod import;
mod jobs;
mod pull;
mod record;
mod settings;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pinpod_layer_store::LayerStore;
use pinpod_model::{ContainerId, Credentials, ImageId};
use pinpod_registry::{ClientOptions, ImageName, Registries, RegistriesPaths};
use tokio::task::spawn_blocking;

use catalog::{Catalog, Name};
use jobs::{JobKey, Jobs};
use pull::PullContext;

pub use error::{ImportError, OpenError, PullError, RemoveError};
pub use image::{ExecutionConfig, Image, ImageConfig, ImageUser, RootFs};
pub use pinpod_layer_store::{
    Limits, RootfsError, RootfsOptions, RootfsSpec, RootfsUserNamespace, Usage,
};
pub use pinpod_registry::ShortNameMode;
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
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Arc<ImagesConfig>,
    registries: Arc<Registries>,
    store: LayerStore,
    catalog: Arc<Catalog>,
    jobs: Jobs,
}

impl Images {
    /// Opens the store and heals it: what a crash tore is dropped, with a line in the log.
    /// Blocking; for the start.
    ///
    /// # Errors
    /// [`OpenError`] if the store cannot be used at all.
    pub fn open(config: ImagesConfig) -> Result<Self, OpenError> {
        let paths = RegistriesPaths {
            conf: config.registries_conf.clone(),
            conf_dir: config.registries_dir.clone(),
            auth_files: config.auth_file.iter().cloned().collect(),
            short_name_mode: config.short_name_mode,
        };
        let registries = Registries::load(paths, ClientOptions::default());
        let registries = registries.map_err(OpenError::Registries)?;
        let store = LayerStore::open(&config.root, config.limits).map_err(OpenError::Layers)?;
        let catalog = Catalog::open(&config.root, config.pinned.clone(), &store)?;
        for (container, image) in store.rootfs_images() {
            catalog.hold(&image, container.as_str());
        }
        store.collect();
        Ok(Self {
            shared: Arc::new(Shared {
                settings: Arc::new(config),
                registries: Arc::new(registries),
                store,
                catalog: Arc::new(catalog),
                jobs: Jobs::default(),
            }),
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
        let name: ImageName = reference.parse().map_err(|source| PullError::Reference {
            reference: reference.to_owned(),
            source: Arc::new(source),
        })?;
        let key = JobKey {
            name: name.to_string(),
            credentials: credentials.clone(),
        };
        let shared = &self.shared;
        let context = PullContext {
            settings: Arc::clone(&shared.settings),
            registries: Arc::clone(&shared.registries),
            store: shared.store.clone(),
            catalog: Arc::clone(&shared.catalog),
        };
        let work = || Box::pin(pull::pull(context, name, credentials)) as _;
        shared.jobs.join(key, work).await
    }

    /// Pins the images of these references, as [`ImagesConfig::pinned`] has them, and no others.
    pub fn set_pinned(&self, pinned: Vec<String>) {
        self.shared.catalog.set_pinned(pinned);
    }

    /// Every image, in no order.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Image>> {
        self.shared.catalog.list()
    }

    /// The image that a user means: an id with or without `sha256:`, a reference by tag or digest,
    /// a short name through aliases and search registries, or a unique prefix of an id.
    #[must_use]
    pub fn resolve(&self, reference: &str) -> Option<Arc<Image>> {
        self.lookup(reference).map(|(_, image)| image)
    }

    /// Removes an image. An id removes it with all its references; a tag goes alone when the image
    /// has other tags, and a digest when it has other references (as CRI-O does). One that does
    /// not exist is removed already.
    ///
    /// # Errors
    /// [`RemoveError::InUse`] if containers use it, [`RemoveError::Record`] if the disk refuses.
    pub async fn remove(&self, reference: &str) -> Result<(), RemoveError> {
        let Some((name, image)) = self.lookup(reference) else {
            return Ok(());
        };
        let id = image.id.clone();
        let shared = Arc::clone(&self.shared);
        let removed = spawn_blocking(move || -> Result<(), RemoveError> {
            if shared.catalog.remove(&name, &image.id)? {
                shared.store.collect();
            } else {
                pull::sync(shared.store.clone());
            }
            Ok(())
        });
        removed
            .await
            .unwrap_or(Err(RemoveError::Cancelled { image: id }))
    }

    /// Notes that `user` (a container id, for the message of [`RemoveError::InUse`]) uses an image.
    /// Root file systems do this by themselves; it is for image volumes. False when there is no
    /// such image.
    pub fn hold(&self, image: &ImageId, user: &str) -> bool {
        self.shared.catalog.hold(image, user)
    }

    /// Takes back [`Images::hold`]. Idempotent.
    pub fn release(&self, image: &ImageId, user: &str) {
        self.shared.catalog.release(image, user);
    }

    /// Directory of the store.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.shared.store.root()
    }

    /// What images use, from the records; nothing is walked.
    ///
    /// # Errors
    /// The system's, if the file system cannot be asked.
    pub fn fs_info(&self) -> std::io::Result<FsInfo> {
        let root = self.shared.store.root();
        let stat = rustix::fs::statvfs(root)?;
        Ok(FsInfo {
            mountpoint: root.to_owned(),
            images: self.shared.store.usage(),
            capacity_bytes: stat.f_blocks * stat.f_frsize,
            available_bytes: stat.f_bavail * stat.f_frsize,
        })
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
        let (image, container) = (image.clone(), container.clone());
        self.blocking(move |shared| {
            let catalog = &shared.catalog;
            let held = catalog.hold(&image, container.as_str());
            let layers = catalog.layers(&image).filter(|_| held);
            let layers = layers.ok_or_else(|| RootfsError::NoImage {
                image: image.clone(),
            })?;
            let spec = shared
                .store
                .prepare_rootfs(&container, &image, &layers, options);
            if spec.is_err() {
                catalog.release(&image, container.as_str());
            }
            spec
        })
        .await
    }

    /// Mounts a prepared root file system on `target`, an existing directory. Already mounted is
    /// fine.
    ///
    /// # Errors
    /// [`RootfsError`].
    pub async fn mount_rootfs(
        &self,
        container: &ContainerId,
        target: &Path,
    ) -> Result<(), RootfsError> {
        let (container, target) = (container.clone(), target.to_owned());
        self.blocking(move |shared| shared.store.mount_rootfs(&container, &target))
            .await
    }

    /// Unmounts what [`Images::mount_rootfs`] or [`Images::mount_image`] mounted on `target`; also
    /// when it is still busy, and when it is not mounted.
    ///
    /// # Errors
    /// [`RootfsError::Unmount`].
    pub async fn unmount_rootfs(&self, target: &Path) -> Result<(), RootfsError> {
        let target = target.to_owned();
        self.blocking(move |shared| shared.store.unmount(&target))
            .await
    }

    /// Removes a container's root file system and lets go of its image. Idempotent.
    ///
    /// # Errors
    /// [`RootfsError`].
    pub async fn remove_rootfs(&self, container: &ContainerId) -> Result<(), RootfsError> {
        let container = container.clone();
        self.blocking(move |shared| {
            shared.store.remove_rootfs(&container)?;
            shared.catalog.release_all(container.as_str());
            Ok(())
        })
        .await
    }

    /// Containers that have a root file system here, for recovery to compare with its records.
    #[must_use]
    pub fn rootfs_containers(&self) -> Vec<ContainerId> {
        let known = self.shared.store.rootfs_images();
        known.into_iter().map(|(container, _)| container).collect()
    }

    /// The directory on disk of a container that has a root file system here. `upper` in it has the
    /// container's changes; what others put beside it goes with the root file system.
    #[must_use]
    pub fn container_dir(&self, container: &ContainerId) -> PathBuf {
        self.shared.store.container_dir(container)
    }

    /// Bytes and inodes of a container's own changes. Walks them.
    ///
    /// # Errors
    /// [`RootfsError`].
    pub async fn writable_usage(&self, container: &ContainerId) -> Result<Usage, RootfsError> {
        let container = container.clone();
        self.blocking(move |shared| shared.store.writable_usage(&container))
            .await
    }

    /// Mounts an image read-only on `target`, for an image volume; with a file that a user
    /// namespace is pinned on, ids are seen through it. The caller holds the image.
    ///
    /// # Errors
    /// [`RootfsError`].
    pub async fn mount_image(
        &self,
        image: &ImageId,
        target: &Path,
        user_namespace: Option<&Path>,
    ) -> Result<(), RootfsError> {
        let (image, target) = (image.clone(), target.to_owned());
        let user_namespace = user_namespace.map(Path::to_owned);
        self.blocking(move |shared| {
            let layers = shared.catalog.layers(&image);
            let layers = layers.ok_or(RootfsError::NoImage { image })?;
            shared
                .store
                .mount_layers(&layers, &target, user_namespace.as_deref())
        })
        .await
    }

    /// What a file in the root directory of an image has, up to `max` bytes; `None` if there is no
    /// such file. Nothing is mounted for it.
    ///
    /// # Errors
    /// [`RootfsError`].
    pub async fn root_file(
        &self,
        image: &ImageId,
        name: &'static str,
        max: u64,
    ) -> Result<Option<Vec<u8>>, RootfsError> {
        let image = image.clone();
        self.blocking(move |shared| {
            let layers = shared.catalog.layers(&image);
            let layers = layers.ok_or(RootfsError::NoImage { image })?;
            for layer in layers.iter().rev() {
                let path = shared.store.diff(&layer.key).join(name);
                match read_file(&path, max) {
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(source) => return Err(RootfsError::Io { path, source }),
                    Ok(content) => return Ok(content),
                }
            }
            Ok(None)
        })
        .await
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
        import::import(&self.shared, path, tag).await
    }

    /// Runs file system work off the runtime's threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, RootfsError> + Send + 'static,
    ) -> Result<T, RootfsError> {
        let shared = Arc::clone(&self.shared);
        let done = spawn_blocking(move || work(&shared)).await;
        done.unwrap_or(Err(RootfsError::Cancelled))
    }

    /// The image that a user means, and what kind of name was given.
    fn lookup(&self, reference: &str) -> Option<(Name, Arc<Image>)> {
        let catalog = &self.shared.catalog;
        let hex = reference.strip_prefix("sha256:").unwrap_or(reference);
        if let Ok(id) = format!("sha256:{hex}").parse::<ImageId>() {
            return catalog.get(&id).map(|image| (Name::Id(id), image));
        }
        let name = reference.parse::<ImageName>().ok();
        for name in name.iter().flat_map(|name| self.names(name)) {
            if let Some(image) = catalog.find(&name) {
                return Some((name, image));
            }
        }
        let is_prefix = hex.len() >= SHORTEST_PREFIX
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let image = is_prefix.then(|| catalog.find_prefix(hex)).flatten()?;
        Some((Name::Id(image.id.clone()), image))
    }

    /// How records may spell a name.
    fn names(&self, name: &ImageName) -> Vec<Name> {
        let mut references = self.shared.registries.candidates(name).unwrap_or_default();
        if let ImageName::Unqualified(name) = name {
            // Imported images have a home even where no registry is searched.
            let home = name.on_registry(import::DEFAULT_REGISTRY);
            references.extend(home.ok().map(pinpod_registry::ImageReference::or_latest));
        }
        let spelled = |reference: pinpod_registry::ImageReference| match reference.digest() {
            Some(digest) => Name::Digest(reference.at_digest(digest.clone()).to_string()),
            None => Name::Tag(reference.to_string()),
        };
        references.into_iter().map(spelled).collect()
    }
}

/// Shortest prefix of an id that is looked up.
const SHORTEST_PREFIX: usize = 3;

/// The first bytes of a file; `None` if the path is of something else, such as a whiteout.
fn read_file(path: &Path, max: u64) -> std::io::Result<Option<Vec<u8>>> {
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Ok(None);
    }
    let mut content = Vec::new();
    std::fs::File::open(path)?
        .take(max)
        .read_to_end(&mut content)?;
    Ok(Some(content))
}
