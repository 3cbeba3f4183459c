//! What readers see of a pod: an immutable picture, published by the pod's driver after each
//! change. Reading it takes no lock that a slow operation could hold.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use pinpod_cgroup::CgroupPath;
use pinpod_kernel::process::ProcessIdentity;
use pinpod_model::{
    ContainerConfig, ContainerId, ImageId, PodId, PodSandboxConfig, ResolvedUser, Signal,
};
use serde::{Deserialize, Serialize};

/// Nanoseconds since the Unix epoch, as CRI counts time.
pub type UnixNanos = i64;

/// Whether a pod sandbox can hold running containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodState {
    /// Its namespaces are pinned and its network is attached.
    Ready,
    /// Stopped, or its PID 1 is gone.
    NotReady,
}

/// Files on which the namespaces of a pod are pinned; `None` where the pod uses the node's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NamespaceFiles {
    /// Network namespace.
    pub net: Option<PathBuf>,
    /// IPC namespace.
    pub ipc: Option<PathBuf>,
    /// UTS namespace.
    pub uts: Option<PathBuf>,
    /// PID namespace, where the containers of the pod share one.
    pub pid: Option<PathBuf>,
    /// User namespace, the owner of the others.
    pub user: Option<PathBuf>,
}

/// A pod sandbox at one moment.
#[derive(Debug, Clone)]
pub struct PodSnapshot {
    /// Identifier.
    pub id: PodId,
    /// What it was asked to be.
    pub config: Arc<PodSandboxConfig>,
    /// Name of the runtime handler of its containers.
    pub runtime_handler: String,
    /// State.
    pub state: PodState,
    /// When RunPodSandbox was first asked for it.
    pub created_at: UnixNanos,
    /// Addresses of the pod; empty on the node's network.
    pub ips: Vec<IpAddr>,
    /// Pinned namespaces.
    pub namespaces: NamespaceFiles,
    /// PID 1 of a shared PID namespace.
    pub init: Option<ProcessIdentity>,
    /// The pod's monitor, from its first container on.
    pub monitor: Option<ProcessIdentity>,
    /// Containers, in the order of their creation.
    pub containers: Vec<Arc<ContainerSnapshot>>,
}

/// Why and how a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; 128 plus the number for a signal; 255 where it could not be learnt.
    pub code: i32,
    /// When it ended.
    pub finished_at: UnixNanos,
    /// The kernel killed it for lack of memory.
    pub oom_killed: bool,
    /// What to tell beside the code; empty for an ordinary exit.
    pub message: String,
}

/// Where a container is in its life.
///
/// ```text
/// Creating ─▶ Created ──▶ Running ─▶ Exited
///        └──▶ Prepared ─────▲           ▲
///     Created, Prepared ───(killed)─────┘
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerPhase {
    /// Being made; not shown to clients.
    Creating,
    /// Its init waits for the start.
    Created {
        /// The waiting init.
        process: ProcessIdentity,
    },
    /// Made from a checkpoint: the start restores its processes.
    Prepared,
    /// Its process runs.
    Running {
        /// The process.
        process: ProcessIdentity,
        /// Since when.
        started_at: UnixNanos,
    },
    /// It ended.
    Exited {
        /// When it had started; `None` if it never did.
        started_at: Option<UnixNanos>,
        /// How it ended.
        exit: Exit,
    },
}

impl ContainerPhase {
    /// The init process, while there is one.
    #[must_use]
    pub fn process(&self) -> Option<ProcessIdentity> {
        match self {
            Self::Created { process } | Self::Running { process, .. } => Some(*process),
            Self::Creating | Self::Prepared | Self::Exited { .. } => None,
        }
    }
}

/// A container at one moment.
#[derive(Debug, Clone)]
pub struct ContainerSnapshot {
    /// Identifier.
    pub id: ContainerId,
    /// The pod it belongs to.
    pub pod: PodId,
    /// What it was asked to be, with the resources of the last update.
    pub config: Arc<ContainerConfig>,
    /// Image it runs.
    pub image: ImageId,
    /// Reference of that image as status shows it: a repo digest where there is one.
    pub image_ref: String,
    /// User of its first process.
    pub user: ResolvedUser,
    /// Signal that asks it to stop: the request's, else the image's; `None` means SIGTERM.
    pub stop_signal: Option<Signal>,
    /// Full path of its log; `None` if it has none.
    pub log_path: Option<PathBuf>,
    /// Directory of its OCI bundle (`config.json`, `rootfs`).
    pub bundle: PathBuf,
    /// Its cgroup.
    pub cgroup: CgroupPath,
    /// When CreateContainer was first asked for it.
    pub created_at: UnixNanos,
    /// Where it is in its life.
    pub phase: ContainerPhase,
}

/// What ExecSync gives back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// Exit code of the command.
    pub exit_code: i32,
}

#[cfg(test)]
impl PodSnapshot {
    /// A pod without containers, for tests that need some pod.
    pub(crate) fn example() -> Self {
        Self {
            id: "0a".repeat(32).parse().unwrap(),
            config: Arc::new(PodSandboxConfig {
                metadata: pinpod_model::PodMetadata {
                    name: "web".into(),
                    uid: "1".into(),
                    namespace: "default".into(),
                    attempt: 0,
                },
                hostname: String::new(),
                log_directory: String::new(),
                dns: None,
                port_mappings: Vec::new(),
                labels: pinpod_model::Labels::new(),
                annotations: pinpod_model::Labels::new(),
                cgroup_parent: String::new(),
                security: pinpod_model::PodSecurity::default(),
                sysctls: std::collections::BTreeMap::new(),
                overhead: None,
                resources: None,
                runtime_handler: None,
            }),
            runtime_handler: "runc".into(),
            state: PodState::Ready,
            created_at: 17,
            ips: Vec::new(),
            namespaces: NamespaceFiles::default(),
            init: None,
            monitor: None,
            containers: Vec::new(),
        }
    }
}
