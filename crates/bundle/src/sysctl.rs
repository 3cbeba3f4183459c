//! Which kernel parameters a pod may set: those of a namespace that is the pod's own.

use pinpod_model::{Classify, ErrorClass, NamespaceMode, NamespaceOptions};

/// Why a kernel parameter is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SysctlError {
    /// Not a name.
    #[error("{0:?} is not the name of a sysctl")]
    Name(String),
    /// A value with a line break or a zero byte.
    #[error("sysctl {0:?}: the value holds a line break or a zero byte")]
    Value(String),
    /// One that the node has once.
    #[error("sysctl {0:?} is not separate for each pod")]
    NotNamespaced(String),
    /// One of a namespace that the pod shares with the node.
    #[error("sysctl {name:?} needs the pod's own {namespace} namespace, and it uses the node's")]
    NodeNamespace {
        /// Name.
        name: String,
        /// `network` or `IPC`.
        namespace: &'static str,
    },
    /// One that follows from the pod's host name.
    #[error("sysctl {0:?} is set by the pod's host name")]
    Hostname(String),
}

impl Classify for SysctlError {
    fn class(&self) -> ErrorClass {
        ErrorClass::InvalidArgument
    }
}

/// The namespace that a parameter belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Network,
    Ipc,
    Uts,
    Node,
}

/// Single parameters of the IPC namespace (ipc_namespaces(7)).
const IPC: [&str; 10] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
    "kernel.msg_next_id",
    "kernel.shm_next_id",
];

fn owner(name: &str) -> Owner {
    if name.starts_with("net.") {
        Owner::Network
    } else if name.starts_with("fs.mqueue.") || IPC.contains(&name) || name == "kernel.sem_next_id"
    {
        Owner::Ipc
    } else if name == "kernel.hostname" || name == "kernel.domainname" {
        Owner::Uts
    } else {
        Owner::Node
    }
}

/// The name with dots between its parts. With a slash first in it, slashes part and dots belong to
/// the part, as in sysctl(8): `net/ipv4/conf/eth0.1/forwarding`.
///
/// The outcome keeps such inner dots as slashes: `net.ipv4.conf.eth0/1.forwarding`.
///
/// # Errors
/// [`SysctlError::Name`].
pub fn normalize(name: &str) -> Result<String, SysctlError> {
    let slashed = name
        .find(['.', '/'])
        .is_some_and(|at| name[at..].starts_with('/'));
    let dotted: String = if slashed {
        let swap = |c| match c {
            '/' => '.',
            '.' => '/',
            other => other,
        };
        name.chars().map(swap).collect()
    } else {
        name.to_owned()
    };
    let part = |part: &str| {
        !part.is_empty()
            && part != "/"
            && part != "//"
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_/:@*".contains(c))
            && !part.starts_with('/')
    };
    if dotted.contains('.') && dotted.split('.').all(part) {
        Ok(dotted)
    } else {
        Err(SysctlError::Name(name.to_owned()))
    }
}

/// Whether a pod with these namespaces may set `name` to `value`.
///
/// # Errors
/// Why not, by name.
pub fn check(name: &str, value: &str, namespaces: &NamespaceOptions) -> Result<(), SysctlError> {
    let dotted = normalize(name)?;
    let own_name = || name.to_owned();
    match owner(&dotted) {
        Owner::Network if namespaces.network == NamespaceMode::Node => {
            return Err(SysctlError::NodeNamespace {
                name: own_name(),
                namespace: "network",
            });
        }
        Owner::Ipc if namespaces.ipc == NamespaceMode::Node => {
            return Err(SysctlError::NodeNamespace {
                name: own_name(),
                namespace: "IPC",
            });
        }
        Owner::Network | Owner::Ipc => {}
        Owner::Uts => return Err(SysctlError::Hostname(own_name())),
        Owner::Node => return Err(SysctlError::NotNamespaced(own_name())),
    }
    if value.contains(['\n', '\r', '\0']) {
        return Err(SysctlError::Value(own_name()));
    }
    Ok(())
}

/// The file below `/proc/sys` of a normalised name.
#[must_use]
pub fn proc_path(dotted: &str) -> String {
    let swapped: String = dotted
        .chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect();
    format!("/proc/sys/{swapped}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespaces(network: NamespaceMode, ipc: NamespaceMode) -> NamespaceOptions {
        NamespaceOptions {
            network,
            ipc,
            ..NamespaceOptions::default()
        }
    }

    #[test]
    fn which_are_allowed() {
        use NamespaceMode::{Node, Pod};
        let refused = |name: &str| Err(SysctlError::NotNamespaced(name.to_owned()));
        let node = |name: &str, namespace| {
            Err(SysctlError::NodeNamespace {
                name: name.to_owned(),
                namespace,
            })
        };
        for (name, network, ipc, outcome) in [
            ("net.ipv4.ip_forward", Pod, Pod, Ok(())),
            ("net/ipv4/ip_forward", Pod, Node, Ok(())),
            (
                "net.ipv4.ip_forward",
                Node,
                Pod,
                node("net.ipv4.ip_forward", "network"),
            ),
            ("kernel.shm_rmid_forced", Pod, Pod, Ok(())),
            ("kernel.shmmax", Node, Pod, Ok(())),
            ("kernel.sem", Pod, Node, node("kernel.sem", "IPC")),
            ("fs.mqueue.msg_max", Pod, Pod, Ok(())),
            (
                "fs.mqueue.msg_max",
                Pod,
                Node,
                node("fs.mqueue.msg_max", "IPC"),
            ),
            (
                "kernel.hostname",
                Pod,
                Pod,
                Err(SysctlError::Hostname("kernel.hostname".into())),
            ),
            (
                "kernel/domainname",
                Pod,
                Pod,
                Err(SysctlError::Hostname("kernel/domainname".into())),
            ),
            ("kernel.panic", Pod, Pod, refused("kernel.panic")),
            ("vm.swappiness", Pod, Pod, refused("vm.swappiness")),
            ("network.foo", Pod, Pod, refused("network.foo")),
            ("fs.file-max", Pod, Pod, refused("fs.file-max")),
            (
                "net/../kernel/panic",
                Pod,
                Pod,
                Err(SysctlError::Name("net/../kernel/panic".into())),
            ),
            (
                "net...kernel.panic",
                Pod,
                Pod,
                Err(SysctlError::Name("net...kernel.panic".into())),
            ),
            (
                "net./kernel.panic",
                Pod,
                Pod,
                Err(SysctlError::Name("net./kernel.panic".into())),
            ),
            ("", Pod, Pod, Err(SysctlError::Name(String::new()))),
            ("net", Pod, Pod, Err(SysctlError::Name("net".into()))),
        ] {
            assert_eq!(
                check(name, "1", &namespaces(network, ipc)),
                outcome,
                "{name:?}"
            );
        }
    }

    #[test]
    fn values_are_one_line() {
        let pod = NamespaceOptions::default();
        assert!(check("net.ipv4.ping_group_range", "0 2147483647", &pod).is_ok());
        for value in ["1\n", "\0", "1\r2"] {
            assert!(check("net.ipv4.ip_forward", value, &pod).is_err());
        }
    }

    #[test]
    fn paths_of_names_with_dots_inside() {
        let dotted = normalize("net/ipv4/conf/eth0.1/forwarding").unwrap();
        assert_eq!(
            proc_path(&dotted),
            "/proc/sys/net/ipv4/conf/eth0.1/forwarding"
        );
        assert_eq!(
            proc_path(&normalize("net.ipv4.ip_forward").unwrap()),
            "/proc/sys/net/ipv4/ip_forward"
        );
    }
}
