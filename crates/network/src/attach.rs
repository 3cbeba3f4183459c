//! ADD: a pod's network namespace gets its interface, plugin after plugin.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use pinpod_model::{DnsConfig, Labels, PodId, PodMetadata, PortMapping};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::conf::{NetworkList, Version, plugin_type};
use crate::conf_dir::chain;
use crate::invoke::{Call, PluginError, Target, Verb};
use crate::{AttachError, Network, capability, result, straggler};

/// Name of a pod's interface.
pub(crate) const IFNAME: &str = "eth0";

/// A pod that shall get its network.
#[derive(Debug, Clone)]
pub struct AttachRequest {
    /// Its identifier; the plugins know the attachment by it.
    pub pod_id: PodId,
    /// Its name, for plugins that ask the API server about it.
    pub metadata: PodMetadata,
    /// Its pinned network namespace.
    pub netns: PathBuf,
    /// Ports; those without a port of the node are left out.
    pub port_mappings: Vec<PortMapping>,
    /// Its `resolv.conf`.
    pub dns: Option<DnsConfig>,
    /// Its annotations; two of them set its bandwidth.
    pub annotations: Labels,
    /// Its cgroup, or empty.
    pub cgroup_parent: String,
}

/// What a pod's network is, kept on disk so that it can be undone whatever happened meanwhile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attachment {
    /// The pod.
    pub pod_id: PodId,
    /// Name of its network.
    pub network: String,
    /// The conflist it was made with, with all that it includes.
    pub conflist: Value,
    /// Its network namespace.
    pub netns: PathBuf,
    /// The interface in it.
    pub ifname: String,
    /// `CNI_ARGS`.
    pub args: String,
    /// Capability arguments by name.
    pub capability_args: Map<String, Value>,
    /// The last plugin's result; `None` as long as ADD has not ended.
    pub result: Option<Value>,
    /// The pod's addresses on that interface; the first is its primary one.
    pub ips: Vec<IpAddr>,
}

impl Attachment {
    pub(crate) fn target<'a>(&'a self, netns: Option<&'a Path>) -> Target<'a> {
        Target {
            container_id: self.pod_id.as_str(),
            netns,
            ifname: &self.ifname,
            args: &self.args,
        }
    }

    /// What the runtime adds to a plugin's configuration on ADD and DEL.
    pub(crate) fn extra(
        &self,
        plugin: &Map<String, Value>,
        previous: Option<&Value>,
    ) -> Map<String, Value> {
        let mut extra = Map::new();
        if let Some(config) = capability::runtime_config(plugin, &self.capability_args) {
            extra.insert("runtimeConfig".to_owned(), config);
        }
        if let Some(previous) = previous {
            extra.insert("prevResult".to_owned(), previous.clone());
        }
        extra
    }
}

/// `CNI_ARGS` as every CRI runtime writes it. Kubernetes names hold neither `;` nor `=`; one that
/// does would become another argument, so it is left out.
fn args(pod: &PodId, metadata: &PodMetadata) -> String {
    let mut args = "IgnoreUnknown=1".to_owned();
    for (key, value) in [
        ("K8S_POD_NAMESPACE", metadata.namespace.as_str()),
        ("K8S_POD_NAME", metadata.name.as_str()),
        ("K8S_POD_INFRA_CONTAINER_ID", pod.as_str()),
        ("K8S_POD_UID", metadata.uid.as_str()),
    ] {
        if value.contains([';', '=', '\0']) {
            tracing::warn!(%pod, key, value, "not passed to CNI plugins: it holds ';' or '='");
        } else {
            args.push_str(&format!(";{key}={value}"));
        }
    }
    args
}

/// An ADD that stopped half-way.
struct Half {
    /// Plugins that may have set something up, the failed one included.
    reached: usize,
    /// Result of the last one that did not fail.
    result: Option<Value>,
    error: PluginError,
}

impl Network {
    /// Attaches a pod to the current network.
    ///
    /// When it fails, what was set up is taken down again. When its future is dropped, nothing is:
    /// [`Network::detach`] then does it.
    ///
    /// # Errors
    /// [`AttachError`]: no network, a wrong annotation, a disk error, or a plugin's own error.
    pub async fn attach(&self, request: &AttachRequest) -> Result<Attachment, AttachError> {
        let pod = &request.metadata;
        let list = match &self.current().list {
            Ok(list) => list.clone(),
            Err(why) => {
                return Err(AttachError::NotReady {
                    pod: pod.clone(),
                    why: why.clone(),
                });
            }
        };
        let mut attachment = self.planned(request, &list)?;
        let note = |attachment: &Attachment| {
            let stored = self.shared.cache.store(attachment);
            stored.map_err(|source| AttachError::Cache {
                pod: pod.clone(),
                source: Box::new(source),
            })
        };
        note(&attachment)?;
        let added = self.add(&list, &attachment).await.and_then(|result| {
            match result::addresses(&result, &attachment.ifname) {
                Ok(ips) => Ok((result, ips)),
                Err(source) => Err(Half {
                    reached: list.plugins().len(),
                    error: PluginError::BadResult {
                        plugin: list.types().last().unwrap_or_default().to_owned(),
                        verb: Verb::Add,
                        source,
                    },
                    result: Some(result),
                }),
            }
        });
        let half = match added {
            Ok((result, ips)) => {
                attachment.result = Some(result);
                attachment.ips = ips;
                if let Err(error) = note(&attachment) {
                    self.undo(&list, &attachment, list.plugins().len()).await;
                    return Err(error);
                }
                return Ok(attachment);
            }
            Err(half) => half,
        };
        attachment.result = half.result;
        self.undo(&list, &attachment, half.reached).await;
        Err(AttachError::Plugin {
            pod: pod.clone(),
            network: list.name().to_owned(),
            source: Box::new(half.error),
        })
    }

    fn planned(
        &self,
        request: &AttachRequest,
        list: &NetworkList,
    ) -> Result<Attachment, AttachError> {
        let arguments = capability::arguments(request, &self.pod_cidrs()).map_err(|source| {
            AttachError::Annotation {
                pod: request.metadata.clone(),
                source,
            }
        })?;
        Ok(Attachment {
            pod_id: request.pod_id.clone(),
            network: list.name().to_owned(),
            conflist: list.to_value(),
            netns: request.netns.clone(),
            ifname: IFNAME.to_owned(),
            args: args(&request.pod_id, &request.metadata),
            capability_args: arguments,
            result: None,
            ips: Vec::new(),
        })
    }

    /// Runs ADD of every plugin, each with the result of the one before it.
    async fn add(&self, list: &NetworkList, attachment: &Attachment) -> Result<Value, Half> {
        let call = self.call(list, Verb::Add, attachment.target(Some(&attachment.netns)));
        let mut previous: Option<Value> = None;
        for (index, plugin) in list.plugins().iter().enumerate() {
            let extra = attachment.extra(plugin, previous.as_ref());
            let answer = call.run(plugin, extra).await.and_then(|stdout| {
                serde_json::from_slice(&stdout).map_err(|source| PluginError::BadResult {
                    plugin: plugin_type(plugin).to_owned(),
                    verb: Verb::Add,
                    source,
                })
            });
            match answer {
                Ok(result) => previous = Some(result),
                Err(error) => {
                    return Err(Half {
                        reached: index + 1,
                        result: previous,
                        error,
                    });
                }
            }
        }
        Ok(previous.unwrap_or(Value::Null))
    }

    /// Undoes the first `reached` plugins of a failed ADD. What cannot be undone now stays noted,
    /// for [`Network::detach`] and [`Network::gc`].
    async fn undo(&self, list: &NetworkList, attachment: &Attachment, reached: usize) {
        let pod = &attachment.pod_id;
        let netns = Some(attachment.netns.as_path());
        let errors = self.del_half(list, attachment, netns, reached).await;
        if errors.is_empty()
            && let Err(error) = self.shared.cache.remove(pod)
        {
            tracing::warn!(%pod, error = chain(&error), "note about a failed CNI attachment stays");
        }
        for error in errors {
            tracing::warn!(%pod, error = chain(&error), "CNI attachment that failed is not undone");
        }
    }

    /// Undoes an ADD that did not end, once nothing of it runs any more. A plugin that was stopped
    /// half-way may fail its DEL over what it had not set up yet, and gets past that the second
    /// time.
    pub(crate) async fn del_half(
        &self,
        list: &NetworkList,
        attachment: &Attachment,
        netns: Option<&Path>,
        reached: usize,
    ) -> Vec<PluginError> {
        straggler::end(&attachment.pod_id, self.shared.config.deadlines.add).await;
        let errors = self.del(list, attachment, netns, reached).await;
        if errors.is_empty() {
            return errors;
        }
        self.del(list, attachment, netns, reached).await
    }

    /// Runs DEL of the first `reached` plugins, last one first, going on past errors.
    pub(crate) async fn del(
        &self,
        list: &NetworkList,
        attachment: &Attachment,
        netns: Option<&Path>,
        reached: usize,
    ) -> Vec<PluginError> {
        let call = self.call(list, Verb::Del, attachment.target(netns));
        // Before 0.4.0 DEL was not given a result.
        let previous = attachment
            .result
            .as_ref()
            .filter(|_| list.version() >= Version::V0_4_0);
        let mut errors = Vec::new();
        for plugin in list.plugins().iter().take(reached).rev() {
            let extra = attachment.extra(plugin, previous);
            if let Err(error) = call.run(plugin, extra).await {
                errors.push(error);
            }
        }
        errors
    }

    fn call<'a>(&'a self, list: &'a NetworkList, verb: Verb, target: Target<'a>) -> Call<'a> {
        let deadlines = &self.shared.config.deadlines;
        Call {
            list,
            plugin_dirs: &self.shared.config.plugin_dirs,
            verb,
            target: Some(target),
            deadline: match verb {
                Verb::Add => deadlines.add,
                _ => deadlines.del,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_as_kubernetes_plugins_read_them() {
        let pod: PodId = "a".repeat(64).parse().unwrap();
        let mut metadata = PodMetadata {
            name: "web".to_owned(),
            uid: "u-1".to_owned(),
            namespace: "default".to_owned(),
            attempt: 0,
        };
        assert_eq!(
            args(&pod, &metadata),
            format!(
                "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;\
                 K8S_POD_INFRA_CONTAINER_ID={pod};K8S_POD_UID=u-1"
            )
        );
        metadata.name = "a;K8S_POD_NAMESPACE=kube-system".to_owned();
        assert!(!args(&pod, &metadata).contains("kube-system"));
    }
}
