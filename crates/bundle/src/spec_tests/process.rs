//! What runs, in which namespaces, and all that is neither a mount nor a privilege.

use pinpod_model::{EnvVar, IdMapping, NamespaceMode, PidMode, UserNamespace};
use serde_json::{Value, json};

use crate::seccomp::Profile;
use crate::{CgroupMode, NamespacePaths, SpecDefaults, SpecError};

use super::{Case, words};

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
