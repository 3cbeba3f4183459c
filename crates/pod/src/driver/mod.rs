//! The task that owns a pod: the only writer of its state and its records.
//!
//! Requests and the results of work come in through one inbox. A request is decided at once
//! (`policy`) and either answered, joined to the work in progress, put off until that is done, or
//! begun as a task of its own, whose result comes back as an [`Event`]. So the inbox is never
//! blocked, and a pod whose container takes minutes to stop answers every other question
//! meanwhile.
//!
//! ```text
//! pod:        Creating ─▶ Idle ─▶ Stopping(containers ─▶ sandbox) ─▶ Idle ─▶ Removing ─▶ gone
//! container:  Creating ─▶ Idle ─▶ Starting │ Stopping │ Updating ─▶ Idle ─▶ Removing ─▶ gone
//! ```

mod checkpoint;
mod containers;
mod creation;
mod found;
mod messages;
mod plugins;
mod pod;
mod slot;
mod tell;

use std::sync::Arc;

use pinpod_model::{ContainerId, PodId, PodSandboxConfig, UserNamespace};
use tokio::sync::{mpsc, watch};

pub(crate) use messages::{Event, Message, Reply, Request};

use crate::container::Context;
use crate::error::{EndPodError, PodGone, RunPodError, TeardownError};
use crate::index::Index;
use crate::monitor::MonitorLink;
use crate::record::{ContainerRecord, PodPhase, PodRecord, RecordDirs};
use crate::sandbox;
use crate::settings::Parts;
use crate::snapshot::{PodSnapshot, PodState, UnixNanos};
use slot::Slot;
use tell::Told;

/// The way to a pod's driver.
#[derive(Debug, Clone)]
pub(crate) struct PodHandle {
    inbox: mpsc::UnboundedSender<Message>,
    published: watch::Receiver<Published>,
    monitor: Arc<MonitorLink>,
}

#[derive(Debug, Clone)]
struct Published {
    snapshot: Arc<PodSnapshot>,
    /// Clients see a pod from the moment its creation has succeeded.
    visible: bool,
}

impl PodHandle {
    pub(crate) fn send(&self, request: Request) -> Result<(), PodGone> {
        self.inbox
            .send(Message::Request(request))
            .map_err(|_| PodGone)
    }

    pub(crate) fn snapshot(&self) -> Arc<PodSnapshot> {
        Arc::clone(&self.published.borrow().snapshot)
    }

    pub(crate) fn visible(&self) -> Option<Arc<PodSnapshot>> {
        let published = self.published.borrow();
        published.visible.then(|| Arc::clone(&published.snapshot))
    }

    pub(crate) fn monitor(&self) -> &Arc<MonitorLink> {
        &self.monitor
    }
}

/// What the driver is doing with the sandbox itself.
#[derive(Debug)]
enum PodWork {
    /// The creation job starts with the first request that waits for it, so that however fast it
    /// fails, there is someone to tell.
    New,
    Idle,
    Creating(Vec<Reply<PodId, RunPodError>>),
    Stopping {
        waiters: Vec<Reply<(), EndPodError>>,
        stage: EndStage,
    },
    Removing {
        waiters: Vec<Reply<(), EndPodError>>,
        stage: EndStage,
    },
}

/// First the containers, then the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndStage {
    Containers,
    Sandbox,
}

#[derive(Debug)]
struct Driver {
    parts: Arc<Parts>,
    index: Arc<Index>,
    dirs: RecordDirs,
    record: PodRecord,
    config: Arc<PodSandboxConfig>,
    work: PodWork,
    /// Asked for while the sandbox itself was busy.
    deferred: Vec<Request>,
    /// A finished sandbox that nobody has fetched yet.
    unfetched: bool,
    slots: Vec<Slot>,
    monitor: Arc<MonitorLink>,
    inbox: mpsc::UnboundedReceiver<Message>,
    outbox: mpsc::UnboundedSender<Message>,
    publish: watch::Sender<Published>,
    /// What followers know, and the time of the last thing told.
    told: Told,
    told_at: UnixNanos,
}

/// Starts the driver of a new pod, already at work on it.
pub(crate) fn begin(
    parts: Arc<Parts>,
    index: Arc<Index>,
    id: PodId,
    config: PodSandboxConfig,
) -> PodHandle {
    let record = sandbox::new_record(&parts, id, config);
    let (mut driver, handle) = Driver::new(parts, index, record, Vec::new());
    driver.work = PodWork::New;
    tokio::spawn(driver.serve());
    handle
}

/// Starts the driver of a pod that the records name.
pub(crate) fn resume(
    parts: Arc<Parts>,
    index: Arc<Index>,
    record: PodRecord,
    containers: Vec<ContainerRecord>,
) -> PodHandle {
    let (mut driver, handle) = Driver::new(parts, index, record, containers);
    driver.take_up();
    // Who followed the last daemon lists everything anew.
    driver.told = Told::all_of(&driver.publish.borrow().snapshot);
    tokio::spawn(driver.serve());
    handle
}

impl Driver {
    fn new(
        parts: Arc<Parts>,
        index: Arc<Index>,
        record: PodRecord,
        containers: Vec<ContainerRecord>,
    ) -> (Self, PodHandle) {
        let dirs = RecordDirs::new(parts.settings.runroot());
        let config = Arc::new(record.config.clone());
        let slots: Vec<_> = containers
            .into_iter()
            .map(|record| Slot::new(record, &dirs))
            .collect();
        let (outbox, inbox) = mpsc::unbounded_channel();
        let monitor = Arc::new(MonitorLink::new(
            Arc::clone(&parts),
            dirs.pod(&record.id),
            record.id.clone(),
            config
                .security
                .namespaces
                .user
                .as_ref()
                .map(UserNamespace::root),
            outbox.clone(),
        ));
        let first = Published {
            snapshot: Arc::new(picture(&record, &config, &[])),
            visible: false,
        };
        let (publish, published) = watch::channel(first);
        let handle = PodHandle {
            inbox: outbox.clone(),
            published,
            monitor: Arc::clone(&monitor),
        };
        let driver = Self {
            parts,
            index,
            dirs,
            record,
            config,
            work: PodWork::Idle,
            deferred: Vec::new(),
            unfetched: false,
            slots,
            monitor,
            inbox,
            outbox,
            publish,
            told: Told::default(),
            told_at: 0,
        };
        driver.publish();
        (driver, handle)
    }

    /// Runs until the pod is removed or was never made.
    async fn serve(mut self) {
        while let Some(message) = self.inbox.recv().await {
            let go_on = match message {
                Message::Request(request) => {
                    self.handle_request(request);
                    true
                }
                Message::Event(event) => self.handle_event(event),
            };
            if !go_on {
                break;
            }
            self.advance();
            self.publish();
            self.tell_followers();
        }
    }

    fn handle_request(&mut self, request: Request) {
        match request {
            Request::AwaitReady(reply) => self.await_ready(reply),
            Request::StopPod(reply) => self.stop_pod(reply),
            Request::RemovePod(reply) => self.remove_pod(reply),
            Request::CreateContainer {
                config,
                restore,
                reply,
            } => self.create_container(*config, restore, reply),
            Request::StartContainer { .. }
            | Request::StopContainer { .. }
            | Request::RemoveContainer { .. }
            | Request::UpdateContainer { .. }
            | Request::UpdateByPlugin { .. }
            | Request::CheckpointContainer { .. } => self.container_request(request),
            Request::UpdatePod {
                overhead,
                resources,
                reply,
            } => self.update_pod(overhead, resources, reply),
        }
    }

    /// False when the pod is gone and the driver's task ends.
    fn handle_event(&mut self, event: Event) -> bool {
        match event {
            Event::PodRan { record, result } => return self.pod_ran(*record, result),
            Event::PodUnfetched => self.pod_unfetched(),
            Event::PodStopped(result) => self.pod_stopped(result),
            Event::PodRemoved(result) => return self.pod_removed(result),
            Event::InitExited => self.init_exited(),
            Event::ContainerCreated { id, result } => self.container_created(&id, result),
            Event::ContainerUnfetched(id) => self.container_unfetched(&id),
            Event::FoundStarted(id) => self.container_found_started(&id),
            Event::Started { id, result } => self.container_started(&id, result),
            Event::Checkpointed {
                id,
                location,
                result,
            } => self.container_checkpointed(&id, location, result),
            Event::FoundRestored { id, process } => self.container_found_restored(&id, process),
            Event::StopFailed { id, error } => self.container_stop_failed(&id, error),
            Event::Exited { id, exit } => self.container_exited(&id, exit),
            Event::ExitTold(id) => self.exit_told(&id),
            Event::PodUpdated(update) => self.pod_updated(*update),
            Event::Updated {
                id,
                resources,
                result,
            } => {
                self.container_updated(&id, *resources, result);
            }
            Event::Removed { id, result } => self.container_removed(&id, result),
            Event::MonitorGone => self.monitor_gone(),
        }
        true
    }

    /// What the jobs of this pod's containers need to know of the pod.
    fn context(&self) -> Context {
        Context {
            parts: Arc::clone(&self.parts),
            dirs: self.dirs.clone(),
            pod: self.record.id.clone(),
            pod_config: Arc::clone(&self.config),
            handler: self.record.runtime_handler.clone(),
            namespaces: self.record.namespaces.clone(),
            monitor: Arc::clone(&self.monitor),
        }
    }

    fn slot(&mut self, id: &ContainerId) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.record.id == *id)
    }

    fn publish(&self) {
        let visible = match self.work {
            PodWork::New | PodWork::Creating(_) => false,
            PodWork::Idle | PodWork::Stopping { .. } | PodWork::Removing { .. } => !self.unfetched,
        };
        let mut snapshot = picture(&self.record, &self.config, &self.slots);
        snapshot.monitor = self.monitor.identity();
        self.publish.send_replace(Published {
            snapshot: Arc::new(snapshot),
            visible,
        });
    }

    /// Writes the pod's record; a failure is logged, as the state in memory is the truth while the
    /// daemon lives.
    fn write_record(&self) {
        if let Err(error) = self.dirs.write_pod(&self.record) {
            tracing::error!(pod = %self.record.id, error = %Chain(&error), "cannot write the record");
        }
    }
}

fn picture(record: &PodRecord, config: &Arc<PodSandboxConfig>, slots: &[Slot]) -> PodSnapshot {
    PodSnapshot {
        id: record.id.clone(),
        config: Arc::clone(config),
        runtime_handler: record.runtime_handler.clone(),
        state: match record.phase {
            PodPhase::Ready => PodState::Ready,
            PodPhase::Creating | PodPhase::Stopping | PodPhase::Stopped => PodState::NotReady,
        },
        created_at: record.created_at,
        ips: record
            .attachment
            .as_ref()
            .map(|it| it.ips.clone())
            .unwrap_or_default(),
        namespaces: record.namespaces.clone(),
        init: record.init,
        monitor: None,
        containers: slots.iter().filter_map(Slot::picture).collect(),
    }
}

fn end_error(id: &PodId, source: TeardownError) -> Arc<EndPodError> {
    Arc::new(EndPodError::Teardown {
        id: id.clone(),
        source,
    })
}

/// Answers everyone who waits for the same thing. Who has gone away does not mind.
fn answer_all<T: Clone, E>(waiters: Vec<Reply<T, E>>, result: &Result<T, Arc<E>>) -> usize {
    waiters
        .into_iter()
        .filter_map(|reply| reply.send(result.clone()).ok())
        .count()
}

/// Prints an error with all its causes on one line.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn std::error::Error + 'a));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(source) = next {
            write!(f, ": {source}")?;
            next = source.source();
        }
        Ok(())
    }
}
