//! RunPodSandbox, and the one way back from it.
//!
//! [`run`] makes a sandbox step by step, each step written to the record before it is taken:
//! directory and files, namespaces, `/dev/shm`, network, PID 1 where containers share a PID
//! namespace. No process is started but that PID 1 and the network's plugins. [`teardown`] undoes
//! all of it, whatever is there; a failed run, StopPodSandbox and recovery call the same one.

mod run;
mod teardown;

use std::time::{SystemTime, UNIX_EPOCH};

use pinpod_bundle::sysctl;
use pinpod_model::{NamespaceMode, PidMode, PodId, PodSandboxConfig};

use crate::error::RunPodError;
use crate::record::{PodPhase, PodRecord, VERSION};
use crate::settings::Parts;
use crate::snapshot::{NamespaceFiles, UnixNanos};

pub(crate) use run::{abandon, blocking, run};
pub(crate) use teardown::{Undo, end_cgroup, remove_directory, remove_tree, teardown};

/// Refuses what can be refused before anything is reserved.
pub(crate) fn check(parts: &Parts, config: &PodSandboxConfig) -> Result<(), RunPodError> {
    if let Some(name) = &config.runtime_handler
        && parts.settings.handler(Some(name)).is_none()
    {
        return Err(RunPodError::UnknownHandler(name.clone()));
    }
    let namespaces = &config.security.namespaces;
    if namespaces.user.is_some()
        && let Some(handler) = parts.settings.handler(config.runtime_handler.as_deref())
        && let Err(reason) = &handler.user_namespaces
    {
        return Err(RunPodError::UserNamespace {
            handler: handler.name.clone(),
            reason: reason.clone(),
        });
    }
    if matches!(namespaces.pid, PidMode::Target(_)) {
        return Err(RunPodError::TargetPid);
    }
    pinpod_cgroup::driver::pod_cgroup(parts.settings.cgroup_driver, &config.cgroup_parent)
        .map_err(RunPodError::CgroupParent)?;
    for (name, value) in &config.sysctls {
        sysctl::check(name, value, namespaces).map_err(|source| RunPodError::Sysctl {
            metadata: Box::new(config.metadata.clone()),
            source,
        })?;
    }
    Ok(())
}

/// The record of a sandbox that is about to be made: it names every file that will be pinned.
pub(crate) fn new_record(parts: &Parts, id: PodId, config: PodSandboxConfig) -> PodRecord {
    let settings = &parts.settings;
    let wanted = &config.security.namespaces;
    // Containers are found by `ip netns` under the name that `pinpod` gives the pod.
    let name = format!("pinpod-{id}");
    let file =
        |kind, mode| (mode == NamespaceMode::Pod).then(|| settings.namespace_file(kind, &name));
    let namespaces = NamespaceFiles {
        net: file("net", wanted.network),
        uts: file("uts", wanted.network),
        ipc: file("ipc", wanted.ipc),
        pid: (wanted.pid == PidMode::Pod).then(|| settings.namespace_file("pid", &name)),
        user: wanted
            .user
            .is_some()
            .then(|| settings.namespace_file("user", &name)),
    };
    let handler = config.runtime_handler.clone();
    PodRecord {
        version: VERSION,
        id,
        runtime_handler: handler.unwrap_or_else(|| settings.default_handler.clone()),
        config,
        created_at: now(),
        phase: PodPhase::Creating,
        namespaces,
        init: None,
        attachment: None,
    }
}

/// The host name of a pod: what was asked for, or the start of its identifier; none of its own on
/// the node's network.
pub(crate) fn hostname(record: &PodRecord) -> Option<String> {
    record.namespaces.uts.as_ref()?;
    Some(own_hostname(&record.id, &record.config))
}

/// The host name of a pod that has one of its own.
pub(crate) fn own_hostname(id: &PodId, config: &PodSandboxConfig) -> String {
    if config.hostname.is_empty() {
        id.as_str()[..12].to_owned()
    } else {
        config.hostname.clone()
    }
}

/// Now, as CRI counts.
#[must_use]
pub fn now() -> UnixNanos {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
