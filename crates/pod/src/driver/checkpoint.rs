//! Checkpoints of containers, and containers made from one.

use std::path::PathBuf;

use pinpod_kernel::process::ProcessIdentity;
use pinpod_model::ContainerId;

use super::messages::{Event, Reply};
use super::pod::tell;
use super::slot::Work;
use super::{Driver, answer_all};
use crate::container;
use crate::error::ContainerError;
use crate::sandbox::now;
use crate::snapshot::{ContainerPhase, Exit};

impl Driver {
    pub(super) fn begin_checkpoint(
        &mut self,
        index: usize,
        location: PathBuf,
        reply: Reply<(), ContainerError>,
    ) {
        let context = self.context();
        let slot = &mut self.slots[index];
        slot.work = Work::Checkpointing(reply);
        let snapshot = std::sync::Arc::new(slot.snapshot());
        let outbox = self.outbox.clone();
        tokio::spawn(async move {
            let result = container::checkpoint(&context, &snapshot, &location).await;
            let id = snapshot.id.clone();
            tell(
                &outbox,
                Event::Checkpointed {
                    id,
                    location,
                    result,
                },
            );
        });
    }

    /// An archive that nobody waits for any more is not left lying about.
    pub(super) fn container_checkpointed(
        &mut self,
        id: &ContainerId,
        location: PathBuf,
        result: Result<(), ContainerError>,
    ) {
        let Some(index) = self.slots.iter().position(|slot| slot.record.id == *id) else {
            return;
        };
        let work = std::mem::replace(&mut self.slots[index].work, Work::Idle);
        if let Work::Checkpointing(reply) = work {
            let taken = result.is_ok();
            let heard = answer_all(vec![reply], &result.map_err(std::sync::Arc::new));
            if taken && heard == 0 {
                tokio::spawn(container::discard_checkpoint(location));
            }
        }
        self.handle_deferred_of(index);
    }

    /// After a restart: one that was frozen for a checkpoint is thawed.
    pub(super) fn give_up_checkpoint(&self, id: ContainerId) {
        let context = self.context();
        tokio::spawn(async move { container::give_up_checkpoint(&context, &id).await });
    }

    /// Restores the processes of a container that was made from a checkpoint.
    pub(super) fn spawn_restore(&self, index: usize) {
        let context = self.context();
        let record = self.slots[index].record.clone();
        let outbox = self.outbox.clone();
        tokio::spawn(async move {
            let result = container::restore(&context, &record).await.map(Some);
            let id = record.id;
            tell(&outbox, Event::Started { id, result });
        });
    }

    /// Stopped before its processes were restored.
    pub(super) fn end_unrestored(&mut self, index: usize) {
        let exit = Exit {
            code: 137,
            finished_at: now(),
            oom_killed: false,
            message: "stopped before it was restored".to_owned(),
        };
        let started_at = None;
        self.slots[index].record.phase = ContainerPhase::Exited { started_at, exit };
        self.write_container(index);
        self.publish();
    }

    /// A crash between a restore and its record leaves a running container that is noted as one to
    /// restore.
    pub(super) fn ask_whether_restored(&self, id: ContainerId) {
        let context = self.context();
        let outbox = self.outbox.clone();
        tokio::spawn(async move {
            if let Some(process) = container::restored_process(&context, &id).await {
                tell(&outbox, Event::FoundRestored { id, process });
            }
        });
    }

    pub(super) fn container_found_restored(&mut self, id: &ContainerId, process: ProcessIdentity) {
        let Some(index) = self.slots.iter().position(|slot| slot.record.id == *id) else {
            return;
        };
        if self.slots[index].record.phase == ContainerPhase::Prepared {
            self.slots[index].record.phase = ContainerPhase::Running {
                process,
                started_at: now(),
            };
            self.write_container(index);
            self.connect_monitor();
        }
    }
}
