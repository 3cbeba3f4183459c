//! What Status and RuntimeConfig say about this node.

use std::collections::BTreeMap;

use pinpod_model::CgroupDriver;

/// Found out once, at the daemon's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// Version of pinpod.
    pub version: String,
    /// Who makes cgroups; the kubelet asks for it with RuntimeConfig.
    pub cgroup_driver: CgroupDriver,
    /// The runtime handlers that pods can name.
    pub handlers: Vec<HandlerReport>,
    /// The one of them for pods that name none.
    pub default_handler: String,
    /// Pods on the node's network may have user namespaces.
    pub user_namespaces_host_network: bool,
    /// JSON texts by topic for `crictl info`: the configuration, what this node lacks.
    pub info: BTreeMap<String, String>,
}

/// What a runtime handler can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerReport {
    /// Its name.
    pub name: String,
    /// Recursive read-only mounts.
    pub recursive_read_only_mounts: bool,
    /// Idmapped mounts, which pods with user namespaces need.
    pub user_namespaces: bool,
}
