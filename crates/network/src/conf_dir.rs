//! The directory of conflists: which of its files is the network of this node.

use std::path::{Path, PathBuf};

use crate::conf::{ConfError, NetworkList};

/// Why the directory gives no network.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It does not exist.
    #[error("CNI configuration directory {0} does not exist")]
    NoDirectory(PathBuf),
    /// It cannot be read.
    #[error("CNI configuration directory {path} cannot be read: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It holds no configuration at all.
    #[error("no CNI configuration file (.conflist, .conf, .json) in {0}")]
    Empty(PathBuf),
    /// Each of its files is wrong.
    #[error("no valid CNI configuration file in {directory}: {}", list(.bad))]
    AllBad {
        /// The directory.
        directory: PathBuf,
        /// Each file, and why it is not valid.
        bad: Vec<(PathBuf, ConfError)>,
    },
    /// None of its valid files is the network asked for.
    #[error("CNI network {name:?} is not in {directory}{}", and_bad(.bad))]
    NotNamed {
        /// The network asked for (`cni_default_network`).
        name: String,
        /// The directory.
        directory: PathBuf,
        /// Files that are not valid, and why.
        bad: Vec<(PathBuf, ConfError)>,
    },
}

fn list(bad: &[(PathBuf, ConfError)]) -> String {
    let one =
        |(path, error): &(PathBuf, ConfError)| format!("{}: {}", path.display(), chain(error));
    bad.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn and_bad(bad: &[(PathBuf, ConfError)]) -> String {
    if bad.is_empty() {
        String::new()
    } else {
        format!("; not valid: {}", list(bad))
    }
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The network of a directory, and the files before it that were passed over.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) list: NetworkList,
    pub(crate) path: PathBuf,
    pub(crate) bad: Vec<(PathBuf, ConfError)>,
}

/// Takes the first valid file in lexical order, or the one with the given network name.
pub(crate) fn load(directory: &Path, name: Option<&str>) -> Result<Loaded, LoadError> {
    let paths = files(directory)?;
    if paths.is_empty() {
        return Err(LoadError::Empty(directory.to_owned()));
    }
    let mut bad = Vec::new();
    for path in paths {
        match NetworkList::load(&path) {
            Ok(list) if name.is_none_or(|name| name == list.name()) => {
                return Ok(Loaded { list, path, bad });
            }
            Ok(_) => {}
            Err(error) => bad.push((path, error)),
        }
    }
    let directory = directory.to_owned();
    Err(match name {
        Some(name) => LoadError::NotNamed {
            name: name.to_owned(),
            directory,
            bad,
        },
        None => LoadError::AllBad { directory, bad },
    })
}

/// Its configuration files in lexical order.
pub(crate) fn files(directory: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let error = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => LoadError::NoDirectory(directory.to_owned()),
        _ => LoadError::Directory {
            path: directory.to_owned(),
            source,
        },
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(error)? {
        let path = entry.map_err(error)?.path();
        let known = path
            .extension()
            .is_some_and(|extension| ["conflist", "conf", "json"].iter().any(|e| extension == *e));
        if known && !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(name: &str) -> String {
        format!(r#"{{"name":"{name}","cniVersion":"1.0.0","plugins":[{{"type":"x"}}]}}"#)
    }

    #[test]
    fn first_valid_file_in_lexical_order() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("net.d");
        assert!(matches!(
            load(&missing, None),
            Err(LoadError::NoDirectory(path)) if path == missing
        ));
        assert!(matches!(load(dir.path(), None), Err(LoadError::Empty(_))));

        std::fs::write(dir.path().join("00-notes.txt"), conf("no")).unwrap();
        assert!(matches!(load(dir.path(), None), Err(LoadError::Empty(_))));

        std::fs::write(dir.path().join("10-bad.conflist"), "{").unwrap();
        let error = load(dir.path(), None).unwrap_err().to_string();
        assert!(
            error.contains("10-bad.conflist: not valid JSON: EOF"),
            "{error}"
        );

        std::fs::write(dir.path().join("30-b.json"), conf("b")).unwrap();
        std::fs::write(dir.path().join("20-c.conf"), conf("c")).unwrap();
        let loaded = load(dir.path(), None).unwrap();
        assert_eq!(loaded.list.name(), "c");
        assert_eq!(loaded.bad.len(), 1);
        assert_eq!(load(dir.path(), Some("b")).unwrap().list.name(), "b");
        let error = load(dir.path(), Some("z")).unwrap_err().to_string();
        assert!(
            error.contains("\"z\" is not in") && error.contains("10-bad"),
            "{error}"
        );
    }
}
