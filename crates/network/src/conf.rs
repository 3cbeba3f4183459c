//! A network configuration: one conflist, or one plugin's configuration taken as a list of one.
//!
//! Follows section 1 of the CNI specification 1.1. Keys that are not named there belong to the
//! plugins and are passed on untouched.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::{Map, Value, json};

/// What is wrong with one configuration file. The file's own path is with the caller.
#[derive(Debug, thiserror::Error)]
pub enum ConfError {
    /// Not JSON.
    #[error("not valid JSON")]
    Json(#[source] serde_json::Error),
    /// A key has a value that it may not have.
    #[error("{key}: {problem}")]
    Key {
        /// The key, with the index of its plugin where it is one's.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// No plugin in the file, nor in the directory beside it.
    #[error("no plugins")]
    NoPlugins,
    /// The file, or one that it includes, cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A plugin's configuration that the list includes from the directory beside it is wrong.
    #[error("in {path}")]
    Included {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<ConfError>,
    },
}

fn bad(key: impl Into<String>, problem: impl Into<String>) -> ConfError {
    ConfError::Key {
        key: key.into(),
        problem: problem.into(),
    }
}

/// A version of the CNI specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u8, u8, u8);

impl Version {
    /// The first whose DEL gets the result of ADD.
    pub const V0_4_0: Self = Self(0, 4, 0);
    /// The first with STATUS and GC.
    pub const V1_1_0: Self = Self(1, 1, 0);
    /// Those that this crate speaks.
    pub const KNOWN: [Self; 5] = [
        Self(0, 3, 0),
        Self(0, 3, 1),
        Self::V0_4_0,
        Self(1, 0, 0),
        Self::V1_1_0,
    ];
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl FromStr for Version {
    type Err = ConfError;

    fn from_str(text: &str) -> Result<Self, ConfError> {
        let known = Self::KNOWN.iter().find(|known| known.to_string() == text);
        known.copied().ok_or_else(|| {
            bad(
                "cniVersion",
                format!("{text:?} is not supported (0.3.0 to 1.1.0 are)"),
            )
        })
    }
}

/// A network: its name and its chain of plugins.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkList {
    name: String,
    version: Version,
    disable_check: bool,
    disable_gc: bool,
    plugins: Vec<Map<String, Value>>,
}

impl NetworkList {
    /// Name of the network.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Version of the specification that its plugins are spoken to in.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// GC must not be run.
    #[must_use]
    pub fn disable_gc(&self) -> bool {
        self.disable_gc
    }

    /// Configurations of its plugins, in the order of ADD. Each has a `type` that is a plain file
    /// name.
    #[must_use]
    pub fn plugins(&self) -> &[Map<String, Value>] {
        &self.plugins
    }

    /// Types of its plugins, in the order of ADD.
    pub fn types(&self) -> impl Iterator<Item = &str> {
        self.plugins.iter().map(plugin_type)
    }

    /// Reads a file, and the plugins that it includes from `<directory>/<network name>/*.conf`
    /// unless it sets `loadOnlyInlinedPlugins`.
    ///
    /// # Errors
    /// When a file cannot be read or is not a valid configuration.
    pub fn load(path: &Path) -> Result<Self, ConfError> {
        let (mut list, only_inlined) = Self::parse_one(&read(path)?)?;
        if !only_inlined {
            let directory = path.with_file_name(&list.name);
            for path in included(&directory)? {
                let plugin = read(&path)
                    .and_then(|text| object(&text))
                    .and_then(|plugin| checked_plugin(plugin, "type"))
                    .map_err(|source| ConfError::Included {
                        path: path.clone(),
                        source: Box::new(source),
                    })?;
                list.plugins.push(plugin);
            }
        }
        if list.plugins.is_empty() {
            return Err(ConfError::NoPlugins);
        }
        Ok(list)
    }

    /// Reads a configuration that stands alone, such as what [`NetworkList::to_value`] gave.
    ///
    /// # Errors
    /// When it is not a valid configuration.
    pub fn parse(text: &str) -> Result<Self, ConfError> {
        let (list, _) = Self::parse_one(text)?;
        if list.plugins.is_empty() {
            return Err(ConfError::NoPlugins);
        }
        Ok(list)
    }

    fn parse_one(text: &str) -> Result<(Self, bool), ConfError> {
        let mut conf = object(text)?;
        let name = network_name(&conf)?;
        let version = version(&conf)?;
        let plugins = match conf.remove("plugins") {
            Some(Value::Array(plugins)) => plugins,
            Some(_) => return Err(bad("plugins", "not an array")),
            // A file of one plugin has the plugin's keys at its top.
            None if conf.contains_key("type") => {
                let only_inlined = true;
                let list = Self {
                    name,
                    version,
                    disable_check: false,
                    disable_gc: false,
                    plugins: vec![checked_plugin(conf, "type")?],
                };
                return Ok((list, only_inlined));
            }
            None => Vec::new(),
        };
        let plugins = plugins
            .into_iter()
            .enumerate()
            .map(|(index, plugin)| match plugin {
                Value::Object(plugin) => checked_plugin(plugin, &format!("plugins[{index}].type")),
                _ => Err(bad(format!("plugins[{index}]"), "not an object")),
            })
            .collect::<Result<_, _>>()?;
        let list = Self {
            name,
            version,
            disable_check: flag(&conf, "disableCheck")?,
            disable_gc: flag(&conf, "disableGC")?,
            plugins,
        };
        Ok((list, flag(&conf, "loadOnlyInlinedPlugins")?))
    }

    /// The list with everything that it includes, as one document.
    #[must_use]
    pub fn to_value(&self) -> Value {
        json!({
            "name": self.name,
            "cniVersion": self.version.to_string(),
            "disableCheck": self.disable_check,
            "disableGC": self.disable_gc,
            "loadOnlyInlinedPlugins": true,
            "plugins": self.plugins,
        })
    }
}

/// The `type` of a plugin, which [`checked_plugin`] made sure of.
pub(crate) fn plugin_type(plugin: &Map<String, Value>) -> &str {
    plugin.get("type").and_then(Value::as_str).unwrap_or("")
}

fn read(path: &Path) -> Result<String, ConfError> {
    std::fs::read_to_string(path).map_err(|source| ConfError::Read {
        path: path.to_owned(),
        source,
    })
}

fn object(text: &str) -> Result<Map<String, Value>, ConfError> {
    serde_json::from_str(text).map_err(ConfError::Json)
}

/// Files of plugins that a list includes, in lexical order; none when there is no such directory.
fn included(directory: &Path) -> Result<Vec<PathBuf>, ConfError> {
    let error = |source| ConfError::Read {
        path: directory.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(source)
            if matches!(
                source.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(source) => return Err(error(source)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(error)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "conf")
        {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn network_name(conf: &Map<String, Value>) -> Result<String, ConfError> {
    let name = match conf.get("name") {
        Some(Value::String(name)) => name,
        Some(_) => return Err(bad("name", "not a string")),
        None => return Err(bad("name", "missing")),
    };
    let mut bytes = name.bytes();
    let starts_well = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    if starts_well && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
        Ok(name.clone())
    } else {
        Err(bad(
            "name",
            format!("{name:?} is not letters, digits, '_', '.' and '-' after a letter or digit"),
        ))
    }
}

/// The newest known one of `cniVersions` (new in 1.1) and `cniVersion`.
fn version(conf: &Map<String, Value>) -> Result<Version, ConfError> {
    let single = match conf.get("cniVersion") {
        Some(Value::String(text)) => Some(text.parse::<Version>()),
        Some(_) => return Err(bad("cniVersion", "not a string")),
        None => None,
    };
    let offered: Option<Version> = match conf.get("cniVersions") {
        None => None,
        Some(Value::Array(offered)) => offered
            .iter()
            .filter_map(|one| one.as_str()?.parse().ok())
            .max(),
        Some(_) => return Err(bad("cniVersions", "not an array")),
    };
    match (single, offered) {
        (Some(Ok(single)), offered) => Ok(offered.map_or(single, |offered| offered.max(single))),
        (_, Some(offered)) => Ok(offered),
        (Some(Err(error)), None) => Err(error),
        (None, None) if conf.contains_key("cniVersions") => {
            Err(bad("cniVersions", "none of 0.3.0 to 1.1.0"))
        }
        (None, None) => Err(bad("cniVersion", "missing")),
    }
}

/// A switch; old files write it as a string.
fn flag(conf: &Map<String, Value>, key: &str) -> Result<bool, ConfError> {
    match conf.get(key) {
        None => Ok(false),
        Some(Value::Bool(on)) => Ok(*on),
        Some(Value::String(text)) => match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(bad(key, format!("{text:?} is not true or false"))),
        },
        Some(_) => Err(bad(key, "not true or false")),
    }
}

/// A plugin's type is the name of a file in the plugin directories and must not lead out of them.
fn checked_plugin(plugin: Map<String, Value>, key: &str) -> Result<Map<String, Value>, ConfError> {
    match plugin.get("type") {
        Some(Value::String(name)) if name.is_empty() || name == "." || name == ".." => {
            Err(bad(key, format!("{name:?} is not a plugin's name")))
        }
        Some(Value::String(name)) if name.contains(['/', '\0']) => {
            Err(bad(key, format!("{name:?} is a path, not a plugin's name")))
        }
        Some(Value::String(_)) => Ok(plugin),
        Some(_) => Err(bad(key, "not a string")),
        None => Err(bad(key, "missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_conflist_is_valid() {
        let list = NetworkList::parse(crate::BUNDLED_CONFLIST).unwrap();
        assert_eq!(list.name(), "pinpod");
        assert_eq!(list.version(), Version(1, 0, 0));
        assert_eq!(list.types().collect::<Vec<_>>(), ["bridge", "portmap"]);
        let again = NetworkList::parse(&list.to_value().to_string()).unwrap();
        assert_eq!(again, list);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, message) in [
            ("{", "not valid JSON"),
            ("[]", "not valid JSON"),
            (r#"{"cniVersion":"1.0.0"}"#, "name: missing"),
            (r#"{"name":"a/b"}"#, "name: \"a/b\" is not letters"),
            (r#"{"name":"a"}"#, "cniVersion: missing"),
            (
                r#"{"name":"a","cniVersion":"0.2.0"}"#,
                "cniVersion: \"0.2.0\" is not supported",
            ),
            (r#"{"name":"a","cniVersion":"1.0.0"}"#, "no plugins"),
            (
                r#"{"name":"a","cniVersion":"1.0.0","plugins":[]}"#,
                "no plugins",
            ),
            (
                r#"{"name":"a","cniVersion":"1.0.0","plugins":{}}"#,
                "plugins: not an array",
            ),
            (
                r#"{"name":"a","cniVersion":"1.0.0","plugins":[{"type":"x"},{}]}"#,
                "plugins[1].type: missing",
            ),
            (
                r#"{"name":"a","cniVersion":"1.0.0","type":"../sh"}"#,
                "type: \"../sh\" is a path",
            ),
            (
                r#"{"name":"a","cniVersion":"1.0.0","disableGC":"maybe","plugins":[{"type":"x"}]}"#,
                "disableGC: \"maybe\" is not true or false",
            ),
            (
                r#"{"name":"a","cniVersions":["2.0.0"],"plugins":[{"type":"x"}]}"#,
                "cniVersions: none of",
            ),
        ] {
            let error = NetworkList::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{text}: {error}");
        }
    }

    #[test]
    fn versions_and_switches() {
        for (head, version, check, gc) in [
            (r#""cniVersion":"0.3.0""#, Version(0, 3, 0), false, false),
            (
                r#""cniVersion":"0.4.0","disableCheck":true"#,
                Version::V0_4_0,
                true,
                false,
            ),
            (
                r#""cniVersion":"1.0.0","cniVersions":["0.4.0","1.1.0","9.0.0"],"disableGC":"True""#,
                Version::V1_1_0,
                false,
                true,
            ),
            (
                r#""cniVersion":"7.0.0","cniVersions":["0.4.0"]"#,
                Version::V0_4_0,
                false,
                false,
            ),
        ] {
            let text = format!(r#"{{"name":"a",{head},"plugins":[{{"type":"x"}}]}}"#);
            let list = NetworkList::parse(&text).unwrap();
            assert_eq!(
                (list.version, list.disable_check, list.disable_gc),
                (version, check, gc),
                "{text}"
            );
        }
    }

    #[test]
    fn a_single_plugin_is_a_list_of_one() {
        let list = NetworkList::parse(r#"{"name":"a","cniVersion":"0.4.0","type":"ptp","mtu":9}"#)
            .unwrap();
        assert_eq!(list.types().collect::<Vec<_>>(), ["ptp"]);
        assert_eq!(list.plugins()[0]["mtu"], 9);
    }

    #[test]
    fn plugins_of_the_directory_beside_are_included() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("10-a.conflist");
        let text = |only: &str| {
            format!(r#"{{"name":"a","cniVersion":"1.1.0"{only},"plugins":[{{"type":"one"}}]}}"#)
        };
        std::fs::write(&file, text("")).unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        std::fs::write(dir.path().join("a/20.conf"), r#"{"type":"three"}"#).unwrap();
        std::fs::write(dir.path().join("a/10.conf"), r#"{"type":"two"}"#).unwrap();
        std::fs::write(dir.path().join("a/30.json"), "ignored").unwrap();
        let list = NetworkList::load(&file).unwrap();
        assert_eq!(list.types().collect::<Vec<_>>(), ["one", "two", "three"]);

        std::fs::write(&file, text(r#","loadOnlyInlinedPlugins":true"#)).unwrap();
        let list = NetworkList::load(&file).unwrap();
        assert_eq!(list.types().collect::<Vec<_>>(), ["one"]);

        std::fs::write(&file, text("")).unwrap();
        std::fs::write(dir.path().join("a/20.conf"), "{}").unwrap();
        let error = NetworkList::load(&file).unwrap_err();
        assert!(error.to_string().ends_with("a/20.conf"), "{error}");
    }
}
