//! The images that are complete: in memory for readers, on disk for the next start.
//!
//! One mutex, held while the catalog changes, records included; readers wait for a few small files
//! at most. Nothing is synced here: `LayerStore::sync` brings records, blobs and layers to the disk
//! together, and a start drops an image of which a part is missing.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pinpod_layer_store::{Layer, LayerStore};
use pinpod_model::{Digest, ImageId};
use pinpod_record::{Durability, RecordError, clean_temporary, read_json, write_bytes, write_json};
use sha2::Digest as _;

use crate::error::{OpenError, RemoveError};
use crate::image::{Image, ImageConfig, ImageUser};
use crate::record::{ImageRecord, insert, now};
use crate::settings::is_pinned;

/// A complete image and what keeps its layers.
#[derive(Debug)]
struct Entry {
    image: Arc<Image>,
    record: ImageRecord,
    layers: Vec<Arc<Layer>>,
}

#[derive(Debug, Default)]
struct State {
    images: HashMap<ImageId, Entry>,
    users: HashMap<ImageId, BTreeSet<String>>,
}

#[derive(Debug)]
pub(crate) struct Catalog {
    root: PathBuf,
    pinned: Mutex<Vec<String>>,
    state: Mutex<State>,
}

/// An image whose layers are in the store, to be added.
#[derive(Debug)]
pub(crate) struct NewImage {
    pub(crate) id: ImageId,
    pub(crate) config: Vec<u8>,
    /// Its own manifest first, then the index that led to it, if one did.
    pub(crate) manifests: Vec<(Digest, Vec<u8>)>,
    pub(crate) annotations: std::collections::BTreeMap<String, String>,
    pub(crate) layers: Vec<Arc<Layer>>,
    pub(crate) repo_tags: Vec<String>,
    pub(crate) repo_digests: Vec<String>,
}

/// What a user means by a name, as far as the catalog can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    Id(ImageId),
    Tag(String),
    Digest(String),
}

impl Catalog {
    /// Reads every image, and drops those of which something is missing.
    pub(crate) fn open(
        root: &Path,
        pinned: Vec<String>,
        store: &LayerStore,
    ) -> Result<Self, OpenError> {
        let catalog = Self {
            root: root.to_owned(),
            pinned: Mutex::new(pinned),
            state: Mutex::default(),
        };
        for dir in [catalog.images_dir(), catalog.blobs_dir()] {
            let failed = |source| OpenError::Io {
                path: dir.clone(),
                source,
            };
            std::fs::create_dir_all(&dir).map_err(failed)?;
            clean_temporary(&dir).map_err(OpenError::Record)?;
        }
        let dir = catalog.images_dir();
        let failed = |source| OpenError::Io {
            path: dir.clone(),
            source,
        };
        for file in std::fs::read_dir(&dir).map_err(failed)? {
            let path = file.map_err(failed)?.path();
            match catalog.load(&path, store) {
                Ok(entry) => {
                    let mut state = catalog.state();
                    state.images.insert(entry.record.id.clone(), entry);
                }
                Err(reason) => {
                    tracing::warn!(path = %path.display(), reason, "dropping an incomplete image");
                    pinpod_record::remove(&path).map_err(OpenError::Record)?;
                }
            }
        }
        catalog.sweep_blobs();
        Ok(catalog)
    }

    fn load(&self, path: &Path, store: &LayerStore) -> Result<Entry, String> {
        let text = |error: RecordError| error.to_string();
        let record: ImageRecord = read_json(path).map_err(text)?.ok_or("it is gone")?;
        if path != self.record_path(&record.id) {
            return Err("its record is that of another image".to_owned());
        }
        let layers: Option<Vec<_>> = record.layers.iter().map(|key| store.get(key)).collect();
        let layers = layers.ok_or("a layer is missing")?;
        let config = self
            .blob(&record.id)
            .ok_or("its config is missing or damaged")?;
        let config = serde_json::from_slice(&config).map_err(|error| error.to_string())?;
        let image = Arc::new(self.image(&record, config));
        Ok(Entry {
            image,
            record,
            layers,
        })
    }

    fn image(&self, record: &ImageRecord, config: ImageConfig) -> Image {
        let mut names = record.repo_tags.iter().chain(&record.repo_digests);
        let pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        Image {
            id: record.id.clone(),
            repo_tags: record.repo_tags.clone(),
            repo_digests: record.repo_digests.clone(),
            size: record.size,
            user: ImageUser::from_config(&config.config.user),
            config,
            pinned: names.any(|name| is_pinned(&pinned, name)),
            layers: record.layers.clone(),
            pulled_at: record.pulled_at(),
            annotations: record.annotations.clone(),
        }
    }

    /// From now on these references are pinned, and no others.
    pub(crate) fn set_pinned(&self, pinned: Vec<String>) {
        *self.pinned.lock().unwrap_or_else(PoisonError::into_inner) = pinned;
        for entry in self.state().images.values_mut() {
            let image = self.image(&entry.record, entry.image.config.clone());
            if image != *entry.image {
                tracing::info!(image = %image.id, pinned = image.pinned, "pinned as configured now");
                entry.image = Arc::new(image);
            }
        }
    }

    pub(crate) fn list(&self) -> Vec<Arc<Image>> {
        let state = self.state();
        state
            .images
            .values()
            .map(|entry| Arc::clone(&entry.image))
            .collect()
    }

    pub(crate) fn get(&self, id: &ImageId) -> Option<Arc<Image>> {
        self.state()
            .images
            .get(id)
            .map(|entry| Arc::clone(&entry.image))
    }

    /// The image and its layers, which stay while these are held.
    pub(crate) fn layers(&self, id: &ImageId) -> Option<Vec<Arc<Layer>>> {
        self.state()
            .images
            .get(id)
            .map(|entry| entry.layers.clone())
    }

    /// The image of a reference by tag or digest, spelled as records have it.
    pub(crate) fn find(&self, name: &Name) -> Option<Arc<Image>> {
        let state = self.state();
        let has = |image: &Image| match name {
            Name::Id(id) => image.id == *id,
            Name::Tag(tag) => image.repo_tags.contains(tag),
            Name::Digest(digest) => image.repo_digests.contains(digest),
        };
        let mut images = state.images.values().map(|entry| &entry.image);
        images.find(|image| has(image)).cloned()
    }

    /// The only image whose identifier starts with these digits.
    pub(crate) fn find_prefix(&self, hex: &str) -> Option<Arc<Image>> {
        let state = self.state();
        let mut found = state
            .images
            .values()
            .filter(|entry| entry.image.id.hex().starts_with(hex));
        match (found.next(), found.next()) {
            (Some(only), None) => Some(Arc::clone(&only.image)),
            (_, _) => None,
        }
    }

    /// Adds an image, or references to one that is here. Its tags leave the images that had them.
    /// Says whether anything changed.
    pub(crate) fn add(&self, new: NewImage) -> Result<bool, RecordError> {
        let mut state = self.state();
        let mut changed = false;
        for tag in &new.repo_tags {
            changed |= self.take_tag(&mut state, tag, &new.id)?;
        }
        let known = state.images.get(&new.id);
        let (mut record, config) = match known {
            Some(entry) => (entry.record.clone(), entry.image.config.clone()),
            None => {
                changed = true;
                write_bytes(&self.blob_path(&new.id), &new.config, Durability::Volatile)?;
                let config = serde_json::from_slice(&new.config);
                let config = config.map_err(|source| RecordError::Corrupt {
                    path: self.blob_path(&new.id),
                    source,
                })?;
                (new_record(&new), config)
            }
        };
        for (digest, bytes) in &new.manifests {
            if known.is_none() || !record.manifests.contains(digest) {
                write_bytes(&self.blob_path(digest), bytes, Durability::Volatile)?;
            }
            if !record.manifests.contains(digest) {
                record.manifests.push(digest.clone());
                changed = true;
            }
        }
        for tag in &new.repo_tags {
            changed |= insert(&mut record.repo_tags, tag);
        }
        for digest in &new.repo_digests {
            changed |= insert(&mut record.repo_digests, digest);
        }
        if changed {
            write_json(&self.record_path(&new.id), &record, Durability::Volatile)?;
            let image = Arc::new(self.image(&record, config));
            let entry = Entry {
                image,
                record,
                layers: new.layers,
            };
            state.images.insert(new.id, entry);
        }
        Ok(changed)
    }

    /// Takes a tag from every image but `owner`.
    fn take_tag(&self, state: &mut State, tag: &str, owner: &ImageId) -> Result<bool, RecordError> {
        let mut changed = false;
        for (id, entry) in &mut state.images {
            if id != owner && entry.record.repo_tags.iter().any(|known| known == tag) {
                let mut record = entry.record.clone();
                record.repo_tags.retain(|known| known != tag);
                self.rewrite(entry, record)?;
                changed = true;
            }
        }
        Ok(changed)
    }

    fn rewrite(&self, entry: &mut Entry, record: ImageRecord) -> Result<(), RecordError> {
        write_json(&self.record_path(&record.id), &record, Durability::Volatile)?;
        entry.image = Arc::new(self.image(&record, entry.image.config.clone()));
        entry.record = record;
        Ok(())
    }

    /// Removes what `name` names: a tag alone when the image has other names of its kind left, the
    /// image otherwise. Says whether the image is gone.
    pub(crate) fn remove(&self, name: &Name, id: &ImageId) -> Result<bool, RemoveError> {
        let mut state = self.state();
        let failed = |source| RemoveError::Record {
            image: id.clone(),
            source,
        };
        let Some(entry) = state.images.get_mut(id) else {
            return Ok(false);
        };
        let mut record = entry.record.clone();
        let goes_alone = match name {
            Name::Id(_) => false,
            Name::Tag(tag) => {
                record.repo_tags.retain(|known| known != tag);
                !record.repo_tags.is_empty()
            }
            Name::Digest(digest) => {
                // Index and manifest are two digests of one pull.
                let repository = digest.split('@').next().unwrap_or_default();
                let of_repository = |known: &str| known.split('@').next() == Some(repository);
                record.repo_digests.retain(|known| !of_repository(known));
                // CRI wants each image to have a digest.
                !record.repo_tags.is_empty() || !record.repo_digests.is_empty()
            }
        };
        if goes_alone {
            if !record.repo_digests.is_empty() {
                self.rewrite(entry, record).map_err(failed)?;
            }
            return Ok(false);
        }
        let users: Vec<String> = state.users.get(id).into_iter().flatten().cloned().collect();
        if !users.is_empty() {
            return Err(RemoveError::InUse {
                image: id.clone(),
                users,
            });
        }
        pinpod_record::remove(&self.record_path(id)).map_err(failed)?;
        let entry = state.images.remove(id);
        for digest in entry
            .iter()
            .flat_map(|entry| &entry.record.manifests)
            .chain([id])
        {
            let is_used = |entry: &Entry| entry.record.manifests.contains(digest);
            if !state.images.values().any(is_used) {
                pinpod_record::remove(&self.blob_path(digest)).map_err(failed)?;
            }
        }
        Ok(true)
    }

    /// Notes a user of an image; false when there is no such image.
    pub(crate) fn hold(&self, id: &ImageId, user: &str) -> bool {
        let mut state = self.state();
        if !state.images.contains_key(id) {
            return false;
        }
        state
            .users
            .entry(id.clone())
            .or_default()
            .insert(user.to_owned());
        true
    }

    pub(crate) fn release(&self, id: &ImageId, user: &str) {
        let mut state = self.state();
        if let Some(users) = state.users.get_mut(id) {
            users.remove(user);
            if users.is_empty() {
                state.users.remove(id);
            }
        }
    }

    /// Takes back every hold of one user.
    pub(crate) fn release_all(&self, user: &str) {
        self.state().users.retain(|_, users| {
            users.remove(user);
            !users.is_empty()
        });
    }

    /// A blob that is what its digest says.
    pub(crate) fn blob(&self, digest: &Digest) -> Option<Vec<u8>> {
        let bytes = std::fs::read(self.blob_path(digest)).ok()?;
        let actual = Digest::from_sha256(sha2::Sha256::digest(&bytes).into());
        (actual == *digest).then_some(bytes)
    }

    /// Removes blobs that no image has: their pull was cut off before its record.
    fn sweep_blobs(&self) {
        let state = self.state();
        let records = state.images.values().map(|entry| &entry.record);
        let used: BTreeSet<&str> = records
            .flat_map(|record| record.manifests.iter().chain([&record.id]))
            .map(Digest::hex)
            .collect();
        for file in std::fs::read_dir(self.blobs_dir())
            .into_iter()
            .flatten()
            .flatten()
        {
            if !used.contains(file.file_name().to_string_lossy().as_ref())
                && let Err(error) = std::fs::remove_file(file.path())
            {
                let path = file.path();
                tracing::warn!(path = %path.display(), %error, "cannot remove an unused blob");
            }
        }
    }

    fn images_dir(&self) -> PathBuf {
        self.root.join("images")
    }

    fn blobs_dir(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    fn record_path(&self, id: &ImageId) -> PathBuf {
        self.images_dir().join(format!("{}.json", id.hex()))
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs_dir().join(digest.hex())
    }

    /// A poisoned lock means that a thread died; each change ends with one insertion.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn new_record(new: &NewImage) -> ImageRecord {
    let layers = new.layers.iter();
    let manifests = new
        .manifests
        .iter()
        .map(|(_, bytes)| bytes.len() as u64)
        .sum::<u64>();
    ImageRecord {
        id: new.id.clone(),
        repo_tags: Vec::new(),
        repo_digests: Vec::new(),
        manifests: Vec::new(),
        layers: layers.clone().map(|layer| layer.key.clone()).collect(),
        size: layers.map(|layer| layer.size).sum::<u64>() + new.config.len() as u64 + manifests,
        pulled_at: now(),
        annotations: new.annotations.clone(),
    }
}
