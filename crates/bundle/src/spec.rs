//! Puts the parts together.

use std::collections::HashMap;

use oci_spec::runtime::{Linux, LinuxBuilder, LinuxPidsBuilder, RootBuilder, Spec, SpecBuilder};

use crate::input::SpecInput;
use crate::{SpecError, capabilities, devices, masked, mounts, namespaces, process, resources};
use crate::{seccomp, selinux};

/// The version of the OCI runtime spec that is declared: the newest that all runtimes in use take
/// (crun 1.8 refuses others). Newer fields are written where they are asked for; a runtime that does
/// not know one ignores it, and `features` says which one knows.
const OCI_VERSION: &str = "1.0.2";

/// The runtime spec of a container: the content of `config.json` in its bundle.
///
/// # Errors
/// What in the request is in the way: [`SpecError`].
pub fn runtime_spec(input: &SpecInput<'_>) -> Result<Spec, SpecError> {
    let config = input.container.config;
    let pod_security = &input.pod.config.security;
    if config.security.privileged && !pod_security.privileged {
        return Err(SpecError::PrivilegedInPlainPod(
            config.metadata.name.clone(),
        ));
    }
    let granted = capabilities::granted(
        &config.security,
        &input.defaults.capabilities,
        &input.node.capabilities,
    )?;
    let labels = selinux::labels(
        &config.security,
        pod_security.selinux.as_ref(),
        input.node.selinux,
    );
    let (process_label, mount_label) = match labels {
        Some(labels) => (Some(labels.process), Some(labels.mount)),
        None => (None, None),
    };
    let mut spec = SpecBuilder::default()
        .version(OCI_VERSION)
        .process(process::process(input, &granted, process_label)?)
        .root(
            RootBuilder::default()
                .path(input.container.rootfs)
                .readonly(config.security.readonly_rootfs)
                .build()?,
        )
        .mounts(mounts::mounts(input)?)
        .annotations(annotations(input))
        .linux(linux(input, &granted, mount_label)?)
        .build()?;
    let hostname = &input.pod.config.hostname;
    let own = input.pod.namespaces.uts.is_some() && !hostname.is_empty();
    spec.set_hostname(own.then(|| hostname.clone()));
    Ok(spec)
}

fn linux(
    input: &SpecInput<'_>,
    granted: &capabilities::Granted,
    mount_label: Option<String>,
) -> Result<Linux, SpecError> {
    let config = input.container.config;
    let mut limits = resources::linux_resources(&config.resources, input.node)?;
    limits.set_devices(Some(devices::rules(input.container.devices)?));
    if let Some(limit) = input.defaults.pids_limit {
        limits.set_pids(Some(LinuxPidsBuilder::default().limit(limit).build()?));
    }
    let (masked, readonly) = masked::paths(&config.security);
    let mut linux = LinuxBuilder::default()
        .cgroups_path(input.container.cgroups_path)
        .namespaces(namespaces::namespaces(input)?)
        .devices(devices::nodes(input.container.devices)?)
        .resources(limits)
        .masked_paths(masked)
        .readonly_paths(readonly);
    if let Some(user) = &input.pod.config.security.namespaces.user {
        linux = linux
            .uid_mappings(namespaces::id_mappings(&[user.uid])?)
            .gid_mappings(namespaces::id_mappings(&[user.gid])?);
    }
    if let Some(propagation) = mounts::rootfs_propagation(&config.mounts) {
        linux = linux.rootfs_propagation(propagation);
    }
    if let Some(label) = mount_label {
        linux = linux.mount_label(label);
    }
    let filter = seccomp::container_filter(
        &config.security,
        (&input.defaults.seccomp, input.container.localhost_seccomp),
        &granted.all,
        input.node,
    )?;
    if let Some(filter) = filter {
        linux = linux.seccomp(filter);
    }
    Ok(linux.build()?)
}

/// The request's annotations, and those by which hooks of CRI-O and of containerd know a container.
fn annotations(input: &SpecInput<'_>) -> HashMap<String, String> {
    let config = input.container.config;
    let pod = &input.pod.config.metadata;
    let name = &config.metadata.name;
    let image = &config.image.user_specified;
    let ours = [
        ("io.kubernetes.cri-o.ContainerType", "container"),
        (
            "io.kubernetes.cri-o.ContainerID",
            input.container.id.as_str(),
        ),
        ("io.kubernetes.cri-o.ContainerName", name),
        ("io.kubernetes.cri-o.SandboxID", input.pod.id.as_str()),
        ("io.kubernetes.cri-o.SandboxName", &pod.name),
        ("io.kubernetes.cri-o.KubeName", &pod.name),
        ("io.kubernetes.cri-o.Namespace", &pod.namespace),
        ("io.kubernetes.cri-o.ImageName", image),
        ("io.kubernetes.cri.container-type", "container"),
        ("io.kubernetes.cri.container-name", name),
        ("io.kubernetes.cri.sandbox-id", input.pod.id.as_str()),
        ("io.kubernetes.cri.sandbox-name", &pod.name),
        ("io.kubernetes.cri.sandbox-namespace", &pod.namespace),
        ("io.kubernetes.cri.sandbox-uid", &pod.uid),
        ("io.kubernetes.cri.image-name", image),
    ];
    let ours = ours.map(|(key, value)| (key.to_owned(), value.to_owned()));
    config.annotations.clone().into_iter().chain(ours).collect()
}

#[cfg(test)]
#[path = "spec_tests/mod.rs"]
pub(crate) mod testing;
