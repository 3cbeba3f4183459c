//! What a pod and a container leave on disk, and where.
//!
//! ```text
//! <runroot>/pods/<pod id>/
//!     record.json       PodRecord
//!     hostname hosts resolv.conf
//!     shm/              tmpfs, bound on /dev/shm of the containers
//!     monitor.sock      the pod's monitor, from its first container on
//! <runroot>/containers/<container id>/       the OCI bundle
//!     record.json       ContainerRecord
//!     config.json       OCI runtime spec
//!     rootfs/           overlay mount
//!     pid               written by the OCI runtime
//!     exit.json         written by the monitor before it tells anyone
//!     runtime.log       the OCI runtime's own words
//! ```
//!
//! A record says what is about to be made before it is made, so whatever a crash or an error left
//! half-done is found from the record alone. Everything here lies on a tmpfs: after a reboot it is
//! gone, as the processes and namespaces are.

use std::path::{Path, PathBuf};

use pinpod_cgroup::CgroupPath;
use pinpod_kernel::process::ProcessIdentity;
use pinpod_model::{
    ContainerConfig, ContainerId, ImageId, PodId, PodSandboxConfig, ResolvedUser, Signal,
};
use pinpod_network::Attachment;
use pinpod_record::{Durability, RecordError, read_json, write_json};
use serde::{Deserialize, Serialize};

use crate::snapshot::{ContainerPhase, NamespaceFiles, UnixNanos};

/// Version of both record formats; a record of another one is not read.
pub(crate) const VERSION: u32 = 1;

/// Where a pod sandbox is in its life.
///
/// ```text
/// Creating ─▶ Ready ─▶ Stopping ─▶ Stopped
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PodPhase {
    /// Being made; not shown to clients. Found after a crash, it is undone.
    Creating,
    /// Usable.
    Ready,
    /// Being torn down. Found after a crash, the teardown goes on.
    Stopping,
    /// Nothing is left of it but this record and its containers' records.
    Stopped,
}

/// A pod sandbox on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PodRecord {
    pub(crate) version: u32,
    pub(crate) id: PodId,
    pub(crate) config: PodSandboxConfig,
    pub(crate) runtime_handler: String,
    pub(crate) created_at: UnixNanos,
    pub(crate) phase: PodPhase,
    /// Where namespaces are pinned, or about to be.
    pub(crate) namespaces: NamespaceFiles,
    pub(crate) init: Option<ProcessIdentity>,
    pub(crate) attachment: Option<Attachment>,
}

/// Where a checkpoint lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Checkpoint {
    /// In an archive, a file of the node.
    Archive(PathBuf),
    /// In an image that has the archive's entries as its files.
    Image(ImageId),
}

impl std::fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Archive(path) => path.display().fmt(f),
            Self::Image(id) => id.fmt(f),
        }
    }
}

/// A container on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) version: u32,
    pub(crate) id: ContainerId,
    pub(crate) pod: PodId,
    pub(crate) config: ContainerConfig,
    pub(crate) image: ImageId,
    pub(crate) image_ref: String,
    pub(crate) user: ResolvedUser,
    pub(crate) log_path: Option<PathBuf>,
    /// Signal that asks it to stop.
    pub(crate) stop_signal: Option<Signal>,
    /// The process whose PID namespace it joins (PID mode TARGET).
    pub(crate) target: Option<ProcessIdentity>,
    /// The checkpoint that it is made from.
    #[serde(default)]
    pub(crate) restore: Option<Checkpoint>,
    /// Cgroup of the container, relative to the mount of each hierarchy.
    pub(crate) cgroup: CgroupPath,
    pub(crate) created_at: UnixNanos,
    pub(crate) phase: ContainerPhase,
}

/// The directories that hold records.
#[derive(Debug, Clone)]
pub(crate) struct RecordDirs {
    runroot: PathBuf,
}

impl RecordDirs {
    pub(crate) fn new(runroot: &Path) -> Self {
        Self {
            runroot: runroot.to_owned(),
        }
    }

    pub(crate) fn pods(&self) -> PathBuf {
        self.runroot.join("pods")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.runroot.join("containers")
    }

    pub(crate) fn pod(&self, id: &PodId) -> PathBuf {
        self.pods().join(id.as_str())
    }

    pub(crate) fn container(&self, id: &ContainerId) -> PathBuf {
        self.containers().join(id.as_str())
    }

    pub(crate) fn write_pod(&self, record: &PodRecord) -> Result<(), RecordError> {
        write_json(
            &self.pod(&record.id).join(FILE),
            record,
            Durability::Volatile,
        )
    }

    pub(crate) fn write_container(&self, record: &ContainerRecord) -> Result<(), RecordError> {
        write_json(
            &self.container(&record.id).join(FILE),
            record,
            Durability::Volatile,
        )
    }

    pub(crate) fn read_pod(&self, id: &PodId) -> Result<Option<PodRecord>, RecordError> {
        read_json(&self.pod(id).join(FILE))
    }

    pub(crate) fn read_container(
        &self,
        id: &ContainerId,
    ) -> Result<Option<ContainerRecord>, RecordError> {
        read_json(&self.container(id).join(FILE))
    }
}

const FILE: &str = "record.json";

/// Name of the file in a bundle where the monitor writes how the container ended.
pub(crate) const EXIT_FILE: &str = "exit.json";
