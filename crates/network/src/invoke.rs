//! One call of one plugin: environment, stdin, and what it answers (section 2 and 5 of the CNI
//! specification 1.1).

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pinpod_command::{Command, RunError};
use pinpod_model::{Classify, ErrorClass};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::conf::{NetworkList, plugin_type};

/// What a plugin is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Attach.
    Add,
    /// Undo an attachment.
    Del,
    /// Say whether it could serve an ADD.
    Status,
    /// Drop everything that belongs to none of the valid attachments.
    Gc,
}

impl Verb {
    /// Its name in `CNI_COMMAND`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Status => "STATUS",
            Self::Gc => "GC",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a plugin did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// No plugin directory has it.
    #[error("CNI plugin {plugin:?} not found in {}", joined(.directories))]
    NotFound {
        /// Its type.
        plugin: String,
        /// Where it was looked for.
        directories: Vec<PathBuf>,
    },
    /// It did not end in time and was killed.
    #[error("CNI plugin {plugin:?} did not end its {verb} within {deadline:?}")]
    TimedOut {
        /// Its type.
        plugin: String,
        /// What it was asked.
        verb: Verb,
        /// The time it had.
        deadline: Duration,
    },
    /// It could not be run.
    #[error("CNI plugin {plugin:?} for {verb}")]
    Run {
        /// Its type.
        plugin: String,
        /// What it was asked.
        verb: Verb,
        /// Why.
        #[source]
        source: RunError,
    },
    /// It said no; the text is its own.
    #[error("CNI plugin {plugin:?} failed {verb}: {message}{} (code {code})", after_semicolon(.details))]
    Refused {
        /// Its type.
        plugin: String,
        /// What it was asked.
        verb: Verb,
        /// Its error code: below 100 the specification's, above its own.
        code: u32,
        /// Its message.
        message: String,
        /// More of it, or empty.
        details: String,
    },
    /// It failed and said nothing that the specification knows.
    #[error("CNI plugin {plugin:?} failed {verb} with {status}: {output}")]
    Died {
        /// Its type.
        plugin: String,
        /// What it was asked.
        verb: Verb,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it wrote.
        output: String,
    },
    /// It succeeded, and its result is none.
    #[error("CNI plugin {plugin:?} gave no valid result for {verb}")]
    BadResult {
        /// Its type.
        plugin: String,
        /// What it was asked.
        verb: Verb,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

fn joined(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    shown.join(":")
}

fn after_semicolon(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("; {text}")
    }
}

/// The specification's "try again later".
const CODE_TRY_AGAIN: u32 = 11;
/// The specification's two answers to STATUS: cannot serve an ADD; and may have cut off pods too.
const CODES_NOT_AVAILABLE: [u32; 2] = [50, 51];

impl Classify for PluginError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound { .. } => ErrorClass::Unavailable,
            Self::TimedOut { .. } => ErrorClass::DeadlineExceeded,
            Self::Run { source, .. } => source.class(),
            Self::Refused { code, .. }
                if *code == CODE_TRY_AGAIN || CODES_NOT_AVAILABLE.contains(code) =>
            {
                ErrorClass::Unavailable
            }
            Self::Refused { .. } | Self::Died { .. } | Self::BadResult { .. } => {
                ErrorClass::Internal
            }
        }
    }
}

/// The error object of section 5, which a failing plugin writes on stdout.
#[derive(Debug, Deserialize)]
struct PluginFailure {
    code: u32,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    details: String,
}

/// Whose interface a call is about. STATUS and GC are about none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) container_id: &'a str,
    /// `None` once the namespace is gone.
    pub(crate) netns: Option<&'a Path>,
    pub(crate) ifname: &'a str,
    pub(crate) args: &'a str,
}

/// A call that goes to the plugins of one network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) list: &'a NetworkList,
    pub(crate) plugin_dirs: &'a [PathBuf],
    pub(crate) verb: Verb,
    pub(crate) target: Option<Target<'a>>,
    pub(crate) deadline: Duration,
}

/// Looks for a plugin's program.
pub(crate) fn find(plugin: &str, directories: &[PathBuf]) -> Result<PathBuf, PluginError> {
    let candidates = directories.iter().map(|directory| directory.join(plugin));
    candidates
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| PluginError::NotFound {
            plugin: plugin.to_owned(),
            directories: directories.to_owned(),
        })
}

impl Call<'_> {
    /// Runs one plugin of the list and returns its stdout. `extra` is what the runtime adds to the
    /// plugin's own configuration beside `name` and `cniVersion`.
    pub(crate) async fn run(
        &self,
        plugin: &Map<String, Value>,
        extra: Map<String, Value>,
    ) -> Result<Vec<u8>, PluginError> {
        let name = plugin_type(plugin);
        let program = find(name, self.plugin_dirs)?;
        let mut config = plugin.clone();
        config.insert("name".to_owned(), self.list.name().into());
        config.insert(
            "cniVersion".to_owned(),
            self.list.version().to_string().into(),
        );
        config.extend(extra);
        let command = self
            .command(&program)
            .stdin_bytes(Value::Object(config).to_string());
        let output = command.run(self.deadline).await.map_err(|source| {
            let plugin = name.to_owned();
            let verb = self.verb;
            match source {
                RunError::TimedOut { deadline, .. } => PluginError::TimedOut {
                    plugin,
                    verb,
                    deadline,
                },
                source => PluginError::Run {
                    plugin,
                    verb,
                    source,
                },
            }
        })?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(
            match serde_json::from_slice::<PluginFailure>(&output.stdout) {
                Ok(failure) => PluginError::Refused {
                    plugin: name.to_owned(),
                    verb: self.verb,
                    code: failure.code,
                    message: failure.msg,
                    details: failure.details,
                },
                Err(_) => PluginError::Died {
                    plugin: name.to_owned(),
                    verb: self.verb,
                    status: output.status,
                    output: output.message(),
                },
            },
        )
    }

    fn command(&self, program: &Path) -> Command {
        let search = std::env::join_paths(self.plugin_dirs).unwrap_or_default();
        let command = Command::new(program)
            .env("CNI_COMMAND", self.verb.as_str())
            .env("CNI_PATH", search);
        let Some(target) = &self.target else {
            return command;
        };
        command
            .env("CNI_CONTAINERID", target.container_id)
            .env("CNI_NETNS", target.netns.unwrap_or(Path::new("")))
            .env("CNI_IFNAME", target.ifname)
            .env("CNI_ARGS", target.args)
    }
}
