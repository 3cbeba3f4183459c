//! The containers of the pod: what requests begin, and what their ends change.

use std::sync::Arc;
use std::time::Duration;

use pinpod_kernel::process::ProcessIdentity;
use pinpod_model::{ContainerConfig, ContainerId, LinuxResources, PidMode, Signal};
use tokio::sync::watch;
use tokio::time::Instant;

use super::messages::{Event, Reply, Request};
use super::pod::{log_error, tell};
use super::slot::{Slot, Work};
use super::{Driver, PodWork, answer_all};
use crate::container::{self, FailedCreation, NewLimits};
use crate::error::{ContainerError, CreateContainerError, TeardownError};
use crate::policy::{Ask, Decision, Stage, decide};
use crate::record::{Checkpoint, ContainerRecord, PodPhase};
use crate::snapshot::{ContainerPhase, Exit};
use crate::{sandbox, watch_process};

impl Driver {
    pub(super) fn create_container(
        &mut self,
        config: ContainerConfig,
        restore: Option<Checkpoint>,
        reply: Reply<ContainerId, CreateContainerError>,
    ) {
        if matches!(self.work, PodWork::New | PodWork::Creating(_)) {
            let config = Box::new(config);
            self.deferred.push(Request::CreateContainer {
                config,
                restore,
                reply,
            });
            return;
        }
        if !matches!(self.work, PodWork::Idle) || self.record.phase != PodPhase::Ready {
            let error = CreateContainerError::PodNotReady(self.record.id.clone());
            answer_all(vec![reply], &Err(Arc::new(error)));
            return;
        }
        let key = &config.metadata;
        if let Some(slot) = self
            .slots
            .iter_mut()
            .find(|slot| slot.config.metadata == *key && !slot.abandoned)
        {
            if let Work::Creating(waiters) = &mut slot.work {
                waiters.push(reply);
            } else if reply.send(Ok(slot.record.id.clone())).is_ok() {
                slot.unfetched = false;
            }
            return;
        }
        match self.new_slot(config, restore) {
            Ok(mut slot) => {
                slot.work = Work::Creating(vec![reply]);
                self.spawn_create(&slot);
                self.slots.push(slot);
            }
            Err(error) => {
                answer_all(vec![reply], &Err(Arc::new(error)));
            }
        }
    }

    fn new_slot(
        &self,
        config: ContainerConfig,
        restore: Option<Checkpoint>,
    ) -> Result<Slot, CreateContainerError> {
        container::check(&self.record, &config, restore.is_some())?;
        let target = self.pid_target(&config)?;
        let mut record = container::new_record(&self.parts, &self.record, config)?;
        record.target = target;
        record.restore = restore;
        Ok(Slot::new(record, &self.dirs))
    }

    /// The process whose PID namespace a container joins by PID mode TARGET.
    fn pid_target(
        &self,
        config: &ContainerConfig,
    ) -> Result<Option<pinpod_kernel::process::ProcessIdentity>, CreateContainerError> {
        let PidMode::Target(target) = &config.security.namespaces.pid else {
            return Ok(None);
        };
        self.slots
            .iter()
            .find(|slot| slot.record.id == *target)
            .and_then(|slot| slot.record.phase.process())
            .map(Some)
            .ok_or_else(|| CreateContainerError::NoTarget(target.clone()))
    }

    fn spawn_create(&self, slot: &Slot) {
        let context = self.context();
        let record = slot.record.clone();
        let outbox = self.outbox.clone();
        tokio::spawn(async move {
            let id = record.id.clone();
            let result = container::create(&context, record).await.map(Box::new);
            tell(&outbox, Event::ContainerCreated { id, result });
        });
    }

    pub(super) fn container_created(
        &mut self,
        id: &ContainerId,
        result: Result<Box<ContainerRecord>, FailedCreation>,
    ) {
        let Some(index) = self.slots.iter().position(|slot| slot.record.id == *id) else {
            return;
        };
        let slot = &mut self.slots[index];
        let Work::Creating(waiters) = std::mem::replace(&mut slot.work, Work::Idle) else {
            return;
        };
        match result {
            Ok(record) => {
                // The monitor may have told of an exit before the job reported its success.
                let ended = matches!(slot.record.phase, ContainerPhase::Exited { .. });
                let phase = if ended {
                    slot.record.phase.clone()
                } else {
                    record.phase.clone()
                };
                slot.record = ContainerRecord { phase, ..*record };
                self.write_container(index);
                self.publish();
                let fetched = answer_all(waiters, &Ok(id.clone()));
                if fetched == 0 {
                    self.slots[index].unfetched = true;
                    self.tell_later(Event::ContainerUnfetched(id.clone()));
                }
                self.handle_deferred_of(index);
            }
            Err(FailedCreation { error, undone }) => {
                // The key must be free before anyone hears of the failure and tries again.
                match undone {
                    Ok(()) => drop(self.slots.remove(index)),
                    Err(undo) => {
                        tracing::error!(container = %id, error = %undo, "a failed container is left");
                        self.slots[index].abandoned = true;
                        self.slots[index].untold = false;
                    }
                }
                answer_all(waiters, &Err(Arc::new(error)));
            }
        }
    }

    pub(super) fn container_unfetched(&mut self, id: &ContainerId) {
        if let Some(slot) = self.slot(id)
            && slot.unfetched
        {
            tracing::info!(container = %id, "nobody fetched the finished container");
            let (reply, _) = tokio::sync::oneshot::channel();
            self.container_request(Request::RemoveContainer {
                id: id.clone(),
                reply,
            });
        }
    }

    /// Start, stop, remove or update of one container.
    pub(super) fn container_request(&mut self, request: Request) {
        let (id, ask) = match &request {
            Request::StartContainer { id, .. } => (id, Ask::Start),
            Request::StopContainer { id, .. } => (id, Ask::Stop),
            Request::RemoveContainer { id, .. } => (id, Ask::Remove),
            Request::UpdateContainer { id, .. } | Request::UpdateByPlugin { id, .. } => {
                (id, Ask::Update)
            }
            Request::CheckpointContainer { id, .. } => (id, Ask::Checkpoint),
            Request::AwaitReady(_)
            | Request::StopPod(_)
            | Request::RemovePod(_)
            | Request::UpdatePod { .. }
            | Request::CreateContainer { .. } => return,
        };
        // Gone in the meantime: dropping the reply says so.
        let Some(index) = self.slots.iter().position(|slot| slot.record.id == *id) else {
            return;
        };
        let slot = &self.slots[index];
        let decision = decide(Stage::from(&slot.record.phase), slot.work.busy(), ask);
        match decision {
            Decision::Do => self.do_request(index, request),
            Decision::AlreadyDone => {
                answer_all(
                    vec![into_reply(request)].into_iter().flatten().collect(),
                    &Ok(()),
                );
            }
            Decision::Join => self.join_request(index, request),
            Decision::Defer => self.slots[index].deferred.push(request),
            Decision::StopFirst => {
                self.stop_now(index);
                self.slots[index].deferred.push(request);
            }
            Decision::Deny => {
                let verb = match ask {
                    Ask::Start => "started",
                    Ask::Stop => "stopped",
                    Ask::Remove => "removed",
                    Ask::Update => "updated",
                    Ask::Checkpoint => "checkpointed",
                };
                let state = Stage::from(&slot.record.phase).word();
                let error = ContainerError::State {
                    id: id.clone(),
                    state,
                    verb,
                };
                let waiters = into_reply(request).into_iter().collect();
                answer_all::<(), _>(waiters, &Err(Arc::new(error)));
            }
        }
    }

    fn do_request(&mut self, index: usize, request: Request) {
        match request {
            Request::StartContainer { reply, .. } => self.begin_start(index, reply),
            Request::StopContainer { grace, reply, .. } => {
                self.begin_stop(index, grace, Some(reply));
            }
            Request::RemoveContainer { reply, .. } => self.begin_remove(index, Some(reply)),
            Request::UpdateContainer {
                resources, reply, ..
            } => {
                self.begin_update(index, NewLimits::Asked(resources), reply);
            }
            Request::UpdateByPlugin { limits, reply, .. } => {
                self.begin_update(index, NewLimits::ByPlugin(limits), reply);
            }
            Request::CheckpointContainer {
                location, reply, ..
            } => self.begin_checkpoint(index, location, reply),
            Request::AwaitReady(_)
            | Request::StopPod(_)
            | Request::RemovePod(_)
            | Request::UpdatePod { .. }
            | Request::CreateContainer { .. } => {}
        }
    }

    fn join_request(&mut self, index: usize, request: Request) {
        let now = Instant::now();
        match (&mut self.slots[index].work, request) {
            (Work::Starting(waiters), Request::StartContainer { reply, .. })
            | (
                Work::Removing(waiters),
                Request::RemoveContainer { reply, .. } | Request::StopContainer { reply, .. },
            )
            | (Work::Telling(waiters), Request::StopContainer { reply, .. }) => waiters.push(reply),
            (Work::Stopping { deadline, waiters }, Request::StopContainer { grace, reply, .. }) => {
                deadline.send_if_modified(|until| {
                    let sooner = now.checked_add(grace).filter(|it| it < until);
                    sooner.map(|it| *until = it).is_some()
                });
                waiters.push(reply);
            }
            _ => {}
        }
    }

    fn begin_start(&mut self, index: usize, reply: Reply<(), ContainerError>) {
        let context = self.context();
        let slot = &mut self.slots[index];
        slot.work = Work::Starting(vec![reply]);
        if slot.record.phase == ContainerPhase::Prepared {
            self.spawn_restore(index);
            return;
        }
        let id = slot.record.id.clone();
        let outbox = self.outbox.clone();
        tokio::spawn(async move {
            let result = container::start(&context, &id).await.map(|()| None);
            tell(&outbox, Event::Started { id, result });
        });
    }

    pub(super) fn container_started(
        &mut self,
        id: &ContainerId,
        result: Result<Option<ProcessIdentity>, ContainerError>,
    ) {
        let Some(index) = self.slots.iter().position(|slot| slot.record.id == *id) else {
            return;
        };
        let slot = &mut self.slots[index];
        let Work::Starting(waiters) = std::mem::replace(&mut slot.work, Work::Idle) else {
            return;
        };
        match (&result, &mut slot.record.phase) {
            (Ok(restored), phase @ (ContainerPhase::Created { .. } | ContainerPhase::Prepared)) => {
                if let Some(process) = phase.process().or(*restored) {
                    *phase = ContainerPhase::Running {
                        process,
                        started_at: sandbox::now(),
                    };
                }
            }
            // It was so short that its exit was told first.
            (Ok(_), ContainerPhase::Exited { started_at, exit }) => {
                started_at.get_or_insert(exit.finished_at);
            }
            _ => {}
        }
        self.write_container(index);
        self.publish();
        let failed = result.is_err();
        answer_all(waiters, &result.map(drop).map_err(Arc::new));
        if failed && self.slots[index].record.phase.process().is_some() {
            self.begin_stop(index, Duration::ZERO, None);
        } else {
            self.handle_deferred_of(index);
        }
    }

    pub(super) fn begin_stop(
        &mut self,
        index: usize,
        grace: Duration,
        reply: Option<Reply<(), ContainerError>>,
    ) {
        if self.slots[index].record.phase == ContainerPhase::Prepared {
            self.end_unrestored(index);
        }
        let slot = &mut self.slots[index];
        let Some(process) = slot.record.phase.process() else {
            answer_all(reply.into_iter().collect(), &Ok(()));
            return;
        };
        // An init that waits for its start has no handler for a polite signal.
        let running = matches!(slot.record.phase, ContainerPhase::Running { .. });
        let grace = if running { grace } else { Duration::ZERO };
        let now = Instant::now();
        let until = now.checked_add(grace).unwrap_or(now + FAR);
        let (deadline, deadline_seen) = watch::channel(until);
        slot.work = Work::Stopping {
            deadline,
            waiters: reply.into_iter().collect(),
        };
        let order = container::StopOrder {
            id: slot.record.id.clone(),
            process,
            signal: slot.record.stop_signal.unwrap_or(Signal::TERM),
            cgroup: slot.record.cgroup.clone(),
        };
        let parts = Arc::clone(&self.parts);
        let outbox = self.outbox.clone();
        tokio::spawn(async move {
            let id = order.id.clone();
            if let Err(error) = container::stop(&parts, order, deadline_seen).await {
                tell(
                    &outbox,
                    Event::StopFailed {
                        id,
                        error: Arc::new(error),
                    },
                );
            }
        });
    }

    fn stop_now(&mut self, index: usize) {
        match &self.slots[index].work {
            Work::Stopping { deadline, .. } => drop(deadline.send_replace(Instant::now())),
            Work::Telling(_) => {}
            _ => self.begin_stop(index, Duration::ZERO, None),
        }
    }

    pub(super) fn container_stop_failed(&mut self, id: &ContainerId, error: Arc<ContainerError>) {
        let Some(slot) = self.slot(id) else { return };
        if let Work::Stopping { waiters, .. } = std::mem::replace(&mut slot.work, Work::Idle) {
            answer_all(waiters, &Err(error));
        }
    }

    pub(super) fn container_exited(&mut self, id: &ContainerId, exit: Exit) {
        let Some(index) = self.slots.iter().position(|slot| slot.record.id == *id) else {
            return;
        };
        let slot = &mut self.slots[index];
        let started_at = match &slot.record.phase {
            ContainerPhase::Exited { .. } => return,
            ContainerPhase::Running { started_at, .. } => Some(*started_at),
            ContainerPhase::Created { .. }
            | ContainerPhase::Prepared
            | ContainerPhase::Creating => None,
        };
        slot.record.phase = ContainerPhase::Exited { started_at, exit };
        let cgroup = slot.record.cgroup.clone();
        // Only a PID namespace of its own takes a container's other processes along.
        let lone = slot.config.security.namespaces.pid == PidMode::Container;
        // A creation in progress writes the record itself, with this phase put in at its end.
        let creating = matches!(slot.work, Work::Creating(_));
        if !creating {
            self.write_container(index);
        }
        if !lone {
            container::kill_rest(&self.parts, id, &cgroup);
        }
        self.publish();
        self.exit_known(index);
    }

    fn begin_update(&mut self, index: usize, limits: NewLimits, reply: Reply<(), ContainerError>) {
        let context = self.context();
        let slot = &mut self.slots[index];
        slot.work = Work::Updating(reply);
        let snapshot = slot.snapshot();
        let outbox = self.outbox.clone();
        tokio::spawn(async move {
            let id = snapshot.id.clone();
            let (resources, result) = container::update(&context, &snapshot, limits).await;
            let resources = Box::new(resources);
            tell(
                &outbox,
                Event::Updated {
                    id,
                    resources,
                    result,
                },
            );
        });
    }

    pub(super) fn container_updated(
        &mut self,
        id: &ContainerId,
        resources: LinuxResources,
        result: Result<(), ContainerError>,
    ) {
        let Some(index) = self.slots.iter().position(|slot| slot.record.id == *id) else {
            return;
        };
        let slot = &mut self.slots[index];
        if !matches!(slot.work, Work::Updating(_)) {
            return;
        }
        if result.is_ok() {
            let merged = container::merge_resources(&slot.record.config.resources, resources);
            slot.record.config.resources = merged;
            slot.config = Arc::new(slot.record.config.clone());
            self.write_container(index);
            self.publish();
        }
        if let Work::Updating(reply) = std::mem::replace(&mut self.slots[index].work, Work::Idle) {
            answer_all(vec![reply], &result.map_err(Arc::new));
        }
        self.handle_deferred_of(index);
    }

    pub(super) fn begin_remove(&mut self, index: usize, reply: Option<Reply<(), ContainerError>>) {
        let context = self.context();
        let slot = &mut self.slots[index];
        slot.work = Work::Removing(reply.into_iter().collect());
        let record = slot.record.clone();
        let outbox = self.outbox.clone();
        tokio::spawn(async move {
            let result = container::remove(&context, &record).await;
            tell(
                &outbox,
                Event::Removed {
                    id: record.id,
                    result,
                },
            );
        });
    }

    pub(super) fn container_removed(
        &mut self,
        id: &ContainerId,
        result: Result<(), TeardownError>,
    ) {
        let Some(index) = self.slots.iter().position(|slot| slot.record.id == *id) else {
            return;
        };
        let slot = &mut self.slots[index];
        let Work::Removing(waiters) = std::mem::replace(&mut slot.work, Work::Idle) else {
            return;
        };
        match result {
            Ok(()) => {
                // What was put off is dropped with the slot: its askers learn that it is gone.
                self.slots.remove(index);
                self.publish();
                answer_all(waiters, &Ok(()));
            }
            Err(error) => {
                let copy = TeardownError {
                    object: error.object.clone(),
                    failures: error.failures.clone(),
                };
                answer_all(waiters, &Err(Arc::new(error.into())));
                self.abort_removal(copy);
            }
        }
    }

    /// Without its monitor nobody reaps a container's init for us, so the end of the process
    /// itself is all that can be learnt.
    pub(super) fn monitor_gone(&mut self) {
        for slot in &self.slots {
            let Some(process) = slot.record.phase.process() else {
                continue;
            };
            tracing::warn!(container = %slot.record.id, "its monitor is gone; watching its process");
            let id = slot.record.id.clone();
            let bundle = slot.bundle.clone();
            let outbox = self.outbox.clone();
            tokio::spawn(async move {
                watch_process::gone(process).await;
                let exit = watch_process::exit_of_unwatched(&bundle);
                tell(&outbox, Event::Exited { id, exit });
            });
        }
    }

    /// After a restart: containers that were being made are undone, those that ended meanwhile are
    /// known as ended before anyone can ask, the others are asked after.
    pub(super) fn take_up_containers(&mut self) {
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            let id = slot.record.id.clone();
            if slot.record.phase == ContainerPhase::Creating {
                self.begin_remove(index, None);
            } else if slot.record.phase.process().is_some()
                && let Some(exit) = watch_process::noted_exit(&slot.bundle)
            {
                self.container_exited(&id, exit);
            } else if matches!(slot.record.phase, ContainerPhase::Created { .. }) {
                self.ask_whether_started(id);
            } else if slot.record.phase == ContainerPhase::Prepared {
                self.ask_whether_restored(id);
            } else if slot.record.phase.process().is_some() {
                self.give_up_checkpoint(id);
            }
        }
        if self
            .slots
            .iter()
            .any(|slot| slot.record.phase.process().is_some())
        {
            self.connect_monitor();
        }
    }

    /// After a restart: its exits are told from now on.
    pub(super) fn connect_monitor(&self) {
        let monitor = Arc::clone(&self.monitor);
        let outbox = self.outbox.clone();
        tokio::spawn(async move {
            if let Err(error) = monitor.connect().await {
                tracing::warn!(%error, "a pod's monitor does not answer after the restart");
                tell(&outbox, Event::MonitorGone);
            }
        });
    }

    /// A crash between a start and its record leaves a running container that is noted as created.
    fn ask_whether_started(&self, id: ContainerId) {
        let context = self.context();
        let outbox = self.outbox.clone();
        tokio::spawn(async move {
            if container::is_started(&context, &id).await {
                tell(&outbox, Event::FoundStarted(id));
            }
        });
    }

    pub(super) fn container_found_started(&mut self, id: &ContainerId) {
        let Some(index) = self.slots.iter().position(|slot| slot.record.id == *id) else {
            return;
        };
        let phase = &mut self.slots[index].record.phase;
        if let ContainerPhase::Created { process } = *phase {
            *phase = ContainerPhase::Running {
                process,
                started_at: sandbox::now(),
            };
            self.write_container(index);
        }
    }

    pub(super) fn handle_deferred_of(&mut self, index: usize) {
        if self.slots[index].untold {
            self.begin_telling(index, Vec::new());
            return;
        }
        for request in std::mem::take(&mut self.slots[index].deferred) {
            self.container_request(request);
        }
    }

    pub(super) fn write_container(&self, index: usize) {
        let record = &self.slots[index].record;
        if let Err(error) = self.dirs.write_container(record) {
            log_error(&self.record.id, "cannot write a container's record", &error);
        }
    }
}

/// A grace period that overflows the clock.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

fn into_reply(request: Request) -> Option<Reply<(), ContainerError>> {
    match request {
        Request::StartContainer { reply, .. }
        | Request::StopContainer { reply, .. }
        | Request::RemoveContainer { reply, .. }
        | Request::UpdateContainer { reply, .. }
        | Request::UpdateByPlugin { reply, .. }
        | Request::CheckpointContainer { reply, .. } => Some(reply),
        Request::AwaitReady(_)
        | Request::StopPod(_)
        | Request::RemovePod(_)
        | Request::UpdatePod { .. }
        | Request::CreateContainer { .. } => None,
    }
}
