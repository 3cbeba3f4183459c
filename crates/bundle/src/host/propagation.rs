//! Whether the mounts of the node propagate as a request needs, and sources that are not there yet.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pinpod_model::{Mount, MountPropagation};

use crate::SpecError;

/// Checks that each mount that should propagate comes from a place that does: `rshared` needs a
/// shared mount of the node, `rslave` a shared or a slave one (mount_namespaces(7)).
///
/// # Errors
/// [`SpecError::Propagation`] names the source and the node's mount.
pub fn check_propagation(mounts: &[Mount]) -> Result<(), SpecError> {
    let asks = |mount: &&Mount| mount.propagation != MountPropagation::Private;
    if !mounts.iter().any(|mount| asks(&mount)) {
        return Ok(());
    }
    let mountinfo = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    for mount in mounts.iter().filter(asks) {
        let given = PathBuf::from(&mount.host_path);
        let path = std::fs::canonicalize(&given).unwrap_or(given);
        check_one(&mountinfo, &path, mount.propagation)?;
    }
    Ok(())
}

/// Makes a directory for each source that is not there, as the other runtimes do for a `hostPath`
/// without a type.
///
/// # Errors
/// The path, and why it cannot be made.
pub fn create_missing_sources(mounts: &[Mount]) -> Result<(), (PathBuf, std::io::Error)> {
    for mount in mounts.iter().filter(|mount| !mount.host_path.is_empty()) {
        let path = Path::new(&mount.host_path);
        if std::fs::metadata(path).is_err() {
            std::fs::create_dir_all(path).map_err(|error| (path.to_owned(), error))?;
        }
    }
    Ok(())
}

/// How a mount of the node propagates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Peers {
    shared: bool,
    slave: bool,
}

fn check_one(
    mountinfo: &[u8],
    path: &Path,
    propagation: MountPropagation,
) -> Result<(), SpecError> {
    // Without a mount to look at, the OCI runtime will find the error itself.
    let Some((mount, peers)) = mount_of(mountinfo, path) else {
        return Ok(());
    };
    let (wanted, enough) = match propagation {
        MountPropagation::Private => return Ok(()),
        MountPropagation::HostToContainer => ("rslave", peers.shared || peers.slave),
        MountPropagation::Bidirectional => ("rshared", peers.shared),
    };
    if enough {
        return Ok(());
    }
    Err(SpecError::Propagation {
        path: path.to_owned(),
        mount,
        wanted,
        found: if peers.slave { "slave" } else { "private" },
    })
}

/// The mount that holds `path`: the longest mount point above it, and of equal ones the last, which
/// lies on top (proc_pid_mountinfo(5)).
fn mount_of(mountinfo: &[u8], path: &Path) -> Option<(PathBuf, Peers)> {
    let mut best: Option<(PathBuf, Peers)> = None;
    for line in mountinfo.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b' ');
        let Some(point) = fields.nth(4).map(unescape) else {
            continue;
        };
        if !path.starts_with(&point) {
            continue;
        }
        let mut peers = Peers {
            shared: false,
            slave: false,
        };
        for option in fields.skip(1).take_while(|field| *field != b"-") {
            peers.shared |= option.starts_with(b"shared:");
            peers.slave |= option.starts_with(b"master:");
        }
        let length = |path: &Path| path.components().count();
        if best
            .as_ref()
            .is_none_or(|(best, _)| length(&point) >= length(best))
        {
            best = Some((point, peers));
        }
    }
    best
}

/// Undoes the kernel's octal escapes of space, tab, line break and backslash.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
23 22 0:5 / /proc rw shared:5 - proc proc rw
30 22 0:30 / /var/lib rw master:7 - tmpfs t rw
31 22 0:31 / /mnt/with\\040space rw shared:9 master:2 - tmpfs t rw
32 22 0:32 / /over rw shared:3 - tmpfs a rw
33 32 0:33 / /over rw - tmpfs b rw
";

    #[test]
    fn who_propagates() {
        use MountPropagation::{Bidirectional, HostToContainer, Private};
        for (path, propagation, fine) in [
            ("/etc", Private, true),
            ("/etc", HostToContainer, false),
            ("/etc", Bidirectional, false),
            ("/proc/sys", Bidirectional, true),
            ("/processes", Bidirectional, false),
            ("/var/lib/kubelet", HostToContainer, true),
            ("/var/lib/kubelet", Bidirectional, false),
            ("/mnt/with space/x", Bidirectional, true),
            ("/over/x", HostToContainer, false),
        ] {
            assert_eq!(
                check_one(MOUNTS, Path::new(path), propagation).is_ok(),
                fine,
                "{path}"
            );
        }
        let error = check_one(MOUNTS, Path::new("/var/lib/k"), Bidirectional).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/var/lib/k cannot be mounted with rshared propagation: it is on the slave mount /var/lib"
        );
    }
}
