//! Security context of a container.

use serde::{Deserialize, Serialize};

use crate::NamespaceOptions;

/// Capability names as CRI sends them: with or without `CAP_`, any case, `ALL` allowed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// Added to the default set.
    pub add: Vec<String>,
    /// Removed from the default set.
    pub drop: Vec<String>,
    /// Added to the default set and to the ambient set.
    pub add_ambient: Vec<String>,
}

/// Where a seccomp or AppArmor profile comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProfileSource {
    /// The runtime's own profile.
    #[default]
    RuntimeDefault,
    /// None.
    Unconfined,
    /// A file (seccomp) or a loaded profile (AppArmor) of the node.
    Localhost(String),
}

/// How the groups of the image's user and those of the request combine (CRI
/// `SupplementalGroupsPolicy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SupplementalGroupsPolicy {
    /// Groups of `/etc/group` in the image and those of the request.
    #[default]
    Merge,
    /// Those of the request alone.
    Strict,
}

/// SELinux label parts; empty ones are not set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SelinuxOptions {
    /// User part.
    pub user: String,
    /// Role part.
    pub role: String,
    /// Type part.
    pub type_: String,
    /// Level part.
    pub level: String,
}

/// CRI's `LinuxContainerSecurityContext`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSecurity {
    /// Changes to the default capabilities; ignored when privileged.
    pub capabilities: Capabilities,
    /// Everything that the daemon itself may do.
    pub privileged: bool,
    /// Namespaces; the container's PID mode is read from here, not from the pod.
    pub namespaces: NamespaceOptions,
    /// SELinux label.
    pub selinux: Option<SelinuxOptions>,
    /// User id to run as.
    pub run_as_user: Option<u32>,
    /// User name to run as, looked up in the image.
    pub run_as_username: Option<String>,
    /// Primary group; needs a user.
    pub run_as_group: Option<u32>,
    /// Groups of the request.
    pub supplemental_groups: Vec<u32>,
    /// How they combine with the image's.
    pub supplemental_groups_policy: SupplementalGroupsPolicy,
    /// Root file system mounted read-only.
    pub readonly_rootfs: bool,
    /// `no_new_privs` of the process.
    pub no_new_privs: bool,
    /// Seccomp profile. `None` when the request does not say: unconfined, as CRI defines.
    pub seccomp: Option<ProfileSource>,
    /// AppArmor profile. `None` when the request does not say.
    pub apparmor: Option<ProfileSource>,
    /// Paths hidden from the container.
    pub masked_paths: Vec<String>,
    /// Paths that the container may only read.
    pub readonly_paths: Vec<String>,
}

/// The user that a container's first process runs as, after the image's files were read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplemental groups.
    pub additional_gids: Vec<u32>,
    /// Home directory; `/` where nothing says.
    pub home: String,
    /// Name; empty for a bare number that the image does not name.
    pub username: String,
}
