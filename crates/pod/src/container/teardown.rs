//! The way back from a container: idempotent, goes on past errors, collects them.

use pinpod_kernel::{namespace, process};
use pinpod_model::Signal;
use pinpod_monitor_api::ClientError;
use pinpod_oci_runtime::RuntimeError;

use super::create::target_pid_file;
use super::{Context, mounts};
use crate::error::{MonitorError, TeardownError};
use crate::record::ContainerRecord;
use crate::sandbox::{Undo, blocking, end_cgroup, remove_tree};
use crate::watch_process;

/// The removal of a container that was made: NRI plugins are told when it is gone.
pub(crate) async fn remove(
    context: &Context,
    record: &ContainerRecord,
) -> Result<(), TeardownError> {
    let plugins = &context.parts.plugins;
    let view = plugins.before_removal(&record.id);
    teardown(context, record).await?;
    plugins.container_removed(&record.id, view).await;
    Ok(())
}

/// Takes away everything of a container: its processes, its state with the OCI runtime and with
/// the monitor, its root file system, its bundle. What is not there is no failure.
pub(crate) async fn teardown(
    context: &Context,
    record: &ContainerRecord,
) -> Result<(), TeardownError> {
    let mut undo = Undo::of(format!("container {}", record.id));
    if let Some(process) = record.phase.process() {
        match process::kill(&process, Signal::KILL) {
            Ok(_) => watch_process::gone(process).await,
            Err(error) => undo.step::<(), _>(Err(error)),
        }
    }
    if let Some(handler) = context.handler() {
        match handler.runtime.delete(&record.id, true).await {
            Ok(()) | Err(RuntimeError::NotFound { .. }) => {}
            Err(error) => undo.step::<(), _>(Err(error)),
        }
    }
    // The runtime removes the cgroup of a container that it knows; a crash may have left one that
    // it does not.
    undo.step(end_cgroup(&context.parts, record.cgroup.clone()).await);
    forget(context, record, &mut undo).await;
    let images = &context.parts.images;
    let bundle = context.dirs.container(&record.id);
    let unmounted = images.unmount_rootfs(&bundle.join("rootfs")).await;
    let unstaged = mounts::unstage(&bundle).await;
    let still_mounted = unmounted.is_err() || unstaged.is_err();
    undo.step(unmounted);
    undo.step(unstaged);
    undo.step(images.remove_rootfs(&record.id).await);
    if record.target.is_some() {
        let file = target_pid_file(context, &record.id);
        undo.step(blocking(move || namespace::unpin(&file)).await);
    }
    // What is mounted below the bundle must not be deleted with it.
    if !still_mounted {
        undo.step(blocking(move || remove_tree(&bundle)).await);
    }
    undo.end()
}

async fn forget(context: &Context, record: &ContainerRecord, undo: &mut Undo) {
    let gone =
        |error: &MonitorError| matches!(error, MonitorError::Client(ClientError::Gone { .. }));
    match context.monitor.connect().await {
        Ok(client) => match client.forget(record.id.clone()).await {
            Ok(()) | Err(ClientError::Gone { .. }) => {}
            Err(error) => undo.step::<(), _>(Err(error)),
        },
        Err(error) if gone(&error) => {}
        Err(error) => undo.step::<(), _>(Err(error)),
    }
}
