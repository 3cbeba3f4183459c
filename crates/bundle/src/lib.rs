//! Container configuration to OCI runtime spec 1.2.
//!
//! [`runtime_spec`] is pure: the same input gives the same spec. What it must know of the node is
//! read beforehand by [`host`] and [`user`]. Writing `config.json` is the caller's.

pub mod capabilities;
mod devices;
mod error;
pub mod files;
pub mod host;
mod input;
mod masked;
mod mounts;
mod namespaces;
pub mod plugin;
mod process;
mod resources;
pub mod seccomp;
mod selinux;
mod spec;
pub mod sysctl;
pub mod user;

pub use error::SpecError;
pub use input::{
    CgroupMode, ContainerInput, ImageDefaults, KeptOptions, NamespacePaths, NodeFacts, PodFiles,
    PodInput, SpecDefaults, SpecInput,
};
pub use resources::linux_resources;
pub use spec::runtime_spec;
