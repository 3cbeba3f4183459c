//! Who sees mounts made later: `mount_namespaces(7)`.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;

use super::MountError;
use crate::mountinfo::{self, MountInfo};

/// How the mount that holds a path passes mounts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagation {
    /// Mounts made here show at its peers, and theirs here.
    pub shared: bool,
    /// Mounts made at its master show here.
    pub slave: bool,
}

/// Stops mounts from passing in either direction.
///
/// # Errors
/// See [`MountError`].
pub fn make_private(path: &Path, recursive: bool) -> Result<(), MountError> {
    change(path, MountPropagationFlags::PRIVATE, recursive)
}

/// Lets mounts pass in both directions.
///
/// # Errors
/// See [`MountError`].
pub fn make_shared(path: &Path, recursive: bool) -> Result<(), MountError> {
    change(path, MountPropagationFlags::SHARED, recursive)
}

/// Lets mounts in, but none out.
///
/// # Errors
/// See [`MountError`].
pub fn make_slave(path: &Path, recursive: bool) -> Result<(), MountError> {
    change(path, MountPropagationFlags::DOWNSTREAM, recursive)
}

/// Whether `path` itself is the root of a mount. A missing path is `false`.
///
/// # Errors
/// See [`MountError`].
pub fn is_mount_point(path: &Path) -> Result<bool, MountError> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    match rustix::fs::statx(CWD, path, flags, StatxFlags::TYPE) {
        Ok(found) => Ok(found
            .stx_attributes
            .contains(rustix::fs::StatxAttributes::MOUNT_ROOT)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
        Err(errno) => Err(MountError::new("look at a path", path, errno)),
    }
}

/// How the mount that holds `path` passes mounts on.
///
/// # Errors
/// See [`MountError`].
pub fn propagation_of(path: &Path) -> Result<Propagation, MountError> {
    let found = mount_of(path)?;
    Ok(Propagation {
        shared: found.shared.is_some(),
        slave: found.master.is_some(),
    })
}

/// The mount that holds `path`.
fn mount_of(path: &Path) -> Result<MountInfo, MountError> {
    let what = "find the mount";
    let found = rustix::fs::statx(CWD, path, AtFlags::NO_AUTOMOUNT, StatxFlags::MNT_ID)
        .map_err(|errno| MountError::new(what, path, errno))?;
    let failed = |source| MountError::Failed {
        what,
        path: path.to_owned(),
        source,
    };
    let mounts = mountinfo::read().map_err(failed)?;
    mounts
        .into_iter()
        .find(|mount| mount.id == found.stx_mnt_id)
        .ok_or_else(|| MountError::new(what, path, Errno::NOENT))
}

fn change(path: &Path, kind: MountPropagationFlags, recursive: bool) -> Result<(), MountError> {
    let flags = if recursive {
        kind | MountPropagationFlags::REC
    } else {
        kind
    };
    rustix::mount::mount_change(path, flags)
        .map_err(|errno| MountError::new("change the propagation of a mount", path, errno))
}
