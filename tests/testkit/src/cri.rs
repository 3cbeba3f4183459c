//! Requests as a kubelet would send them, and the calls that every test makes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use pinpod_cri_api::runtime::v1::{
    ContainerConfig, ContainerMetadata, ContainerState, ContainerStatus, ContainerStatusRequest,
    CreateContainerRequest, ExecSyncRequest, ExecSyncResponse, ImageSpec, LinuxContainerConfig,
    LinuxContainerSecurityContext, LinuxPodSandboxConfig, LinuxSandboxSecurityContext,
    NamespaceMode, NamespaceOption, PodSandboxConfig, PodSandboxMetadata, PodSandboxStatus,
    PodSandboxStatusRequest, RemoveContainerRequest, RemovePodSandboxRequest, RunPodSandboxRequest,
    StartContainerRequest, StopContainerRequest, StopPodSandboxRequest,
};

use crate::{Image, Node, Result, until};

/// A container that runs `command`, with a PID namespace of its own and logs in `<name>.log`.
#[must_use]
pub fn container(name: &str, image: &Image, command: &[&str]) -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata {
            name: name.to_owned(),
            attempt: 0,
        }),
        image: Some(ImageSpec {
            image: image.reference.clone(),
            ..Default::default()
        }),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        log_path: format!("{name}.log"),
        linux: Some(LinuxContainerConfig {
            security_context: Some(LinuxContainerSecurityContext {
                namespace_options: Some(namespaces()),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn namespaces() -> NamespaceOption {
    NamespaceOption {
        network: NamespaceMode::Pod.into(),
        pid: NamespaceMode::Container.into(),
        ipc: NamespaceMode::Pod.into(),
        ..Default::default()
    }
}

impl Node {
    /// A pod with a network of its own and a PID namespace for each container.
    #[must_use]
    pub fn pod(&self, name: &str) -> PodSandboxConfig {
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("uid-{name}"),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            hostname: name.to_owned(),
            log_directory: format!("/var/log/pods/default_{name}_uid-{name}"),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: self.cgroup_parent().to_owned(),
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: Some(namespaces()),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// RunPodSandbox; returns the identifier.
    ///
    /// # Errors
    /// The call's error.
    pub async fn run_pod(&self, config: &PodSandboxConfig) -> Result<String> {
        if !config.log_directory.is_empty() {
            std::fs::create_dir_all(&config.log_directory)?;
        }
        let request = RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: String::new(),
        };
        let response = self.runtime().run_pod_sandbox(request).await;
        Ok(response
            .context("RunPodSandbox")?
            .into_inner()
            .pod_sandbox_id)
    }

    /// PodSandboxStatus.
    ///
    /// # Errors
    /// The call's error.
    pub async fn pod_status(&self, id: &str) -> Result<PodSandboxStatus> {
        let request = PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose: false,
        };
        let response = self.runtime().pod_sandbox_status(request).await;
        let response = response.context("PodSandboxStatus")?.into_inner();
        response.status.context("PodSandboxStatus without a status")
    }

    /// StopPodSandbox.
    ///
    /// # Errors
    /// The call's error.
    pub async fn stop_pod(&self, id: &str) -> Result {
        let request = StopPodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        let response = self.runtime().stop_pod_sandbox(request).await;
        response.context("StopPodSandbox")?;
        Ok(())
    }

    /// StopPodSandbox and RemovePodSandbox.
    ///
    /// # Errors
    /// The first call's error.
    pub async fn remove_pod(&self, id: &str) -> Result {
        self.stop_pod(id).await?;
        let request = RemovePodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        let response = self.runtime().remove_pod_sandbox(request).await;
        response.context("RemovePodSandbox")?;
        Ok(())
    }

    /// CreateContainer; returns the identifier.
    ///
    /// # Errors
    /// The call's error.
    pub async fn create_container(
        &self,
        pod: &str,
        pod_config: &PodSandboxConfig,
        config: ContainerConfig,
    ) -> Result<String> {
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.to_owned(),
            config: Some(config),
            sandbox_config: Some(pod_config.clone()),
        };
        let response = self.runtime().create_container(request).await;
        Ok(response
            .context("CreateContainer")?
            .into_inner()
            .container_id)
    }

    /// StartContainer.
    ///
    /// # Errors
    /// The call's error.
    pub async fn start_container(&self, id: &str) -> Result {
        let request = StartContainerRequest {
            container_id: id.to_owned(),
        };
        let response = self.runtime().start_container(request).await;
        response.context("StartContainer")?;
        Ok(())
    }

    /// CreateContainer and StartContainer; returns the identifier.
    ///
    /// # Errors
    /// The first call's error.
    pub async fn launch(
        &self,
        pod: &str,
        pod_config: &PodSandboxConfig,
        config: ContainerConfig,
    ) -> Result<String> {
        let id = self.create_container(pod, pod_config, config).await?;
        self.start_container(&id).await?;
        Ok(id)
    }

    /// StopContainer, with seconds until it is killed.
    ///
    /// # Errors
    /// The call's error.
    pub async fn stop_container(&self, id: &str, timeout: i64) -> Result {
        let request = StopContainerRequest {
            container_id: id.to_owned(),
            timeout,
        };
        let response = self.runtime().stop_container(request).await;
        response.context("StopContainer")?;
        Ok(())
    }

    /// RemoveContainer.
    ///
    /// # Errors
    /// The call's error.
    pub async fn remove_container(&self, id: &str) -> Result {
        let request = RemoveContainerRequest {
            container_id: id.to_owned(),
        };
        let response = self.runtime().remove_container(request).await;
        response.context("RemoveContainer")?;
        Ok(())
    }

    /// ContainerStatus.
    ///
    /// # Errors
    /// The call's error.
    pub async fn container_status(&self, id: &str) -> Result<ContainerStatus> {
        let request = ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: false,
        };
        let response = self.runtime().container_status(request).await;
        let response = response.context("ContainerStatus")?.into_inner();
        response.status.context("ContainerStatus without a status")
    }

    /// Waits until a container has exited, and returns its status.
    ///
    /// # Errors
    /// The call's error, or that it still runs after 20 seconds.
    pub async fn exited(&self, id: &str) -> Result<ContainerStatus> {
        until(
            "the container's exit",
            Duration::from_secs(20),
            async || {
                let status = self.container_status(id).await?;
                Ok((status.state() == ContainerState::ContainerExited).then_some(status))
            },
        )
        .await
    }

    /// ExecSync with ten seconds of time.
    ///
    /// # Errors
    /// The call's error.
    pub async fn exec(&self, id: &str, command: &[&str]) -> Result<ExecSyncResponse> {
        let request = ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout: 10,
        };
        let response = self.runtime().exec_sync(request).await;
        Ok(response.context("ExecSync")?.into_inner())
    }

    /// ExecSync of a command that must succeed; returns what it wrote to stdout.
    ///
    /// # Errors
    /// The call's error, or the command's exit code and stderr.
    pub async fn output(&self, id: &str, command: &[&str]) -> Result<String> {
        let response = self.exec(id, command).await?;
        anyhow::ensure!(
            response.exit_code == 0,
            "{command:?} exited with {}: {}",
            response.exit_code,
            String::from_utf8_lossy(&response.stderr)
        );
        Ok(String::from_utf8(response.stdout)?)
    }

    /// The log file of a container made by [`container`].
    #[must_use]
    pub fn log_path(&self, pod: &PodSandboxConfig, container: &str) -> PathBuf {
        Path::new(&pod.log_directory).join(format!("{container}.log"))
    }
}
