//! Tests of the rules by which plugins' wishes become one.

use super::*;
use crate::api::{
    KeyValue, LinuxContainer, LinuxContainerAdjustment, LinuxCpu, LinuxDevice, LinuxMemory,
    LinuxPids, Mount, OptionalInt64, OptionalUInt64, PosixRlimit,
};

fn container() -> Container {
    Container {
        id: "c0".into(),
        args: vec!["sleep".into()],
        env: vec!["A=1".into(), "B=2".into()],
        mounts: vec![mount("/data", "/a")],
        linux: Some(LinuxContainer {
            devices: vec![device("/dev/fuse")],
            ..LinuxContainer::default()
        }),
        ..Container::default()
    }
}

fn mount(destination: &str, source: &str) -> Mount {
    Mount {
        destination: destination.into(),
        source: source.into(),
        ..Mount::default()
    }
}

fn device(path: &str) -> LinuxDevice {
    LinuxDevice {
        path: path.into(),
        ..LinuxDevice::default()
    }
}

fn variable(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: value.into(),
    }
}

fn env(pairs: &[(&str, &str)]) -> ContainerAdjustment {
    ContainerAdjustment {
        env: pairs
            .iter()
            .map(|(key, value)| variable(key, value))
            .collect(),
        ..ContainerAdjustment::default()
    }
}

fn limits(memory: i64, cpus: &str) -> LinuxResources {
    LinuxResources {
        memory: (memory != 0).then(|| LinuxMemory {
            limit: Some(OptionalInt64 { value: memory }),
            ..LinuxMemory::default()
        }),
        cpu: (!cpus.is_empty()).then(|| LinuxCpu {
            cpus: cpus.into(),
            ..LinuxCpu::default()
        }),
        ..LinuxResources::default()
    }
}

fn linux(adjust: LinuxContainerAdjustment) -> ContainerAdjustment {
    ContainerAdjustment {
        linux: Some(adjust),
        ..ContainerAdjustment::default()
    }
}

fn of_resources(resources: LinuxResources) -> ContainerAdjustment {
    linux(LinuxContainerAdjustment {
        resources: Some(resources),
        ..LinuxContainerAdjustment::default()
    })
}

/// Applies one adjustment after the other, by plugins 00-a, 01-a, …
fn apply(all: &[ContainerAdjustment]) -> Result<Creation, String> {
    let mut creation = Creation::of(container());
    for (index, adjust) in all.iter().enumerate() {
        creation
            .apply(
                &format!("{index:02}-a"),
                Some(adjust.clone()),
                vec![],
                vec![],
            )
            .map_err(|error| error.to_string())?;
    }
    Ok(creation)
}

#[test]
fn what_two_plugins_set_is_a_conflict_that_names_both() {
    let rlimit = ContainerAdjustment {
        rlimits: vec![PosixRlimit {
            r#type: "RLIMIT_NOFILE".into(),
            hard: 1,
            soft: 1,
        }],
        ..ContainerAdjustment::default()
    };
    let args = ContainerAdjustment {
        args: vec!["true".into()],
        ..ContainerAdjustment::default()
    };
    let mounts = ContainerAdjustment {
        mounts: vec![mount("/x", "/y")],
        ..ContainerAdjustment::default()
    };
    let annotations = ContainerAdjustment {
        annotations: [("k".to_owned(), "v".to_owned())].into(),
        ..ContainerAdjustment::default()
    };
    let path = linux(LinuxContainerAdjustment {
        cgroups_path: "/x".into(),
        ..LinuxContainerAdjustment::default()
    });
    let pids = of_resources(LinuxResources {
        pids: Some(LinuxPids { limit: 5 }),
        ..LinuxResources::default()
    });
    for (adjust, what) in [
        (env(&[("C", "1")]), "Env \"C\""),
        (rlimit, "Rlimits \"RLIMIT_NOFILE\""),
        (args, "Args"),
        (mounts, "Mounts \"/x\""),
        (annotations, "Annotations \"k\""),
        (path, "CgroupsPath"),
        (pids, "PidsLimit"),
        (of_resources(limits(1, "")), "MemLimit"),
        (of_resources(limits(0, "1")), "CPUSetCPUs"),
    ] {
        let error = apply(&[adjust.clone(), adjust]).unwrap_err();
        let expected = format!("NRI plugins \"00-a\" and \"01-a\" both set {what}");
        assert_eq!(error, expected);
    }
}

#[test]
fn different_fields_and_entries_add_up() {
    let sum = apply(&[
        env(&[("C", "3")]),
        env(&[("A", "9")]),
        of_resources(limits(7, "")),
        of_resources(limits(0, "0-1")),
    ])
    .unwrap();
    assert_eq!(sum.adjust.env, [variable("C", "3"), variable("A", "9")]);
    assert_eq!(sum.container.env, ["B=2", "C=3", "A=9"]);
    let resources = sum.adjust.linux.unwrap().resources.unwrap();
    assert_eq!(resources, limits(7, "0-1"));
    assert_eq!(sum.container.linux.unwrap().resources.unwrap(), resources);
}

#[test]
fn what_is_taken_away_may_be_set_again_by_who_took_it() {
    let taken = env(&[("-C", ""), ("C", "4")]);
    let sum = apply(&[env(&[("C", "3")]), taken.clone()]).unwrap();
    assert_eq!(sum.adjust.env, [variable("C", "4")]);
    let error = apply(&[env(&[("C", "3")]), env(&[("-C", "")]), env(&[("C", "4")])]);
    assert!(error.unwrap_err().contains("\"01-a\" and \"02-a\""));
    let replaced = ContainerAdjustment {
        args: vec![String::new(), "b".into()],
        ..ContainerAdjustment::default()
    };
    let first = ContainerAdjustment {
        args: vec!["a".into()],
        ..ContainerAdjustment::default()
    };
    assert_eq!(apply(&[first, replaced]).unwrap().adjust.args, ["b"]);
}

#[test]
fn removals_reach_what_the_container_has_by_itself() {
    let adjust = ContainerAdjustment {
        mounts: vec![mount("-/data", "")],
        env: vec![variable("-A", "")],
        annotations: [("-old".to_owned(), String::new())].into(),
        linux: Some(LinuxContainerAdjustment {
            devices: vec![device("-/dev/fuse"), device("/dev/kvm")],
            ..LinuxContainerAdjustment::default()
        }),
        ..ContainerAdjustment::default()
    };
    let sum = apply(&[adjust]).unwrap();
    assert!(sum.container.mounts.is_empty());
    assert_eq!(sum.container.env, ["B=2"]);
    assert_eq!(sum.adjust.mounts, [mount("-/data", "")]);
    assert_eq!(sum.adjust.env, [variable("-A", "")]);
    assert!(sum.adjust.annotations.contains_key("-old"));
    let devices = sum.adjust.linux.unwrap().devices;
    assert_eq!(devices, [device("-/dev/fuse"), device("/dev/kvm")]);
    assert_eq!(sum.container.linux.unwrap().devices, [device("/dev/kvm")]);
}

fn update(id: &str, resources: LinuxResources, ignore_failure: bool) -> ContainerUpdate {
    ContainerUpdate {
        container_id: id.into(),
        linux: Some(LinuxContainerUpdate {
            resources: Some(resources),
        }),
        ignore_failure,
    }
}

#[test]
fn updates_of_one_container_add_up_and_conflict() {
    let mut updates = Updates::beside(Some("c0".into()));
    updates
        .apply("00-a", vec![update("c1", limits(7, ""), true)])
        .unwrap();
    updates
        .apply("01-b", vec![update("c1", limits(0, "1"), false)])
        .unwrap();
    let both = update("c1", limits(7, "1"), false);
    // One that may fail changes nothing when it does.
    let ignored = vec![update("c1", limits(9, "0"), true)];
    updates.apply("02-c", ignored).unwrap();
    let conflict = updates.apply("02-c", vec![update("c1", limits(9, ""), false)]);
    let text = conflict.unwrap_err().to_string();
    assert!(text.contains("\"00-a\" and \"02-c\""), "{text}");
    let new = updates.apply("02-c", vec![update("c0", limits(9, ""), false)]);
    assert!(new.unwrap_err().to_string().contains("being made"));
    assert_eq!(updates.finish().0, [both]);
}

#[test]
fn an_update_begins_with_what_was_asked() {
    let mut asked = limits(5, "0");
    asked.cpu.as_mut().unwrap().shares = Some(OptionalUInt64 { value: 3 });
    let mut updates = Updates::of("c1", asked);
    updates
        .apply("00-a", vec![update("c1", limits(6, ""), false)])
        .unwrap();
    updates
        .apply("01-b", vec![update("c2", limits(8, ""), false)])
        .unwrap();
    let first = updates.first().unwrap();
    assert_eq!(first.memory, limits(6, "").memory);
    assert_eq!(first.cpu.unwrap().shares, Some(OptionalUInt64 { value: 3 }));
    assert_eq!(updates.finish().0.len(), 2);
}

#[test]
fn owners_are_told_to_validators() {
    let mut creation = Creation::of(container());
    creation
        .apply("00-a", Some(env(&[("C", "1")])), vec![], vec![])
        .unwrap();
    creation
        .apply(
            "01-b",
            Some(of_resources(limits(1, ""))),
            vec![update("c1", limits(2, ""), false)],
            vec![],
        )
        .unwrap();
    let (updates, owners) = creation.for_validation();
    assert_eq!(updates.len(), 1);
    let fields = &owners.owners["c0"];
    assert_eq!(fields.compound[&6].owners["C"], "00-a");
    assert_eq!(fields.simple[&8], "01-b");
    assert_eq!(owners.owners["c1"].simple[&8], "01-b");
}
