//! CreateContainer: joined, or begun as a job whose result may wait for who fetches it.

use std::sync::Arc;

use pinpod_model::{ContainerConfig, ContainerId, PidMode};

use super::messages::{Event, Reply, Request};
use super::pod::tell;
use super::slot::{Slot, Work};
use super::{Driver, PodWork, answer_all};
use crate::container::{self, FailedCreation};
use crate::error::CreateContainerError;
use crate::record::{Checkpoint, ContainerRecord, PodPhase};
use crate::snapshot::ContainerPhase;

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
}
