//! Kernel parameters of namespaces. The files of `/proc/sys` that belong to a namespace act on that
//! of the thread which opens them.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use pinpod_model::{Classify, ErrorClass, IdMapping, UserNamespace};
use rustix::io::Errno;
use rustix::process::Uid;

use super::NamespaceKind;

/// Why a kernel parameter was not set. Every variant names it.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// The name does not belong to a kind of namespace that a pod has, so that setting it would
    /// change the node.
    #[error("the sysctl {name} does not belong to a namespace")]
    NotNamespaced {
        /// The parameter.
        name: String,
    },
    /// The pod uses the node's namespace of that kind.
    #[error("the sysctl {name} needs a {kind} namespace of the pod's own")]
    NodeNamespace {
        /// The parameter.
        name: String,
        /// Kind of namespace that it belongs to.
        kind: NamespaceKind,
    },
    /// The kernel has no such parameter.
    #[error("the kernel has no sysctl {name}")]
    Unknown {
        /// The parameter.
        name: String,
    },
    /// The kernel refuses the value (`EINVAL`, `ERANGE`).
    #[error("the sysctl {name} does not take the value {value:?}")]
    BadValue {
        /// The parameter.
        name: String,
        /// The value.
        value: String,
    },
    /// Writing it failed otherwise.
    #[error("cannot set the sysctl {name}")]
    Write {
        /// The parameter.
        name: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
}

impl Classify for SysctlError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Write { .. } => ErrorClass::Internal,
            _ => ErrorClass::InvalidArgument,
        }
    }
}

/// The kind of namespace that a parameter belongs to; `None` when it is the whole node's, or no
/// name of a parameter. Both `net.ipv4.ip_forward` and `net/ipv4/ip_forward` are understood, with
/// the other separator standing for itself in a part (`sysctl(8)`).
#[must_use]
pub fn sysctl_namespace(name: &str) -> Option<NamespaceKind> {
    let parts = split(name)?;
    match parts.first().map(String::as_str)? {
        "net" => Some(NamespaceKind::Net),
        "fs" if parts.get(1)? == "mqueue" => Some(NamespaceKind::Ipc),
        "kernel" if parts.len() == 2 => match parts[1].as_str() {
            "domainname" | "hostname" => Some(NamespaceKind::Uts),
            "sem" | "auto_msgmni" => Some(NamespaceKind::Ipc),
            "sem_next_id" | "msg_next_id" | "shm_next_id" => Some(NamespaceKind::Ipc),
            other if other.starts_with("shm") || other.starts_with("msg") => {
                Some(NamespaceKind::Ipc)
            }
            _ => None,
        },
        _ => None,
    }
}

/// The namespaces that parameters may be set in: those of the calling thread.
pub(super) struct Scope<'a> {
    /// The kinds that it has for itself.
    pub(super) own: &'a [NamespaceKind],
    /// The ids of their user namespace, when that is not the node's.
    pub(super) user: Option<&'a UserNamespace>,
}

impl Scope<'_> {
    /// Sets parameters, in order, up to the first that fails.
    pub(super) fn write_all(&self, sysctls: &[(String, String)]) -> Result<(), SysctlError> {
        for (name, value) in sysctls {
            self.write(name, value)?;
        }
        Ok(())
    }

    fn write(&self, name: &str, value: &str) -> Result<(), SysctlError> {
        let name = name.to_owned();
        let (Some(kind), Some(parts)) = (sysctl_namespace(&name), split(&name)) else {
            return Err(SysctlError::NotNamespaced { name });
        };
        if !self.own.contains(&kind) {
            return Err(SysctlError::NodeNamespace { name, kind });
        }
        let mut path = PathBuf::from("/proc/sys");
        path.extend(parts);
        let written = match (kind, self.user) {
            // The kernel lets nobody but root of the namespace's owner write the parameters of IPC.
            (NamespaceKind::Ipc, Some(user)) => as_user(user.root().0, || write_file(&path, value)),
            (NamespaceKind::Net, Some(user)) if path == Path::new(PING_GROUPS) => {
                match node_groups(value, user.gid) {
                    Some(value) => write_file(&path, &value),
                    None => write_file(&path, value),
                }
            }
            _ => write_file(&path, value),
        };
        written.map_err(|source| write_error(name, value, source))
    }
}

/// The groups that may send ICMP echo requests without a raw socket: first and last.
const PING_GROUPS: &str = "/proc/sys/net/ipv4/ping_group_range";

/// A range of groups of the pod as the node's groups, which this thread's words mean. What the pod
/// does not map is cut off, so that "everybody" can be asked for as it is elsewhere. `None` for
/// what is no range (the kernel refuses it) or an empty one (which means nobody).
fn node_groups(value: &str, map: IdMapping) -> Option<String> {
    let mut numbers = value.split_ascii_whitespace().map(str::parse::<u32>);
    let (Some(Ok(first)), Some(Ok(last)), None) = (numbers.next(), numbers.next(), numbers.next())
    else {
        return None;
    };
    let last = last.min(map.length.checked_sub(1)?);
    Some(format!("{} {}", map.to_host(first)?, map.to_host(last)?)).filter(|_| first <= last)
}

fn write_file(path: &Path, value: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(value.as_bytes())
}

fn write_error(name: String, value: &str, source: io::Error) -> SysctlError {
    if source.kind() == io::ErrorKind::NotFound {
        return SysctlError::Unknown { name };
    }
    match Errno::from_io_error(&source) {
        Some(Errno::INVAL | Errno::RANGE) => SysctlError::BadValue {
            name,
            value: value.to_owned(),
        },
        _ => SysctlError::Write { name, source },
    }
}

/// Runs `work` with another effective user; the calling thread alone changes.
fn as_user<T>(user: u32, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = rustix::process::geteuid();
    let dumpable = rustix::process::dumpable_behavior()?;
    rustix::thread::set_thread_res_uid(None, Uid::from_raw(user), None)?;
    let result = work();
    rustix::thread::set_thread_res_uid(None, before, None)?;
    // A change of the user makes the whole process not dumpable.
    rustix::process::set_dumpable_behavior(dumpable)?;
    result
}

/// The parts of a name; `None` for one that would lead elsewhere.
fn split(name: &str) -> Option<Vec<String>> {
    let separator = name.chars().find(|c| matches!(c, '.' | '/'))?;
    let other = if separator == '.' { "/" } else { "." };
    let parts: Vec<String> = name
        .split(separator)
        .map(|part| {
            // `net.ipv4.conf.eth0/1.mtu` means the interface `eth0.1`.
            if separator == '.' {
                part.replace(other, ".")
            } else {
                part.to_owned()
            }
        })
        .collect();
    let sound = |part: &String| !part.is_empty() && !matches!(part.as_str(), "." | "..");
    parts.iter().all(sound).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_belong_to_kinds() {
        for (name, kind) in [
            ("net.ipv4.ip_forward", Some(NamespaceKind::Net)),
            ("net/ipv4/conf/eth0.1/mtu", Some(NamespaceKind::Net)),
            ("kernel.shm_rmid_forced", Some(NamespaceKind::Ipc)),
            ("kernel.msgmax", Some(NamespaceKind::Ipc)),
            ("kernel.sem", Some(NamespaceKind::Ipc)),
            ("fs.mqueue.msg_max", Some(NamespaceKind::Ipc)),
            ("kernel.domainname", Some(NamespaceKind::Uts)),
            ("kernel.pid_max", None),
            ("fs.file-max", None),
            ("vm.swappiness", None),
            ("net", None),
            ("net..core", None),
            ("net/../kernel/pid_max", None),
            ("net.//.kernel", None),
            ("/net/ipv4/ip_forward", None),
            ("", None),
        ] {
            assert_eq!(sysctl_namespace(name), kind, "{name:?}");
        }
    }

    #[test]
    fn separators() {
        let parts = |name| split(name).unwrap().join("|");
        assert_eq!(
            parts("net.ipv4.conf.eth0/1.mtu"),
            "net|ipv4|conf|eth0.1|mtu"
        );
        assert_eq!(
            parts("net/ipv4/conf/eth0.1/mtu"),
            "net|ipv4|conf|eth0.1|mtu"
        );
        assert_eq!(split("net.a//b.c").unwrap()[1], "a..b");
    }

    #[test]
    fn groups_of_a_pod_are_the_nodes() {
        let map = IdMapping {
            host_id: 100_000,
            container_id: 0,
            length: 65_536,
        };
        for (asked, written) in [
            ("0 0", Some("100000 100000")),
            ("0\t2147483647", Some("100000 165535")),
            ("10 20", Some("100010 100020")),
            ("65536 65537", None),
            ("1 0", None),
            ("0", None),
            ("0 1 2", None),
            ("a b", None),
        ] {
            assert_eq!(node_groups(asked, map).as_deref(), written, "{asked}");
        }
    }

    #[test]
    fn the_node_is_never_touched() {
        let scope = Scope {
            own: &[NamespaceKind::Ipc],
            user: None,
        };
        let refused = scope.write("net.ipv4.ip_forward", "1");
        assert!(matches!(
            refused,
            Err(SysctlError::NodeNamespace {
                kind: NamespaceKind::Net,
                ..
            })
        ));
        let refused = scope.write("kernel.pid_max", "1");
        assert!(matches!(refused, Err(SysctlError::NotNamespaced { .. })));
    }
}
