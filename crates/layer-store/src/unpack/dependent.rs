//! Completes a layer whose tar leaves out what the layers under it have.
//!
//! Many builders write `usr/bin/tool` and neither `usr/` nor `usr/bin/`, and link to files of
//! another layer. In a stack of directories the uppermost decides about mode and owner, so such a
//! layer takes them from below. For that the layers under it are mounted read-only, as a container
//! would see them:
//!
//! - a directory left out gets mode, owner, attributes and time of the one below;
//! - where below has a symbolic link to a directory instead (`lib -> usr/lib`), the content moves
//!   to where the link leads, instead of hiding it;
//! - the target of a hard link is copied up, and linked.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pinpod_kernel::mount::{self, OverlayMount};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::StagedLayer;
use super::apply::Applied;
use super::error::UnpackError;
use super::tree::{self, Names, file_type};

const COPY_BYTES: usize = 1 << 20;

/// Takes from `below` (directories of layers, the topmost first) what the layer leaves out.
pub(crate) fn complete(staged: &mut StagedLayer, below: &[PathBuf]) -> Result<(), UnpackError> {
    let staging = &staged.staging;
    if below.is_empty() {
        return match staged.applied.links_below.first() {
            None => Ok(()),
            Some(link) => Err(no_target(&link.path)),
        };
    }
    let view = staging.path().join("below");
    std::fs::create_dir(&view).map_err(|source| staging.error(source))?;
    let mounted = OverlayMount {
        lower: below.to_vec(),
        ..OverlayMount::default()
    };
    let as_io = |error: mount::MountError| staging.error(io::Error::other(error));
    mount::overlay(&mounted, &view).map_err(as_io)?;
    let result = Completion::open(staging.open_diff(), &view)
        .map_err(|source| staging.error(source))
        .and_then(|completion| completion.run(&mut staged.applied));
    mount::unmount(&view).map_err(as_io)?;
    std::fs::remove_dir(&view).map_err(|source| staging.error(source))?;
    result
}

fn no_target(path: &[Vec<u8>]) -> UnpackError {
    UnpackError::refused(
        &tree::joined(path),
        "it links to a file that does not exist",
    )
}

struct Completion {
    layer: OwnedFd,
    below: OwnedFd,
    below_path: PathBuf,
}

impl Completion {
    fn open(layer: io::Result<OwnedFd>, below_path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            layer: layer?,
            below: rustix::fs::open(below_path, flags, Mode::empty())?,
            below_path: below_path.to_owned(),
        })
    }

    fn run(&self, applied: &mut Applied) -> Result<(), UnpackError> {
        // Parents come before what is in them.
        let mut todo: Vec<Names> = std::mem::take(&mut applied.implicit)
            .into_iter()
            .rev()
            .collect();
        while let Some(names) = todo.pop() {
            let failed =
                |error| UnpackError::entry(&tree::joined(&names), "take from below", error);
            let Some((fd, actual)) = self.directory_below(&names).map_err(failed)? else {
                continue;
            };
            if actual == names {
                let own = tree::open_names(&self.layer, &names).map_err(io::Error::from);
                own.and_then(|own| copy_metadata(&fd, &own))
                    .map_err(failed)?;
                continue;
            }
            self.make_parents(&actual, applied).map_err(failed)?;
            self.relocate(&names, &actual).map_err(failed)?;
            for path in &mut todo {
                moved(path, &names, &actual);
            }
            for link in &mut applied.links_below {
                moved(&mut link.path, &names, &actual);
            }
        }
        for link in std::mem::take(&mut applied.links_below) {
            self.link(&link.path, &link.target, applied)?;
        }
        Ok(())
    }

    /// The directory that the layers below have under this path, and where it really is.
    fn directory_below(&self, names: &[Vec<u8>]) -> io::Result<Option<(OwnedFd, Names)>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let path = tree::joined(names);
        let path = Path::new(std::ffi::OsStr::from_bytes(&path));
        let fd = match pinpod_kernel::path::open_in_root(&self.below, path, flags) {
            Ok(fd) => fd,
            Err(error) => {
                return match Errno::from_io_error(&error) {
                    Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
                    _ => Err(error),
                };
            }
        };
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let actual = std::fs::read_link(link)?;
        let actual = actual
            .strip_prefix(&self.below_path)
            .map_err(io::Error::other)?;
        let actual = tree::names(actual.as_os_str().as_bytes());
        Ok(Some((fd, actual)))
    }

    /// Makes directories of the layer as they are below.
    fn make_parents(&self, names: &[Vec<u8>], applied: &mut Applied) -> io::Result<OwnedFd> {
        let mut fd = tree::open_dir(&self.layer, b".")?;
        let mut below = tree::open_dir(&self.below, b".").ok();
        for name in names {
            let source = below.and_then(|below| tree::open_dir(&below, name).ok());
            let is_new = tree::stat(&fd, name)?.is_none();
            if is_new {
                tree::make_dir(&fd, name)?;
                applied.inodes += 1;
            }
            fd = tree::open_dir(&fd, name)?;
            if let (true, Some(source)) = (is_new, &source) {
                copy_metadata(source, &fd)?;
            }
            below = source;
        }
        Ok(fd)
    }

    /// Moves the content of one directory of the layer into another.
    fn relocate(&self, from: &[Vec<u8>], to: &[Vec<u8>]) -> io::Result<()> {
        let (Some((name, parent)), to) = (from.split_last(), tree::open_names(&self.layer, to)?)
        else {
            return Ok(());
        };
        let parent = tree::open_names(&self.layer, parent)?;
        merge(&tree::open_dir(&parent, name)?, &to)?;
        rustix::fs::unlinkat(&parent, name.as_slice(), AtFlags::REMOVEDIR)?;
        Ok(())
    }

    fn link(
        &self,
        path: &[Vec<u8>],
        target: &[Vec<u8>],
        applied: &mut Applied,
    ) -> Result<(), UnpackError> {
        let failed = |error| UnpackError::entry(&tree::joined(path), "link to a file below", error);
        let (Some((last, dir)), Some((name, parent))) = (target.split_last(), path.split_last())
        else {
            return Err(no_target(path));
        };
        let Some((below, actual)) = self.directory_below(dir).map_err(failed)? else {
            return Err(no_target(path));
        };
        let Some(stat) = tree::stat(&below, last).map_err(|e| failed(e.into()))? else {
            return Err(no_target(path));
        };
        let dir = self.make_parents(&actual, applied).map_err(failed)?;
        let mut link = || -> io::Result<()> {
            if tree::stat(&dir, last)?.is_none() {
                applied.bytes += copy_up(&below, last, &stat, &dir)?;
                applied.inodes += 1;
            }
            let parent = tree::open_names(&self.layer, parent)?;
            rustix::fs::linkat(
                &dir,
                last.as_slice(),
                parent,
                name.as_slice(),
                AtFlags::empty(),
            )?;
            Ok(())
        };
        link().map_err(failed)
    }
}

fn moved(path: &mut Names, from: &[Vec<u8>], to: &[Vec<u8>]) {
    if path.starts_with(from) {
        path.splice(..from.len(), to.iter().cloned());
    }
}

/// Moves everything in `from` into `to`; directories in both become one.
fn merge(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    for name in tree::children(from)? {
        let is_dir =
            |stat: Option<Stat>| stat.is_some_and(|s| file_type(&s) == FileType::Directory);
        if is_dir(tree::stat(from, &name)?) && is_dir(tree::stat(to, &name)?) {
            merge(&tree::open_dir(from, &name)?, &tree::open_dir(to, &name)?)?;
            rustix::fs::unlinkat(from, name.as_slice(), AtFlags::REMOVEDIR)?;
        } else {
            tree::remove(to, &name)?;
            rustix::fs::renameat(from, name.as_slice(), to, name.as_slice())?;
        }
    }
    Ok(())
}

fn times(stat: &Stat) -> Timestamps {
    let mtime = Timespec {
        tv_sec: stat.st_mtime,
        // Below a thousand million by definition.
        tv_nsec: stat.st_mtime_nsec.try_into().unwrap_or_default(),
    };
    Timestamps {
        last_access: mtime,
        last_modification: mtime,
    }
}

/// Owner, attributes, mode and time of one open file or directory to another.
fn copy_metadata(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let stat = rustix::fs::fstat(from)?;
    rustix::fs::fchown(
        to,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )?;
    let mut list = vec![0_u8; 64 << 10];
    let length = match rustix::fs::flistxattr(from, list.as_mut_slice()) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => 0,
        Err(errno) => return Err(errno.into()),
    };
    for name in list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        if name.starts_with(b"trusted.overlay.") || name == b"security.selinux" {
            continue;
        }
        let mut value = vec![0_u8; 64 << 10];
        let length = rustix::fs::fgetxattr(from, name, value.as_mut_slice())?;
        rustix::fs::fsetxattr(to, name, &value[..length], XattrFlags::empty())?;
    }
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    rustix::fs::futimens(to, &times(&stat))?;
    Ok(())
}

/// Copies a file from below into the layer. Says how many bytes it has.
fn copy_up(below: &OwnedFd, name: &[u8], stat: &Stat, to: &OwnedFd) -> io::Result<u64> {
    let kind = file_type(stat);
    match kind {
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let source = rustix::fs::openat(below, name, flags, Mode::empty())?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let target = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
            let mut bytes = 0;
            loop {
                let copied = rustix::fs::copy_file_range(&source, None, &target, None, COPY_BYTES);
                match copied {
                    Ok(0) => break,
                    Ok(length) => bytes += length as u64,
                    Err(Errno::XDEV | Errno::NOTSUP | Errno::INVAL | Errno::NOSYS)
                        if bytes == 0 =>
                    {
                        let (mut from, mut into) = (
                            std::fs::File::from(source.try_clone()?),
                            std::fs::File::from(target.try_clone()?),
                        );
                        bytes = io::copy(&mut from, &mut into)?;
                        break;
                    }
                    Err(errno) => return Err(errno.into()),
                }
            }
            copy_metadata(&source, &target)?;
            return Ok(bytes);
        }
        FileType::Symlink => {
            let link = rustix::fs::readlinkat(below, name, Vec::new())?;
            rustix::fs::symlinkat(&link, to, name)?;
        }
        FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice | FileType::Socket => {
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
            rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev)?;
            rustix::fs::chmodat(to, name, mode, AtFlags::empty())?;
        }
        FileType::Directory | FileType::Unknown => return Err(Errno::PERM.into()),
    }
    let no_follow = AtFlags::SYMLINK_NOFOLLOW;
    let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(to.as_fd(), name, Some(owner.0), Some(owner.1), no_follow)?;
    rustix::fs::utimensat(to, name, &times(stat), no_follow)?;
    Ok(0)
}
