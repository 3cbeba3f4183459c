//! Whether pods can get a network now, for CRI's `NetworkReady` condition.

use std::time::Duration;

use crate::Network;

/// How old a probe may be before a call of [`Network::status`] starts another.
const PROBE_AGE: Duration = Duration::from_secs(3);

/// CRI's `NetworkReady` condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkStatus {
    /// Pods can get a network.
    pub ready: bool,
    /// Word for a program; empty when ready.
    pub reason: &'static str,
    /// What is missing, for a person; empty when ready.
    pub message: String,
}

impl NetworkStatus {
    pub(crate) fn ready() -> Self {
        Self {
            ready: true,
            reason: "",
            message: String::new(),
        }
    }

    pub(crate) fn not_ready(message: String) -> Self {
        Self {
            ready: false,
            reason: "NetworkPluginNotReady",
            message,
        }
    }
}

impl Network {
    /// What the last probe found; returns at once. When that is a few seconds old, the next probe
    /// (plugins present; STATUS for networks of version 1.1) starts in the background.
    #[must_use]
    pub fn status(&self) -> NetworkStatus {
        let current = self.current();
        if current.probed.elapsed() >= PROBE_AGE {
            self.shared.probe.notify_one();
        }
        current.status.clone()
    }

    /// Waits until the status differs from `seen`, and returns the new one.
    pub async fn status_changed(&self, seen: &NetworkStatus) -> NetworkStatus {
        let mut receiver = self.shared.current.clone();
        match receiver.wait_for(|current| current.status != *seen).await {
            Ok(current) => current.status.clone(),
            // The watching task is gone, which only happens when the runtime shuts down.
            Err(_) => std::future::pending().await,
        }
    }
}
