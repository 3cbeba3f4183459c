//! Pods with a user namespace of their own: who is who, inside and outside.

mod ids;
mod life;
mod namespaces;
mod volumes;

use anyhow::{Context as _, ensure};
use pinpod_cri_api::runtime::v1::{
    ContainerConfig, IdMapping, LinuxContainerSecurityContext, Mount, NamespaceMode,
    NamespaceOption, PodSandboxConfig, UserNamespace,
};
use pinpod_testkit::{Image, Node, Result, container, until};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use tonic::Code;

/// Ids of the kubelet's size.
pub(crate) const LENGTH: u32 = 65_536;

pub(crate) fn mapping(host_id: u32) -> Vec<IdMapping> {
    vec![IdMapping {
        host_id,
        container_id: 0,
        length: LENGTH,
    }]
}

pub(crate) fn options(config: &mut PodSandboxConfig) -> &mut NamespaceOption {
    let linux = config.linux.get_or_insert_default();
    let security = linux.security_context.get_or_insert_default();
    security.namespace_options.get_or_insert_default()
}

pub(crate) fn security(config: &mut ContainerConfig) -> &mut LinuxContainerSecurityContext {
    let linux = config.linux.get_or_insert_default();
    linux.security_context.get_or_insert_default()
}

/// A pod whose ids begin at `host_id` of the node.
pub(crate) fn pod(node: &Node, name: &str, host_id: u32) -> PodSandboxConfig {
    let mut config = node.pod(name);
    options(&mut config).userns_options = Some(UserNamespace {
        mode: NamespaceMode::Pod.into(),
        uids: mapping(host_id),
        gids: mapping(host_id),
    });
    config
}

/// A container as the kubelet asks for it: with the namespaces of its pod.
pub(crate) fn member(
    pod: &PodSandboxConfig,
    name: &str,
    image: &Image,
    command: &[&str],
) -> ContainerConfig {
    let mut config = container(name, image, command);
    security(&mut config).namespace_options = Some(options(&mut pod.clone()).clone());
    config
}

pub(crate) fn sleeper(pod: &PodSandboxConfig, name: &str, image: &Image) -> ContainerConfig {
    member(pod, name, image, &["sleep", "1000"])
}

/// A volume of the node, mapped by `mappings` where there are any.
pub(crate) fn volume(host_path: &str, container_path: &str, mappings: Vec<IdMapping>) -> Mount {
    Mount {
        host_path: host_path.to_owned(),
        container_path: container_path.to_owned(),
        uid_mappings: mappings.clone(),
        gid_mappings: mappings,
        ..Default::default()
    }
}

pub(crate) async fn sh(node: &Node, id: &str, script: &str) -> Result<String> {
    node.output(id, &["sh", "-c", script]).await
}

pub(crate) fn owner(path: impl AsRef<Path>) -> Result<(u32, u32)> {
    let path = path.as_ref();
    let metadata = std::fs::metadata(path).with_context(|| path.display().to_string())?;
    Ok((metadata.uid(), metadata.gid()))
}

/// Effective users of the node's processes with this command line.
fn users_of(command: &str) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let read = |name: &str| std::fs::read_to_string(path.join(name)).unwrap_or_default();
        if read("cmdline").replace('\0', " ").trim() != command {
            continue;
        }
        let status = read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        let user = line.and_then(|line| line.split_whitespace().nth(1));
        found.extend(user.and_then(|user| user.parse::<u32>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// Waits until a process with this command line runs, and fails when another user runs it.
pub(crate) async fn runs_as(command: &str, user: u32) -> Result {
    let found = until(command, Duration::from_secs(10), async || {
        Ok(Some(users_of(command)?).filter(|users| !users.is_empty()))
    });
    ensure!(
        found.await? == [user],
        "{command} of another user than {user}"
    );
    Ok(())
}

pub(crate) fn code(error: &anyhow::Error) -> Code {
    let status = error.downcast_ref::<tonic::Status>();
    status.map_or(Code::Unknown, tonic::Status::code)
}
