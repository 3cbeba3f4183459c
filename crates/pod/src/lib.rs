//! The engine: lifecycles of pod sandboxes and containers.
//!
//! - [`Engine`] is what `pinpod-cri-server` calls: look an identifier up, send a request to the
//!   pod's driver, wait for the answer.
//! - `driver` holds one task per pod, the only writer of that pod's state and records. It asks
//!   `policy` (pure) what a request means in the present state, runs the work as a task of its
//!   own, and takes the result as an event. It publishes a [`PodSnapshot`] after every change.
//! - `sandbox` and `container` hold the work: run, stop and remove of sandboxes; create, start,
//!   stop and remove of containers. Each has one `teardown`, used for a failed creation, for stop
//!   and remove, and for what a crash left.
//! - `recover` rebuilds the drivers from records after a restart.
//!
//! Creation is a job: a caller that goes away does not stop it, and the same request again (by the
//! key that the kubelet sends) joins it or gets its result.

mod container;
mod driver;
mod error;
mod events;
mod index;
mod monitor;
mod plugins;
mod policy;
mod record;
mod recover;
mod sandbox;
mod scope;
mod settings;
mod snapshot;
mod watch_process;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pinpod_model::{ContainerConfig, ContainerId, LinuxResources, PodId, PodSandboxConfig};
use tokio::sync::oneshot;

pub use container::ExecStreamRequest;
pub use error::{
    ContainerError, CreateContainerError, EndPodError, FileError, LookupError, MonitorError,
    PodGone, RunPodError, TeardownError, UnstageError, UpdatePodError,
};
pub use events::{EventKind, Events, FollowError, Follower, PodEvent, RING};
pub use plugins::Plugins;
pub use recover::RecoverError;
pub use sandbox::now;
pub use settings::{Handler, Parts, Settings};
pub use snapshot::{
    ContainerPhase, ContainerSnapshot, ExecOutput, Exit, NamespaceFiles, PodSnapshot, PodState,
    UnixNanos,
};

use driver::Request;
use index::Index;

/// All pods of this node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    parts: Arc<Parts>,
    index: Arc<Index>,
}

impl Engine {
    /// Builds the engine from what it stands on and takes up every pod that the records name:
    /// running containers run on, half-made ones are torn down, exits that nobody saw are read.
    ///
    /// # Errors
    /// If the records' directory cannot be read or made. A single bad record is logged and left
    /// where it is.
    pub async fn recover(parts: Parts) -> Result<Self, RecoverError> {
        let engine = Self {
            parts: Arc::new(parts),
            index: Arc::new(Index::default()),
        };
        engine.parts.plugins.attach(&engine.index);
        recover::recover(&engine.parts, &engine.index).await?;
        Ok(engine)
    }

    /// Starts the NRI plugins that the configuration names and lets others connect. Returns when
    /// those have joined, so that they hear of every pod from then on; `None` where there are none.
    ///
    /// # Errors
    /// When none could ever join. One that fails is logged.
    pub async fn start_plugins(
        &self,
    ) -> Result<Option<pinpod_nri::Running>, pinpod_nri::StartError> {
        self.parts.plugins.start().await
    }

    /// RunPodSandbox. The work goes on when the caller goes away; the same metadata again joins it
    /// or gets the finished sandbox.
    ///
    /// # Errors
    /// [`RunPodError`], after everything made was undone.
    pub async fn run_pod_sandbox(
        &self,
        config: PodSandboxConfig,
    ) -> Result<PodId, Arc<RunPodError>> {
        sandbox::check(&self.parts, &config).map_err(Arc::new)?;
        loop {
            let handle = self
                .index
                .pod_for(&self.parts, config.clone())
                .map_err(Arc::new)?;
            let (reply, answer) = oneshot::channel();
            // A driver that ended between the look-up and the question had a failed or a removed
            // sandbox, whose key is free by now.
            if handle.send(Request::AwaitReady(reply)).is_ok()
                && let Ok(result) = answer.await
            {
                return result;
            }
        }
    }

    /// StopPodSandbox: kills what runs in it, detaches its network, unpins its namespaces. The
    /// record stays until it is removed. An unknown identifier is no error.
    ///
    /// # Errors
    /// [`EndPodError`] when something could not be taken away; calling again goes on.
    pub async fn stop_pod_sandbox(&self, id: &str) -> Result<(), Arc<EndPodError>> {
        self.end_pod(id, Request::StopPod).await
    }

    /// RemovePodSandbox: stops it if it is not, removes its containers and its record. An unknown
    /// identifier is no error.
    ///
    /// # Errors
    /// [`EndPodError`] when something could not be taken away; calling again goes on.
    pub async fn remove_pod_sandbox(&self, id: &str) -> Result<(), Arc<EndPodError>> {
        self.end_pod(id, Request::RemovePod).await
    }

    async fn end_pod(
        &self,
        id: &str,
        request: fn(driver::Reply<(), EndPodError>) -> Request,
    ) -> Result<(), Arc<EndPodError>> {
        let handle = match self.index.pod(id) {
            Ok(handle) => handle,
            Err(LookupError::NoPod(_)) => return Ok(()),
            Err(error) => return Err(Arc::new(error.into())),
        };
        let (reply, answer) = oneshot::channel();
        if handle.send(request(reply)).is_err() {
            return Ok(());
        }
        answer.await.unwrap_or(Ok(()))
    }

    /// The pod with this identifier, or the unique one that begins so.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn pod(&self, id: &str) -> Result<Arc<PodSnapshot>, LookupError> {
        Ok(self.index.pod(id)?.snapshot())
    }

    /// Every pod that clients may see, oldest first.
    #[must_use]
    pub fn pods(&self) -> Vec<Arc<PodSnapshot>> {
        self.index.pods()
    }

    /// The container with this identifier, or the unique one that begins so.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn container(&self, id: &str) -> Result<Arc<ContainerSnapshot>, LookupError> {
        self.index.container(id).map(|(_, snapshot)| snapshot)
    }

    /// Every container that clients may see, oldest first.
    #[must_use]
    pub fn containers(&self) -> Vec<Arc<ContainerSnapshot>> {
        let mut all: Vec<_> = self
            .pods()
            .iter()
            .flat_map(|pod| pod.containers.iter().cloned())
            .collect();
        all.sort_by_key(|container| container.created_at);
        all
    }

    /// CreateContainer. The work goes on when the caller goes away; the same metadata in the same
    /// pod again joins it or gets the finished container. An image that is an absolute path is the
    /// archive of a checkpoint, and one that is annotated as a checkpoint has the files of such an
    /// archive: the start restores it.
    ///
    /// # Errors
    /// [`CreateContainerError`], after everything made was undone.
    pub async fn create_container(
        &self,
        pod: &str,
        mut config: ContainerConfig,
    ) -> Result<ContainerId, Arc<CreateContainerError>> {
        let restore = container::checkpoint_of(&self.parts, &mut config)
            .await
            .map_err(Arc::new)?;
        let handle = self
            .index
            .pod(pod)
            .map_err(|error| Arc::new(error.into()))?;
        let (reply, answer) = oneshot::channel();
        handle
            .send(Request::CreateContainer {
                config: Box::new(config),
                restore,
                reply,
            })
            .map_err(|gone| Arc::new(gone.into()))?;
        answer
            .await
            .unwrap_or_else(|_| Err(Arc::new(PodGone.into())))
    }

    /// StartContainer. Starting a running one is no error.
    ///
    /// # Errors
    /// [`ContainerError`].
    pub async fn start_container(&self, id: &str) -> Result<(), Arc<ContainerError>> {
        self.ask_container(id, |id, reply| Request::StartContainer { id, reply })
            .await
    }

    /// StopContainer: the stop signal, `grace`, then SIGKILL; returns when the exit is recorded. A
    /// later call with a shorter grace shortens the first one's. A container that does not exist
    /// or has ended is no error.
    ///
    /// # Errors
    /// [`ContainerError`].
    pub async fn stop_container(
        &self,
        id: &str,
        grace: Duration,
    ) -> Result<(), Arc<ContainerError>> {
        let ask = |id, reply| Request::StopContainer { id, grace, reply };
        ignore_unknown(self.ask_container(id, ask).await)
    }

    /// RemoveContainer: kills it if it runs, takes its root file system, bundle and record away. A
    /// container that does not exist is no error.
    ///
    /// # Errors
    /// [`ContainerError`] when something could not be taken away; calling again goes on.
    pub async fn remove_container(&self, id: &str) -> Result<(), Arc<ContainerError>> {
        let ask = |id, reply| Request::RemoveContainer { id, reply };
        ignore_unknown(self.ask_container(id, ask).await)
    }

    /// UpdateContainerResources. The new limits are recorded, so that they hold in status after a
    /// restart.
    ///
    /// # Errors
    /// [`ContainerError`].
    pub async fn update_container_resources(
        &self,
        id: &str,
        resources: LinuxResources,
    ) -> Result<(), Arc<ContainerError>> {
        let ask = |id, reply| Request::UpdateContainer {
            id,
            resources,
            reply,
        };
        self.ask_container(id, ask).await
    }

    /// UpdatePodSandboxResources: NRI plugins are told, and may refuse; the pod's cgroup is the
    /// kubelet's. The values are recorded.
    ///
    /// # Errors
    /// [`UpdatePodError`].
    pub async fn update_pod_resources(
        &self,
        id: &str,
        overhead: Option<LinuxResources>,
        resources: Option<LinuxResources>,
    ) -> Result<(), Arc<UpdatePodError>> {
        let handle = self.index.pod(id).map_err(|error| Arc::new(error.into()))?;
        let (reply, answer) = oneshot::channel();
        let request = Request::UpdatePod {
            overhead: overhead.map(Box::new),
            resources: resources.map(Box::new),
            reply,
        };
        handle.send(request).map_err(|gone| Arc::new(gone.into()))?;
        answer
            .await
            .unwrap_or_else(|_| Err(Arc::new(PodGone.into())))
    }

    /// CheckpointContainer: an archive of its processes and files, for whom it says in
    /// `docs/checkpoint.md`. The container runs on. With a limit, what is not done by then is undone
    /// when it is.
    ///
    /// # Errors
    /// [`ContainerError`]; [`ContainerError::NoCheckpoints`] where something is missing for it.
    pub async fn checkpoint_container(
        &self,
        id: &str,
        location: PathBuf,
        limit: Option<Duration>,
    ) -> Result<(), Arc<ContainerError>> {
        let ask = |id, reply| Request::CheckpointContainer {
            id,
            location,
            reply,
        };
        let taken = self.ask_container(id, ask);
        let Some(limit) = limit else {
            return taken.await;
        };
        let late = |_| {
            let id = self.container(id)?.id.clone();
            let seconds = limit.as_secs();
            Err(ContainerError::CheckpointTimeout { id, seconds })
        };
        match tokio::time::timeout(limit, taken).await {
            Ok(answer) => answer,
            Err(elapsed) => late(elapsed).map_err(Arc::new),
        }
    }

    async fn ask_container<A>(&self, id: &str, request: A) -> Result<(), Arc<ContainerError>>
    where
        A: FnOnce(ContainerId, driver::Reply<(), ContainerError>) -> Request,
    {
        let (handle, container) = self
            .index
            .container(id)
            .map_err(|error| Arc::new(error.into()))?;
        let (reply, answer) = oneshot::channel();
        handle
            .send(request(container.id.clone(), reply))
            .map_err(|gone| Arc::new(gone.into()))?;
        answer
            .await
            .unwrap_or_else(|_| Err(Arc::new(PodGone.into())))
    }

    /// ExecSync. Runs beside the pod's driver, so a long command holds nothing up.
    ///
    /// # Errors
    /// [`ContainerError`]; [`ContainerError::ExecTimeout`] after the command was killed.
    pub async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        limit: Option<Duration>,
    ) -> Result<ExecOutput, Arc<ContainerError>> {
        let (handle, container) = self
            .index
            .container(id)
            .map_err(|error| Arc::new(error.into()))?;
        container::exec_sync(&self.parts, &handle, &container, command, limit)
            .await
            .map_err(Arc::new)
    }

    /// ReopenContainerLog: returns when the new file is open.
    ///
    /// # Errors
    /// [`ContainerError`].
    pub async fn reopen_container_log(&self, id: &str) -> Result<(), Arc<ContainerError>> {
        let (handle, container) = self
            .index
            .container(id)
            .map_err(|error| Arc::new(error.into()))?;
        container::reopen_log(&handle, &container)
            .await
            .map_err(Arc::new)
    }

    /// What happens to pods and containers, for those who follow it.
    #[must_use]
    pub fn events(&self) -> &Events {
        self.index.events()
    }

    /// The handler names and what each can do, as configured.
    #[must_use]
    pub fn handlers(&self) -> &[Handler] {
        &self.parts.settings.handlers
    }
}

/// CRI wants stop and remove to be idempotent.
fn ignore_unknown(result: Result<(), Arc<ContainerError>>) -> Result<(), Arc<ContainerError>> {
    match result {
        Err(error) => match &*error {
            ContainerError::Lookup(LookupError::NoContainer(_)) | ContainerError::Gone(_) => Ok(()),
            _ => Err(error),
        },
        ok => ok,
    }
}
