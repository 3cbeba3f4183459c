//! What a driver is told: requests of clients, and results of its own work.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pinpod_kernel::process::ProcessIdentity;
use pinpod_model::{ContainerConfig, ContainerId, LinuxResources, PodId};
use tokio::sync::oneshot;

use crate::container::FailedCreation;
use crate::error::{
    ContainerError, CreateContainerError, EndPodError, RunPodError, Shared, TeardownError,
    UpdatePodError,
};
use crate::record::{Checkpoint, ContainerRecord, PodRecord};
use crate::snapshot::Exit;

/// Where the answer goes. The asker may have gone away; the work does not.
pub(crate) type Reply<T, E> = oneshot::Sender<Shared<T, E>>;

/// One thing in the inbox.
#[derive(Debug)]
pub(crate) enum Message {
    /// From a client.
    Request(Request),
    /// From the driver's own tasks, or the monitor.
    Event(Event),
}

/// What a client asks.
#[derive(Debug)]
pub(crate) enum Request {
    AwaitReady(Reply<PodId, RunPodError>),
    StopPod(Reply<(), EndPodError>),
    RemovePod(Reply<(), EndPodError>),
    CreateContainer {
        config: Box<ContainerConfig>,
        /// The checkpoint that it is made from.
        restore: Option<Checkpoint>,
        reply: Reply<ContainerId, CreateContainerError>,
    },
    StartContainer {
        id: ContainerId,
        reply: Reply<(), ContainerError>,
    },
    StopContainer {
        id: ContainerId,
        grace: Duration,
        reply: Reply<(), ContainerError>,
    },
    RemoveContainer {
        id: ContainerId,
        reply: Reply<(), ContainerError>,
    },
    UpdateContainer {
        id: ContainerId,
        resources: LinuxResources,
        reply: Reply<(), ContainerError>,
    },
    /// New limits that an NRI plugin wants.
    UpdateByPlugin {
        id: ContainerId,
        limits: Box<pinpod_nri::api::LinuxResources>,
        reply: Reply<(), ContainerError>,
    },
    /// The kubelet has changed what the pod may use.
    UpdatePod {
        overhead: Option<Box<LinuxResources>>,
        resources: Option<Box<LinuxResources>>,
        reply: Reply<(), UpdatePodError>,
    },
    CheckpointContainer {
        id: ContainerId,
        location: PathBuf,
        reply: Reply<(), ContainerError>,
    },
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// The run job ended; the record comes back as the job left it.
    PodRan {
        record: Box<PodRecord>,
        result: Result<(), RunPodError>,
    },
    /// Nobody fetched the finished sandbox in time.
    PodUnfetched,
    /// The sandbox is torn down.
    PodStopped(Result<(), TeardownError>),
    /// The directory of the sandbox is gone.
    PodRemoved(Result<(), TeardownError>),
    /// PID 1 of the shared PID namespace is gone, and everything in it.
    InitExited,
    /// A creation job ended.
    ContainerCreated {
        id: ContainerId,
        result: Result<Box<ContainerRecord>, FailedCreation>,
    },
    /// Nobody fetched the finished container in time.
    ContainerUnfetched(ContainerId),
    /// A start ended; a restore brings a process.
    Started {
        id: ContainerId,
        result: Result<Option<ProcessIdentity>, ContainerError>,
    },
    /// A checkpoint is taken, or not.
    Checkpointed {
        id: ContainerId,
        location: PathBuf,
        result: Result<(), ContainerError>,
    },
    /// After a restart: a container that is noted as one to restore runs.
    FoundRestored {
        id: ContainerId,
        process: ProcessIdentity,
    },
    /// After a restart: a container that is noted as created runs.
    FoundStarted(ContainerId),
    /// A stop cannot go on; its success shows as the exit.
    StopFailed {
        id: ContainerId,
        error: Arc<ContainerError>,
    },
    /// A container's process ended; told once by the monitor, or by whoever watches in its place.
    Exited { id: ContainerId, exit: Exit },
    /// NRI plugins know that a container has ended.
    ExitTold(ContainerId),
    /// What the pod may use is recorded, or refused.
    PodUpdated(Box<PodUpdate>),
    /// New limits are set, or not.
    Updated {
        id: ContainerId,
        resources: Box<LinuxResources>,
        result: Result<(), ContainerError>,
    },
    /// A container is taken away, or not.
    Removed {
        id: ContainerId,
        result: Result<(), TeardownError>,
    },
    /// The monitor's connection ended.
    MonitorGone,
}

/// The end of an update of the pod itself.
#[derive(Debug)]
pub(crate) struct PodUpdate {
    pub(crate) overhead: Option<Box<LinuxResources>>,
    pub(crate) resources: Option<Box<LinuxResources>>,
    pub(crate) reply: Reply<(), UpdatePodError>,
    pub(crate) result: Result<(), UpdatePodError>,
}
