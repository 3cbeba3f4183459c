//! NRI (Node Resource Interface): programs of the node's operator that hear of pods and containers
//! and change containers before they are made. <https://github.com/containerd/nri>
//!
//! - `frame` and `connection` are the wire: two ttrpc connections on one Unix socket.
//! - `plugin` is one connected plugin: its registration, and requests relayed to it.
//! - `merge` makes one adjustment of what several plugins want of a container.
//! - [`Nri`] holds the plugins; [`Turn`] relays one event to them, in the order of their indices.
//! - `start` lets plugins in: those of the plugin directory, which the daemon runs, and those that
//!   connect to the socket.
//!
//! The engine of pods is above this crate. What plugins want of it comes out as [`HostRequest`]s.

mod connection;
mod error;
pub mod frame;
mod launch;
mod merge;
mod plugin;
mod rpc;
mod start;
mod turn;

/// The messages of the protocol, generated from `proto/nri`.
#[allow(
    missing_docs,
    clippy::allow_attributes_without_reason,
    reason = "generated; the proto files hold a comment for each message"
)]
pub mod api {
    include!(concat!(env!("OUT_DIR"), "/nri.pkg.api.v1alpha1.rs"));
}

/// The protocol as an encoded `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{RwLock, mpsc, oneshot};
use tokio_util::task::TaskTracker;

pub use error::{NriError, PluginFault, StartError};
pub use merge::overlay;
pub use start::Running;
pub use turn::{Creation, Turn, UpdateOutcome};

use api::{Container, ContainerEviction, ContainerUpdate, PodSandbox};
use plugin::Plugin;

/// Requests of plugins that wait for the engine.
const QUEUE: usize = 64;

/// Who may be a plugin, and how long it may take.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What plugins are told the runtime is.
    pub runtime_name: String,
    /// Its version.
    pub runtime_version: String,
    /// Socket that plugins connect to; `None` lets nobody connect.
    pub socket: Option<PathBuf>,
    /// Directory of the plugins that are started with the daemon.
    pub plugin_dir: PathBuf,
    /// Directory of their configurations.
    pub plugin_config_dir: PathBuf,
    /// How long a plugin may take to register.
    pub registration_timeout: Duration,
    /// How long a plugin may take for one request.
    pub request_timeout: Duration,
}

/// What plugins want of the engine.
#[derive(Debug)]
pub enum HostRequest {
    /// A plugin joins: what is there? No event is relayed until the answer has reached the plugin,
    /// so the answer must be exactly what the events until now have made.
    State(oneshot::Sender<State>),
    /// A plugin wants changes by itself.
    Update {
        /// The plugin.
        plugin: String,
        /// New limits.
        updates: Vec<ContainerUpdate>,
        /// Containers to end.
        evictions: Vec<ContainerEviction>,
        /// The updates that could not be made.
        failed: oneshot::Sender<Vec<ContainerUpdate>>,
    },
}

/// What is there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// Pod sandboxes.
    pub pods: Vec<PodSandbox>,
    /// Containers.
    pub containers: Vec<Container>,
}

/// The connected plugins. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Nri {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    /// In the order in which they are called. Read while an event is relayed, written to when one
    /// joins or leaves: so each event is before or after that, never beside.
    pub(crate) plugins: Arc<RwLock<Vec<Arc<Plugin>>>>,
    pub(crate) host: mpsc::Sender<HostRequest>,
    /// One task for each plugin that has joined, until nothing of it is left.
    pub(crate) connected: TaskTracker,
}

impl Nri {
    /// Without a plugin yet. The requests must be served before [`Nri::start`].
    #[must_use]
    pub fn new(settings: Settings) -> (Self, mpsc::Receiver<HostRequest>) {
        let (host, requests) = mpsc::channel(QUEUE);
        let shared = Shared {
            settings,
            plugins: Arc::default(),
            host,
            connected: TaskTracker::new(),
        };
        let nri = Self {
            shared: Arc::new(shared),
        };
        (nri, requests)
    }

    /// Begins an event: no plugin joins or leaves until the turn is dropped. What the event changes
    /// in the [`State`] must be changed before that.
    ///
    /// A task must not ask for a turn while it has one.
    pub async fn turn(&self) -> Turn {
        Turn::new(Arc::clone(&self.shared.plugins).read_owned().await)
    }

    /// How long a plugin may take for one request.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        self.shared.settings.request_timeout
    }

    /// Starts the pre-installed plugins, returns when each has registered or failed to, and lets
    /// others connect from then on.
    ///
    /// # Errors
    /// [`StartError`]; a single plugin that fails is logged.
    pub async fn start(&self) -> Result<Running, StartError> {
        start::start(&self.shared).await
    }
}
