//! What a user writes for an image: with a registry, or a short name.

use std::fmt;
use std::str::FromStr;

use crate::reference::{ImageReference, PathParts, ReferenceError, split_registry};

/// A name as a user wrote it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageName {
    /// With a registry host.
    Qualified(ImageReference),
    /// Without one: `registries.conf` decides what it means.
    Unqualified(UnqualifiedName),
}

impl FromStr for ImageName {
    type Err = ReferenceError;

    /// # Errors
    /// What is no reference in the distribution grammar, and image identifiers (64 hexadecimal
    /// digits, with or without `sha256:`), which a caller looks up first.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ReferenceError::ImageId(text.to_owned()));
        }
        match split_registry(text)? {
            (Some(registry), rest) => {
                let parts = PathParts::parse(text, rest)?;
                parts.qualify(text, registry).map(Self::Qualified)
            }
            (None, rest) => {
                let parts = PathParts::parse(text, rest)?;
                Ok(Self::Unqualified(UnqualifiedName { parts }))
            }
        }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Qualified(reference) => reference.fmt(f),
            Self::Unqualified(name) => name.fmt(f),
        }
    }
}

/// A name without a registry: `busybox`, `org/app:1.0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnqualifiedName {
    parts: PathParts,
}

impl UnqualifiedName {
    /// The path, without tag and digest: the key of an alias.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.parts.repository
    }

    /// This name on a registry.
    ///
    /// # Errors
    /// Only if the path becomes too long.
    pub fn on_registry(&self, registry: &str) -> Result<ImageReference, ReferenceError> {
        let whole = format!("{registry}/{self}");
        self.parts.clone().qualify(&whole, registry)
    }

    /// The tag and digest of this name on what an alias stands for.
    ///
    /// # Errors
    /// If the alias is no reference with a registry.
    pub(crate) fn with_alias(&self, target: &str) -> Result<ImageReference, ReferenceError> {
        format!("{target}{}", Suffix(&self.parts)).parse()
    }
}

impl fmt::Display for UnqualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.parts.repository, Suffix(&self.parts))
    }
}

/// `[:tag][@digest]`.
struct Suffix<'a>(&'a PathParts);

impl fmt::Display for Suffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tag) = &self.0.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.0.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}
