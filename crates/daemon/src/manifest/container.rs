//! One container of a manifest to the container that a kubelet would ask for.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use pinpod_cri_api::runtime::v1 as cri;

use super::convert::{self, Place, Volume};
use super::expand::expand;
use super::quantity;
use super::schema::{self, Pod, ProcMount, Propagation, PullPolicy, Resources};

/// CFS period in microseconds that Kubernetes uses.
const CPU_PERIOD: i64 = 100_000;

/// Paths that Kubernetes hides with `procMount: Default`.
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Paths that it makes read-only.
const READONLY: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// A container to make, and when to pull its image.
#[derive(Debug)]
pub(crate) struct ContainerPlan {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) pull: PullPolicy,
    pub(crate) config: cri::ContainerConfig,
}

/// What a container's plan needs beside its own part of the manifest.
pub(super) struct Context<'a> {
    pub(super) pod: &'a Pod,
    pub(super) metadata: &'a cri::PodSandboxMetadata,
    pub(super) volumes: &'a BTreeMap<String, Volume>,
    pub(super) place: &'a Place,
}

pub(super) fn plan(
    given: &schema::Container,
    context: &Context<'_>,
) -> anyhow::Result<ContainerPlan> {
    if given.name.is_empty() || given.name.contains('/') {
        bail!("has no proper name");
    }
    if given.image.is_empty() {
        bail!("has no image");
    }
    let variables = environment(given, context)?;
    let expanded = |list: &[String]| list.iter().map(|text| expand(text, &variables)).collect();
    let labels = [
        ("io.kubernetes.container.name", &given.name),
        ("io.kubernetes.pod.name", &context.metadata.name),
        ("io.kubernetes.pod.namespace", &context.metadata.namespace),
        ("io.kubernetes.pod.uid", &context.metadata.uid),
    ];
    Ok(ContainerPlan {
        name: given.name.clone(),
        image: given.image.clone(),
        pull: given
            .image_pull_policy
            .unwrap_or_else(|| default_pull(&given.image)),
        config: cri::ContainerConfig {
            metadata: Some(cri::ContainerMetadata {
                name: given.name.clone(),
                attempt: 0,
            }),
            image: Some(cri::ImageSpec {
                image: given.image.clone(),
                user_specified_image: given.image.clone(),
                ..Default::default()
            }),
            command: expanded(&given.command),
            args: expanded(&given.args),
            working_dir: given.working_dir.clone(),
            envs: given
                .env
                .iter()
                .filter_map(|variable| variables.get_key_value(&variable.name))
                .map(|(key, value)| cri::KeyValue {
                    key: key.clone(),
                    value: value.clone().into(),
                })
                .collect(),
            mounts: mounts(given, context.volumes)?,
            labels: labels
                .map(|(key, value)| (key.to_owned(), value.clone()))
                .into(),
            log_path: format!("{}/0.log", given.name),
            stdin: given.stdin,
            stdin_once: given.stdin_once,
            tty: given.tty,
            linux: Some(cri::LinuxContainerConfig {
                resources: Some(resources(&given.resources, context.place.memory)?),
                security_context: Some(security(given, context)),
            }),
            ..Default::default()
        },
    })
}

/// A reference without a digest and with no tag or `:latest` may change under its name.
fn default_pull(image: &str) -> PullPolicy {
    let last = image.rsplit('/').next().unwrap_or(image);
    let fixed = last.contains('@')
        || last
            .split_once(':')
            .is_some_and(|(_, tag)| !tag.is_empty() && tag != "latest");
    if fixed {
        PullPolicy::IfNotPresent
    } else {
        PullPolicy::Always
    }
}

/// The variables by name, each expanded by those before it.
fn environment(
    given: &schema::Container,
    context: &Context<'_>,
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    for variable in &given.env {
        let value = match &variable.value_from {
            None => expand(&variable.value, &variables),
            Some(source) => field(source, context)
                .with_context(|| format!("env {}: valueFrom", variable.name))?,
        };
        variables.insert(variable.name.clone(), value);
    }
    Ok(variables)
}

/// The fields of the pod that are known before it runs.
fn field(source: &serde_yaml_ng::Value, context: &Context<'_>) -> anyhow::Result<String> {
    let path = source
        .get("fieldRef")
        .and_then(|field| field.get("fieldPath"));
    let path = path
        .and_then(serde_yaml_ng::Value::as_str)
        .context("only fieldRef")?;
    match path {
        "metadata.name" => Ok(context.metadata.name.clone()),
        "metadata.namespace" => Ok(context.metadata.namespace.clone()),
        "metadata.uid" => Ok(context.metadata.uid.clone()),
        other => bail!("fieldPath {other} is not known here"),
    }
}

fn mounts(
    given: &schema::Container,
    volumes: &BTreeMap<String, Volume>,
) -> anyhow::Result<Vec<cri::Mount>> {
    let mut mounts = Vec::new();
    for mount in &given.volume_mounts {
        let Some(volume) = volumes.get(&mount.name) else {
            bail!(
                "volumeMounts names volume {:?}, which is not in spec.volumes",
                mount.name
            );
        };
        let climbs = mount.sub_path.split('/').any(|part| part == "..");
        if mount.sub_path.starts_with('/') || climbs {
            bail!("subPath {:?} leaves volume {}", mount.sub_path, mount.name);
        }
        let propagation = match mount.mount_propagation {
            Propagation::None => cri::MountPropagation::PropagationPrivate,
            Propagation::HostToContainer => cri::MountPropagation::PropagationHostToContainer,
            Propagation::Bidirectional => cri::MountPropagation::PropagationBidirectional,
        };
        mounts.push(cri::Mount {
            container_path: mount.mount_path.clone(),
            host_path: volume
                .path()
                .join(&mount.sub_path)
                .to_string_lossy()
                .into_owned(),
            readonly: mount.read_only,
            recursive_read_only: mount.recursive_read_only == "Enabled",
            propagation: propagation.into(),
            ..Default::default()
        });
    }
    Ok(mounts)
}

fn resources(given: &Resources, memory: i64) -> anyhow::Result<cri::LinuxContainerResources> {
    let read = |list: &BTreeMap<String, serde_yaml_ng::Value>, name: &str| {
        list.get(name)
            .map(quantity::milli)
            .transpose()
            .with_context(|| name.to_owned())
    };
    let cpu_limit = read(&given.limits, "cpu")?;
    let cpu_request = read(&given.requests, "cpu")?.or(cpu_limit);
    let memory_limit = read(&given.limits, "memory")?.map(|milli| milli / 1000);
    let memory_request = read(&given.requests, "memory")?
        .map(|milli| milli / 1000)
        .or(memory_limit);
    let guaranteed = cpu_limit.is_some()
        && memory_limit.is_some()
        && cpu_limit == cpu_request
        && memory_limit == memory_request;
    let best_effort = cpu_request.is_none() && memory_request.is_none();
    let oom_score_adj = match (guaranteed, best_effort) {
        (true, _) => -997,
        (_, true) => 1000,
        // The more of the node it asked for, the later it is killed (Kubernetes QoS "Burstable").
        _ => (1000 - 1000 * memory_request.unwrap_or(0) / memory.max(1)).clamp(3, 999),
    };
    Ok(cri::LinuxContainerResources {
        cpu_period: if cpu_limit.is_some() { CPU_PERIOD } else { 0 },
        cpu_quota: cpu_limit.map_or(0, |milli| (milli * CPU_PERIOD / 1000).max(1000)),
        cpu_shares: cpu_request.map_or(2, |milli| (milli * 1024 / 1000).clamp(2, 262_144)),
        memory_limit_in_bytes: memory_limit.unwrap_or(0),
        oom_score_adj,
        ..Default::default()
    })
}

fn security(
    given: &schema::Container,
    context: &Context<'_>,
) -> cri::LinuxContainerSecurityContext {
    let spec = &context.pod.spec;
    let pod = &spec.security_context;
    let own = &given.security_context;
    let paths = |list: &[&str]| -> Vec<String> {
        if own.privileged || own.proc_mount == ProcMount::Unmasked {
            Vec::new()
        } else {
            list.iter().map(|path| (*path).to_owned()).collect()
        }
    };
    let id = |value: Option<i64>| value.map(|value| cri::Int64Value { value });
    let profile = |own: &Option<schema::Profile>, pod: &Option<schema::Profile>| {
        own.as_ref().or(pod.as_ref()).map(convert::profile)
    };
    let seccomp = if own.privileged {
        None
    } else {
        // A kubelet with `seccompDefault`: no profile means the runtime's own.
        Some(profile(&own.seccomp_profile, &pod.seccomp_profile).unwrap_or_default())
    };
    let selinux = own
        .se_linux_options
        .as_ref()
        .or(pod.se_linux_options.as_ref());
    let user = own.run_as_user.or(pod.run_as_user);
    cri::LinuxContainerSecurityContext {
        capabilities: Some(cri::Capability {
            add_capabilities: own.capabilities.add.clone(),
            drop_capabilities: own.capabilities.drop.clone(),
            ..Default::default()
        }),
        privileged: own.privileged,
        namespace_options: Some(convert::namespaces(spec)),
        selinux_options: selinux.map(convert::selinux),
        run_as_user: id(user),
        // CRI takes a group only with a user.
        run_as_group: id(own
            .run_as_group
            .or(pod.run_as_group)
            .filter(|_| user.is_some())),
        readonly_rootfs: own.read_only_root_filesystem,
        supplemental_groups: convert::groups(spec),
        supplemental_groups_policy: convert::groups_policy(spec).into(),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(MASKED),
        readonly_paths: paths(READONLY),
        seccomp,
        apparmor: profile(&own.app_armor_profile, &pod.app_armor_profile),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_may_change_are_pulled_always() {
        for (image, expected) in [
            ("busybox", PullPolicy::Always),
            ("registry:5000/busybox", PullPolicy::Always),
            ("busybox:latest", PullPolicy::Always),
            ("registry:5000/busybox:1", PullPolicy::IfNotPresent),
            ("busybox@sha256:00", PullPolicy::IfNotPresent),
        ] {
            assert_eq!(default_pull(image), expected, "{image}");
        }
    }

    #[test]
    fn limits_become_what_the_kernel_takes() {
        const MEMORY: i64 = 1000 << 20;
        for (text, quota, shares, limit, oom) in [
            ("{}", 0, 2, 0, 1000),
            (
                "{limits: {cpu: 500m, memory: 64Mi}}",
                50_000,
                512,
                64 << 20,
                -997,
            ),
            ("{requests: {cpu: 1, memory: 100Mi}}", 0, 1024, 0, 900),
            ("{limits: {cpu: 1m}, requests: {cpu: 1m}}", 1000, 2, 0, 999),
        ] {
            let given: Resources = serde_yaml_ng::from_str(text).unwrap();
            let got = resources(&given, MEMORY).unwrap();
            let got = (
                got.cpu_quota,
                got.cpu_shares,
                got.memory_limit_in_bytes,
                got.oom_score_adj,
            );
            assert_eq!(got, (quota, shares, limit, oom), "{text}");
        }
    }
}
