//! Directories of a layer by descriptor: no path is ever given to the kernel, only single names
//! below a descriptor, and none of them is followed if it is a symbolic link. So nothing in a tar
//! can reach outside of the layer's directory.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Names of a path, from the root of the layer.
pub(crate) type Names = Vec<Vec<u8>>;

/// Splits a path into its names. `.` and empty ones are left out, so that an absolute path starts
/// at the root of the layer; `..` is for the caller to judge.
pub(crate) fn names(path: &[u8]) -> Names {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .map(<[u8]>::to_vec)
        .collect()
}

/// The names as a path relative to the root of the layer.
pub(crate) fn joined(names: &[Vec<u8>]) -> Vec<u8> {
    names.join(&b'/')
}

/// Opens a directory by its name, as a place to work in.
pub(crate) fn open_dir(parent: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Opens a directory by names that have no symbolic link among them.
pub(crate) fn open_names(root: impl AsFd, names: &[Vec<u8>]) -> Result<OwnedFd, Errno> {
    let mut fd = open_dir(root, b".")?;
    for name in names {
        fd = open_dir(&fd, name)?;
    }
    Ok(fd)
}

/// What is there by this name, if anything.
pub(crate) fn stat(parent: impl AsFd, name: &[u8]) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// A character device 0:0, by which overlayfs hides a name of the layers below.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    file_type(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Removes whatever has this name, with all that is in it. Says how many inodes went.
pub(crate) fn remove(parent: impl AsFd, name: &[u8]) -> io::Result<u64> {
    let parent = parent.as_fd();
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) => return Ok(1),
        Err(Errno::NOENT) => return Ok(0),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut removed = 0;
    let fd = open_dir(parent, name)?;
    for entry in children(&fd)? {
        removed += remove(&fd, &entry)?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?;
    Ok(removed + 1)
}

/// The names in a directory.
pub(crate) fn children(dir: impl AsFd) -> io::Result<Names> {
    let mut found = Names::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            found.push(name.to_vec());
        }
    }
    Ok(found)
}

/// Creates a directory with the mode that one gets which no tar describes.
pub(crate) fn make_dir(parent: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(0o755);
    rustix::fs::mkdirat(parent.as_fd(), name, mode)?;
    // The umask of the process took its part.
    rustix::fs::chmodat(parent, name, mode, AtFlags::empty())
}
