//! `/proc/thread-self/mountinfo`, as `proc_pid_mountinfo(5)` describes it.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountInfo {
    /// Identifier, as `statx` gives it.
    pub id: u64,
    /// Identifier of the mount it lies on.
    pub parent: u64,
    /// Path within its file system that is the root of this mount.
    pub root: PathBuf,
    /// Where it is mounted, seen from the root of this process.
    pub mount_point: PathBuf,
    /// Options of the mount.
    pub options: Vec<String>,
    /// Peer group that it shares mounts with.
    pub shared: Option<u64>,
    /// Peer group that it receives mounts from.
    pub master: Option<u64>,
    /// Type of the file system.
    pub fs_type: String,
    /// Source as given to mount.
    pub source: OsString,
    /// Options of the file system.
    pub super_options: Vec<String>,
}

/// Reads the mounts that the calling thread sees, in the order of the kernel: of two on one path, the later one
/// hides the earlier.
///
/// # Errors
/// The file cannot be read, or a line cannot be understood.
pub fn read() -> io::Result<Vec<MountInfo>> {
    let bytes = std::fs::read("/proc/thread-self/mountinfo")?;
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| parse_line(line).ok_or_else(|| bad_line(line)))
        .collect()
}

fn bad_line(line: &[u8]) -> io::Error {
    let text = String::from_utf8_lossy(line);
    io::Error::other(format!("not a line of mountinfo: {text:?}"))
}

/// Parses one line, without its end.
#[must_use]
pub fn parse_line(line: &[u8]) -> Option<MountInfo> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let _device = fields.next()?;
    let root = PathBuf::from(unescape(fields.next()?));
    let mount_point = PathBuf::from(unescape(fields.next()?));
    let options = list(fields.next()?);
    let (mut shared, mut master) = (None, None);
    loop {
        let field = fields.next()?;
        if field == b"-" {
            break;
        }
        if let Some(group) = field.strip_prefix(b"shared:") {
            shared = number(group);
        } else if let Some(group) = field.strip_prefix(b"master:") {
            master = number(group);
        }
    }
    Some(MountInfo {
        id,
        parent,
        root,
        mount_point,
        options,
        shared,
        master,
        fs_type: text(fields.next()?),
        source: unescape(fields.next()?),
        super_options: list(fields.next().unwrap_or_default()),
    })
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field).into_owned()
}

fn list(field: &[u8]) -> Vec<String> {
    text(field).split(',').map(str::to_owned).collect()
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|_| byte == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(value) => {
                out.push(value);
                rest = &after[3..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn lines() {
        let plain = parse_line(b"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard").unwrap();
        assert_eq!((plain.id, plain.parent), (27, 1));
        assert_eq!(plain.mount_point, Path::new("/"));
        assert_eq!((plain.shared, plain.master), (None, None));
        assert_eq!(plain.super_options, ["rw", "discard"]);

        let both = parse_line(
            b"40 27 0:5 net:[4026532] /run/netns/a\\040b rw shared:7 master:3 - nsfs nsfs rw",
        )
        .unwrap();
        assert_eq!(both.mount_point, Path::new("/run/netns/a b"));
        assert_eq!((both.shared, both.master), (Some(7), Some(3)));
        assert_eq!(both.fs_type, "nsfs");

        for bad in [&b""[..], b"27 1 254:0 / / rw", b"x 1 0:1 / / rw - a b c"] {
            assert_eq!(parse_line(bad), None);
        }
    }

    #[test]
    fn octal() {
        for (escaped, plain) in [
            ("a\\040b", "a b"),
            ("\\134", "\\"),
            ("a\\", "a\\"),
            ("a\\9", "a\\9"),
        ] {
            assert_eq!(unescape(escaped.as_bytes()), plain, "{escaped}");
        }
    }

    #[test]
    fn the_own_file_parses() {
        let mounts = read().unwrap();
        assert!(
            mounts
                .iter()
                .any(|mount| mount.mount_point == Path::new("/"))
        );
    }
}
