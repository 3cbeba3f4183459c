//! PullImage: the steps, in order.
//!
//! Every pull asks its registry for the manifest with its own caller's credentials before anything
//! else. That is also what lets it share: a registry gives a manifest only to those who may read
//! the repository, and takes one only when the repository has the blobs that it names. So whoever
//! holds a manifest may have its blobs, and may be given a layer that is here already or that
//! another pull is downloading right now. A pull that shares a download waits for it, and takes it
//! over with its own credentials when the other gives up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pinpod_layer_store::LayerStore;
use pinpod_model::{Credentials, Digest};
use pinpod_registry::{BlobStream, Descriptor, ImageName, Platform, Registries, Session, Source};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::Instant;

use crate::PulledImage;
use crate::assemble::{self, BlobSource, CONFIG_MAX, Fetched, WantedLayer};
use crate::catalog::{Catalog, NewImage};
use crate::error::PullError;
use crate::image::ImageConfig;
use crate::settings::ImagesConfig;

/// What a pull works with.
#[derive(Debug)]
pub(crate) struct PullContext {
    pub(crate) settings: Arc<ImagesConfig>,
    pub(crate) registries: Arc<Registries>,
    pub(crate) store: LayerStore,
    pub(crate) catalog: Arc<Catalog>,
}

/// Pulls one image.
pub(crate) async fn pull(
    context: PullContext,
    name: ImageName,
    credentials: Option<Credentials>,
) -> Result<PulledImage, PullError> {
    let resolved = context
        .registries
        .resolve(&name, credentials.as_ref())
        .await;
    let Source {
        reference,
        session,
        manifest: top,
    } = resolved.map_err(|source| PullError::Resolve {
        reference: name.to_string(),
        source: Arc::new(source),
    })?;
    let text = reference.to_string();
    let selected = session.image_manifest(top.clone(), &Platform::node()).await;
    let selected = selected.map_err(|source| PullError::Manifest {
        reference: text.clone(),
        source: Arc::new(source),
    })?;
    let mut new = NewImage {
        id: selected.manifest.config.digest.clone(),
        config: Vec::new(),
        manifests: vec![(
            selected.fetched.digest.clone(),
            selected.fetched.bytes.to_vec(),
        )],
        annotations: selected.manifest.annotations.clone(),
        layers: Vec::new(),
        repo_tags: Vec::new(),
        repo_digests: vec![
            reference
                .at_digest(selected.fetched.digest.clone())
                .to_string(),
        ],
    };
    // A reference with both names what the digest says; the tag is the user's own claim.
    if reference.digest().is_none() && reference.tag().is_some() {
        new.repo_tags.push(text.clone());
    }
    let repo_digest = reference.at_digest(top.digest.clone()).to_string();
    if top.digest != selected.fetched.digest {
        new.manifests.push((top.digest.clone(), top.bytes.to_vec()));
        new.repo_digests.push(repo_digest.clone());
    }
    let pulled = PulledImage {
        id: new.id.clone(),
        repo_digest,
    };
    let known = context.catalog.layers(&new.id);
    if let (Some(layers), Some(config)) = (known, context.catalog.blob(&new.id)) {
        (new.layers, new.config) = (layers, config);
    } else {
        let download = Download {
            context: &context,
            session: &session,
            reference: &text,
            progress: Arc::default(),
        };
        download.image(&selected.manifest, &mut new).await?;
    }
    let added = add(&context.catalog, new).await;
    if added.map_err(|error| error.for_image(&text))? {
        sync(context.store);
    }
    Ok(pulled)
}

/// Why [`add`] failed.
#[derive(Debug)]
pub(crate) enum AddError {
    Record(pinpod_record::RecordError),
    Cancelled,
}

impl AddError {
    pub(crate) fn for_image(self, reference: &str) -> PullError {
        let reference = reference.to_owned();
        match self {
            Self::Record(source) => PullError::Store {
                reference,
                source: Arc::new(source),
            },
            Self::Cancelled => PullError::Cancelled { reference },
        }
    }
}

/// Adds an image to the catalog, off the runtime's threads.
pub(crate) async fn add(catalog: &Arc<Catalog>, new: NewImage) -> Result<bool, AddError> {
    let catalog = Arc::clone(catalog);
    match spawn_blocking(move || catalog.add(new)).await {
        Ok(result) => result.map_err(AddError::Record),
        Err(_down) => Err(AddError::Cancelled),
    }
}

/// Brings what was pulled to the disk, behind the caller's back.
pub(crate) fn sync(store: LayerStore) {
    drop(spawn_blocking(move || {
        if let Err(error) = store.sync() {
            tracing::warn!(%error, "a pulled image may be lost if the machine goes down now");
        }
    }));
}

/// What has been received, for the progress timeout.
#[derive(Debug, Default)]
struct Progress {
    bytes: Arc<AtomicU64>,
    /// Downloads under way: only these can stall.
    active: AtomicUsize,
}

struct Download<'a> {
    context: &'a PullContext,
    session: &'a Session,
    reference: &'a str,
    progress: Arc<Progress>,
}

impl Download<'_> {
    async fn image(
        &self,
        manifest: &pinpod_registry::ImageManifest,
        new: &mut NewImage,
    ) -> Result<(), PullError> {
        let unusable = |reason: String| PullError::Unusable {
            reference: self.reference.to_owned(),
            reason,
        };
        if let Some(kind) = &manifest.artifact_type {
            return Err(unusable(format!("it is an artifact of type {kind:?}")));
        }
        new.config = self.watched(self.config(&manifest.config)).await?;
        let config: ImageConfig = serde_json::from_slice(&new.config)
            .map_err(|error| unusable(format!("its config cannot be read: {error}")))?;
        let wanted = assemble::wanted_layers(manifest, &config).map_err(unusable)?;
        let fetched = self.watched(self.layers(&wanted)).await?;
        let stacked = assemble::stack(&self.context.store, &wanted, fetched).await;
        new.layers = stacked.map_err(|(digest, source)| PullError::Layer {
            reference: self.reference.to_owned(),
            digest,
            source: Arc::new(source),
        })?;
        Ok(())
    }

    async fn config(&self, descriptor: &Descriptor) -> Result<Vec<u8>, PullError> {
        if descriptor.size > CONFIG_MAX {
            return Err(PullError::Unusable {
                reference: self.reference.to_owned(),
                reason: format!("its config has {} bytes", descriptor.size),
            });
        }
        let mut config = Vec::new();
        let open = self.blob(descriptor.digest.clone(), descriptor.size);
        let mut stream = open();
        while let Some(piece) = stream.next().await? {
            config.extend_from_slice(&piece);
        }
        Ok(config)
    }

    /// All layers, some at a time. The first error ends the others.
    async fn layers(&self, wanted: &[WantedLayer]) -> Result<Vec<Fetched>, PullError> {
        let permits = self.context.settings.max_parallel_downloads.max(1);
        let permits = Arc::new(Semaphore::new(permits));
        let mut tasks = JoinSet::new();
        for (index, layer) in wanted.iter().enumerate() {
            let layer = layer.clone();
            let store = self.context.store.clone();
            let reference = self.reference.to_owned();
            let permits = Arc::clone(&permits);
            let blob = self.blob(layer.blob.digest.clone(), layer.blob.size);
            tasks.spawn(async move {
                let digest = layer.blob.digest.clone();
                let failed = |source| PullError::Layer {
                    reference: reference.clone(),
                    digest: digest.clone(),
                    source: Arc::new(source),
                };
                let open = async {
                    // The semaphore is never closed.
                    let permit = permits.acquire_owned().await.ok();
                    Permitted {
                        blob: blob(),
                        _permit: permit,
                    }
                };
                let fetched = assemble::fetch(&store, &layer, open, failed).await;
                fetched.map(|fetched| (index, fetched))
            });
        }
        let mut fetched = BTreeMap::new();
        while let Some(joined) = tasks.join_next().await {
            let (index, layer) = joined.unwrap_or_else(|_down| {
                Err(PullError::Cancelled {
                    reference: self.reference.to_owned(),
                })
            })?;
            fetched.insert(index, layer);
        }
        Ok(fetched.into_values().collect())
    }

    /// A blob that is asked for when it is called, and not before.
    fn blob(&self, digest: Digest, size: u64) -> impl FnOnce() -> RegistryBlob + Send + use<> {
        let (session, reference) = (self.session.clone(), self.reference.to_owned());
        let progress = Arc::clone(&self.progress);
        move || {
            let descriptor = Descriptor {
                media_type: String::new(),
                digest: digest.clone(),
                size,
                annotations: BTreeMap::new(),
            };
            let stream = session.fetch_blob(&descriptor);
            progress.active.fetch_add(1, Ordering::Relaxed);
            RegistryBlob {
                stream: stream.count_into(Arc::clone(&progress.bytes)),
                reference,
                digest,
                progress: Some(progress),
            }
        }
    }

    /// Gives up when downloads are under way and none receives anything for the configured time.
    async fn watched<T>(
        &self,
        work: impl Future<Output = Result<T, PullError>>,
    ) -> Result<T, PullError> {
        let timeout = self.context.settings.pull_progress_timeout;
        if timeout.is_zero() {
            return work.await;
        }
        tokio::select! {
            result = work => result,
            () = self.progress.stalls_for(timeout) => Err(PullError::NoProgress {
                reference: self.reference.to_owned(),
                timeout,
            }),
        }
    }
}

impl Progress {
    async fn stalls_for(&self, timeout: Duration) {
        let mut seen = self.bytes.load(Ordering::Relaxed);
        let mut since = Instant::now();
        loop {
            tokio::time::sleep(timeout / 10).await;
            let now = self.bytes.load(Ordering::Relaxed);
            if now != seen || self.active.load(Ordering::Relaxed) == 0 {
                seen = now;
                since = Instant::now();
            } else if since.elapsed() >= timeout {
                return;
            }
        }
    }
}

/// A blob of a registry.
struct RegistryBlob {
    stream: BlobStream,
    reference: String,
    digest: Digest,
    /// Until the last byte has come.
    progress: Option<Arc<Progress>>,
}

impl RegistryBlob {
    fn end(&mut self) {
        if let Some(progress) = self.progress.take() {
            progress.active.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for RegistryBlob {
    fn drop(&mut self) {
        self.end();
    }
}

impl BlobSource for RegistryBlob {
    async fn next(&mut self) -> Result<Option<Bytes>, PullError> {
        let piece = self.stream.next().await.map_err(|source| PullError::Blob {
            reference: self.reference.clone(),
            digest: self.digest.clone(),
            source: Arc::new(source),
        })?;
        if piece.is_none() {
            self.end();
        }
        Ok(piece)
    }
}

/// A blob with the right to be one of the parallel downloads.
struct Permitted {
    blob: RegistryBlob,
    _permit: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl BlobSource for Permitted {
    async fn next(&mut self) -> Result<Option<Bytes>, PullError> {
        self.blob.next().await
    }
}
