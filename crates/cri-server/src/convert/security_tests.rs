//! Tests of the conversions of security contexts.

use super::*;

fn user(mode: cri::NamespaceMode, maps: &[(u32, u32, u32)]) -> cri::UserNamespace {
    let mappings: Vec<_> = maps
        .iter()
        .map(|&(container_id, host_id, length)| cri::IdMapping {
            host_id,
            container_id,
            length,
        })
        .collect();
    cri::UserNamespace {
        mode: mode.into(),
        uids: mappings.clone(),
        gids: mappings,
    }
}

fn id_value(value: i64) -> Option<cri::Int64Value> {
    Some(cri::Int64Value { value })
}

#[test]
fn namespaces_left_out_are_the_pods() {
    let security = container_security(cri::LinuxContainerSecurityContext::default()).unwrap();
    assert_eq!(security, ContainerSecurity::default());
    assert_eq!(security.namespaces.pid, PidMode::Pod);
}

#[test]
fn modes() {
    use cri::NamespaceMode as Mode;
    let target = "ab".repeat(32);
    let options = |network: Mode, pid: Mode, ipc: Mode, target: &str| cri::NamespaceOption {
        network: network.into(),
        pid: pid.into(),
        ipc: ipc.into(),
        target_id: target.into(),
        userns_options: None,
    };
    for good in [
        options(Mode::Pod, Mode::Pod, Mode::Pod, ""),
        options(Mode::Node, Mode::Node, Mode::Node, ""),
        options(Mode::Pod, Mode::Container, Mode::Pod, ""),
        options(Mode::Pod, Mode::Target, Mode::Pod, &target),
    ] {
        assert_eq!(namespaces_to_cri(&namespaces(good.clone()).unwrap()), good);
    }
    for (bad, text) in [
        (
            options(Mode::Container, Mode::Pod, Mode::Pod, ""),
            "network is CONTAINER, which is not one of POD, NODE",
        ),
        (
            options(Mode::Pod, Mode::Pod, Mode::Target, ""),
            "ipc is TARGET, which is not one of POD, NODE",
        ),
        (
            options(Mode::Pod, Mode::Target, Mode::Pod, "x"),
            "target_id is \"x\", not the identifier of a container",
        ),
    ] {
        assert_eq!(namespaces(bad).unwrap_err().to_string(), text);
    }
    let pod = pod_namespaces(options(Mode::Pod, Mode::Target, Mode::Pod, &target));
    assert_eq!(pod.unwrap_err().field(), "pid");
}

#[test]
fn user_namespaces() {
    use cri::NamespaceMode as Mode;
    let good = user(Mode::Pod, &[(0, 1000, 100_000)]);
    let found = user_namespace(good).unwrap().unwrap();
    assert_eq!((found.uid.host_id, found.gid.length), (1000, 100_000));
    assert_eq!(user_namespace(user(Mode::Node, &[])), Ok(None));
    let asks = |asked| {
        let options = cri::NamespaceOption {
            userns_options: asked,
            ..Default::default()
        };
        namespaces(options).unwrap().asks_for_nodes_user
    };
    let own = user(Mode::Pod, &[(0, 1000, 10)]);
    let asked = [None, Some(own), Some(user(Mode::Node, &[]))].map(asks);
    assert_eq!(asked, [false, false, true]);

    let cases = [
        (user(Mode::Pod, &[]), "uids has 0 entries, not one"),
        (
            user(Mode::Pod, &[(0, 1000, 10), (0, 2000, 10)]),
            "uids has 2 entries, not one",
        ),
        (
            user(Mode::Pod, &[(1, 1000, 10)]),
            "uids[0].container_id is 1, outside 0 to 0",
        ),
        (
            user(Mode::Pod, &[(0, 1000, 0)]),
            "uids[0].length is 0, outside 1 to 4294966295",
        ),
        (
            user(Mode::Node, &[(0, 1000, 10)]),
            "uids cannot be set together with mode NODE",
        ),
        (
            user(Mode::Container, &[]),
            "mode is CONTAINER, which is not one of POD, NODE",
        ),
        (
            user(Mode::Target, &[]),
            "mode is TARGET, which is not one of POD, NODE",
        ),
        (
            cri::UserNamespace {
                gids: Vec::new(),
                ..user(Mode::Pod, &[(0, 1000, 10)])
            },
            "gids has 0 entries, not one",
        ),
    ];
    for (bad, text) in cases {
        assert_eq!(user_namespace(bad).unwrap_err().to_string(), text);
    }
}

#[test]
fn ids_and_groups() {
    type Change = fn(&mut cri::LinuxContainerSecurityContext);
    let cases: [(Change, Option<&str>); 8] = [
        (|c| c.run_as_user = id_value(0), None),
        (|c| c.run_as_user = id_value(4_294_967_294), None),
        (
            |c| c.run_as_user = id_value(4_294_967_295),
            Some("run_as_user is 4294967295, outside 0 to 4294967294"),
        ),
        (
            |c| c.run_as_user = id_value(-1),
            Some("run_as_user is -1, outside 0 to 4294967294"),
        ),
        (
            |c| c.run_as_group = id_value(1),
            Some("run_as_group needs run_as_user or run_as_username"),
        ),
        (
            |c| {
                c.run_as_group = id_value(1);
                c.run_as_username = "web".into();
            },
            None,
        ),
        (
            |c| c.supplemental_groups = vec![0, -5],
            Some("supplemental_groups[1] is -5, outside 0 to 4294967294"),
        ),
        (
            |c| c.supplemental_groups_policy = 2,
            Some("supplemental_groups_policy is 2, which is not one of Merge, Strict"),
        ),
    ];
    for (change, expected) in cases {
        let mut proto = cri::LinuxContainerSecurityContext::default();
        change(&mut proto);
        let error = container_security(proto)
            .err()
            .map(|error| error.to_string());
        assert_eq!(error.as_deref(), expected);
    }
    let sandbox = cri::LinuxSandboxSecurityContext {
        run_as_group: id_value(7),
        ..cri::LinuxSandboxSecurityContext::default()
    };
    assert_eq!(pod_security(sandbox).unwrap().run_as_group, Some(7));
}

#[test]
fn profiles_in_the_newer_and_the_older_form() {
    use ProfileSource::{Localhost, RuntimeDefault, Unconfined};
    let new = |profile_type, name: &str| {
        Some(cri::SecurityProfile {
            profile_type,
            localhost_ref: name.into(),
        })
    };
    let cases = [
        (None, "", Ok(None)),
        (None, "runtime/default", Ok(Some(RuntimeDefault))),
        (None, "docker/default", Ok(Some(RuntimeDefault))),
        (None, "unconfined", Ok(Some(Unconfined))),
        (
            None,
            "localhost//a/b.json",
            Ok(Some(Localhost("/a/b.json".into()))),
        ),
        (None, "localhost/", Err("old")),
        (None, "other", Err("old")),
        (new(0, ""), "unconfined", Ok(Some(RuntimeDefault))),
        (new(1, ""), "", Ok(Some(Unconfined))),
        (new(2, "name"), "", Ok(Some(Localhost("name".into())))),
        (new(2, ""), "", Err("new.localhost_ref")),
        (new(3, ""), "", Err("new.profile_type")),
    ];
    for (proto, old, expected) in cases {
        let found = profile("new", proto.clone(), "old", old);
        let found = found.as_ref().map_err(ConvertError::field).cloned();
        assert_eq!(found, expected, "{proto:?} {old:?}");
    }
}

#[test]
fn an_apparmor_profile_is_named_with_and_without_prefix() {
    for name in ["mine", "localhost/mine"] {
        let proto = cri::SecurityProfile {
            profile_type: 2,
            localhost_ref: name.into(),
        };
        let found = apparmor(Some(proto), "old", "").unwrap();
        assert_eq!(found, Some(ProfileSource::Localhost("mine".into())));
    }
    assert_eq!(apparmor(None, "old", "").unwrap(), None);
}

#[test]
fn masked_paths_are_absolute() {
    let proto = cri::LinuxContainerSecurityContext {
        masked_paths: vec!["/proc/kcore".into(), "proc".into()],
        ..cri::LinuxContainerSecurityContext::default()
    };
    let error = container_security(proto).unwrap_err();
    assert_eq!(
        error.to_string(),
        "masked_paths[1] is \"proc\", not an absolute path"
    );
}

#[test]
fn empty_selinux_options_are_none() {
    assert_eq!(selinux(cri::SeLinuxOption::default()), None);
    let level = cri::SeLinuxOption {
        level: "s0".into(),
        ..cri::SeLinuxOption::default()
    };
    assert_eq!(selinux(level).unwrap().level, "s0");
}
