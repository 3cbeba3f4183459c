//! Statistics and metrics.

use pinpod_cri_api::runtime::v1 as cri;

use super::RuntimeService;
use crate::convert::{self, ContainerMatch, PodMatch};
use crate::status_code::Refusal;
use crate::stream::{Chunks, chunks};

pub(super) async fn container(
    service: &RuntimeService,
    request: cri::ContainerStatsRequest,
) -> Result<cri::ContainerStatsResponse, Refusal> {
    let container = service.engine.container(&request.container_id)?;
    let usages = service.meter.containers(vec![container]).await;
    let mountpoint = service.layers_mountpoint();
    Ok(cri::ContainerStatsResponse {
        stats: usages
            .first()
            .map(|usage| convert::container_stats(usage, &mountpoint)),
    })
}

pub(super) async fn list_containers(
    service: &RuntimeService,
    request: cri::ListContainerStatsRequest,
) -> Result<cri::ListContainerStatsResponse, Refusal> {
    let stats = matching_containers(service, request.filter).await;
    Ok(cri::ListContainerStatsResponse { stats })
}

pub(super) async fn stream_containers(
    service: &RuntimeService,
    request: cri::StreamContainerStatsRequest,
) -> Result<Chunks<cri::StreamContainerStatsResponse>, Refusal> {
    let stats = matching_containers(service, request.filter).await;
    Ok(chunks(stats, |container_stats| {
        cri::StreamContainerStatsResponse { container_stats }
    }))
}

async fn matching_containers(
    service: &RuntimeService,
    filter: Option<cri::ContainerStatsFilter>,
) -> Vec<cri::ContainerStats> {
    let wanted = ContainerMatch::of_stats(filter);
    let mut containers = service.engine.containers();
    containers.retain(|container| wanted.matches(container));
    let usages = service.meter.containers(containers).await;
    let mountpoint = service.layers_mountpoint();
    usages
        .iter()
        .map(|usage| convert::container_stats(usage, &mountpoint))
        .collect()
}

pub(super) async fn pod_sandbox(
    service: &RuntimeService,
    request: cri::PodSandboxStatsRequest,
) -> Result<cri::PodSandboxStatsResponse, Refusal> {
    let pod = service.engine.pod(&request.pod_sandbox_id)?;
    let usages = service.meter.pods(vec![pod]).await;
    let mountpoint = service.layers_mountpoint();
    Ok(cri::PodSandboxStatsResponse {
        stats: usages
            .first()
            .map(|usage| convert::pod_sandbox_stats(usage, &mountpoint)),
    })
}

pub(super) async fn list_pod_sandboxes(
    service: &RuntimeService,
    request: cri::ListPodSandboxStatsRequest,
) -> Result<cri::ListPodSandboxStatsResponse, Refusal> {
    let stats = matching_pods(service, request.filter).await;
    Ok(cri::ListPodSandboxStatsResponse { stats })
}

pub(super) async fn stream_pod_sandboxes(
    service: &RuntimeService,
    request: cri::StreamPodSandboxStatsRequest,
) -> Result<Chunks<cri::StreamPodSandboxStatsResponse>, Refusal> {
    let stats = matching_pods(service, request.filter).await;
    Ok(chunks(stats, |pod_sandbox_stats| {
        cri::StreamPodSandboxStatsResponse { pod_sandbox_stats }
    }))
}

async fn matching_pods(
    service: &RuntimeService,
    filter: Option<cri::PodSandboxStatsFilter>,
) -> Vec<cri::PodSandboxStats> {
    let wanted = PodMatch::of_stats(filter);
    let mut pods = service.engine.pods();
    pods.retain(|pod| wanted.matches(pod));
    let usages = service.meter.pods(pods).await;
    let mountpoint = service.layers_mountpoint();
    usages
        .iter()
        .map(|usage| convert::pod_sandbox_stats(usage, &mountpoint))
        .collect()
}

pub(super) async fn list_metric_descriptors(
    service: &RuntimeService,
    _: cri::ListMetricDescriptorsRequest,
) -> Result<cri::ListMetricDescriptorsResponse, Refusal> {
    let descriptors = service.meter.descriptors();
    let descriptors = descriptors.iter();
    Ok(cri::ListMetricDescriptorsResponse {
        descriptors: descriptors.map(convert::metric_descriptor).collect(),
    })
}

pub(super) async fn list_metrics(
    service: &RuntimeService,
    _: cri::ListPodSandboxMetricsRequest,
) -> Result<cri::ListPodSandboxMetricsResponse, Refusal> {
    let pod_metrics = metrics(service).await;
    Ok(cri::ListPodSandboxMetricsResponse { pod_metrics })
}

pub(super) async fn stream_metrics(
    service: &RuntimeService,
    _: cri::StreamPodSandboxMetricsRequest,
) -> Result<Chunks<cri::StreamPodSandboxMetricsResponse>, Refusal> {
    let metrics = metrics(service).await;
    Ok(chunks(metrics, |pod_sandbox_metrics| {
        cri::StreamPodSandboxMetricsResponse {
            pod_sandbox_metrics,
        }
    }))
}

async fn metrics(service: &RuntimeService) -> Vec<cri::PodSandboxMetrics> {
    let metrics = service.meter.metrics().await;
    metrics.iter().map(convert::pod_sandbox_metrics).collect()
}
