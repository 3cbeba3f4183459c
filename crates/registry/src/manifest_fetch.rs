//! Getting manifests: verified, of a bounded size, and followed from an index to this node's.

use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use pinpod_model::Digest;
use sha2::{Digest as _, Sha256};

use crate::error::RegistryError;
use crate::manifest::{ACCEPTED, FetchedManifest, ImageManifest, Manifest, media_type};
use crate::platform::Platform;
use crate::session::Session;

/// Longest manifest that is taken, in bytes; what registries take themselves.
const MANIFEST_MAX: usize = 4 * 1024 * 1024;
/// How deep indexes may refer to indexes.
const INDEX_DEPTH: usize = 4;
const CONTENT_DIGEST: &str = "docker-content-digest";

/// The manifest that was chosen for a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedManifest {
    /// The document.
    pub fetched: FetchedManifest,
    /// The same as data.
    pub manifest: ImageManifest,
}

impl Session {
    /// The manifest or index that the endpoint's reference names, by digest if it has one. The
    /// digest is verified.
    ///
    /// # Errors
    /// Whatever the registry answers, and a document that is damaged or not a manifest.
    pub async fn fetch_manifest(&self) -> Result<FetchedManifest, RegistryError> {
        let reference = &self.endpoint().reference;
        self.manifest(reference.selector(), reference.digest())
            .await
    }

    /// A manifest or index of the same repository by its digest, which is verified.
    ///
    /// # Errors
    /// As [`Self::fetch_manifest`].
    pub async fn fetch_manifest_by_digest(
        &self,
        digest: &Digest,
    ) -> Result<FetchedManifest, RegistryError> {
        self.manifest(digest.as_str(), Some(digest)).await
    }

    /// Follows an index to the manifest for a platform; a manifest is what it is.
    ///
    /// # Errors
    /// If nothing is for the platform, and as [`Self::fetch_manifest`].
    pub async fn image_manifest(
        &self,
        top: FetchedManifest,
        platform: &Platform,
    ) -> Result<SelectedManifest, RegistryError> {
        let mut fetched = top;
        for _ in 0..INDEX_DEPTH {
            let what = || self.what("manifest", fetched.digest.as_str());
            let parsed = fetched.parse().map_err(|source| RegistryError::Manifest {
                what: what(),
                source,
            })?;
            let index = match parsed {
                Manifest::Image(manifest) => return Ok(SelectedManifest { fetched, manifest }),
                Manifest::Index(index) => index,
            };
            let Some(entry) = platform.select(&index) else {
                return Err(RegistryError::Platform {
                    what: what(),
                    platform: platform.to_string(),
                });
            };
            fetched = self
                .fetch_manifest_by_digest(&entry.descriptor.digest)
                .await?;
        }
        Err(RegistryError::Protocol {
            what: self.what("manifest", fetched.digest.as_str()),
            problem: format!("indexes refer to indexes more than {INDEX_DEPTH} deep"),
        })
    }

    async fn manifest(
        &self,
        selector: &str,
        digest: Option<&Digest>,
    ) -> Result<FetchedManifest, RegistryError> {
        let what = self.what("manifest", selector);
        let mut headers = HeaderMap::new();
        for accepted in ACCEPTED {
            headers.append(ACCEPT, HeaderValue::from_static(accepted));
        }
        let path = format!("manifests/{selector}");
        let mut patience = self.patience();
        let (body, headers) = loop {
            let response = self.get(&path, &headers, &what).await?;
            let answer_headers = response.headers().clone();
            match read_manifest(response, &what).await? {
                Ok(body) => break (body, answer_headers),
                Err(_) if patience.retry().await => {}
                Err(error) => return Err(self.shared.transport.connection_error(&what, error)),
            }
        };
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let actual = Digest::from_sha256(Sha256::digest(&body).into());
        // A registry that names another digest than that of what it sent is damaged as well.
        let claimed = text(CONTENT_DIGEST).and_then(|claim| claim.parse::<Digest>().ok());
        let wrong = |wanted: &Digest| *wanted != actual;
        if digest.is_some_and(wrong) || claimed.as_ref().is_some_and(wrong) {
            return Err(RegistryError::Digest { what, actual });
        }
        let media_type = media_type(&body, text(CONTENT_TYPE.as_str()))
            .map_err(|source| RegistryError::Manifest { what, source })?;
        Ok(FetchedManifest {
            bytes: body.into(),
            media_type,
            digest: actual,
        })
    }
}

/// The outer error is final, the inner one a broken transfer.
async fn read_manifest(
    mut response: reqwest::Response,
    what: &str,
) -> Result<Result<Vec<u8>, reqwest::Error>, RegistryError> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(Ok(body)),
            Err(error) => return Ok(Err(error)),
        }
        if body.len() > MANIFEST_MAX {
            return Err(RegistryError::Protocol {
                what: what.to_owned(),
                problem: format!("it is longer than {MANIFEST_MAX} bytes"),
            });
        }
    }
}
