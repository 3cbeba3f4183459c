//! Containers made from a checkpoint: CreateContainer whose image is the path of an archive makes
//! root file system and bundle, StartContainer has the OCI runtime restore the processes into them
//! and into the namespaces of their new pod.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pinpod_kernel::namespace::enter_thread;
use pinpod_kernel::process::{self, ProcessIdentity};
use pinpod_model::{ContainerConfig, ContainerId};
use pinpod_oci_runtime::{CheckpointDirs, Status, first_error};
use serde_json::Value;

use super::create::run_runtime;
use super::{Context, archive, mounts};
use crate::driver::Chain;
use crate::error::{ContainerError, CreateContainerError, FileError};
use crate::record::ContainerRecord;
use crate::sandbox::{blocking, now, own_hostname};
use crate::settings::{Handler, Parts};

/// The archive that a request names in place of an image. The request is left with the image that
/// the checkpoint was taken of.
pub(crate) async fn archive_of(
    parts: &Arc<Parts>,
    config: &mut ContainerConfig,
) -> Result<Option<PathBuf>, CreateContainerError> {
    let path = PathBuf::from(&config.image.image);
    if !path.is_absolute() {
        return Ok(None);
    }
    let read = path.clone();
    let dump = blocking(move || archive::read_config(&read)).await;
    let dump = dump.map_err(|source| CreateContainerError::Checkpoint {
        path: path.clone(),
        source,
    })?;
    let known = dump
        .image_names()
        .find(|name| parts.images.resolve(name).is_some());
    match known {
        Some(name) => config.image.image = name.to_owned(),
        None => {
            let names: Vec<&str> = dump.image_names().collect();
            let image = names.join(", ");
            return Err(CreateContainerError::CheckpointImage { path, image });
        }
    }
    Ok(Some(path))
}

/// Brings what the archive has to where the restore will look for it.
pub(super) async fn prepare(
    context: &Context,
    handler: &Handler,
    record: &ContainerRecord,
    archive: &Path,
) -> Result<(), CreateContainerError> {
    if let Some(lack) = handler.runtime.lacks_for_checkpoint().await {
        return Err(CreateContainerError::NoCheckpoints {
            handler: handler.name.clone(),
            lack,
        });
    }
    let bundle = context.dirs.container(&record.id);
    let dir = dir(context, &record.id);
    let (from, to, rootfs) = (archive.to_owned(), dir.clone(), bundle.join("rootfs"));
    let unpacked = blocking(move || archive::unpack(&from, &to, &rootfs)).await;
    unpacked.map_err(|source| CreateContainerError::Checkpoint {
        path: archive.to_owned(),
        source,
    })?;
    let path = bundle.join("config.json");
    let failed = |source| FileError {
        path: path.clone(),
        source,
    };
    Ok(configure_criu(&path, &dir.join("criu.conf")).map_err(failed)?)
}

/// The new pod has another address, so the other ends of connections are out of reach.
fn configure_criu(spec: &Path, conf: &Path) -> std::io::Result<()> {
    std::fs::write(conf, "tcp-close\n")?;
    let mut json: Value = serde_json::from_slice(&std::fs::read(spec)?)?;
    json["annotations"]["org.criu.config"] = conf.to_string_lossy().into();
    std::fs::write(spec, serde_json::to_vec(&json)?)
}

fn dir(context: &Context, id: &ContainerId) -> PathBuf {
    context.parts.images.container_dir(id).join("restore")
}

/// Restores the processes. After a failure the container is as it was, and can be tried again.
pub(crate) async fn restore(
    context: &Context,
    record: &ContainerRecord,
) -> Result<ProcessIdentity, ContainerError> {
    let handler = context
        .handler()
        .ok_or_else(|| ContainerError::NoHandler(context.handler.clone()))?;
    let plugins = &context.parts.plugins;
    let refused = |source| ContainerError::Plugin {
        id: record.id.clone(),
        source,
    };
    plugins.start_container(&record.id).await.map_err(refused)?;
    let dir = dir(context, &record.id);
    let images = dir.join(archive::IMAGES);
    let dirs = CheckpointDirs {
        images: &images,
        work: &dir,
    };
    let restored = run_runtime(context, handler, record, Some(dirs)).await;
    keep_hostname(context).await;
    match &restored {
        Ok(process) => {
            let bundle = context.dirs.container(&record.id);
            if let Err(error) = mounts::unstage(&bundle).await {
                tracing::warn!(container = %record.id, error = %Chain(&error), "a mount is left");
            }
            let restored = Some(*process);
            plugins.container_started(&record.id, restored, now()).await;
        }
        Err(_) => undo(context, handler, &record.id).await,
    }
    let log = tokio::fs::read(dir.join("restore.log")).await;
    let log = String::from_utf8_lossy(&log.unwrap_or_default()).into_owned();
    if restored.is_ok() {
        // The images are of no use any more, and as large as the container's memory was.
        super::checkpoint::discard(dir).await;
    }
    restored.map_err(|source| ContainerError::Restore {
        id: record.id.clone(),
        reason: first_error(&log).unwrap_or_else(|| "criu names no reason".to_owned()),
        source: Box::new(source),
    })
}

/// Criu gives the pod the host name of the one that the checkpoint was taken in.
async fn keep_hostname(context: &Context) {
    let Some(uts) = context.namespaces.uts.clone() else {
        return;
    };
    let name = own_hostname(&context.pod, &context.pod_config);
    let set = move || enter_thread(&[&uts], || rustix::system::sethostname(name.as_bytes()));
    match blocking(set).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(pod = %context.pod, %error, "its host name has changed"),
        Err(error) => {
            tracing::warn!(pod = %context.pod, error = %Chain(&error), "its host name has changed");
        }
    }
}

async fn undo(context: &Context, handler: &Handler, id: &ContainerId) {
    if let Err(error) = handler.runtime.delete(id, true).await {
        tracing::warn!(container = %id, error = %Chain(&error), "a failed restore is left");
    }
    if let Ok(client) = context.monitor.connect().await
        && let Err(error) = client.forget(id.clone()).await
    {
        tracing::debug!(container = %id, error = %Chain(&error), "not forgotten");
    }
}

/// The process of a container that a former daemon may have restored without noting it.
pub(crate) async fn restored_process(
    context: &Context,
    id: &ContainerId,
) -> Option<ProcessIdentity> {
    let state = context.handler()?.runtime.state(id).await.ok()?;
    if state.status != Status::Running {
        return None;
    }
    let pid = u32::try_from(state.pid).ok()?;
    process::identify(pid).ok().flatten()
}
