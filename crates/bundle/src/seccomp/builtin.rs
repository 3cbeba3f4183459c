//! The profile that pinpod carries.

use oci_spec::runtime::{
    Capability, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator,
};

use super::syscalls::{
    ARM, BPF, DAC_READ_SEARCH, ORDINARY, PERFMON, SYS_ADMIN, SYS_BOOT, SYS_CHROOT, SYS_MODULE,
    SYS_NICE, SYS_PACCT, SYS_PTRACE, SYS_RAWIO, SYS_TIME, SYS_TTY_CONFIG, SYSLOG, TRACING, X86,
};
use super::{Condition, NATIVE, Profile, Rule};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// `CLONE_NEWNS`, `NEWCGROUP`, `NEWUTS`, `NEWIPC`, `NEWUSER`, `NEWPID` and `NEWNET` (clone(2)).
const NEW_NAMESPACES: u64 = 0x7e02_0000;

/// `AF_VSOCK`: talks past every network namespace to the hypervisor.
const AF_VSOCK: u64 = 40;

/// `PER_LINUX`, `PER_LINUX32`, each also with `UNAME26`, and the value that only asks
/// (personality(2)).
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

const BY_CAPABILITY: [(Capability, &str); 14] = [
    (Capability::SysAdmin, SYS_ADMIN),
    (Capability::DacReadSearch, DAC_READ_SEARCH),
    (Capability::SysBoot, SYS_BOOT),
    (Capability::SysChroot, SYS_CHROOT),
    (Capability::SysModule, SYS_MODULE),
    (Capability::SysPacct, SYS_PACCT),
    (Capability::SysPtrace, SYS_PTRACE),
    (Capability::SysRawio, SYS_RAWIO),
    (Capability::SysTime, SYS_TIME),
    (Capability::SysTtyConfig, SYS_TTY_CONFIG),
    (Capability::SysNice, SYS_NICE),
    (Capability::Syslog, SYSLOG),
    (Capability::Bpf, BPF),
    (Capability::Perfmon, PERFMON),
];

fn allow(names: &str) -> Rule {
    Rule {
        names: names.split_whitespace().map(str::to_owned).collect(),
        action: LinuxSeccompAction::ScmpActAllow,
        errno: None,
        args: Vec::new(),
        includes: Condition::default(),
        excludes: Condition::default(),
    }
}

/// An argument to compare. The builder cannot fail: every field has a value.
fn argument(
    index: usize,
    operator: LinuxSeccompOperator,
    value: u64,
    second: Option<u64>,
) -> Vec<LinuxSeccompArg> {
    let mut argument = LinuxSeccompArgBuilder::default()
        .index(index)
        .op(operator)
        .value(value);
    if let Some(second) = second {
        argument = argument.value_two(second);
    }
    argument.build().into_iter().collect()
}

fn without_sys_admin() -> Condition {
    Condition {
        capabilities: vec![Capability::SysAdmin],
        ..Condition::default()
    }
}

pub(super) fn profile() -> Profile {
    use LinuxSeccompOperator::{ScmpCmpEq, ScmpCmpMaskedEq, ScmpCmpNe};
    let mut rules = vec![
        allow(ORDINARY),
        Rule {
            includes: Condition {
                min_kernel: Some((4, 8)),
                ..Condition::default()
            },
            ..allow(TRACING)
        },
        Rule {
            args: argument(0, ScmpCmpNe, AF_VSOCK, None),
            ..allow("socket")
        },
        // Threads and processes, but no new namespaces. The flags of clone3 are in memory, which a
        // filter cannot see: told that it does not exist, the C library falls back to clone.
        Rule {
            args: argument(0, ScmpCmpMaskedEq, NEW_NAMESPACES, Some(0)),
            excludes: without_sys_admin(),
            ..allow("clone unshare")
        },
        Rule {
            action: LinuxSeccompAction::ScmpActErrno,
            errno: Some(ENOSYS),
            excludes: without_sys_admin(),
            ..allow("clone3")
        },
    ];
    rules.extend(PERSONALITIES.map(|value| Rule {
        args: argument(0, ScmpCmpEq, value, None),
        ..allow("personality")
    }));
    rules.extend(BY_CAPABILITY.map(|(capability, names)| Rule {
        includes: Condition {
            capabilities: vec![capability],
            ..Condition::default()
        },
        ..allow(names)
    }));
    for (architecture, names) in [("amd64", X86), ("arm64", ARM)] {
        rules.push(Rule {
            includes: Condition {
                architectures: vec![architecture.to_owned()],
                ..Condition::default()
            },
            ..allow(names)
        });
    }
    Profile {
        default_action: LinuxSeccompAction::ScmpActErrno,
        default_errno: Some(EPERM),
        architectures: NATIVE.1.to_vec(),
        flags: Vec::new(),
        listener_path: None,
        listener_metadata: None,
        rules,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{Capabilities, LinuxSeccomp};

    fn allowed(filter: &LinuxSeccomp, name: &str) -> bool {
        filter.syscalls().iter().flatten().any(|syscall| {
            syscall.action() == LinuxSeccompAction::ScmpActAllow
                && syscall.names().iter().any(|known| known == name)
                && syscall.args().is_none()
        })
    }

    #[test]
    fn no_name_twice() {
        let ordinary: Vec<&str> = ORDINARY.split_whitespace().collect();
        for (index, name) in ordinary.iter().enumerate() {
            assert!(!ordinary[..index].contains(name), "{name}");
            for (capability, names) in BY_CAPABILITY {
                let mut names = names.split_whitespace();
                assert!(
                    names.all(|guarded| guarded != *name),
                    "{name} needs {capability}"
                );
            }
        }
    }

    #[test]
    fn capabilities_open_what_they_stand_for() {
        let profile = profile();
        let plain = profile.filter(&Capabilities::default(), (6, 1)).unwrap();
        for name in [
            "mount",
            "setns",
            "unshare",
            "reboot",
            "init_module",
            "bpf",
            "keyctl",
            "syslog",
            "chroot",
        ] {
            assert!(!allowed(&plain, name), "{name}");
        }
        assert!(allowed(&plain, "openat") && allowed(&plain, "ptrace"));
        let old = profile.filter(&Capabilities::default(), (4, 4)).unwrap();
        assert!(!allowed(&old, "ptrace"));
        for (capability, name) in [
            (Capability::SysAdmin, "mount"),
            (Capability::SysAdmin, "clone3"),
            (Capability::SysChroot, "chroot"),
            (Capability::Bpf, "bpf"),
            (Capability::SysTime, "clock_settime"),
        ] {
            let filter = profile
                .filter(&Capabilities::from([capability]), (6, 1))
                .unwrap();
            assert!(allowed(&filter, name), "{name}");
            assert!(!allowed(&filter, "keyctl"));
        }
    }

    #[test]
    fn clone3_does_not_exist_and_clone_makes_no_namespaces() {
        let filter = profile().filter(&Capabilities::default(), (6, 1)).unwrap();
        let of = |name: &str| -> Vec<_> {
            filter
                .syscalls()
                .iter()
                .flatten()
                .filter(|syscall| syscall.names().iter().any(|known| known == name))
                .collect()
        };
        assert_eq!(of("clone3")[0].errno_ret(), Some(ENOSYS));
        let clone = of("clone");
        assert_eq!(clone.len(), 1);
        let argument = clone[0].args().as_ref().unwrap()[0];
        assert_eq!(
            (argument.value(), argument.value_two()),
            (NEW_NAMESPACES, Some(0))
        );
        assert_eq!(of("personality").len(), PERSONALITIES.len());
    }
}
