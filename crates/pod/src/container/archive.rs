//! The archive of a checkpoint: names and contents as CRI-O and Podman write them, so that their
//! tools (`checkpointctl`) read ours.
//!
//! ```text
//! config.dump       of which image, under which name and identifier
//! spec.dump         the OCI spec that it ran with
//! status.dump       its state when the checkpoint was taken
//! checkpoint/       criu's images
//! dump.log          criu's log
//! stats-dump        criu's own figures
//! rootfs-diff.tar   files that the container changed
//! deleted.files     paths of the image that it removed, as a JSON list
//! ```

use std::fs::{self, File, FileType, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pinpod_kernel::path::open_in_root;
use rustix::fs::{AtFlags, OFlags};
use serde::{Deserialize, Serialize};
use tar::{Archive, Builder};

/// Directory of criu's images, in an archive and where one is made.
pub(crate) const IMAGES: &str = "checkpoint";
pub(crate) const CONFIG: &str = "config.dump";
pub(crate) const SPEC: &str = "spec.dump";
pub(crate) const STATUS: &str = "status.dump";
const ROOTFS_DIFF: &str = "rootfs-diff.tar";
const DELETED: &str = "deleted.files";

/// `config.dump`. What another runtime left out is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ConfigDump {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Identifier or reference of the image.
    pub(crate) rootfs_image: String,
    pub(crate) rootfs_image_ref: String,
    pub(crate) rootfs_image_name: String,
    pub(crate) runtime: String,
    /// RFC 3339.
    pub(crate) created_time: String,
    /// RFC 3339.
    pub(crate) checkpointed_time: String,
}

impl ConfigDump {
    /// What the image may be called here, the most exact first.
    pub(crate) fn image_names(&self) -> impl Iterator<Item = &str> {
        [
            &self.rootfs_image_ref,
            &self.rootfs_image,
            &self.rootfs_image_name,
        ]
        .into_iter()
        .map(String::as_str)
        .filter(|name| !name.is_empty())
    }
}

/// Writes the changes of a container, overlayfs's upper directory, into the directory of a
/// checkpoint.
pub(crate) fn save_changes(upper: &Path, dir: &Path) -> io::Result<()> {
    let mut tar = builder(&dir.join(ROOTFS_DIFF))?;
    let mut deleted = Vec::new();
    save_directory(&mut tar, upper, Path::new(""), &mut deleted)?;
    tar.into_inner()?.sync_all()?;
    fs::write(dir.join(DELETED), serde_json::to_vec(&deleted)?)
}

fn save_directory(
    tar: &mut Builder<File>,
    upper: &Path,
    inside: &Path,
    deleted: &mut Vec<PathBuf>,
) -> io::Result<()> {
    let mut entries = fs::read_dir(upper.join(inside))?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), inside.join(entry.file_name()));
        let metadata = fs::symlink_metadata(&path)?;
        let kind = metadata.file_type();
        if is_whiteout(kind, &metadata) {
            deleted.push(name);
        } else if kind.is_dir() {
            if is_opaque(&path) {
                deleted.push(name.clone());
            }
            tar.append_dir(&name, &path)?;
            save_directory(tar, upper, &name, deleted)?;
        } else if !kind.is_socket() {
            tar.append_path_with_name(&path, &name)?;
        }
    }
    Ok(())
}

/// Overlayfs's sign that a file of the image is gone.
fn is_whiteout(kind: FileType, metadata: &Metadata) -> bool {
    kind.is_char_device() && metadata.rdev() == 0
}

/// Overlayfs's sign that nothing of the image's directory of that name is to be seen.
fn is_opaque(path: &Path) -> bool {
    let mut value = [0; 1];
    rustix::fs::lgetxattr(path, "trusted.overlay.opaque", &mut value[..]).is_ok() && value == *b"y"
}

/// Makes one file of the directory of a checkpoint. It appears when it is whole, for root alone.
pub(crate) fn pack(dir: &Path, location: &Path) -> io::Result<()> {
    let partial = partial(location);
    let packed = write_archive(dir, &partial).and_then(|()| fs::rename(&partial, location));
    if packed.is_err() {
        remove(&partial)?;
    }
    packed
}

fn write_archive(dir: &Path, partial: &Path) -> io::Result<()> {
    let mut tar = builder(partial)?;
    let mut entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    // Who reads an archive wants `config.dump` first, and criu's pages last.
    entries.sort_by_key(|entry| (entry.path().is_dir(), entry.file_name()));
    for entry in entries {
        if entry.file_type()?.is_dir() {
            tar.append_dir_all(entry.file_name(), entry.path())?;
        } else {
            tar.append_path_with_name(entry.path(), entry.file_name())?;
        }
    }
    tar.into_inner()?.sync_all()
}

fn builder(path: &Path) -> io::Result<Builder<File>> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut tar = Builder::new(options.open(path)?);
    tar.follow_symlinks(false);
    Ok(tar)
}

fn partial(location: &Path) -> PathBuf {
    let mut name = location.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// Removes a file or a tree; what is not there is gone already.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Reads `config.dump` of an archive, without reading criu's pages.
pub(crate) fn read_config(archive: &Path) -> io::Result<ConfigDump> {
    let mut archive = Archive::new(File::open(archive)?);
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        if entry.path()?.as_ref() == Path::new(CONFIG) {
            return Ok(serde_json::from_reader(entry)?);
        }
    }
    parse_config(None)
}

/// Reads `config.dump` as a file, if there is one.
pub(crate) fn parse_config(text: Option<&[u8]>) -> io::Result<ConfigDump> {
    let Some(text) = text else {
        let what = format!("it has no {CONFIG}: it is not a checkpoint");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    };
    Ok(serde_json::from_slice(text)?)
}

/// Unpacks criu's images into `dir`, and brings the container's changes into its root file system.
pub(crate) fn unpack(archive: &Path, dir: &Path, rootfs: &Path) -> io::Result<()> {
    let mut archive = Archive::new(File::open(archive)?);
    archive.set_preserve_permissions(true);
    fs::create_dir_all(dir)?;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let wanted = WANTED.iter().any(|name| path.starts_with(name));
        let kind = entry.header().entry_type();
        if wanted && (kind.is_file() || kind.is_dir()) {
            entry.unpack_in(dir)?;
        }
    }
    apply_changes(dir, rootfs)
}

/// What a restore reads.
const WANTED: [&str; 3] = [IMAGES, ROOTFS_DIFF, DELETED];

/// As [`unpack`], of an archive's entries in a directory.
pub(crate) fn copy(from: &Path, dir: &Path, rootfs: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for name in WANTED {
        match copy_tree(&from.join(name), &dir.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            copied => copied?,
        }
    }
    apply_changes(dir, rootfs)
}

/// Copies files and directories; criu writes nothing else.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(from)?;
    if metadata.is_file() {
        return fs::copy(from, to).map(drop);
    }
    if !metadata.is_dir() {
        return Ok(());
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        copy_tree(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

/// What was removed goes first: a directory that took the place of another is in both lists.
fn apply_changes(dir: &Path, rootfs: &Path) -> io::Result<()> {
    match fs::read(dir.join(DELETED)) {
        Ok(text) => {
            let deleted: Vec<PathBuf> = serde_json::from_slice(&text)?;
            let root = File::open(rootfs)?;
            for path in deleted {
                delete_in_root(&root, rootfs, &path)?;
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let changes = match File::open(dir.join(ROOTFS_DIFF)) {
        Ok(changes) => changes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut changes = Archive::new(changes);
    changes.set_preserve_permissions(true);
    changes.set_preserve_ownerships(true);
    changes.set_preserve_mtime(true);
    changes.set_overwrite(true);
    changes.unpack(rootfs)
}

/// Removes a path of the root file system. Symbolic links in it lead nowhere outside.
fn delete_in_root(root: &File, rootfs: &Path, path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(());
    };
    // A name alone lies in the root directory.
    let parent = Path::new(".").join(parent.strip_prefix("/").unwrap_or(parent));
    let opened = match open_in_root(root, &parent, OFlags::PATH | OFlags::DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    match rustix::fs::unlinkat(&opened, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(rustix::io::Errno::ISDIR) => {
            let target = rootfs.join(path.strip_prefix("/").unwrap_or(path));
            let real = fs::canonicalize(&target)?;
            if real.starts_with(fs::canonicalize(rootfs)?) {
                fs::remove_dir_all(real)
            } else {
                Err(io::Error::other(
                    "a removed path leads out of the root file system",
                ))
            }
        }
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        let temporary = tempfile::tempdir().unwrap();
        let path = |name: &str| temporary.path().join(name);
        for dir in ["work/checkpoint", "upper/etc", "rootfs/etc"] {
            fs::create_dir_all(path(dir)).unwrap();
        }
        fs::write(path("work/checkpoint/core-1.img"), "core").unwrap();
        fs::write(path("work/dump.log"), "fine").unwrap();
        let config = ConfigDump {
            rootfs_image_name: "busybox".into(),
            rootfs_image: "sha256:1".into(),
            ..ConfigDump::default()
        };
        fs::write(
            path("work/config.dump"),
            serde_json::to_vec(&config).unwrap(),
        )
        .unwrap();
        fs::write(path("upper/etc/new"), "new").unwrap();
        std::os::unix::fs::symlink("new", path("upper/etc/link")).unwrap();
        fs::write(path("rootfs/etc/old"), "old").unwrap();
        save_changes(&path("upper"), &path("work")).unwrap();
        fs::write(path("work/deleted.files"), r#"["etc/old", "no/such"]"#).unwrap();
        pack(&path("work"), &path("c.tar")).unwrap();
        assert!(!path("c.tar.partial").try_exists().unwrap());

        let read = read_config(&path("c.tar")).unwrap();
        assert_eq!(read, config);
        assert_eq!(
            read.image_names().collect::<Vec<_>>(),
            ["sha256:1", "busybox"]
        );
        unpack(&path("c.tar"), &path("restore"), &path("rootfs")).unwrap();
        let core = fs::read(path("restore/checkpoint/core-1.img")).unwrap();
        assert_eq!(core, b"core");
        assert_eq!(fs::read(path("rootfs/etc/link")).unwrap(), b"new");
        assert!(!path("rootfs/etc/old").try_exists().unwrap());
        assert!(
            !path("restore/dump.log").try_exists().unwrap(),
            "not needed"
        );
    }

    #[test]
    fn another_archive_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("a.tar");
        let mut tar = builder(&path).unwrap();
        tar.append_dir("d", temporary.path()).unwrap();
        tar.into_inner().unwrap();
        let error = read_config(&path).unwrap_err();
        assert!(error.to_string().contains("config.dump"), "{error}");
    }

    #[test]
    fn a_directory_is_as_good_as_an_archive() {
        let temporary = tempfile::tempdir().unwrap();
        let path = |name: &str| temporary.path().join(name);
        for dir in ["image/checkpoint/sub", "upper", "rootfs/etc"] {
            fs::create_dir_all(path(dir)).unwrap();
        }
        fs::write(path("image/checkpoint/sub/core"), "core").unwrap();
        std::os::unix::fs::symlink("/etc/shadow", path("image/checkpoint/link")).unwrap();
        fs::write(path("image/dump.log"), "fine").unwrap();
        fs::write(path("upper/new"), "new").unwrap();
        save_changes(&path("upper"), &path("image")).unwrap();
        fs::write(path("image/deleted.files"), r#"["etc"]"#).unwrap();
        copy(&path("image"), &path("restore"), &path("rootfs")).unwrap();
        let core = fs::read(path("restore/checkpoint/sub/core")).unwrap();
        assert_eq!(core, b"core");
        assert_eq!(fs::read(path("rootfs/new")).unwrap(), b"new");
        for gone in ["restore/checkpoint/link", "restore/dump.log", "rootfs/etc"] {
            assert!(fs::symlink_metadata(path(gone)).is_err(), "{gone}");
        }
    }
}
