//! A real kubelet on a node of its own: standalone, with static pods, its API and its clients.
//!
//! Most tests run in two ways ([`Mode`]): the kubelet lists pods and containers again and again, or it
//! is told of what happens to them (`GetContainerEvents`).

mod client;
mod kubelet;
mod manifest;
mod node;
mod pod;

pub use client::{Client, Finished, PROTOCOLS};
pub use kubelet::{Kubelet, LOG, Mode};
pub use manifest::{Manifest, shell};
pub use node::{ADDRESS, on_kubelet};
pub use pod::Pod;
