//! Types of single values that TOML has no type for; each is written as a string and refused with
//! the reason when it does not parse, so that the error can point at the line.

mod metric_group;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use pinpod_model::Device;
use serde::{Deserialize, Serialize};

pub use metric_group::MetricGroup;

/// A string that is not a value of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} {expected}")]
pub struct ValueError {
    text: String,
    expected: &'static str,
}

impl ValueError {
    fn new(text: &str, expected: &'static str) -> Self {
        Self {
            text: text.to_owned(),
            expected,
        }
    }
}

macro_rules! text_value {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = ValueError;

            fn try_from(text: String) -> Result<Self, ValueError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}

/// How much the daemon says. Written in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Failures only.
    Error,
    /// And what is degraded.
    Warn,
    /// And each life-cycle step.
    #[default]
    Info,
    /// And each decision.
    Debug,
    /// And each call.
    Trace,
}

impl LogLevel {
    /// The word that the file and the command line use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl FromStr for LogLevel {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        [
            Self::Error,
            Self::Warn,
            Self::Info,
            Self::Debug,
            Self::Trace,
        ]
        .into_iter()
        .find(|level| level.as_str() == text)
        .ok_or_else(|| ValueError::new(text, "is not error, warn, info, debug or trace"))
    }
}

/// Shape of the daemon's log lines. Written in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(ValueError::new(text, "is not text or json")),
        }
    }
}

/// What a short image name that could mean several registries does. Written in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShortNameMode {
    /// Refused unless an alias or a single search registry settles it.
    #[default]
    Enforcing,
    /// Tried on each search registry in turn.
    Disabled,
}

/// Kind of program that a runtime handler names. Written in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeType {
    /// A command line as runc's.
    #[default]
    Oci,
}

/// A version of TLS, named as in the configuration of Kubernetes' programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "VersionTLS12")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "VersionTLS13")]
    Tls13,
}

/// A span of time, written as whole numbers with units: `1h30m`, `10s`, `500ms`, `0s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Interval(pub Duration);

impl FromStr for Interval {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let error = || ValueError::new(text, "is not a time such as 1h30m, 10s or 500ms");
        let mut rest = text;
        let mut total = Duration::ZERO;
        if rest.is_empty() {
            return Err(error());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
            let number: u64 = rest[..digits].parse().map_err(|_| error())?;
            let after = &rest[digits..];
            let end = after
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(after.len());
            let seconds = |factor: u64| number.checked_mul(factor).map(Duration::from_secs);
            let part = match &after[..end] {
                "h" => seconds(3600),
                "m" => seconds(60),
                "s" => seconds(1),
                "ms" => Some(Duration::from_millis(number)),
                _ => None,
            };
            total = part
                .and_then(|part| total.checked_add(part))
                .ok_or_else(error)?;
            rest = &after[end..];
        }
        Ok(Self(total))
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0.as_secs(), self.0.subsec_millis());
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        if millis > 0 {
            write!(f, "{}ms", u64::from(millis) + seconds % 60 * 1000)
        } else if seconds % 60 > 0 || seconds == 0 {
            write!(f, "{}s", seconds % 60)
        } else {
            Ok(())
        }
    }
}

text_value!(Interval);

/// Names that setrlimit(2) knows, without `RLIMIT_`, in lower case.
const LIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// A resource limit, written `nofile=1024:4096` or `nofile=1024`; `-1` and `unlimited` mean none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ulimit {
    /// Name without `RLIMIT_`, in lower case.
    pub name: String,
    /// Soft limit in the limit's own unit; `u64::MAX` means none.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

impl FromStr for Ulimit {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let error = || ValueError::new(text, "is not a limit such as nofile=1024:4096");
        let (name, values) = text.split_once('=').ok_or_else(error)?;
        let name = name.trim().to_ascii_lowercase();
        let name = name.strip_prefix("rlimit_").unwrap_or(&name);
        if !LIMITS.contains(&name) {
            return Err(ValueError::new(text, "names no resource limit"));
        }
        let number = |value: &str| match value.trim() {
            "-1" | "unlimited" => Ok(u64::MAX),
            digits => digits.parse().map_err(|_| error()),
        };
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let (soft, hard) = (number(soft)?, number(hard)?);
        if soft > hard {
            return Err(ValueError::new(text, "has a soft limit above the hard one"));
        }
        Ok(Self {
            name: name.to_owned(),
            soft,
            hard,
        })
    }
}

impl fmt::Display for Ulimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.name)?;
        for (value, end) in [(self.soft, ":"), (self.hard, "")] {
            if value == u64::MAX {
                write!(f, "-1{end}")?;
            } else {
                write!(f, "{value}{end}")?;
            }
        }
        Ok(())
    }
}

text_value!(Ulimit);

/// A pair written `name=value`: an environment variable or a kernel parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Assignment {
    /// Left of the first `=`; never empty.
    pub name: String,
    /// The rest.
    pub value: String,
}

impl FromStr for Assignment {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() && !text.contains('\0') => Ok(Self {
                name: name.trim().to_owned(),
                value: value.to_owned(),
            }),
            _ => Err(ValueError::new(text, "is not of the form name=value")),
        }
    }
}

impl fmt::Display for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

text_value!(Assignment);

/// A device of the node, written `host path[:path in the container][:permissions]`; the path in
/// the container is the host's and the permissions are `rwm` when left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceEntry(pub Device);

impl FromStr for DeviceEntry {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let error = |expected| Err(ValueError::new(text, expected));
        let letters = |part: &str| !part.is_empty() && part.chars().all(|c| "rwm".contains(c));
        let parts: Vec<&str> = text.split(':').collect();
        let (host, container, permissions) = match parts.as_slice() {
            [host] => (*host, *host, "rwm"),
            [host, second] if letters(second) => (*host, *host, *second),
            [host, second] => (*host, *second, "rwm"),
            [host, second, third] => (*host, *second, *third),
            _ => return error("has more than three parts"),
        };
        if !host.starts_with("/dev/") {
            return error("does not begin with a path below /dev");
        }
        if !container.starts_with('/') {
            return error("names a path in the container that is not absolute");
        }
        if !letters(permissions) {
            return error("has permissions that are not letters of rwm");
        }
        Ok(Self(Device {
            host_path: host.to_owned(),
            container_path: container.to_owned(),
            permissions: permissions.to_owned(),
        }))
    }
}

impl fmt::Display for DeviceEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Device {
            host_path,
            container_path,
            permissions,
        } = &self.0;
        write!(f, "{host_path}:{container_path}:{permissions}")
    }
}

text_value!(DeviceEntry);

#[cfg(test)]
mod tests;
