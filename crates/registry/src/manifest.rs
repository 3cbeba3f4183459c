//! Manifests and indexes as data (OCI image spec, Docker image manifest version 2 schema 2).

use std::collections::BTreeMap;

use bytes::Bytes;
use pinpod_model::Digest;
use serde::Deserialize;

use crate::platform::Platform;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1";

/// What is asked for in `Accept`.
pub(crate) const ACCEPTED: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];

/// A document that is not a manifest that can be pulled.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or a field is missing or wrong.
    #[error("it is not a valid manifest")]
    Json(#[source] serde_json::Error),
    /// Docker's first format, which no digest protects.
    #[error(
        "it is in Docker's schema 1, which is not supported: push the image again with a current tool"
    )]
    Schema1,
    /// Neither manifest nor index.
    #[error("its media type {0:?} is neither an image manifest nor an image index")]
    MediaType(String),
    /// It could be read in two ways.
    #[error("it is ambiguous: {0}")]
    Ambiguous(&'static str),
}

/// A descriptor: what a blob or manifest is, its digest and its size in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type as written; empty where an old tool left it out.
    #[serde(default)]
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// Annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A manifest of an image: its config and its layers, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    /// Config blob; its digest is the image's identifier.
    pub config: Descriptor,
    /// Layers, the lowest first.
    pub layers: Vec<Descriptor>,
    /// Set for what is an artifact and not an image.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// Annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// One line of an index.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct IndexEntry {
    /// The manifest.
    #[serde(flatten)]
    pub descriptor: Descriptor,
    /// What it runs on.
    #[serde(default)]
    pub platform: Option<Platform>,
}

/// An index: manifests by platform.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ImageIndex {
    /// The manifests, in the order written.
    pub manifests: Vec<IndexEntry>,
}

/// What a registry's manifest endpoint can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manifest {
    /// An image or an artifact.
    Image(ImageManifest),
    /// An index of them.
    Index(ImageIndex),
}

/// A manifest or index to the byte. Its digest was computed from `bytes` and is the one that was
/// asked for, if one was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedManifest {
    /// The document.
    pub bytes: Bytes,
    /// Media type: the document's own, else the registry's word.
    pub media_type: String,
    /// Digest of `bytes`.
    pub digest: Digest,
}

/// The fields that tell what a document is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
}

impl FetchedManifest {
    /// The document as data.
    ///
    /// # Errors
    /// If it is not valid JSON of its media type.
    pub fn parse(&self) -> Result<Manifest, ManifestError> {
        if is_index(&self.media_type) {
            let index = serde_json::from_slice(&self.bytes).map_err(ManifestError::Json)?;
            Ok(Manifest::Index(index))
        } else {
            let image = serde_json::from_slice(&self.bytes).map_err(ManifestError::Json)?;
            Ok(Manifest::Image(image))
        }
    }
}

/// Decides what a document is from its own word, the registry's word and its shape. A document
/// that could be taken for either kind is refused, as two readers might then run two images from
/// one digest.
pub(crate) fn media_type(
    bytes: &[u8],
    content_type: Option<&str>,
) -> Result<String, ManifestError> {
    let shape: Shape = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
    let header = content_type
        .map(|text| text.split(';').next().unwrap_or(text).trim())
        .unwrap_or_default();
    let own = shape.media_type.as_deref();
    if shape.schema_version == 1 || own.unwrap_or(header).starts_with(DOCKER_SCHEMA1) {
        return Err(ManifestError::Schema1);
    }
    let has_index = shape.manifests.is_some();
    let has_image = shape.layers.is_some() || shape.config.is_some();
    if has_index && has_image {
        return Err(ManifestError::Ambiguous("it has manifests and layers"));
    }
    let known = |text: &str| ACCEPTED.contains(&text);
    let chosen = match own {
        Some(own) if known(own) => {
            if known(header) && is_index(header) != is_index(own) {
                return Err(ManifestError::Ambiguous(
                    "the registry and the document give different media types",
                ));
            }
            own
        }
        Some(own) => return Err(ManifestError::MediaType(own.to_owned())),
        None if known(header) => header,
        // Plain file servers say application/json or application/octet-stream.
        None if has_index => OCI_INDEX,
        None if has_image => OCI_MANIFEST,
        None => return Err(ManifestError::MediaType(header.to_owned())),
    };
    if is_index(chosen) != has_index {
        return Err(ManifestError::Ambiguous(
            "its fields are not those of its media type",
        ));
    }
    Ok(chosen.to_owned())
}

fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_LIST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_document() {
        let image = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        let typed = format!(r#"{{"mediaType":"{DOCKER_MANIFEST}","config":{{}},"layers":[]}}"#);
        for (body, header, expected) in [
            (image, Some(OCI_MANIFEST), Some(OCI_MANIFEST)),
            (
                image,
                Some("application/json; charset=utf-8"),
                Some(OCI_MANIFEST),
            ),
            (image, None, Some(OCI_MANIFEST)),
            (index, None, Some(OCI_INDEX)),
            (index, Some(DOCKER_LIST), Some(DOCKER_LIST)),
            (typed.as_str(), Some("text/plain"), Some(DOCKER_MANIFEST)),
            (typed.as_str(), Some(OCI_INDEX), None),
            (image, Some(OCI_INDEX), None),
            (r#"{"manifests":[],"layers":[]}"#, Some(OCI_INDEX), None),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, None, None),
            (r#"{"mediaType":"application/vnd.cncf.helm"}"#, None, None),
            ("{}", Some("text/html"), None),
            ("<html>", Some("text/html"), None),
        ] {
            let got = media_type(body.as_bytes(), header).ok();
            assert_eq!(got.as_deref(), expected, "{body} as {header:?}");
        }
    }

    #[test]
    fn schema_one_is_named() {
        let error = media_type(br#"{"schemaVersion":1}"#, None).unwrap_err();
        assert!(error.to_string().contains("schema 1"));
        let signed = format!("{DOCKER_SCHEMA1}+prettyjws");
        assert!(matches!(
            media_type(b"{}", Some(&signed)),
            Err(ManifestError::Schema1)
        ));
    }

    #[test]
    fn an_unverifiable_digest_is_refused() {
        let body = r#"{"config":{"digest":"sha512:00","size":1},"layers":[]}"#;
        let fetched = FetchedManifest {
            bytes: Bytes::from_static(body.as_bytes()),
            media_type: OCI_MANIFEST.to_owned(),
            digest: Digest::from_sha256([0; 32]),
        };
        assert!(matches!(fetched.parse(), Err(ManifestError::Json(_))));
    }
}
