//! A manifest to the sandbox that a kubelet would ask for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use pinpod_cri_api::runtime::v1 as cri;

use super::container::{self, ContainerPlan};
use super::schema::{
    self, DnsPolicy, GroupsPolicy, Pod, Profile, ProfileKind, Protocol, SelinuxOptions, Spec,
};

/// What the node decides and the manifest does not say.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Identity of the pod when the manifest has none.
    pub(crate) uid: String,
    /// Directory below which the pod gets its log directory.
    pub(crate) logs: PathBuf,
    /// Directory below which its `emptyDir` volumes are made.
    pub(crate) volumes: PathBuf,
    /// Memory of the node in bytes: `oom_score_adj` is relative to it.
    pub(crate) memory: i64,
    /// DNS of the node, for policies that build on it.
    pub(crate) dns: cri::DnsConfig,
}

/// Everything to ask for, in order.
#[derive(Debug)]
pub(crate) struct PodPlan {
    pub(crate) sandbox: cri::PodSandboxConfig,
    pub(crate) runtime_handler: String,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) init_containers: Vec<ContainerPlan>,
    pub(crate) containers: Vec<ContainerPlan>,
    /// Seconds between the stop signal and SIGKILL.
    pub(crate) grace: u32,
}

/// A directory or file that must be there before the containers are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Volume {
    /// Made for the pod and removed with it.
    EmptyDir {
        /// Where.
        path: PathBuf,
        /// Group that owns it (`fsGroup`).
        group: Option<u32>,
    },
    /// The node's own.
    HostPath {
        /// Where.
        path: PathBuf,
        /// `v1.HostPathType`; empty checks nothing.
        kind: String,
    },
}

impl Volume {
    pub(crate) fn path(&self) -> &PathBuf {
        match self {
            Self::EmptyDir { path, .. } | Self::HostPath { path, .. } => path,
        }
    }
}

/// Turns a manifest into CRI requests.
///
/// # Errors
/// If a field has a value that no kubelet would send on; the text names it.
pub(crate) fn plan(pod: &Pod, place: &Place) -> anyhow::Result<PodPlan> {
    let metadata = metadata(pod, place)?;
    let spec = &pod.spec;
    let mut labels: BTreeMap<String, String> = pod.metadata.labels.clone();
    for (key, value) in [
        ("io.kubernetes.pod.name", &metadata.name),
        ("io.kubernetes.pod.namespace", &metadata.namespace),
        ("io.kubernetes.pod.uid", &metadata.uid),
    ] {
        labels.insert(key.to_owned(), value.clone());
    }
    let volumes = volumes(spec, &place.volumes.join(&metadata.uid))?;
    let context = container::Context {
        pod,
        metadata: &metadata,
        volumes: &volumes,
        place,
    };
    let plans = |list: &[schema::Container]| -> anyhow::Result<Vec<ContainerPlan>> {
        list.iter()
            .map(|item| {
                container::plan(item, &context)
                    .with_context(|| format!("container {:?}", item.name))
            })
            .collect()
    };
    let log_directory = place.logs.join(format!(
        "{}_{}_{}",
        metadata.namespace, metadata.name, metadata.uid
    ));
    Ok(PodPlan {
        init_containers: plans(&spec.init_containers)?,
        containers: plans(&spec.containers)?,
        runtime_handler: spec.runtime_class_name.clone(),
        grace: spec.termination_grace_period_seconds.unwrap_or(30),
        sandbox: cri::PodSandboxConfig {
            hostname: hostname(spec, &metadata.name),
            log_directory: log_directory.to_string_lossy().into_owned(),
            dns_config: dns(spec, &place.dns)?,
            port_mappings: ports(spec)?,
            labels: labels.into_iter().collect(),
            annotations: pod.metadata.annotations.clone().into_iter().collect(),
            linux: Some(linux(spec)?),
            windows: None,
            metadata: Some(metadata),
        },
        volumes: volumes.into_values().collect(),
    })
}

fn metadata(pod: &Pod, place: &Place) -> anyhow::Result<cri::PodSandboxMetadata> {
    let or = |text: &str, default: &str| {
        if text.is_empty() {
            default.to_owned()
        } else {
            text.to_owned()
        }
    };
    if pod.metadata.name.is_empty() {
        bail!("metadata.name is empty");
    }
    Ok(cri::PodSandboxMetadata {
        name: pod.metadata.name.clone(),
        uid: or(&pod.metadata.uid, &place.uid),
        namespace: or(&pod.metadata.namespace, "default"),
        attempt: 0,
    })
}

/// A host name has 63 characters at most, a pod's name 253 (Kubernetes cuts it the same way).
fn hostname(spec: &Spec, name: &str) -> String {
    if spec.host_network {
        return String::new();
    }
    let wanted = if spec.hostname.is_empty() {
        name
    } else {
        &spec.hostname
    };
    let cut: String = wanted.chars().take(63).collect();
    cut.trim_end_matches(['-', '.']).to_owned()
}

fn dns(spec: &Spec, node: &cri::DnsConfig) -> anyhow::Result<Option<cri::DnsConfig>> {
    let given = &spec.dns_config;
    let options = given.options.iter().map(|option| match &option.value {
        Some(value) => format!("{}:{value}", option.name),
        None => option.name.clone(),
    });
    let own = cri::DnsConfig {
        servers: given.nameservers.clone(),
        searches: given.searches.clone(),
        options: options.collect(),
    };
    if spec.dns_policy == DnsPolicy::None {
        if own.servers.is_empty() {
            bail!("spec.dnsPolicy None needs spec.dnsConfig.nameservers");
        }
        return Ok(Some(own));
    }
    if own == cri::DnsConfig::default() {
        return Ok(None);
    }
    let merged = |node: &[String], own: Vec<String>| {
        let mut all = node.to_vec();
        all.extend(own.into_iter().filter(|item| !node.contains(item)));
        all
    };
    Ok(Some(cri::DnsConfig {
        servers: merged(&node.servers, own.servers),
        searches: merged(&node.searches, own.searches),
        options: merged(&node.options, own.options),
    }))
}

fn ports(spec: &Spec) -> anyhow::Result<Vec<cri::PortMapping>> {
    let mut mappings = Vec::new();
    for port in spec
        .containers
        .iter()
        .flat_map(|container| &container.ports)
    {
        if port.container_port == 0 {
            bail!("a containerPort is 0");
        }
        let protocol = match port.protocol {
            Protocol::Tcp => cri::Protocol::Tcp,
            Protocol::Udp => cri::Protocol::Udp,
            Protocol::Sctp => cri::Protocol::Sctp,
        };
        mappings.push(cri::PortMapping {
            protocol: protocol.into(),
            container_port: port.container_port.into(),
            host_port: port.host_port.into(),
            host_ip: port.host_ip.clone(),
        });
    }
    Ok(mappings)
}

fn linux(spec: &Spec) -> anyhow::Result<cri::LinuxPodSandboxConfig> {
    let given = &spec.security_context;
    let mut sysctls = BTreeMap::new();
    for sysctl in &given.sysctls {
        if sysctls
            .insert(sysctl.name.clone(), sysctl.value.clone())
            .is_some()
        {
            bail!("sysctl {} is given twice", sysctl.name);
        }
    }
    Ok(cri::LinuxPodSandboxConfig {
        sysctls: sysctls.into_iter().collect(),
        security_context: Some(cri::LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces(spec)),
            selinux_options: given.se_linux_options.as_ref().map(selinux),
            run_as_user: given.run_as_user.map(|value| cri::Int64Value { value }),
            run_as_group: given.run_as_group.map(|value| cri::Int64Value { value }),
            supplemental_groups: groups(spec),
            supplemental_groups_policy: groups_policy(spec).into(),
            privileged: spec
                .init_containers
                .iter()
                .chain(&spec.containers)
                .any(|container| container.security_context.privileged),
            seccomp: given.seccomp_profile.as_ref().map(profile),
            apparmor: given.app_armor_profile.as_ref().map(profile),
            ..Default::default()
        }),
        ..Default::default()
    })
}

/// The namespaces of the pod and, as a kubelet sends them, of each of its containers.
pub(super) fn namespaces(spec: &Spec) -> cri::NamespaceOption {
    let pod_or_node = |node: bool| -> i32 {
        if node {
            cri::NamespaceMode::Node
        } else {
            cri::NamespaceMode::Pod
        }
        .into()
    };
    let pid = match (spec.host_pid, spec.share_process_namespace) {
        (true, _) => cri::NamespaceMode::Node,
        (false, true) => cri::NamespaceMode::Pod,
        (false, false) => cri::NamespaceMode::Container,
    };
    cri::NamespaceOption {
        network: pod_or_node(spec.host_network),
        ipc: pod_or_node(spec.host_ipc),
        pid: pid.into(),
        ..Default::default()
    }
}

/// `fsGroup` is a supplemental group of every process too.
pub(super) fn groups(spec: &Spec) -> Vec<i64> {
    let given = &spec.security_context;
    let mut groups = given.supplemental_groups.clone();
    groups.extend(
        given
            .fs_group
            .filter(|group| !given.supplemental_groups.contains(group)),
    );
    groups
}

pub(super) fn groups_policy(spec: &Spec) -> cri::SupplementalGroupsPolicy {
    match spec.security_context.supplemental_groups_policy {
        GroupsPolicy::Merge => cri::SupplementalGroupsPolicy::Merge,
        GroupsPolicy::Strict => cri::SupplementalGroupsPolicy::Strict,
    }
}

pub(super) fn profile(given: &Profile) -> cri::SecurityProfile {
    use cri::security_profile::ProfileType;
    let kind = match given.kind {
        ProfileKind::RuntimeDefault => ProfileType::RuntimeDefault,
        ProfileKind::Unconfined => ProfileType::Unconfined,
        ProfileKind::Localhost => ProfileType::Localhost,
    };
    cri::SecurityProfile {
        profile_type: kind.into(),
        localhost_ref: given.localhost_profile.clone(),
    }
}

pub(super) fn selinux(given: &SelinuxOptions) -> cri::SeLinuxOption {
    cri::SeLinuxOption {
        user: given.user.clone(),
        role: given.role.clone(),
        r#type: given.kind.clone(),
        level: given.level.clone(),
    }
}

fn volumes(spec: &Spec, own: &std::path::Path) -> anyhow::Result<BTreeMap<String, Volume>> {
    let group = spec
        .security_context
        .fs_group
        .map(u32::try_from)
        .transpose();
    let group = group.context("spec.securityContext.fsGroup")?;
    let mut volumes = BTreeMap::new();
    for volume in &spec.volumes {
        let name = &volume.name;
        if name.is_empty() || name.contains(['/', '.']) {
            bail!("volume {name:?} has no proper name");
        }
        let kind = match (&volume.empty_dir, &volume.host_path) {
            (_, Some(host)) if volume.empty_dir.is_none() => {
                if !host.path.starts_with('/') {
                    bail!(
                        "volume {name}: hostPath.path {:?} is not absolute",
                        host.path
                    );
                }
                Volume::HostPath {
                    path: host.path.clone().into(),
                    kind: host.kind.clone(),
                }
            }
            (Some(_), None) => Volume::EmptyDir {
                path: own.join(name),
                group,
            },
            // `emptyDir:` without a value reads as null, which is an empty object to Kubernetes.
            (None, None) if volume.rest.is_empty() => Volume::EmptyDir {
                path: own.join(name),
                group,
            },
            _ => {
                let kinds: Vec<_> = volume.rest.keys().map(String::as_str).collect();
                bail!(
                    "volume {name}: only emptyDir or hostPath, not {}",
                    kinds.join(", ")
                );
            }
        };
        if volumes.insert(name.clone(), kind).is_some() {
            bail!("volume {name} is given twice");
        }
    }
    Ok(volumes)
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    pub(crate) fn place() -> Place {
        Place {
            uid: "u-1".into(),
            logs: "/logs".into(),
            volumes: "/volumes".into(),
            memory: 1000 * 1024 * 1024,
            dns: cri::DnsConfig {
                servers: vec!["10.0.0.1".into()],
                ..Default::default()
            },
        }
    }

    fn plan_of(spec: &str) -> anyhow::Result<PodPlan> {
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: web, labels: {{a: b}}}}, spec: {spec}}}"
        );
        plan(&parse(&text)?.0, &place())
    }

    #[test]
    fn defaults_are_those_of_kubernetes() {
        let plan = plan_of("{containers: [{name: c, image: i}]}").unwrap();
        let sandbox = plan.sandbox;
        assert_eq!(sandbox.hostname, "web");
        assert_eq!(sandbox.log_directory, "/logs/default_web_u-1");
        assert_eq!(sandbox.dns_config, None);
        assert_eq!(sandbox.labels["a"], "b");
        assert_eq!(sandbox.labels["io.kubernetes.pod.uid"], "u-1");
        let options = sandbox
            .linux
            .unwrap()
            .security_context
            .unwrap()
            .namespace_options
            .unwrap();
        assert_eq!(options.pid, i32::from(cri::NamespaceMode::Container));
        assert_eq!(options.network, i32::from(cri::NamespaceMode::Pod));
        assert_eq!(plan.grace, 30);
    }

    #[test]
    fn namespaces_follow_the_flags() {
        for (flags, network, pid, ipc) in [
            ("hostNetwork: true", "NODE", "CONTAINER", "POD"),
            (
                "hostPID: true, shareProcessNamespace: true",
                "POD",
                "NODE",
                "POD",
            ),
            ("hostIPC: true", "POD", "CONTAINER", "NODE"),
            ("shareProcessNamespace: true", "POD", "POD", "POD"),
        ] {
            let plan = plan_of(&format!("{{{flags}, containers: [{{name: c, image: i}}]}}"));
            let linux = plan.unwrap().sandbox.linux.unwrap();
            let options = linux.security_context.unwrap().namespace_options.unwrap();
            let names = (
                options.network().as_str_name(),
                options.pid().as_str_name(),
                options.ipc().as_str_name(),
            );
            assert_eq!(names, (network, pid, ipc), "{flags}");
        }
    }

    #[test]
    fn dns_builds_on_the_node_unless_told_not_to() {
        let config = "dnsConfig: {nameservers: [1.1.1.1], options: [{name: ndots, value: '2'}]}";
        let merged = plan_of(&format!(
            "{{{config}, containers: [{{name: c, image: i}}]}}"
        ));
        let dns = merged.unwrap().sandbox.dns_config.unwrap();
        assert_eq!(dns.servers, ["10.0.0.1", "1.1.1.1"]);
        assert_eq!(dns.options, ["ndots:2"]);
        let own = plan_of(&format!(
            "{{dnsPolicy: None, {config}, containers: [{{name: c, image: i}}]}}"
        ));
        assert_eq!(
            own.unwrap().sandbox.dns_config.unwrap().servers,
            ["1.1.1.1"]
        );
    }

    #[test]
    fn what_no_kubelet_would_send_is_refused() {
        for (spec, word) in [
            (
                "{dnsPolicy: None, containers: [{name: c, image: i}]}",
                "nameservers",
            ),
            (
                "{volumes: [{name: v, configMap: {}}], containers: [{name: c, image: i}]}",
                "configMap",
            ),
            (
                "{volumes: [{name: v, hostPath: {path: a}}], containers: [{name: c, image: i}]}",
                "absolute",
            ),
            (
                "{containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /v}]}]}",
                "volume",
            ),
            (
                "{containers: [{name: c, image: i, resources: {limits: {cpu: x}}}]}",
                "cpu",
            ),
            ("{containers: [{name: c}]}", "image"),
        ] {
            let error = format!("{:#}", plan_of(spec).unwrap_err());
            assert!(error.contains(word), "{spec}: {error}");
        }
    }
}
