//! OCI distribution client: image references, `registries.conf`, credentials, manifests and blobs.
//!
//! A pull goes through this crate from top to bottom:
//!
//! 1. [`ImageName`] is what a user wrote. [`Registries::resolve`] turns it into candidates (short
//!    names), each candidate into endpoints (mirrors first), and answers with a [`Source`]: the
//!    first endpoint that has the manifest.
//! 2. [`Session::image_manifest`] follows an index to the manifest of this node's [`Platform`].
//! 3. [`Session::fetch_blob`] gives each blob as a [`BlobStream`], verified while it streams.
//!
//! Invariants:
//! - A [`Session`] is one endpoint, one repository and one caller's credentials. Its token lives
//!   and dies with it; sessions share TCP connections and nothing that was authenticated.
//! - The only thing read from disk is configuration; blobs are never written here.
//! - No task is spawned for a pull: dropping a future or a stream closes its connection.

mod auth_file;
mod blob;
mod certs;
mod challenge;
mod client;
mod error;
mod http_send;
mod image_name;
mod manifest;
mod manifest_fetch;
mod platform;
mod reference;
mod registries_conf;
mod resolve;
mod session;
mod token;

pub use auth_file::{AuthFile, AuthFileError};
pub use blob::{BlobError, BlobStream};
pub use client::{ClientOptions, RegistryClient};
pub use error::RegistryError;
pub use image_name::{ImageName, UnqualifiedName};
pub use manifest::{
    Descriptor, FetchedManifest, ImageIndex, ImageManifest, IndexEntry, Manifest, ManifestError,
};
pub use manifest_fetch::SelectedManifest;
pub use platform::Platform;
pub use reference::{ImageReference, ReferenceError};
pub use registries_conf::{
    BlockedError, Endpoint, RegistriesConf, RegistriesConfError, ShortNameError, ShortNameMode,
};
pub use resolve::{Registries, RegistriesPaths, ResolveError, Source};
pub use session::Session;
