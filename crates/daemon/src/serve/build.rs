//! Builds every part from the configuration, from the lowest up. Nothing is chosen after this.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use pinpod_bundle::seccomp::Profile;
use pinpod_bundle::{NodeFacts, SpecDefaults};
use pinpod_cgroup::Hierarchy;
use pinpod_config::Config;
use pinpod_cri_server::{DeadlineLayer, HandlerReport, MessageSizeLayer, NodeReport};
use pinpod_image::{Images, ImagesConfig};
use pinpod_model::CgroupDriver;
use pinpod_network::{Deadlines, Network, NetworkConfig};
use pinpod_oci_runtime::{Features, Runtime};
use pinpod_pod::{Engine, Events, Handler, Parts, Settings};
use pinpod_stats::Meter;
use serde_json::json;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tower::layer::util::{Identity, Stack};

use super::{plugins, user_namespaces};
use crate::admin::{Admin, AdminServer};

/// Size of a pod's `/dev/shm` in bytes, as Kubernetes' users know it.
const SHM_SIZE: u64 = 64 << 20;
/// How long a finished creation waits for a caller before it is undone.
const UNFETCHED_GRACE: Duration = Duration::from_secs(120);
/// Where a kubelet keeps seccomp profiles that pods name.
const SECCOMP_DIR: &str = "/var/lib/kubelet/seccomp";

/// How often a client that says nothing is asked whether it is there, and how long its answer may
/// take.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_PATIENCE: Duration = Duration::from_secs(20);
/// Calls under way on one connection; a further one waits in its client. A kubelet that drains a
/// full node stops some hundred containers at once, each for up to its grace period.
const MAX_CALLS: u32 = 1000;
/// The longest headers of a call, in bytes.
const MAX_HEADERS: u32 = 16 << 10;

/// What there is to serve.
#[derive(Debug)]
pub(super) struct Services {
    /// The services of the socket, on top of everything.
    pub(super) router: Router<Stack<MessageSizeLayer, Stack<DeadlineLayer, Identity>>>,
    /// The server of their streams.
    pub(super) streaming: pinpod_streaming::Server,
    /// The image store, which follows a changed configuration.
    pub(super) images: Images,
    /// What their clients follow until it is ended.
    pub(super) events: Events,
    /// The NRI plugins, if any could join.
    pub(super) nri: Option<pinpod_nri::Running>,
}

/// Builds everything.
///
/// # Errors
/// If a part cannot be built: the text names it.
pub(super) async fn services(config: &Config) -> anyhow::Result<Services> {
    let node = pinpod_bundle::host::node_facts().context("cannot read what this node can do")?;
    let mut config = config.clone();
    super::apparmor::load(&mut config, &node).await;
    let config = &config;
    tell_lacks(config, &node);
    let handlers = handlers(config, &node).await;
    let report = report(config, &node, &handlers)?;
    let images = open_images(config).await?;
    let network = Network::new(network_config(config));
    let cgroups = Hierarchy::detect().context("cannot find control groups")?;
    let engine = Engine::recover(Parts {
        settings: settings(config, handlers)?,
        node,
        cgroups: cgroups.clone(),
        images: images.clone(),
        network: network.clone(),
        plugins: Arc::new(plugins::of(config)),
    })
    .await
    .context("cannot take up what a former daemon left")?;
    let nri = plugins::start(&engine).await;
    let streaming = super::streaming::config(&config.api)?;
    let streaming = pinpod_streaming::Server::bind(streaming, engine.clone())?;
    let events = engine.events().clone();
    let meter = Meter::new(pinpod_stats::Parts {
        engine: engine.clone(),
        images: images.clone(),
        cgroups,
        cgroup_driver: config.runtime.cgroup_manager,
        settings: super::stats::settings(&config.stats),
    });
    let (runtime, image) = pinpod_cri_server::services(pinpod_cri_server::Parts {
        engine,
        images: images.clone(),
        network,
        node: report,
        streaming: streaming.clone(),
        meter,
    });
    let send = usize::try_from(config.api.grpc_max_send_msg_size)?;
    let receive = usize::try_from(config.api.grpc_max_recv_msg_size)?;
    let runtime = runtime
        .max_encoding_message_size(send)
        .max_decoding_message_size(receive);
    let image = image
        .max_encoding_message_size(send)
        .max_decoding_message_size(receive);
    let router = Server::builder()
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_PATIENCE))
        .max_concurrent_streams(MAX_CALLS)
        .http2_max_header_list_size(MAX_HEADERS)
        .layer(DeadlineLayer)
        .layer(MessageSizeLayer)
        .add_service(runtime)
        .add_service(image)
        .add_service(AdminServer::new(Admin {
            images: images.clone(),
        }));
    Ok(Services {
        router,
        images,
        streaming,
        events,
        nri,
    })
}

/// Opens the image store, which takes the lock of its directory.
///
/// # Errors
/// If another process uses the store, or it cannot be used at all.
pub(crate) async fn open_images(config: &Config) -> anyhow::Result<Images> {
    let registries = config.image.registries_conf.clone();
    let mut drop_ins = registries.clone().into_os_string();
    drop_ins.push(".d");
    let images = ImagesConfig {
        root: config.root.clone(),
        registries_conf: registries,
        registries_dir: drop_ins.into(),
        short_name_mode: short_name_mode(config.image.short_name_mode),
        auth_file: given(&config.image.global_auth_file),
        pull_progress_timeout: config.image.pull_progress_timeout.0,
        pinned: config.image.pinned_images.clone(),
        ..ImagesConfig::default()
    };
    let opened = tokio::task::spawn_blocking(move || Images::open(images)).await?;
    opened.with_context(|| format!("cannot open the image store in {}", config.root.display()))
}

/// The default leaves the word to `registries.conf`, whose own default it is.
fn short_name_mode(mode: pinpod_config::ShortNameMode) -> Option<pinpod_image::ShortNameMode> {
    match mode {
        pinpod_config::ShortNameMode::Enforcing => None,
        pinpod_config::ShortNameMode::Disabled => Some(pinpod_image::ShortNameMode::Disabled),
    }
}

/// A path that the configuration may leave empty.
fn given(path: &Path) -> Option<PathBuf> {
    (!path.as_os_str().is_empty()).then(|| path.to_owned())
}

fn network_config(config: &Config) -> NetworkConfig {
    let name = &config.network.cni_default_network;
    NetworkConfig {
        conf_dir: config.network.network_dir.clone(),
        plugin_dirs: config.network.plugin_dirs.clone(),
        conf_template: given(&config.network.cni_conf_template),
        default_network: (!name.is_empty()).then(|| name.clone()),
        cache_dir: config.root.join("cni"),
        deadlines: Deadlines::default(),
    }
}

/// The handlers whose programs are here. One that is not is named in the log and left out, so that
/// a pod which asks for it hears that it does not exist.
async fn handlers(config: &Config, node: &NodeFacts) -> Vec<Handler> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let mut handlers = Vec::new();
    for (name, table) in &config.runtime.runtimes.0 {
        let (Some(path), Some(root)) = (
            config.runtime_path(name, &search),
            config.runtime_root(name),
        ) else {
            tracing::warn!(handler = %name, "its OCI runtime is not installed");
            continue;
        };
        let mut runtime = Runtime::new(name, path, root);
        runtime.systemd_cgroup = config.runtime.cgroup_manager == CgroupDriver::Systemd;
        let features = match runtime.features().await {
            Ok(features) => Some(features),
            Err(error) => {
                tracing::info!(handler = %name, error = crate::chain(&error), "no features");
                None
            }
        };
        let mapped = user_namespaces::check(features.as_ref(), node, &config.root);
        if let Err(reason) = &mapped {
            tracing::warn!(handler = %name, reason, "no user namespaces for pods");
        }
        handlers.push(Handler {
            name: name.clone(),
            runtime,
            features,
            user_namespaces: mapped,
            create_timeout: Duration::from_secs(table.container_create_timeout.into()),
            privileged_without_host_devices: table.privileged_without_host_devices,
        });
    }
    handlers
}

fn settings(config: &Config, handlers: Vec<Handler>) -> anyhow::Result<Settings> {
    let runtime = &config.runtime;
    let default = &runtime.default_runtime;
    if !handlers.iter().any(|handler| handler.name == *default) {
        bail!("the OCI runtime of default_runtime {default:?} is not installed");
    }
    let own = std::env::current_exe().context("cannot find my own program")?;
    let beside = "is neither beside pinpod nor in /usr/libexec/pinpod";
    let profile = given(&runtime.seccomp_profile);
    let seccomp = match &profile {
        Some(path) => std::fs::read_to_string(path)
            .map_err(anyhow::Error::from)
            .and_then(|text| Ok(Profile::parse(&text)?))
            .with_context(|| format!("seccomp_profile {}", path.display()))?,
        None => Profile::builtin(),
    };
    let sysctls = runtime.default_sysctls.iter();
    Ok(Settings {
        runroot: config.runroot.clone(),
        namespaces_dir: runtime.namespaces_dir.clone(),
        cgroup_driver: runtime.cgroup_manager,
        handlers,
        default_handler: default.clone(),
        monitor_binary: config
            .monitor_path(&own)
            .with_context(|| format!("pinpod-monitor {beside}"))?,
        init_binary: config
            .init_path(&own)
            .with_context(|| format!("pinpod-init {beside}"))?,
        default_sysctls: sysctls
            .map(|pair| (pair.name.clone(), pair.value.clone()))
            .collect(),
        seccomp_dir: PathBuf::from(SECCOMP_DIR),
        spec_defaults: SpecDefaults::from_config(runtime, seccomp)?,
        shm_size: SHM_SIZE,
        unfetched_grace: UNFETCHED_GRACE,
    })
}

/// What Status tells of this node. A runtime that does not tell its features has none.
fn report(config: &Config, node: &NodeFacts, handlers: &[Handler]) -> anyhow::Result<NodeReport> {
    let reports = handlers.iter().map(|handler| HandlerReport {
        name: handler.name.clone(),
        recursive_read_only_mounts: handler
            .features
            .as_ref()
            .is_some_and(Features::recursive_read_only_mounts),
        user_namespaces: handler.user_namespaces.is_ok(),
    });
    let lacks: Vec<&str> = lacks(config, node)
        .into_iter()
        .map(|(what, _)| what)
        .collect();
    Ok(NodeReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cgroup_driver: config.runtime.cgroup_manager,
        handlers: reports.collect(),
        default_handler: config.runtime.default_runtime.clone(),
        // `/sys` is a bind mount there, which every runtime can make.
        user_namespaces_host_network: handlers.iter().any(|it| it.user_namespaces.is_ok()),
        info: BTreeMap::from([
            ("config".to_owned(), serde_json::to_string(config)?),
            ("lacks".to_owned(), json!(lacks).to_string()),
        ]),
    })
}

/// What this node has not, and what follows. `pinpod check` tells more.
fn lacks(config: &Config, node: &NodeFacts) -> Vec<(&'static str, &'static str)> {
    let resource = oci_spec::runtime::Capability::SysResource;
    let profile = &config.runtime.apparmor_profile;
    let own = profile.is_empty() || profile == pinpod_config::DEFAULT_APPARMOR_PROFILE;
    let apparmor = !own && !node.apparmor;
    [
        (
            !node.capabilities.contains(&resource),
            (
                "CAP_SYS_RESOURCE",
                "oom_score_adj is raised to pinpod's own where it would be lower",
            ),
        ),
        (!node.seccomp, ("seccomp", "system calls are not filtered")),
        (apparmor, ("AppArmor", "apparmor_profile has no effect")),
        (
            !node.swap,
            ("swap accounting", "swap limits have no effect"),
        ),
    ]
    .into_iter()
    .filter_map(|(is_lacking, what)| is_lacking.then_some(what))
    .collect()
}

fn tell_lacks(config: &Config, node: &NodeFacts) {
    for (what, consequence) in lacks(config, node) {
        tracing::warn!(what, consequence, "this node lacks something");
    }
}
