//! Which hierarchies this node has mounted, and which controllers are where.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pinpod_kernel::mountinfo::{self, MountInfo};

use crate::CgroupPath;

/// How the node lays out its cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HierarchyKind {
    /// One hierarchy for each controller or few.
    V1,
    /// Version 1, and one of version 2 beside it.
    Hybrid,
    /// One hierarchy of version 2.
    V2,
}

/// Version of one hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Version 1.
    V1,
    /// Version 2.
    V2,
}

/// Why no cgroups can be used.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The mounts cannot be read.
    #[error("cannot read the mounts of this process")]
    Mounts(#[source] io::Error),
    /// The controllers of version 2 cannot be read.
    #[error("cannot read {}", file.display())]
    Controllers {
        /// The file.
        file: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// There is no cgroup mount.
    #[error("no cgroup file system is mounted")]
    None,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mounted {
    pub(crate) mount_point: PathBuf,
    pub(crate) version: Version,
    /// Empty for a named one (`name=systemd`).
    pub(crate) controllers: Vec<String>,
}

/// The hierarchies of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    kind: HierarchyKind,
    pub(crate) mounted: Vec<Mounted>,
}

/// The controllers of version 1 (`cgroups(7)`); other mount options are not controllers.
const V1_CONTROLLERS: [&str; 14] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "debug",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "misc",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
];

impl Hierarchy {
    /// Finds what is mounted.
    ///
    /// # Errors
    /// Nothing is, or it cannot be read.
    pub fn detect() -> Result<Self, DetectError> {
        let mounts = mountinfo::read().map_err(DetectError::Mounts)?;
        let mut hierarchy = Self::from_mounts(&mounts).ok_or(DetectError::None)?;
        for mounted in &mut hierarchy.mounted {
            if mounted.version == Version::V2 {
                let file = mounted.mount_point.join("cgroup.controllers");
                let text = fs::read_to_string(&file)
                    .map_err(|source| DetectError::Controllers { file, source })?;
                mounted.controllers = text.split_whitespace().map(str::to_owned).collect();
            }
        }
        Ok(hierarchy)
    }

    /// Without the controllers of version 2, which are not in the mounts.
    fn from_mounts(mounts: &[MountInfo]) -> Option<Self> {
        let mut mounted: Vec<Mounted> = Vec::new();
        for mount in mounts {
            let version = match mount.fs_type.as_str() {
                "cgroup" => Version::V1,
                "cgroup2" => Version::V2,
                _ => continue,
            };
            let is_controller = |option: &&String| V1_CONTROLLERS.contains(&option.as_str());
            let options = mount.super_options.iter();
            let controllers: Vec<String> = options.filter(is_controller).cloned().collect();
            let named = mount.super_options.iter().any(|o| o.starts_with("name="));
            let known = version == Version::V2 || named || !controllers.is_empty();
            // A second mount of the same hierarchy is somebody's private one.
            let seen = mounted
                .iter()
                .any(|other| other.version == version && other.controllers == controllers);
            if known && !seen {
                mounted.push(Mounted {
                    mount_point: mount.mount_point.clone(),
                    version,
                    controllers,
                });
            }
        }
        let has = |version| mounted.iter().any(|mount| mount.version == version);
        let kind = match (has(Version::V1), has(Version::V2)) {
            (true, true) => HierarchyKind::Hybrid,
            (true, false) => HierarchyKind::V1,
            (false, true) => HierarchyKind::V2,
            (false, false) => return None,
        };
        Some(Self { kind, mounted })
    }

    /// How the node lays out its cgroups.
    #[must_use]
    pub fn kind(&self) -> HierarchyKind {
        self.kind
    }

    /// All controllers, sorted.
    #[must_use]
    pub fn controllers(&self) -> Vec<&str> {
        let all = self.mounted.iter().flat_map(|mount| &mount.controllers);
        let mut all: Vec<&str> = all.map(String::as_str).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Where a controller is mounted, and in which version.
    #[must_use]
    pub fn controller(&self, name: &str) -> Option<(Version, &Path)> {
        self.mounted
            .iter()
            .find(|mount| mount.controllers.iter().any(|have| have == name))
            .map(|mount| (mount.version, mount.mount_point.as_path()))
    }

    /// Directory of a cgroup in the hierarchy that has the controller.
    pub(crate) fn directory(&self, name: &str, path: &CgroupPath) -> Option<(Version, PathBuf)> {
        let (version, mount_point) = self.controller(name)?;
        Some((version, path.below(mount_point)))
    }

    /// Directory of a cgroup in the hierarchy of version 2.
    pub(crate) fn unified(&self, path: &CgroupPath) -> Option<PathBuf> {
        let mut mounted = self.mounted.iter();
        let mount = mounted.find(|mount| mount.version == Version::V2)?;
        Some(path.below(&mount.mount_point))
    }

    #[cfg(test)]
    pub(crate) fn for_test(kind: HierarchyKind, mounted: Vec<Mounted>) -> Self {
        Self { kind, mounted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(lines: &[&str]) -> Option<Hierarchy> {
        let mounts: Vec<MountInfo> = lines
            .iter()
            .map(|line| mountinfo::parse_line(line.as_bytes()).unwrap())
            .collect();
        Hierarchy::from_mounts(&mounts)
    }

    #[test]
    fn layouts() {
        let root = "27 1 254:0 / / rw - ext4 /dev/vda rw";
        let cpu = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct";
        let again = "42 31 0:29 / /mnt/cpu rw - cgroup cgroup rw,cpu,cpuacct";
        let named = "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd";
        let beside = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        let two = "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate";

        assert_eq!(detect(&[root]), None);
        let v1 = detect(&[root, cpu, again, named]).unwrap();
        assert_eq!((v1.kind(), v1.mounted.len()), (HierarchyKind::V1, 2));
        assert_eq!(v1.controllers(), ["cpu", "cpuacct"]);
        let at = Path::new("/sys/fs/cgroup/cpu,cpuacct");
        assert_eq!(v1.controller("cpuacct"), Some((Version::V1, at)));
        assert_eq!(v1.controller("memory"), None);
        assert_eq!(v1.unified(&CgroupPath::root()), None);
        let hybrid = detect(&[cpu, named, beside]).unwrap();
        assert_eq!(hybrid.kind(), HierarchyKind::Hybrid);
        assert_eq!(detect(&[root, two]).unwrap().kind(), HierarchyKind::V2);
    }

    #[test]
    fn this_machine() {
        let hierarchy = Hierarchy::detect().unwrap();
        assert!(hierarchy.controller("memory").is_some());
    }
}
