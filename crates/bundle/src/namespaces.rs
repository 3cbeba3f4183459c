//! Which namespaces the container gets: joined by path, new, or the node's (by leaving them out).

use std::path::Path;

use oci_spec::runtime::{
    LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceBuilder,
    LinuxNamespaceType,
};
use pinpod_model::{IdMapping, NamespaceMode, PidMode};

use crate::SpecError;
use crate::input::{CgroupMode, SpecInput};

/// The list of the spec. Network, IPC and UTS are the pod's as they were pinned; the PID mode is
/// read from the container, as CRI has it.
pub(crate) fn namespaces(input: &SpecInput<'_>) -> Result<Vec<LinuxNamespace>, SpecError> {
    let options = &input.pod.config.security.namespaces;
    let paths = input.pod.namespaces;
    let security = &input.container.config.security;
    let mut list = vec![namespace(LinuxNamespaceType::Mount, None)?];
    let pod = |kind, mode, path: &Option<std::path::PathBuf>, name| match (mode, path) {
        (NamespaceMode::Node, _) => Ok(None),
        (NamespaceMode::Pod, Some(path)) => namespace(kind, Some(path)).map(Some),
        (NamespaceMode::Pod, None) => Err(SpecError::NoNamespace(name)),
    };
    list.extend(pod(
        LinuxNamespaceType::Network,
        options.network,
        &paths.net,
        "network",
    )?);
    list.extend(pod(
        LinuxNamespaceType::Ipc,
        options.ipc,
        &paths.ipc,
        "IPC",
    )?);
    if let Some(path) = &paths.uts {
        list.push(namespace(LinuxNamespaceType::Uts, Some(path))?);
    }
    match (&security.namespaces.pid, &paths.pid) {
        (PidMode::Node, _) => {}
        (PidMode::Container, _) => list.push(namespace(LinuxNamespaceType::Pid, None)?),
        (PidMode::Pod | PidMode::Target(_), Some(path)) => {
            list.push(namespace(LinuxNamespaceType::Pid, Some(path))?);
        }
        (PidMode::Pod | PidMode::Target(_), None) => return Err(SpecError::NoNamespace("PID")),
    }
    if has_cgroup_namespace(input) {
        list.push(namespace(LinuxNamespaceType::Cgroup, None)?);
    }
    if options.user.is_some() {
        let path = paths
            .user
            .as_deref()
            .ok_or(SpecError::NoNamespace("user"))?;
        list.push(namespace(LinuxNamespaceType::User, Some(path))?);
    }
    Ok(list)
}

/// On v2 a container sees its own cgroup as the root of the hierarchy. A privileged one sees the
/// node's, which is what node agents come for; on v1 the OCI runtime mounts the subtrees alone.
pub(crate) fn has_cgroup_namespace(input: &SpecInput<'_>) -> bool {
    input.node.cgroup == CgroupMode::V2 && !input.container.config.security.privileged
}

fn namespace(kind: LinuxNamespaceType, path: Option<&Path>) -> Result<LinuxNamespace, SpecError> {
    let mut namespace = LinuxNamespaceBuilder::default().typ(kind);
    if let Some(path) = path {
        namespace = namespace.path(path);
    }
    Ok(namespace.build()?)
}

/// A mapping in the form of the spec.
pub(crate) fn id_mappings(mappings: &[IdMapping]) -> Result<Vec<LinuxIdMapping>, SpecError> {
    mappings
        .iter()
        .map(|mapping| {
            Ok(LinuxIdMappingBuilder::default()
                .host_id(mapping.host_id)
                .container_id(mapping.container_id)
                .size(mapping.length)
                .build()?)
        })
        .collect()
}
