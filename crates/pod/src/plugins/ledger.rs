//! What plugins have been told of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pinpod_bundle::plugin;
use pinpod_kernel::process::ProcessIdentity;
use pinpod_model::{ContainerId, LinuxResources, PodId, PodSandboxConfig};
use pinpod_nri::api;
use serde_json::Value;

use crate::record::{ContainerRecord, PodRecord};
use crate::snapshot::{ContainerPhase, NamespaceFiles};

/// Pods and their containers.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) pods: BTreeMap<PodId, KnownPod>,
    pub(super) containers: BTreeMap<ContainerId, KnownContainer>,
}

/// A pod sandbox that plugins were told of.
#[derive(Debug, Clone)]
pub(super) struct KnownPod {
    id: PodId,
    config: Arc<PodSandboxConfig>,
    handler: String,
    namespaces: NamespaceFiles,
    ips: Vec<String>,
    init: Option<ProcessIdentity>,
    /// Whether they were told that it stops; then it is not told to newcomers.
    pub(super) is_stopped: bool,
}

impl KnownPod {
    pub(super) fn of(record: &PodRecord) -> Self {
        let ips = record.attachment.as_ref().map(|it| it.ips.as_slice());
        Self {
            id: record.id.clone(),
            config: Arc::new(record.config.clone()),
            handler: record.runtime_handler.clone(),
            namespaces: record.namespaces.clone(),
            ips: ips
                .unwrap_or_default()
                .iter()
                .map(ToString::to_string)
                .collect(),
            init: record.init,
            is_stopped: false,
        }
    }

    /// New resources of the pod.
    pub(super) fn set_resources(
        &mut self,
        overhead: Option<LinuxResources>,
        resources: Option<LinuxResources>,
    ) {
        let config = Arc::make_mut(&mut self.config);
        config.overhead = overhead.or_else(|| config.overhead.take());
        config.resources = resources.or_else(|| config.resources.take());
    }

    /// As plugins see it.
    pub(super) fn view(&self) -> api::PodSandbox {
        let limits = |limits: &Option<LinuxResources>| limits.as_ref().map(plugin::from_limits);
        let files = &self.namespaces;
        let namespaces = [
            ("network", &files.net),
            ("ipc", &files.ipc),
            ("uts", &files.uts),
            ("pid", &files.pid),
            ("user", &files.user),
        ];
        api::PodSandbox {
            id: self.id.to_string(),
            name: self.config.metadata.name.clone(),
            uid: self.config.metadata.uid.clone(),
            namespace: self.config.metadata.namespace.clone(),
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            runtime_handler: self.handler.clone(),
            linux: Some(api::LinuxPodSandbox {
                pod_overhead: limits(&self.config.overhead),
                pod_resources: limits(&self.config.resources),
                cgroup_parent: self.config.cgroup_parent.clone(),
                namespaces: namespaces
                    .into_iter()
                    .filter_map(|(kind, file)| {
                        Some(api::LinuxNamespace {
                            r#type: kind.to_owned(),
                            path: file.as_ref()?.display().to_string(),
                        })
                    })
                    .collect(),
                ..api::LinuxPodSandbox::default()
            }),
            pid: self.init.map(|init| init.pid).unwrap_or_default(),
            ips: self.ips.clone(),
        }
    }
}

/// A container that plugins were told of.
#[derive(Debug, Clone)]
pub(super) struct KnownContainer {
    id: ContainerId,
    pub(super) pod: PodId,
    name: String,
    labels: BTreeMap<String, String>,
    image: api::Image,
    bundle: PathBuf,
    created_at: i64,
    pub(super) phase: ContainerPhase,
    /// Limits of later updates.
    limits: Option<LinuxResources>,
}

impl KnownContainer {
    pub(super) fn of(record: &ContainerRecord, bundle: &Path) -> Self {
        Self {
            id: record.id.clone(),
            pod: record.pod.clone(),
            name: record.config.metadata.name.clone(),
            labels: record.config.labels.clone(),
            image: api::Image {
                name: record.config.image.user_specified.clone(),
                digest: record
                    .image_ref
                    .rsplit_once('@')
                    .map(|(_, digest)| digest.to_owned())
                    .unwrap_or_default(),
                config_digest: record.image.to_string(),
            },
            bundle: bundle.to_owned(),
            created_at: record.created_at,
            phase: record.phase.clone(),
            limits: None,
        }
    }

    /// After an update, or after a restart.
    pub(super) fn set_limits(&mut self, limits: LinuxResources) {
        self.limits = Some(limits);
    }

    /// Whether newcomers are told of it.
    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.phase, ContainerPhase::Exited { .. })
    }

    /// As plugins see it, with what its bundle tells.
    pub(super) fn view(&self) -> api::Container {
        let path = self.bundle.join("config.json");
        let spec = std::fs::read(&path)
            .and_then(|text| serde_json::from_slice::<Value>(&text).map_err(Into::into));
        let spec = spec.unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "cannot read a container's spec");
            Value::Null
        });
        self.view_of(&spec)
    }

    /// The same, of a spec that is not written yet.
    pub(super) fn view_of(&self, spec: &Value) -> api::Container {
        let mut view = plugin::view(spec);
        view.id = self.id.to_string();
        view.pod_sandbox_id = self.pod.to_string();
        view.name.clone_from(&self.name);
        view.labels.clone_from(&self.labels);
        view.image = Some(self.image.clone());
        view.created_at = self.created_at;
        if let Some(limits) = &self.limits {
            let linux = view.linux.get_or_insert_default();
            plugin::overlay(linux.resources.get_or_insert_default(), limits);
        }
        match &self.phase {
            ContainerPhase::Creating
            | ContainerPhase::Created { .. }
            | ContainerPhase::Prepared => {
                view.state = api::ContainerState::ContainerCreated.into();
            }
            ContainerPhase::Running { started_at, .. } => {
                view.state = api::ContainerState::ContainerRunning.into();
                view.started_at = *started_at;
            }
            ContainerPhase::Exited { started_at, exit } => {
                view.state = api::ContainerState::ContainerStopped.into();
                view.started_at = started_at.unwrap_or_default();
                view.finished_at = exit.finished_at;
                view.exit_code = exit.code;
                view.status_message.clone_from(&exit.message);
                if exit.oom_killed {
                    "OOMKilled".clone_into(&mut view.status_reason);
                }
            }
        }
        view.pid = self.phase.process().map(|it| it.pid).unwrap_or_default();
        view
    }
}
