//! How pod sandboxes are shown.

use pinpod_cri_api::runtime::v1 as cri;
use pinpod_pod::{PodSnapshot, PodState};

use super::security::namespaces_to_cri;

/// A pod sandbox as lists show it.
pub(crate) fn pod_sandbox(pod: &PodSnapshot) -> cri::PodSandbox {
    cri::PodSandbox {
        id: pod.id.to_string(),
        metadata: Some(metadata(pod)),
        state: state_of(pod).into(),
        created_at: pod.created_at,
        labels: pod.config.labels.clone(),
        annotations: pod.config.annotations.clone(),
        runtime_handler: asked_handler(pod),
    }
}

/// The state of a pod sandbox.
pub(crate) fn pod_sandbox_status(pod: &PodSnapshot) -> cri::PodSandboxStatus {
    let mut ips = pod.ips.iter().map(ToString::to_string);
    let network = cri::PodSandboxNetworkStatus {
        ip: ips.next().unwrap_or_default(),
        additional_ips: ips.map(|ip| cri::PodIp { ip }).collect(),
    };
    let options = namespaces_to_cri(&pod.config.security.namespaces);
    cri::PodSandboxStatus {
        id: pod.id.to_string(),
        metadata: Some(metadata(pod)),
        state: state_of(pod).into(),
        created_at: pod.created_at,
        network: Some(network),
        linux: Some(cri::LinuxPodSandboxStatus {
            namespaces: Some(cri::Namespace {
                options: Some(options),
            }),
        }),
        labels: pod.config.labels.clone(),
        annotations: pod.config.annotations.clone(),
        runtime_handler: asked_handler(pod),
    }
}

/// Ready, or not.
pub(super) fn state_of(pod: &PodSnapshot) -> cri::PodSandboxState {
    match pod.state {
        PodState::Ready => cri::PodSandboxState::SandboxReady,
        PodState::NotReady => cri::PodSandboxState::SandboxNotready,
    }
}

pub(super) fn metadata(pod: &PodSnapshot) -> cri::PodSandboxMetadata {
    let metadata = &pod.config.metadata;
    cri::PodSandboxMetadata {
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        namespace: metadata.namespace.clone(),
        attempt: metadata.attempt,
    }
}

/// The kubelet compares it with what it asked for, so the default one stays empty.
fn asked_handler(pod: &PodSnapshot) -> String {
    pod.config.runtime_handler.clone().unwrap_or_default()
}
