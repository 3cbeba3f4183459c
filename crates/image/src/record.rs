//! `images/<hex>.json`: what an image is beside its blobs and layers.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use pinpod_layer_store::LayerKey;
use pinpod_model::{Digest, ImageId};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    pub(crate) id: ImageId,
    /// Sorted, each once.
    pub(crate) repo_tags: Vec<String>,
    /// Sorted, each once.
    pub(crate) repo_digests: Vec<String>,
    /// Manifests and indexes that led to it, in `blobs`; the first is its own manifest.
    pub(crate) manifests: Vec<Digest>,
    /// The lowest first.
    pub(crate) layers: Vec<LayerKey>,
    pub(crate) size: u64,
    /// Milliseconds since 1970.
    pub(crate) pulled_at: u64,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl ImageRecord {
    pub(crate) fn pulled_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.pulled_at)
    }
}

/// Now, as records have it.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let milliseconds = since.unwrap_or_default().as_millis();
    u64::try_from(milliseconds).unwrap_or(u64::MAX)
}

/// Adds to a sorted list; says whether it was not there.
pub(crate) fn insert(list: &mut Vec<String>, text: &str) -> bool {
    match list.binary_search_by(|known| known.as_str().cmp(text)) {
        Ok(_) => false,
        Err(place) => {
            list.insert(place, text.to_owned());
            true
        }
    }
}
