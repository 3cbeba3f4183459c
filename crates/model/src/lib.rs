//! Validated plain data: what the parts of pinpod say to each other about pods, containers and
//! images. No I/O but the random source of [`PodId::generate`], no proto types, no kernel types.
//!
//! A value that reached a field here has been checked at the border (`pinpod-cri-server`), so the
//! crates above need not check it again. Everything is `serde`, because a record on disk is this
//! data and a little more.

mod class;
mod container;
mod id;
mod image;
mod network;
mod pod;
mod resources;
mod security;
mod signal;

pub use class::{Classify, ErrorClass};
pub use container::{
    ContainerConfig, ContainerMetadata, Device, EnvVar, IdMapping, ImageSource, Mount,
    MountPropagation,
};
pub use id::{ContainerId, IdError, PodId};
pub use image::{Credentials, Digest, DigestError, ImageId};
pub use network::{DnsConfig, PortMapping, PortProtocol};
pub use pod::{
    CgroupDriver, Labels, NamespaceMode, NamespaceOptions, PidMode, PodMetadata, PodSandboxConfig,
    PodSecurity, UserNamespace,
};
pub use resources::{HugepageLimit, LinuxResources};
pub use security::{
    Capabilities, ContainerSecurity, ProfileSource, ResolvedUser, SelinuxOptions,
    SupplementalGroupsPolicy,
};
pub use signal::{Signal, SignalError};
