//! What the store knows of a layer.

use pinpod_model::Digest;
use serde::{Deserialize, Serialize};

/// The name of a layer's directory: the diff id of a layer that is complete by itself, the chain
/// id (OCI image spec, "Layer ChainID") of one that took something from the layers under it.
pub type LayerKey = Digest;

/// A layer in the store. Holding the `Arc` of one keeps its directory from being collected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The name of its directory.
    pub key: LayerKey,
    /// Digest of its uncompressed tar.
    pub diff_id: Digest,
    /// It took metadata or files from the layers under it, and fits on top of them only.
    pub dependent: bool,
    /// Digest of the blob that it was unpacked from.
    pub blob: Digest,
    /// The tar described the root directory, so its mode and owner mean something.
    pub has_root: bool,
    /// Bytes of the blob as it was downloaded.
    pub compressed_size: u64,
    /// Bytes of file content on disk, each file rounded up to blocks of 4 KiB.
    pub size: u64,
    /// Files, directories, links and whiteouts.
    pub inodes: u64,
}

/// The chain id of a layer: that of the layers under it and its own diff id, hashed.
#[must_use]
pub fn chain_id(below: Option<&Digest>, diff_id: &Digest) -> Digest {
    use sha2::Digest as _;
    match below {
        None => diff_id.clone(),
        Some(below) => {
            let hash = sha2::Sha256::digest(format!("{below} {diff_id}"));
            Digest::from_sha256(hash.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_of_one_layer_is_its_diff_id() {
        let one = Digest::from_sha256([1; 32]);
        let two = Digest::from_sha256([2; 32]);
        assert_eq!(chain_id(None, &one), one);
        let chain = chain_id(Some(&one), &two);
        assert_ne!(chain, two);
        assert_ne!(chain, chain_id(Some(&two), &one));
    }
}
