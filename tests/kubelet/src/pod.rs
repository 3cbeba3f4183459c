//! A pod as the kubelet's `/pods` shows it.

use anyhow::Context as _;
use pinpod_testkit::Result;
use serde_json::Value;

/// A pod with its status.
#[derive(Debug, Clone)]
pub struct Pod(Value);

impl From<Value> for Pod {
    fn from(value: Value) -> Self {
        Self(value)
    }
}

impl Pod {
    /// Its full name: the manifest's and the node's.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> &Value {
        &self.0["status"]
    }

    /// `Pending`, `Running`, `Succeeded`, `Failed`.
    #[must_use]
    pub fn phase(&self) -> &str {
        self.status()["phase"].as_str().unwrap_or_default()
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> &str {
        self.status()["podIP"].as_str().unwrap_or_default()
    }

    /// Whether the condition `Ready` holds.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let conditions = self.status()["conditions"].as_array();
        conditions.is_some_and(|all| {
            all.iter()
                .any(|it| it["type"] == "Ready" && it["status"] == "True")
        })
    }

    /// The status of a container, an init container included.
    ///
    /// # Errors
    /// When the pod shows none of that name.
    pub fn container(&self, name: &str) -> Result<&Value> {
        ["containerStatuses", "initContainerStatuses"]
            .iter()
            .filter_map(|kind| self.status()[*kind].as_array())
            .flatten()
            .find(|container| container["name"] == name)
            .with_context(|| format!("{} has no container {name}: {}", self.name(), self.status()))
    }

    /// The identifier that the runtime gave a container; empty before it runs.
    ///
    /// # Errors
    /// As [`Pod::container`].
    pub fn container_id(&self, name: &str) -> Result<String> {
        let id = self.container(name)?["containerID"]
            .as_str()
            .unwrap_or_default();
        Ok(id.rsplit('/').next().unwrap_or_default().to_owned())
    }

    /// How often a container was started again.
    ///
    /// # Errors
    /// As [`Pod::container`].
    pub fn restarts(&self, name: &str) -> Result<u64> {
        Ok(self.container(name)?["restartCount"]
            .as_u64()
            .unwrap_or_default())
    }
}
