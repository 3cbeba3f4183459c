//! The spec as a whole, and requests to make one from.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use pinpod_model::{
    ContainerConfig, ContainerId, ContainerMetadata, ContainerSecurity, EnvVar, IdMapping,
    ImageSource, Labels, LinuxResources, Mount, MountPropagation, NamespaceMode, PidMode, PodId,
    PodMetadata, PodSandboxConfig, PodSecurity, ProfileSource, SelinuxOptions, UserNamespace,
};
use serde_json::{Value, json};

use crate::host::{DeviceKind, Devices, HostDevice};
use crate::seccomp::{Profile, localhost_file};
use crate::user::ResolvedUser;
use crate::{
    CgroupMode, ContainerInput, ImageDefaults, KeptOptions, NamespacePaths, NodeFacts, PodFiles,
    PodInput, SpecDefaults, SpecError, SpecInput, capabilities, runtime_spec,
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

#[test]
fn what_runs() {
    for (entrypoint, cmd, command, args, runs) in [
        ("", "sh", "", "", "sh"),
        ("init", "a b", "", "", "init a b"),
        ("init", "a b", "", "c", "init c"),
        ("init", "a b", "run", "", "run"),
        ("init", "a b", "run x", "y", "run x y"),
        ("", "", "run", "", "run"),
        ("", "", "", "only", "only"),
    ] {
        let mut case = Case::new();
        case.image.entrypoint = words(entrypoint);
        case.image.cmd = words(cmd);
        case.container.command = words(command);
        case.container.args = words(args);
        assert_eq!(case.json()["process"]["args"], json!(words(runs)));
    }
    let mut case = Case::new();
    case.image.cmd.clear();
    assert_eq!(
        case.spec().unwrap_err().to_string(),
        "container \"web\": neither the request nor the image \
         \"docker.io/library/busybox:latest\" names a command"
    );
}

#[test]
fn the_environment_is_merged_by_name() {
    let mut case = Case::new();
    case.defaults.env = [("A", "default"), ("B", "default"), ("C", "default")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    case.image.env = words("B=image C=image PATH=/bin EMPTY");
    case.container.env = vec![EnvVar {
        name: "C".into(),
        value: "a=b".into(),
    }];
    let env = case.json()["process"]["env"].clone();
    assert_eq!(
        env,
        json!([
            "PATH=/bin",
            "HOSTNAME=pod-host",
            "HOME=/root",
            "A=default",
            "B=image",
            "C=a=b",
            "EMPTY="
        ])
    );
    case.container.tty = true;
    case.namespaces.uts = None;
    let spec = case.json();
    let env = spec["process"]["env"].as_array().unwrap();
    assert!(env.contains(&json!("TERM=xterm")) && env.contains(&json!("HOSTNAME=node-1")));
    assert_eq!(spec["process"]["terminal"], json!(true));
    assert!(spec.get("hostname").is_none());
}

#[test]
fn the_working_directory() {
    for (image, request, outcome) in [
        ("", "", "/"),
        ("/img", "", "/img"),
        ("/img", "/req", "/req"),
    ] {
        let mut case = Case::new();
        case.image.working_dir = image.into();
        case.container.working_dir = request.into();
        assert_eq!(case.json()["process"]["cwd"], outcome);
    }
    let mut case = Case::new();
    case.image.working_dir = "relative".into();
    assert!(matches!(case.spec(), Err(SpecError::WorkingDir(_))));
}

#[test]
fn namespaces_follow_the_modes() {
    let kinds = |case: &Case| -> Vec<(String, String)> {
        let spec = case.json();
        let list = spec["linux"]["namespaces"].as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap_or("new").to_owned();
        list.iter()
            .map(|ns| (text(&ns["type"]), text(&ns["path"])))
            .collect()
    };
    let pair = |kind: &str, path: &str| (kind.to_owned(), path.to_owned());
    let mut case = Case::new();
    assert_eq!(
        kinds(&case),
        [
            pair("mount", "new"),
            pair("network", "/run/netns/a"),
            pair("ipc", "/run/ipcns/a"),
            pair("uts", "/run/utsns/a"),
            pair("pid", "/run/pidns/a"),
            pair("cgroup", "new"),
        ]
    );
    case.node.cgroup = CgroupMode::Hybrid;
    case.pod.security.namespaces.network = NamespaceMode::Node;
    case.pod.security.namespaces.ipc = NamespaceMode::Node;
    case.namespaces = NamespacePaths::default();
    case.container.security.namespaces.pid = PidMode::Container;
    assert_eq!(kinds(&case), [pair("mount", "new"), pair("pid", "new")]);
    case.container.security.namespaces.pid = PidMode::Node;
    assert_eq!(kinds(&case), [pair("mount", "new")]);
    case.container.security.namespaces.pid = PidMode::Target(case.container_id.clone());
    assert!(matches!(case.spec(), Err(SpecError::NoNamespace("PID"))));
    case.pod.security.namespaces.network = NamespaceMode::Pod;
    assert!(matches!(
        case.spec(),
        Err(SpecError::NoNamespace("network"))
    ));
}

#[test]
fn a_user_namespace() {
    let mut case = Case::new();
    let mapping = IdMapping {
        host_id: 100_000,
        container_id: 0,
        length: 65_536,
    };
    case.pod.security.namespaces.user = Some(UserNamespace {
        uid: mapping,
        gid: mapping,
    });
    case.namespaces.user = Some("/run/userns/a".into());
    let spec = case.json();
    let expected = json!([{"hostID": 100_000, "containerID": 0, "size": 65_536}]);
    assert_eq!(spec["linux"]["uidMappings"], expected);
    assert_eq!(spec["linux"]["gidMappings"], expected);
    let list = spec["linux"]["namespaces"].as_array().unwrap();
    assert!(list.contains(&json!({"type": "user", "path": "/run/userns/a"})));
    // What belongs to another owner cannot be mounted anew.
    assert_eq!(case.mount("/proc")["type"], "proc");
    case.container.security.namespaces.pid = PidMode::Node;
    assert_eq!(case.mount("/proc")["type"], "bind");
    case.pod.security.namespaces.ipc = NamespaceMode::Node;
    assert_eq!(case.mount("/dev/mqueue")["source"], "/dev/mqueue");
}

#[test]
fn options_that_a_read_only_mount_repeats() {
    let mut case = Case::new();
    let kept = vec!["nosuid", "nodev"];
    case.kept.insert("/run/hosts".into(), kept.clone());
    assert!(!options(&case.mount("/etc/hosts")).contains(&"nodev".to_owned()));
    case.container.security.readonly_rootfs = true;
    assert!(
        options(&case.mount("/etc/hosts")).ends_with(&["ro", "nosuid", "nodev"].map(str::to_owned))
    );
    assert!(!options(&case.mount("/etc/resolv.conf")).contains(&"nodev".to_owned()));
}

#[test]
fn standard_mounts() {
    let mut case = Case::new();
    assert_eq!(case.mount("/dev/shm")["source"], "/run/shm");
    assert!(options(&case.mount("/sys")).contains(&"ro".to_owned()));
    assert!(options(&case.mount("/sys/fs/cgroup")).contains(&"ro".to_owned()));
    assert!(options(&case.mount("/etc/resolv.conf")).contains(&"rw".to_owned()));
    case.container.security.readonly_rootfs = true;
    assert!(options(&case.mount("/etc/resolv.conf")).contains(&"ro".to_owned()));
    assert_eq!(
        case.json()["root"],
        json!({"path": "/rootfs", "readonly": true})
    );
    case.pod.security.privileged = true;
    case.container.security.privileged = true;
    assert!(options(&case.mount("/sys")).contains(&"rw".to_owned()));
    assert!(options(&case.mount("/sys/fs/cgroup")).contains(&"rw".to_owned()));
    case.files.shm = None;
    assert_eq!(case.mount("/dev/shm")["type"], "tmpfs");
    case.pod.security.namespaces.ipc = NamespaceMode::Node;
    assert_eq!(case.mount("/dev/shm")["source"], "/dev/shm");
}

#[test]
fn mounts_of_the_request() {
    let mut case = Case::new();
    case.container.mounts = vec![
        bind("/deep", "/a/b/c"),
        bind("/top", "/a"),
        bind("/kubelet/hosts", "/etc/hosts/"),
        Mount {
            readonly: true,
            propagation: MountPropagation::HostToContainer,
            ..bind("/ro", "/ro")
        },
        Mount {
            readonly: true,
            recursive_read_only: true,
            ..bind("/rro", "/rro")
        },
    ];
    assert_eq!(case.mount("/etc/hosts")["source"], "/kubelet/hosts");
    assert_eq!(options(&case.mount("/ro")), ["rbind", "rslave", "ro"]);
    assert_eq!(options(&case.mount("/rro")), ["rbind", "rprivate", "rro"]);
    let spec = case.json();
    let order: Vec<usize> = spec["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| {
            Path::new(mount["destination"].as_str().unwrap())
                .components()
                .count()
        })
        .collect();
    assert!(order.is_sorted(), "{order:?}");
    assert_eq!(spec["linux"]["rootfsPropagation"], "rslave");
    case.container.mounts.push(Mount {
        propagation: MountPropagation::Bidirectional,
        ..bind("/shared", "/shared")
    });
    assert_eq!(case.json()["linux"]["rootfsPropagation"], "rshared");
}

#[test]
fn mounts_that_cannot_be() {
    let recursive = |readonly, propagation| Mount {
        recursive_read_only: true,
        readonly,
        propagation,
        ..bind("/a", "/a")
    };
    let mapping = IdMapping {
        host_id: 1,
        container_id: 0,
        length: 1,
    };
    for mount in [
        bind("", "/a"),
        bind("/a", "/"),
        recursive(false, MountPropagation::Private),
        recursive(true, MountPropagation::HostToContainer),
        Mount {
            uid_mappings: vec![mapping],
            ..bind("/a", "/a")
        },
    ] {
        let mut case = Case::new();
        case.container.mounts = vec![mount];
        let error = case.spec().unwrap_err().to_string();
        assert!(error.starts_with("mount "), "{error}");
    }
    let mut case = Case::new();
    case.container.mounts = vec![Mount {
        uid_mappings: vec![mapping],
        gid_mappings: vec![mapping],
        ..bind("/a", "/a")
    }];
    let expected = json!([{"hostID": 1, "containerID": 0, "size": 1}]);
    assert_eq!(case.mount("/a")["uidMappings"], expected);
}

#[test]
fn devices_and_their_rules() {
    let mut case = Case::new();
    case.devices.nodes = vec![HostDevice {
        path: "/dev/x".into(),
        kind: DeviceKind::Block,
        major: 8,
        minor: 1,
        mode: 0o660,
        uid: 0,
        gid: 6,
        access: "rw".into(),
    }];
    let spec = case.json();
    assert_eq!(
        spec["linux"]["devices"],
        json!([{"path": "/dev/x", "type": "b", "major": 8, "minor": 1, "fileMode": 0o660,
                "uid": 0, "gid": 6}])
    );
    let rules = spec["linux"]["resources"]["devices"].as_array().unwrap();
    assert_eq!(rules[0], json!({"allow": false, "access": "rwm"}));
    let last = json!({"allow": true, "type": "b", "major": 8, "minor": 1, "access": "rw"});
    assert_eq!(rules.last(), Some(&last));
    case.devices.allow_all = true;
    let rules = case.json()["linux"]["resources"]["devices"].clone();
    assert_eq!(rules, json!([{"allow": true, "access": "rwm"}]));
}

#[test]
fn privilege() {
    let mut case = Case::new();
    case.container.security.privileged = true;
    case.container.security.masked_paths = words("/proc/kcore");
    case.container.security.seccomp = Some(ProfileSource::RuntimeDefault);
    assert!(matches!(
        case.spec(),
        Err(SpecError::PrivilegedInPlainPod(_))
    ));
    case.pod.security.privileged = true;
    let spec = case.json();
    let bounding = spec["process"]["capabilities"]["bounding"]
        .as_array()
        .unwrap();
    assert_eq!(bounding.len(), 8);
    assert!(spec["linux"].get("seccomp").is_none());
    assert_eq!(spec["linux"]["maskedPaths"], json!([]));
    let cgroup = json!({"type": "cgroup"});
    assert!(
        !spec["linux"]["namespaces"]
            .as_array()
            .unwrap()
            .contains(&cgroup)
    );
    case.container.security.privileged = false;
    assert_eq!(case.json()["linux"]["maskedPaths"], json!(["/proc/kcore"]));
}

#[test]
fn seccomp_sources() {
    let mut case = Case::new();
    assert!(case.json()["linux"].get("seccomp").is_none());
    case.container.security.seccomp = Some(ProfileSource::RuntimeDefault);
    assert_eq!(
        case.json()["linux"]["seccomp"]["defaultAction"],
        "SCMP_ACT_ERRNO"
    );
    case.container.security.seccomp = Some(ProfileSource::Localhost("/p.json".into()));
    assert!(matches!(case.spec(), Err(SpecError::SeccompNotLoaded(_))));
    let profile = Profile::parse(r#"{"defaultAction": "SCMP_ACT_LOG"}"#).unwrap();
    case.localhost = Some(profile);
    assert_eq!(
        case.json()["linux"]["seccomp"]["defaultAction"],
        "SCMP_ACT_LOG"
    );
    case.node.seccomp = false;
    assert!(matches!(case.spec(), Err(SpecError::SeccompOff)));
    case.pod.security.privileged = true;
    case.container.security.privileged = true;
    assert_eq!(localhost_file(&case.container.security), None);
    assert!(case.json()["linux"].get("seccomp").is_none());
}

#[test]
fn apparmor_and_selinux_only_where_they_are() {
    let mut case = Case::new();
    case.defaults.apparmor_profile = "pinpod-default".into();
    case.container.security.selinux = Some(SelinuxOptions::default());
    let spec = case.json();
    assert!(spec["process"].get("apparmorProfile").is_none());
    assert!(spec["process"].get("selinuxLabel").is_none());
    case.container.security.apparmor = Some(ProfileSource::Localhost("mine".into()));
    assert!(matches!(case.spec(), Err(SpecError::AppArmorOff(_))));
    case.node.apparmor = true;
    case.node.selinux = true;
    let spec = case.json();
    assert_eq!(spec["process"]["apparmorProfile"], "mine");
    assert_eq!(
        spec["process"]["selinuxLabel"],
        "system_u:system_r:container_t:s0"
    );
    assert_eq!(
        spec["linux"]["mountLabel"],
        "system_u:object_r:container_file_t:s0"
    );
    case.container.security.apparmor = None;
    assert_eq!(case.json()["process"]["apparmorProfile"], "pinpod-default");
    case.container.security.apparmor = Some(ProfileSource::Unconfined);
    assert!(case.json()["process"].get("apparmorProfile").is_none());
}

#[test]
fn oom_score_adj_is_held_above_the_floor() {
    for (asked, outcome) in [(0, 0), (1000, 1000), (-998, -500), (-100, -100)] {
        let mut case = Case::new();
        case.container.resources.oom_score_adj = asked;
        assert_eq!(case.json()["process"]["oomScoreAdj"], outcome);
    }
    let mut case = Case::new();
    case.container.resources.oom_score_adj = 1001;
    assert!(matches!(
        case.spec(),
        Err(SpecError::OutOfRange { value: 1001, .. })
    ));
}

#[test]
fn the_rest() {
    let mut case = Case::new();
    case.defaults.pids_limit = Some(100);
    case.defaults.rlimits = vec![crate::process::rlimit(&"nofile=10:20".parse().unwrap()).unwrap()];
    case.container.security.no_new_privs = true;
    case.container.annotations = [
        ("io.kubernetes.cri-o.ContainerType", "sandbox"),
        ("mine", "1"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    let spec = case.json();
    assert_eq!(spec["ociVersion"], "1.0.2");
    assert_eq!(spec["hostname"], "pod-host");
    assert_eq!(spec["linux"]["resources"]["pids"]["limit"], 100);
    assert_eq!(
        spec["process"]["rlimits"],
        json!([{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}])
    );
    assert_eq!(spec["process"]["noNewPrivileges"], true);
    assert_eq!(spec["annotations"]["mine"], "1");
    assert_eq!(
        spec["annotations"]["io.kubernetes.cri-o.ContainerType"],
        "container"
    );
    assert_eq!(spec["annotations"]["io.kubernetes.cri.sandbox-uid"], "u-1");
    assert!(spec["linux"].get("sysctl").is_none());
    assert_eq!(spec["linux"]["cgroupsPath"], "/kubepods/x");
}

#[test]
fn defaults_of_the_configuration() {
    let runtime = pinpod_config::Config::default().runtime;
    let defaults = SpecDefaults::from_config(&runtime, Profile::builtin()).unwrap();
    assert_eq!(defaults.capabilities.len(), 9);
    assert_eq!(defaults.pids_limit, None);
    let wrong = pinpod_config::Runtime {
        default_capabilities: words("NOPE"),
        ..runtime
    };
    assert!(SpecDefaults::from_config(&wrong, Profile::builtin()).is_err());
}
