//! Makes the files of a layer from the entries of its tar, with overlayfs's marks for what it
//! hides (OCI image spec `layer.md`; kernel documentation, `filesystems/overlayfs`).
//!
//! - `.wh.<name>` becomes a character device 0:0, `.wh..wh..opq` the attribute
//!   `trusted.overlay.opaque` of its directory, wherever in the tar it comes.
//! - A whiteout hides what is below the layer, never what is in it: where the layer has a directory
//!   of that name too, the directory becomes opaque.
//! - A later entry replaces an earlier one of the same path; a directory is only updated.
//! - Directories that the tar leaves out are made, and noted: their mode and owner are those of
//!   the layers below, which [`super::dependent`] looks up.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

use std::io::BufRead;

use rustix::fs::{
    AtFlags, Dev, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::error::UnpackError;
use super::sparse::SparseMap;
use super::tar_reader::{EntryKind, TarEntry, TarReader};
use super::tree::{self, Names, file_type, is_whiteout};

pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE_MARK: &[u8] = b".wh..wh..opq";
/// As many symbolic links as the kernel follows in one path.
const LINKS_MAX: usize = 40;
const DISK_BLOCK: u64 = 4096;

/// A hard link to a file that is not in the layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkBelow {
    /// Where the link is to be.
    pub(crate) path: Names,
    /// What it links to.
    pub(crate) target: Names,
}

/// What applying a tar left to be known about the layer.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Directories that the tar left out, without symbolic links in their paths.
    pub(crate) implicit: BTreeSet<Names>,
    /// Hard links to be made when the layers below are there.
    pub(crate) links_below: Vec<LinkBelow>,
    /// The tar describes the root directory.
    pub(crate) has_root: bool,
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
}

/// Applies entries to one directory.
#[derive(Debug)]
pub(crate) struct Applier {
    root: OwnedFd,
    applied: Applied,
    /// The last parent used, by its path in the tar: entries of a directory follow one another.
    parent: Option<Parent>,
    /// Times of directories, set at the end because making their entries changes them.
    times: Vec<(Names, Timespec)>,
}

#[derive(Debug)]
struct Parent {
    given: Names,
    actual: Names,
    fd: OwnedFd,
}

impl Applier {
    /// An applier to the directory `root`.
    pub(crate) fn new(root: OwnedFd) -> Self {
        Self {
            root,
            applied: Applied::default(),
            parent: None,
            times: Vec::new(),
        }
    }

    /// Applies one entry and reads its content.
    pub(crate) fn apply<R: BufRead>(
        &mut self,
        entry: &TarEntry,
        tar: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        if entry.path.contains(&0) || entry.link.contains(&0) {
            return Err(UnpackError::refused(&entry.path, "a zero byte in its path"));
        }
        let mut names = tree::names(&entry.path);
        if names.iter().any(|name| name == b"..") {
            return Err(UnpackError::refused(&entry.path, "it climbs with \"..\""));
        }
        let Some(name) = names.pop() else {
            return self.root(entry);
        };
        let parent = self.parent(&entry.path, names)?;
        let result = if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            self.whiteout(entry, &parent, &name, hidden)
        } else {
            self.file(entry, &parent, &name, tar)
        };
        self.parent = Some(parent);
        result
    }

    /// Sets the times of directories and says what was found.
    pub(crate) fn finish(self) -> Result<Applied, UnpackError> {
        for (names, time) in &self.times {
            // A later entry may have replaced the directory by something else.
            if let Ok(fd) = tree::open_names(&self.root, names) {
                set_time(&fd, *time).map_err(|errno| {
                    UnpackError::entry(&tree::joined(names), "set the time", errno)
                })?;
            }
        }
        Ok(self.applied)
    }

    fn root(&mut self, entry: &TarEntry) -> Result<(), UnpackError> {
        if entry.kind != EntryKind::Directory {
            return Err(UnpackError::refused(&entry.path, "the root is a directory"));
        }
        self.applied.has_root = true;
        self.times.push((Names::new(), entry.mtime));
        set_metadata(&self.root, entry)
    }

    fn whiteout(
        &mut self,
        entry: &TarEntry,
        parent: &Parent,
        name: &[u8],
        hidden: &[u8],
    ) -> Result<(), UnpackError> {
        let failed = |what| move |errno: Errno| UnpackError::entry(&entry.path, what, errno);
        if name == OPAQUE_MARK {
            return rustix::fs::fsetxattr(&parent.fd, OPAQUE, b"y", XattrFlags::empty())
                .map_err(failed("mark the directory opaque"));
        }
        if hidden.starts_with(WHITEOUT) {
            // AUFS keeps its own records under such names; they are no content.
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(UnpackError::refused(&entry.path, "it hides no name"));
        }
        match tree::stat(&parent.fd, hidden).map_err(failed("look up what is hidden"))? {
            None => self.make_whiteout(&entry.path, parent, hidden),
            Some(stat) if file_type(&stat) == FileType::Directory => {
                let fd = tree::open_dir(&parent.fd, hidden).map_err(failed("open a directory"))?;
                rustix::fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty())
                    .map_err(failed("mark the directory opaque"))
            }
            Some(_) => Ok(()),
        }
    }

    fn make_whiteout(
        &mut self,
        path: &[u8],
        parent: &Parent,
        hidden: &[u8],
    ) -> Result<(), UnpackError> {
        let kind = FileType::CharacterDevice;
        rustix::fs::mknodat(&parent.fd, hidden, kind, Mode::empty(), 0)
            .map_err(|errno| UnpackError::entry(path, "make a whiteout", errno))?;
        self.applied.inodes += 1;
        Ok(())
    }

    fn file<R: BufRead>(
        &mut self,
        entry: &TarEntry,
        parent: &Parent,
        name: &[u8],
        tar: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        let failed = |what| move |errno: Errno| UnpackError::entry(&entry.path, what, errno);
        let old = tree::stat(&parent.fd, name).map_err(failed("look up"))?;
        let mut opaque = false;
        if let Some(old) = old {
            let is_dir = file_type(&old) == FileType::Directory;
            if entry.kind == EntryKind::Directory && is_dir {
                return self.directory(entry, parent, name, false);
            }
            opaque = is_whiteout(&old);
            self.replace(entry, parent, name)?;
        }
        match entry.kind {
            EntryKind::Directory => {
                tree::make_dir(&parent.fd, name).map_err(failed("make a directory"))?;
                self.applied.inodes += 1;
                self.directory(entry, parent, name, opaque)?;
            }
            EntryKind::File => self.regular(entry, parent, name, tar)?,
            EntryKind::HardLink => self.hard_link(entry, parent, name)?,
            EntryKind::Symlink => {
                rustix::fs::symlinkat(entry.link.as_slice(), &parent.fd, name)
                    .map_err(failed("make a symbolic link"))?;
                self.applied.inodes += 1;
                set_metadata_at(&parent.fd, name, entry)?;
            }
            EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Fifo => {
                let (kind, device) = node(entry);
                rustix::fs::mknodat(&parent.fd, name, kind, Mode::RUSR, device)
                    .map_err(failed("make a device or fifo"))?;
                self.applied.inodes += 1;
                set_metadata_at(&parent.fd, name, entry)?;
            }
        }
        Ok(())
    }

    fn directory(
        &mut self,
        entry: &TarEntry,
        parent: &Parent,
        name: &[u8],
        opaque: bool,
    ) -> Result<(), UnpackError> {
        let failed = |what| move |errno: Errno| UnpackError::entry(&entry.path, what, errno);
        let fd = tree::open_dir(&parent.fd, name).map_err(failed("open a directory"))?;
        set_metadata(&fd, entry)?;
        if opaque {
            rustix::fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty())
                .map_err(failed("mark the directory opaque"))?;
        }
        let mut names = parent.actual.clone();
        names.push(name.to_vec());
        self.applied.implicit.remove(&names);
        self.times.push((names, entry.mtime));
        Ok(())
    }

    fn regular<R: BufRead>(
        &mut self,
        entry: &TarEntry,
        parent: &Parent,
        name: &[u8],
        tar: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&parent.fd, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| UnpackError::entry(&entry.path, "make a file", errno))?;
        self.applied.inodes += 1;
        let written = match &entry.sparse {
            None => write_content(entry, &fd, tar)?,
            Some(map) => write_sparse(entry, &fd, map, tar)?,
        };
        self.applied.bytes += written.div_ceil(DISK_BLOCK) * DISK_BLOCK;
        set_metadata(&fd, entry)?;
        set_time(&fd, entry.mtime)
            .map_err(|errno| UnpackError::entry(&entry.path, "set the time", errno))
    }

    fn hard_link(
        &mut self,
        entry: &TarEntry,
        parent: &Parent,
        name: &[u8],
    ) -> Result<(), UnpackError> {
        let mut target = tree::names(&entry.link);
        if target.is_empty() || target.iter().any(|name| name == b"..") {
            let reason = "its hard link leads out of the layer";
            return Err(UnpackError::refused(&entry.path, reason));
        }
        let last = target.pop().unwrap_or_default();
        let found = self.resolve(&entry.path, &target, false)?;
        let linked = match &found {
            None => Err(Errno::NOENT),
            Some((_, fd)) => {
                rustix::fs::linkat(fd, last.as_slice(), &parent.fd, name, AtFlags::empty())
            }
        };
        match linked {
            Ok(()) => Ok(()),
            Err(Errno::NOENT) => {
                let mut path = parent.actual.clone();
                path.push(name.to_vec());
                target.push(last);
                self.applied.links_below.push(LinkBelow { path, target });
                Ok(())
            }
            Err(errno) => Err(UnpackError::entry(&entry.path, "make a hard link", errno)),
        }
    }

    fn replace(
        &mut self,
        entry: &TarEntry,
        parent: &Parent,
        name: &[u8],
    ) -> Result<(), UnpackError> {
        let removed = tree::remove(&parent.fd, name)
            .map_err(|error| UnpackError::entry(&entry.path, "replace", error))?;
        self.applied.inodes = self.applied.inodes.saturating_sub(removed);
        let mut gone = parent.actual.clone();
        gone.push(name.to_vec());
        self.applied
            .implicit
            .retain(|names| !names.starts_with(&gone));
        self.applied
            .links_below
            .retain(|link| !link.path.starts_with(&gone));
        Ok(())
    }

    /// The directory that an entry goes to; made when it is not there.
    fn parent(&mut self, path: &[u8], given: Names) -> Result<Parent, UnpackError> {
        if let Some(parent) = self.parent.take_if(|parent| parent.given == given)
            // It may have been replaced or removed since.
            && rustix::fs::fstat(&parent.fd).is_ok_and(|stat| stat.st_nlink > 0)
        {
            return Ok(parent);
        }
        let Some((actual, fd)) = self.resolve(path, &given, true)? else {
            return Err(UnpackError::entry(path, "make its parent", Errno::NOENT));
        };
        Ok(Parent { given, actual, fd })
    }

    /// Follows names from the root, symbolic links included, which stay within the root. With
    /// `make`, what is missing becomes a directory; without, it is `None`.
    fn resolve(
        &mut self,
        path: &[u8],
        names: &[Vec<u8>],
        make: bool,
    ) -> Result<Option<(Names, OwnedFd)>, UnpackError> {
        let failed = |what| move |errno: Errno| UnpackError::entry(path, what, errno);
        let mut actual = Names::new();
        let mut fd = tree::open_dir(&self.root, b".").map_err(failed("open the root"))?;
        let mut todo: Vec<Vec<u8>> = names.iter().rev().cloned().collect();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == b".." {
                actual.pop();
                fd = tree::open_names(&self.root, &actual).map_err(failed("open its parent"))?;
                continue;
            }
            let stat = tree::stat(&fd, &name).map_err(failed("look up its parent"))?;
            let kind = stat.as_ref().map(file_type);
            if kind == Some(FileType::Symlink) {
                links += 1;
                if links > LINKS_MAX {
                    return Err(UnpackError::entry(path, "follow its parents", Errno::LOOP));
                }
                let target = rustix::fs::readlinkat(&fd, name.as_slice(), Vec::new())
                    .map_err(failed("read a symbolic link"))?
                    .into_bytes();
                if target.starts_with(b"/") {
                    actual.clear();
                    fd = tree::open_dir(&self.root, b".").map_err(failed("open the root"))?;
                }
                todo.extend(tree::names(&target).into_iter().rev());
                continue;
            }
            if kind != Some(FileType::Directory) {
                let hides = stat.as_ref().is_some_and(is_whiteout);
                if !make {
                    return Ok(None);
                }
                if stat.is_some() && !hides {
                    return Err(UnpackError::entry(path, "enter its parent", Errno::NOTDIR));
                }
                self.make_parent(path, &fd, &actual, &name, hides)?;
            }
            fd = tree::open_dir(&fd, &name).map_err(failed("open its parent"))?;
            actual.push(name);
        }
        Ok(Some((actual, fd)))
    }

    /// Makes a directory that the tar leaves out. One in place of a whiteout is opaque, and what
    /// is below has nothing to say about it.
    fn make_parent(
        &mut self,
        path: &[u8],
        dir: &OwnedFd,
        actual: &Names,
        name: &[u8],
        in_place_of_whiteout: bool,
    ) -> Result<(), UnpackError> {
        let failed = |errno: Errno| UnpackError::entry(path, "make its parent", errno);
        if in_place_of_whiteout {
            rustix::fs::unlinkat(dir, name, AtFlags::empty()).map_err(failed)?;
        } else {
            self.applied.inodes += 1;
        }
        tree::make_dir(dir, name).map_err(failed)?;
        if in_place_of_whiteout {
            let fd = tree::open_dir(dir, name).map_err(failed)?;
            return rustix::fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty()).map_err(failed);
        }
        let mut names = actual.clone();
        names.push(name.to_vec());
        self.applied.implicit.insert(names);
        Ok(())
    }
}

fn node(entry: &TarEntry) -> (FileType, Dev) {
    let (major, minor) = entry.device;
    match entry.kind {
        EntryKind::CharDevice => (FileType::CharacterDevice, rustix::fs::makedev(major, minor)),
        EntryKind::BlockDevice => (FileType::BlockDevice, rustix::fs::makedev(major, minor)),
        EntryKind::Fifo
        | EntryKind::File
        | EntryKind::HardLink
        | EntryKind::Symlink
        | EntryKind::Directory => (FileType::Fifo, 0),
    }
}

fn write_content<R: BufRead>(
    entry: &TarEntry,
    fd: &OwnedFd,
    tar: &mut TarReader<R>,
) -> Result<u64, UnpackError> {
    let mut written = 0;
    loop {
        let piece = tar.content()?;
        if piece.is_empty() {
            return Ok(written);
        }
        let length = rustix::io::retry_on_intr(|| rustix::io::write(fd, piece))
            .map_err(|errno| UnpackError::entry(&entry.path, "write a file", errno))?;
        tar.consume(length);
        written += length as u64;
    }
}

fn write_sparse<R: BufRead>(
    entry: &TarEntry,
    fd: &OwnedFd,
    map: &SparseMap,
    tar: &mut TarReader<R>,
) -> Result<u64, UnpackError> {
    let failed = |errno: Errno| UnpackError::entry(&entry.path, "write a sparse file", errno);
    let mut written = 0;
    for region in &map.regions {
        let mut done = 0;
        while done < region.length {
            let piece = tar.content()?;
            let rest = usize::try_from(region.length - done).unwrap_or(usize::MAX);
            let piece = &piece[..piece.len().min(rest)];
            if piece.is_empty() {
                return Err(tar.malformed("a sparse map that does not fit its file"));
            }
            let at = region.offset + done;
            let length =
                rustix::io::retry_on_intr(|| rustix::io::pwrite(fd, piece, at)).map_err(failed)?;
            tar.consume(length);
            done += length as u64;
        }
        written += done;
    }
    rustix::fs::ftruncate(fd, map.real_size).map_err(failed)?;
    Ok(written)
}

/// Owner, attributes, mode, in this order: a change of owner clears capabilities and set-id bits.
fn set_metadata(fd: &OwnedFd, entry: &TarEntry) -> Result<(), UnpackError> {
    let failed = |what| move |errno: Errno| UnpackError::entry(&entry.path, what, errno);
    let (uid, gid) = owner(entry);
    rustix::fs::fchown(fd, Some(uid), Some(gid)).map_err(failed("set the owner"))?;
    for (name, value) in &entry.xattrs {
        check_xattr(entry, name)?;
        if matches!(
            name.as_slice(),
            b"security.selinux" | b"security.ima" | b"security.evm"
        ) {
            // Labels and signatures of the builder's node mean nothing on this one.
            continue;
        }
        let result = rustix::fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty());
        tolerate(name, result).map_err(failed("set an extended attribute"))?;
    }
    rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode)).map_err(failed("set the mode"))
}

/// The same for what cannot be opened: symbolic links, devices, fifos.
fn set_metadata_at(parent: &OwnedFd, name: &[u8], entry: &TarEntry) -> Result<(), UnpackError> {
    let failed = |what| move |errno: Errno| UnpackError::entry(&entry.path, what, errno);
    let no_follow = AtFlags::SYMLINK_NOFOLLOW;
    let (uid, gid) = owner(entry);
    rustix::fs::chownat(parent, name, Some(uid), Some(gid), no_follow)
        .map_err(failed("set the owner"))?;
    for (name, _) in &entry.xattrs {
        // They cannot be set by descriptor, no image is known to carry any that matter here.
        check_xattr(entry, name)?;
    }
    if entry.kind != EntryKind::Symlink {
        rustix::fs::chmodat(
            parent,
            name,
            Mode::from_raw_mode(entry.mode),
            AtFlags::empty(),
        )
        .map_err(failed("set the mode"))?;
    }
    rustix::fs::utimensat(parent, name, &times(entry.mtime), no_follow)
        .map_err(failed("set the time"))
}

fn owner(entry: &TarEntry) -> (Uid, Gid) {
    (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid))
}

/// Attributes by which a layer would tell overlayfs what to show. (`user.overlay.*` is plain data:
/// our mounts do not read it, and images with a store inside carry it.)
fn check_xattr(entry: &TarEntry, name: &[u8]) -> Result<(), UnpackError> {
    if name.starts_with(b"trusted.overlay.") {
        let reason = "it carries an attribute of overlayfs";
        return Err(UnpackError::refused(&entry.path, reason));
    }
    Ok(())
}

/// A file system without some kind of attributes still holds the layer; only file capabilities
/// are something that a program cannot do without.
fn tolerate(name: &[u8], result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOTSUP | Errno::PERM | Errno::INVAL) if name != b"security.capability" => Ok(()),
        other => other,
    }
}

fn times(mtime: Timespec) -> Timestamps {
    Timestamps {
        last_access: mtime,
        last_modification: mtime,
    }
}

fn set_time(fd: impl AsFd, mtime: Timespec) -> Result<(), Errno> {
    rustix::fs::futimens(fd, &times(mtime))
}
