//! The events of pod sandboxes.

use pinpod_bundle::plugin::from_limits;
use pinpod_model::{LinuxResources, PodId};
use pinpod_nri::NriError;

use super::ledger::{KnownContainer, KnownPod};
use super::{Plugins, complain};
use crate::record::{ContainerRecord, PodPhase, PodRecord, RecordDirs};
use crate::snapshot::ContainerPhase;

impl Plugins {
    /// After a restart: what the records name was told to plugins by the last daemon, and will be
    /// told to those that join.
    pub(crate) fn take_up(
        &self,
        record: &PodRecord,
        containers: &[ContainerRecord],
        dirs: &RecordDirs,
    ) {
        let Some(link) = &self.link else { return };
        let mut ledger = link.ledger();
        let mut pod = KnownPod::of(record);
        pod.is_stopped = record.phase != PodPhase::Ready;
        ledger.pods.insert(record.id.clone(), pod);
        for record in containers {
            // One that was being made is undone before a plugin can join.
            if record.phase != ContainerPhase::Creating {
                let mut known = KnownContainer::of(record, &dirs.container(&record.id));
                known.set_limits(record.config.resources.clone());
                ledger.containers.insert(record.id.clone(), known);
            }
        }
    }

    /// A pod sandbox was made. When a plugin refuses it, the others are told that it is gone.
    pub(crate) async fn pod_ran(&self, record: &PodRecord) -> Result<(), NriError> {
        let Some(link) = &self.link else {
            return Ok(());
        };
        let turn = link.turn().await;
        let pod = KnownPod::of(record);
        if !turn.is_empty() {
            let view = pod.view();
            if let Err(error) = turn.run_pod_sandbox(&view).await {
                complain("a removal", &view.id, turn.remove_pod_sandbox(&view).await);
                return Err(error);
            }
        }
        link.ledger().pods.insert(record.id.clone(), pod);
        Ok(())
    }

    /// A pod sandbox is being stopped; its containers have ended. Told once, whatever comes of it.
    pub(crate) async fn pod_stops(&self, id: &PodId) {
        let Some(link) = &self.link else { return };
        let turn = link.turn().await;
        let view = match link.ledger().pods.get_mut(id) {
            Some(pod) if !pod.is_stopped => {
                pod.is_stopped = true;
                (!turn.is_empty()).then(|| pod.view())
            }
            _ => return,
        };
        if let Some(view) = view {
            complain("a stop", &view.id, turn.stop_pod_sandbox(&view).await);
        }
    }

    /// A pod sandbox is gone.
    pub(crate) async fn pod_removed(&self, id: &PodId) {
        let Some(link) = &self.link else { return };
        let turn = link.turn().await;
        let Some(pod) = link.ledger().pods.remove(id) else {
            return;
        };
        if !turn.is_empty() {
            let view = pod.view();
            complain("a removal", &view.id, turn.remove_pod_sandbox(&view).await);
        }
    }

    /// The resources of a pod change, as the kubelet says: before and after are one here, as the
    /// pod's cgroup is the kubelet's.
    pub(crate) async fn update_pod(
        &self,
        id: &PodId,
        overhead: Option<LinuxResources>,
        resources: Option<LinuxResources>,
    ) -> Result<(), NriError> {
        let Some(link) = &self.link else {
            return Ok(());
        };
        let turn = link.turn().await;
        let Some(mut pod) = link.ledger().pods.get(id).cloned() else {
            return Ok(());
        };
        if !turn.is_empty() {
            let wanted = |limits: &Option<LinuxResources>| limits.as_ref().map(from_limits);
            let (before, after) = (wanted(&overhead), wanted(&resources));
            turn.update_pod_sandbox(&pod.view(), before, after).await?;
        }
        pod.set_resources(overhead, resources);
        if !turn.is_empty() {
            let view = pod.view();
            let told = turn.post_update_pod_sandbox(&view).await;
            complain("an update", &view.id, told);
        }
        if let Some(known) = link.ledger().pods.get_mut(id) {
            *known = pod;
        }
        Ok(())
    }
}
