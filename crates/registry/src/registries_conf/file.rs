//! One file: from TOML to checked values, with the line of what is wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::ShortNameMode;
use crate::reference::{ImageReference, is_registry};

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistriesConfError {
    /// It cannot be read.
    #[error("cannot read {file:?}")]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What it says is not valid.
    #[error("{file:?}, line {line}: {problem}")]
    Invalid {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
}

/// One file, or several merged.
#[derive(Debug, Default)]
pub(super) struct RawConf {
    pub(super) registries: Vec<Registry>,
    pub(super) search: Option<Vec<String>>,
    pub(super) aliases: BTreeMap<String, String>,
    pub(super) mode: Option<ShortNameMode>,
}

impl RawConf {
    /// Puts a later file over this one.
    pub(super) fn merge(&mut self, later: Self) {
        for registry in later.registries {
            let known = self.registries.iter_mut();
            match known
                .into_iter()
                .find(|known| known.prefix == registry.prefix)
            {
                Some(known) => *known = registry,
                None => self.registries.push(registry),
            }
        }
        if later.search.is_some() {
            self.search = later.search;
        }
        self.aliases.extend(later.aliases);
        if later.mode.is_some() {
            self.mode = later.mode;
        }
    }
}

/// A checked `[[registry]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Registry {
    /// What references it is for: `host[:port][/path…]` or `*.host`.
    pub(super) prefix: String,
    /// What takes the prefix's place; `None` (only with `*.host`) leaves references alone.
    pub(super) location: Option<String>,
    pub(super) insecure: bool,
    pub(super) blocked: bool,
    pub(super) mirrors: Vec<Mirror>,
}

/// A checked `[[registry.mirror]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mirror {
    pub(super) location: String,
    pub(super) insecure: bool,
    pub(super) pull: PullFromMirror,
}

/// Which pulls a mirror serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PullFromMirror {
    All,
    DigestOnly,
    TagOnly,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct TomlFile {
    unqualified_search_registries: Option<Spanned<Vec<String>>>,
    short_name_mode: Option<ShortNameMode>,
    #[serde(default)]
    registry: Vec<Spanned<TomlRegistry>>,
    #[serde(default)]
    aliases: BTreeMap<Spanned<String>, String>,
    registries: Option<Spanned<toml::Table>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct TomlRegistry {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<Spanned<TomlMirror>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct TomlMirror {
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    pull_from_mirror: Option<PullFromMirror>,
}

/// Reads one file; `None` if there is none.
pub(super) fn read(file: &Path) -> Result<Option<RawConf>, RegistriesConfError> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(RegistriesConfError::Read {
                file: file.to_owned(),
                source,
            });
        }
    };
    parse(&text)
        .map(Some)
        .map_err(|Problem { at, text: problem }| {
            let line = text
                .as_bytes()
                .iter()
                .take(at)
                .filter(|b| **b == b'\n')
                .count()
                + 1;
            RegistriesConfError::Invalid {
                file: file.to_owned(),
                line,
                problem,
            }
        })
}

/// What is wrong, and at which byte.
struct Problem {
    at: usize,
    text: String,
}

fn problem<T>(at: usize, text: impl Into<String>) -> Result<T, Problem> {
    Err(Problem {
        at,
        text: text.into(),
    })
}

fn parse(text: &str) -> Result<RawConf, Problem> {
    let file: TomlFile = toml::from_str(text).map_err(|error| Problem {
        at: error.span().map_or(0, |span| span.start),
        text: error.message().to_owned(),
    })?;
    if let Some(old) = file.registries {
        return problem(
            old.span().start,
            "this is version 1 of the format: write [[registry]] tables instead",
        );
    }
    let mut conf = RawConf {
        mode: file.short_name_mode,
        ..RawConf::default()
    };
    if let Some(search) = file.unqualified_search_registries {
        let at = search.span().start;
        let search = search.into_inner();
        if let Some(bad) = search.iter().find(|host| !is_location(host)) {
            return problem(at, format!("{bad:?} is not a registry host"));
        }
        conf.search = Some(search);
    }
    for (name, target) in file.aliases {
        let good = target.parse::<ImageReference>();
        let plain = good.is_ok_and(|target| target.tag().is_none() && target.digest().is_none());
        if !plain && !target.is_empty() {
            return problem(
                name.span().start,
                format!("{target:?} is not a repository with its registry, without tag and digest"),
            );
        }
        conf.aliases.insert(name.into_inner(), target);
    }
    for registry in file.registry {
        let at = registry.span().start;
        let registry = check_registry(at, registry.into_inner())?;
        let twin = conf
            .registries
            .iter()
            .find(|known| known.prefix == registry.prefix);
        match twin {
            Some(known) if *known != registry => {
                let prefix = registry.prefix;
                return problem(at, format!("registry {prefix:?} is described twice"));
            }
            Some(_) => {}
            None => conf.registries.push(registry),
        }
    }
    Ok(conf)
}

fn check_registry(at: usize, raw: TomlRegistry) -> Result<Registry, Problem> {
    let location = raw.location.trim_end_matches('/').to_owned();
    let mut prefix = raw.prefix.trim_end_matches('/').to_owned();
    if prefix.is_empty() {
        prefix.clone_from(&location);
    }
    if prefix.is_empty() {
        return problem(at, "a registry needs a location or a prefix");
    }
    let wildcard = prefix.strip_prefix("*.");
    match wildcard {
        Some(host) if !is_registry(host) => {
            return problem(at, format!("prefix {prefix:?} is not *.<host>"));
        }
        None if !is_location(&prefix) => {
            return problem(
                at,
                format!("prefix {prefix:?} is not a host with an optional path"),
            );
        }
        None if location.is_empty() => {
            return problem(at, format!("registry {prefix:?} has no location"));
        }
        _ => {}
    }
    if !location.is_empty() && !is_location(&location) {
        return problem(
            at,
            format!("location {location:?} is not a host with an optional path"),
        );
    }
    let mut mirrors = Vec::new();
    for mirror in raw.mirror {
        let at = mirror.span().start;
        mirrors.push(check_mirror(
            at,
            mirror.into_inner(),
            raw.mirror_by_digest_only,
        )?);
    }
    Ok(Registry {
        prefix,
        location: Some(location).filter(|location| !location.is_empty()),
        insecure: raw.insecure,
        blocked: raw.blocked,
        mirrors,
    })
}

fn check_mirror(at: usize, raw: TomlMirror, digest_only: bool) -> Result<Mirror, Problem> {
    let location = raw.location.trim_end_matches('/').to_owned();
    if !is_location(&location) {
        return problem(
            at,
            format!("mirror location {location:?} is not a host with an optional path"),
        );
    }
    let pull = match (raw.pull_from_mirror, digest_only) {
        (Some(_), true) => {
            return problem(
                at,
                "mirror-by-digest-only and pull-from-mirror exclude each other",
            );
        }
        (None, true) => PullFromMirror::DigestOnly,
        (pull, false) => pull.unwrap_or(PullFromMirror::All),
    };
    Ok(Mirror {
        location,
        insecure: raw.insecure,
        pull,
    })
}

/// `host[:port][/path…]`, any single host name included (`registry`, `localhost`). A tag or a
/// digest may stand at its end, as a prefix may name a single image.
fn is_location(text: &str) -> bool {
    let (host, path) = match text.split_once('/') {
        Some((host, path)) => (host, Some(path)),
        None => (text, None),
    };
    is_registry(host)
        && path.is_none_or(|path| crate::reference::PathParts::parse(text, path).is_ok())
}
