//! Containers made from a checkpoint: CreateContainer whose image is the path of an archive, or an
//! image of an archive's files, makes root file system and bundle; StartContainer has the OCI runtime
//! restore the processes into them and into the namespaces of their new pod.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pinpod_kernel::mount;
use pinpod_kernel::namespace::enter_thread;
use pinpod_kernel::process::{self, ProcessIdentity};
use pinpod_model::{ContainerConfig, ContainerId, ImageId};
use pinpod_oci_runtime::{CheckpointDirs, Status, first_error};
use serde_json::Value;

use super::archive::ConfigDump;
use super::create::run_runtime;
use super::{Context, archive, mounts};
use crate::driver::Chain;
use crate::error::{ContainerError, CreateContainerError, FileError};
use crate::record::{Checkpoint, ContainerRecord};
use crate::sandbox::{blocking, now, own_hostname};
use crate::settings::{Handler, Parts};

/// Annotations of images that have the files of a checkpoint's archive, with the container's name:
/// criu's own, which containerd and CRI-O know, and CRI-O's former one.
const ANNOTATIONS: [&str; 2] = [
    "org.criu.checkpoint.container.name",
    "io.kubernetes.cri-o.annotations.checkpoint.name",
];

/// The checkpoint that a request names in place of an image. The request is left with the image that
/// the checkpoint was taken of, which is pulled if it is not here: no kubelet knows that it is needed.
pub(crate) async fn checkpoint_of(
    parts: &Arc<Parts>,
    config: &mut ContainerConfig,
) -> Result<Option<Checkpoint>, CreateContainerError> {
    let Some(checkpoint) = named_checkpoint(parts, &config.image.image) else {
        return Ok(None);
    };
    let dump = read_config(parts, &checkpoint).await?;
    let known = dump
        .image_names()
        .find(|name| parts.images.resolve(name).is_some());
    config.image.image = match known {
        Some(name) => name.to_owned(),
        None => pull_base(parts, &checkpoint, &dump).await?,
    };
    Ok(Some(checkpoint))
}

fn named_checkpoint(parts: &Parts, image: &str) -> Option<Checkpoint> {
    if Path::new(image).is_absolute() {
        return Some(Checkpoint::Archive(image.into()));
    }
    let image = parts.images.resolve(image)?;
    let is_checkpoint = ANNOTATIONS
        .iter()
        .any(|name| image.annotations.contains_key(*name));
    is_checkpoint.then(|| Checkpoint::Image(image.id.clone()))
}

async fn read_config(
    parts: &Parts,
    checkpoint: &Checkpoint,
) -> Result<ConfigDump, CreateContainerError> {
    let read = match checkpoint {
        Checkpoint::Archive(path) => {
            let path = path.clone();
            blocking(move || archive::read_config(&path)).await
        }
        Checkpoint::Image(image) => {
            let file = parts
                .images
                .root_file(image, archive::CONFIG, CONFIG_MAX)
                .await;
            let file = file.map_err(|source| CreateContainerError::ReadCheckpointImage {
                checkpoint: checkpoint.to_string(),
                source,
            })?;
            archive::parse_config(file.as_deref())
        }
    };
    read.map_err(|source| unusable(checkpoint, source))
}

/// Longest `config.dump` that is read, in bytes; usual ones have less than one KiB.
const CONFIG_MAX: u64 = 1 << 20;

fn unusable(checkpoint: &Checkpoint, source: std::io::Error) -> CreateContainerError {
    CreateContainerError::Checkpoint {
        checkpoint: checkpoint.to_string(),
        source,
    }
}

/// Pulls the image that a checkpoint was taken of, by its digest if that is known.
async fn pull_base(
    parts: &Parts,
    checkpoint: &Checkpoint,
    dump: &ConfigDump,
) -> Result<String, CreateContainerError> {
    // An identifier cannot be pulled.
    let name = dump
        .image_names()
        .find(|name| name.parse::<ImageId>().is_err() && name.contains('/'));
    let Some(name) = name else {
        let names: Vec<&str> = dump.image_names().collect();
        return Err(CreateContainerError::CheckpointBase {
            checkpoint: checkpoint.to_string(),
            image: names.join(", "),
        });
    };
    tracing::info!(%checkpoint, image = name, "pulling the image that the checkpoint was taken of");
    let pulled = parts.images.pull(name, None).await;
    let pulled = pulled.map_err(|source| CreateContainerError::PullCheckpointBase {
        checkpoint: checkpoint.to_string(),
        source,
    })?;
    Ok(pulled.id.to_string())
}

/// Brings what the checkpoint has to where the restore will look for it.
pub(super) async fn prepare(
    context: &Context,
    handler: &Handler,
    record: &ContainerRecord,
    checkpoint: &Checkpoint,
) -> Result<(), CreateContainerError> {
    if let Some(lack) = handler.runtime.lacks_for_checkpoint().await {
        return Err(CreateContainerError::NoCheckpoints {
            handler: handler.name.clone(),
            lack,
        });
    }
    let bundle = context.dirs.container(&record.id);
    let dir = dir(context, &record.id);
    let (to, rootfs) = (dir.clone(), bundle.join("rootfs"));
    let unpacked = match checkpoint {
        Checkpoint::Archive(path) => {
            let from = path.clone();
            blocking(move || archive::unpack(&from, &to, &rootfs)).await
        }
        Checkpoint::Image(image) => {
            let from = mount_checkpoint(context, record, &bundle, image).await?;
            let (copied, unmounted) = blocking(move || {
                let copied = archive::copy(&from, &to, &rootfs);
                (copied, mount::unmount(&from))
            })
            .await;
            let images = &context.parts.images;
            images.release(image, &holder(&record.id));
            unmounted.map_err(CreateContainerError::Stage)?;
            copied
        }
    };
    unpacked.map_err(|source| unusable(checkpoint, source))?;
    let path = bundle.join("config.json");
    let failed = |source| FileError {
        path: path.clone(),
        source,
    };
    Ok(configure_criu(&path, &dir.join("criu.conf")).map_err(failed)?)
}

/// Mounts the image of a checkpoint beside the container's own mounts.
async fn mount_checkpoint(
    context: &Context,
    record: &ContainerRecord,
    bundle: &Path,
    image: &ImageId,
) -> Result<PathBuf, CreateContainerError> {
    let place = mounts::another_place(bundle, "checkpoint").await?;
    let images = &context.parts.images;
    // One that is removed now is not in the store when it is mounted.
    images.hold(image, &holder(&record.id));
    let mounted = images.mount_image(image, &place, None).await;
    mounted.map_err(|source| {
        images.release(image, &holder(&record.id));
        CreateContainerError::ReadCheckpointImage {
            checkpoint: image.to_string(),
            source,
        }
    })?;
    Ok(place)
}

/// Who holds the image of a checkpoint: not the container, which may have it as a volume too.
fn holder(id: &ContainerId) -> String {
    format!("restore of {id}")
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
