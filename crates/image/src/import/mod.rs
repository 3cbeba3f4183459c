//! Images from local files: the same way into the store as a pull, with a file for a registry.

mod files;
mod layout;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use pinpod_model::Digest;
use pinpod_registry::{ImageName, ImageReference};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::task::spawn_blocking;

use crate::assemble::{self, BlobSource, WantedLayer};
use crate::catalog::NewImage;
use crate::error::{ImportError, PullError};
use crate::image::ImageConfig;
use crate::{Imported, Shared, pull};
use files::{Files, Section};
use layout::Found;

/// What a name without a registry is taken for, as by `docker save`, which leaves it out.
pub(crate) const DEFAULT_REGISTRY: &str = "docker.io";
const PIECE_BYTES: usize = 256 << 10;

pub(crate) async fn import(
    shared: &Shared,
    path: &Path,
    tag: Option<&str>,
) -> Result<Vec<Imported>, ImportError> {
    let format = |reason: String| ImportError::Format {
        path: path.to_owned(),
        reason,
    };
    let (file, scratch) = (path.to_owned(), shared.store.root().join("blobs"));
    let opened = spawn_blocking(move || -> Result<_, ImportError> {
        let files = Files::open(&file, &scratch).map_err(|source| ImportError::Io {
            path: file.clone(),
            source,
        })?;
        let found =
            layout::find(&files).map_err(|reason| ImportError::Format { path: file, reason })?;
        Ok((files, found))
    });
    let opened = opened
        .await
        .map_err(|_down| format("it was cut off".to_owned()))?;
    let (files, mut found) = opened?;
    if let Some(tag) = tag {
        let reference = parse(tag).ok_or_else(|| format(format!("{tag:?} is no image reference")));
        match found.as_mut_slice() {
            [only] => only.names = vec![reference?.to_string()],
            several => {
                let count = several.len();
                return Err(format(format!("{count} images cannot have one tag")));
            }
        }
    }
    let mut imported = Vec::new();
    for image in found {
        let done = import_one(shared, &files, path, image).await;
        imported.push(done.map_err(|source| ImportError::Store {
            path: path.to_owned(),
            source,
        })?);
    }
    Ok(imported)
}

async fn import_one(
    shared: &Shared,
    files: &Files,
    path: &Path,
    found: Found,
) -> Result<Imported, PullError> {
    let reference = path.display().to_string();
    let unusable = |reason: String| PullError::Unusable {
        reference: reference.clone(),
        reason,
    };
    let config: ImageConfig = serde_json::from_slice(&found.config)
        .map_err(|error| unusable(format!("its config cannot be read: {error}")))?;
    let wanted = assemble::wanted_layers(&found.manifest, &config).map_err(unusable)?;
    let mut fetched = Vec::new();
    for (name, layer) in found.layers.iter().zip(&wanted) {
        let section = files.section(name).ok().flatten();
        let section = section.ok_or_else(|| PullError::Damaged {
            reference: reference.clone(),
            digest: layer.blob.digest.clone(),
        })?;
        let open = async { FileBlob::new(section, path, layer, found.has_digests) };
        let failed = |source| PullError::Layer {
            reference: reference.clone(),
            digest: layer.blob.digest.clone(),
            source: Arc::new(source),
        };
        fetched.push(assemble::fetch(&shared.store, layer, open, failed).await?);
    }
    let stacked = assemble::stack(&shared.store, &wanted, fetched).await;
    let layers = stacked.map_err(|(digest, source)| PullError::Layer {
        reference: reference.clone(),
        digest,
        source: Arc::new(source),
    })?;
    let references: Vec<_> = found
        .names
        .iter()
        .filter_map(|name| qualified(name))
        .collect();
    let repo_tags = references
        .iter()
        .filter(|reference| reference.tag().is_some());
    let repo_tags: Vec<_> = repo_tags.map(ToString::to_string).collect();
    let digests = references
        .iter()
        .map(|r| r.at_digest(found.digest.clone()).to_string());
    let new = NewImage {
        id: layout::digest(&found.config),
        repo_tags: repo_tags.clone(),
        repo_digests: digests.collect(),
        config: found.config,
        manifests: vec![(found.digest, found.bytes)],
        annotations: found.manifest.annotations,
        layers,
    };
    let id = new.id.clone();
    let added = pull::add(&shared.catalog, new).await;
    if added.map_err(|error| error.for_image(&reference))? {
        pull::sync(shared.store.clone());
    }
    Ok(Imported { id, repo_tags })
}

/// The full reference for a name in a file; a bare tag, which layouts have too, names nothing.
fn qualified(name: &str) -> Option<ImageReference> {
    name.contains(['/', ':']).then(|| parse(name)).flatten()
}

fn parse(name: &str) -> Option<ImageReference> {
    match name.parse().ok()? {
        ImageName::Qualified(reference) => Some(reference.or_latest()),
        ImageName::Unqualified(name) => name
            .on_registry(DEFAULT_REGISTRY)
            .ok()
            .map(ImageReference::or_latest),
    }
}

/// A blob in a file.
struct FileBlob {
    file: tokio::fs::File,
    offset: u64,
    left: u64,
    hash: Sha256,
    started: bool,
    /// What the whole must be, when that is known.
    expected: Option<Digest>,
    digest: Digest,
    path: PathBuf,
}

impl FileBlob {
    fn new(section: Section, path: &Path, layer: &WantedLayer, has_digest: bool) -> Self {
        Self {
            file: tokio::fs::File::from_std(section.file),
            offset: section.offset,
            left: section.length,
            hash: Sha256::new(),
            started: false,
            expected: has_digest.then(|| layer.blob.digest.clone()),
            digest: layer.blob.digest.clone(),
            path: path.to_owned(),
        }
    }

    fn damaged(&self) -> PullError {
        PullError::Damaged {
            reference: self.path.display().to_string(),
            digest: self.digest.clone(),
        }
    }

    async fn read(&mut self) -> std::io::Result<Bytes> {
        if !self.started {
            self.file
                .seek(std::io::SeekFrom::Start(self.offset))
                .await?;
            self.started = true;
        }
        let length = usize::try_from(self.left)
            .unwrap_or(PIECE_BYTES)
            .min(PIECE_BYTES);
        let mut piece = vec![0; length];
        self.file.read_exact(&mut piece).await?;
        Ok(piece.into())
    }
}

impl BlobSource for FileBlob {
    async fn next(&mut self) -> Result<Option<Bytes>, PullError> {
        if self.left == 0 {
            let actual = Digest::from_sha256(std::mem::take(&mut self.hash).finalize().into());
            return match self.expected.take() {
                Some(expected) if expected != actual => Err(self.damaged()),
                _ => Ok(None),
            };
        }
        let piece = self.read().await.map_err(|_unreadable| self.damaged())?;
        self.left -= piece.len() as u64;
        self.hash.update(&piece);
        Ok(Some(piece))
    }
}
