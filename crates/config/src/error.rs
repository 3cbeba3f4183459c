//! What can be wrong with a configuration.

use std::path::PathBuf;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or directory cannot be read.
    #[error("{} cannot be read", file.display())]
    Read {
        /// The file or directory.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file holds an unknown key, a wrong value, or is not TOML.
    #[error("{}:{line}:{column}: {key}{}{reason}", file.display(), if key.is_empty() { "" } else { ": " })]
    Value {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1, in characters.
        column: usize,
        /// Full name of the key, as far as it can be told.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A flag has a wrong value.
    #[error("--{flag}: {reason}")]
    Flag {
        /// Its name without dashes in front.
        flag: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The configuration cannot be written as TOML.
    #[error("the configuration cannot be written as TOML")]
    Write(#[source] toml::ser::Error),
}
