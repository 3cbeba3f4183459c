//! What a runtime spec is made from: the request, the image, the node and the daemon's defaults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Capabilities, PosixRlimit};
use pinpod_config::DeviceEntry;
use pinpod_model::{ContainerConfig, ContainerId, Labels, PodId, PodSandboxConfig};

use crate::host::Devices;
use crate::seccomp::Profile;
use crate::user::ResolvedUser;

/// Everything that one spec depends on.
#[derive(Debug, Clone, Copy)]
pub struct SpecInput<'a> {
    /// The pod.
    pub pod: PodInput<'a>,
    /// The container.
    pub container: ContainerInput<'a>,
    /// The node.
    pub node: &'a NodeFacts,
    /// The daemon's defaults.
    pub defaults: &'a SpecDefaults,
}

/// The pod sandbox that the container joins.
#[derive(Debug, Clone, Copy)]
pub struct PodInput<'a> {
    /// Its identifier.
    pub id: &'a PodId,
    /// What it was asked to be.
    pub config: &'a PodSandboxConfig,
    /// Its namespaces.
    pub namespaces: &'a NamespacePaths,
    /// Its files.
    pub files: &'a PodFiles,
}

/// The container.
#[derive(Debug, Clone, Copy)]
pub struct ContainerInput<'a> {
    /// Its identifier.
    pub id: &'a ContainerId,
    /// What it is asked to be. A mount with an `image` has in `host_path` the directory where that
    /// image is mounted.
    pub config: &'a ContainerConfig,
    /// What its image says.
    pub image: &'a ImageDefaults,
    /// Who it runs as: [`crate::user::resolve`].
    pub user: &'a ResolvedUser,
    /// Its mounted root file system.
    pub rootfs: &'a Path,
    /// Its cgroup, in the form of the cgroup driver.
    pub cgroups_path: &'a str,
    /// Its devices: [`crate::host::container_devices`].
    pub devices: &'a Devices,
    /// In a user namespace, what mounts of the node have that it cannot take away:
    /// [`crate::host::kept_options`].
    pub kept: &'a KeptOptions,
    /// The profile of `ProfileSource::Localhost`, read and parsed by the caller.
    pub localhost_seccomp: Option<&'a Profile>,
}

/// Mount options by source: those that a bind mount of it must repeat when it is made read-only.
pub type KeptOptions = BTreeMap<PathBuf, Vec<&'static str>>;

/// The config of an image, as far as it concerns a process (OCI image spec, `config`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageDefaults {
    /// `Env`, each `NAME=value`.
    pub env: Vec<String>,
    /// `Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `Cmd`.
    pub cmd: Vec<String>,
    /// `WorkingDir`; empty means `/`.
    pub working_dir: String,
    /// `User`, `user[:group]`; empty means root.
    pub user: String,
    /// `StopSignal`; empty means SIGTERM.
    pub stop_signal: String,
    /// `Labels`.
    pub labels: Labels,
    /// `Volumes`: absolute paths in the container.
    pub volumes: Vec<String>,
}

/// Which cgroup hierarchy controls the containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupMode {
    /// One unified hierarchy.
    #[default]
    V2,
    /// Controllers on v1 hierarchies, with v2 mounted beside them.
    Hybrid,
    /// v1 hierarchies alone.
    V1,
}

/// What the node can do; read once at start by [`crate::host::node_facts`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeFacts {
    /// Name of the node, for `HOSTNAME` on its network.
    pub hostname: String,
    /// Capabilities that the daemon has and may pass on.
    pub capabilities: Capabilities,
    /// Lowest `oom_score_adj` that the daemon may give a child.
    pub oom_score_adj_floor: i32,
    /// Cgroup layout.
    pub cgroup: CgroupMode,
    /// The kernel filters system calls.
    pub seccomp: bool,
    /// AppArmor is on.
    pub apparmor: bool,
    /// SELinux is on.
    pub selinux: bool,
    /// Huge page sizes whose use can be limited, as `2MB`.
    pub hugepage_sizes: Vec<String>,
    /// Swap of a cgroup can be limited.
    pub swap: bool,
    /// Release of the kernel, major and minor.
    pub kernel: (u32, u32),
}

/// Where the pod's namespaces are pinned; `None` is the node's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamespacePaths {
    /// Network.
    pub net: Option<PathBuf>,
    /// IPC.
    pub ipc: Option<PathBuf>,
    /// UTS.
    pub uts: Option<PathBuf>,
    /// PID namespace to join in the modes `Pod` and `Target`.
    pub pid: Option<PathBuf>,
    /// User namespace.
    pub user: Option<PathBuf>,
}

/// Files of the pod that every container sees.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodFiles {
    /// `/etc/hostname`.
    pub hostname: Option<PathBuf>,
    /// `/etc/hosts`.
    pub hosts: Option<PathBuf>,
    /// `/etc/resolv.conf`.
    pub resolv_conf: Option<PathBuf>,
    /// `/dev/shm`; `None` means the node's on the node's IPC namespace, else a tmpfs of the
    /// container's own.
    pub shm: Option<PathBuf>,
}

/// The daemon's defaults for every container.
#[derive(Debug, Clone, Default)]
pub struct SpecDefaults {
    /// Capabilities of a container that asks for no change.
    pub capabilities: Capabilities,
    /// Environment below the image's, by name.
    pub env: BTreeMap<String, String>,
    /// Resource limits.
    pub rlimits: Vec<PosixRlimit>,
    /// Devices of every container.
    pub additional_devices: Vec<DeviceEntry>,
    /// Devices of the node that a pod may ask for by annotation.
    pub allowed_devices: Vec<PathBuf>,
    /// Profile of `RuntimeDefault`.
    pub seccomp: Profile,
    /// AppArmor profile of `RuntimeDefault`; empty means none.
    pub apparmor_profile: String,
    /// Most processes of a container; `None` means no limit.
    pub pids_limit: Option<i64>,
}

impl SpecDefaults {
    /// The defaults that a configuration states. `seccomp` is [`Profile::builtin`] or the parsed
    /// file of the key `seccomp_profile`.
    ///
    /// # Errors
    /// A capability or a limit that does not exist.
    pub fn from_config(
        runtime: &pinpod_config::Runtime,
        seccomp: Profile,
    ) -> Result<Self, crate::SpecError> {
        Ok(Self {
            capabilities: runtime
                .default_capabilities
                .iter()
                .map(|name| crate::capabilities::parse(name))
                .collect::<Result<_, _>>()?,
            env: runtime
                .default_env
                .iter()
                .map(|pair| (pair.name.clone(), pair.value.clone()))
                .collect(),
            rlimits: runtime
                .default_ulimits
                .iter()
                .map(crate::process::rlimit)
                .collect::<Result<_, _>>()?,
            additional_devices: runtime.additional_devices.clone(),
            allowed_devices: runtime.allowed_devices.clone(),
            seccomp,
            apparmor_profile: runtime.apparmor_profile.clone(),
            pids_limit: (runtime.pids_limit > 0).then_some(runtime.pids_limit),
        })
    }
}
