//! How containers are shown.

use pinpod_cri_api::runtime::v1 as cri;
use pinpod_model::Signal;
use pinpod_pod::{ContainerPhase, ContainerSnapshot, Exit};

use super::image::image_spec;
use super::{mount, resources, signal};

/// A container as lists show it.
pub(crate) fn container(container: &ContainerSnapshot) -> cri::Container {
    cri::Container {
        id: container.id.to_string(),
        pod_sandbox_id: container.pod.to_string(),
        metadata: Some(metadata(container)),
        image: Some(image(container)),
        image_ref: container.image_ref.clone(),
        state: state_of(container).into(),
        created_at: container.created_at,
        labels: container.config.labels.clone(),
        annotations: container.config.annotations.clone(),
        image_id: container.image.to_string(),
    }
}

/// The state of a container.
pub(crate) fn container_status(container: &ContainerSnapshot) -> cri::ContainerStatus {
    let config = &container.config;
    let user = &container.user;
    let times = Times::of(&container.phase);
    let log_path = container
        .log_path
        .as_ref()
        .map(|path| path.to_string_lossy().into_owned());
    cri::ContainerStatus {
        id: container.id.to_string(),
        metadata: Some(metadata(container)),
        state: state_of(container).into(),
        created_at: container.created_at,
        started_at: times.started_at,
        finished_at: times.finished_at,
        exit_code: times.exit.map_or(0, |exit| exit.code),
        image: Some(image(container)),
        image_ref: container.image_ref.clone(),
        reason: times.exit.map_or("", reason).to_owned(),
        message: times
            .exit
            .map_or_else(String::new, |exit| exit.message.clone()),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        mounts: config.mounts.iter().map(mount::to_cri).collect(),
        log_path: log_path.unwrap_or_default(),
        resources: Some(cri::ContainerResources {
            linux: Some(resources::to_cri(&config.resources)),
            windows: None,
        }),
        image_id: container.image.to_string(),
        user: Some(cri::ContainerUser {
            linux: Some(cri::LinuxContainerUser {
                uid: user.uid.into(),
                gid: user.gid.into(),
                supplemental_groups: user.additional_gids.iter().map(|&gid| gid.into()).collect(),
            }),
        }),
        // The effective one, as KEP-4960 asks.
        stop_signal: signal::to_cri(container.stop_signal.unwrap_or(Signal::TERM)).into(),
    }
}

/// Where it is in its life. One that is being made is not shown; should it be, it is as good as
/// created.
pub(super) fn state_of(container: &ContainerSnapshot) -> cri::ContainerState {
    match container.phase {
        ContainerPhase::Creating | ContainerPhase::Created { .. } | ContainerPhase::Prepared => {
            cri::ContainerState::ContainerCreated
        }
        ContainerPhase::Running { .. } => cri::ContainerState::ContainerRunning,
        ContainerPhase::Exited { .. } => cri::ContainerState::ContainerExited,
    }
}

struct Times<'a> {
    started_at: i64,
    finished_at: i64,
    exit: Option<&'a Exit>,
}

impl<'a> Times<'a> {
    fn of(phase: &'a ContainerPhase) -> Self {
        match phase {
            ContainerPhase::Creating
            | ContainerPhase::Created { .. }
            | ContainerPhase::Prepared => Self {
                started_at: 0,
                finished_at: 0,
                exit: None,
            },
            ContainerPhase::Running { started_at, .. } => Self {
                started_at: *started_at,
                finished_at: 0,
                exit: None,
            },
            ContainerPhase::Exited { started_at, exit } => Self {
                started_at: started_at.unwrap_or(0),
                finished_at: exit.finished_at,
                exit: Some(exit),
            },
        }
    }
}

fn reason(exit: &Exit) -> &'static str {
    match exit {
        Exit {
            oom_killed: true, ..
        } => "OOMKilled",
        Exit { code: 0, .. } => "Completed",
        Exit { .. } => "Error",
    }
}

pub(super) fn metadata(container: &ContainerSnapshot) -> cri::ContainerMetadata {
    let metadata = &container.config.metadata;
    cri::ContainerMetadata {
        name: metadata.name.clone(),
        attempt: metadata.attempt,
    }
}

/// `image` is what the pod's author wrote, where the kubelet told it.
fn image(container: &ContainerSnapshot) -> cri::ImageSpec {
    let mut spec = image_spec(&container.config.image);
    if !spec.user_specified_image.is_empty() {
        spec.image.clone_from(&spec.user_specified_image);
    }
    spec
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
