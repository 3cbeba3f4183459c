//! Configuration files and their validation: TOML with the key names that CRI-O's users know.
//!
//! [`Config::load`] reads defaults ← [`DEFAULT_FILE`] ← drop-ins of [`DEFAULT_DIR`] by name ←
//! flags. Tables merge key by key; a list replaces the list before it. Nothing here is live: no
//! directory is made and no program is started. Every key is described in
//! `docs/configuration.md`.

mod check;
mod effective;
mod error;
mod load;
mod section;
mod sections;
#[cfg(test)]
mod tests;
mod value;
mod whole;

pub use error::ConfigError;
pub use load::{DEFAULT_DIR, DEFAULT_FILE, Files, Overrides};
pub use sections::{
    Api, Config, DEFAULT_APPARMOR_PROFILE, Image, Network, Nri, Runtime, RuntimeHandler, Runtimes,
    Stats,
};
pub use value::{
    Assignment, DeviceEntry, Interval, LogFormat, LogLevel, MetricGroup, RuntimeType,
    ShortNameMode, TlsVersion, Ulimit, ValueError,
};
