//! What the driver does for NRI plugins: it tells that containers have ended, after whatever else is
//! in progress on them and before whatever comes next, and passes on what the pod may use.

use std::sync::Arc;

use pinpod_model::{ContainerId, LinuxResources};

use super::messages::{Event, PodUpdate, Reply};
use super::pod::tell;
use super::slot::Work;
use super::{Driver, PodWork, answer_all};
use crate::error::{ContainerError, UpdatePodError};
use crate::snapshot::ContainerPhase;

impl Driver {
    /// A container's exit is recorded and published.
    pub(super) fn exit_known(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let is_removing = matches!(slot.work, Work::Removing(_));
        slot.untold = self.parts.plugins.possible() && !is_removing;
        let is_free = match slot.work {
            Work::Stopping { .. } => true,
            Work::Idle => slot.untold,
            _ => false,
        };
        if !is_free {
            return;
        }
        let waiters = match std::mem::replace(&mut slot.work, Work::Idle) {
            Work::Stopping { waiters, .. } => waiters,
            _ => Vec::new(),
        };
        if slot.untold {
            self.begin_telling(index, waiters);
        } else {
            answer_all(waiters, &Ok(()));
            self.handle_deferred_of(index);
        }
    }

    /// Tells plugins that an idle container has ended; who waits for its stop waits for that too.
    pub(super) fn begin_telling(&mut self, index: usize, waiters: Vec<Reply<(), ContainerError>>) {
        let slot = &mut self.slots[index];
        slot.untold = false;
        let ContainerPhase::Exited { started_at, exit } = slot.record.phase.clone() else {
            answer_all(waiters, &Ok(()));
            return;
        };
        slot.work = Work::Telling(waiters);
        let id = slot.record.id.clone();
        let parts = Arc::clone(&self.parts);
        let outbox = self.outbox.clone();
        tokio::spawn(async move {
            parts.plugins.container_ended(&id, started_at, exit).await;
            tell(&outbox, Event::ExitTold(id));
        });
    }

    pub(super) fn exit_told(&mut self, id: &ContainerId) {
        let Some(index) = self.slots.iter().position(|slot| slot.record.id == *id) else {
            return;
        };
        let slot = &mut self.slots[index];
        if matches!(slot.work, Work::Telling(_))
            && let Work::Telling(waiters) = std::mem::replace(&mut slot.work, Work::Idle)
        {
            answer_all(waiters, &Ok(()));
            self.handle_deferred_of(index);
        }
    }

    /// Only tells: the pod's cgroup is the kubelet's.
    pub(super) fn update_pod(
        &mut self,
        overhead: Option<Box<LinuxResources>>,
        resources: Option<Box<LinuxResources>>,
        reply: Reply<(), UpdatePodError>,
    ) {
        if !matches!(self.work, PodWork::Idle) {
            let error = UpdatePodError::Busy(self.record.id.clone());
            answer_all(vec![reply], &Err(Arc::new(error)));
            return;
        }
        let parts = Arc::clone(&self.parts);
        let id = self.record.id.clone();
        let outbox = self.outbox.clone();
        tokio::spawn(async move {
            let plain = |limits: &Option<Box<LinuxResources>>| limits.as_deref().cloned();
            let result = parts
                .plugins
                .update_pod(&id, plain(&overhead), plain(&resources))
                .await
                .map_err(|source| UpdatePodError::Plugin { id, source });
            let update = PodUpdate {
                overhead,
                resources,
                reply,
                result,
            };
            tell(&outbox, Event::PodUpdated(Box::new(update)));
        });
    }

    pub(super) fn pod_updated(&mut self, update: PodUpdate) {
        if update.result.is_ok() {
            let config = &mut self.record.config;
            config.overhead = update.overhead.map(|it| *it).or(config.overhead.take());
            config.resources = update.resources.map(|it| *it).or(config.resources.take());
            self.config = Arc::new(config.clone());
            self.write_record();
        }
        answer_all(vec![update.reply], &update.result.map_err(Arc::new));
    }
}
