//! StartContainer and UpdateContainerResources.

use pinpod_bundle::plugin;
use pinpod_model::{ContainerId, LinuxResources};
use pinpod_oci_runtime::Status;

use super::Context;
use crate::error::{ContainerError, FileError};
use crate::sandbox::now;
use crate::snapshot::ContainerSnapshot;

/// Lets the waiting init run the container's command.
pub(crate) async fn start(context: &Context, id: &ContainerId) -> Result<(), ContainerError> {
    let handler = context
        .handler()
        .ok_or_else(|| ContainerError::NoHandler(context.handler.clone()))?;
    let plugins = &context.parts.plugins;
    let refused = |source| ContainerError::Plugin {
        id: id.clone(),
        source,
    };
    plugins.start_container(id).await.map_err(refused)?;
    handler.runtime.start(id).await?;
    plugins.container_started(id, None, now()).await;
    Ok(())
}

/// Whether a container that is noted as created was started. For recovery only: in the daemon's
/// life its own record is the truth.
pub(crate) async fn is_started(context: &Context, id: &ContainerId) -> bool {
    let Some(handler) = context.handler() else {
        return false;
    };
    match handler.runtime.state(id).await {
        Ok(state) => state.status == Status::Running,
        Err(error) => {
            tracing::warn!(container = %id, %error, "the OCI runtime does not tell its state");
            false
        }
    }
}

/// New limits, and who wants them.
#[derive(Debug)]
pub(crate) enum NewLimits {
    /// A client; NRI plugins are asked what they make of it.
    Asked(LinuxResources),
    /// A plugin; plugins are not asked again.
    ByPlugin(Box<pinpod_nri::api::LinuxResources>),
}

/// Sets new limits; a limit that the request leaves out stays. Returns what was set, as far as CRI
/// can tell of it.
pub(crate) async fn update(
    context: &Context,
    container: &ContainerSnapshot,
    limits: NewLimits,
) -> (LinuxResources, Result<(), ContainerError>) {
    let node = &context.parts.node;
    let plugins = &context.parts.plugins;
    match limits {
        NewLimits::ByPlugin(limits) => {
            let document = plugin::update_document(&limits, node);
            let result = set(context, container, &document).await;
            (plugin::to_limits(&limits), result)
        }
        NewLimits::Asked(asked) => {
            let checked = match pinpod_bundle::linux_resources(&asked, node) {
                Ok(checked) => checked,
                Err(error) => return (asked, Err(error.into())),
            };
            let updated = plugins.update_container(&container.id, &asked).await;
            let (told, result) = match updated {
                Ok(None) => {
                    let result = set(context, container, &checked).await;
                    (asked, result)
                }
                Ok(Some(update)) => {
                    let document = plugin::update_document(&update.limits, node);
                    (update.told, set(context, container, &document).await)
                }
                Err(source) => {
                    let id = container.id.clone();
                    return (asked, Err(ContainerError::Plugin { id, source }));
                }
            };
            if result.is_ok() {
                let now = merge_resources(&container.config.resources, told.clone());
                plugins.container_updated(&container.id, now).await;
            }
            (told, result)
        }
    }
}

async fn set(
    context: &Context,
    container: &ContainerSnapshot,
    limits: &impl serde::Serialize,
) -> Result<(), ContainerError> {
    let handler = context
        .handler()
        .ok_or_else(|| ContainerError::NoHandler(context.handler.clone()))?;
    let limits = serde_json::to_vec(limits).map_err(|error| FileError {
        path: container.bundle.join("config.json"),
        source: error.into(),
    })?;
    Ok(handler.runtime.update(&container.id, &limits).await?)
}

/// The limits that hold after an update: what it sets, over what was set.
pub(crate) fn merge_resources(old: &LinuxResources, new: LinuxResources) -> LinuxResources {
    fn number(old: i64, new: i64) -> i64 {
        if new == 0 { old } else { new }
    }
    fn text(old: &str, new: String) -> String {
        if new.is_empty() { old.to_owned() } else { new }
    }
    let mut unified = old.unified.clone();
    unified.extend(new.unified);
    LinuxResources {
        cpu_period: number(old.cpu_period, new.cpu_period),
        cpu_quota: number(old.cpu_quota, new.cpu_quota),
        cpu_shares: number(old.cpu_shares, new.cpu_shares),
        memory_limit: number(old.memory_limit, new.memory_limit),
        // The kernel's value cannot be changed by an update.
        oom_score_adj: old.oom_score_adj,
        cpuset_cpus: text(&old.cpuset_cpus, new.cpuset_cpus),
        cpuset_mems: text(&old.cpuset_mems, new.cpuset_mems),
        hugepage_limits: if new.hugepage_limits.is_empty() {
            old.hugepage_limits.clone()
        } else {
            new.hugepage_limits
        },
        unified,
        memory_swap_limit: number(old.memory_swap_limit, new.memory_swap_limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_changes_what_it_names() {
        let old = LinuxResources {
            cpu_shares: 512,
            memory_limit: 1 << 20,
            cpuset_cpus: "0".into(),
            ..LinuxResources::default()
        };
        let new = LinuxResources {
            memory_limit: 2 << 20,
            ..LinuxResources::default()
        };
        let merged = merge_resources(&old, new);
        assert_eq!(merged.memory_limit, 2 << 20);
        assert_eq!(merged.cpu_shares, 512);
        assert_eq!(merged.cpuset_cpus, "0");
    }
}
