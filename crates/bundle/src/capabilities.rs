//! Capability sets of the process (capabilities(7); CRI `Capability`).

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, LinuxCapabilitiesBuilder};
use pinpod_model::ContainerSecurity;

use crate::SpecError;

/// Every capability by its bit, in the kernel's order.
const BY_BIT: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// A capability by its name: with or without `CAP_`, any case.
///
/// # Errors
/// [`SpecError::UnknownCapability`].
pub fn parse(name: &str) -> Result<Capability, SpecError> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    bare.parse()
        .map_err(|_| SpecError::UnknownCapability(name.to_owned()))
}

/// The capabilities of a bit mask, as `/proc/self/status` shows it. Bits that no name is known for
/// are left out.
#[must_use]
pub fn from_mask(mask: u64) -> Capabilities {
    BY_BIT
        .into_iter()
        .enumerate()
        .filter(|(bit, _)| mask >> bit & 1 == 1)
        .map(|(_, capability)| capability)
        .collect()
}

/// `CAP_…` as the spec and seccomp profiles write it.
#[must_use]
pub(crate) fn name(capability: Capability) -> String {
    format!("CAP_{capability}")
}

/// What the process may have at most, and what of it is ambient.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Granted {
    pub(crate) all: Capabilities,
    pub(crate) ambient: Capabilities,
}

/// Works out the sets: the defaults, or nothing after `drop: ALL`, or everything after `add: ALL`,
/// then single names added and then dropped. What the node lacks is left out of a whole set and
/// refused by name: an OCI runtime fails the create on it and does not say why.
pub(crate) fn granted(
    security: &ContainerSecurity,
    defaults: &Capabilities,
    node: &Capabilities,
) -> Result<Granted, SpecError> {
    if security.privileged {
        return Ok(Granted {
            all: node.clone(),
            ambient: Capabilities::default(),
        });
    }
    let wanted = &security.capabilities;
    let every = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case("ALL"));
    let mut all: Capabilities = if every(&wanted.drop) {
        Capabilities::default()
    } else {
        defaults.intersection(node).copied().collect()
    };
    if every(&wanted.add) {
        all = node.clone();
    }
    let mut ambient = Capabilities::default();
    if every(&wanted.add_ambient) {
        all = node.clone();
        ambient = node.clone();
    }
    let dropped = single(&wanted.drop)?;
    for (names, into_ambient) in [(&wanted.add, false), (&wanted.add_ambient, true)] {
        for capability in single(names)? {
            if dropped.contains(&capability) {
                continue;
            }
            if !node.contains(&capability) {
                return Err(SpecError::MissingCapability(name(capability)));
            }
            all.insert(capability);
            if into_ambient {
                ambient.insert(capability);
            }
        }
    }
    for capability in dropped {
        all.remove(&capability);
        ambient.remove(&capability);
    }
    Ok(Granted { all, ambient })
}

fn single(names: &[String]) -> Result<Vec<Capability>, SpecError> {
    names
        .iter()
        .filter(|name| !name.eq_ignore_ascii_case("ALL"))
        .map(|name| parse(name))
        .collect()
}

/// The five sets of the spec. Only ambient ones are inheritable: a set that is inheritable for no
/// reason lets file capabilities of the image bring back what was dropped.
pub(crate) fn linux_capabilities(granted: &Granted) -> Result<LinuxCapabilities, SpecError> {
    Ok(LinuxCapabilitiesBuilder::default()
        .bounding(granted.all.clone())
        .effective(granted.all.clone())
        .permitted(granted.all.clone())
        .inheritable(granted.ambient.clone())
        .ambient(granted.ambient.clone())
        .build()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinpod_model::Capabilities as Wanted;

    fn set(names: &[&str]) -> Capabilities {
        names.iter().map(|name| parse(name).unwrap()).collect()
    }

    fn words(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn security(add: &[&str], drop: &[&str], ambient: &[&str]) -> ContainerSecurity {
        ContainerSecurity {
            capabilities: Wanted {
                add: words(add),
                drop: words(drop),
                add_ambient: words(ambient),
            },
            ..ContainerSecurity::default()
        }
    }

    #[test]
    fn names() {
        for good in ["NET_ADMIN", "CAP_NET_ADMIN", "cap_net_admin", "net_admin"] {
            assert_eq!(parse(good).unwrap(), Capability::NetAdmin);
        }
        for bad in ["", "CAP_", "ALL", "NET-ADMIN", "CAP_CAP_KILL", "NETADMIN"] {
            assert!(
                matches!(parse(bad), Err(SpecError::UnknownCapability(_))),
                "{bad:?}"
            );
        }
        for (bit, capability) in BY_BIT.into_iter().enumerate() {
            assert_eq!(parse(&name(capability)).unwrap(), capability);
            assert_eq!(from_mask(1 << bit), Capabilities::from([capability]));
        }
        assert_eq!(from_mask(u64::MAX).len(), BY_BIT.len());
    }

    #[test]
    fn add_and_drop() {
        let defaults = set(&["CHOWN", "KILL", "SYS_RESOURCE"]);
        let node = set(&["CHOWN", "KILL", "NET_ADMIN", "NET_RAW"]);
        for (add, drop, ambient, all, ambient_result) in [
            (vec![], vec![], vec![], vec!["CHOWN", "KILL"], vec![]),
            (
                vec!["NET_ADMIN"],
                vec![],
                vec![],
                vec!["CHOWN", "KILL", "NET_ADMIN"],
                vec![],
            ),
            (vec![], vec!["KILL"], vec![], vec!["CHOWN"], vec![]),
            (vec![], vec!["ALL"], vec![], vec![], vec![]),
            (vec!["CAP_KILL"], vec!["all"], vec![], vec!["KILL"], vec![]),
            (
                vec!["ALL"],
                vec!["NET_RAW"],
                vec![],
                vec!["CHOWN", "KILL", "NET_ADMIN"],
                vec![],
            ),
            (vec!["KILL"], vec!["KILL"], vec![], vec!["CHOWN"], vec![]),
            (
                vec![],
                vec!["ALL"],
                vec!["NET_RAW"],
                vec!["NET_RAW"],
                vec!["NET_RAW"],
            ),
            (
                vec!["SYS_TIME"],
                vec!["SYS_TIME"],
                vec![],
                vec!["CHOWN", "KILL"],
                vec![],
            ),
        ] {
            let granted = granted(&security(&add, &drop, &ambient), &defaults, &node).unwrap();
            assert_eq!(granted.all, set(&all), "add {add:?} drop {drop:?}");
            assert_eq!(granted.ambient, set(&ambient_result));
        }
    }

    #[test]
    fn privileged_has_what_the_node_has() {
        let node = set(&["CHOWN", "NET_ADMIN"]);
        let mut wanted = security(&["SYS_TIME"], &["ALL"], &[]);
        wanted.privileged = true;
        assert_eq!(granted(&wanted, &set(&["KILL"]), &node).unwrap().all, node);
    }

    #[test]
    fn what_the_node_lacks_is_named() {
        let error = granted(
            &security(&["sys_time"], &[], &[]),
            &set(&[]),
            &set(&["KILL"]),
        );
        assert_eq!(
            error.unwrap_err().to_string(),
            "capability CAP_SYS_TIME cannot be added: this node does not have it"
        );
        assert!(granted(&security(&[], &["NOPE"], &[]), &set(&[]), &set(&[])).is_err());
    }
}
