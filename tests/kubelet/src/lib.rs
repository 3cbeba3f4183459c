//! A real kubelet on a node of its own: standalone, with static pods, its API and its clients.
//!
//! Every test runs in two ways ([`Mode`]): the kubelet lists pods and containers again and again, or
//! it is told of what happens to them (`GetContainerEvents`).

mod kubelet;
mod manifest;
mod node;
mod pod;

pub use kubelet::{Kubelet, Mode};
pub use manifest::{Manifest, shell};
pub use node::{ADDRESS, on_kubelet};
pub use pod::Pod;
