//! Paths that others wrote (in an image, in a volume), opened without leaving a root.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;

/// Opens `path` as if the directory of `root` were `/`: symbolic links and `..` cannot lead out
/// (`openat2` with `RESOLVE_IN_ROOT`). The descriptor is close-on-exec; a created file gets mode
/// 0644.
///
/// # Errors
/// As of `openat2`; `EAGAIN` (a rename raced with `..`) is tried again.
pub fn open_in_root(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    let mode = if flags.intersects(OFlags::CREATE) {
        Mode::from_raw_mode(0o644)
    } else {
        Mode::empty()
    };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..RACES {
        match rustix::fs::openat2(&root, path, flags, mode, resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
    Err(Errno::AGAIN.into())
}

/// Makes a directory and those above it that are missing (0755, of this user and group), as if the
/// directory of `root` were `/`: no symbolic link leads out. One that is there already is fine.
///
/// # Errors
/// As of `mkdirat`, `fchownat` and `openat2`; something else than a directory is in the way.
pub fn create_directories_in_root(
    root: impl AsFd,
    path: &Path,
    owner: (u32, u32),
) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
    let mut made = PathBuf::from("/");
    for part in path.components() {
        let Component::Normal(name) = part else {
            continue;
        };
        let parent = open_in_root(&root, &made, OFlags::PATH | OFlags::DIRECTORY)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::chownat(&parent, name, Some(user), Some(group), flags)?;
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        made.push(name);
    }
    open_in_root(&root, &made, OFlags::PATH | OFlags::DIRECTORY).map(drop)
}

/// How often a resolution may race with renames before it is given up.
const RACES: u32 = 32;

/// Whether something of this name exists, a dangling symbolic link included.
///
/// # Errors
/// Something other than its absence keeps it from being looked at.
pub fn exists_no_follow(path: &Path) -> io::Result<bool> {
    match rustix::fs::statat(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::Read;
    use std::os::unix::fs::symlink;

    #[test]
    fn directories_are_made_below_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = File::open(dir.path()).unwrap();
        symlink("/elsewhere", dir.path().join("link")).unwrap();
        fs::create_dir(dir.path().join("elsewhere")).unwrap();
        create_directories_in_root(&root, Path::new("/a/b/c"), (0, 0)).unwrap();
        create_directories_in_root(&root, Path::new("/a/b"), (0, 0)).unwrap();
        create_directories_in_root(&root, Path::new("/link/x"), (0, 0)).unwrap();
        assert!(dir.path().join("a/b/c").is_dir());
        assert!(dir.path().join("elsewhere/x").is_dir());
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(create_directories_in_root(&root, Path::new("/file/x"), (0, 0)).is_err());
    }

    #[test]
    fn links_stay_below_the_root() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/hostname"), "inside").unwrap();
        symlink("/etc/hostname", dir.path().join("absolute")).unwrap();
        symlink("../../../../etc/hostname", dir.path().join("relative")).unwrap();
        symlink("/nowhere", dir.path().join("dangling")).unwrap();
        let root = File::open(dir.path()).unwrap();
        for name in ["absolute", "relative", "etc/../../etc/hostname"] {
            let fd = open_in_root(&root, Path::new(name), OFlags::RDONLY).unwrap();
            let mut text = String::new();
            File::from(fd).read_to_string(&mut text).unwrap();
            assert_eq!(text, "inside", "{name}");
        }
        let missing = open_in_root(&root, Path::new("dangling"), OFlags::RDONLY);
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(exists_no_follow(&dir.path().join("dangling")).unwrap());
        assert!(!exists_no_follow(&dir.path().join("nothing")).unwrap());
        assert!(!exists_no_follow(&dir.path().join("etc/hostname/x")).unwrap());
    }
}
