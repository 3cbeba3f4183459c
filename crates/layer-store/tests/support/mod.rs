//! Tars made by hand, and a store in a temporary directory.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use pinpod_layer_store::{
    Layer, LayerBlob, LayerStore, Limits, StagedLayer, UnpackError, chain_id,
};
use pinpod_model::Digest;
use sha2::Digest as _;
use tar::{EntryType, Header};

/// A tar under construction.
pub(crate) struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    pub(crate) fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// An entry whose name and link are taken to the letter, good or evil.
    pub(crate) fn entry(self, kind: EntryType, name: &str, link: &str, content: &[u8]) -> Self {
        self.owned(kind, name, link, content, (0o644, 0, 0))
    }

    pub(crate) fn owned(
        mut self,
        kind: EntryType,
        name: &str,
        link: &str,
        content: &[u8],
        (mode, uid, gid): (u32, u64, u64),
    ) -> Self {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.owned(EntryType::Directory, name, "", b"", (0o755, 0, 0))
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, name, "", content.as_bytes())
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, b"")
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, target, b"")
    }

    pub(crate) fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0
            .append_pax_extensions(records.iter().copied())
            .unwrap();
        self
    }

    pub(crate) fn raw(mut self, header: &Header, content: &[u8]) -> Self {
        self.0.append(header, content).unwrap();
        self
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::from_sha256(sha2::Sha256::digest(bytes).into())
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) struct Store {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: LayerStore,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = LayerStore::open(dir.path(), limits).unwrap();
        Self { dir, store }
    }

    pub(crate) async fn unpack(&self, tar: &[u8]) -> Result<StagedLayer, UnpackError> {
        unpack(&self.store, tar, tar.len() as u64, digest(tar)).await
    }

    /// Unpacks and commits on top of `below`.
    pub(crate) async fn layer(
        &self,
        tar: &[u8],
        below: &[Arc<Layer>],
    ) -> Result<Arc<Layer>, UnpackError> {
        let staged = self.unpack(tar).await?;
        let below_chain = below.iter().fold(None, |chain: Option<Digest>, layer| {
            Some(chain_id(chain.as_ref(), &layer.diff_id))
        });
        let chain = chain_id(below_chain.as_ref(), &digest(tar));
        self.store.commit(staged, below, &chain)
    }

    pub(crate) fn is_clean(&self) -> bool {
        std::fs::read_dir(self.dir.path().join("staging"))
            .unwrap()
            .count()
            == 0
    }
}

pub(crate) async fn unpack(
    store: &LayerStore,
    blob: &[u8],
    size: u64,
    diff_id: Digest,
) -> Result<StagedLayer, UnpackError> {
    let request = LayerBlob {
        digest: digest(blob),
        size,
        diff_id,
    };
    let mut unpacker = store.unpack(request)?;
    for piece in blob.chunks(1000) {
        unpacker.write(Bytes::copy_from_slice(piece)).await?;
    }
    unpacker.finish().await
}

/// Runs `work` in a mount namespace of its own, where mounts do not reach the machine's.
pub(crate) fn in_mount_namespace(work: impl FnOnce() + Send) {
    pinpod_kernel::mount::in_private_namespace(work).unwrap();
}
