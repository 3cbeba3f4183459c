//! What no single key can tell: whether keys fit each other.

use std::collections::BTreeMap;

use crate::ConfigError;
use crate::load::Location;
use crate::sections::Config;

pub(crate) const DEFAULT_RUNTIME: &str = "pinpod.runtime.default_runtime";
const ENABLE_TLS: &str = "pinpod.api.stream_enable_tls";

/// Where each key was set.
type Origins = BTreeMap<String, Location>;

impl Config {
    /// Fails at the key that asks for something which another does not give.
    pub(crate) fn check_whole(&self, origins: &Origins) -> Result<(), ConfigError> {
        let name = &self.runtime.default_runtime;
        if !self.runtime.runtimes.0.contains_key(name) {
            let reason = format!("{name:?} has no table [pinpod.runtime.runtimes.{name}]");
            return Err(invalid(origins, DEFAULT_RUNTIME, "default-runtime", reason));
        }
        let api = &self.api;
        let files = [
            ("stream_tls_cert", &api.stream_tls_cert),
            ("stream_tls_key", &api.stream_tls_key),
        ];
        for (key, path) in files {
            if api.stream_enable_tls && path.as_os_str().is_empty() {
                let reason = format!("needs {key}, which is not set");
                return Err(invalid(origins, ENABLE_TLS, "config", reason));
            }
        }
        Ok(())
    }
}

/// The error at the place where the key was set; a key that no file sets was set by its flag.
fn invalid(origins: &Origins, key: &str, flag: &'static str, reason: String) -> ConfigError {
    match origins.get(key) {
        Some(location) => location.clone().invalid(key.to_owned(), reason),
        None => ConfigError::Flag { flag, reason },
    }
}
