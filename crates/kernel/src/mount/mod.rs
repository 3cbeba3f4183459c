//! Mounts, by the mount API of file descriptors (`fsopen`, `open_tree`, `move_mount`,
//! `mount_setattr`): a mount is finished with all its attributes before anyone can see it.

mod attr;
mod overlay;
mod propagation;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use pinpod_model::{Classify, ErrorClass, IdMapping};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

pub use attr::{idmap, make_tree_slave, mount_setattr_readonly_recursive};
pub use overlay::{OverlayMount, overlay};
pub use propagation::{
    Propagation, is_mount_point, make_private, make_shared, make_slave, propagation_of,
};

/// Why a mount was not made or changed. `path` is where it would be.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// In use (`EBUSY`).
    #[error("{} is in use", path.display())]
    Busy {
        /// The mount point.
        path: PathBuf,
    },
    /// The kernel has no such call or file system (`ENOSYS`, `EOPNOTSUPP`, `ENODEV`).
    #[error("the kernel cannot {what} (for {})", path.display())]
    Unsupported {
        /// What was tried.
        what: &'static str,
        /// The mount point.
        path: PathBuf,
    },
    /// A table or a file system is full (`ENOSPC`), such as `fs.mount-max`.
    #[error("no space left to {what} at {}", path.display())]
    NoSpace {
        /// What was tried.
        what: &'static str,
        /// The mount point.
        path: PathBuf,
    },
    /// Not allowed (`EPERM`, `EACCES`).
    #[error("not permitted to {what} at {}", path.display())]
    Denied {
        /// What was tried.
        what: &'static str,
        /// The mount point.
        path: PathBuf,
    },
    /// The source or the target does not exist (`ENOENT`).
    #[error("cannot {what}: {} does not exist", path.display())]
    NotFound {
        /// What was tried.
        what: &'static str,
        /// What is missing, as far as the kernel tells.
        path: PathBuf,
    },
    /// Anything else.
    #[error("cannot {what} at {}", path.display())]
    Failed {
        /// What was tried.
        what: &'static str,
        /// The mount point.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
}

impl MountError {
    fn new(what: &'static str, path: &Path, errno: Errno) -> Self {
        let path = path.to_owned();
        match errno {
            Errno::BUSY => Self::Busy { path },
            Errno::NOSYS | Errno::OPNOTSUPP | Errno::NODEV => Self::Unsupported { what, path },
            Errno::NOSPC => Self::NoSpace { what, path },
            Errno::PERM | Errno::ACCESS => Self::Denied { what, path },
            Errno::NOENT => Self::NotFound { what, path },
            errno => Self::Failed {
                what,
                path,
                source: errno.into(),
            },
        }
    }
}

impl Classify for MountError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Busy { .. } | Self::NotFound { .. } => ErrorClass::FailedPrecondition,
            Self::Unsupported { .. } => ErrorClass::Unimplemented,
            Self::NoSpace { .. } => ErrorClass::ResourceExhausted,
            Self::Denied { .. } | Self::Failed { .. } => ErrorClass::Internal,
        }
    }
}

/// How a bind mount is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BindFlags {
    /// Read-only; with `recursive` everything below it too.
    pub readonly: bool,
    /// With the mounts below the source.
    pub recursive: bool,
}

/// How a new tmpfs is made. It always has `nosuid` and `nodev`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TmpfsOptions {
    /// Most bytes it may hold.
    pub size_bytes: u64,
    /// Mode of its root, such as `0o1777`.
    pub mode: u32,
    /// Nothing in it may be executed.
    pub noexec: bool,
    /// User and group that its root belongs to.
    pub owner: (u32, u32),
}

/// Runs `work` on a thread of its own in a mount namespace of its own: what it mounts does not
/// reach the caller's namespace, and ends with the thread.
///
/// # Errors
/// No thread or no namespace can be made, or the mounts cannot be made private; then `work` did
/// not run. Also when it panicked.
pub fn in_private_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    crate::throwaway::run("pinpod-mnt", || {
        crate::namespace::unshare_thread(rustix::thread::UnshareFlags::NEWNS)?;
        make_private(Path::new("/"), true).map_err(io::Error::other)?;
        Ok(work())
    })?
}

/// Shows `source` at `target` too. Symbolic links at the end of `source` are followed, at the end
/// of `target` they are not.
///
/// # Errors
/// See [`MountError`].
pub fn bind(source: &Path, target: &Path, flags: BindFlags) -> Result<(), MountError> {
    let tree = clone_tree(source, flags.recursive)?;
    if flags.readonly {
        attr::set_readonly(&tree, flags.recursive)
            .map_err(|errno| MountError::new("make a bind mount read-only", target, errno))?;
    }
    attach(&tree, target)
}

/// Shows `source` at `target` with its ids mapped by a user namespace.
///
/// # Errors
/// See [`MountError`]; [`MountError::Unsupported`] or [`MountError::Failed`] with `EINVAL` when the
/// file system of the source cannot be id-mapped.
pub fn bind_idmapped(
    source: &Path,
    target: &Path,
    flags: BindFlags,
    user_namespace: impl AsFd,
) -> Result<(), MountError> {
    let tree = clone_tree(source, flags.recursive)?;
    attr::set_idmap(&tree, user_namespace, flags.recursive)
        .map_err(|errno| MountError::new("map the ids of a mount", source, errno))?;
    if flags.readonly {
        attr::set_readonly(&tree, flags.recursive)
            .map_err(|errno| MountError::new("make a bind mount read-only", target, errno))?;
    }
    attach(&tree, target)
}

/// A copy of the mount of `source` that is not attached anywhere; it goes away with the descriptor
/// unless it is given to [`attach`].
///
/// # Errors
/// See [`MountError`].
pub fn clone_tree(source: &Path, recursive: bool) -> Result<OwnedFd, MountError> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(CWD, source, flags)
        .map_err(|errno| MountError::new("copy a mount", source, errno))
}

/// A copy of the mount that `file` is on, beginning at it, as [`clone_tree`] makes one.
///
/// # Errors
/// See [`MountError`]; `path` only names the file in it.
pub fn clone_tree_of(file: impl AsFd, recursive: bool, path: &Path) -> Result<OwnedFd, MountError> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(file, c"", flags)
        .map_err(|errno| MountError::new("copy a mount", path, errno))
}

/// Whether mounts of the file system that holds `path` can have their ids mapped.
///
/// # Errors
/// See [`MountError`]: what is in the way. [`MountError::Failed`] also when there can be no user
/// namespace.
pub fn can_map_ids(path: &Path) -> Result<(), MountError> {
    let some = [IdMapping {
        host_id: 65_536,
        container_id: 0,
        length: 65_536,
    }];
    let namespace = crate::namespace::user_namespace(&some, &some).map_err(|source| {
        let path = path.to_owned();
        MountError::Failed {
            what: "make a user namespace",
            path,
            source,
        }
    })?;
    idmap(clone_tree(path, false)?, namespace, false, path)
}

/// Attaches a mount that [`clone_tree`] (or another call of the mount API) made.
///
/// # Errors
/// See [`MountError`].
pub fn attach(mount: impl AsFd, target: &Path) -> Result<(), MountError> {
    let from_fd = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(mount, c"", CWD, target, from_fd)
        .map_err(|errno| MountError::new("attach a mount", target, errno))
}

/// Mounts a new tmpfs.
///
/// # Errors
/// See [`MountError`].
pub fn tmpfs(target: &Path, options: TmpfsOptions) -> Result<(), MountError> {
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    if options.noexec {
        attributes |= MountAttrFlags::MOUNT_ATTR_NOEXEC;
    }
    let settings = [
        ("size", options.size_bytes.to_string()),
        ("mode", format!("{:o}", options.mode)),
        ("uid", options.owner.0.to_string()),
        ("gid", options.owner.1.to_string()),
    ];
    new_file_system("tmpfs", target, &settings, attributes)
}

/// Mounts the message queues of the calling thread's IPC namespace (`mq_overview(7)`).
///
/// # Errors
/// See [`MountError`].
pub fn mqueue(target: &Path) -> Result<(), MountError> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    new_file_system("mqueue", target, &[], attributes)
}

/// Takes away everything that is mounted at `path`, now for its name and later, when nobody uses it
/// any more, for good (`MNT_DETACH`). A path that is not mounted or not there is fine.
///
/// # Errors
/// See [`MountError`].
pub fn unmount(path: &Path) -> Result<(), MountError> {
    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    loop {
        match rustix::mount::unmount(path, flags) {
            // There may be another mount below it.
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(MountError::new("unmount", path, errno)),
        }
    }
}

fn new_file_system(
    fs_type: &'static str,
    target: &Path,
    settings: &[(&str, String)],
    attributes: MountAttrFlags,
) -> Result<(), MountError> {
    let made = || -> Result<OwnedFd, Errno> {
        let context = rustix::mount::fsopen(fs_type, FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_set_string(&context, "source", fs_type)?;
        for (key, value) in settings {
            rustix::mount::fsconfig_set_string(&context, *key, value.as_str())?;
        }
        rustix::mount::fsconfig_create(&context)?;
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    let what = "make a file system";
    let mount = made().map_err(|errno| MountError::new(what, target, errno))?;
    attach(mount, target)
}

#[cfg(test)]
mod tests;
