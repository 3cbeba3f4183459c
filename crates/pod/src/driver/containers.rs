//! The containers of the pod: what requests begin, and what their ends change.

use std::sync::Arc;
use std::time::Duration;

use pinpod_kernel::process::ProcessIdentity;
use pinpod_model::{ContainerId, LinuxResources, PidMode, Signal};
use tokio::sync::watch;
use tokio::time::Instant;

use super::messages::{Event, Reply, Request};
use super::pod::{log_error, tell};
use super::slot::Work;
use super::{Driver, answer_all};
use crate::container::{self, NewLimits};
use crate::error::{ContainerError, TeardownError};
use crate::policy::{Ask, Decision, Stage, decide};
use crate::sandbox;
use crate::snapshot::{ContainerPhase, Exit};

impl Driver {
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
