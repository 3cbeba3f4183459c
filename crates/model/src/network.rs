//! What a pod asks of its network.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// `resolv.conf` of a pod. All empty means: the node's own file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DnsConfig {
    /// `nameserver` lines.
    pub servers: Vec<String>,
    /// The `search` line.
    pub searches: Vec<String>,
    /// The `options` line.
    pub options: Vec<String>,
}

/// Transport of a port mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A port of the node that leads to a port of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// Transport.
    pub protocol: PortProtocol,
    /// Port in the pod.
    pub container_port: u16,
    /// Port on the node; 0 means that the mapping only declares the container's port.
    pub host_port: u16,
    /// Address on the node; `None` means every one.
    pub host_ip: Option<IpAddr>,
}
