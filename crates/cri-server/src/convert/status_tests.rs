//! Tests of how snapshots are shown and found by filters.

use std::net::IpAddr;
use std::sync::Arc;

use pinpod_model::{ContainerId, PodId, ResolvedUser};
use pinpod_pod::{NamespaceFiles, PodSnapshot, PodState};

use super::*;
use crate::convert::{
    ContainerMatch, PodMatch, container_config, pod_sandbox, pod_sandbox_config, pod_sandbox_status,
};

fn digits(pair: &str) -> String {
    pair.repeat(32)
}

fn pod_config() -> cri::PodSandboxConfig {
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: "web-0".into(),
            uid: "5d9f".into(),
            namespace: "default".into(),
            attempt: 2,
        }),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        annotations: [("note".to_owned(), "kept".to_owned())].into(),
        ..Default::default()
    }
}

fn pod() -> PodSnapshot {
    PodSnapshot {
        id: digits("0a").parse::<PodId>().unwrap(),
        config: Arc::new(pod_sandbox_config(Some(pod_config()), String::new()).unwrap()),
        runtime_handler: "runc".into(),
        state: PodState::Ready,
        created_at: 17,
        ips: vec![IpAddr::from([10, 88, 0, 2]), "fd00::2".parse().unwrap()],
        namespaces: NamespaceFiles::default(),
        init: None,
        monitor: None,
        containers: Vec::new(),
    }
}

fn asked() -> cri::ContainerConfig {
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata {
            name: "web".into(),
            attempt: 1,
        }),
        image: Some(cri::ImageSpec {
            image: format!("sha256:{}", digits("cd")),
            user_specified_image: "busybox:1".into(),
            ..Default::default()
        }),
        mounts: vec![cri::Mount {
            container_path: "/data".into(),
            host_path: "/srv".into(),
            propagation: 1,
            ..Default::default()
        }],
        labels: [("tier".to_owned(), "front".to_owned())].into(),
        stop_signal: cri::Signal::Sigusr1.into(),
        ..Default::default()
    }
}

fn shown(phase: ContainerPhase) -> ContainerSnapshot {
    ContainerSnapshot {
        id: digits("0b").parse::<ContainerId>().unwrap(),
        pod: digits("0a").parse().unwrap(),
        config: Arc::new(container_config(Some(asked())).unwrap()),
        image: format!("sha256:{}", digits("cd")).parse().unwrap(),
        image_ref: "registry/busybox@sha256:ef".into(),
        user: ResolvedUser {
            uid: 7,
            gid: 8,
            additional_gids: vec![8, 9],
            ..Default::default()
        },
        stop_signal: container_config(Some(asked())).unwrap().stop_signal,
        log_path: Some("/var/log/pods/p/web/1.log".into()),
        bundle: "/run/pinpod/containers/0b".into(),
        cgroup: "/kubepods/pinpod-0b".parse().unwrap(),
        created_at: 20,
        phase,
    }
}

fn exited(code: i32, oom_killed: bool) -> ContainerPhase {
    let exit = Exit {
        code,
        finished_at: 40,
        oom_killed,
        message: String::new(),
    };
    ContainerPhase::Exited {
        started_at: Some(30),
        exit,
    }
}

#[test]
fn a_pod_sandbox_shows_what_it_was_asked_to_be() {
    let status = pod_sandbox_status(&pod());
    let network = status.network.unwrap();
    assert_eq!(network.ip, "10.88.0.2");
    assert_eq!(network.additional_ips[0].ip, "fd00::2");
    assert_eq!(status.metadata, pod_config().metadata);
    assert_eq!(status.annotations, pod_config().annotations);
    assert_eq!(status.runtime_handler, "", "the kubelet asked for none");
    let listed = pod_sandbox(&pod());
    assert_eq!((listed.id, listed.created_at), (status.id, 17));
    assert_eq!(listed.state, i32::from(cri::PodSandboxState::SandboxReady));
}

#[test]
fn an_ended_container_says_why() {
    for (code, oom_killed, reason) in [
        (0, false, "Completed"),
        (3, false, "Error"),
        (137, false, "Error"),
        (137, true, "OOMKilled"),
    ] {
        let status = container_status(&shown(exited(code, oom_killed)));
        assert_eq!((status.reason.as_str(), status.exit_code), (reason, code));
        assert_eq!((status.started_at, status.finished_at), (30, 40));
        assert_eq!(
            status.state,
            i32::from(cri::ContainerState::ContainerExited)
        );
    }
}

#[test]
fn a_container_shows_what_it_was_asked_to_be() {
    let snapshot = shown(exited(0, false));
    let status = container_status(&snapshot);
    assert_eq!(status.mounts, asked().mounts);
    assert_eq!(status.stop_signal, asked().stop_signal);
    assert_eq!(status.image.unwrap().image, "busybox:1");
    assert_eq!(status.image_id, asked().image.unwrap().image);
    assert_eq!(status.log_path, "/var/log/pods/p/web/1.log");
    let user = status.user.unwrap().linux.unwrap();
    assert_eq!(
        (user.uid, user.gid, user.supplemental_groups),
        (7, 8, vec![8, 9])
    );
    assert_eq!(container(&snapshot).image_ref, "registry/busybox@sha256:ef");
}

#[test]
fn containers_are_found_by_all_parts_of_a_filter() {
    let snapshot = shown(exited(0, false));
    let labels = |value: &str| [("tier".to_owned(), value.to_owned())].into();
    let state = |state| Some(cri::ContainerStateValue { state });
    let filter = cri::ContainerFilter::default;
    for (filter, found) in [
        (filter(), true),
        (
            cri::ContainerFilter {
                id: "0b0b".into(),
                ..filter()
            },
            true,
        ),
        (
            cri::ContainerFilter {
                id: "0c".into(),
                ..filter()
            },
            false,
        ),
        (
            cri::ContainerFilter {
                pod_sandbox_id: "0a".into(),
                ..filter()
            },
            true,
        ),
        (
            cri::ContainerFilter {
                pod_sandbox_id: "0b".into(),
                ..filter()
            },
            false,
        ),
        (
            cri::ContainerFilter {
                label_selector: labels("front"),
                ..filter()
            },
            true,
        ),
        (
            cri::ContainerFilter {
                label_selector: labels("back"),
                ..filter()
            },
            false,
        ),
        (
            cri::ContainerFilter {
                state: state(2),
                ..filter()
            },
            true,
        ),
        (
            cri::ContainerFilter {
                state: state(1),
                ..filter()
            },
            false,
        ),
        (
            cri::ContainerFilter {
                id: "0b".into(),
                state: state(1),
                ..filter()
            },
            false,
        ),
    ] {
        let wanted = ContainerMatch::new(Some(filter.clone())).unwrap();
        assert_eq!(wanted.matches(&snapshot), found, "{filter:?}");
    }
    let unknown = ContainerMatch::new(Some(cri::ContainerFilter {
        state: state(9),
        ..filter()
    }));
    assert_eq!(unknown.unwrap_err().field(), "filter.state");
}

#[test]
fn pods_are_found_by_all_parts_of_a_filter() {
    let labels = |value: &str| [("app".to_owned(), value.to_owned())].into();
    let state = |state| Some(cri::PodSandboxStateValue { state });
    let filter = cri::PodSandboxFilter::default;
    for (filter, found) in [
        (filter(), true),
        (
            cri::PodSandboxFilter {
                id: "0a0".into(),
                ..filter()
            },
            true,
        ),
        (
            cri::PodSandboxFilter {
                id: "0b".into(),
                ..filter()
            },
            false,
        ),
        (
            cri::PodSandboxFilter {
                label_selector: labels("web"),
                ..filter()
            },
            true,
        ),
        (
            cri::PodSandboxFilter {
                label_selector: labels("db"),
                ..filter()
            },
            false,
        ),
        (
            cri::PodSandboxFilter {
                state: state(0),
                ..filter()
            },
            true,
        ),
        (
            cri::PodSandboxFilter {
                state: state(1),
                ..filter()
            },
            false,
        ),
    ] {
        let wanted = PodMatch::new(Some(filter.clone())).unwrap();
        assert_eq!(wanted.matches(&pod()), found, "{filter:?}");
    }
}
