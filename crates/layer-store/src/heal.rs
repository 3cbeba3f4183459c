//! The start of the store: make its directories, drop what a crash tore, and read the rest.

use std::collections::HashMap;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pinpod_model::{Classify, ContainerId, Digest, ErrorClass};
use pinpod_record::{RecordError, clean_temporary, read_json};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::rootfs::{Rootfs, RootfsRecord};
use crate::store::{Index, LayerRecord};
use crate::trash;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A directory cannot be made or read.
    #[error("cannot use {} for the layer store", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another process has the store open.
    #[error("the store at {} is in use by another process", path.display())]
    Locked {
        /// Root of the store.
        path: PathBuf,
    },
}

impl Classify for OpenError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Io { .. } => ErrorClass::Internal,
            Self::Locked { .. } => ErrorClass::FailedPrecondition,
        }
    }
}

pub(crate) struct Opened {
    pub(crate) boot: String,
    pub(crate) index: Index,
    pub(crate) rootfs: HashMap<ContainerId, Rootfs>,
    pub(crate) lock: OwnedFd,
}

pub(crate) fn open(root: &Path) -> Result<Opened, OpenError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { path, source }
    };
    for name in ["layers", "staging", "trash", "containers"] {
        let path = root.join(name);
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&path);
        made.map_err(failed(&path))?;
    }
    let lock = lock(root)?;
    let boot_path = Path::new("/proc/sys/kernel/random/boot_id");
    let boot = std::fs::read_to_string(boot_path).map_err(failed(boot_path))?;
    let boot = boot.trim().to_owned();
    let staging = root.join("staging");
    clear_staging(root, &staging).map_err(failed(&staging))?;
    let layers = root.join("layers");
    let index = read_layers(root, &layers, &boot).map_err(failed(&layers))?;
    let containers = root.join("containers");
    let rootfs = read_rootfs(root, &containers, &index).map_err(failed(&containers))?;
    Ok(Opened {
        boot,
        index,
        rootfs,
        lock,
    })
}

fn lock(root: &Path) -> Result<OwnedFd, OpenError> {
    let path = root.join("lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let locked = rustix::fs::open(&path, flags, mode).and_then(|fd| {
        rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive)?;
        Ok(fd)
    });
    locked.map_err(|errno| match errno {
        Errno::WOULDBLOCK => OpenError::Locked {
            path: root.to_owned(),
        },
        errno => OpenError::Io {
            path,
            source: errno.into(),
        },
    })
}

/// What is here belongs to nobody: its process is gone. It may have had layers mounted in it.
fn clear_staging(root: &Path, staging: &Path) -> io::Result<()> {
    let left: Vec<PathBuf> = list(staging)?;
    if left.is_empty() {
        return Ok(());
    }
    let real = std::fs::canonicalize(staging)?;
    let mut mounts = pinpod_kernel::mountinfo::read()?;
    mounts.retain(|mount| mount.mount_point.starts_with(&real));
    for mount in mounts.iter().rev() {
        pinpod_kernel::mount::unmount(&mount.mount_point).map_err(io::Error::other)?;
    }
    for path in left {
        tracing::info!(path = %path.display(), "removing an unpack that was interrupted");
        trash::throw(root, &path)?;
    }
    Ok(())
}

fn read_layers(root: &Path, dir: &Path, boot: &str) -> io::Result<Index> {
    let mut index = Index::default();
    for path in list(dir)? {
        match read_layer(&path, boot) {
            Ok(record) => {
                let key = record.layer.key.clone();
                if record.unsynced_since_boot.is_some() {
                    index.unsynced.insert(key.clone());
                }
                index.layers.insert(key, Arc::new(record.layer));
            }
            Err(reason) => {
                tracing::warn!(path = %path.display(), reason, "dropping a torn layer");
                trash::throw(root, &path)?;
            }
        }
    }
    Ok(index)
}

fn read_layer(path: &Path, boot: &str) -> Result<LayerRecord, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let text = |error: RecordError| error.to_string();
    clean_temporary(path).map_err(text)?;
    let record: Option<LayerRecord> = read_json(&path.join("layer.json")).map_err(text)?;
    let record = record.ok_or("it has no record")?;
    let key: Result<Digest, _> = format!("sha256:{name}").parse();
    if key.ok().as_ref() != Some(&record.layer.key) {
        return Err("its record is that of another layer".to_owned());
    }
    if !path.join("diff").is_dir() {
        return Err("it has no content".to_owned());
    }
    if record
        .unsynced_since_boot
        .as_ref()
        .is_some_and(|since| since != boot)
    {
        return Err("the machine went down before it was on the disk".to_owned());
    }
    Ok(record)
}

fn read_rootfs(root: &Path, dir: &Path, index: &Index) -> io::Result<HashMap<ContainerId, Rootfs>> {
    let mut found = HashMap::new();
    for path in list(dir)? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let record = read_json::<RootfsRecord>(&path.join("rootfs.json"));
        let rootfs = record.ok().flatten().and_then(|record| {
            let layers = record
                .layers
                .iter()
                .map(|key| index.layers.get(key).cloned());
            Some(Rootfs {
                layers: layers.collect::<Option<Vec<_>>>()?,
                record,
            })
        });
        match (name.parse::<ContainerId>(), rootfs) {
            (Ok(id), Some(rootfs)) => {
                found.insert(id, rootfs);
            }
            (_, _) => {
                tracing::warn!(path = %path.display(), "dropping a torn root file system");
                trash::throw(root, &path)?;
            }
        }
    }
    Ok(found)
}

fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    std::fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect()
}
