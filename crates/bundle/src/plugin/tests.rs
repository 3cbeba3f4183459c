//! Tests of what plugins see of a spec, and of what they put into it.

use pinpod_nri::api;
use serde_json::{Value, json};

use super::adjust::adjust;
use super::*;
use crate::NodeFacts;

fn spec() -> Value {
    json!({
        "ociVersion": "1.0.2",
        "annotations": {"a": "1", "b": "2"},
        "process": {
            "args": ["sleep", "1"], "cwd": "/", "env": ["PATH=/bin", "A=1"],
            "user": {"uid": 7, "gid": 8, "additionalGids": [9]}, "oomScoreAdj": 5,
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 10, "soft": 5}],
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/data", "type": "bind", "source": "/x", "options": ["rbind"]},
        ],
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "network", "path": "/run/netns/x"}],
            "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}],
            "resources": {
                "cpu": {"shares": 2}, "memory": {"limit": 1024, "swap": 1024},
                "devices": [{"allow": false, "access": "rwm"}],
            },
            "cgroupsPath": "/pod/c",
        },
    })
}

fn node() -> NodeFacts {
    NodeFacts {
        swap: true,
        oom_score_adj_floor: -3,
        ..NodeFacts::default()
    }
}

fn adjusted(wanted: &api::ContainerAdjustment) -> Value {
    let mut spec = spec();
    adjust(&mut spec, wanted, &node()).unwrap();
    // What came out is still a spec.
    serde_json::from_value::<oci_spec::runtime::Spec>(spec.clone()).unwrap();
    spec
}

fn linux(wanted: api::LinuxContainerAdjustment) -> api::ContainerAdjustment {
    api::ContainerAdjustment {
        linux: Some(wanted),
        ..api::ContainerAdjustment::default()
    }
}

#[test]
fn a_spec_as_plugins_see_it() {
    let seen = view(&spec());
    assert_eq!(seen.args, ["sleep", "1"]);
    assert_eq!(seen.env, ["PATH=/bin", "A=1"]);
    assert_eq!(seen.mounts[1].source, "/x");
    assert_eq!(seen.rlimits[0].soft, 5);
    assert_eq!(seen.user.unwrap().additional_gids, [9]);
    let linux = seen.linux.unwrap();
    assert_eq!(linux.namespaces[1].path, "/run/netns/x");
    assert_eq!(linux.devices[0].minor, 229);
    assert_eq!(linux.cgroups_path, "/pod/c");
    assert_eq!(linux.oom_score_adj.unwrap().value, 5);
    let memory = linux.resources.unwrap().memory.unwrap();
    assert_eq!(memory.limit.unwrap().value, 1024);
}

#[test]
fn nothing_wanted_changes_nothing() {
    assert_eq!(adjusted(&api::ContainerAdjustment::default()), spec());
    assert_eq!(
        adjusted(&linux(api::LinuxContainerAdjustment::default())),
        spec()
    );
}

#[test]
fn process_annotations_and_hooks() {
    let variable = |key: &str, value: &str| api::KeyValue {
        key: key.into(),
        value: value.into(),
    };
    let spec = adjusted(&api::ContainerAdjustment {
        annotations: [("-a".into(), String::new()), ("c".into(), "3".into())].into(),
        env: vec![
            variable("-PATH", ""),
            variable("A", "2"),
            variable("B", "3"),
        ],
        args: vec!["true".into()],
        rlimits: vec![api::PosixRlimit {
            r#type: "RLIMIT_NOFILE".into(),
            hard: 20,
            soft: 20,
        }],
        hooks: Some(api::Hooks {
            poststop: vec![api::Hook {
                path: "/bin/true".into(),
                args: vec!["true".into()],
                timeout: Some(api::OptionalInt { value: 3 }),
                ..api::Hook::default()
            }],
            ..api::Hooks::default()
        }),
        ..api::ContainerAdjustment::default()
    });
    assert_eq!(spec["annotations"], json!({"b": "2", "c": "3"}));
    assert_eq!(spec["process"]["env"], json!(["A=2", "B=3"]));
    assert_eq!(spec["process"]["args"], json!(["true"]));
    let limits = json!([{"type": "RLIMIT_NOFILE", "hard": 20, "soft": 20}]);
    assert_eq!(spec["process"]["rlimits"], limits);
    let hook = json!([{"path": "/bin/true", "args": ["true"], "timeout": 3}]);
    assert_eq!(spec["hooks"], json!({"poststop": hook}));
}

#[test]
fn mounts_and_devices() {
    let mount = |destination: &str, options: &[&str]| api::Mount {
        destination: destination.into(),
        r#type: "bind".into(),
        source: "/src".into(),
        options: options.iter().map(|it| (*it).to_owned()).collect(),
    };
    let mut wanted = linux(api::LinuxContainerAdjustment {
        devices: vec![
            api::LinuxDevice {
                path: "-/dev/fuse".into(),
                ..api::LinuxDevice::default()
            },
            api::LinuxDevice {
                path: "/dev/n".into(),
                r#type: "c".into(),
                major: 1,
                minor: 3,
                file_mode: Some(api::OptionalFileMode { value: 0o666 }),
                ..api::LinuxDevice::default()
            },
        ],
        ..api::LinuxContainerAdjustment::default()
    });
    wanted.mounts = vec![
        mount("-/data", &[]),
        mount("/a/b", &["rbind", "rslave"]),
        mount("/a", &[]),
    ];
    let spec = adjusted(&wanted);
    let destinations: Vec<_> = spec["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["destination"].as_str().unwrap())
        .collect();
    assert_eq!(destinations, ["/proc", "/a", "/a/b"]);
    assert_eq!(spec["linux"]["rootfsPropagation"], json!("rslave"));
    let device =
        json!([{"path": "/dev/n", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}]);
    assert_eq!(spec["linux"]["devices"], device);
    let rule = &spec["linux"]["resources"]["devices"][1];
    let expected = json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"});
    assert_eq!(*rule, expected);
}

#[test]
fn limits_and_the_rest_of_linux() {
    let spec = adjusted(&linux(api::LinuxContainerAdjustment {
        resources: Some(api::LinuxResources {
            memory: Some(api::LinuxMemory {
                limit: Some(api::OptionalInt64 { value: 2048 }),
                ..api::LinuxMemory::default()
            }),
            cpu: Some(api::LinuxCpu {
                cpus: "0-1".into(),
                ..api::LinuxCpu::default()
            }),
            pids: Some(api::LinuxPids { limit: 9 }),
            unified: [("memory.high".to_owned(), "5".to_owned())].into(),
            ..api::LinuxResources::default()
        }),
        cgroups_path: "/other".into(),
        oom_score_adj: Some(api::OptionalInt { value: -500 }),
        io_priority: Some(api::LinuxIoPriority {
            class: 2,
            priority: 4,
        }),
        scheduler: Some(api::LinuxScheduler {
            policy: 4,
            ..api::LinuxScheduler::default()
        }),
        namespaces: vec![api::LinuxNamespace {
            r#type: "-network".into(),
            ..api::LinuxNamespace::default()
        }],
        sysctl: [("net.x".to_owned(), "1".to_owned())].into(),
        net_devices: [("eth9".to_owned(), api::LinuxNetDevice { name: "e".into() })].into(),
        seccomp_policy: Some(api::LinuxSeccomp {
            default_action: "SCMP_ACT_ALLOW".into(),
            ..api::LinuxSeccomp::default()
        }),
        ..api::LinuxContainerAdjustment::default()
    }));
    let resources = &spec["linux"]["resources"];
    assert_eq!(resources["cpu"], json!({"shares": 2, "cpus": "0-1"}));
    assert_eq!(resources["memory"], json!({"limit": 2048, "swap": 2048}));
    assert_eq!(resources["pids"], json!({"limit": 9}));
    assert_eq!(resources["unified"], json!({"memory.high": "5"}));
    assert_eq!(spec["linux"]["cgroupsPath"], json!("/other"));
    assert_eq!(spec["linux"]["namespaces"], json!([{"type": "mount"}]));
    assert_eq!(spec["linux"]["sysctl"], json!({"net.x": "1"}));
    assert_eq!(spec["linux"]["netDevices"], json!({"eth9": {"name": "e"}}));
    assert_eq!(spec["process"]["oomScoreAdj"], json!(-3));
    let priority = json!({"class": "IOPRIO_CLASS_BE", "priority": 4});
    assert_eq!(spec["process"]["ioPriority"], priority);
    assert_eq!(spec["process"]["scheduler"]["policy"], json!("SCHED_BATCH"));
    assert_eq!(
        spec["linux"]["seccomp"]["defaultAction"],
        json!("SCMP_ACT_ALLOW")
    );
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let cdi = api::ContainerAdjustment {
        cdi_devices: vec![api::CdiDevice {
            name: "v.com/c=0".into(),
        }],
        ..api::ContainerAdjustment::default()
    };
    let class = linux(api::LinuxContainerAdjustment {
        resources: Some(api::LinuxResources {
            rdt_class: Some(api::OptionalString {
                value: "gold".into(),
            }),
            ..api::LinuxResources::default()
        }),
        ..api::LinuxContainerAdjustment::default()
    });
    for (wanted, word) in [(cdi, "v.com/c=0"), (class, "gold")] {
        let error = adjust(&mut spec(), &wanted, &node()).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn limits_there_and_back() {
    let asked = pinpod_model::LinuxResources {
        cpu_shares: 512,
        cpu_quota: -1,
        memory_limit: 4096,
        cpuset_cpus: "1".into(),
        ..pinpod_model::LinuxResources::default()
    };
    let limits = from_limits(&asked);
    assert_eq!(to_limits(&limits), asked);
    let expected = json!({
        "cpu": {"shares": 512, "quota": -1, "cpus": "1"},
        "memory": {"limit": 4096, "swap": 4096},
    });
    assert_eq!(update_document(&limits, &node()), expected);
}
