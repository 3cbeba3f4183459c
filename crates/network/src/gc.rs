//! Garbage collection: attachments whose pod is gone are undone, and plugins of version 1.1 are told
//! which ones are valid.

use std::collections::BTreeSet;

use pinpod_model::PodId;
use serde_json::{Map, Value, json};

use crate::attach::IFNAME;
use crate::conf::Version;
use crate::invoke::{Call, Verb};
use crate::{DetachRequest, GcError, Network};

impl Network {
    /// Undoes every attachment of a pod that is not in `valid`, then runs GC of the current network
    /// when it is of version 1.1 and does not forbid it. Must not run while a pod that is missing
    /// from `valid` is being attached.
    ///
    /// Returns what could not be done; each is tried again by the next call.
    pub async fn gc(&self, valid: &[PodId]) -> Vec<GcError> {
        let mut errors = Vec::new();
        let kept: BTreeSet<&PodId> = valid.iter().collect();
        let noted = match self.shared.cache.pods() {
            Ok(noted) => noted,
            Err(error) => {
                errors.push(GcError::List(error));
                Vec::new()
            }
        };
        for pod_id in noted.into_iter().filter(|pod| !kept.contains(pod)) {
            let request = DetachRequest {
                pod_id,
                netns: None,
            };
            if let Err(error) = self.detach(&request).await {
                errors.push(error.into());
            }
        }
        errors.extend(self.gc_plugins(valid).await);
        errors
    }

    async fn gc_plugins(&self, valid: &[PodId]) -> Vec<GcError> {
        let current = self.current();
        let Ok(list) = &current.list else {
            return Vec::new();
        };
        if list.version() < Version::V1_1_0 || list.disable_gc() {
            return Vec::new();
        }
        let attachments: Value = valid
            .iter()
            .map(|pod| json!({"containerID": pod.as_str(), "ifname": IFNAME}))
            .collect();
        // The key's name in the specification, and the one it was released with.
        let extra: Map<String, Value> = ["cni.dev/valid-attachments", "cni.dev/attachments"]
            .map(|key| (key.to_owned(), attachments.clone()))
            .into_iter()
            .collect();
        let call = Call {
            list,
            plugin_dirs: &self.shared.config.plugin_dirs,
            verb: Verb::Gc,
            target: None,
            deadline: self.shared.config.deadlines.del,
        };
        let mut errors = Vec::new();
        for plugin in list.plugins() {
            if let Err(source) = call.run(plugin, extra.clone()).await {
                errors.push(GcError::Plugin {
                    network: list.name().to_owned(),
                    source: Box::new(source),
                });
            }
        }
        errors
    }
}
