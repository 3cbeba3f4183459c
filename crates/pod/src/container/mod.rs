//! The work on one container: create, start, stop, update, exec, checkpoint and restore, and the one
//! way back.

mod archive;
mod checkpoint;
mod create;
mod exec;
mod exec_stream;
mod mounts;
mod operate;
mod restore;
mod stop;
mod teardown;

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use pinpod_model::{ContainerConfig, ContainerId, PidMode, PodId, PodSandboxConfig, ResolvedUser};

use crate::error::CreateContainerError;
use crate::monitor::MonitorLink;
use crate::record::{ContainerRecord, PodRecord, RecordDirs, VERSION};
use crate::sandbox::now;
use crate::settings::{Handler, Parts};
use crate::snapshot::{ContainerPhase, NamespaceFiles};

pub(crate) use checkpoint::{
    checkpoint, discard as discard_checkpoint, give_up as give_up_checkpoint,
};
pub(crate) use create::{FailedCreation, create};
pub(crate) use exec::{exec_sync, reopen_log};
pub use exec_stream::ExecStreamRequest;
pub(crate) use mounts::hold_images;
pub(crate) use operate::{NewLimits, is_started, merge_resources, start, update};
pub(crate) use restore::{checkpoint_of, restore, restored_process};
pub(crate) use stop::{StopOrder, kill_rest, stop};
pub(crate) use teardown::{remove, teardown};

/// The pod as its containers' jobs need it.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) parts: Arc<Parts>,
    pub(crate) dirs: RecordDirs,
    pub(crate) pod: PodId,
    pub(crate) pod_config: Arc<PodSandboxConfig>,
    pub(crate) handler: String,
    pub(crate) namespaces: NamespaceFiles,
    pub(crate) monitor: Arc<MonitorLink>,
}

impl Context {
    /// The pod's handler. The configuration may have lost it since the pod was made.
    pub(crate) fn handler(&self) -> Option<&Handler> {
        self.parts.settings.handler(Some(&self.handler))
    }
}

/// Refuses what can be refused before anything is reserved.
pub(crate) fn check(
    pod: &PodRecord,
    config: &ContainerConfig,
    is_restored: bool,
) -> Result<(), CreateContainerError> {
    if is_restored && pod.config.security.namespaces.user.is_some() {
        return Err(CreateContainerError::RestoreUserNamespace(pod.id.clone()));
    }
    if config.security.privileged && !pod.config.security.privileged {
        return Err(CreateContainerError::PodNotPrivileged(pod.id.clone()));
    }
    let (asked, of_pod) = (
        &config.security.namespaces,
        &pod.config.security.namespaces.user,
    );
    let is_other = match &asked.user {
        Some(_) => asked.user != *of_pod,
        None => asked.asks_for_nodes_user && of_pod.is_some(),
    };
    if is_other {
        return Err(CreateContainerError::UserNamespace(pod.id.clone()));
    }
    if config.security.namespaces.pid == PidMode::Pod && pod.namespaces.pid.is_none() {
        return Err(CreateContainerError::NoPodPidNamespace(pod.id.clone()));
    }
    Ok(())
}

/// The record of a container that is about to be made. Image and user are put in by the job.
pub(crate) fn new_record(
    parts: &Parts,
    pod: &PodRecord,
    mut config: ContainerConfig,
) -> Result<ContainerRecord, CreateContainerError> {
    mounts::name_images(parts, &mut config)?;
    let id = ContainerId::generate().map_err(CreateContainerError::Identifier)?;
    let image = parts
        .images
        .resolve(&config.image.image)
        .ok_or_else(|| CreateContainerError::NoImage(config.image.image.clone()))?;
    let cgroup = pinpod_cgroup::driver::container_cgroup(
        parts.settings.cgroup_driver,
        &pod.config.cgroup_parent,
        id.as_str(),
    )
    .map_err(CreateContainerError::Cgroup)?;
    let stop_signal = config
        .stop_signal
        .or_else(|| image.config.config.stop_signal.parse().ok());
    Ok(ContainerRecord {
        version: VERSION,
        pod: pod.id.clone(),
        image: image.id.clone(),
        image_ref: image.reference(),
        user: ResolvedUser::default(),
        log_path: log_path(&pod.config.log_directory, &config.log_path)?,
        stop_signal,
        target: None,
        restore: None,
        cgroup,
        created_at: now(),
        phase: ContainerPhase::Creating,
        id,
        config,
    })
}

/// The log file of a container: below the pod's log directory, which it must not leave.
fn log_path(directory: &str, path: &str) -> Result<Option<PathBuf>, CreateContainerError> {
    if directory.is_empty() || path.is_empty() {
        return Ok(None);
    }
    let inside = Path::new(path)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if inside {
        Ok(Some(Path::new(directory).join(path)))
    } else {
        Err(CreateContainerError::LogPath(path.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_stay_below_the_directory_of_the_pod() {
        let log = |dir, path| log_path(dir, path);
        assert_eq!(
            log("/var/log/p", "c/0.log").unwrap(),
            Some("/var/log/p/c/0.log".into())
        );
        assert_eq!(log("", "c.log").unwrap(), None);
        assert_eq!(log("/var/log/p", "").unwrap(), None);
        for bad in ["../c.log", "/etc/passwd", "a/../../b", "./c.log"] {
            assert!(log("/var/log/p", bad).is_err(), "{bad}");
        }
    }
}
