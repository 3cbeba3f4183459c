//! StartContainer and UpdateContainerResources.

use pinpod_model::{ContainerId, LinuxResources};
use pinpod_oci_runtime::Status;

use super::Context;
use crate::error::{ContainerError, FileError};
use crate::snapshot::ContainerSnapshot;

/// Lets the waiting init run the container's command.
pub(crate) async fn start(context: &Context, id: &ContainerId) -> Result<(), ContainerError> {
    let handler = context
        .handler()
        .ok_or_else(|| ContainerError::NoHandler(context.handler.clone()))?;
    Ok(handler.runtime.start(id).await?)
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

/// Sets new limits; a limit that the request leaves out stays.
pub(crate) async fn update(
    context: &Context,
    container: &ContainerSnapshot,
    resources: &LinuxResources,
) -> Result<(), ContainerError> {
    let handler = context
        .handler()
        .ok_or_else(|| ContainerError::NoHandler(context.handler.clone()))?;
    let limits = pinpod_bundle::linux_resources(resources, &context.parts.node)?;
    let limits = serde_json::to_vec(&limits).map_err(|error| FileError {
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
