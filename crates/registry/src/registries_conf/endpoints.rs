//! Where a reference is pulled from: mirrors, then the location.

use super::RegistriesConf;
use super::file::{Mirror, PullFromMirror, Registry};
use crate::reference::{ImageReference, ReferenceError};

/// A place to ask for a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The reference as this place knows it.
    pub reference: ImageReference,
    /// Certificates are not verified, and plain HTTP is used where HTTPS is not spoken.
    pub insecure: bool,
    /// A mirror, and not the place that the reference (or its location) names.
    pub mirror: bool,
}

/// A reference that cannot be pulled because the configuration says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockedError {
    /// `blocked = true`.
    #[error("{reference} is blocked by prefix {prefix:?} in {conf:?}")]
    Blocked {
        /// The reference.
        reference: Box<ImageReference>,
        /// The prefix that blocks it.
        prefix: String,
        /// The configuration file.
        conf: std::path::PathBuf,
    },
    /// The location does not make a reference.
    #[error("{reference} cannot be pulled from location {location:?}")]
    Location {
        /// The reference.
        reference: Box<ImageReference>,
        /// The location put in place of the prefix.
        location: String,
        /// What is wrong with the result.
        #[source]
        source: ReferenceError,
    },
}

impl RegistriesConf {
    /// The places to ask for a reference, in order.
    ///
    /// # Errors
    /// If the reference is blocked, or a location makes no valid reference of it.
    pub fn endpoints(&self, reference: &ImageReference) -> Result<Vec<Endpoint>, BlockedError> {
        let reference = &reference.clone().or_latest();
        let text = reference.to_string();
        let Some((registry, matched)) = self.registry_for(&text) else {
            return Ok(vec![Endpoint {
                reference: reference.clone(),
                insecure: false,
                mirror: false,
            }]);
        };
        if registry.blocked {
            return Err(BlockedError::Blocked {
                reference: Box::new(reference.clone()),
                prefix: registry.prefix.clone(),
                conf: self.path.clone(),
            });
        }
        let rest = &text[matched..];
        let rewrite = |location: &str| -> Result<ImageReference, BlockedError> {
            let rewritten = format!("{location}{rest}");
            parse_at(location, &rewritten).map_err(|source| BlockedError::Location {
                reference: Box::new(reference.clone()),
                location: location.to_owned(),
                source,
            })
        };
        let mut endpoints = Vec::new();
        for mirror in &registry.mirrors {
            if serves(mirror, reference) {
                endpoints.push(Endpoint {
                    reference: rewrite(&mirror.location)?,
                    insecure: mirror.insecure,
                    mirror: true,
                });
            }
        }
        endpoints.push(Endpoint {
            reference: match &registry.location {
                Some(location) => rewrite(location)?,
                None => reference.clone(),
            },
            insecure: registry.insecure,
            mirror: false,
        });
        Ok(endpoints)
    }

    /// The registry whose prefix covers most of the reference, and how many bytes it covers. Of
    /// two that cover the same, the one that names the host wins over the wildcard.
    fn registry_for(&self, reference: &str) -> Option<(&Registry, usize)> {
        let matches = self.registries.iter().filter_map(|registry| {
            let length = covered(&registry.prefix, reference)?;
            Some((registry, length))
        });
        matches.max_by_key(|(registry, length)| {
            let exact = !registry.prefix.starts_with("*.");
            (*length, exact, registry.prefix.len())
        })
    }
}

/// A location's host may be a single word (`registry`), which no user's reference can have, so
/// the result is split by its own rule: the first part is always the host. A prefix without a port
/// covers references with one, and then the port moves to the location.
fn parse_at(location: &str, rewritten: &str) -> Result<ImageReference, ReferenceError> {
    let (host, rest) = rewritten.split_once('/').unwrap_or((location, ""));
    if !crate::reference::is_registry(host) {
        return Err(ReferenceError::Registry(rewritten.to_owned()));
    }
    let parts = crate::reference::PathParts::parse(rewritten, rest)?;
    parts.qualify(rewritten, host)
}

fn serves(mirror: &Mirror, reference: &ImageReference) -> bool {
    match mirror.pull {
        PullFromMirror::All => true,
        PullFromMirror::DigestOnly => reference.digest().is_some(),
        PullFromMirror::TagOnly => reference.digest().is_none(),
    }
}

/// How much of the reference a prefix covers. It ends where a part of the reference ends.
fn covered(prefix: &str, reference: &str) -> Option<usize> {
    if let Some(suffix) = prefix.strip_prefix('*') {
        let host = reference.split('/').next().unwrap_or(reference);
        let name_end = host.rfind(':').unwrap_or(host.len());
        // With a port in the prefix it must be that port, without one the port stays.
        let covered = if suffix.contains(':') {
            host
        } else {
            &host[..name_end]
        };
        return (covered.len() > suffix.len() && covered.ends_with(suffix))
            .then_some(covered.len());
    }
    let rest = reference.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(prefix.len())
}
