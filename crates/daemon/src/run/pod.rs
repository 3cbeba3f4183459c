//! A pod's life as CRI calls.

use anyhow::{Context as _, bail};
use pinpod_cri_api::runtime::v1 as cri;
use pinpod_cri_api::runtime::v1::image_service_client::ImageServiceClient;
use pinpod_cri_api::runtime::v1::runtime_service_client::RuntimeServiceClient;
use tonic::Status;
use tonic::transport::Channel;

use crate::manifest::{ContainerPlan, PodPlan, PullPolicy};

/// Both services of a daemon.
#[derive(Debug, Clone)]
pub(super) struct Cri {
    pub(super) runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

/// What was made so far, so that it can be removed whatever fails.
#[derive(Debug, Default)]
pub(super) struct RunningPod {
    pub(super) sandbox: String,
    /// Identifiers of the containers, in the order of the manifest.
    pub(super) containers: Vec<String>,
    /// Seconds between the stop signal and SIGKILL.
    grace: i64,
}

impl Cri {
    pub(super) fn new(channel: Channel) -> Self {
        Self {
            runtime: RuntimeServiceClient::new(channel.clone()),
            images: ImageServiceClient::new(channel),
        }
    }

    /// Status of a container with its verbose information.
    pub(super) async fn container(
        &mut self,
        id: &str,
    ) -> anyhow::Result<cri::ContainerStatusResponse> {
        let request = cri::ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: true,
        };
        let answer = self.runtime.container_status(request).await;
        Ok(answer.map_err(plain)?.into_inner())
    }

    /// Whether every one of them has ended.
    pub(super) async fn have_ended(&mut self, ids: &[String]) -> bool {
        for id in ids {
            match self.container(id).await {
                Ok(answer) if ended(&answer) => {}
                _ => return false,
            }
        }
        true
    }
}

fn ended(answer: &cri::ContainerStatusResponse) -> bool {
    answer
        .status
        .as_ref()
        .is_some_and(|status| status.state() == cri::ContainerState::ContainerExited)
}

/// The message alone: the code is for programs.
pub(super) fn plain(status: Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message())
}

/// Pulls, makes the sandbox, runs init containers one after another, then starts the others.
///
/// # Errors
/// The first step that fails; `running` says what there is to remove.
pub(super) async fn run(
    cri: &mut Cri,
    plan: &PodPlan,
    running: &mut RunningPod,
) -> anyhow::Result<()> {
    running.grace = i64::from(plan.grace);
    for container in plan.init_containers.iter().chain(&plan.containers) {
        pull(cri, container, &plan.sandbox).await?;
    }
    let request = cri::RunPodSandboxRequest {
        config: Some(plan.sandbox.clone()),
        runtime_handler: plan.runtime_handler.clone(),
    };
    let answer = cri.runtime.run_pod_sandbox(request).await.map_err(plain);
    running.sandbox = answer
        .context("cannot run the pod sandbox")?
        .into_inner()
        .pod_sandbox_id;
    for container in &plan.init_containers {
        let id = start(cri, plan, container, &running.sandbox).await?;
        wait_init(cri, &id, &container.name).await?;
    }
    for container in &plan.containers {
        running
            .containers
            .push(start(cri, plan, container, &running.sandbox).await?);
    }
    Ok(())
}

async fn pull(
    cri: &mut Cri,
    container: &ContainerPlan,
    sandbox: &cri::PodSandboxConfig,
) -> anyhow::Result<()> {
    let image = container.config.image.clone();
    let request = cri::ImageStatusRequest {
        image: image.clone(),
        verbose: false,
    };
    let status = cri
        .images
        .image_status(request)
        .await
        .map_err(plain)?
        .into_inner();
    match (container.pull, status.image) {
        (PullPolicy::IfNotPresent | PullPolicy::Never, Some(_)) => return Ok(()),
        (PullPolicy::Never, None) => {
            bail!(
                "image {} is not there, and imagePullPolicy is Never",
                container.image
            )
        }
        (PullPolicy::Always, _) | (PullPolicy::IfNotPresent, None) => {}
    }
    let request = cri::PullImageRequest {
        image,
        auth: None,
        sandbox_config: Some(sandbox.clone()),
    };
    cri.images
        .pull_image(request)
        .await
        .map_err(plain)
        .with_context(|| format!("cannot pull {}", container.image))?;
    Ok(())
}

async fn start(
    cri: &mut Cri,
    plan: &PodPlan,
    container: &ContainerPlan,
    sandbox: &str,
) -> anyhow::Result<String> {
    let request = cri::CreateContainerRequest {
        pod_sandbox_id: sandbox.to_owned(),
        config: Some(container.config.clone()),
        sandbox_config: Some(plan.sandbox.clone()),
    };
    let answer = cri.runtime.create_container(request).await.map_err(plain);
    let id = answer
        .with_context(|| format!("cannot create container {}", container.name))?
        .into_inner()
        .container_id;
    let request = cri::StartContainerRequest {
        container_id: id.clone(),
    };
    let answer = cri.runtime.start_container(request).await.map_err(plain);
    answer.with_context(|| format!("cannot start container {}", container.name))?;
    Ok(id)
}

async fn wait_init(cri: &mut Cri, id: &str, name: &str) -> anyhow::Result<()> {
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(100));
    loop {
        tick.tick().await;
        let answer = cri.container(id).await?;
        let status = answer
            .status
            .as_ref()
            .context("a status without a status")?;
        if ended(&answer) {
            if status.exit_code != 0 {
                bail!(
                    "init container {name} ended with exit code {}",
                    status.exit_code
                );
            }
            return Ok(());
        }
    }
}

/// Stops the containers in the grace that the manifest gives, then stops and removes the sandbox
/// with all that is in it.
///
/// # Errors
/// What the daemon could not do.
pub(super) async fn remove(cri: &mut Cri, running: &RunningPod) -> anyhow::Result<()> {
    if running.sandbox.is_empty() {
        return Ok(());
    }
    let mut stops = tokio::task::JoinSet::new();
    for id in running.containers.clone() {
        let mut runtime = cri.runtime.clone();
        let timeout = running.grace;
        stops.spawn(async move {
            runtime
                .stop_container(cri::StopContainerRequest {
                    container_id: id,
                    timeout,
                })
                .await
        });
    }
    while let Some(stopped) = stops.join_next().await {
        stopped?.map_err(plain).context("cannot stop a container")?;
    }
    let id = running.sandbox.clone();
    let request = cri::StopPodSandboxRequest {
        pod_sandbox_id: id.clone(),
    };
    cri.runtime
        .stop_pod_sandbox(request)
        .await
        .map_err(plain)
        .context("cannot stop the pod")?;
    let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id };
    let removed = cri.runtime.remove_pod_sandbox(request).await.map_err(plain);
    removed.context("cannot remove the pod")?;
    Ok(())
}
