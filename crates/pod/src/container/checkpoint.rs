//! CheckpointContainer: an archive of a container's processes and files; the container runs on.
//!
//! The container is frozen while its memory and its files are written, so that they fit together.
//! The directory in which the archive is gathered is made before the freeze and removed after it:
//! one that a crash left says that there is something to thaw.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pinpod_kernel::process::ProcessIdentity;
use pinpod_model::ContainerId;
use pinpod_oci_runtime::{CheckpointDirs, RuntimeError, first_error};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Context;
use super::archive::{self, ConfigDump};
use crate::driver::Chain;
use crate::error::{ContainerError, FileError};
use crate::sandbox::{blocking, now};
use crate::settings::Handler;
use crate::snapshot::{ContainerPhase, ContainerSnapshot, UnixNanos};

/// Takes a checkpoint of a running container and writes it to `location`. Nothing but that file is
/// left, and not even that after a failure.
pub(crate) async fn checkpoint(
    context: &Context,
    container: &Arc<ContainerSnapshot>,
    location: &Path,
) -> Result<(), ContainerError> {
    let handler = context
        .handler()
        .ok_or_else(|| ContainerError::NoHandler(context.handler.clone()))?;
    if let Some(lack) = handler.runtime.lacks_for_checkpoint().await {
        return Err(ContainerError::NoCheckpoints {
            handler: handler.name.clone(),
            lack,
        });
    }
    let dir = gathering_dir(context, &container.id);
    let made = dir.clone();
    on_disk(&dir, move || {
        archive::remove(&made)?;
        std::fs::create_dir_all(made.join(archive::IMAGES))
    })
    .await?;
    let taken = take(context, handler, container, &dir).await;
    let packed = match taken {
        Ok(()) => {
            let (dir, target) = (dir.clone(), location.to_owned());
            on_disk(location, move || archive::pack(&dir, &target)).await
        }
        Err(error) => Err(error),
    };
    let gathered = dir.clone();
    if let Err(error) = on_disk(&dir, move || archive::remove(&gathered)).await {
        tracing::warn!(container = %container.id, error = %Chain(&error), "a checkpoint is left");
    }
    packed
}

fn gathering_dir(context: &Context, id: &ContainerId) -> PathBuf {
    context.parts.images.container_dir(id).join("checkpoint")
}

/// Removes an archive that nobody waits for any more.
pub(crate) async fn discard(location: PathBuf) {
    let path = location.clone();
    if let Err(error) = on_disk(&location, move || archive::remove(&path)).await {
        tracing::warn!(error = %Chain(&error), "cannot remove a checkpoint that came too late");
    }
}

/// After a crash: thaws a container that was frozen for a checkpoint.
pub(crate) async fn give_up(context: &Context, id: &ContainerId) {
    let dir = gathering_dir(context, id);
    if !dir.try_exists().unwrap_or(false) {
        return;
    }
    tracing::warn!(container = %id, "a checkpoint of it was not finished");
    if let Some(handler) = context.handler()
        && let Err(error) = handler.runtime.resume(id).await
    {
        // It is an error to thaw what is not frozen.
        tracing::info!(container = %id, error = %Chain(&error), "not thawed");
    }
    discard(dir).await;
}

/// Runs file operations aside; an error names `path`.
pub(super) async fn on_disk<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ContainerError> {
    let path = path.to_owned();
    let failed = |source| FileError { path, source }.into();
    blocking(work).await.map_err(failed)
}

/// Freezes, gathers, thaws.
async fn take(
    context: &Context,
    handler: &Handler,
    container: &Arc<ContainerSnapshot>,
    dir: &Path,
) -> Result<(), ContainerError> {
    let id = &container.id;
    handler.runtime.pause(id).await?;
    let gathered = gather(context, handler, container, dir).await;
    let thawed = handler.runtime.resume(id).await;
    gathered?;
    Ok(thawed?)
}

async fn gather(
    context: &Context,
    handler: &Handler,
    container: &Arc<ContainerSnapshot>,
    dir: &Path,
) -> Result<(), ContainerError> {
    let images = dir.join(archive::IMAGES);
    let dirs = CheckpointDirs {
        images: &images,
        work: dir,
    };
    let id = &container.id;
    if let Err(error) = handler.runtime.checkpoint(id, dirs).await {
        return Err(explain(id, error, &dir.join("dump.log")).await);
    }
    let upper = context.parts.images.container_dir(id).join("upper");
    let container = Arc::clone(container);
    let handler = handler.name.clone();
    let target = dir.to_owned();
    on_disk(dir, move || {
        archive::save_changes(&upper, &target)?;
        describe(&container, &handler, &target)
    })
    .await
}

/// The runtime only points at criu's log.
async fn explain(id: &ContainerId, error: RuntimeError, log: &Path) -> ContainerError {
    let log = tokio::fs::read(log).await.unwrap_or_default();
    match first_error(&String::from_utf8_lossy(&log)) {
        Some(reason) => ContainerError::Criu {
            id: id.clone(),
            reason,
            source: error,
        },
        None => error.into(),
    }
}

/// The files that say of what the checkpoint is.
fn describe(container: &ContainerSnapshot, handler: &str, dir: &Path) -> io::Result<()> {
    let image = &container.config.image;
    let asked = [&image.user_specified, &image.image];
    let name = asked.into_iter().find(|name| !name.is_empty());
    let config = ConfigDump {
        id: container.id.to_string(),
        name: container.config.metadata.name.clone(),
        rootfs_image: container.image.to_string(),
        rootfs_image_ref: container.image_ref.clone(),
        rootfs_image_name: name.cloned().unwrap_or_default(),
        runtime: handler.to_owned(),
        created_time: rfc3339(container.created_at),
        checkpointed_time: rfc3339(now()),
    };
    let started_at = match container.phase {
        ContainerPhase::Running { started_at, .. } => started_at,
        _ => 0,
    };
    let process: Option<ProcessIdentity> = container.phase.process();
    let status = json!({
        "id": container.id,
        "state": "CONTAINER_RUNNING",
        "createdAt": rfc3339(container.created_at),
        "startedAt": rfc3339(started_at),
        "pid": process.map_or(0, |process| process.pid),
        "labels": container.config.labels,
        "annotations": container.config.annotations,
    });
    std::fs::write(dir.join(archive::CONFIG), serde_json::to_vec(&config)?)?;
    std::fs::write(dir.join(archive::STATUS), serde_json::to_vec(&status)?)?;
    std::fs::copy(
        container.bundle.join("config.json"),
        dir.join(archive::SPEC),
    )
    .map(drop)
}

fn rfc3339(time: UnixNanos) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(time.into())
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}
