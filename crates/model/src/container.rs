//! What a container is asked to be.

use serde::{Deserialize, Serialize};

use crate::{ContainerSecurity, Labels, LinuxResources, Signal};

/// The key of a container within its pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerMetadata {
    /// Name of the container.
    pub name: String,
    /// How often it was made before.
    pub attempt: u32,
}

/// A range of ids of the node seen as another range inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    /// First id on the node.
    pub host_id: u32,
    /// First id in the container.
    pub container_id: u32,
    /// How many.
    pub length: u32,
}

impl IdMapping {
    /// The node's id for one of the container; `None` for one that is not mapped.
    #[must_use]
    pub fn to_host(&self, id: u32) -> Option<u32> {
        let offset = id.checked_sub(self.container_id)?;
        if offset < self.length {
            self.host_id.checked_add(offset)
        } else {
            None
        }
    }
}

/// How mounts made later on one side show on the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountPropagation {
    /// `rprivate`.
    #[default]
    Private,
    /// `rslave`.
    HostToContainer,
    /// `rshared`.
    Bidirectional,
}

/// An image given as the source of a mount or of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageSource {
    /// Image reference or identifier to use.
    pub image: String,
    /// What the user wrote; shown in status.
    pub user_specified: String,
    /// Runtime handler that the image was pulled for.
    pub runtime_handler: String,
    /// Annotations.
    pub annotations: Labels,
    /// Digest reference of the image in use, for status; empty in a request.
    pub image_ref: String,
}

/// CRI's `Mount`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the container.
    pub container_path: String,
    /// Absolute path on the node; empty when `image` is set.
    pub host_path: String,
    /// Read-only.
    pub readonly: bool,
    /// Read-only with everything mounted below it; needs `readonly` and private propagation.
    pub recursive_read_only: bool,
    /// Relabel for SELinux.
    pub selinux_relabel: bool,
    /// Propagation.
    pub propagation: MountPropagation,
    /// Id mapping of users on this mount.
    pub uid_mappings: Vec<IdMapping>,
    /// Id mapping of groups on this mount.
    pub gid_mappings: Vec<IdMapping>,
    /// Mount an image instead of a path.
    pub image: Option<ImageSource>,
    /// Directory of that image to mount; empty means its root.
    pub image_sub_path: String,
}

/// CRI's `Device`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path in the container.
    pub container_path: String,
    /// Path on the node.
    pub host_path: String,
    /// Letters of `rwm`.
    pub permissions: String,
}

/// One environment variable. The value need not be UTF-8 in CRI; the OCI spec is JSON, so the
/// border refuses what JSON cannot carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// CRI's `ContainerConfig`, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// The key.
    pub metadata: ContainerMetadata,
    /// Image to run.
    pub image: ImageSource,
    /// Replaces the image's entrypoint when not empty.
    pub command: Vec<String>,
    /// Replaces the image's cmd when not empty, or when `command` is given.
    pub args: Vec<String>,
    /// Working directory; empty means the image's.
    pub working_dir: String,
    /// Environment, over the image's.
    pub env: Vec<EnvVar>,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Devices.
    pub devices: Vec<Device>,
    /// Fully qualified CDI device names.
    pub cdi_devices: Vec<String>,
    /// Labels.
    pub labels: Labels,
    /// Annotations.
    pub annotations: Labels,
    /// Log file below the pod's log directory; empty means no log.
    pub log_path: String,
    /// Keep stdin open for an attach.
    pub stdin: bool,
    /// Close stdin when the first attach ends.
    pub stdin_once: bool,
    /// Give the process a terminal.
    pub tty: bool,
    /// Limits.
    pub resources: LinuxResources,
    /// Security context.
    pub security: ContainerSecurity,
    /// Signal that asks the container to stop; `None` means the image's, else SIGTERM.
    pub stop_signal: Option<Signal>,
}
