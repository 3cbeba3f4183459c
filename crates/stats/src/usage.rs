//! What the calls of this crate return: plain data.

use std::sync::Arc;

use pinpod_cgroup::Stats;
use pinpod_pod::{ContainerSnapshot, PodSnapshot, UnixNanos};

/// What a container uses.
#[derive(Debug, Clone)]
pub struct ContainerUsage {
    /// The container.
    pub container: Arc<ContainerSnapshot>,
    /// When its cgroup was read.
    pub read_at: UnixNanos,
    /// What its cgroup says; `None` when it has ended.
    pub stats: Option<Stats>,
    /// CPU time in nanoseconds a second, over the last seconds.
    pub cpu_rate: Option<u64>,
    /// Its own changes to its root file system; `None` until they were measured first.
    pub layer: Option<LayerUsage>,
}

/// What a writable layer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerUsage {
    /// When it was measured.
    pub measured_at: UnixNanos,
    /// Bytes on disk.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

/// What a pod uses.
#[derive(Debug, Clone)]
pub struct PodUsage {
    /// The pod.
    pub pod: Arc<PodSnapshot>,
    /// When it was read.
    pub read_at: UnixNanos,
    /// Of its own cgroup, else the sum over its containers. No part when nothing runs in it.
    pub stats: Stats,
    /// CPU time in nanoseconds a second, over the last seconds.
    pub cpu_rate: Option<u64>,
    /// Processes and threads.
    pub tasks: Option<u64>,
    /// Interfaces of its own network namespace; `None` on the node's network.
    pub network: Option<NetworkUsage>,
    /// Its containers, those that have ended too.
    pub containers: Vec<ContainerUsage>,
}

/// What passed the interfaces of a pod, but loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkUsage {
    /// When it was read.
    pub read_at: UnixNanos,
    /// `eth0`, or the first where there is none of this name.
    pub default: InterfaceUsage,
    /// The others.
    pub others: Vec<InterfaceUsage>,
}

/// What passed an interface since it was made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InterfaceUsage {
    /// Its name in the pod.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets that came damaged.
    pub rx_errors: u64,
    /// Packets that came and were dropped.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets that were dropped instead of sent.
    pub tx_dropped: u64,
}
