//! The spec as a whole, and requests to make one from.

mod mounts;
mod process;
mod security;

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use pinpod_model::{
    ContainerConfig, ContainerId, ContainerMetadata, ContainerSecurity, ImageSource, Labels,
    LinuxResources, Mount, MountPropagation, PodId, PodMetadata, PodSandboxConfig, PodSecurity,
};
use serde_json::Value;

use crate::host::Devices;
use crate::seccomp::Profile;
use crate::user::ResolvedUser;
use crate::{
    ContainerInput, ImageDefaults, KeptOptions, NamespacePaths, NodeFacts, PodFiles, PodInput,
    SpecDefaults, SpecError, SpecInput, capabilities, runtime_spec,
};

/// A container that asks for nothing.
pub(crate) fn container_config() -> ContainerConfig {
    ContainerConfig {
        metadata: ContainerMetadata {
            name: "web".into(),
            attempt: 0,
        },
        image: ImageSource {
            image: "sha256:0".into(),
            user_specified: "docker.io/library/busybox:latest".into(),
            ..ImageSource::default()
        },
        command: Vec::new(),
        args: Vec::new(),
        working_dir: String::new(),
        env: Vec::new(),
        mounts: Vec::new(),
        devices: Vec::new(),
        cdi_devices: Vec::new(),
        labels: Labels::new(),
        annotations: Labels::new(),
        log_path: String::new(),
        stdin: false,
        stdin_once: false,
        tty: false,
        resources: LinuxResources::default(),
        security: ContainerSecurity::default(),
        stop_signal: None,
    }
}

/// Owns what a [`SpecInput`] borrows.
struct Case {
    pod_id: PodId,
    pod: PodSandboxConfig,
    namespaces: NamespacePaths,
    files: PodFiles,
    container_id: ContainerId,
    container: ContainerConfig,
    image: ImageDefaults,
    user: ResolvedUser,
    devices: Devices,
    kept: KeptOptions,
    localhost: Option<Profile>,
    node: NodeFacts,
    defaults: SpecDefaults,
}

impl Case {
    fn new() -> Self {
        let path = |name: &str| Some(PathBuf::from("/run").join(name));
        Self {
            pod_id: "a".repeat(64).parse().unwrap(),
            pod: PodSandboxConfig {
                metadata: PodMetadata {
                    name: "pod".into(),
                    uid: "u-1".into(),
                    namespace: "default".into(),
                    attempt: 0,
                },
                hostname: "pod-host".into(),
                log_directory: String::new(),
                dns: None,
                port_mappings: Vec::new(),
                labels: Labels::new(),
                annotations: Labels::new(),
                cgroup_parent: String::new(),
                security: PodSecurity::default(),
                sysctls: [("net.ipv4.ip_forward".to_owned(), "1".to_owned())].into(),
                overhead: None,
                resources: None,
                runtime_handler: None,
            },
            namespaces: NamespacePaths {
                net: path("netns/a"),
                ipc: path("ipcns/a"),
                uts: path("utsns/a"),
                pid: path("pidns/a"),
                user: None,
            },
            files: PodFiles {
                hostname: path("hostname"),
                hosts: path("hosts"),
                resolv_conf: path("resolv.conf"),
                shm: path("shm"),
            },
            container_id: "b".repeat(64).parse().unwrap(),
            container: container_config(),
            image: ImageDefaults {
                cmd: vec!["sh".into()],
                ..ImageDefaults::default()
            },
            user: ResolvedUser {
                home: "/root".into(),
                additional_gids: vec![0],
                ..ResolvedUser::default()
            },
            devices: Devices::default(),
            kept: KeptOptions::new(),
            localhost: None,
            node: NodeFacts {
                hostname: "node-1".into(),
                capabilities: capabilities::from_mask(0xff),
                oom_score_adj_floor: -500,
                seccomp: true,
                kernel: (6, 1),
                ..NodeFacts::default()
            },
            defaults: SpecDefaults {
                capabilities: capabilities::from_mask(0b11),
                ..SpecDefaults::default()
            },
        }
    }

    fn spec(&self) -> Result<Spec, SpecError> {
        runtime_spec(&SpecInput {
            pod: PodInput {
                id: &self.pod_id,
                config: &self.pod,
                namespaces: &self.namespaces,
                files: &self.files,
            },
            container: ContainerInput {
                id: &self.container_id,
                config: &self.container,
                image: &self.image,
                user: &self.user,
                rootfs: Path::new("/rootfs"),
                cgroups_path: "/kubepods/x",
                devices: &self.devices,
                kept: &self.kept,
                localhost_seccomp: self.localhost.as_ref(),
            },
            node: &self.node,
            defaults: &self.defaults,
        })
    }

    fn json(&self) -> Value {
        serde_json::to_value(self.spec().unwrap()).unwrap()
    }

    fn mount(&self, destination: &str) -> Value {
        let spec = self.json();
        let mounts = spec["mounts"].as_array().unwrap();
        let mut found = mounts
            .iter()
            .filter(|mount| mount["destination"] == destination);
        let mount = found.next().cloned().unwrap_or_default();
        assert!(found.next().is_none(), "{destination} is mounted twice");
        mount
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn bind(from: &str, to: &str) -> Mount {
    Mount {
        container_path: to.into(),
        host_path: from.into(),
        readonly: false,
        recursive_read_only: false,
        selinux_relabel: false,
        propagation: MountPropagation::Private,
        uid_mappings: Vec::new(),
        gid_mappings: Vec::new(),
        image: None,
        image_sub_path: String::new(),
    }
}

fn options(mount: &Value) -> Vec<String> {
    serde_json::from_value(mount["options"].clone()).unwrap()
}
