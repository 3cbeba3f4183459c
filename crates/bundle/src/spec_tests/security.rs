//! Privileges, profiles and devices.

use pinpod_model::{ProfileSource, SelinuxOptions};
use serde_json::json;

use crate::SpecError;
use crate::host::{DeviceKind, HostDevice};
use crate::seccomp::{Profile, localhost_file};

use super::{Case, words};

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
