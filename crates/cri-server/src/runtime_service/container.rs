//! Containers.

use std::collections::BTreeMap;

use pinpod_cri_api::runtime::v1 as cri;
use pinpod_image::Images;
use pinpod_pod::{ContainerSnapshot, PodSnapshot};

use super::{RuntimeService, info};
use crate::convert::{self, ContainerMatch};
use crate::status_code::Refusal;
use crate::stream::{Chunks, chunks};

/// `sandbox_config` of the request is what RunPodSandbox had; the engine has kept that.
pub(super) async fn create(
    service: &RuntimeService,
    request: cri::CreateContainerRequest,
) -> Result<cri::CreateContainerResponse, Refusal> {
    convert::check_length("CreateContainerRequest", &request)?;
    let config = convert::container_config(request.config)?;
    let id = service
        .engine
        .create_container(&request.pod_sandbox_id, config)
        .await?;
    Ok(cri::CreateContainerResponse {
        container_id: id.into(),
    })
}

pub(super) async fn start(
    service: &RuntimeService,
    request: cri::StartContainerRequest,
) -> Result<cri::StartContainerResponse, Refusal> {
    service
        .engine
        .start_container(&request.container_id)
        .await?;
    Ok(cri::StartContainerResponse {})
}

pub(super) async fn stop(
    service: &RuntimeService,
    request: cri::StopContainerRequest,
) -> Result<cri::StopContainerResponse, Refusal> {
    let grace = convert::seconds(request.timeout).unwrap_or_default();
    service
        .engine
        .stop_container(&request.container_id, grace)
        .await?;
    Ok(cri::StopContainerResponse {})
}

pub(super) async fn remove(
    service: &RuntimeService,
    request: cri::RemoveContainerRequest,
) -> Result<cri::RemoveContainerResponse, Refusal> {
    service
        .engine
        .remove_container(&request.container_id)
        .await?;
    Ok(cri::RemoveContainerResponse {})
}

pub(super) async fn status(
    service: &RuntimeService,
    request: cri::ContainerStatusRequest,
) -> Result<cri::ContainerStatusResponse, Refusal> {
    let container = service.engine.container(&request.container_id)?;
    let status = status_of(&container, &service.images);
    let info = if request.verbose {
        info::of_container(&container).await
    } else {
        BTreeMap::new()
    };
    Ok(cri::ContainerStatusResponse {
        status: Some(status),
        info,
    })
}

/// The states of all containers of a pod, the newest first: a kubelet that follows events takes the first
/// of a name for its last attempt, and the next one's number from it.
pub(super) fn statuses_of(pod: &PodSnapshot, images: &Images) -> Vec<cri::ContainerStatus> {
    let newest_first = pod.containers.iter().rev();
    newest_first
        .map(|container| status_of(container, images))
        .collect()
}

fn status_of(container: &ContainerSnapshot, images: &Images) -> cri::ContainerStatus {
    let mut status = convert::container_status(container);
    name_mounted_images(images, &mut status.mounts);
    status
}

/// The kubelet shows which digest an image volume has.
fn name_mounted_images(images: &Images, mounts: &mut [cri::Mount]) {
    for spec in mounts.iter_mut().filter_map(|mount| mount.image.as_mut()) {
        if let Some(image) = images.resolve(&spec.image) {
            let digest = image.repo_digests.first().cloned();
            spec.image_ref = digest.unwrap_or_else(|| image.id.to_string());
        }
    }
}

pub(super) async fn list(
    service: &RuntimeService,
    request: cri::ListContainersRequest,
) -> Result<cri::ListContainersResponse, Refusal> {
    let containers = matching(service, request.filter)?;
    Ok(cri::ListContainersResponse { containers })
}

pub(super) async fn stream(
    service: &RuntimeService,
    request: cri::StreamContainersRequest,
) -> Result<Chunks<cri::StreamContainersResponse>, Refusal> {
    let containers = matching(service, request.filter)?;
    Ok(chunks(containers, |containers| {
        cri::StreamContainersResponse { containers }
    }))
}

fn matching(
    service: &RuntimeService,
    filter: Option<cri::ContainerFilter>,
) -> Result<Vec<cri::Container>, Refusal> {
    let wanted = ContainerMatch::new(filter)?;
    let containers = service.engine.containers();
    let containers = containers
        .iter()
        .filter(|container| wanted.matches(container));
    Ok(containers
        .map(|container| convert::container(container))
        .collect())
}

/// A request without Linux limits changes nothing.
pub(super) async fn update_resources(
    service: &RuntimeService,
    request: cri::UpdateContainerResourcesRequest,
) -> Result<cri::UpdateContainerResourcesResponse, Refusal> {
    if let Some(limits) = request.linux {
        let limits = convert::linux_resources(limits)?;
        service
            .engine
            .update_container_resources(&request.container_id, limits)
            .await?;
    }
    Ok(cri::UpdateContainerResourcesResponse {})
}

pub(super) async fn reopen_log(
    service: &RuntimeService,
    request: cri::ReopenContainerLogRequest,
) -> Result<cri::ReopenContainerLogResponse, Refusal> {
    service
        .engine
        .reopen_container_log(&request.container_id)
        .await?;
    Ok(cri::ReopenContainerLogResponse {})
}

/// `location` is a file to write; one that is there is replaced.
pub(super) async fn checkpoint(
    service: &RuntimeService,
    request: cri::CheckpointContainerRequest,
) -> Result<cri::CheckpointContainerResponse, Refusal> {
    let location = convert::checkpoint_location(&request.location)?;
    let limit = convert::seconds(request.timeout);
    service
        .engine
        .checkpoint_container(&request.container_id, location, limit)
        .await?;
    Ok(cri::CheckpointContainerResponse {})
}
