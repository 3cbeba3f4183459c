//! The fields of `v1.Pod` that pinpod honours. Every other field lands in `rest`, so that it can
//! be named to the user instead of being dropped in silence.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_yaml_ng::Value;

/// Fields that are not honoured.
type Rest = BTreeMap<String, Value>;

/// `v1.Pod`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pod {
    #[serde(default)]
    pub(crate) api_version: String,
    #[serde(default)]
    pub(crate) kind: String,
    pub(crate) metadata: Metadata,
    pub(crate) spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Metadata {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Spec {
    pub(crate) hostname: String,
    pub(crate) host_network: bool,
    #[serde(rename = "hostPID")]
    pub(crate) host_pid: bool,
    #[serde(rename = "hostIPC")]
    pub(crate) host_ipc: bool,
    pub(crate) share_process_namespace: bool,
    pub(crate) runtime_class_name: String,
    pub(crate) dns_policy: DnsPolicy,
    pub(crate) dns_config: DnsConfig,
    pub(crate) security_context: PodSecurityContext,
    pub(crate) init_containers: Vec<Container>,
    pub(crate) containers: Vec<Container>,
    pub(crate) volumes: Vec<Volume>,
    /// Read, as every manifest has one; nothing restarts containers here.
    #[serde(rename = "restartPolicy")]
    _restart_policy: String,
    pub(crate) termination_grace_period_seconds: Option<u32>,
    #[serde(flatten)]
    rest: Rest,
}

/// Without a cluster there is no cluster DNS: both `ClusterFirst` forms mean `Default`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum DnsPolicy {
    #[default]
    ClusterFirst,
    ClusterFirstWithHostNet,
    Default,
    None,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DnsConfig {
    pub(crate) nameservers: Vec<String>,
    pub(crate) searches: Vec<String>,
    pub(crate) options: Vec<DnsOption>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Debug, Deserialize)]
pub(crate) struct DnsOption {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodSecurityContext {
    pub(crate) run_as_user: Option<i64>,
    pub(crate) run_as_group: Option<i64>,
    pub(crate) supplemental_groups: Vec<i64>,
    pub(crate) supplemental_groups_policy: GroupsPolicy,
    pub(crate) fs_group: Option<i64>,
    pub(crate) sysctls: Vec<Sysctl>,
    pub(crate) seccomp_profile: Option<Profile>,
    pub(crate) app_armor_profile: Option<Profile>,
    pub(crate) se_linux_options: Option<SelinuxOptions>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum GroupsPolicy {
    #[default]
    Merge,
    Strict,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Sysctl {
    pub(crate) name: String,
    pub(crate) value: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Profile {
    #[serde(rename = "type")]
    pub(crate) kind: ProfileKind,
    #[serde(default)]
    pub(crate) localhost_profile: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum ProfileKind {
    RuntimeDefault,
    Unconfined,
    Localhost,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct SelinuxOptions {
    pub(crate) user: String,
    pub(crate) role: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) level: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) image_pull_policy: Option<PullPolicy>,
    pub(crate) command: Vec<String>,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<EnvVar>,
    pub(crate) working_dir: String,
    pub(crate) ports: Vec<Port>,
    pub(crate) resources: Resources,
    pub(crate) security_context: SecurityContext,
    pub(crate) stdin: bool,
    pub(crate) stdin_once: bool,
    pub(crate) tty: bool,
    pub(crate) volume_mounts: Vec<VolumeMount>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EnvVar {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) value: String,
    pub(crate) value_from: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Port {
    pub(crate) container_port: u16,
    #[serde(default)]
    pub(crate) host_port: u16,
    #[serde(default, rename = "hostIP")]
    pub(crate) host_ip: String,
    #[serde(default)]
    pub(crate) protocol: Protocol,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Resources {
    pub(crate) limits: BTreeMap<String, Value>,
    pub(crate) requests: BTreeMap<String, Value>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SecurityContext {
    pub(crate) privileged: bool,
    pub(crate) run_as_user: Option<i64>,
    pub(crate) run_as_group: Option<i64>,
    pub(crate) read_only_root_filesystem: bool,
    pub(crate) allow_privilege_escalation: Option<bool>,
    pub(crate) capabilities: Capabilities,
    pub(crate) seccomp_profile: Option<Profile>,
    pub(crate) app_armor_profile: Option<Profile>,
    pub(crate) se_linux_options: Option<SelinuxOptions>,
    pub(crate) proc_mount: ProcMount,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum ProcMount {
    #[default]
    Default,
    Unmasked,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Capabilities {
    pub(crate) add: Vec<String>,
    pub(crate) drop: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct VolumeMount {
    pub(crate) name: String,
    pub(crate) mount_path: String,
    pub(crate) read_only: bool,
    pub(crate) recursive_read_only: String,
    pub(crate) sub_path: String,
    pub(crate) mount_propagation: Propagation,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Propagation {
    #[default]
    None,
    HostToContainer,
    Bidirectional,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Volume {
    pub(crate) name: String,
    pub(crate) empty_dir: Option<Value>,
    pub(crate) host_path: Option<HostPath>,
    #[serde(flatten)]
    pub(crate) rest: Rest,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct HostPath {
    pub(crate) path: String,
    #[serde(default, rename = "type")]
    pub(crate) kind: String,
}

impl Pod {
    /// Names every field that will not be honoured, as a path from the document's root.
    pub(crate) fn ignored(&self, out: &mut Vec<String>) {
        let spec = &self.spec;
        note("metadata", &self.metadata.rest, out);
        note("spec", &spec.rest, out);
        note("spec.dnsConfig", &spec.dns_config.rest, out);
        note("spec.securityContext", &spec.security_context.rest, out);
        for (list, name) in [
            (&spec.init_containers, "initContainers"),
            (&spec.containers, "containers"),
        ] {
            for (index, container) in list.iter().enumerate() {
                container.ignored(&format!("spec.{name}[{index}]"), out);
            }
        }
        for (index, volume) in spec.volumes.iter().enumerate() {
            if volume.empty_dir.as_ref().is_some_and(|options| {
                options
                    .as_mapping()
                    .is_some_and(|options| !options.is_empty())
            }) {
                out.push(format!("spec.volumes[{index}].emptyDir.*"));
            }
        }
    }
}

impl Container {
    fn ignored(&self, at: &str, out: &mut Vec<String>) {
        note(at, &self.rest, out);
        note(&format!("{at}.resources"), &self.resources.rest, out);
        note(
            &format!("{at}.securityContext"),
            &self.security_context.rest,
            out,
        );
        for (index, mount) in self.volume_mounts.iter().enumerate() {
            note(&format!("{at}.volumeMounts[{index}]"), &mount.rest, out);
        }
    }
}

fn note(at: &str, rest: &Rest, out: &mut Vec<String>) {
    out.extend(rest.keys().map(|field| format!("{at}.{field}")));
}
