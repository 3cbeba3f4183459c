//! A blob as a stream that is verified while it flows and resumed where it broke.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use pinpod_model::{Classify, Digest, ErrorClass};
use reqwest::Response;
use sha2::{Digest as _, Sha256};

use crate::error::RegistryError;
use crate::http_send::Patience;
use crate::manifest::Descriptor;
use crate::session::Session;

/// A transfer that brought so much since it last broke may break as often again.
const FRESH_PATIENCE: u64 = 1024 * 1024;

/// A blob that cannot be had whole. After any of these, what was received is worth nothing.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The registry refuses, or cannot be reached any more.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The content is not what its digest says.
    #[error("{what} is damaged: its digest is {actual}")]
    Digest {
        /// The blob.
        what: String,
        /// What was computed.
        actual: Digest,
    },
    /// The content has another length than its descriptor says.
    #[error("{what} is damaged: {received} bytes instead of {size}")]
    Size {
        /// The blob.
        what: String,
        /// What the descriptor says, in bytes.
        size: u64,
        /// What the registry offers or sent, in bytes.
        received: u64,
    },
    /// The transfer broke too often.
    #[error("{what} broke off after {received} of {size} bytes")]
    Truncated {
        /// The blob.
        what: String,
        /// What the descriptor says, in bytes.
        size: u64,
        /// What came, in bytes.
        received: u64,
        /// Why it broke the last time; `None` if the registry ended it in good order.
        #[source]
        source: Option<reqwest::Error>,
    },
}

impl Classify for BlobError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Registry(error) => error.class(),
            Self::Digest { .. } | Self::Size { .. } | Self::Truncated { .. } => {
                ErrorClass::Unavailable
            }
        }
    }
}

/// The bytes of a blob. Dropping it ends the transfer.
#[derive(Debug)]
pub struct BlobStream {
    session: Session,
    what: String,
    digest: Digest,
    size: u64,
    counter: Option<Arc<AtomicU64>>,
    hasher: Sha256,
    received: u64,
    /// Bytes at the start of the answer that came before.
    skip: u64,
    response: Option<Response>,
    patience: Patience,
    received_when_broken: u64,
    ranges_work: bool,
    verified: bool,
}

impl Session {
    /// A blob of this repository. Nothing is sent before the first [`BlobStream::next`].
    #[must_use]
    pub fn fetch_blob(&self, descriptor: &Descriptor) -> BlobStream {
        BlobStream {
            what: self.what("blob", descriptor.digest.as_str()),
            patience: self.patience(),
            session: self.clone(),
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            counter: None,
            hasher: Sha256::new(),
            received: 0,
            skip: 0,
            response: None,
            received_when_broken: 0,
            ranges_work: true,
            verified: false,
        }
    }
}

impl BlobStream {
    /// Adds each byte to a counter when it is received, for the progress of a pull.
    #[must_use]
    pub fn count_into(mut self, counter: Arc<AtomicU64>) -> Self {
        self.counter = Some(counter);
        self
    }

    /// Bytes received so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The next piece, or `None` after the last. The piece that completes the blob is given out
    /// only if the digest is right, and `None` only if nothing follows it.
    ///
    /// # Errors
    /// See [`BlobError`]. The stream is not to be used after an error.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        loop {
            if self.received == self.size && !self.verified {
                // Only an empty blob gets here.
                self.verify()?;
            }
            if self.response.is_none() {
                if self.verified {
                    return Ok(None);
                }
                self.response = Some(self.open().await?);
            }
            let Some(response) = &mut self.response else {
                continue;
            };
            match response.chunk().await {
                Ok(Some(piece)) => {
                    if let Some(piece) = self.take(piece)? {
                        return Ok(Some(piece));
                    }
                }
                // Whether the answer ends well or not is nothing to a blob that is complete.
                Ok(None) | Err(_) if self.verified => self.response = None,
                Ok(None) => self.broke_off(None).await?,
                Err(error) => self.broke_off(Some(error)).await?,
            }
        }
    }

    /// Counts and hashes a piece; `None` if all of it came before.
    fn take(&mut self, mut piece: Bytes) -> Result<Option<Bytes>, BlobError> {
        let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        if self.skip >= length {
            self.skip -= length;
            return Ok(None);
        }
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX);
        piece = piece.split_off(skipped.min(piece.len()));
        let length = length - self.skip;
        self.skip = 0;
        let received = self.received.saturating_add(length);
        if received > self.size {
            return Err(self.wrong_size(received));
        }
        self.received = received;
        self.hasher.update(&piece);
        if let Some(counter) = &self.counter {
            counter.fetch_add(length, Ordering::Relaxed);
        }
        if self.received == self.size {
            self.verify()?;
        }
        Ok(Some(piece))
    }

    fn verify(&mut self) -> Result<(), BlobError> {
        let actual = Digest::from_sha256(std::mem::take(&mut self.hasher).finalize().into());
        if actual != self.digest {
            return Err(BlobError::Digest {
                what: self.what.clone(),
                actual,
            });
        }
        self.verified = true;
        Ok(())
    }

    fn wrong_size(&self, received: u64) -> BlobError {
        BlobError::Size {
            what: self.what.clone(),
            size: self.size,
            received,
        }
    }

    /// Prepares the next try, or gives up.
    async fn broke_off(&mut self, source: Option<reqwest::Error>) -> Result<(), BlobError> {
        self.response = None;
        if self.received - self.received_when_broken >= FRESH_PATIENCE {
            self.patience = self.session.patience();
        }
        self.received_when_broken = self.received;
        tracing::debug!(
            what = self.what,
            received = self.received,
            "transfer broke off"
        );
        if self.patience.retry().await {
            return Ok(());
        }
        Err(BlobError::Truncated {
            what: self.what.clone(),
            size: self.size,
            received: self.received,
            source: source.map(reqwest::Error::without_url),
        })
    }

    /// Asks for what is missing. A registry that sends all of it again is read past what is known.
    async fn open(&mut self) -> Result<Response, BlobError> {
        let path = format!("blobs/{}", self.digest);
        loop {
            let mut headers = HeaderMap::new();
            let from = if self.ranges_work { self.received } else { 0 };
            if from > 0
                && let Ok(value) = HeaderValue::from_str(&format!("bytes={from}-"))
            {
                headers.insert(RANGE, value);
            }
            let response = match self.session.get(&path, &headers, &self.what).await {
                Err(RegistryError::Server { status: 416, .. }) if from > 0 => {
                    self.ranges_work = false;
                    continue;
                }
                other => other?,
            };
            let starts_at = match response.status() {
                StatusCode::PARTIAL_CONTENT => range_start(&response),
                _ => Some(0),
            };
            let start = match starts_at {
                Some(start) if start == from || start == 0 => start,
                // A part that was not asked for; without a range there is nothing to get wrong.
                _ if from > 0 => {
                    self.ranges_work = false;
                    continue;
                }
                _ => {
                    return Err(BlobError::Registry(RegistryError::Protocol {
                        what: self.what.clone(),
                        problem: "the registry sends a part that was not asked for".to_owned(),
                    }));
                }
            };
            self.skip = self.received - start;
            if let Some(length) = response.content_length() {
                let total = start.saturating_add(length);
                if total != self.size {
                    return Err(self.wrong_size(total));
                }
            }
            return Ok(response);
        }
    }
}

/// Where a 206 answer starts: `bytes 10-99/100`.
fn range_start(response: &Response) -> Option<u64> {
    let value = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let range = value.trim().strip_prefix("bytes")?.trim_start();
    range.split_once('-')?.0.trim().parse().ok()
}
