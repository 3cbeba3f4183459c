//! `runtime.v1.RuntimeService`: one line for each RPC.

mod container;
mod events;
mod exec;
mod info;
mod pod_sandbox;
mod stats;
mod status;

use pinpod_cri_api::runtime::v1 as cri;
use pinpod_image::Images;
use pinpod_network::Network;
use pinpod_pod::Engine;
use pinpod_stats::Meter;
use tonic::{Request, Response, Status};

use crate::Parts;
use crate::node_report::NodeReport;
use crate::status_code::answer;
use crate::stream::Chunks;

/// The service for pod sandboxes and containers.
#[derive(Debug)]
pub struct RuntimeService {
    engine: Engine,
    images: Images,
    network: Network,
    node: NodeReport,
    streaming: pinpod_streaming::Server,
    meter: Meter,
}

impl RuntimeService {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            engine: parts.engine,
            images: parts.images,
            network: parts.network,
            node: parts.node,
            streaming: parts.streaming,
            meter: parts.meter,
        }
    }

    /// The file system of writable layers, named as ImageFsInfo names it.
    fn layers_mountpoint(&self) -> String {
        self.meter.layers_root().to_string_lossy().into_owned()
    }
}

/// `"Name" method(Request) -> Response = handler;`
macro_rules! runtime_service {
    ($($rpc:literal $method:ident($request:ty) -> $response:ty = $handler:path;)*) => {
        #[tonic::async_trait]
        impl cri::runtime_service_server::RuntimeService for RuntimeService {
            type StreamPodSandboxesStream = Chunks<cri::StreamPodSandboxesResponse>;
            type StreamContainersStream = Chunks<cri::StreamContainersResponse>;
            type StreamContainerStatsStream = Chunks<cri::StreamContainerStatsResponse>;
            type StreamPodSandboxStatsStream = Chunks<cri::StreamPodSandboxStatsResponse>;
            type StreamPodSandboxMetricsStream = Chunks<cri::StreamPodSandboxMetricsResponse>;
            type GetContainerEventsStream = events::ContainerEvents;

            $(async fn $method(
                &self,
                request: Request<$request>,
            ) -> Result<Response<$response>, Status> {
                answer($rpc, $handler(self, request.into_inner()).await)
            })*
        }
    };
}

runtime_service! {
    "Version" version(cri::VersionRequest) -> cri::VersionResponse = status::version;
    "Status" status(cri::StatusRequest) -> cri::StatusResponse = status::status;
    "RuntimeConfig" runtime_config(cri::RuntimeConfigRequest) -> cri::RuntimeConfigResponse = status::runtime_config;
    "UpdateRuntimeConfig" update_runtime_config(cri::UpdateRuntimeConfigRequest) -> cri::UpdateRuntimeConfigResponse = status::update_runtime_config;

    "RunPodSandbox" run_pod_sandbox(cri::RunPodSandboxRequest) -> cri::RunPodSandboxResponse = pod_sandbox::run;
    "StopPodSandbox" stop_pod_sandbox(cri::StopPodSandboxRequest) -> cri::StopPodSandboxResponse = pod_sandbox::stop;
    "RemovePodSandbox" remove_pod_sandbox(cri::RemovePodSandboxRequest) -> cri::RemovePodSandboxResponse = pod_sandbox::remove;
    "PodSandboxStatus" pod_sandbox_status(cri::PodSandboxStatusRequest) -> cri::PodSandboxStatusResponse = pod_sandbox::status;
    "ListPodSandbox" list_pod_sandbox(cri::ListPodSandboxRequest) -> cri::ListPodSandboxResponse = pod_sandbox::list;
    "StreamPodSandboxes" stream_pod_sandboxes(cri::StreamPodSandboxesRequest) -> Chunks<cri::StreamPodSandboxesResponse> = pod_sandbox::stream;
    "UpdatePodSandboxResources" update_pod_sandbox_resources(cri::UpdatePodSandboxResourcesRequest) -> cri::UpdatePodSandboxResourcesResponse = pod_sandbox::update_resources;

    "CreateContainer" create_container(cri::CreateContainerRequest) -> cri::CreateContainerResponse = container::create;
    "StartContainer" start_container(cri::StartContainerRequest) -> cri::StartContainerResponse = container::start;
    "StopContainer" stop_container(cri::StopContainerRequest) -> cri::StopContainerResponse = container::stop;
    "RemoveContainer" remove_container(cri::RemoveContainerRequest) -> cri::RemoveContainerResponse = container::remove;
    "ContainerStatus" container_status(cri::ContainerStatusRequest) -> cri::ContainerStatusResponse = container::status;
    "ListContainers" list_containers(cri::ListContainersRequest) -> cri::ListContainersResponse = container::list;
    "StreamContainers" stream_containers(cri::StreamContainersRequest) -> Chunks<cri::StreamContainersResponse> = container::stream;
    "UpdateContainerResources" update_container_resources(cri::UpdateContainerResourcesRequest) -> cri::UpdateContainerResourcesResponse = container::update_resources;
    "ReopenContainerLog" reopen_container_log(cri::ReopenContainerLogRequest) -> cri::ReopenContainerLogResponse = container::reopen_log;

    "ExecSync" exec_sync(cri::ExecSyncRequest) -> cri::ExecSyncResponse = exec::exec_sync;
    "Exec" exec(cri::ExecRequest) -> cri::ExecResponse = exec::exec;
    "Attach" attach(cri::AttachRequest) -> cri::AttachResponse = exec::attach;
    "PortForward" port_forward(cri::PortForwardRequest) -> cri::PortForwardResponse = exec::port_forward;

    "ContainerStats" container_stats(cri::ContainerStatsRequest) -> cri::ContainerStatsResponse = stats::container;
    "ListContainerStats" list_container_stats(cri::ListContainerStatsRequest) -> cri::ListContainerStatsResponse = stats::list_containers;
    "StreamContainerStats" stream_container_stats(cri::StreamContainerStatsRequest) -> Chunks<cri::StreamContainerStatsResponse> = stats::stream_containers;
    "PodSandboxStats" pod_sandbox_stats(cri::PodSandboxStatsRequest) -> cri::PodSandboxStatsResponse = stats::pod_sandbox;
    "ListPodSandboxStats" list_pod_sandbox_stats(cri::ListPodSandboxStatsRequest) -> cri::ListPodSandboxStatsResponse = stats::list_pod_sandboxes;
    "StreamPodSandboxStats" stream_pod_sandbox_stats(cri::StreamPodSandboxStatsRequest) -> Chunks<cri::StreamPodSandboxStatsResponse> = stats::stream_pod_sandboxes;
    "ListMetricDescriptors" list_metric_descriptors(cri::ListMetricDescriptorsRequest) -> cri::ListMetricDescriptorsResponse = stats::list_metric_descriptors;
    "ListPodSandboxMetrics" list_pod_sandbox_metrics(cri::ListPodSandboxMetricsRequest) -> cri::ListPodSandboxMetricsResponse = stats::list_metrics;
    "StreamPodSandboxMetrics" stream_pod_sandbox_metrics(cri::StreamPodSandboxMetricsRequest) -> Chunks<cri::StreamPodSandboxMetricsResponse> = stats::stream_metrics;

    "GetContainerEvents" get_container_events(cri::GetEventsRequest) -> events::ContainerEvents = events::get;
    "CheckpointContainer" checkpoint_container(cri::CheckpointContainerRequest) -> cri::CheckpointContainerResponse = container::checkpoint;
}
