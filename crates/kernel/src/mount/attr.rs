//! Attributes of mounts, `mount_setattr(2)`.
#![allow(unsafe_code, reason = "rustix has no mount_setattr")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use super::MountError;

/// Makes a mount and everything mounted below it read-only.
///
/// # Errors
/// See [`MountError`]; [`MountError::Unsupported`] before Linux 5.12.
pub fn mount_setattr_readonly_recursive(path: &Path) -> Result<(), MountError> {
    let what = "make a mount read-only recursively";
    let fd = rustix::mount::open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLOEXEC)
        .map_err(|errno| MountError::new(what, path, errno))?;
    set_readonly(fd, true).map_err(|errno| MountError::new(what, path, errno))
}

/// Maps the ids of a mount that is not attached yet (from [`super::clone_tree`]), by a user
/// namespace. `path` only names it in an error.
///
/// # Errors
/// See [`MountError`].
pub fn idmap(
    mount: impl AsFd,
    user_namespace: impl AsFd,
    recursive: bool,
    path: &Path,
) -> Result<(), MountError> {
    set_idmap(mount, user_namespace, recursive)
        .map_err(|errno| MountError::new("map the ids of a mount", path, errno))
}

/// Lets mounts in, but none out, in a tree that is not attached yet: to take the tree away then takes
/// nothing from where it was copied. `path` only names it in an error.
///
/// # Errors
/// See [`MountError`].
pub fn make_tree_slave(mount: impl AsFd, path: &Path) -> Result<(), MountError> {
    let attributes = libc::mount_attr {
        attr_set: 0,
        attr_clr: 0,
        propagation: libc::MS_SLAVE,
        userns_fd: 0,
    };
    mount_setattr(mount.as_fd(), true, &attributes)
        .map_err(|errno| MountError::new("detach the propagation of a mount", path, errno))
}

pub(super) fn set_readonly(mount: impl AsFd, recursive: bool) -> Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    mount_setattr(mount.as_fd(), recursive, &attributes)
}

pub(super) fn set_idmap(
    mount: impl AsFd,
    user_namespace: impl AsFd,
    recursive: bool,
) -> Result<(), Errno> {
    let raw = user_namespace.as_fd().as_raw_fd();
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(raw).map_err(|_negative| Errno::BADF)?,
    };
    mount_setattr(mount.as_fd(), recursive, &attributes)
}

fn mount_setattr(
    mount: BorrowedFd<'_>,
    recursive: bool,
    attributes: &libc::mount_attr,
) -> Result<(), Errno> {
    let empty: &CStr = c"";
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is a C string, the structure lives here and its true size is given; the
    // kernel only reads both.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            empty.as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}
