//! What a file holds: an OCI layout (OCI image spec `image-layout.md`) or the archive of
//! `docker save`.

use std::collections::BTreeMap;

use pinpod_model::Digest;
use pinpod_registry::{Descriptor, ImageIndex, ImageManifest, IndexEntry, Platform};
use serde::Deserialize;
use serde_json::json;
use sha2::Digest as _;

use super::files::Files;
use crate::assemble::CONFIG_MAX;
use crate::image::ImageConfig;

/// Longest manifest or index, in bytes.
const MANIFEST_MAX: u64 = 4 << 20;
const INDEX_DEPTH: usize = 4;
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// An image in a file.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) manifest: ImageManifest,
    /// The manifest to the byte.
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Digest,
    pub(super) config: Vec<u8>,
    /// Path of each layer inside.
    pub(super) layers: Vec<String>,
    /// The blobs are named by what they are, and can be checked against it.
    pub(super) has_digests: bool,
    /// Names that the file gives.
    pub(super) names: Vec<String>,
}

pub(super) fn digest(bytes: &[u8]) -> Digest {
    Digest::from_sha256(sha2::Sha256::digest(bytes).into())
}

/// Every image in the files that runs on this node.
pub(super) fn find(files: &Files) -> Result<Vec<Found>, String> {
    if let Some(index) = read(files, "index.json", MANIFEST_MAX)? {
        let index: ImageIndex =
            serde_json::from_slice(&index).map_err(|error| format!("index.json: {error}"))?;
        return find_oci(files, index);
    }
    if let Some(list) = read(files, "manifest.json", MANIFEST_MAX)? {
        let list: Vec<SavedImage> =
            serde_json::from_slice(&list).map_err(|error| format!("manifest.json: {error}"))?;
        return list
            .into_iter()
            .map(|saved| find_saved(files, saved))
            .collect();
    }
    Err("it has neither index.json nor manifest.json".to_owned())
}

fn read(files: &Files, name: &str, max: u64) -> Result<Option<Vec<u8>>, String> {
    files
        .read(name, max)
        .map_err(|error| format!("{name}: {error}"))
}

fn find_oci(files: &Files, index: ImageIndex) -> Result<Vec<Found>, String> {
    let name = |entry: &IndexEntry| {
        let annotations = &entry.descriptor.annotations;
        let name = annotations
            .get(CONTAINERD_NAME)
            .or_else(|| annotations.get(REF_NAME));
        name.cloned()
    };
    let (named, unnamed): (Vec<_>, Vec<_>) = index
        .manifests
        .into_iter()
        .partition(|entry| name(entry).is_some());
    let mut found: Vec<Found> = Vec::new();
    for entry in named {
        let names: Vec<String> = name(&entry).into_iter().collect();
        let mut image = find_manifest(files, &entry.descriptor)?;
        match found.iter_mut().find(|known| known.digest == image.digest) {
            Some(known) => known.names.extend(names),
            None => {
                image.names = names;
                found.push(image);
            }
        }
    }
    // Without names they are one image for several platforms.
    let unnamed = ImageIndex { manifests: unnamed };
    if let Some(entry) = Platform::node().select(&unnamed) {
        found.push(find_manifest(files, &entry.descriptor)?);
    } else if found.is_empty() {
        return Err("it has no image for this node".to_owned());
    }
    Ok(found)
}

fn find_manifest(files: &Files, descriptor: &Descriptor) -> Result<Found, String> {
    let mut digest = descriptor.digest.clone();
    for _ in 0..INDEX_DEPTH {
        let bytes = blob(files, &digest, MANIFEST_MAX)?;
        if let Ok(manifest) = serde_json::from_slice::<ImageManifest>(&bytes) {
            let config = blob(files, &manifest.config.digest, CONFIG_MAX)?;
            let layers = manifest.layers.iter().map(|layer| path(&layer.digest));
            return Ok(Found {
                layers: layers.collect(),
                manifest,
                bytes,
                digest,
                config,
                has_digests: true,
                names: Vec::new(),
            });
        }
        let index: ImageIndex = serde_json::from_slice(&bytes)
            .map_err(|_| format!("{digest} is neither a manifest nor an index"))?;
        let entry = Platform::node().select(&index);
        let entry = entry.ok_or_else(|| format!("{digest} has no image for this node"))?;
        digest = entry.descriptor.digest.clone();
    }
    Err(format!("{digest} lies too deep in indexes"))
}

fn path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn blob(files: &Files, expected: &Digest, max: u64) -> Result<Vec<u8>, String> {
    let bytes = read(files, &path(expected), max)?;
    let bytes = bytes.ok_or_else(|| format!("blob {expected} is missing"))?;
    if digest(&bytes) != *expected {
        return Err(format!("blob {expected} is damaged"));
    }
    Ok(bytes)
}

/// An entry of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// `docker save` keeps no manifest, so one is written that says the same.
fn find_saved(files: &Files, saved: SavedImage) -> Result<Found, String> {
    let missing = |name: &str| format!("{name} is missing");
    let config = read(files, &saved.config, CONFIG_MAX)?.ok_or_else(|| missing(&saved.config))?;
    let parsed: ImageConfig =
        serde_json::from_slice(&config).map_err(|error| format!("{}: {error}", saved.config))?;
    if parsed.rootfs.diff_ids.len() != saved.layers.len() {
        return Err(format!("{} does not fit its layers", saved.config));
    }
    let mut layers = Vec::new();
    for (name, diff_id) in saved.layers.iter().zip(&parsed.rootfs.diff_ids) {
        let section = files
            .section(name)
            .map_err(|error| format!("{name}: {error}"))?;
        let size = section.ok_or_else(|| missing(name))?.length;
        layers.push(descriptor(
            "application/vnd.oci.image.layer.v1.tar",
            diff_id.clone(),
            size,
        ));
    }
    let media_type = "application/vnd.oci.image.config.v1+json";
    let config_descriptor = descriptor(media_type, digest(&config), config.len() as u64);
    let manifest = ImageManifest {
        config: config_descriptor,
        layers,
        artifact_type: None,
        annotations: BTreeMap::new(),
    };
    let line =
        |d: &Descriptor| json!({"mediaType": d.media_type, "digest": d.digest, "size": d.size});
    let bytes = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": line(&manifest.config),
        "layers": manifest.layers.iter().map(line).collect::<Vec<_>>(),
    })
    .to_string()
    .into_bytes();
    Ok(Found {
        digest: digest(&bytes),
        manifest,
        bytes,
        config,
        layers: saved.layers,
        has_digests: false,
        names: saved.repo_tags.unwrap_or_default(),
    })
}

fn descriptor(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        annotations: BTreeMap::new(),
    }
}
