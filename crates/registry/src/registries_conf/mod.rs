//! `registries.conf`, version 2, and its drop-in directory (containers-registries.conf(5)).
//!
//! The main file is read first, then `*.conf` of the directory in the order of their names. In
//! each later file a `[[registry]]` replaces the one with the same prefix, an alias replaces the
//! one of the same name, and a top-level value replaces the earlier value.

mod endpoints;
mod file;
mod short_names;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use endpoints::{BlockedError, Endpoint};
pub use file::RegistriesConfError;
use file::{RawConf, Registry};
pub use short_names::{ShortNameError, ShortNameMode};

use crate::reference::DOCKER_IO;

/// The merged configuration, and what it was read from.
#[derive(Debug, Clone)]
pub struct RegistriesConf {
    path: PathBuf,
    dir: PathBuf,
    stamps: Vec<Stamp>,
    registries: Vec<Registry>,
    search: Vec<String>,
    aliases: BTreeMap<String, String>,
    mode: ShortNameMode,
}

/// A file as it was when it was read; `None` if it was not there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    seen: Option<(SystemTime, u64)>,
}

impl Stamp {
    fn of(path: PathBuf) -> Self {
        let seen = std::fs::metadata(&path)
            .ok()
            .and_then(|meta| Some((meta.modified().ok()?, meta.len())));
        Self { path, seen }
    }
}

impl RegistriesConf {
    /// Reads the file and the drop-ins. Neither needs to exist: with no main file, and no drop-in
    /// that says otherwise, short names are looked for on `docker.io`; with a main file, only
    /// where `unqualified-search-registries` says.
    ///
    /// # Errors
    /// If a file cannot be read or says something that is not valid; it names file and line.
    pub fn load(path: &Path, dir: &Path) -> Result<Self, RegistriesConfError> {
        // Stamps are taken before reading, so a write in between is seen by the next look.
        let files = files(path, dir);
        let stamps = stamps(&files, dir);
        let mut merged = RawConf::default();
        let mut has_main = false;
        for file in &files {
            match file::read(file)? {
                Some(conf) => {
                    has_main |= file == path;
                    merged.merge(conf);
                }
                None => continue,
            }
        }
        let search = match merged.search {
            Some(search) => search,
            None if has_main => Vec::new(),
            None => vec![DOCKER_IO.to_owned()],
        };
        Ok(Self {
            path: path.to_owned(),
            dir: dir.to_owned(),
            stamps,
            registries: merged.registries,
            search,
            // An empty alias takes back one from an earlier file.
            aliases: merged
                .aliases
                .into_iter()
                .filter(|(_, target)| !target.is_empty())
                .collect(),
            mode: merged.mode.unwrap_or_default(),
        })
    }

    /// Reads the files again if one of them was changed, added or removed since. Says whether it
    /// did.
    ///
    /// # Errors
    /// As [`Self::load`]; the configuration then stays as it was.
    pub fn reload_if_changed(&mut self) -> Result<bool, RegistriesConfError> {
        if self.is_current() {
            return Ok(false);
        }
        *self = Self::load(&self.path, &self.dir)?;
        Ok(true)
    }

    /// Whether the files are still those that were read.
    #[must_use]
    pub fn is_current(&self) -> bool {
        stamps(&files(&self.path, &self.dir), &self.dir) == self.stamps
    }

    /// How short names with more than one candidate are treated; the daemon's own configuration
    /// may set it over the file's.
    pub fn set_short_name_mode(&mut self, mode: ShortNameMode) {
        self.mode = mode;
    }
}

/// The main file and the drop-ins, in the order they count.
fn files(path: &Path, dir: &Path) -> Vec<PathBuf> {
    let mut drop_ins: Vec<PathBuf> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == "conf"))
        .collect();
    drop_ins.sort();
    drop_ins.insert(0, path.to_owned());
    drop_ins
}

fn stamps(files: &[PathBuf], dir: &Path) -> Vec<Stamp> {
    let watched = files.iter().cloned().chain([dir.to_owned()]);
    watched.map(Stamp::of).collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
