//! How cgroups are written by the two drivers: the kubelet's `cgroup_parent`, the `cgroupsPath` of
//! the OCI runtime specification, and the cgroup that both lead to.
//!
//! | driver | `cgroup_parent` | `cgroupsPath` | cgroup of the container |
//! |---|---|---|---|
//! | cgroupfs | `/kubepods/pod1` | `/kubepods/pod1/pinpod-<id>` | the same |
//! | systemd | `kubepods-pod1.slice` | `kubepods-pod1.slice:pinpod:<id>` | `/kubepods.slice/kubepods-pod1.slice/pinpod-<id>.scope` |

use pinpod_model::{CgroupDriver, Classify, ErrorClass};

use crate::CgroupPath;

/// Prefix of the cgroup of each container.
const PREFIX: &str = "pinpod";
/// Slice of a pod that asks for no cgroup, with the systemd driver.
const DEFAULT_SLICE: &str = "system.slice";

/// Why the cgroup that a pod asks for cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CgroupParentError {
    /// The systemd driver wants a slice.
    #[error("cgroup_parent {parent:?} is not the name of a systemd slice")]
    NotASlice {
        /// What was asked for.
        parent: String,
    },
    /// The cgroupfs driver got a slice: kubelet and pinpod use different drivers.
    #[error("cgroup_parent {parent:?} is a systemd slice, but the cgroup driver is cgroupfs")]
    UnexpectedSlice {
        /// What was asked for.
        parent: String,
    },
    /// Not the path of a cgroup.
    #[error("cgroup_parent {parent:?} is not the path of a cgroup")]
    NotAPath {
        /// What was asked for.
        parent: String,
    },
    /// A container id that cannot be part of a path.
    #[error("{id:?} cannot be part of the name of a cgroup")]
    BadId {
        /// The id.
        id: String,
    },
}

impl Classify for CgroupParentError {
    fn class(&self) -> ErrorClass {
        ErrorClass::InvalidArgument
    }
}

/// The cgroup that a `cgroup_parent` means. Empty is the root with cgroupfs, `system.slice` with
/// systemd. Of a slice given with its parents only the last name counts, as it tells them.
///
/// # Errors
/// It is not in the form of the driver.
pub fn pod_cgroup(driver: CgroupDriver, parent: &str) -> Result<CgroupPath, CgroupParentError> {
    match driver {
        CgroupDriver::Systemd => expand_slice(slice(parent), parent),
        CgroupDriver::Cgroupfs => plain(parent),
    }
}

/// `linux.cgroupsPath` of a container's OCI specification.
///
/// # Errors
/// `parent` is not in the form of the driver.
pub fn container_cgroups_path(
    driver: CgroupDriver,
    parent: &str,
    id: &str,
) -> Result<String, CgroupParentError> {
    let cgroup = container_cgroup(driver, parent, id)?;
    Ok(match driver {
        CgroupDriver::Systemd => format!("{}:{PREFIX}:{id}", slice(parent)),
        CgroupDriver::Cgroupfs => cgroup.into(),
    })
}

/// The cgroup that a container will be in.
///
/// # Errors
/// `parent` is not in the form of the driver.
pub fn container_cgroup(
    driver: CgroupDriver,
    parent: &str,
    id: &str,
) -> Result<CgroupPath, CgroupParentError> {
    let suffix = match driver {
        CgroupDriver::Systemd => ".scope",
        CgroupDriver::Cgroupfs => "",
    };
    pod_cgroup(driver, parent)?
        .child(&format!("{PREFIX}-{id}{suffix}"))
        .map_err(|_error| CgroupParentError::BadId { id: id.to_owned() })
}

/// The cgroup that a `cgroupsPath` means.
///
/// # Errors
/// It is not in the form of the driver.
pub fn cgroup_of(driver: CgroupDriver, path: &str) -> Result<CgroupPath, CgroupParentError> {
    match driver {
        CgroupDriver::Cgroupfs => plain(path),
        CgroupDriver::Systemd => {
            let not_one = || CgroupParentError::NotAPath {
                parent: path.to_owned(),
            };
            let (parent, unit) = path.split_once(':').ok_or_else(not_one)?;
            let (prefix, name) = unit.split_once(':').ok_or_else(not_one)?;
            let scope = match prefix {
                "" => format!("{name}.scope"),
                prefix => format!("{prefix}-{name}.scope"),
            };
            expand_slice(slice(parent), parent)?
                .child(&scope)
                .map_err(|_error| not_one())
        }
    }
}

/// The slice of a pod, as systemd names it; None with cgroupfs.
#[must_use]
pub fn pod_slice(driver: CgroupDriver, parent: &str) -> Option<&str> {
    match driver {
        CgroupDriver::Systemd => Some(slice(parent)),
        CgroupDriver::Cgroupfs => None,
    }
}

/// Last part of the cgroup of a pod's PID 1; with systemd, the name of its scope.
#[must_use]
pub fn init_name(driver: CgroupDriver, pod: &str) -> String {
    let suffix = match driver {
        CgroupDriver::Systemd => ".scope",
        CgroupDriver::Cgroupfs => "",
    };
    format!("{PREFIX}-init-{pod}{suffix}")
}

/// The slice that a `cgroup_parent` names.
fn slice(parent: &str) -> &str {
    match parent.trim_end_matches('/').rsplit('/').next() {
        None | Some("") => DEFAULT_SLICE,
        Some(last) => last,
    }
}

/// `a-b-c.slice` lies in `a-b.slice`, which lies in `a.slice` (`systemd.slice(5)`); `-.slice` is
/// the root.
fn expand_slice(slice: &str, parent: &str) -> Result<CgroupPath, CgroupParentError> {
    let error = || CgroupParentError::NotASlice {
        parent: parent.to_owned(),
    };
    let name = slice.strip_suffix(".slice").ok_or_else(error)?;
    if name == "-" {
        return Ok(CgroupPath::root());
    }
    let mut path = CgroupPath::root();
    let mut prefix = String::new();
    for part in name.split('-') {
        if part.is_empty() {
            return Err(error());
        }
        if !prefix.is_empty() {
            prefix.push('-');
        }
        prefix.push_str(part);
        path = path
            .child(&format!("{prefix}.slice"))
            .map_err(|_bad| error())?;
    }
    Ok(path)
}

fn plain(parent: &str) -> Result<CgroupPath, CgroupParentError> {
    let parent = parent.to_owned();
    if parent.ends_with(".slice") {
        return Err(CgroupParentError::UnexpectedSlice { parent });
    }
    let path = format!("/{}", parent.trim_matches('/'));
    path.parse()
        .map_err(|_error| CgroupParentError::NotAPath { parent })
}

#[cfg(test)]
mod tests {
    use super::*;
    use CgroupDriver::{Cgroupfs, Systemd};

    #[test]
    fn parents() {
        for (driver, parent, cgroup) in [
            (Cgroupfs, "", Some("/")),
            (Cgroupfs, "/", Some("/")),
            (
                Cgroupfs,
                "/kubepods/burstable/pod1",
                Some("/kubepods/burstable/pod1"),
            ),
            (Cgroupfs, "kubepods/pod1/", Some("/kubepods/pod1")),
            (Cgroupfs, "/a/../b", None),
            (Cgroupfs, "/kubepods.slice", None),
            (Systemd, "", Some("/system.slice")),
            (Systemd, "-.slice", Some("/")),
            (Systemd, "a.slice", Some("/a.slice")),
            (
                Systemd,
                "kubepods-burstable-pod1_2.slice",
                Some("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice"),
            ),
            (
                Systemd,
                "/kubepods.slice/kubepods-pod1.slice",
                Some("/kubepods.slice/kubepods-pod1.slice"),
            ),
            (Systemd, "/kubepods/pod1", None),
            (Systemd, "a--b.slice", None),
            (Systemd, "-a.slice", None),
            (Systemd, ".slice", None),
        ] {
            let found = pod_cgroup(driver, parent).ok();
            let found = found.as_ref().map(CgroupPath::as_str);
            assert_eq!(found, cgroup, "{driver:?} {parent:?}");
        }
        let error = pod_cgroup(Systemd, "/pods/x").unwrap_err().to_string();
        assert!(error.contains("cgroup_parent"), "{error}");
    }

    #[test]
    fn containers() {
        for (driver, parent, oci, cgroup) in [
            (
                Cgroupfs,
                "/kubepods/pod1",
                "/kubepods/pod1/pinpod-7",
                "/kubepods/pod1/pinpod-7",
            ),
            (Cgroupfs, "", "/pinpod-7", "/pinpod-7"),
            (
                Systemd,
                "kubepods-pod1.slice",
                "kubepods-pod1.slice:pinpod:7",
                "/kubepods.slice/kubepods-pod1.slice/pinpod-7.scope",
            ),
            (
                Systemd,
                "",
                "system.slice:pinpod:7",
                "/system.slice/pinpod-7.scope",
            ),
        ] {
            assert_eq!(container_cgroups_path(driver, parent, "7").unwrap(), oci);
            let found = container_cgroup(driver, parent, "7").unwrap();
            assert_eq!(found.as_str(), cgroup);
            assert_eq!(cgroup_of(driver, oci).unwrap(), found);
        }
        assert!(cgroup_of(Systemd, "/a/b").is_err());
        assert!(container_cgroup(Cgroupfs, "/a", "7/8").is_err());
        assert_eq!(init_name(Cgroupfs, "7"), "pinpod-init-7");
        assert_eq!(init_name(Systemd, "7"), "pinpod-init-7.scope");
        assert_eq!(pod_slice(Systemd, "/a.slice/a-b.slice"), Some("a-b.slice"));
        assert_eq!(pod_slice(Systemd, ""), Some("system.slice"));
        assert_eq!(pod_slice(Cgroupfs, "/a"), None);
    }
}
