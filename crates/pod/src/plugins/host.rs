//! What plugins want of the engine.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use pinpod_model::ContainerId;
use pinpod_nri::api::{ContainerEviction, ContainerUpdate, LinuxResources};
use pinpod_nri::{HostRequest, State};
use tokio::sync::{mpsc, oneshot};

use super::{Link, Plugins};
use crate::driver::{Chain, Request};
use crate::error::ContainerError;

/// How long an evicted container may take to end by itself, as Kubernetes has it.
const EVICTION_GRACE: Duration = Duration::from_secs(30);

/// Serves plugins as long as the daemon lives.
pub(super) async fn serve(plugins: Arc<Plugins>, mut requests: mpsc::Receiver<HostRequest>) {
    while let Some(request) = requests.recv().await {
        let Some(link) = &plugins.link else { return };
        match request {
            HostRequest::State(reply) => {
                let state = crate::sandbox::blocking({
                    let plugins = Arc::clone(&plugins);
                    move || plugins.link.as_ref().map(state).unwrap_or_default()
                });
                // A plugin that has gone meanwhile does not mind.
                drop(reply.send(state.await));
            }
            HostRequest::Update {
                plugin,
                updates,
                evictions,
                failed,
            } => {
                let limit = link.nri.request_timeout() / 2;
                let plugins = Arc::clone(&plugins);
                tokio::spawn(async move {
                    let Some(link) = &plugins.link else { return };
                    evict(link, &plugin, evictions);
                    drop(failed.send(update_all(link, &plugin, updates, limit).await));
                });
            }
        }
    }
}

/// What a plugin that joins is told.
fn state(link: &Link) -> State {
    let (pods, containers) = {
        let ledger = link.ledger();
        let pods = ledger.pods.values().filter(|pod| !pod.is_stopped);
        let alive = ledger.containers.values().filter(|it| it.is_alive());
        let pods: Vec<_> = pods.map(|pod| pod.view()).collect();
        (pods, alive.cloned().collect::<Vec<_>>())
    };
    State {
        pods,
        containers: containers.iter().map(|it| it.view()).collect(),
    }
}

/// Does what plugins want of other containers when something happens to one. What cannot be done
/// within half a request's time is done later: two such changes must not wait for each other.
pub(super) async fn carry_out(
    link: &Link,
    occasion: &str,
    updates: Vec<ContainerUpdate>,
    evictions: Vec<ContainerEviction>,
) {
    evict(link, occasion, evictions);
    let limit = link.nri.request_timeout() / 2;
    update_all(link, occasion, updates, limit).await;
}

/// Sets new limits. Returns those that could not be set, save where that does not matter.
async fn update_all(
    link: &Link,
    who: &str,
    updates: Vec<ContainerUpdate>,
    limit: Duration,
) -> Vec<ContainerUpdate> {
    let done = updates.into_iter().map(|update| async move {
        let limits = update.linux.as_ref().and_then(|it| it.resources.clone());
        let limits = limits?;
        let result = tokio::time::timeout(limit, update_one(link, &update.container_id, limits));
        match result.await {
            Ok(Ok(())) => None,
            Err(_) => {
                let container = update.container_id;
                tracing::info!(container, who, "it is busy: an NRI plugin's update follows later");
                None
            }
            Ok(Err(error)) => {
                let container = &update.container_id;
                tracing::warn!(container, who, error = %Chain(&error), "an NRI plugin's update failed");
                (!update.ignore_failure).then_some(update)
            }
        }
    });
    join_all(done).await.into_iter().flatten().collect()
}

async fn update_one(
    link: &Link,
    container: &str,
    limits: LinuxResources,
) -> Result<(), Arc<ContainerError>> {
    ask(link, container, |id, reply| Request::UpdateByPlugin {
        id,
        limits: Box::new(limits),
        reply,
    })
    .await
}

async fn ask<A>(link: &Link, container: &str, request: A) -> Result<(), Arc<ContainerError>>
where
    A: FnOnce(ContainerId, crate::driver::Reply<(), ContainerError>) -> Request,
{
    let gone = || Arc::new(ContainerError::from(crate::error::PodGone));
    let index = link.index.get().ok_or_else(gone)?;
    let (handle, container) = index
        .container(container)
        .map_err(|error| Arc::new(error.into()))?;
    let (reply, answer) = oneshot::channel();
    handle
        .send(request(container.id.clone(), reply))
        .map_err(|gone| Arc::new(gone.into()))?;
    answer.await.unwrap_or_else(|_| Err(gone()))
}

/// Ends containers, beside everything else.
fn evict(link: &Link, who: &str, evictions: Vec<ContainerEviction>) {
    let Some(index) = link.index.get() else {
        return;
    };
    for eviction in evictions {
        let ContainerEviction {
            container_id: id,
            reason,
        } = eviction;
        tracing::info!(
            container = id,
            who,
            reason,
            "an NRI plugin evicts a container"
        );
        let sent = index.container(&id).map(|(handle, container)| {
            let (reply, _) = oneshot::channel();
            handle.send(Request::StopContainer {
                id: container.id.clone(),
                grace: EVICTION_GRACE,
                reply,
            })
        });
        if let Err(error) = sent {
            tracing::warn!(who, %error, "cannot evict it");
        }
    }
}
