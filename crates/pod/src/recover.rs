//! After a restart: the records become drivers again.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pinpod_model::{ContainerId, PodId};

use crate::container;
use crate::driver::{self, Chain};
use crate::index::Index;
use crate::record::{ContainerRecord, PodPhase, PodRecord, RecordDirs, VERSION};
use crate::sandbox;
use crate::settings::Parts;

/// The directories of the records cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the directory of records {path}", path = .path.display())]
pub struct RecoverError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Starts a driver for every pod that the records name, and removes what no record claims.
pub(crate) async fn recover(parts: &Arc<Parts>, index: &Arc<Index>) -> Result<(), RecoverError> {
    let dirs = RecordDirs::new(parts.settings.runroot());
    make_directory(&dirs.pods())?;
    make_directory(&dirs.containers())?;
    let mut known = HashSet::new();
    let mut containers: HashMap<PodId, Vec<ContainerRecord>> = HashMap::new();
    for id in entries::<ContainerId>(&dirs.containers())? {
        match dirs.read_container(&id) {
            Ok(Some(record)) if record.version == VERSION => {
                // What a container holds of its image is known again before anything can be
                // removed.
                parts.images.hold(&record.image, record.id.as_str());
                container::hold_images(parts, &record);
                known.insert(record.id.clone());
                containers
                    .entry(record.pod.clone())
                    .or_default()
                    .push(record);
            }
            Ok(None) => remove_unrecorded(&dirs.container(&id)),
            other => complain("container", id.as_str(), other.map(drop)),
        }
    }
    let mut pods = Vec::new();
    for id in entries::<PodId>(&dirs.pods())? {
        match dirs.read_pod(&id) {
            Ok(Some(record)) if record.version == VERSION => {
                pods.push(id.clone());
                if record.phase == PodPhase::Creating {
                    // Nobody has seen it, so its key must be free: whoever asks again gets a new one.
                    let parts = Arc::clone(parts);
                    tokio::spawn(async move { sandbox::abandon(&parts, &record).await });
                    continue;
                }
                let mut of_pod = containers.remove(&id).unwrap_or_default();
                of_pod.sort_by_key(|container| container.created_at);
                resume(parts, index, record, of_pod);
            }
            Ok(None) => remove_unrecorded(&dirs.pod(&id)),
            other => complain("pod sandbox", id.as_str(), other.map(drop)),
        }
    }
    remove_lost_rootfs(parts, &known).await;
    for orphan in containers.into_values().flatten() {
        tracing::warn!(container = %orphan.id, pod = %orphan.pod, "its pod sandbox has no record");
    }
    for error in parts.network.gc(&pods).await {
        tracing::warn!(error = %Chain(&error), "cannot collect old network attachments");
    }
    Ok(())
}

/// A crash between the making of a directory and its record leaves one that holds nothing: what a
/// pod or container has is made after the record.
fn remove_unrecorded(directory: &Path) {
    tracing::info!(directory = %directory.display(), "removing a directory without a record");
    if let Err(error) = sandbox::remove_tree(directory) {
        tracing::warn!(directory = %directory.display(), %error, "cannot remove it");
    }
}

/// Records end with a reboot, writable layers do not.
async fn remove_lost_rootfs(parts: &Parts, known: &HashSet<ContainerId>) {
    let lost = parts.images.rootfs_containers();
    for container in lost.iter().filter(|container| !known.contains(container)) {
        tracing::info!(%container, "removing the root file system of a container that is gone");
        if let Err(error) = parts.images.remove_rootfs(container).await {
            tracing::warn!(%container, error = %Chain(&error), "cannot remove it");
        }
    }
}

fn resume(
    parts: &Arc<Parts>,
    index: &Arc<Index>,
    record: PodRecord,
    containers: Vec<ContainerRecord>,
) {
    let (key, id) = (record.config.metadata.clone(), record.id.clone());
    let dirs = RecordDirs::new(parts.settings.runroot());
    parts.plugins.take_up(&record, &containers, &dirs);
    let handle = driver::resume(Arc::clone(parts), Arc::clone(index), record, containers);
    index.insert(key, id, handle);
}

fn complain(what: &str, id: &str, read: Result<(), pinpod_record::RecordError>) {
    match read {
        Ok(()) => tracing::warn!(id, "{what} has no record that this version can read"),
        Err(error) => tracing::warn!(id, error = %Chain(&error), "{what} has a bad record"),
    }
}

fn make_directory(path: &Path) -> Result<(), RecoverError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(path)
        .map_err(|source| RecoverError {
            path: path.to_owned(),
            source,
        })
}

/// The names in a directory that are identifiers.
fn entries<I: std::str::FromStr>(path: &Path) -> Result<Vec<I>, RecoverError> {
    let error = |source| RecoverError {
        path: path.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(error)? {
        if let Some(id) = entry
            .map_err(error)?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        {
            found.push(id);
        }
    }
    Ok(found)
}
