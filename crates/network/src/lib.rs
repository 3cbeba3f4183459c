//! Pod networks through CNI: which network is the current one, attaching a pod's network
//! namespace to it, and taking it off again.
//!
//! A network is a conflist in a directory ([`conf`]); its plugins run as processes, one after
//! another, as version 1.1 of the CNI specification says ([`invoke`]). Every attachment is noted
//! on disk before its first plugin runs, together with the configuration it was made with, so that
//! it can be undone after a crash, after the conflist changed, and after its namespace went away.
//!
//! ```text
//! <cache_dir>/<pod id>.json    one attachment, written and renamed; survives a reboot, after which
//!                              `Network::gc` undoes what it names
//! ```
//!
//! `lo` of a pod is brought up where its namespace is made (`pinpod-kernel`), so no loopback plugin
//! runs here.

mod attach;
mod cache;
mod capability;
mod conf;
mod conf_dir;
mod detach;
mod error;
mod gc;
mod invoke;
mod quantity;
mod result;
mod status;
mod straggler;
mod template;
mod watch;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use attach::{AttachRequest, Attachment};
pub use cache::CacheError;
pub use capability::AnnotationError;
pub use conf::{ConfError, NetworkList, Version};
pub use conf_dir::LoadError;
pub use detach::DetachRequest;
pub use error::{AttachError, DetachError, GcError};
pub use invoke::{PluginError, Verb};
pub use quantity::{Quantity, QuantityError};
pub use status::NetworkStatus;
pub use template::{TEMPLATE_CONFLIST_NAME, TemplateError};

use cache::Cache;
use watch::Current;

/// A conflist for a node that has none: a bridge with IPv4 and IPv6 addresses from host-local,
/// masquerading, and host ports through portmap.
pub const BUNDLED_CONFLIST: &str = include_str!("../conf/10-pinpod-bridge.conflist");

/// Name under which [`BUNDLED_CONFLIST`] is installed.
pub const BUNDLED_CONFLIST_NAME: &str = "10-pinpod-bridge.conflist";

/// How long one plugin may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// ADD. Plugins that ask a network's own control plane may take minutes.
    pub add: Duration,
    /// DEL, and GC.
    pub del: Duration,
    /// STATUS.
    pub status: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            add: Duration::from_secs(220),
            del: Duration::from_secs(60),
            status: Duration::from_secs(10),
        }
    }
}

/// Where networks are configured and what they use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Directory of conflists; it may appear later.
    pub conf_dir: PathBuf,
    /// Directories searched for plugins, in this order.
    pub plugin_dirs: Vec<PathBuf>,
    /// Name of the network to use; `None` takes the first valid file.
    pub default_network: Option<String>,
    /// Template of a conflist, rendered when the kubelet tells the pods' address ranges; `None`
    /// where the conflist is written by somebody else.
    pub conf_template: Option<PathBuf>,
    /// Directory of the notes about attachments; made when missing.
    pub cache_dir: PathBuf,
    /// How long a plugin may run.
    pub deadlines: Deadlines,
}

/// The networks of this node. Clones are cheap and mean the same object; the task that watches the
/// directory ends with the last one.
#[derive(Debug, Clone)]
pub struct Network {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: NetworkConfig,
    cache: Cache,
    current: tokio::sync::watch::Receiver<Arc<Current>>,
    probe: Arc<tokio::sync::Notify>,
    pod_cidrs: Mutex<Vec<String>>,
}

impl Network {
    /// Reads the directory once and watches it from then on. Must be called within a tokio runtime.
    #[must_use]
    pub fn new(config: NetworkConfig) -> Self {
        let probe = Arc::new(tokio::sync::Notify::new());
        let current = watch::spawn(config.clone(), Arc::clone(&probe));
        Self {
            shared: Arc::new(Shared {
                cache: Cache::new(config.cache_dir.clone()),
                config,
                current,
                probe,
                pod_cidrs: Mutex::new(Vec::new()),
            }),
        }
    }

    fn keep_pod_cidrs(&self, cidrs: Vec<String>) {
        let mut kept = self
            .shared
            .pod_cidrs
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *kept = cidrs;
    }

    fn pod_cidrs(&self) -> Vec<String> {
        let kept = self
            .shared
            .pod_cidrs
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        kept.clone()
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.shared.current.borrow())
    }
}
