//! Devices of the node that a container gets: those of the request, of the pod's annotation, of the
//! configuration, and for a privileged container all.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use pinpod_config::DeviceEntry;
use pinpod_model::{Classify, ContainerConfig, Device, ErrorClass, Labels};

use crate::input::SpecDefaults;

/// Annotations of a pod that ask for devices: `host[:container[:permissions]]`, separated by
/// commas. The first is CRI-O's older form.
const ANNOTATIONS: [&str; 2] = ["io.kubernetes.cri-o.Devices", "devices.crio.io"];

/// Directories below `/dev` that are file systems of their own in every container.
const NOT_WALKED: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];

/// Nodes below `/dev` that the OCI runtime makes in its own way.
const NOT_COPIED: [&str; 2] = ["console", "ptmx"];

/// Kind of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// Character device.
    Character,
    /// Block device.
    Block,
}

/// A device node as it will be made in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostDevice {
    /// Path in the container.
    pub path: PathBuf,
    /// Kind.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner on the node.
    pub uid: u32,
    /// Group on the node.
    pub gid: u32,
    /// What the cgroup allows, letters of `rwm`.
    pub access: String,
}

/// The devices of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Devices {
    /// Nodes to make.
    pub nodes: Vec<HostDevice>,
    /// The cgroup allows every device, made or not.
    pub allow_all: bool,
}

/// Why a device cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// A path that cannot be read.
    #[error("device {}", path.display())]
    Read {
        /// Path on the node.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Neither a device nor a directory that holds one.
    #[error("{} is no device and holds none", .0.display())]
    NotADevice(PathBuf),
    /// Permissions that are not letters of `rwm`.
    #[error("device {path}: permissions {permissions:?} are not letters of rwm")]
    Permissions {
        /// Path on the node.
        path: String,
        /// What was asked.
        permissions: String,
    },
    /// An annotation that does not parse.
    #[error("annotation {annotation}")]
    Annotation {
        /// Its key.
        annotation: &'static str,
        /// Why.
        #[source]
        source: pinpod_config::ValueError,
    },
    /// A device that the configuration does not let pods ask for.
    #[error("annotation {annotation}: device {} is not among allowed_devices", path.display())]
    NotAllowed {
        /// Key of the annotation.
        annotation: &'static str,
        /// Path on the node.
        path: PathBuf,
    },
}

impl Classify for DeviceError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NotAllowed { .. } => ErrorClass::PermissionDenied,
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                ErrorClass::InvalidArgument
            }
            Self::Read { .. } => ErrorClass::Internal,
            _ => ErrorClass::InvalidArgument,
        }
    }
}

/// Finds the devices of a container. `all_of_node` is true for a privileged container whose handler
/// does not withhold them. What the request names comes last and wins over the same path.
///
/// # Errors
/// A device that is not there, that is none, or that may not be given.
pub fn container_devices(
    config: &ContainerConfig,
    pod_annotations: &Labels,
    defaults: &SpecDefaults,
    all_of_node: bool,
) -> Result<Devices, DeviceError> {
    let mut nodes = Vec::new();
    if all_of_node {
        walk(Path::new("/dev"), Path::new("/dev"), "rwm", &mut nodes)?;
        nodes.retain(|node: &HostDevice| {
            let name = node.path.strip_prefix("/dev").unwrap_or(&node.path);
            !NOT_COPIED.iter().any(|skipped| Path::new(skipped) == name)
        });
    }
    for DeviceEntry(device) in &defaults.additional_devices {
        resolve(device, &mut nodes)?;
    }
    for device in annotated(pod_annotations, &defaults.allowed_devices)? {
        resolve(&device, &mut nodes)?;
    }
    for device in &config.devices {
        resolve(device, &mut nodes)?;
    }
    Ok(Devices {
        nodes: last_of_each_path(nodes),
        allow_all: all_of_node,
    })
}

fn annotated(annotations: &Labels, allowed: &[PathBuf]) -> Result<Vec<Device>, DeviceError> {
    let mut devices = Vec::new();
    for annotation in ANNOTATIONS {
        let Some(text) = annotations.get(annotation) else {
            continue;
        };
        for entry in text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
        {
            let DeviceEntry(device) = entry
                .parse()
                .map_err(|source| DeviceError::Annotation { annotation, source })?;
            let path = PathBuf::from(&device.host_path);
            if !allowed.contains(&path) {
                return Err(DeviceError::NotAllowed { annotation, path });
            }
            devices.push(device);
        }
    }
    Ok(devices)
}

fn resolve(device: &Device, nodes: &mut Vec<HostDevice>) -> Result<(), DeviceError> {
    let letters = |text: &str| text.chars().all(|c| "rwm".contains(c));
    let access = match device.permissions.as_str() {
        "" => "rwm",
        given if letters(given) => given,
        _ => {
            return Err(DeviceError::Permissions {
                path: device.host_path.clone(),
                permissions: device.permissions.clone(),
            });
        }
    };
    let host = Path::new(&device.host_path);
    let container = if device.container_path.is_empty() {
        host
    } else {
        Path::new(&device.container_path)
    };
    let meta = std::fs::metadata(host).map_err(|source| DeviceError::Read {
        path: host.to_owned(),
        source,
    })?;
    if meta.is_dir() {
        let before = nodes.len();
        walk(host, container, access, nodes)?;
        if nodes.len() == before {
            return Err(DeviceError::NotADevice(host.to_owned()));
        }
    } else {
        let node = node(&meta, container, access);
        nodes.push(node.ok_or_else(|| DeviceError::NotADevice(host.to_owned()))?);
    }
    Ok(())
}

fn node(meta: &std::fs::Metadata, path: &Path, access: &str) -> Option<HostDevice> {
    let kind = if meta.file_type().is_char_device() {
        DeviceKind::Character
    } else if meta.file_type().is_block_device() {
        DeviceKind::Block
    } else {
        return None;
    };
    Some(HostDevice {
        path: path.to_owned(),
        kind,
        major: rustix::fs::major(meta.rdev()),
        minor: rustix::fs::minor(meta.rdev()),
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        access: access.to_owned(),
    })
}

/// Collects the device nodes below a directory; symlinks are not followed, and what vanishes on the
/// way (devices come and go) is passed over.
fn walk(
    host: &Path,
    container: &Path,
    access: &str,
    nodes: &mut Vec<HostDevice>,
) -> Result<(), DeviceError> {
    let failed = |source| DeviceError::Read {
        path: host.to_owned(),
        source,
    };
    let mut entries: Vec<_> = std::fs::read_dir(host).map_err(failed)?.flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let Ok(meta) = entry.metadata() else { continue };
        let name = entry.file_name();
        let inner = container.join(&name);
        if meta.is_dir() {
            if !NOT_WALKED.iter().any(|skipped| name == *skipped) {
                walk(&entry.path(), &inner, access, nodes)?;
            }
        } else {
            nodes.extend(node(&meta, &inner, access));
        }
    }
    Ok(())
}

fn last_of_each_path(nodes: Vec<HostDevice>) -> Vec<HostDevice> {
    let mut kept: Vec<HostDevice> = Vec::new();
    for node in nodes {
        match kept.iter_mut().find(|earlier| earlier.path == node.path) {
            Some(earlier) => *earlier = node,
            None => kept.push(node),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::testing::container_config;

    fn device(host: &str, container: &str, permissions: &str) -> Device {
        Device {
            host_path: host.into(),
            container_path: container.into(),
            permissions: permissions.into(),
        }
    }

    #[test]
    fn devices_of_the_request() {
        let mut config = container_config();
        config.devices = vec![device("/dev/null", "/dev/nothing", "rw")];
        let found = container_devices(&config, &Labels::new(), &SpecDefaults::default(), false);
        let found = found.unwrap();
        assert!(!found.allow_all);
        let node = &found.nodes[0];
        assert_eq!(
            (node.major, node.minor, node.kind),
            (1, 3, DeviceKind::Character)
        );
        assert_eq!(
            (node.path.as_path(), node.access.as_str()),
            (Path::new("/dev/nothing"), "rw")
        );
        for (bad, permissions) in [
            ("/dev/not-there", "r"),
            ("/etc/passwd", "r"),
            ("/dev/null", "x"),
            ("/etc", "r"),
        ] {
            config.devices = vec![device(bad, "", permissions)];
            let found = container_devices(&config, &Labels::new(), &SpecDefaults::default(), false);
            assert!(found.is_err(), "{bad}");
        }
    }

    #[test]
    fn the_whole_node() {
        let config = container_config();
        let found = container_devices(&config, &Labels::new(), &SpecDefaults::default(), true);
        let found = found.unwrap();
        assert!(found.allow_all);
        assert!(
            found
                .nodes
                .iter()
                .any(|node| node.path == Path::new("/dev/zero"))
        );
        assert!(
            !found
                .nodes
                .iter()
                .any(|node| node.path.starts_with("/dev/pts"))
        );
        assert!(
            !found
                .nodes
                .iter()
                .any(|node| node.path == Path::new("/dev/ptmx"))
        );
    }

    #[test]
    fn annotated_devices_must_be_allowed() {
        let config = container_config();
        let defaults = SpecDefaults {
            allowed_devices: vec!["/dev/zero".into()],
            ..SpecDefaults::default()
        };
        let ask = |text: &str| {
            let annotations = Labels::from([("devices.crio.io".to_owned(), text.to_owned())]);
            container_devices(&config, &annotations, &defaults, false)
        };
        let found = ask("/dev/zero:/dev/qifoo:rwm, ").unwrap();
        assert_eq!(found.nodes[0].path, Path::new("/dev/qifoo"));
        assert!(matches!(
            ask("/dev/full"),
            Err(DeviceError::NotAllowed { .. })
        ));
        assert!(matches!(ask("zero"), Err(DeviceError::Annotation { .. })));
    }
}
