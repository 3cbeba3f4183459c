//! The tables of the configuration and the keys in them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use pinpod_model::CgroupDriver;

use crate::ConfigError;
use crate::check;
use crate::load::Source;
use crate::section::section;
use crate::value::{
    Assignment, DeviceEntry, Interval, LogFormat, LogLevel, MetricGroup, RuntimeType,
    ShortNameMode, TlsVersion, Ulimit,
};

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn paths(values: &[&str]) -> Vec<PathBuf> {
    values.iter().map(PathBuf::from).collect()
}

/// The AppArmor profile that pinpod carries.
pub const DEFAULT_APPARMOR_PROFILE: &str = "pinpod-default";

section! {
    /// The whole configuration; table `[pinpod]`.
    pub struct Config, file ConfigFile;

    /// Directory of what survives a reboot: images, layers and writable layers of containers.
    /// An absolute path.
    root: PathBuf = PathBuf::from("/var/lib/pinpod"), check::absolute;

    /// Directory of what ends with a reboot: records, bundles and sockets. An absolute path on a
    /// tmpfs.
    runroot: PathBuf = PathBuf::from("/run/pinpod"), check::absolute;

    tables {
        /// The CRI socket; table `[pinpod.api]`.
        api: Api, file ApiFile;
        /// Pods and containers; table `[pinpod.runtime]`.
        runtime: Runtime, file RuntimeFile;
        /// Images; table `[pinpod.image]`.
        image: Image, file ImageFile;
        /// CNI; table `[pinpod.network]`.
        network: Network, file NetworkFile;
        /// NRI plugins; table `[pinpod.nri]`.
        nri: Nri, file NriFile;
        /// Statistics and metrics; table `[pinpod.stats]`.
        stats: Stats, file StatsFile;
    }
}

section! {
    /// The CRI socket; table `[pinpod.api]`.
    pub struct Api, file ApiFile;

    /// Unix socket that the kubelet connects to. An absolute path of at most 107 bytes.
    listen: PathBuf = PathBuf::from("/run/pinpod/pinpod.sock"), check::socket;

    /// Largest gRPC message sent, in bytes.
    grpc_max_send_msg_size: u32 = 80 * 1024 * 1024, check::message_size;

    /// Largest gRPC message received, in bytes.
    grpc_max_recv_msg_size: u32 = 80 * 1024 * 1024, check::message_size;

    /// Address that exec, attach and port-forward are served on, over HTTP. The kubelet connects
    /// to it, so loopback will do.
    stream_address: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST), check::any;

    /// Port of that address; 0 means any that is free.
    stream_port: u16 = 0, check::any;

    /// How long a stream may be without a byte before it is closed, such as "30m".
    stream_idle_timeout: Interval = Interval(Duration::from_secs(4 * 3600)), check::some_time;

    /// Streams of exec, attach and port-forward that may be open at once.
    stream_max_connections: u32 = 1000, check::connections;

    /// Whether they are served over TLS: stream_tls_cert and stream_tls_key must be set then.
    stream_enable_tls: bool = false, check::any;

    /// Certificate of the stream server, with those between it and its authority: PEM. Read again
    /// when it changes, as the two files below are.
    stream_tls_cert: PathBuf = PathBuf::new(), check::absolute_or_empty;

    /// Private key of that certificate: PEM.
    stream_tls_key: PathBuf = PathBuf::new(), check::absolute_or_empty;

    /// Authorities whose certificates streaming clients must show: PEM. Empty means that clients
    /// need none.
    stream_tls_ca: PathBuf = PathBuf::new(), check::absolute_or_empty;

    /// Oldest version of TLS that is spoken: "VersionTLS12" or "VersionTLS13".
    tls_min_version: TlsVersion = TlsVersion::Tls12, check::any;

    /// Cipher suites of TLS by their IANA names; none means all that pinpod knows.
    tls_cipher_suites: Vec<String> = Vec::new(), check::words;
}

section! {
    /// Pods and containers; table `[pinpod.runtime]`.
    pub struct Runtime, file RuntimeFile;

    /// Handler that runs a pod which names none. A table `[pinpod.runtime.runtimes.<handler>]`
    /// must exist for it.
    default_runtime: String = "runc".to_owned(), check::word;

    /// Who makes cgroups: "systemd" (slices and scopes, over D-Bus) or "cgroupfs" (pinpod, by
    /// itself). The kubelet asks pinpod for it.
    cgroup_manager: CgroupDriver = CgroupDriver::Systemd, check::any;

    /// Directory below which the namespaces of pods are pinned: netns, ipcns, utsns, userns and
    /// pidns. With "/run" a pod's network shows in `ip netns list`. An absolute path.
    namespaces_dir: PathBuf = PathBuf::from("/run"), check::absolute;

    /// Program that holds the containers of one pod: pinpod-monitor. Empty means: beside the
    /// running pinpod, else /usr/libexec/pinpod.
    monitor_path: PathBuf = PathBuf::new(), check::absolute_or_empty;

    /// Program that is process 1 where a pod shares one PID namespace: pinpod-init. Empty means:
    /// beside the running pinpod, else /usr/libexec/pinpod.
    init_path: PathBuf = PathBuf::new(), check::absolute_or_empty;

    /// Capabilities of a container that asks for no change, without "CAP_". Those that the node
    /// lacks are left out.
    default_capabilities: Vec<String> = strings(&[
        "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "SETGID", "SETUID", "SETPCAP",
        "NET_BIND_SERVICE", "KILL",
    ]), check::capabilities;

    /// Environment of every container, each "NAME=value"; the image and the pod override it.
    default_env: Vec<Assignment> = Vec::new(), check::unique;

    /// Kernel parameters of every pod, each "name=value"; the pod overrides them. One that
    /// belongs to a namespace which the pod shares with the node is left out.
    default_sysctls: Vec<Assignment> = vec![Assignment {
        name: "net.ipv4.ping_group_range".to_owned(),
        value: "0 2147483647".to_owned(),
    }], check::unique;

    /// Resource limits of every container, each "name=soft:hard" in the unit of setrlimit(2); -1
    /// means no limit.
    default_ulimits: Vec<Ulimit> = Vec::new(), check::unique_limits;

    /// Seccomp profile for RuntimeDefault: a JSON file of the OCI or the Docker form. Empty means
    /// the one that pinpod carries.
    seccomp_profile: PathBuf = PathBuf::new(), check::absolute_or_empty;

    /// AppArmor profile for RuntimeDefault. "pinpod-default" is the one that pinpod carries and
    /// loads; another one must be loaded already. Empty means none.
    apparmor_profile: String = DEFAULT_APPARMOR_PROFILE.to_owned(), check::any;

    /// Devices that a pod may ask for with the annotation io.kubernetes.cri-o.Devices, as paths
    /// on the node.
    allowed_devices: Vec<PathBuf> = paths(&["/dev/fuse", "/dev/net/tun"]), check::each_absolute;

    /// Devices of every container, each "host path:path in the container:permissions".
    additional_devices: Vec<DeviceEntry> = Vec::new(), check::unique_devices;

    /// Most processes of one container; -1 means no limit.
    pids_limit: i64 = -1, check::pids;

    /// What the daemon logs: "error", "warn", "info", "debug" or "trace".
    log_level: LogLevel = LogLevel::Info, check::any;

    /// Shape of the log: "text" or "json".
    log_format: LogFormat = LogFormat::Text, check::any;

    tables {
        /// The handlers; tables `[pinpod.runtime.runtimes.<handler>]`.
        runtimes: Runtimes, file RuntimesFile;
    }
}

section! {
    /// One runtime handler; table `[pinpod.runtime.runtimes.<handler>]`.
    pub struct RuntimeHandler, file RuntimeHandlerFile;

    /// The OCI runtime. Empty means the program of the handler's name, looked up in PATH.
    runtime_path: PathBuf = PathBuf::new(), check::absolute_or_empty;

    /// Kind of the program: "oci".
    runtime_type: RuntimeType = RuntimeType::Oci, check::any;

    /// Directory of the OCI runtime's state. Empty means runroot/runtimes/<handler>.
    runtime_root: PathBuf = PathBuf::new(), check::absolute_or_empty;

    /// Longest time in seconds that creating a container may take.
    container_create_timeout: u32 = 240, check::seconds;

    /// Whether a privileged container goes without the devices of the node.
    privileged_without_host_devices: bool = false, check::any;
}

section! {
    /// Images; table `[pinpod.image]`.
    pub struct Image, file ImageFile;

    /// Credentials for pulls that bring none: a file as `podman login` writes it. Empty means
    /// none.
    global_auth_file: PathBuf = PathBuf::new(), check::absolute_or_empty;

    /// Images that the kubelet may not remove: exact names, "start*" or "*middle*".
    pinned_images: Vec<String> = Vec::new(), check::words;

    /// How long a pull may go without a byte before it is given up, such as "30s"; "0s" means for
    /// ever.
    pull_progress_timeout: Interval = Interval::default(), check::any;

    /// What an image name without a registry does where several could be meant: "enforcing"
    /// (refused) or "disabled" (each tried in turn).
    short_name_mode: ShortNameMode = ShortNameMode::Enforcing, check::any;

    /// Mirrors, blocked and insecure registries, and aliases of short names. An absolute path; the
    /// directory of the same name with ".d" is read after it. The file need not exist.
    registries_conf: PathBuf = PathBuf::from("/etc/containers/registries.conf"), check::absolute;
}

section! {
    /// CNI; table `[pinpod.network]`.
    pub struct Network, file NetworkFile;

    /// Name of the CNI network to use. Empty means the first one found in network_dir.
    cni_default_network: String = String::new(), check::any;

    /// Template of a CNI conflist, rendered into network_dir once the kubelet has told the address
    /// ranges of the pods (UpdateRuntimeConfig). Empty means none.
    cni_conf_template: PathBuf = PathBuf::new(), check::absolute_or_empty;

    /// Directory of CNI configurations.
    network_dir: PathBuf = PathBuf::from("/etc/cni/net.d"), check::absolute;

    /// Directories of CNI plugins; the first that has the plugin counts.
    plugin_dirs: Vec<PathBuf> = paths(&["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"]),
        check::absolute_each;
}

section! {
    /// NRI plugins; table `[pinpod.nri]`.
    pub struct Nri, file NriFile;

    /// Whether there can be NRI plugins.
    enable_nri: bool = true, check::any;

    /// Unix socket that plugins connect to. An absolute path of at most 107 bytes.
    nri_listen: PathBuf = PathBuf::from("/var/run/nri/nri.sock"), check::socket;

    /// Directory of plugins that the daemon starts and ends with itself: executables named
    /// "<two digits>-<name>".
    nri_plugin_dir: PathBuf = PathBuf::from("/opt/nri/plugins"), check::absolute;

    /// Directory of their configurations: "<two digits>-<name>.conf", else "<name>.conf".
    nri_plugin_config_dir: PathBuf = PathBuf::from("/etc/nri/conf.d"), check::absolute;

    /// How long a plugin may take to register, such as "5s".
    nri_plugin_registration_timeout: Interval = Interval(Duration::from_secs(5)), check::some_time;

    /// How long a plugin may take for one request, such as "2s".
    nri_plugin_request_timeout: Interval = Interval(Duration::from_secs(2)), check::some_time;

    /// Whether only the plugins of nri_plugin_dir are let in.
    nri_disable_connections: bool = false, check::any;
}

section! {
    /// Statistics and metrics; table `[pinpod.stats]`.
    pub struct Stats, file StatsFile;

    /// How often statistics and metrics are read ahead of the calls that ask for them, in seconds.
    /// With 0 each call reads for itself.
    collection_period: u32 = 0, check::any;

    /// Groups of metrics that there are: "all", or of "cpu", "disk", "diskIO", "hugetlb", "memory",
    /// "network", "oom", "pressure", "process" and "spec".
    included_pod_metrics: Vec<MetricGroup> = vec![MetricGroup::All], check::any;
}

/// The runtime handlers by name.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Runtimes(pub BTreeMap<String, RuntimeHandler>);

impl Default for Runtimes {
    fn default() -> Self {
        Self(BTreeMap::from([(
            "runc".to_owned(),
            RuntimeHandler::default(),
        )]))
    }
}

impl Runtimes {
    pub(crate) fn write_commented(
        &self,
        table: &str,
        out: &mut String,
    ) -> Result<(), toml::ser::Error> {
        for (index, (name, handler)) in self.0.iter().enumerate() {
            if index > 0 {
                out.push('\n');
            }
            handler.write_commented(&format!("{table}.{}", quoted(name)), out)?;
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn keys(table: &str, out: &mut Vec<String>) {
        RuntimeHandler::keys(&format!("{table}.<handler>"), out);
    }
}

/// A key as TOML wants it: bare where it can be.
fn quoted(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !key.is_empty() && key.chars().all(bare) {
        key.to_owned()
    } else {
        toml::Value::String(key.to_owned()).to_string()
    }
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct RuntimesFile(BTreeMap<toml::Spanned<String>, RuntimeHandlerFile>);

impl RuntimesFile {
    pub(crate) fn apply(
        self,
        into: &mut Runtimes,
        table: &str,
        source: &mut Source<'_>,
    ) -> Result<(), ConfigError> {
        for (name, handler) in self.0 {
            let span = name.span();
            let name = name.into_inner();
            let key = format!("{table}.{name}");
            if let Err(reason) = check::handler_name(&name) {
                return Err(source.invalid(key, span, reason));
            }
            handler.apply(into.0.entry(name).or_default(), &key, source)?;
        }
        Ok(())
    }
}
