//! What a restarted daemon, or one whose monitor has gone, finds of containers.

use std::sync::Arc;

use pinpod_model::ContainerId;

use super::Driver;
use super::messages::Event;
use super::pod::tell;
use crate::container;
use crate::snapshot::ContainerPhase;
use crate::{sandbox, watch_process};

impl Driver {
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
}
