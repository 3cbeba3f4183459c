//! What a pod sandbox is asked to be.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    ContainerId, DnsConfig, IdMapping, LinuxResources, PortMapping, ProfileSource, SelinuxOptions,
    SupplementalGroupsPolicy,
};

/// Labels or annotations, kept to the letter.
pub type Labels = BTreeMap<String, String>;

/// Who paths of cgroups are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupDriver {
    /// Scopes and slices of systemd, `a-b.slice`.
    Systemd,
    /// Directories made by pinpod.
    #[default]
    Cgroupfs,
}

/// The key of a pod sandbox: two requests with the same one mean the same sandbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodMetadata {
    /// Name of the pod.
    pub name: String,
    /// UID of the pod.
    pub uid: String,
    /// Kubernetes namespace of the pod.
    pub namespace: String,
    /// How often a sandbox was made for this pod before.
    pub attempt: u32,
}

impl fmt::Display for PodMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{} (uid {}, attempt {})",
            self.namespace, self.name, self.uid, self.attempt
        )
    }
}

/// Whose namespace is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamespaceMode {
    /// The pod's own.
    #[default]
    Pod,
    /// The node's.
    Node,
}

/// Whose PID namespace is used.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PidMode {
    /// One for all containers of the pod; `pinpod-init` is its PID 1. CRI's zero value.
    #[default]
    Pod,
    /// One for each container.
    Container,
    /// The node's.
    Node,
    /// That of another container of the same pod.
    Target(ContainerId),
}

/// A user namespace of the pod's own (KEP-127): one mapping for users, one for groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserNamespace {
    /// User ids.
    pub uid: IdMapping,
    /// Group ids.
    pub gid: IdMapping,
}

impl UserNamespace {
    /// User and group of the node that are root inside: CRI maps id 0 always.
    #[must_use]
    pub fn root(&self) -> (u32, u32) {
        (self.uid.host_id, self.gid.host_id)
    }
}

/// CRI's `NamespaceOption`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NamespaceOptions {
    /// Network namespace; the UTS namespace follows it.
    pub network: NamespaceMode,
    /// PID namespace.
    pub pid: PidMode,
    /// IPC namespace, and `/dev/shm` with it.
    pub ipc: NamespaceMode,
    /// `None` is the node's; of a container, its pod's.
    pub user: Option<UserNamespace>,
    /// The node's user namespace was asked for by its name. A container that does so is of a pod
    /// that has none of its own.
    pub asks_for_nodes_user: bool,
}

/// CRI's `LinuxSandboxSecurityContext`, the parts that a sandbox without a process can use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PodSecurity {
    /// Namespaces of the pod.
    pub namespaces: NamespaceOptions,
    /// SELinux label of the pod.
    pub selinux: Option<SelinuxOptions>,
    /// User of the sandbox process; kept for status, as there is none.
    pub run_as_user: Option<u32>,
    /// Group of the sandbox process; kept for status.
    pub run_as_group: Option<u32>,
    /// Groups of the sandbox process; kept for status.
    pub supplemental_groups: Vec<u32>,
    /// Policy of those groups; kept for status.
    pub supplemental_groups_policy: SupplementalGroupsPolicy,
    /// Root file system of the sandbox read-only; kept for status.
    pub readonly_rootfs: bool,
    /// A pod that may hold privileged containers; without it they are refused.
    pub privileged: bool,
    /// Seccomp profile of the sandbox; kept for status.
    pub seccomp: Option<ProfileSource>,
    /// AppArmor profile of the sandbox; kept for status.
    pub apparmor: Option<ProfileSource>,
}

/// CRI's `PodSandboxConfig`, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSandboxConfig {
    /// The key.
    pub metadata: PodMetadata,
    /// Empty on the node's network.
    pub hostname: String,
    /// Absolute directory of the logs of its containers; empty means no logs.
    pub log_directory: String,
    /// `None` means the node's `resolv.conf`.
    pub dns: Option<DnsConfig>,
    /// Ports of the node.
    pub port_mappings: Vec<PortMapping>,
    /// Labels.
    pub labels: Labels,
    /// Annotations.
    pub annotations: Labels,
    /// Cgroup that the pod lives in, in the form of the driver; empty means the root.
    pub cgroup_parent: String,
    /// Security context.
    pub security: PodSecurity,
    /// Kernel parameters of the pod's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// What the pod costs beside its containers.
    pub overhead: Option<LinuxResources>,
    /// Sum over the containers.
    pub resources: Option<LinuxResources>,
    /// Handler that runs the containers; `None` is the default one.
    pub runtime_handler: Option<String>,
}
