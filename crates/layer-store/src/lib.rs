//! Content-addressed layers, and root file systems made of them.
//!
//! ```text
//! <root>                         /var/lib/pinpod
//! ├── lock                       flock: one process has the store
//! ├── layers/<hex>/              one layer; the name is its key
//! │   ├── diff/                  its files, as overlayfs reads them
//! │   └── layer.json             Layer; without it, or torn, the layer is dropped at start
//! ├── staging/<n>/               a layer being unpacked; removed at start
//! ├── trash/<name>.<n>/          deleted behind, and at start
//! └── containers/<id>/           root file system of a container
//!     ├── upper/ work/           overlayfs
//!     └── rootfs.json            its image and layers
//! ```
//! (`images/` and `blobs/` beside these belong to `pinpod-image`.)
//!
//! **Keys.** A layer is named by its diff id, so images share it whatever is under it. A layer that
//! leaves out directories or links to files of the layers under it takes those from below, and is
//! named by its chain id: the same tar on another stack is another directory.
//!
//! **Commit.** A layer is written in `staging`, verified against its diff id, and renamed. It is
//! then in use at once. [`LayerStore::sync`] brings it to the disk later, off the pull's path; until
//! then `layer.json` carries the boot in which it was written, and a start in another boot drops
//! it. So no power loss leaves a torn layer that looks whole, and no pull waits for the disk.
//!
//! **Roots of collection.** A layer is kept while someone holds its `Arc`: an image of
//! `pinpod-image`'s index, a root file system, a pull under way. [`LayerStore::collect`] removes the
//! others.
//!
//! **Locks.** One mutex for the index, one for root file systems, never both and never across a
//! wait; one asynchronous lock for each blob that is being fetched ([`LayerStore::claim`]).
//!
//! **A reboot** leaves layers. Directories of containers stay until whoever knows containers
//! removes them ([`LayerStore::rootfs_images`]).

mod heal;
mod layer;
mod limits;
mod rootfs;
mod store;
mod trash;
mod unpack;

pub use heal::OpenError;
pub use layer::{Layer, LayerKey, chain_id};
pub use limits::Limits;
pub use rootfs::{RootfsError, RootfsOptions, RootfsSpec, RootfsUserNamespace, Usage};
pub use store::{Claim, FetchSlot, LayerStore};
pub use unpack::{LayerBlob, StagedLayer, UnpackError, Unpacker};
