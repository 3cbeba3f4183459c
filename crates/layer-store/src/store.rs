//! The store: the index of its layers, and how one gets in and out.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use pinpod_model::{ContainerId, Digest};
use pinpod_record::{Durability, write_json};
use serde::{Deserialize, Serialize};

use crate::heal::OpenError;
use crate::rootfs::Rootfs;
use crate::trash;
use crate::unpack::{self, LayerBlob, StagedLayer, Staging, UnpackError, Unpacker};
use crate::{Layer, LayerKey, Limits, Usage};

/// `layer.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    #[serde(flatten)]
    pub(crate) layer: Layer,
    /// The boot in which it was written, until it is known to be on the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unsynced_since_boot: Option<String>,
}

/// The layers that are there.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) layers: HashMap<LayerKey, Arc<Layer>>,
    pub(crate) unsynced: HashSet<LayerKey>,
    /// Runs of [`LayerStore::sync`] under way; each holds layers, so that none is collected.
    syncs: usize,
    /// Somebody collected meanwhile.
    collect_again: bool,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) root: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) boot: String,
    pub(crate) index: Mutex<Index>,
    pub(crate) rootfs: Mutex<HashMap<ContainerId, Rootfs>>,
    /// One lock for each blob that is being fetched.
    claims: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
    counter: AtomicU64,
    /// `flock` of the store; let go with the process.
    _lock: OwnedFd,
}

/// The layer store. A clone is the same store.
#[derive(Debug, Clone)]
pub struct LayerStore {
    pub(crate) shared: Arc<Shared>,
}

/// The answer to [`LayerStore::claim`].
#[derive(Debug)]
pub enum Claim {
    /// It is in the store.
    Present(Arc<Layer>),
    /// It is not, and nobody else fetches it while this is held.
    Fetch(FetchSlot),
}

/// The right to fetch a blob. Others who want it wait until it is dropped, and then look again:
/// they find the layer, or take over.
#[derive(Debug)]
pub struct FetchSlot {
    _guard: tokio::sync::OwnedMutexGuard<()>,
}

/// A poisoned lock means that a thread died; the maps behind these locks are whole at any time.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LayerStore {
    /// Opens the store at `root`, making it when it is not there, and removes what a crash tore.
    /// Blocking.
    ///
    /// # Errors
    /// [`OpenError`] if the directories cannot be used, or another process has them.
    pub fn open(root: &Path, limits: Limits) -> Result<Self, OpenError> {
        let opened = crate::heal::open(root)?;
        let store = Self {
            shared: Arc::new(Shared {
                root: root.to_owned(),
                limits,
                boot: opened.boot,
                index: Mutex::new(opened.index),
                rootfs: Mutex::new(opened.rootfs),
                claims: Mutex::default(),
                counter: AtomicU64::new(0),
                _lock: opened.lock,
            }),
        };
        trash::empty(root);
        Ok(store)
    }

    /// The layer of this content that fits on a stack of this chain id, if it is here.
    #[must_use]
    pub fn find(&self, diff_id: &Digest, chain: &Digest) -> Option<Arc<Layer>> {
        let index = lock(&self.shared.index);
        let alone = index.layers.get(diff_id).filter(|layer| !layer.dependent);
        alone.or_else(|| index.layers.get(chain)).cloned()
    }

    /// The layer by its key.
    #[must_use]
    pub fn get(&self, key: &LayerKey) -> Option<Arc<Layer>> {
        lock(&self.shared.index).layers.get(key).cloned()
    }

    /// Finds a layer, or waits for the right to fetch it. Whoever calls this must have been let in
    /// by its own registry for its own repository first (it has fetched a manifest that names the
    /// blob): a layer that another caller is downloading is given to everyone who waits for it.
    pub async fn claim(&self, blob: &LayerBlob, chain: &Digest) -> Claim {
        if let Some(layer) = self.find(&blob.diff_id, chain) {
            return Claim::Present(layer);
        }
        let slot = {
            let mut claims = lock(&self.shared.claims);
            claims.retain(|_, slot| slot.strong_count() > 0);
            let known = claims.get(&blob.digest).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let slot = Arc::default();
                claims.insert(blob.digest.clone(), Arc::downgrade(&slot));
                slot
            })
        };
        let guard = slot.lock_owned().await;
        match self.find(&blob.diff_id, chain) {
            Some(layer) => Claim::Present(layer),
            None => Claim::Fetch(FetchSlot { _guard: guard }),
        }
    }

    /// Starts to unpack a blob into the staging directory. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`UnpackError::Staging`].
    pub fn unpack(&self, blob: LayerBlob) -> Result<Unpacker, UnpackError> {
        let staging = Staging::create(self.new_path("staging"))?;
        Ok(Unpacker::start(staging, blob, self.shared.limits))
    }

    /// Puts an unpacked layer into the store, on top of `below` (the lowest first), which makes
    /// the chain id `chain`. It is there for everyone at once, and is kept over a power loss after
    /// the next [`LayerStore::sync`]. Blocking.
    ///
    /// # Errors
    /// [`UnpackError`].
    pub fn commit(
        &self,
        mut staged: StagedLayer,
        below: &[Arc<Layer>],
        chain: &Digest,
    ) -> Result<Arc<Layer>, UnpackError> {
        let dependent = staged.is_dependent();
        if dependent {
            let below = self.lower(below);
            unpack::complete(&mut staged, &below)?;
        }
        let StagedLayer {
            staging,
            blob,
            applied,
        } = staged;
        let key = if dependent {
            chain.clone()
        } else {
            blob.diff_id.clone()
        };
        let record = LayerRecord {
            layer: Layer {
                key,
                diff_id: blob.diff_id,
                dependent,
                blob: blob.digest,
                has_root: applied.has_root,
                compressed_size: blob.size,
                size: applied.bytes,
                inodes: applied.inodes,
            },
            unsynced_since_boot: Some(self.shared.boot.clone()),
        };
        write_json(
            &staging.path().join("layer.json"),
            &record,
            Durability::Volatile,
        )
        .map_err(|source| UnpackError::Record { source })?;
        self.publish(staging, record.layer)
    }

    fn publish(&self, staging: Staging, layer: Layer) -> Result<Arc<Layer>, UnpackError> {
        let mut index = lock(&self.shared.index);
        if let Some(known) = index.layers.get(&layer.key) {
            return Ok(Arc::clone(known));
        }
        let place = self.layer_dir(&layer.key);
        std::fs::rename(staging.path(), &place).map_err(|source| staging.error(source))?;
        staging.disarm();
        let layer = Arc::new(layer);
        index.unsynced.insert(layer.key.clone());
        index.layers.insert(layer.key.clone(), Arc::clone(&layer));
        Ok(layer)
    }

    /// Writes everything of the file system to the disk (records of the callers too) and notes of
    /// each layer that it is there.
    /// Until then a power loss costs the layers of the last pulls, which the next start sees and
    /// drops. Blocking, and as slow as the disk; off every caller's path.
    ///
    /// # Errors
    /// The system's, from `syncfs`.
    pub fn sync(&self) -> std::io::Result<()> {
        let layers: Vec<_> = {
            let mut index = lock(&self.shared.index);
            index.syncs += 1;
            let unsynced = index.unsynced.iter();
            unsynced
                .filter_map(|key| index.layers.get(key).cloned())
                .collect()
        };
        let synced = self.sync_layers(&layers);
        drop(layers);
        let collect_again = {
            let mut index = lock(&self.shared.index);
            index.syncs -= 1;
            index.syncs == 0 && std::mem::take(&mut index.collect_again)
        };
        if collect_again {
            self.collect();
        }
        synced
    }

    /// The caller's hold on the layers keeps them from being collected meanwhile.
    fn sync_layers(&self, layers: &[Arc<Layer>]) -> std::io::Result<()> {
        let root = std::fs::File::open(&self.shared.root)?;
        rustix::fs::syncfs(&root)?;
        for layer in layers {
            let path = self.layer_dir(&layer.key).join("layer.json");
            let record = LayerRecord {
                layer: Layer::clone(layer),
                unsynced_since_boot: None,
            };
            write_json(&path, &record, Durability::Durable).map_err(std::io::Error::other)?;
            lock(&self.shared.index).unsynced.remove(&layer.key);
        }
        Ok(())
    }

    /// Removes the layers that nobody holds, and says how many. Their directories are renamed into
    /// the trash at once and deleted by a thread of their own. Those that only a sync under way
    /// holds go when it ends.
    pub fn collect(&self) -> usize {
        let mut index = lock(&self.shared.index);
        index.collect_again = index.syncs > 0;
        // Under the lock nobody can get at a layer that only the index holds.
        let free = index
            .layers
            .values()
            .filter(|layer| Arc::strong_count(layer) == 1);
        let keys: Vec<LayerKey> = free.map(|layer| layer.key.clone()).collect();
        let mut removed = 0;
        for key in keys {
            match trash::throw(&self.shared.root, &self.layer_dir(&key)) {
                Ok(()) => {
                    index.layers.remove(&key);
                    index.unsynced.remove(&key);
                    removed += 1;
                }
                Err(error) => tracing::warn!(layer = %key, %error, "cannot remove a layer"),
            }
        }
        drop(index);
        if removed > 0 {
            trash::empty(&self.shared.root);
        }
        removed
    }

    /// What the layers use, from their records.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let index = lock(&self.shared.index);
        index
            .layers
            .values()
            .fold(Usage::default(), |sum, layer| Usage {
                bytes: sum.bytes + layer.size,
                inodes: sum.inodes + layer.inodes,
            })
    }

    /// Directory of the store.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.shared.root
    }

    /// The unpacked tree of a layer.
    #[must_use]
    pub fn diff(&self, key: &LayerKey) -> PathBuf {
        self.layer_dir(key).join("diff")
    }

    fn layer_dir(&self, key: &LayerKey) -> PathBuf {
        self.shared.root.join("layers").join(key.hex())
    }

    /// A path in the staging directory that nobody else gets.
    pub(crate) fn new_path(&self, dir: &str) -> PathBuf {
        let number = self.shared.counter.fetch_add(1, Ordering::Relaxed);
        self.shared.root.join(dir).join(number.to_string())
    }
}
