//! What the engine is built from.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pinpod_bundle::{NodeFacts, SpecDefaults};
use pinpod_cgroup::Hierarchy;
use pinpod_image::Images;
use pinpod_model::CgroupDriver;
use pinpod_network::Network;
use pinpod_oci_runtime::{Features, Runtime};

use crate::Plugins;

/// A runtime handler: the name that `runtime_handler` chooses, and the OCI runtime behind it.
#[derive(Debug, Clone)]
pub struct Handler {
    /// Name in `[pinpod.runtime.runtimes.<name>]`.
    pub name: String,
    /// The OCI runtime.
    pub runtime: Runtime,
    /// What it says of itself; `None` for one that cannot say (crun before 1.8.6).
    pub features: Option<Features>,
    /// How long its create may take.
    pub create_timeout: Duration,
    /// Whether its pods can have user namespaces; if not, what is missing.
    pub user_namespaces: Result<(), String>,
    /// Privileged containers get no devices of the node.
    pub privileged_without_host_devices: bool,
}

/// Plain settings, taken from the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Directory of records, bundles and sockets, on a tmpfs.
    pub runroot: PathBuf,
    /// Directory below which namespaces are pinned, `/run` by default: `netns/`, `ipcns/`, …
    pub namespaces_dir: PathBuf,
    /// Form of cgroup paths.
    pub cgroup_driver: CgroupDriver,
    /// Handlers; the default one is named by `default_handler`.
    pub handlers: Vec<Handler>,
    /// Handler of a pod that names none.
    pub default_handler: String,
    /// The `pinpod-monitor` binary.
    pub monitor_binary: PathBuf,
    /// The `pinpod-init` binary.
    pub init_binary: PathBuf,
    /// Sysctls of every pod that has its own namespace for them.
    pub default_sysctls: Vec<(String, String)>,
    /// Directory that relative paths of localhost seccomp profiles start from.
    pub seccomp_dir: PathBuf,
    /// What every container gets.
    pub spec_defaults: SpecDefaults,
    /// Size of a pod's `/dev/shm` in bytes.
    pub shm_size: u64,
    /// How long a finished creation waits for its caller before it is undone.
    pub unfetched_grace: Duration,
}

impl Settings {
    /// The handler of that name; the default one for `None`.
    #[must_use]
    pub fn handler(&self, name: Option<&str>) -> Option<&Handler> {
        let wanted = name.unwrap_or(&self.default_handler);
        self.handlers.iter().find(|handler| handler.name == wanted)
    }

    pub(crate) fn namespace_file(&self, kind: &str, name: &str) -> PathBuf {
        self.namespaces_dir.join(format!("{kind}ns")).join(name)
    }

    pub(crate) fn runroot(&self) -> &Path {
        &self.runroot
    }
}

/// Everything that the engine stands on.
#[derive(Debug)]
pub struct Parts {
    /// Plain settings.
    pub settings: Settings,
    /// What this node has.
    pub node: NodeFacts,
    /// Its control groups.
    pub cgroups: Hierarchy,
    /// The image store.
    pub images: Images,
    /// The pod network.
    pub network: Network,
    /// NRI plugins.
    pub plugins: Arc<Plugins>,
}
