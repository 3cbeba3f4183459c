//! What the program asks of a configuration once it is read: its text, and paths worked out.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{Config, ConfigError};

/// Where packages put the programs that nobody starts by hand.
const LIBEXEC: &str = "/usr/libexec/pinpod";

const HEADER: &str = "\
# pinpod's configuration: every key with its default. pinpod reads /etc/pinpod/pinpod.conf, then
# /etc/pinpod/pinpod.conf.d/*.conf by name, then its flags; what comes later wins, key by key.

";

#[derive(Serialize)]
struct Document<'a> {
    pinpod: &'a Config,
}

impl Config {
    /// The configuration as TOML, every key with the value in force.
    ///
    /// # Errors
    /// A path that is not UTF-8.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(&Document { pinpod: self }).map_err(ConfigError::Write)
    }

    /// The default configuration as TOML, with a comment on each key.
    ///
    /// # Errors
    /// None in practice: the defaults can be written.
    pub fn default_toml_commented() -> Result<String, ConfigError> {
        let mut out = HEADER.to_owned();
        Self::default()
            .write_commented("pinpod", &mut out)
            .map_err(ConfigError::Write)?;
        Ok(out)
    }

    /// The program of a handler: its `runtime_path`, or the handler's name looked up in
    /// `search_path` (the form of `PATH`). `None` when there is no such handler or program.
    #[must_use]
    pub fn runtime_path(&self, handler: &str, search_path: &OsStr) -> Option<PathBuf> {
        let given = &self.runtime.runtimes.0.get(handler)?.runtime_path;
        if given.as_os_str().is_empty() {
            std::env::split_paths(search_path)
                .map(|dir| dir.join(handler))
                .find(|path| is_program(path))
        } else {
            is_program(given).then(|| given.clone())
        }
    }

    /// The state directory of a handler: its `runtime_root`, or `runroot/runtimes/<handler>`.
    /// `None` when there is no such handler.
    #[must_use]
    pub fn runtime_root(&self, handler: &str) -> Option<PathBuf> {
        let given = &self.runtime.runtimes.0.get(handler)?.runtime_root;
        Some(if given.as_os_str().is_empty() {
            self.runroot.join("runtimes").join(handler)
        } else {
            given.clone()
        })
    }

    /// `pinpod-monitor`: `monitor_path`, else beside `executable`, else in `/usr/libexec/pinpod`.
    /// `None` when it is in none of these places.
    #[must_use]
    pub fn monitor_path(&self, executable: &Path) -> Option<PathBuf> {
        companion(&self.runtime.monitor_path, executable, "pinpod-monitor")
    }

    /// `pinpod-init`, found as [`Config::monitor_path`] is.
    #[must_use]
    pub fn init_path(&self, executable: &Path) -> Option<PathBuf> {
        companion(&self.runtime.init_path, executable, "pinpod-init")
    }
}

fn companion(given: &Path, executable: &Path, name: &str) -> Option<PathBuf> {
    if !given.as_os_str().is_empty() {
        return is_program(given).then(|| given.to_owned());
    }
    let beside = executable.parent().map(|dir| dir.join(name));
    beside
        .into_iter()
        .chain([Path::new(LIBEXEC).join(name)])
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
