//! What a name without a registry means: an alias, or the search registries in their order.

use serde::Deserialize;

use super::RegistriesConf;
use crate::image_name::UnqualifiedName;
use crate::reference::ImageReference;

/// `short-name-mode`: what happens when a name could mean images of several registries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShortNameMode {
    /// More than one candidate is an error: whoever owns the name elsewhere could take it over.
    #[default]
    Enforcing,
    /// All candidates are tried in order. A daemon has nobody to ask, so this is `disabled`.
    Permissive,
    /// All candidates are tried in order.
    Disabled,
}

/// A short name that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShortNameError {
    /// No alias and no search registry.
    #[error(
        "short name {name:?} names no registry: write the registry, or set an alias or \
         unqualified-search-registries in {conf:?}"
    )]
    NoSearchRegistry {
        /// The name.
        name: String,
        /// The configuration file.
        conf: std::path::PathBuf,
    },
    /// Several search registries where only one is allowed.
    #[error(
        "short name {name:?} is ambiguous, it could be any of {}: write the registry, set an \
         alias, or set short-name-mode in {conf:?}", .candidates.join(", ")
    )]
    Ambiguous {
        /// The name.
        name: String,
        /// What it could mean.
        candidates: Vec<String>,
        /// The configuration file.
        conf: std::path::PathBuf,
    },
    /// The name on a search registry is no valid reference.
    #[error("short name {name:?} cannot be completed")]
    Reference {
        /// The name.
        name: String,
        /// What is wrong with the result.
        #[source]
        source: crate::reference::ReferenceError,
    },
}

impl RegistriesConf {
    /// What a short name can mean, in the order to try. An alias is the only candidate.
    ///
    /// # Errors
    /// If there is no candidate, or more than one in `enforcing` mode.
    pub fn candidates(
        &self,
        name: &UnqualifiedName,
    ) -> Result<Vec<ImageReference>, ShortNameError> {
        let reference = |source| ShortNameError::Reference {
            name: name.to_string(),
            source,
        };
        if let Some(target) = self.aliases.get(name.repository()) {
            return Ok(vec![name.with_alias(target).map_err(reference)?]);
        }
        let mut candidates: Vec<ImageReference> = Vec::new();
        for registry in &self.search {
            // A search registry may have a path: registry.local/mirror.
            let candidate = match registry.split_once('/') {
                Some(_) => name.with_alias(&format!("{registry}/{}", name.repository())),
                None => name.on_registry(registry),
            };
            let candidate = candidate.map_err(reference)?;
            if !candidates.contains(&candidate) {
                candidates.push(candidate);
            }
        }
        if candidates.is_empty() {
            return Err(ShortNameError::NoSearchRegistry {
                name: name.to_string(),
                conf: self.path.clone(),
            });
        }
        if candidates.len() > 1 && self.mode == ShortNameMode::Enforcing {
            return Err(ShortNameError::Ambiguous {
                name: name.to_string(),
                candidates: candidates.iter().map(ToString::to_string).collect(),
                conf: self.path.clone(),
            });
        }
        Ok(candidates)
    }
}
