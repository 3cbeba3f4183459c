//! The CRI calls that are timed, over one connection as the kubelet has it.

use std::path::Path;

use anyhow::Context as _;
use hyper_util::rt::TokioIo;
use pinpod_cri_api::runtime::v1 as api;
use pinpod_cri_api::runtime::v1::image_service_client::ImageServiceClient;
use pinpod_cri_api::runtime::v1::runtime_service_client::RuntimeServiceClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// Both services of a CRI daemon. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Cri {
    runtime: RuntimeServiceClient<Channel>,
    image: ImageServiceClient<Channel>,
}

impl Cri {
    pub(crate) async fn connect(socket: &Path) -> anyhow::Result<Self> {
        let path = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The address is only a name here: the connector knows the socket.
        let channel = Endpoint::from_static("http://cri")
            .connect_with_connector(connector)
            .await
            .with_context(|| socket.display().to_string())?;
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone()),
            image: ImageServiceClient::new(channel),
        })
    }

    pub(crate) async fn run_pod(&self, config: &api::PodSandboxConfig) -> anyhow::Result<String> {
        let request = api::RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: String::new(),
        };
        let answer = self.runtime.clone().run_pod_sandbox(request).await;
        Ok(answer.context("RunPodSandbox")?.into_inner().pod_sandbox_id)
    }

    pub(crate) async fn stop_pod(&self, id: &str) -> anyhow::Result<()> {
        let request = api::StopPodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        let answer = self.runtime.clone().stop_pod_sandbox(request).await;
        answer.context("StopPodSandbox").map(drop)
    }

    pub(crate) async fn remove_pod(&self, id: &str) -> anyhow::Result<()> {
        let request = api::RemovePodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        let answer = self.runtime.clone().remove_pod_sandbox(request).await;
        answer.context("RemovePodSandbox").map(drop)
    }

    pub(crate) async fn create(
        &self,
        pod: &str,
        pod_config: &api::PodSandboxConfig,
        config: api::ContainerConfig,
    ) -> anyhow::Result<String> {
        let request = api::CreateContainerRequest {
            pod_sandbox_id: pod.to_owned(),
            config: Some(config),
            sandbox_config: Some(pod_config.clone()),
        };
        let answer = self.runtime.clone().create_container(request).await;
        Ok(answer.context("CreateContainer")?.into_inner().container_id)
    }

    pub(crate) async fn start(&self, id: &str) -> anyhow::Result<()> {
        let request = api::StartContainerRequest {
            container_id: id.to_owned(),
        };
        let answer = self.runtime.clone().start_container(request).await;
        answer.context("StartContainer").map(drop)
    }

    pub(crate) async fn status(&self, id: &str) -> anyhow::Result<()> {
        let request = api::ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: false,
        };
        let answer = self.runtime.clone().container_status(request).await;
        answer.context("ContainerStatus").map(drop)
    }

    /// Runs `true` in the container.
    pub(crate) async fn exec_true(&self, id: &str) -> anyhow::Result<()> {
        let request = api::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: vec!["/bin/true".to_owned()],
            timeout: 10,
        };
        let answer = self.runtime.clone().exec_sync(request).await;
        let code = answer.context("ExecSync")?.into_inner().exit_code;
        anyhow::ensure!(code == 0, "ExecSync: `true` ended with {code}");
        Ok(())
    }

    pub(crate) async fn stop(&self, id: &str) -> anyhow::Result<()> {
        let request = api::StopContainerRequest {
            container_id: id.to_owned(),
            timeout: 10,
        };
        let answer = self.runtime.clone().stop_container(request).await;
        answer.context("StopContainer").map(drop)
    }

    pub(crate) async fn remove(&self, id: &str) -> anyhow::Result<()> {
        let request = api::RemoveContainerRequest {
            container_id: id.to_owned(),
        };
        let answer = self.runtime.clone().remove_container(request).await;
        answer.context("RemoveContainer").map(drop)
    }

    /// Of how many containers statistics are told.
    pub(crate) async fn container_stats(&self) -> anyhow::Result<usize> {
        let request = api::ListContainerStatsRequest::default();
        let answer = self.runtime.clone().list_container_stats(request).await;
        let stats = answer.context("ListContainerStats")?.into_inner().stats;
        Ok(stats.iter().filter(|stats| stats.cpu.is_some()).count())
    }

    /// The pulled image's identifier.
    pub(crate) async fn pull(&self, reference: &str) -> anyhow::Result<String> {
        let request = api::PullImageRequest {
            image: Some(image(reference)),
            auth: None,
            sandbox_config: None,
        };
        let answer = self.image.clone().pull_image(request).await;
        Ok(answer.context("PullImage")?.into_inner().image_ref)
    }

    /// Removes it under all of its names, as the kubelet does.
    pub(crate) async fn remove_image(&self, id: &str) -> anyhow::Result<()> {
        let request = api::RemoveImageRequest {
            image: Some(image(id)),
        };
        let answer = self.image.clone().remove_image(request).await;
        answer.context("RemoveImage").map(drop)
    }
}

fn image(reference: &str) -> api::ImageSpec {
    api::ImageSpec {
        image: reference.to_owned(),
        ..Default::default()
    }
}
