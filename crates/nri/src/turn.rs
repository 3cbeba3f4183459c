//! One event, relayed to every plugin that wants it.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::OwnedRwLockReadGuard;

use crate::api::{
    Container, ContainerAdjustment, ContainerEviction, ContainerUpdate, CreateContainerRequest,
    CreateContainerResponse, Event, LinuxResources, PluginInstance, PodSandbox,
    PostCreateContainerRequest, PostStartContainerRequest, PostUpdateContainerRequest,
    PostUpdatePodSandboxRequest, RemoveContainerRequest, RemovePodSandboxRequest,
    RunPodSandboxRequest, StartContainerRequest, StopContainerRequest, StopContainerResponse,
    StopPodSandboxRequest, UpdateContainerRequest, UpdateContainerResponse,
    UpdatePodSandboxRequest, UpdatePodSandboxResponse, ValidateContainerAdjustmentRequest,
    ValidateContainerAdjustmentResponse,
};
use crate::error::NriError;
use crate::merge;
use crate::plugin::Plugin;

/// What plugins want when a container is made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Creation {
    /// How they want the container.
    pub adjust: ContainerAdjustment,
    /// New limits of other containers.
    pub updates: Vec<ContainerUpdate>,
    /// Other containers to end.
    pub evictions: Vec<ContainerEviction>,
}

/// What plugins make of an update.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateOutcome {
    /// The limits that the container shall get.
    pub resources: LinuxResources,
    /// New limits of other containers.
    pub updates: Vec<ContainerUpdate>,
    /// Containers to end.
    pub evictions: Vec<ContainerEviction>,
}

/// Held while an event is relayed: plugins neither join nor leave meanwhile.
#[derive(Debug)]
pub struct Turn {
    plugins: OwnedRwLockReadGuard<Vec<Arc<Plugin>>>,
}

/// The simple events of containers, and the request that relays each.
macro_rules! container_events {
    ($($(#[doc = $doc:literal])+ $name:ident: $event:ident, $request:ident;)*) => {$(
        $(#[doc = $doc])+
        ///
        /// # Errors
        /// A plugin refuses or fails the event; those after it have not heard of it.
        pub async fn $name(
            &self,
            pod: &PodSandbox,
            container: &Container,
        ) -> Result<(), NriError> {
            let request = $request {
                pod: Some(pod.clone()),
                container: Some(container.clone()),
            };
            for plugin in self.wanting(Event::$event) {
                plugin
                    .tell(Event::$event, &request, pod, Some(container))
                    .await?;
            }
            Ok(())
        }
    )*};
}

/// The simple events of pod sandboxes.
macro_rules! pod_events {
    ($($(#[doc = $doc:literal])+ $name:ident: $event:ident, $request:ident;)*) => {$(
        $(#[doc = $doc])+
        ///
        /// # Errors
        /// A plugin refuses or fails the event; those after it have not heard of it.
        pub async fn $name(&self, pod: &PodSandbox) -> Result<(), NriError> {
            let request = $request {
                pod: Some(pod.clone()),
            };
            for plugin in self.wanting(Event::$event) {
                plugin.tell(Event::$event, &request, pod, None).await?;
            }
            Ok(())
        }
    )*};
}

impl Turn {
    pub(crate) fn new(plugins: OwnedRwLockReadGuard<Vec<Arc<Plugin>>>) -> Self {
        Self { plugins }
    }

    /// Whether there is nobody to tell anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plugins.is_empty()
    }

    fn wanting(&self, event: Event) -> impl Iterator<Item = &Arc<Plugin>> {
        self.plugins
            .iter()
            .filter(move |plugin| plugin.wants(event))
    }

    pod_events! {
        /// A pod sandbox was made.
        run_pod_sandbox: RunPodSandbox, RunPodSandboxRequest;
        /// The resources of a pod have changed.
        post_update_pod_sandbox: PostUpdatePodSandbox, PostUpdatePodSandboxRequest;
        /// A pod sandbox is being stopped; its containers have ended.
        stop_pod_sandbox: StopPodSandbox, StopPodSandboxRequest;
        /// A pod sandbox is gone.
        remove_pod_sandbox: RemovePodSandbox, RemovePodSandboxRequest;
    }

    container_events! {
        /// A container was made.
        post_create_container: PostCreateContainer, PostCreateContainerRequest;
        /// A container is about to start.
        start_container: StartContainer, StartContainerRequest;
        /// A container was started.
        post_start_container: PostStartContainer, PostStartContainerRequest;
        /// The limits of a container have changed.
        post_update_container: PostUpdateContainer, PostUpdateContainerRequest;
        /// A container is gone.
        remove_container: RemoveContainer, RemoveContainerRequest;
    }

    /// The resources of a pod are about to change.
    ///
    /// # Errors
    /// A plugin refuses or fails the event.
    pub async fn update_pod_sandbox(
        &self,
        pod: &PodSandbox,
        overhead: Option<LinuxResources>,
        resources: Option<LinuxResources>,
    ) -> Result<(), NriError> {
        let request = UpdatePodSandboxRequest {
            pod: Some(pod.clone()),
            overhead_linux_resources: overhead,
            linux_resources: resources,
        };
        for plugin in self.wanting(Event::UpdatePodSandbox) {
            let _: Option<UpdatePodSandboxResponse> =
                plugin.ask(Event::UpdatePodSandbox, &request).await?;
        }
        Ok(())
    }

    /// A container is about to be made: what do the plugins want of it? Validating plugins are then
    /// asked whether that may be.
    ///
    /// # Errors
    /// A plugin refuses or fails the event, two plugins want different things, or a validating
    /// plugin rejects the sum.
    pub async fn create_container(
        &self,
        pod: &PodSandbox,
        container: Container,
    ) -> Result<Creation, NriError> {
        let pristine = container.clone();
        let mut asked = Vec::new();
        let mut creation = merge::Creation::of(container);
        for plugin in self.wanting(Event::CreateContainer) {
            let request = CreateContainerRequest {
                pod: Some(pod.clone()),
                container: Some(creation.container.clone()),
            };
            asked.push(PluginInstance {
                name: plugin.identity.base.clone(),
                index: plugin.identity.index.clone(),
            });
            let answer: Option<CreateContainerResponse> =
                plugin.ask(Event::CreateContainer, &request).await?;
            let answer = answer.unwrap_or_default();
            creation.apply(&plugin.name, answer.adjust, answer.update, answer.evict)?;
        }
        self.validate(pod, pristine, &creation, asked).await?;
        let (adjust, updates, evictions) = creation.finish();
        Ok(Creation {
            adjust,
            updates,
            evictions,
        })
    }

    async fn validate(
        &self,
        pod: &PodSandbox,
        container: Container,
        creation: &merge::Creation,
        plugins: Vec<PluginInstance>,
    ) -> Result<(), NriError> {
        let event = Event::ValidateContainerAdjustment;
        let judges: Vec<_> = self.wanting(event).collect();
        if judges.is_empty() {
            return Ok(());
        }
        let (update, owners) = creation.for_validation();
        let request = ValidateContainerAdjustmentRequest {
            pod: Some(pod.clone()),
            container: Some(container),
            adjust: Some(creation.adjust.clone()),
            update,
            owners: Some(owners),
            plugins,
        };
        let verdicts = judges.iter().map(|plugin| async {
            // One that says nothing has not agreed.
            let verdict: Option<ValidateContainerAdjustmentResponse> =
                plugin.ask(event, &request).await?;
            let reason = match verdict {
                Some(verdict) if !verdict.reject => return Ok(()),
                Some(verdict) if !verdict.reason.is_empty() => verdict.reason,
                Some(_) => "it gives no reason".to_owned(),
                None => "it did not answer".to_owned(),
            };
            Err(NriError::Rejected {
                plugin: plugin.name.clone(),
                reason,
            })
        });
        join_all(verdicts).await.into_iter().collect()
    }

    /// The limits of a container are about to change: what do the plugins make of that?
    ///
    /// # Errors
    /// A plugin refuses or fails the event, or two plugins want different things.
    pub async fn update_container(
        &self,
        pod: &PodSandbox,
        container: &Container,
        resources: LinuxResources,
    ) -> Result<UpdateOutcome, NriError> {
        let mut updates = merge::Updates::of(&container.id, resources);
        for plugin in self.wanting(Event::UpdateContainer) {
            let request = UpdateContainerRequest {
                pod: Some(pod.clone()),
                container: Some(container.clone()),
                linux_resources: updates.first(),
            };
            let answer: Option<UpdateContainerResponse> =
                plugin.ask(Event::UpdateContainer, &request).await?;
            let answer = answer.unwrap_or_default();
            updates.apply(&plugin.name, answer.update)?;
            updates.evictions.extend(answer.evict);
        }
        let resources = updates.first().unwrap_or_default();
        let (mut updates, evictions) = updates.finish();
        // The first is the container's own.
        updates.remove(0);
        Ok(UpdateOutcome {
            resources,
            updates,
            evictions,
        })
    }

    /// A container has ended. Returns the updates that plugins want of others.
    ///
    /// # Errors
    /// A plugin refuses or fails the event, or two plugins want different things.
    pub async fn stop_container(
        &self,
        pod: &PodSandbox,
        container: &Container,
    ) -> Result<Vec<ContainerUpdate>, NriError> {
        let request = StopContainerRequest {
            pod: Some(pod.clone()),
            container: Some(container.clone()),
        };
        let mut updates = merge::Updates::beside(None);
        for plugin in self.wanting(Event::StopContainer) {
            let answer: Option<StopContainerResponse> =
                plugin.ask(Event::StopContainer, &request).await?;
            updates.apply(&plugin.name, answer.unwrap_or_default().update)?;
        }
        Ok(updates.finish().0)
    }
}
