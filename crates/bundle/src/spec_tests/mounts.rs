//! Mounts: those that each container has, and those of the request.

use std::path::Path;

use pinpod_model::{IdMapping, Mount, MountPropagation, NamespaceMode};
use serde_json::json;

use super::{Case, bind, options};

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
