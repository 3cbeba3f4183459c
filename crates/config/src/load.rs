//! Reading: defaults, then the file, then the drop-ins in the order of their names, then flags.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use pinpod_model::CgroupDriver;
use serde::Deserialize;

use crate::sections::{Config, ConfigFile};
use crate::value::{LogFormat, LogLevel};
use crate::whole::DEFAULT_RUNTIME;
use crate::{ConfigError, check};

/// The file read when no other is named.
pub const DEFAULT_FILE: &str = "/etc/pinpod/pinpod.conf";
/// The directory of drop-ins read when no other is named.
pub const DEFAULT_DIR: &str = "/etc/pinpod/pinpod.conf.d";

/// Which files to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Files {
    /// `--config`: must exist. `None` means [`DEFAULT_FILE`], which need not.
    pub config: Option<PathBuf>,
    /// `--config-dir`: must exist. `None` means [`DEFAULT_DIR`], which need not.
    pub config_dir: Option<PathBuf>,
}

/// What the command line says; it stands above every file. The name of each flag is its field's
/// with dashes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    /// `--root`.
    pub root: Option<PathBuf>,
    /// `--runroot`.
    pub runroot: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<PathBuf>,
    /// `--log-level`.
    pub log_level: Option<LogLevel>,
    /// `--log-format`.
    pub log_format: Option<LogFormat>,
    /// `--default-runtime`.
    pub default_runtime: Option<String>,
    /// `--cgroup-manager`.
    pub cgroup_manager: Option<CgroupDriver>,
    /// `--namespaces-dir`.
    pub namespaces_dir: Option<PathBuf>,
    /// `--monitor-path`.
    pub monitor_path: Option<PathBuf>,
    /// `--init-path`.
    pub init_path: Option<PathBuf>,
    /// `--seccomp-profile`.
    pub seccomp_profile: Option<PathBuf>,
    /// `--apparmor-profile`.
    pub apparmor_profile: Option<String>,
    /// `--pids-limit`.
    pub pids_limit: Option<i64>,
    /// `--global-auth-file`.
    pub global_auth_file: Option<PathBuf>,
    /// `--registries-conf`.
    pub registries_conf: Option<PathBuf>,
    /// `--cni-default-network`.
    pub cni_default_network: Option<String>,
    /// `--cni-config-dir`, the key `network_dir`.
    pub cni_config_dir: Option<PathBuf>,
    /// `--cni-plugin-dir`, each one, the key `plugin_dirs`; empty means not given.
    pub cni_plugin_dirs: Vec<PathBuf>,
}

/// Where a key was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    file: PathBuf,
    line: usize,
    column: usize,
}

/// One file while it is applied.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    file: &'a Path,
    text: &'a str,
    origins: &'a mut BTreeMap<String, Location>,
}

impl Source<'_> {
    fn locate(&self, span: &Range<usize>) -> Location {
        let (line, column) = position(self.text, span.start);
        Location {
            file: self.file.to_owned(),
            line,
            column,
        }
    }

    pub(crate) fn note(&mut self, key: String, span: Range<usize>) {
        let location = self.locate(&span);
        self.origins.insert(key, location);
    }

    pub(crate) fn invalid(&self, key: String, span: Range<usize>, reason: String) -> ConfigError {
        self.locate(&span).invalid(key, reason)
    }
}

impl Location {
    pub(crate) fn invalid(self, key: String, reason: String) -> ConfigError {
        ConfigError::Value {
            file: self.file,
            line: self.line,
            column: self.column,
            key,
            reason,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Document {
    pinpod: ConfigFile,
}

impl Config {
    /// Reads the files and puts `overrides` over them.
    ///
    /// # Errors
    /// A file that cannot be read or that holds an unknown key or a wrong value, by file, line,
    /// column and key; a wrong flag by its name.
    pub fn load(files: &Files, overrides: &Overrides) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let mut origins = BTreeMap::new();
        for file in drop_in_order(files)? {
            let text = match std::fs::read_to_string(&file) {
                Ok(text) => text,
                Err(error)
                    if error.kind() == std::io::ErrorKind::NotFound
                        && files.config.is_none()
                        && file == Path::new(DEFAULT_FILE) =>
                {
                    continue;
                }
                Err(source) => return Err(ConfigError::Read { file, source }),
            };
            config.apply(&file, &text, &mut origins)?;
        }
        config.apply_flags(overrides, &mut origins)?;
        config.check_whole(&origins)?;
        Ok(config)
    }

    /// Reads one text as a file of that name; nothing else is read.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let mut origins = BTreeMap::new();
        config.apply(file, text, &mut origins)?;
        config.check_whole(&origins)?;
        Ok(config)
    }

    fn apply(
        &mut self,
        file: &Path,
        text: &str,
        origins: &mut BTreeMap<String, Location>,
    ) -> Result<(), ConfigError> {
        let document: Document = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let (line, column) = position(text, start);
            ConfigError::Value {
                file: file.to_owned(),
                line,
                column,
                key: key_at(text, start),
                reason: error.message().to_owned(),
            }
        })?;
        let mut source = Source {
            file,
            text,
            origins,
        };
        document.pinpod.apply(self, "pinpod", &mut source)
    }

    fn apply_flags(
        &mut self,
        flags: &Overrides,
        origins: &mut BTreeMap<String, Location>,
    ) -> Result<(), ConfigError> {
        let absolute = |path: &PathBuf| check::absolute(path);
        let socket = |path: &PathBuf| check::socket(path);
        set_checked("root", &flags.root, &mut self.root, absolute)?;
        set_checked("runroot", &flags.runroot, &mut self.runroot, absolute)?;
        set_checked("listen", &flags.listen, &mut self.api.listen, socket)?;
        self.apply_runtime_flags(flags, origins)?;
        let image = &mut self.image;
        set_checked(
            "global-auth-file",
            &flags.global_auth_file,
            &mut image.global_auth_file,
            absolute,
        )?;
        set_checked(
            "registries-conf",
            &flags.registries_conf,
            &mut image.registries_conf,
            absolute,
        )?;
        let network = &mut self.network;
        put(&flags.cni_default_network, &mut network.cni_default_network);
        set_checked(
            "cni-config-dir",
            &flags.cni_config_dir,
            &mut network.network_dir,
            absolute,
        )?;
        let dirs = &flags.cni_plugin_dirs;
        let dirs = (!dirs.is_empty()).then(|| dirs.clone());
        set_checked(
            "cni-plugin-dir",
            &dirs,
            &mut network.plugin_dirs,
            |dirs: &Vec<PathBuf>| check::absolute_each(dirs),
        )
    }

    fn apply_runtime_flags(
        &mut self,
        flags: &Overrides,
        origins: &mut BTreeMap<String, Location>,
    ) -> Result<(), ConfigError> {
        let absolute = |path: &PathBuf| check::absolute(path);
        let runtime = &mut self.runtime;
        put(&flags.log_level, &mut runtime.log_level);
        put(&flags.log_format, &mut runtime.log_format);
        put(&flags.cgroup_manager, &mut runtime.cgroup_manager);
        put(&flags.apparmor_profile, &mut runtime.apparmor_profile);
        if flags.default_runtime.is_some() {
            origins.remove(DEFAULT_RUNTIME);
        }
        put(&flags.default_runtime, &mut runtime.default_runtime);
        set_checked(
            "namespaces-dir",
            &flags.namespaces_dir,
            &mut runtime.namespaces_dir,
            absolute,
        )?;
        set_checked(
            "monitor-path",
            &flags.monitor_path,
            &mut runtime.monitor_path,
            absolute,
        )?;
        set_checked(
            "init-path",
            &flags.init_path,
            &mut runtime.init_path,
            absolute,
        )?;
        set_checked(
            "seccomp-profile",
            &flags.seccomp_profile,
            &mut runtime.seccomp_profile,
            absolute,
        )?;
        set_checked(
            "pids-limit",
            &flags.pids_limit,
            &mut runtime.pids_limit,
            check::pids,
        )
    }
}

fn put<T: Clone>(given: &Option<T>, into: &mut T) {
    if let Some(value) = given {
        *into = value.clone();
    }
}

fn set_checked<T: Clone>(
    flag: &'static str,
    given: &Option<T>,
    into: &mut T,
    check: impl Fn(&T) -> Result<(), String>,
) -> Result<(), ConfigError> {
    if let Some(value) = given {
        check(value).map_err(|reason| ConfigError::Flag { flag, reason })?;
    }
    put(given, into);
    Ok(())
}

/// The files to read, first to last. Drop-ins are the `*.conf` files of the directory by name.
fn drop_in_order(files: &Files) -> Result<Vec<PathBuf>, ConfigError> {
    let mut all = vec![files.config.clone().unwrap_or_else(|| DEFAULT_FILE.into())];
    let dir = files
        .config_dir
        .clone()
        .unwrap_or_else(|| DEFAULT_DIR.into());
    let mut drop_ins = Vec::new();
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error)
            if error.kind() == std::io::ErrorKind::NotFound && files.config_dir.is_none() =>
        {
            return Ok(all);
        }
        Err(source) => return Err(ConfigError::Read { file: dir, source }),
    };
    for entry in entries {
        let entry = entry.map_err(|source| ConfigError::Read {
            file: dir.clone(),
            source,
        })?;
        let path = entry.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "conf")
        {
            drop_ins.push(path);
        }
    }
    drop_ins.sort();
    all.append(&mut drop_ins);
    Ok(all)
}

/// Line and column of a byte offset, both from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |last| last.chars().count())
        + 1;
    (line, column)
}

/// The full name of the key whose value or name is at `offset`, as far as the text tells: the last
/// table header above and the last `key =` at or above.
fn key_at(text: &str, offset: usize) -> String {
    let end = text[offset.min(text.len())..]
        .find('\n')
        .map_or(text.len(), |length| offset + length);
    let mut key = None;
    for line in text[..end].lines().rev().map(str::trim) {
        if let Some(table) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            let table = table.0.trim_matches('[').trim();
            return key.map_or_else(|| table.to_owned(), |key| format!("{table}.{key}"));
        }
        if key.is_none()
            && let Some((left, _)) = line.split_once('=')
        {
            let left = left.trim();
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if !left.is_empty() && left.chars().all(plain) {
                key = Some(left.to_owned());
            }
        }
    }
    key.unwrap_or_default()
}

#[cfg(test)]
impl Config {
    pub(crate) fn apply_flags_for_test(&mut self, flags: &Overrides) -> Result<(), ConfigError> {
        let mut origins = BTreeMap::new();
        self.apply_flags(flags, &mut origins)?;
        self.check_whole(&origins)
    }
}
