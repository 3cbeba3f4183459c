//! The events of containers.

use std::path::Path;

use oci_spec::runtime::Spec;
use pinpod_bundle::plugin::{from_limits, to_limits};
use pinpod_kernel::process::ProcessIdentity;
use pinpod_model::{ContainerId, LinuxResources};
use pinpod_nri::api::{ContainerAdjustment, ContainerUpdate};
use pinpod_nri::{NriError, Turn, api};
use serde_json::Value;

use super::ledger::KnownContainer;
use super::{Link, Plugins, complain, host};
use crate::record::ContainerRecord;
use crate::snapshot::{ContainerPhase, Exit};

/// What an update becomes when plugins have had their say.
#[derive(Debug)]
pub(crate) struct Update {
    /// All limits that shall be set.
    pub(crate) limits: api::LinuxResources,
    /// Those of them that CRI can tell of.
    pub(crate) told: LinuxResources,
}

impl Link {
    /// The pod and the container as plugins see them; `None` if there is nobody to see them, or
    /// plugins were never told of them.
    fn views(&self, turn: &Turn, id: &ContainerId) -> Option<(api::PodSandbox, api::Container)> {
        if turn.is_empty() {
            return None;
        }
        let (pod, container) = {
            let ledger = self.ledger();
            let container = ledger.containers.get(id)?.clone();
            (ledger.pods.get(&container.pod)?.view(), container)
        };
        Some((pod, container.view()))
    }

    fn set_phase(&self, id: &ContainerId, phase: ContainerPhase) {
        if let Some(known) = self.ledger().containers.get_mut(id) {
            known.phase = phase;
        }
    }
}

impl Plugins {
    /// A container is about to be made from `spec`. Returns how plugins want it. When this has
    /// succeeded, [`Self::create_failed`] or [`Self::container_created`] must be told.
    pub(crate) async fn create_container(
        &self,
        record: &ContainerRecord,
        bundle: &Path,
        spec: &Spec,
    ) -> Result<Option<ContainerAdjustment>, NriError> {
        let Some(link) = &self.link else {
            return Ok(None);
        };
        let known = KnownContainer::of(record, bundle);
        let turn = link.turn().await;
        let pod =
            (!turn.is_empty()).then(|| link.ledger().pods.get(&record.pod).map(|it| it.view()));
        let creation = match pod.flatten() {
            None => None,
            Some(pod) => {
                let document = serde_json::to_value(spec).unwrap_or_default();
                let view = known.view_of(&document);
                match turn.create_container(&pod, view.clone()).await {
                    Ok(creation) => Some(creation),
                    Err(error) => {
                        // Who had agreed must know that nothing comes of it.
                        undo(&turn, &pod, &view).await;
                        return Err(error);
                    }
                }
            }
        };
        link.ledger().containers.insert(record.id.clone(), known);
        drop(turn);
        let Some(creation) = creation else {
            return Ok(None);
        };
        host::carry_out(link, "creation", creation.updates, creation.evictions).await;
        Ok(Some(creation.adjust))
    }

    /// The creation failed after plugins had agreed; everything is undone.
    pub(crate) async fn create_failed(&self, id: &ContainerId) {
        let Some(link) = &self.link else { return };
        let turn = link.turn().await;
        let Some(container) = link.ledger().containers.remove(id) else {
            return;
        };
        let pod = link.ledger().pods.get(&container.pod).map(|pod| pod.view());
        if let Some(pod) = pod
            && !turn.is_empty()
        {
            // Its bundle is gone by now, and with it all but its names.
            undo(&turn, &pod, &container.view_of(&Value::Null)).await;
        }
    }

    /// The container was made.
    pub(crate) async fn container_created(&self, id: &ContainerId, phase: &ContainerPhase) {
        let Some(link) = &self.link else { return };
        let turn = link.turn().await;
        link.set_phase(id, phase.clone());
        if let Some((pod, container)) = link.views(&turn, id) {
            let told = turn.post_create_container(&pod, &container).await;
            complain("a creation", id.as_str(), told);
        }
    }

    /// A container is about to start.
    pub(crate) async fn start_container(&self, id: &ContainerId) -> Result<(), NriError> {
        let Some(link) = &self.link else {
            return Ok(());
        };
        let turn = link.turn().await;
        match link.views(&turn, id) {
            Some((pod, container)) => turn.start_container(&pod, &container).await,
            None => Ok(()),
        }
    }

    /// A container was started; one that was restored has its process only now.
    pub(crate) async fn container_started(
        &self,
        id: &ContainerId,
        restored: Option<ProcessIdentity>,
        started_at: i64,
    ) {
        let Some(link) = &self.link else { return };
        let turn = link.turn().await;
        if let Some(known) = link.ledger().containers.get_mut(id)
            && let Some(process) = known.phase.process().or(restored)
        {
            known.phase = ContainerPhase::Running {
                process,
                started_at,
            };
        }
        if let Some((pod, container)) = link.views(&turn, id) {
            let told = turn.post_start_container(&pod, &container).await;
            complain("a start", id.as_str(), told);
        }
    }

    /// The limits of a container are about to change. `None`: as asked, nobody minds.
    pub(crate) async fn update_container(
        &self,
        id: &ContainerId,
        asked: &LinuxResources,
    ) -> Result<Option<Update>, NriError> {
        let Some(link) = &self.link else {
            return Ok(None);
        };
        let turn = link.turn().await;
        let Some((pod, container)) = link.views(&turn, id) else {
            return Ok(None);
        };
        let outcome = turn.update_container(&pod, &container, from_limits(asked));
        let outcome = outcome.await?;
        drop(turn);
        host::carry_out(link, "update", outcome.updates, outcome.evictions).await;
        Ok(Some(Update {
            told: to_limits(&outcome.resources),
            limits: outcome.resources,
        }))
    }

    /// The limits of a container have changed to `now`.
    pub(crate) async fn container_updated(&self, id: &ContainerId, now: LinuxResources) {
        let Some(link) = &self.link else { return };
        let turn = link.turn().await;
        if let Some(known) = link.ledger().containers.get_mut(id) {
            known.set_limits(now);
        }
        if let Some((pod, container)) = link.views(&turn, id) {
            let told = turn.post_update_container(&pod, &container).await;
            complain("an update", id.as_str(), told);
        }
    }

    /// A container has ended, however.
    pub(crate) async fn container_ended(
        &self,
        id: &ContainerId,
        started_at: Option<i64>,
        exit: Exit,
    ) {
        let Some(link) = &self.link else { return };
        let turn = link.turn().await;
        link.set_phase(id, ContainerPhase::Exited { started_at, exit });
        let Some((pod, container)) = link.views(&turn, id) else {
            return;
        };
        let told = turn.stop_container(&pod, &container).await;
        drop(turn);
        match told {
            Ok(updates) => host::carry_out(link, "stop", updates, Vec::new()).await,
            Err(error) => complain("a stop", id.as_str(), Err(error)),
        }
    }

    /// A container is being removed: how plugins know it, for [`Self::container_removed`].
    pub(crate) fn before_removal(&self, id: &ContainerId) -> Option<api::Container> {
        let known = self.link.as_ref()?.ledger().containers.get(id)?.clone();
        Some(known.view())
    }

    /// A container is gone.
    pub(crate) async fn container_removed(&self, id: &ContainerId, view: Option<api::Container>) {
        let Some(link) = &self.link else { return };
        let turn = link.turn().await;
        let Some(known) = link.ledger().containers.remove(id) else {
            return;
        };
        let pod = link.ledger().pods.get(&known.pod).map(|pod| pod.view());
        if let (false, Some(pod), Some(view)) = (turn.is_empty(), pod, view) {
            let told = turn.remove_container(&pod, &view).await;
            complain("a removal", id.as_str(), told);
        }
    }
}

/// Takes a creation back: it has ended, and it is gone.
async fn undo(turn: &Turn, pod: &api::PodSandbox, container: &api::Container) {
    let ended = turn.stop_container(pod, container).await;
    let ended = ended.map(|updates: Vec<ContainerUpdate>| {
        if !updates.is_empty() {
            tracing::warn!(
                container = container.id,
                "updates after a failed creation are not made"
            );
        }
    });
    complain("a stop", &container.id, ended);
    let gone = turn.remove_container(pod, container).await;
    complain("a removal", &container.id, gone);
}
