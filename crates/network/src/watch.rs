//! The task that keeps the current network current: it reads the directory of conflists again when
//! something in it changes, and probes the plugins when asked to.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use tokio::sync::{Notify, watch};

use crate::conf::{NetworkList, Version};
use crate::conf_dir::{self, chain};
use crate::invoke::{self, Call, Verb};
use crate::{NetworkConfig, NetworkStatus};

/// Writers take a moment between the creation of a file and its last byte.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// How often the directory is read when it cannot be watched.
const POLL: Duration = Duration::from_secs(5);

/// What is known now.
#[derive(Debug)]
pub(crate) struct Current {
    /// The network, or why there is none.
    pub(crate) list: Result<Arc<NetworkList>, String>,
    /// What the last probe said.
    pub(crate) status: NetworkStatus,
    /// When that was.
    pub(crate) probed: Instant,
}

/// Reads the directory once and starts the task, which ends with the last receiver.
pub(crate) fn spawn(config: NetworkConfig, probe: Arc<Notify>) -> watch::Receiver<Arc<Current>> {
    let (watches, warning) = watches(&config.conf_dir);
    let list = load(&config);
    let status = at_first(&config, &list);
    let (sender, receiver) = watch::channel(Arc::new(Current {
        list,
        status,
        probed: Instant::now(),
    }));
    if let Some(warning) = warning {
        tracing::warn!(directory = %config.conf_dir.display(), %warning, "CNI configuration is polled");
    }
    tokio::spawn(async move {
        tokio::select! {
            () = sender.closed() => {}
            () = follow(&config, &probe, &sender, watches) => {}
        }
    });
    receiver
}

/// The status before any STATUS was run.
fn at_first(config: &NetworkConfig, list: &Result<Arc<NetworkList>, String>) -> NetworkStatus {
    match list {
        Err(why) => NetworkStatus::not_ready(why.clone()),
        Ok(list) => match missing_plugin(config, list) {
            Some(why) => NetworkStatus::not_ready(why),
            None if list.version() >= Version::V1_1_0 => NetworkStatus::not_ready(format!(
                "CNI network {:?} has not answered STATUS yet",
                list.name()
            )),
            None => NetworkStatus::ready(),
        },
    }
}

fn load(config: &NetworkConfig) -> Result<Arc<NetworkList>, String> {
    match conf_dir::load(&config.conf_dir, config.default_network.as_deref()) {
        Ok(loaded) => {
            for (path, error) in &loaded.bad {
                tracing::warn!(path = %path.display(), error = chain(error), "CNI configuration passed over");
            }
            tracing::debug!(path = %loaded.path.display(), network = loaded.list.name(), "CNI network");
            Ok(Arc::new(loaded.list))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn missing_plugin(config: &NetworkConfig, list: &NetworkList) -> Option<String> {
    let missing = list
        .types()
        .find_map(|plugin| invoke::find(plugin, &config.plugin_dirs).err())?;
    Some(format!("CNI network {:?}: {missing}", list.name()))
}

/// Whether the plugins of a network could serve an ADD now.
async fn probe_list(config: &NetworkConfig, list: &NetworkList) -> NetworkStatus {
    if let Some(why) = missing_plugin(config, list) {
        return NetworkStatus::not_ready(why);
    }
    if list.version() < Version::V1_1_0 {
        return NetworkStatus::ready();
    }
    let call = Call {
        list,
        plugin_dirs: &config.plugin_dirs,
        verb: Verb::Status,
        target: None,
        deadline: config.deadlines.status,
    };
    for plugin in list.plugins() {
        if let Err(error) = call.run(plugin, serde_json::Map::new()).await {
            let message = format!("CNI network {:?}: {}", list.name(), chain(&error));
            return NetworkStatus::not_ready(message);
        }
    }
    NetworkStatus::ready()
}

async fn follow(
    config: &NetworkConfig,
    probe: &Notify,
    sender: &watch::Sender<Arc<Current>>,
    mut watching: Option<Watching>,
) {
    loop {
        // Read after the watches were set, so that no change falls between. What was known stays
        // when it is the same: a new list takes effect before its plugins are probed.
        let list = load(config);
        sender.send_if_modified(|current| {
            let changed = current.list != list;
            if changed {
                *current = Arc::new(Current {
                    status: at_first(config, &list),
                    list: list.clone(),
                    probed: Instant::now(),
                });
            }
            changed
        });
        let mut changed = std::pin::pin!(wait(watching.take()));
        loop {
            let probed_and_asked = async {
                publish_probe(config, sender, &list).await;
                probe.notified().await;
            };
            tokio::select! {
                () = &mut changed => break,
                () = probed_and_asked => {}
            }
        }
        watching = watches(&config.conf_dir).0;
    }
}

async fn publish_probe(
    config: &NetworkConfig,
    sender: &watch::Sender<Arc<Current>>,
    list: &Result<Arc<NetworkList>, String>,
) {
    let status = match list {
        Ok(list) => probe_list(config, list).await,
        Err(why) => NetworkStatus::not_ready(why.clone()),
    };
    if sender.borrow().status != status {
        tracing::info!(
            ready = status.ready,
            message = status.message,
            "CNI network status"
        );
    }
    sender.send_replace(Arc::new(Current {
        list: list.clone(),
        status,
        probed: Instant::now(),
    }));
}

/// Watches that tell when the directory, or what it holds, may have changed.
struct Watching {
    inotify: Inotify,
    /// Watches on parents, where only one name matters.
    narrow: Vec<(WatchDescriptor, OsString)>,
}

/// Watches the directory, the directories in it (lists include plugins from there), and its parent.
/// Without the directory, its nearest parent that exists. The second value says why it cannot.
fn watches(directory: &Path) -> (Option<Watching>, Option<std::io::Error>) {
    match try_watches(directory) {
        Ok(watching) => (Some(watching), None),
        Err(error) => (None, Some(error)),
    }
}

fn try_watches(directory: &Path) -> std::io::Result<Watching> {
    let inotify = Inotify::init()?;
    let content = WatchMask::CREATE
        | WatchMask::CLOSE_WRITE
        | WatchMask::MOVE
        | WatchMask::DELETE
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF;
    let narrow_mask = WatchMask::CREATE | WatchMask::MOVE | WatchMask::DELETE | WatchMask::ONLYDIR;
    if inotify.watches().add(directory, content).is_ok() {
        for entry in std::fs::read_dir(directory)?.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                // One that vanished meanwhile shows as an event of its parent.
                inotify.watches().add(entry.path(), content).ok();
            }
        }
    }
    let mut narrow = Vec::new();
    let mut below: PathBuf = directory.to_owned();
    while let (Some(parent), Some(name)) = (below.parent(), below.file_name()) {
        let name = name.to_owned();
        match inotify.watches().add(parent, narrow_mask) {
            Ok(descriptor) => {
                narrow.push((descriptor, name));
                break;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        below = parent.to_owned();
    }
    Ok(Watching { inotify, narrow })
}

/// Returns when the directory should be read again.
async fn wait(watching: Option<Watching>) {
    let Some(Watching { inotify, narrow }) = watching else {
        return tokio::time::sleep(POLL).await;
    };
    let Ok(mut events) = inotify.into_event_stream([0_u8; 4096]) else {
        return tokio::time::sleep(POLL).await;
    };
    while let Some(event) = events.next().await {
        let Ok(event) = event else {
            return tokio::time::sleep(POLL).await;
        };
        let wanted = narrow.iter().find(|(watch, _)| *watch == event.wd);
        let other = wanted.is_some_and(|(_, name)| event.name.as_ref() != Some(name));
        let lost = EventMask::Q_OVERFLOW | EventMask::IGNORED;
        if !other || event.mask.intersects(lost) {
            break;
        }
    }
    tokio::time::sleep(DEBOUNCE).await;
}
