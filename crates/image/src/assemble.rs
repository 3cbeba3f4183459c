//! From a manifest and a source of blobs to an image in the catalog. Pull and import are two such
//! sources.

use std::sync::Arc;

use bytes::Bytes;
use pinpod_layer_store::{Claim, Layer, LayerBlob, LayerStore, StagedLayer, UnpackError, chain_id};
use pinpod_model::Digest;
use pinpod_registry::ImageManifest;
use tokio::task::spawn_blocking;

use crate::error::PullError;
use crate::image::ImageConfig;

/// Longest config that is read, in bytes. It is kept in memory.
pub(crate) const CONFIG_MAX: u64 = 8 << 20;

/// A layer of an image, and the stack that it goes on.
#[derive(Debug, Clone)]
pub(crate) struct WantedLayer {
    pub(crate) blob: LayerBlob,
    /// Chain id of the stack with this layer on top.
    pub(crate) chain: Digest,
}

/// What fetching a layer came to.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// In the store.
    Ready(Arc<Layer>),
    /// Unpacked; it can be committed when the layers under it are there.
    Waiting(StagedLayer),
}

/// Checks that a config and a manifest speak of the same layers, and pairs them.
pub(crate) fn wanted_layers(
    manifest: &ImageManifest,
    config: &ImageConfig,
) -> Result<Vec<WantedLayer>, String> {
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        let (blobs, diffs) = (manifest.layers.len(), diff_ids.len());
        return Err(format!(
            "its manifest has {blobs} layers and its config {diffs}"
        ));
    }
    if !config.os.is_empty() && config.os != "linux" {
        return Err(format!("it is for {:?}", config.os));
    }
    let mut chain = None;
    let pairs = manifest.layers.iter().zip(diff_ids);
    Ok(pairs
        .map(|(descriptor, diff_id)| {
            let this = chain_id(chain.as_ref(), diff_id);
            chain = Some(this.clone());
            WantedLayer {
                blob: LayerBlob {
                    digest: descriptor.digest.clone(),
                    size: descriptor.size,
                    diff_id: diff_id.clone(),
                },
                chain: this,
            }
        })
        .collect())
}

/// Where the bytes of one blob come from.
pub(crate) trait BlobSource: Send {
    /// The next piece; `None` after the last.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, PullError>> + Send;
}

/// Gets a layer into the store, or as far as it can get before the layers under it are there. Waits
/// when another pull fetches the same blob. `permit` is taken before the first byte.
pub(crate) async fn fetch<S: BlobSource>(
    store: &LayerStore,
    wanted: &WantedLayer,
    open: impl Future<Output = S>,
    failed: impl Fn(UnpackError) -> PullError,
) -> Result<Fetched, PullError> {
    let slot = match store.claim(&wanted.blob, &wanted.chain).await {
        Claim::Present(layer) => return Ok(Fetched::Ready(layer)),
        Claim::Fetch(slot) => slot,
    };
    let mut source = open.await;
    let mut unpacker = store.unpack(wanted.blob.clone()).map_err(&failed)?;
    loop {
        match source.next().await {
            Ok(Some(piece)) => unpacker.write(piece).await.map_err(&failed)?,
            Ok(None) => break,
            Err(error) => {
                unpacker.abandon().await;
                return Err(error);
            }
        }
    }
    let staged = unpacker.finish().await.map_err(&failed)?;
    if staged.is_dependent() {
        // Not held on to the slot: two pulls could then wait for each other's layers.
        return Ok(Fetched::Waiting(staged));
    }
    let layer = commit(store, staged, Vec::new(), &wanted.chain)
        .await
        .map_err(&failed)?;
    drop(slot);
    Ok(Fetched::Ready(layer))
}

/// Commits a layer on top of others, off the runtime's threads.
pub(crate) async fn commit(
    store: &LayerStore,
    staged: StagedLayer,
    below: Vec<Arc<Layer>>,
    chain: &Digest,
) -> Result<Arc<Layer>, UnpackError> {
    let (store, chain) = (store.clone(), chain.clone());
    let committed = spawn_blocking(move || store.commit(staged, &below, &chain)).await;
    committed.unwrap_or(Err(UnpackError::Abandoned))
}

/// Commits what waits, from the bottom up.
pub(crate) async fn stack(
    store: &LayerStore,
    wanted: &[WantedLayer],
    fetched: Vec<Fetched>,
) -> Result<Vec<Arc<Layer>>, (Digest, UnpackError)> {
    let mut layers = Vec::with_capacity(fetched.len());
    for (wanted, fetched) in wanted.iter().zip(fetched) {
        let layer = match fetched {
            Fetched::Ready(layer) => layer,
            Fetched::Waiting(staged) => {
                let committed = commit(store, staged, layers.clone(), &wanted.chain).await;
                committed.map_err(|error| (wanted.blob.digest.clone(), error))?
            }
        };
        layers.push(layer);
    }
    Ok(layers)
}
