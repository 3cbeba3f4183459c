//! What root tests share: each runs the real daemon on a node of its own, next to the others, and
//! leaves this machine as it was.
//!
//! ```no_run
//! # use pinpod_testkit::{Options, Result, on_node};
//! #[test]
//! fn a_pod_runs() -> Result {
//!     on_node("a_pod_runs", Options::default(), async |node| {
//!         let config = node.pod("web");
//!         let pod = node.run_pod(&config).await?;
//!         node.remove_pod(&pod).await
//!     })
//! }
//! ```
//!
//! A node is a set of namespaces ([`isolated`]) whose file tree is an overlay of the machine's, with
//! a tmpfs wherever pinpod, CNI plugins and the kubelet keep something. At the end of a test nothing
//! of its pods may be left ([`Snapshot`]). A program that a test needs and that is not there fails
//! the test by name; nothing is skipped.

mod binaries;
mod cri;
mod image;
mod image_catalog;
mod isolate;
mod leak;
mod node;
mod program;
mod registry;
mod tree;
mod usage;
mod wait;

pub use binaries::tool;
pub use cri::container;
pub use image::{Image, ImageBuilder};
pub use image_catalog::{busybox, nginx, tiny};
pub use isolate::{isolated, runtime};
pub use leak::Snapshot;
pub use node::{Node, Options, on_node};
pub use program::run;
pub use registry::Registry;
pub use usage::Usage;
pub use wait::until;

/// What tests and the functions here return.
pub type Result<T = ()> = anyhow::Result<T>;
