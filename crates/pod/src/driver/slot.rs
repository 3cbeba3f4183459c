//! One container as its driver holds it.

use std::path::PathBuf;
use std::sync::Arc;

use pinpod_model::{ContainerConfig, ContainerId};
use tokio::sync::watch;
use tokio::time::Instant;

use super::messages::{Reply, Request};
use crate::error::{ContainerError, CreateContainerError};
use crate::policy::Busy;
use crate::record::{ContainerRecord, RecordDirs};
use crate::snapshot::{ContainerPhase, ContainerSnapshot};

/// The work in progress, with who waits for it.
#[derive(Debug)]
pub(super) enum Work {
    Idle,
    Creating(Vec<Reply<ContainerId, CreateContainerError>>),
    Starting(Vec<Reply<(), ContainerError>>),
    Stopping {
        deadline: watch::Sender<Instant>,
        waiters: Vec<Reply<(), ContainerError>>,
    },
    /// It has ended; NRI plugins are being told.
    Telling(Vec<Reply<(), ContainerError>>),
    Updating(Reply<(), ContainerError>),
    Checkpointing(Reply<(), ContainerError>),
    Removing(Vec<Reply<(), ContainerError>>),
}

impl Work {
    pub(super) fn busy(&self) -> Busy {
        match self {
            Self::Idle => Busy::Idle,
            Self::Creating(_) => Busy::Creating,
            Self::Starting(_) => Busy::Starting,
            Self::Stopping { .. } | Self::Telling(_) => Busy::Stopping,
            Self::Updating(_) | Self::Checkpointing(_) => Busy::Updating,
            Self::Removing(_) => Busy::Removing,
        }
    }
}

/// A container and the work on it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) record: ContainerRecord,
    pub(super) config: Arc<ContainerConfig>,
    pub(super) bundle: PathBuf,
    pub(super) work: Work,
    /// Asked for while other work was in progress.
    pub(super) deferred: Vec<Request>,
    /// A finished container that nobody has fetched yet.
    pub(super) unfetched: bool,
    /// NRI plugins must still be told that it has ended.
    pub(super) untold: bool,
    /// Its creation failed, and so did the undo. It is hidden, its key is free, and what is left of
    /// it goes with the pod.
    pub(super) abandoned: bool,
}

impl Slot {
    pub(super) fn new(record: ContainerRecord, dirs: &RecordDirs) -> Self {
        Self {
            config: Arc::new(record.config.clone()),
            bundle: dirs.container(&record.id),
            record,
            work: Work::Idle,
            deferred: Vec::new(),
            unfetched: false,
            untold: false,
            abandoned: false,
        }
    }

    /// What clients see; nothing before the creation has succeeded.
    pub(super) fn picture(&self) -> Option<Arc<ContainerSnapshot>> {
        if self.unfetched || self.record.phase == ContainerPhase::Creating {
            return None;
        }
        Some(Arc::new(self.snapshot()))
    }

    pub(super) fn snapshot(&self) -> ContainerSnapshot {
        ContainerSnapshot {
            id: self.record.id.clone(),
            pod: self.record.pod.clone(),
            config: Arc::clone(&self.config),
            image: self.record.image.clone(),
            image_ref: self.record.image_ref.clone(),
            user: self.record.user.clone(),
            stop_signal: self.record.stop_signal,
            log_path: self.record.log_path.clone(),
            bundle: self.bundle.clone(),
            cgroup: self.record.cgroup.clone(),
            created_at: self.record.created_at,
            phase: self.record.phase.clone(),
        }
    }

    /// No process, nothing to tell and no work in progress.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.work, Work::Idle) && !self.untold && self.record.phase.process().is_none()
    }
}
