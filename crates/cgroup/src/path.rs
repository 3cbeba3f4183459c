//! The name of a cgroup.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A string that names no cgroup.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the path of a cgroup")]
pub struct CgroupPathError(String);

/// Path of a cgroup below the mount point of each hierarchy: absolute, without `.`, `..` and
/// doubled slashes. `/` is the root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CgroupPath(String);

impl CgroupPath {
    /// The root of a hierarchy.
    #[must_use]
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// The path as text; begins with `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A cgroup directly below.
    ///
    /// # Errors
    /// `name` is empty, `.`, `..` or has a slash.
    pub fn child(&self, name: &str) -> Result<Self, CgroupPathError> {
        if !is_name(name) {
            return Err(CgroupPathError(name.to_owned()));
        }
        Ok(Self(format!("{}/{name}", self.0.trim_end_matches('/'))))
    }

    /// Whether this is the root, which can be neither made nor removed.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0 == "/"
    }

    /// Directory of this cgroup in the hierarchy mounted at `mount_point`.
    #[must_use]
    pub fn below(&self, mount_point: &Path) -> PathBuf {
        mount_point.join(self.0.trim_start_matches('/'))
    }

    /// Names from the root down.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|name| !name.is_empty())
    }
}

fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\n', '\0'])
}

impl TryFrom<String> for CgroupPath {
    type Error = CgroupPathError;

    fn try_from(text: String) -> Result<Self, CgroupPathError> {
        let names = text.strip_prefix('/').unwrap_or("//");
        if names.is_empty() || names.split('/').all(is_name) {
            Ok(Self(text))
        } else {
            Err(CgroupPathError(text))
        }
    }
}

impl FromStr for CgroupPath {
    type Err = CgroupPathError;

    fn from_str(text: &str) -> Result<Self, CgroupPathError> {
        Self::try_from(text.to_owned())
    }
}

impl From<CgroupPath> for String {
    fn from(path: CgroupPath) -> Self {
        path.0
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_absolute_paths() {
        for good in ["/", "/a", "/kubepods/burstable/pod1", "/a.slice/b-c.slice"] {
            assert_eq!(good.parse::<CgroupPath>().unwrap().as_str(), good);
        }
        for bad in [
            "", "a", "/a/", "//", "/a//b", "/..", "/a/../b", "/.", "/a\nb",
        ] {
            assert!(bad.parse::<CgroupPath>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn children() {
        let a = CgroupPath::root().child("a").unwrap();
        assert_eq!(a.as_str(), "/a");
        assert_eq!(a.child("b").unwrap().as_str(), "/a/b");
        assert!(a.child("..").is_err());
        assert!(a.child("b/c").is_err());
        assert_eq!(a.below(Path::new("/sys")), Path::new("/sys/a"));
        assert_eq!(
            CgroupPath::root().below(Path::new("/sys")),
            Path::new("/sys")
        );
    }
}
