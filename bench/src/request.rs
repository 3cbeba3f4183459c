//! Pods and containers as the kubelet asks for them.

use std::path::Path;

use pinpod_cri_api::runtime::v1 as api;

/// What differs between the pods of two measurements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// On the node's network instead of one of its own.
    pub(crate) host_network: bool,
    /// One PID namespace for all containers instead of one for each.
    pub(crate) shared_pid: bool,
}

impl Kind {
    fn namespaces(self) -> api::NamespaceOption {
        let network = match self.host_network {
            true => api::NamespaceMode::Node,
            false => api::NamespaceMode::Pod,
        };
        let pid = match self.shared_pid {
            true => api::NamespaceMode::Pod,
            false => api::NamespaceMode::Container,
        };
        api::NamespaceOption {
            network: network.into(),
            pid: pid.into(),
            ..Default::default()
        }
    }
}

/// What all pods of a run have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) cgroup_parent: &'a str,
    pub(crate) logs: &'a Path,
}

/// A pod of which there is only one with that name.
pub(crate) fn pod(name: &str, kind: Kind, place: Place<'_>) -> api::PodSandboxConfig {
    let logs = place.logs.join(name);
    // The kubelet names no host where the pod has the node's UTS namespace.
    let hostname = if kind.host_network { "" } else { name };
    api::PodSandboxConfig {
        metadata: Some(api::PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            namespace: "bench".to_owned(),
            attempt: 0,
        }),
        hostname: hostname.to_owned(),
        log_directory: logs.to_string_lossy().into_owned(),
        linux: Some(api::LinuxPodSandboxConfig {
            cgroup_parent: place.cgroup_parent.to_owned(),
            security_context: Some(api::LinuxSandboxSecurityContext {
                namespace_options: Some(kind.namespaces()),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Programs of [`container`], by the names that their processes have.
pub(crate) const CONTAINER_PROGRAMS: [&str; 2] = ["sh", "sleep"];

/// A container that runs until SIGTERM and then ends at once, like a well-behaved server. (A PID 1
/// that does not ask for SIGTERM does not get it, and would be killed after the grace period.)
pub(crate) fn container(name: &str, image: &str, kind: Kind) -> api::ContainerConfig {
    let script = "trap 'exit 0' TERM; sleep 3600 & wait";
    api::ContainerConfig {
        metadata: Some(api::ContainerMetadata {
            name: name.to_owned(),
            attempt: 0,
        }),
        image: Some(api::ImageSpec {
            image: image.to_owned(),
            ..Default::default()
        }),
        command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        log_path: format!("{name}.log"),
        linux: Some(api::LinuxContainerConfig {
            security_context: Some(api::LinuxContainerSecurityContext {
                namespace_options: Some(kind.namespaces()),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}
