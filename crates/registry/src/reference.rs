//! Image references in the grammar of the distribution project: `host[:port]/path[:tag][@digest]`.

use std::fmt;
use std::str::FromStr;

use pinpod_model::Digest;
use serde::{Deserialize, Serialize};

/// Longest repository path, in bytes.
const REPOSITORY_MAX: usize = 255;
/// Longest tag, in bytes.
const TAG_MAX: usize = 128;
/// Longest DNS name, with room for a port.
const REGISTRY_MAX: usize = 253 + 6;
/// The registry that names without a host meant before there were others.
pub(crate) const DOCKER_IO: &str = "docker.io";
const DOCKER_LEGACY: &str = "index.docker.io";

/// A string that is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing was given.
    #[error("an image reference is empty")]
    Empty,
    /// A URL was given.
    #[error("image reference {0:?} is a URL: leave the scheme out")]
    Scheme(String),
    /// The part before the first slash is no host.
    #[error("image reference {0:?}: the registry is not a host name with an optional port")]
    Registry(String),
    /// The path has wrong characters.
    #[error(
        "image reference {0:?}: a repository is lowercase letters and digits with single \
         separators (., _, __, -) between them, in parts divided by /"
    )]
    Repository(String),
    /// The path is too long.
    #[error("image reference {0:?}: a repository has at most 255 characters")]
    TooLong(String),
    /// The tag has wrong characters or is too long.
    #[error("image reference {0:?}: a tag is at most 128 of letters, digits, _, . and -")]
    Tag(String),
    /// The digest is not one that can be verified.
    #[error("image reference {0:?}: the digest is not sha256:<64 hexadecimal digits>")]
    Digest(String),
    /// The name has no registry host.
    #[error("image reference {0:?} names no registry")]
    NoRegistry(String),
    /// The name is an image identifier, which no registry knows.
    #[error("{0:?} is an image identifier and not a reference to a registry")]
    ImageId(String),
}

/// A fully qualified image reference. Serialised as its text.
///
/// `docker.io` is always spelt so (never `index.docker.io`), and a single-part path there has
/// `library/` before it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageReference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl ImageReference {
    /// `host[:port]`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path below the registry.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag as written.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest as written. Where there is one, the tag is only a remark.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// `registry/repository`, without tag and digest.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same with the tag `latest` where neither tag nor digest is given.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// The same repository at this digest and without a tag: what CRI lists as a repo digest.
    #[must_use]
    pub fn at_digest(&self, digest: Digest) -> Self {
        Self {
            registry: self.registry.clone(),
            repository: self.repository.clone(),
            tag: None,
            digest: Some(digest),
        }
    }

    /// The same without the digest: what CRI lists as a repo tag. `None` without a tag.
    #[must_use]
    pub fn tag_only(&self) -> Option<Self> {
        self.tag.as_ref()?;
        Some(Self {
            digest: None,
            ..self.clone()
        })
    }

    /// The short text that people write: no `docker.io/library/`.
    #[must_use]
    pub fn familiar(&self) -> String {
        let text = self.to_string();
        let Some(rest) = text.strip_prefix("docker.io/") else {
            return text;
        };
        match rest.strip_prefix("library/") {
            Some(name) if !self.repository["library/".len()..].contains('/') => name.to_owned(),
            _ => rest.to_owned(),
        }
    }

    /// What to ask a registry for: the digest if there is one, else the tag, else `latest`.
    pub(crate) fn selector(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => "latest",
        }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for ImageReference {
    type Err = ReferenceError;

    /// Takes names with a registry host only; see [`crate::ImageName`] for the others.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (registry, rest) = split_registry(text)?;
        let Some(registry) = registry else {
            return Err(ReferenceError::NoRegistry(text.to_owned()));
        };
        let parts = PathParts::parse(text, rest)?;
        parts.qualify(text, registry)
    }
}

impl TryFrom<String> for ImageReference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<ImageReference> for String {
    fn from(reference: ImageReference) -> Self {
        reference.to_string()
    }
}

/// A reference without its registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PathParts {
    pub(crate) repository: String,
    pub(crate) tag: Option<String>,
    pub(crate) digest: Option<Digest>,
}

impl PathParts {
    /// Parses `path[:tag][@digest]`; `whole` is what errors name.
    pub(crate) fn parse(whole: &str, text: &str) -> Result<Self, ReferenceError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest
                    .parse::<Digest>()
                    .map_err(|_| ReferenceError::Digest(whole.to_owned()))?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag(whole.to_owned()));
        }
        if !repository.split('/').all(is_path_component) {
            return Err(ReferenceError::Repository(whole.to_owned()));
        }
        if repository.len() > REPOSITORY_MAX {
            return Err(ReferenceError::TooLong(whole.to_owned()));
        }
        Ok(Self {
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// Puts a registry in front, with what `docker.io` adds of its own.
    pub(crate) fn qualify(
        self,
        whole: &str,
        registry: &str,
    ) -> Result<ImageReference, ReferenceError> {
        let registry = match registry {
            DOCKER_LEGACY => DOCKER_IO,
            other => other,
        };
        let repository = if registry == DOCKER_IO && !self.repository.contains('/') {
            format!("library/{}", self.repository)
        } else {
            self.repository
        };
        if repository.len() > REPOSITORY_MAX {
            return Err(ReferenceError::TooLong(whole.to_owned()));
        }
        Ok(ImageReference {
            registry: registry.to_owned(),
            repository,
            tag: self.tag,
            digest: self.digest,
        })
    }
}

/// Splits off the registry host, if the first part is one: it has a dot, a colon or an upper-case
/// letter in it, or is `localhost`.
pub(crate) fn split_registry(text: &str) -> Result<(Option<&str>, &str), ReferenceError> {
    if text.is_empty() {
        return Err(ReferenceError::Empty);
    }
    if text.contains("://") {
        return Err(ReferenceError::Scheme(text.to_owned()));
    }
    let Some((first, rest)) = text.split_once('/') else {
        return Ok((None, text));
    };
    let host_like = first.contains(['.', ':', '['])
        || first == "localhost"
        || first.bytes().any(|byte| byte.is_ascii_uppercase());
    if !host_like {
        return Ok((None, text));
    }
    if !is_registry(first) {
        return Err(ReferenceError::Registry(text.to_owned()));
    }
    Ok((Some(first), rest))
}

/// A DNS name, an IPv4 address or `[IPv6]`, and a port if there is one.
pub(crate) fn is_registry(text: &str) -> bool {
    let (host, port) = if text.starts_with('[') {
        let Some(end) = text.find(']') else {
            return false;
        };
        let address = text[1..end].parse::<std::net::Ipv6Addr>();
        if address.is_err() {
            return false;
        }
        match text[end + 1..].strip_prefix(':') {
            Some(port) => (None, Some(port)),
            None if text.len() == end + 1 => (None, None),
            None => return false,
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), None),
        }
    };
    let port_is_good = port.is_none_or(|port| {
        !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
    });
    text.len() <= REGISTRY_MAX
        && port_is_good
        && host.is_none_or(|host| host.split('.').all(is_domain_component))
}

fn is_domain_component(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_tag(text: &str) -> bool {
    (1..=TAG_MAX).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// Runs of lower-case letters and digits, divided by `.`, `_`, `__` or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !text.starts_with(alphanumeric) || !text.ends_with(alphanumeric) {
        return false;
    }
    text.split(alphanumeric).all(|separator| {
        matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
    })
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
