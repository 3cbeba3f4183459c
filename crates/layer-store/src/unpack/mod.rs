//! From a compressed blob to a directory, in a stream.
//!
//! ```text
//! download ─ Bytes ─▶ [channel] ─▶ thread: decompress ─▶ [buffers] ─▶ thread: hash, apply tar
//! ```
//!
//! Everything is bounded, so a slow disk slows the download. Whatever fails first ends the other
//! parts, and the staging directory goes with it.

mod apply;
mod dependent;
mod error;
mod inflate;
mod pax;
mod sparse;
mod staging;
mod tar_reader;
mod tree;

use std::io;
use std::thread;

use bytes::Bytes;
use pinpod_model::Digest;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::Limits;
use apply::{Applied, Applier};
use inflate::{BlobReader, Chunk, pipeline};
use tar_reader::TarReader;

pub(crate) use dependent::complete;
pub use error::UnpackError;
pub(crate) use staging::Staging;

/// Chunks on their way from the download to the decoder.
const CHUNKS: usize = 32;

/// What is known of a layer before it is unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerBlob {
    /// Digest of the blob, whatever its compression.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// Digest of the tar in it, from the image's config.
    pub diff_id: Digest,
}

/// A layer that is unpacked and verified, but not in the store yet. Dropped, it is removed.
#[derive(Debug)]
pub struct StagedLayer {
    pub(crate) staging: Staging,
    pub(crate) blob: LayerBlob,
    pub(crate) applied: Applied,
}

impl StagedLayer {
    /// It leaves out directories or links to files that the layers under it have, so it can only
    /// be committed when they are.
    #[must_use]
    pub fn is_dependent(&self) -> bool {
        !self.applied.implicit.is_empty() || !self.applied.links_below.is_empty()
    }
}

/// Takes a blob piece by piece. Dropped before [`Unpacker::finish`], it stops and removes what was
/// unpacked.
#[derive(Debug)]
pub struct Unpacker {
    chunks: Option<mpsc::Sender<Chunk>>,
    task: JoinHandle<Result<StagedLayer, UnpackError>>,
}

impl Unpacker {
    /// Starts the threads; needs a tokio runtime.
    pub(crate) fn start(staging: Staging, blob: LayerBlob, limits: Limits) -> Self {
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let task = tokio::task::spawn_blocking(move || unpack(staging, blob, limits, receiver));
        Self {
            chunks: Some(sender),
            task,
        }
    }

    /// Gives the next piece; waits while the disk is behind.
    ///
    /// # Errors
    /// What ended the unpacking.
    pub async fn write(&mut self, data: Bytes) -> Result<(), UnpackError> {
        if let Some(chunks) = &self.chunks
            && chunks.send(Chunk::Data(data)).await.is_ok()
        {
            return Ok(());
        }
        self.chunks = None;
        match self.join().await {
            Ok(_) => Err(UnpackError::Abandoned),
            Err(error) => Err(error),
        }
    }

    /// Says that the blob is complete, and waits for the layer.
    ///
    /// # Errors
    /// What ended the unpacking, or what is wrong with the whole.
    pub async fn finish(mut self) -> Result<StagedLayer, UnpackError> {
        if let Some(chunks) = self.chunks.take() {
            // When the threads have ended, their own error says why.
            drop(chunks.send(Chunk::End).await);
        }
        self.join().await
    }

    /// Stops, and waits until nothing of the layer is left.
    pub async fn abandon(mut self) {
        self.chunks = None;
        // It ends with an error in any case; the caller has a better one.
        drop(self.join().await);
    }

    async fn join(&mut self) -> Result<StagedLayer, UnpackError> {
        // A task is only lost when the runtime goes down.
        (&mut self.task)
            .await
            .unwrap_or(Err(UnpackError::Abandoned))
    }
}

fn unpack(
    staging: Staging,
    blob: LayerBlob,
    limits: Limits,
    chunks: mpsc::Receiver<Chunk>,
) -> Result<StagedLayer, UnpackError> {
    let reader = BlobReader::new(chunks, blob.size);
    let (inflater, hashing) = pipeline(limits);
    let (applied, actual) = thread::scope(|scope| {
        let name = "inflate".to_owned();
        let inflate = move || inflater.run(reader);
        let started = thread::Builder::new()
            .name(name)
            .spawn_scoped(scope, inflate);
        started.map_err(|source| staging.error(source))?;
        apply_all(&staging, limits, hashing)
    })?;
    if actual != blob.diff_id {
        return Err(UnpackError::DiffId {
            expected: blob.diff_id,
            actual,
        });
    }
    Ok(StagedLayer {
        staging,
        blob,
        applied,
    })
}

fn apply_all(
    staging: &Staging,
    limits: Limits,
    input: inflate::HashingReader,
) -> Result<(Applied, Digest), UnpackError> {
    let root = staging
        .open_diff()
        .map_err(|source: io::Error| staging.error(source))?;
    let mut tar = TarReader::new(input, limits);
    let mut applier = Applier::new(root);
    while let Some(entry) = tar.next_entry()? {
        applier.apply(&entry, &mut tar)?;
    }
    let digest = tar.drain()?.digest();
    Ok((applier.finish()?, digest))
}
