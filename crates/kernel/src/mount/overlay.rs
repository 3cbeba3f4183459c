//! Overlay file systems of many layers.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags};

use super::{BindFlags, MountError, attach, bind};

/// An overlay mount (kernel documentation, `filesystems/overlayfs`).
#[derive(Debug, Clone, Default)]
pub struct OverlayMount {
    /// Read-only directories, the uppermost first; at least one.
    pub lower: Vec<PathBuf>,
    /// Directory that takes what is written; `None` makes the mount read-only.
    pub upper: Option<PathBuf>,
    /// Empty directory on the file system of `upper`, for the kernel's own use.
    pub work: Option<PathBuf>,
    /// More options as `key` or `key=value`, such as `volatile` or `index=off`.
    pub options: Vec<String>,
}

/// Longest string that `fsconfig` takes, without its final zero.
const STRING_MAX: usize = 255;
/// Longest option string that `mount(2)` takes, without its final zero.
const PAGE_MAX: usize = 4095;
const WHAT: &str = "make an overlay mount";

/// Whether this kernel was found not to know `lowerdir+`, as those before 6.8 do not. It cannot
/// learn it, and would log each further try.
static ONE_STRING_ONLY: AtomicBool = AtomicBool::new(false);

/// Mounts an overlay. A single lower directory without an upper one, which is no overlay for the
/// kernel, becomes a read-only bind mount.
///
/// # Errors
/// See [`MountError`].
pub fn overlay(mount: &OverlayMount, target: &Path) -> Result<(), MountError> {
    if let ([only], None) = (mount.lower.as_slice(), &mount.upper) {
        let flags = BindFlags {
            readonly: true,
            recursive: false,
        };
        return bind(only, target, flags);
    }
    let failed = |errno| MountError::new(WHAT, target, errno);
    if ONE_STRING_ONLY.load(Ordering::Relaxed) {
        return as_one_string(mount, target).map_err(failed);
    }
    match layer_by_layer(mount) {
        Ok(detached) => attach(detached, target),
        Err(Errno::INVAL | Errno::NOSYS) => {
            as_one_string(mount, target).map_err(failed)?;
            // Another option may be refused with the same number; that one would be here too.
            ONE_STRING_ONLY.store(true, Ordering::Relaxed);
            Ok(())
        }
        Err(errno) => Err(failed(errno)),
    }
}

fn layer_by_layer(mount: &OverlayMount) -> Result<OwnedFd, Errno> {
    let mut held = Vec::new();
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "source", "overlay")?;
    for lower in &mount.lower {
        let lower = short_path(lower, STRING_MAX, &mut held)?;
        rustix::mount::fsconfig_set_string(&context, "lowerdir+", lower)?;
    }
    for (key, path) in [("upperdir", &mount.upper), ("workdir", &mount.work)] {
        if let Some(path) = path {
            let path = short_path(path, STRING_MAX, &mut held)?;
            rustix::mount::fsconfig_set_string(&context, key, path)?;
        }
    }
    for option in &mount.options {
        match option.split_once('=') {
            Some((key, value)) => rustix::mount::fsconfig_set_string(&context, key, value)?,
            None => rustix::mount::fsconfig_set_flag(&context, option.as_str())?,
        }
    }
    rustix::mount::fsconfig_create(&context)?;
    let attributes = if mount.upper.is_none() {
        MountAttrFlags::MOUNT_ATTR_RDONLY
    } else {
        MountAttrFlags::empty()
    };
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// `mount(2)`, for kernels that take all layers in one string. When the string would not fit a
/// page, layers are named by descriptors.
pub(super) fn as_one_string(mount: &OverlayMount, target: &Path) -> Result<(), Errno> {
    let mut held = Vec::new();
    let mut data = option_string(mount, STRING_MAX, &mut held)?;
    if data.len() > PAGE_MAX {
        held.clear();
        data = option_string(mount, 0, &mut held)?;
    }
    let data = CString::new(data).map_err(|_zero| Errno::INVAL)?;
    let flags = if mount.upper.is_none() {
        MountFlags::RDONLY
    } else {
        MountFlags::empty()
    };
    rustix::mount::mount("overlay", target, "overlay", flags, &*data)
}

fn option_string(
    mount: &OverlayMount,
    longest: usize,
    held: &mut Vec<OwnedFd>,
) -> Result<Vec<u8>, Errno> {
    let mut data = b"lowerdir=".to_vec();
    for (index, lower) in mount.lower.iter().enumerate() {
        if index > 0 {
            data.push(b':');
        }
        data.extend(plain_path(lower, longest, held)?.as_bytes());
    }
    for (key, path) in [(",upperdir=", &mount.upper), (",workdir=", &mount.work)] {
        if let Some(path) = path {
            data.extend(key.as_bytes());
            data.extend(plain_path(path, longest, held)?.as_bytes());
        }
    }
    for option in &mount.options {
        data.push(b',');
        data.extend(option.as_bytes());
    }
    Ok(data)
}

/// The path, or one by descriptor when it is too long or has a character that separates.
fn plain_path(path: &Path, longest: usize, held: &mut Vec<OwnedFd>) -> Result<OsString, Errno> {
    let separates = |byte: &u8| matches!(byte, b':' | b',' | b'\\');
    let longest = if path.as_os_str().as_bytes().iter().any(separates) {
        0
    } else {
        longest
    };
    short_path(path, longest, held)
}

/// The path, or one by descriptor when it is longer than `longest`; the descriptor is added to
/// `held` and must live until the mount is made.
fn short_path(path: &Path, longest: usize, held: &mut Vec<OwnedFd>) -> Result<OsString, Errno> {
    let bytes: &OsStr = path.as_os_str();
    if bytes.len() <= longest {
        return Ok(OsString::from_vec(bytes.as_bytes().to_vec()));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
    held.push(fd);
    Ok(name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_string_names_awkward_paths_by_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let awkward = dir.path().join("a:b,c");
        std::fs::create_dir(&awkward).unwrap();
        let mount = OverlayMount {
            lower: vec![awkward, "/usr".into()],
            upper: Some("/u".into()),
            work: Some("/w".into()),
            options: vec!["volatile".into(), "index=off".into()],
        };
        let mut held = Vec::new();
        let data = option_string(&mount, STRING_MAX, &mut held).unwrap();
        let number = held[0].as_raw_fd();
        assert_eq!(held.len(), 1);
        assert_eq!(
            String::from_utf8(data).unwrap(),
            format!(
                "lowerdir=/proc/self/fd/{number}:/usr,upperdir=/u,workdir=/w,volatile,index=off"
            )
        );
    }
}
