//! Content-addressed layers and root file systems.

mod layer;
mod limits;
mod rootfs;

pub use layer::{Layer, LayerKey, chain_id};
pub use limits::Limits;
pub use rootfs::{RootfsError, RootfsOptions, RootfsSpec, Usage};
