//! What happens to pod sandboxes and containers, told as it happens.

use std::pin::Pin;

use futures_util::stream::{self, Stream};
use pinpod_cri_api::runtime::v1 as cri;
use pinpod_image::Images;
use pinpod_pod::{EventKind, FollowError, Follower, PodEvent};
use tonic::Status;

use super::{RuntimeService, container};
use crate::convert;
use crate::status_code::{Refusal, refuse};

/// The messages of one GetContainerEvents.
pub(super) type ContainerEvents =
    Pin<Box<dyn Stream<Item = Result<cri::ContainerEventResponse, Status>> + Send>>;

/// Everything from now on. The stream ends with an error where something was lost, as gRPC's way to
/// say "list everything anew".
pub(super) async fn get(
    service: &RuntimeService,
    _: cri::GetEventsRequest,
) -> Result<ContainerEvents, Refusal> {
    let follower = service.engine.events().follow();
    let state = Some((follower, service.images.clone()));
    Ok(Box::pin(stream::unfold(state, |state| async move {
        let (mut follower, images) = state?;
        Some(match next(&mut follower, &images).await {
            Ok(event) => (Ok(event), Some((follower, images))),
            Err(error) => (Err(refuse("GetContainerEvents", error.into())), None),
        })
    })))
}

async fn next(
    follower: &mut Follower,
    images: &Images,
) -> Result<cri::ContainerEventResponse, FollowError> {
    Ok(response(&*follower.next().await?, images))
}

/// What came of the sandbox has the sandbox's identifier as that of its container, as with runtimes
/// that keep a process in it.
fn response(event: &PodEvent, images: &Images) -> cri::ContainerEventResponse {
    let kind = match event.kind {
        EventKind::Created => cri::ContainerEventType::ContainerCreatedEvent,
        EventKind::Started => cri::ContainerEventType::ContainerStartedEvent,
        EventKind::Stopped => cri::ContainerEventType::ContainerStoppedEvent,
        EventKind::Deleted => cri::ContainerEventType::ContainerDeletedEvent,
    };
    cri::ContainerEventResponse {
        container_id: event.subject.clone(),
        container_event_type: kind.into(),
        created_at: event.created_at,
        pod_sandbox_status: Some(convert::pod_sandbox_status(&event.pod)),
        containers_statuses: container::statuses_of(&event.pod, images),
    }
}
