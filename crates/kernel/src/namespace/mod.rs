//! Namespaces held by a file instead of a process: made on a thread that ends, kept by a bind mount
//! of `/proc/thread-self/ns/<kind>` (`namespaces(7)`).

#![allow(
    unsafe_code,
    reason = "rustix marks unshare as unsafe for the sake of CLONE_FILES"
)]

mod enter;
mod loopback;
mod pin;
mod sysctl;
mod user;

use std::fmt;
use std::io;
use std::path::Path;

use rustix::thread::UnshareFlags;

pub(crate) use enter::enter_here;
pub use enter::{EnterError, enter_each, enter_thread};
pub use pin::{PinError, PinRequest, UnpinError, pin, pin_process, unpin};
pub use sysctl::{SysctlError, sysctl_namespace};
pub use user::{UserPin, user_namespace};

/// A kind of namespace that can be pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NamespaceKind {
    /// Devices, addresses, routes, firewall, ports.
    Net,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host name and NIS domain name.
    Uts,
    /// Process ids.
    Pid,
    /// User and group ids, capabilities.
    User,
}

impl NamespaceKind {
    /// The name of its link in `/proc/<pid>/ns`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Net => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Pid => "pid",
            Self::User => "user",
        }
    }

    fn flag(self) -> UnshareFlags {
        match self {
            Self::Net => UnshareFlags::NEWNET,
            Self::Ipc => UnshareFlags::NEWIPC,
            Self::Uts => UnshareFlags::NEWUTS,
            Self::Pid => UnshareFlags::NEWPID,
            Self::User => UnshareFlags::NEWUSER,
        }
    }
}

impl fmt::Display for NamespaceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Magic number of the file system that namespace files live on.
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// Whether a namespace is pinned at `path`. A missing file is `false`.
///
/// # Errors
/// The file cannot be looked at.
pub fn is_namespace(path: &Path) -> io::Result<bool> {
    match rustix::fs::statfs(path) {
        Ok(stat) => Ok(u64::try_from(stat.f_type).is_ok_and(|magic| magic == NSFS_MAGIC)),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Gives the calling thread new namespaces; only for threads that end soon.
pub(crate) fn unshare_thread(flags: UnshareFlags) -> io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES), "see SAFETY");
    // SAFETY: what is unsafe is to unshare the table of descriptors, and no caller asks for that.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

#[cfg(test)]
mod tests;
