//! NRI plugins and the engine: which pods and containers they know of, and when they are told.
//!
//! - [`Plugins`] relays each event from within the job that it is part of, so a slow plugin holds up
//!   that job and nothing else.
//! - `ledger` is what plugins have been told; it changes while an event is relayed and never
//!   otherwise, so a plugin that joins is told of exactly what it will hear more of.
//! - `host` does what plugins want by themselves: updates and evictions of running containers.

mod containers;
mod host;
mod ledger;
mod pods;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use pinpod_nri::{HostRequest, Nri, Running, Settings, StartError, Turn};
use tokio::sync::mpsc;

use crate::index::Index;
use ledger::Ledger;

/// The plugins of the node, if the configuration lets there be any.
#[derive(Debug, Default)]
pub struct Plugins {
    link: Option<Link>,
}

#[derive(Debug)]
struct Link {
    nri: Nri,
    requests: Mutex<Option<mpsc::Receiver<HostRequest>>>,
    ledger: Mutex<Ledger>,
    index: OnceLock<Arc<Index>>,
}

impl Plugins {
    /// No plugins ever.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Plugins as the settings say, once [`crate::Engine::start_plugins`] lets them in.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let (nri, requests) = Nri::new(settings);
        Self {
            link: Some(Link {
                nri,
                requests: Mutex::new(Some(requests)),
                ledger: Mutex::default(),
                index: OnceLock::new(),
            }),
        }
    }

    /// Whether there can be plugins at all.
    pub(crate) fn possible(&self) -> bool {
        self.link.is_some()
    }

    /// Where containers are found when a plugin wants something of them.
    pub(crate) fn attach(&self, index: &Arc<Index>) {
        if let Some(link) = &self.link {
            // Set once, when the engine is built.
            link.index.get_or_init(|| Arc::clone(index));
        }
    }

    /// Starts what the configuration names, and lets others connect.
    pub(crate) async fn start(self: &Arc<Self>) -> Result<Option<Running>, StartError> {
        let Some(link) = &self.link else {
            return Ok(None);
        };
        let requests = link
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(requests) = requests {
            tokio::spawn(host::serve(Arc::clone(self), requests));
        }
        link.nri.start().await.map(Some)
    }
}

impl Link {
    async fn turn(&self) -> Turn {
        self.nri.turn().await
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Each change is one insert, change or remove, so poison leaves nothing half-done.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs an event that plugins did not take, where nothing depends on it.
fn complain(what: &str, id: &str, result: Result<(), pinpod_nri::NriError>) {
    if let Err(error) = result {
        tracing::warn!(id, error = %crate::driver::Chain(&error), "an NRI plugin did not take {what}");
    }
}
