//! The sandbox itself: made, stopped, removed.

use std::sync::Arc;

use pinpod_model::PodId;

use super::messages::{Event, Message, Reply, Request};
use super::slot::Work;
use super::{Chain, Driver, EndStage, PodWork, answer_all, end_error};
use crate::error::{EndPodError, RunPodError, TeardownError};
use crate::record::{PodPhase, PodRecord};
use crate::snapshot::ContainerPhase;
use crate::{sandbox, watch_process};

impl Driver {
    pub(super) fn spawn_run(&self) {
        let parts = Arc::clone(&self.parts);
        let record = self.record.clone();
        let outbox = self.outbox.clone();
        tokio::spawn(async move {
            let (record, result) = sandbox::run(&parts, record).await;
            tell(
                &outbox,
                Event::PodRan {
                    record: Box::new(record),
                    result,
                },
            );
        });
    }

    /// Goes on where the records say the last daemon stopped.
    pub(super) fn take_up(&mut self) {
        match self.record.phase {
            PodPhase::Ready => self.watch_init(),
            PodPhase::Creating | PodPhase::Stopping => {
                self.record.phase = PodPhase::Stopping;
                self.work = PodWork::Stopping {
                    waiters: Vec::new(),
                    stage: EndStage::Containers,
                };
            }
            PodPhase::Stopped => {}
        }
        self.take_up_containers();
        self.advance();
        self.publish();
    }

    pub(super) fn await_ready(&mut self, reply: Reply<PodId, RunPodError>) {
        let id = self.record.id.clone();
        match (&mut self.work, self.record.phase) {
            (PodWork::New, _) => {
                self.work = PodWork::Creating(vec![reply]);
                self.spawn_run();
            }
            (PodWork::Creating(waiters), _) => waiters.push(reply),
            (PodWork::Idle, PodPhase::Ready) => {
                if reply.send(Ok(id)).is_ok() {
                    self.unfetched = false;
                }
            }
            _ => {
                let metadata = Box::new(self.config.metadata.clone());
                answer_all(
                    vec![reply],
                    &Err(Arc::new(RunPodError::Stopped { metadata, id })),
                );
            }
        }
    }

    pub(super) fn pod_ran(&mut self, record: PodRecord, result: Result<(), RunPodError>) -> bool {
        self.record = record;
        let PodWork::Creating(waiters) = std::mem::replace(&mut self.work, PodWork::Idle) else {
            return true;
        };
        match result {
            Ok(()) => {
                self.watch_init();
                self.publish();
                let fetched = answer_all(waiters, &Ok(self.record.id.clone()));
                if fetched == 0 {
                    self.unfetched = true;
                    self.tell_later(Event::PodUnfetched);
                }
                self.handle_deferred();
                true
            }
            Err(error) => {
                // The key must be free before anyone hears of the failure and tries again.
                self.index.forget(&self.config.metadata, &self.record.id);
                answer_all(waiters, &Err(Arc::new(error)));
                false
            }
        }
    }

    pub(super) fn pod_unfetched(&mut self) {
        if self.unfetched {
            tracing::info!(pod = %self.record.id, "nobody fetched the finished pod sandbox");
            let (reply, _) = tokio::sync::oneshot::channel();
            self.remove_pod(reply);
        }
    }

    fn watch_init(&self) {
        if let Some(init) = self.record.init {
            let outbox = self.outbox.clone();
            tokio::spawn(async move {
                watch_process::gone(init).await;
                tell(&outbox, Event::InitExited);
            });
        }
    }

    /// Every process of a PID namespace dies with its PID 1, so the sandbox is of no use any more.
    pub(super) fn init_exited(&mut self) {
        if self.record.phase == PodPhase::Ready {
            tracing::warn!(pod = %self.record.id, "pinpod-init ended; the pod sandbox is not ready");
            let (reply, _) = tokio::sync::oneshot::channel();
            self.stop_pod(reply);
        }
    }

    pub(super) fn stop_pod(&mut self, reply: Reply<(), EndPodError>) {
        match &mut self.work {
            PodWork::New | PodWork::Creating(_) | PodWork::Removing { .. } => {
                self.deferred.push(Request::StopPod(reply));
            }
            PodWork::Stopping { waiters, .. } => waiters.push(reply),
            PodWork::Idle if self.record.phase == PodPhase::Stopped => {
                answer_all(vec![reply], &Ok(()));
            }
            PodWork::Idle => {
                self.record.phase = PodPhase::Stopping;
                self.write_record();
                self.work = PodWork::Stopping {
                    waiters: vec![reply],
                    stage: EndStage::Containers,
                };
            }
        }
    }

    pub(super) fn remove_pod(&mut self, reply: Reply<(), EndPodError>) {
        match &mut self.work {
            PodWork::New | PodWork::Creating(_) | PodWork::Stopping { .. } => {
                self.deferred.push(Request::RemovePod(reply));
            }
            PodWork::Removing { waiters, .. } => waiters.push(reply),
            PodWork::Idle if self.record.phase == PodPhase::Stopped => {
                self.work = PodWork::Removing {
                    waiters: vec![reply],
                    stage: EndStage::Containers,
                };
            }
            PodWork::Idle => {
                let (stopped, _) = tokio::sync::oneshot::channel();
                self.stop_pod(stopped);
                self.deferred.push(Request::RemovePod(reply));
            }
        }
    }

    /// Takes the next step of a stop or removal when the last one is done.
    pub(super) fn advance(&mut self) {
        match &self.work {
            PodWork::Stopping {
                stage: EndStage::Containers,
                ..
            } => {
                if self.end_processes() {
                    self.spawn_teardown();
                }
            }
            PodWork::Removing {
                stage: EndStage::Containers,
                ..
            } => {
                if self.remove_containers() {
                    self.spawn_remove();
                }
            }
            PodWork::New
            | PodWork::Idle
            | PodWork::Creating(_)
            | PodWork::Stopping {
                stage: EndStage::Sandbox,
                ..
            }
            | PodWork::Removing {
                stage: EndStage::Sandbox,
                ..
            } => {}
        }
    }

    /// Kills what runs; true when nothing does any more and nothing is in progress.
    fn end_processes(&mut self) -> bool {
        for index in 0..self.slots.len() {
            match &self.slots[index].work {
                Work::Idle if self.slots[index].record.phase.process().is_some() => {
                    self.begin_stop(index, std::time::Duration::ZERO, None);
                }
                Work::Idle if self.slots[index].untold => self.begin_telling(index, Vec::new()),
                Work::Idle if self.slots[index].record.phase == ContainerPhase::Prepared => {
                    self.end_unrestored(index);
                }
                Work::Stopping { deadline, .. } => {
                    deadline.send_replace(tokio::time::Instant::now());
                }
                _ => {}
            }
        }
        self.slots.iter().all(super::Slot::is_settled)
    }

    fn remove_containers(&mut self) -> bool {
        for index in 0..self.slots.len() {
            if self.slots[index].is_settled() {
                self.begin_remove(index, None);
            }
        }
        self.slots.is_empty()
    }

    fn spawn_teardown(&mut self) {
        if let PodWork::Stopping { stage, .. } = &mut self.work {
            *stage = EndStage::Sandbox;
        }
        let parts = Arc::clone(&self.parts);
        let record = self.record.clone();
        let monitor = Arc::clone(&self.monitor);
        let outbox = self.outbox.clone();
        tokio::spawn(async move {
            parts.plugins.pod_stops(&record.id).await;
            monitor.shut_down().await;
            tell(
                &outbox,
                Event::PodStopped(sandbox::teardown(&parts, &record).await),
            );
        });
    }

    pub(super) fn pod_stopped(&mut self, result: Result<(), TeardownError>) {
        let PodWork::Stopping { waiters, .. } = std::mem::replace(&mut self.work, PodWork::Idle)
        else {
            return;
        };
        match result {
            Ok(()) => {
                self.record.phase = PodPhase::Stopped;
                self.record.init = None;
                self.write_record();
                self.publish();
                answer_all(waiters, &Ok(()));
                self.handle_deferred();
            }
            Err(error) => {
                tracing::warn!(pod = %self.record.id, error = %error, "cannot stop the pod sandbox");
                self.fail_end(waiters, error);
            }
        }
    }

    fn spawn_remove(&mut self) {
        if let PodWork::Removing { stage, .. } = &mut self.work {
            *stage = EndStage::Sandbox;
        }
        let parts = Arc::clone(&self.parts);
        let dirs = self.dirs.clone();
        let id = self.record.id.clone();
        let outbox = self.outbox.clone();
        tokio::spawn(async move {
            let result = sandbox::remove_directory(&dirs, &id).await;
            if result.is_ok() {
                parts.plugins.pod_removed(&id).await;
            }
            tell(&outbox, Event::PodRemoved(result));
        });
    }

    pub(super) fn pod_removed(&mut self, result: Result<(), TeardownError>) -> bool {
        let PodWork::Removing { waiters, .. } = std::mem::replace(&mut self.work, PodWork::Idle)
        else {
            return true;
        };
        match result {
            Ok(()) => {
                self.index.forget(&self.config.metadata, &self.record.id);
                self.tell_deleted();
                answer_all(waiters, &Ok(()));
                false
            }
            Err(error) => {
                self.fail_end(waiters, error);
                true
            }
        }
    }

    /// Stop or removal failed: everyone who waits for the pod's end hears of it, so that the
    /// caller decides when to try again.
    pub(super) fn fail_end(&mut self, waiters: Vec<Reply<(), EndPodError>>, source: TeardownError) {
        let error = Err(end_error(&self.record.id, source));
        answer_all(waiters, &error);
        let deferred = std::mem::take(&mut self.deferred);
        for request in deferred {
            match request {
                Request::StopPod(reply) | Request::RemovePod(reply) => {
                    answer_all(vec![reply], &error);
                }
                other => self.handle_request(other),
            }
        }
    }

    /// A container that cannot be removed ends the removal of its pod.
    pub(super) fn abort_removal(&mut self, source: TeardownError) {
        if let PodWork::Removing { .. } = self.work
            && let PodWork::Removing { waiters, .. } =
                std::mem::replace(&mut self.work, PodWork::Idle)
        {
            self.fail_end(waiters, source);
        }
    }

    fn handle_deferred(&mut self) {
        for request in std::mem::take(&mut self.deferred) {
            self.handle_request(request);
        }
    }

    pub(super) fn tell_later(&self, event: Event) {
        let outbox = self.outbox.clone();
        let grace = self.parts.settings.unfetched_grace;
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            tell(&outbox, event);
        });
    }
}

/// The driver may be gone; then nobody needs to know.
pub(super) fn tell(outbox: &tokio::sync::mpsc::UnboundedSender<Message>, event: Event) {
    if let Err(lost) = outbox.send(Message::Event(event)) {
        tracing::debug!(event = ?lost.0, "the pod is gone");
    }
}

/// Logs what is not worth failing for.
pub(super) fn log_error(pod: &PodId, what: &str, error: &(dyn std::error::Error + 'static)) {
    tracing::error!(%pod, error = %Chain(error), "{what}");
}
