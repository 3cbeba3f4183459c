//! Pod sandboxes.

use std::collections::BTreeMap;

use pinpod_cri_api::runtime::v1 as cri;

use super::{RuntimeService, container, info};
use crate::convert::{self, PodMatch};
use crate::status_code::Refusal;
use crate::stream::{Chunks, chunks};

pub(super) async fn run(
    service: &RuntimeService,
    request: cri::RunPodSandboxRequest,
) -> Result<cri::RunPodSandboxResponse, Refusal> {
    convert::check_length("RunPodSandboxRequest", &request)?;
    let config = convert::pod_sandbox_config(request.config, request.runtime_handler)?;
    let id = service.engine.run_pod_sandbox(config).await?;
    Ok(cri::RunPodSandboxResponse {
        pod_sandbox_id: id.into(),
    })
}

pub(super) async fn stop(
    service: &RuntimeService,
    request: cri::StopPodSandboxRequest,
) -> Result<cri::StopPodSandboxResponse, Refusal> {
    service
        .engine
        .stop_pod_sandbox(&request.pod_sandbox_id)
        .await?;
    Ok(cri::StopPodSandboxResponse {})
}

pub(super) async fn remove(
    service: &RuntimeService,
    request: cri::RemovePodSandboxRequest,
) -> Result<cri::RemovePodSandboxResponse, Refusal> {
    service
        .engine
        .remove_pod_sandbox(&request.pod_sandbox_id)
        .await?;
    Ok(cri::RemovePodSandboxResponse {})
}

pub(super) async fn status(
    service: &RuntimeService,
    request: cri::PodSandboxStatusRequest,
) -> Result<cri::PodSandboxStatusResponse, Refusal> {
    // Read before the state: the kubelet takes what an event tells of a later time for newer.
    let timestamp = pinpod_pod::now();
    let pod = service.engine.pod(&request.pod_sandbox_id)?;
    Ok(cri::PodSandboxStatusResponse {
        status: Some(convert::pod_sandbox_status(&pod)),
        info: if request.verbose {
            info::of_pod(&pod)
        } else {
            BTreeMap::new()
        },
        containers_statuses: container::statuses_of(&pod, &service.images),
        timestamp,
    })
}

pub(super) async fn list(
    service: &RuntimeService,
    request: cri::ListPodSandboxRequest,
) -> Result<cri::ListPodSandboxResponse, Refusal> {
    let items = matching(service, request.filter)?;
    Ok(cri::ListPodSandboxResponse { items })
}

pub(super) async fn stream(
    service: &RuntimeService,
    request: cri::StreamPodSandboxesRequest,
) -> Result<Chunks<cri::StreamPodSandboxesResponse>, Refusal> {
    let pods = matching(service, request.filter)?;
    Ok(chunks(pods, |pod_sandboxes| {
        cri::StreamPodSandboxesResponse { pod_sandboxes }
    }))
}

fn matching(
    service: &RuntimeService,
    filter: Option<cri::PodSandboxFilter>,
) -> Result<Vec<cri::PodSandbox>, Refusal> {
    let wanted = PodMatch::new(filter)?;
    let pods = service.engine.pods();
    let pods = pods.iter().filter(|pod| wanted.matches(pod));
    Ok(pods.map(|pod| convert::pod_sandbox(pod)).collect())
}

/// The kubelet owns the pod's cgroup and has changed it already; this only tells: NRI plugins, and
/// the pod's record.
pub(super) async fn update_resources(
    service: &RuntimeService,
    request: cri::UpdatePodSandboxResourcesRequest,
) -> Result<cri::UpdatePodSandboxResourcesResponse, Refusal> {
    let overhead = request.overhead.map(convert::linux_resources).transpose()?;
    let resources = request
        .resources
        .map(convert::linux_resources)
        .transpose()?;
    service
        .engine
        .update_pod_resources(&request.pod_sandbox_id, overhead, resources)
        .await?;
    Ok(cri::UpdatePodSandboxResourcesResponse {})
}
