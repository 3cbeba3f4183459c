//! Why a runtime spec cannot be made.

use std::path::PathBuf;

use pinpod_model::{Classify, ErrorClass};

/// Why a runtime spec cannot be made. Each variant names what in the request is in the way.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// Neither the request nor the image says what to run.
    #[error("container {container:?}: neither the request nor the image {image:?} names a command")]
    NoCommand {
        /// Name of the container.
        container: String,
        /// Image reference.
        image: String,
    },
    /// A name that is no capability.
    #[error("{0:?} is not the name of a capability")]
    UnknownCapability(String),
    /// A capability that the daemon itself lacks, so that no runtime could give it.
    #[error("capability {0} cannot be added: this node does not have it")]
    MissingCapability(String),
    /// A name that is no resource limit.
    #[error("{0:?} is not the name of a resource limit")]
    UnknownLimit(String),
    /// A privileged container in a pod that is not.
    #[error("container {0:?} is privileged but its pod is not")]
    PrivilegedInPlainPod(String),
    /// A working directory that is not absolute.
    #[error("working directory {0:?} is not an absolute path")]
    WorkingDir(String),
    /// A mount whose destination is not an absolute path below the root.
    #[error("mount destination {0:?} is not an absolute path below /")]
    MountDestination(String),
    /// A mount without a source.
    #[error("mount at {0:?} has no source")]
    MountSource(String),
    /// Recursive read-only on a mount that is writable or that propagates.
    #[error("mount at {0:?} is recursively read-only, which needs read-only and no propagation")]
    RecursiveReadOnly(String),
    /// A mapping of users without one of groups, or the other way round.
    #[error("mount at {0:?} maps users or groups but not both")]
    MountMapping(String),
    /// A mount that should propagate from a place that does not.
    #[error("{} cannot be mounted with {wanted} propagation: it is on the {found} mount {}", path.display(), mount.display())]
    Propagation {
        /// Source of the mount.
        path: PathBuf,
        /// The mount that holds it.
        mount: PathBuf,
        /// What was asked.
        wanted: &'static str,
        /// What the node's mount is.
        found: &'static str,
    },
    /// A huge page size that cannot be limited here.
    #[error("huge pages of {0} cannot be limited on this node")]
    HugepageSize(String),
    /// A limit beyond what the spec can hold.
    #[error("huge pages of {size}: a limit of {limit} bytes is out of range")]
    HugepageLimit {
        /// Page size.
        size: String,
        /// Limit in bytes.
        limit: u64,
    },
    /// `unified` on a node without cgroup v2.
    #[error("{0:?} cannot be set: this node does not use cgroup v2")]
    UnifiedNeedsV2(String),
    /// A `unified` key that is not a file name of a cgroup.
    #[error("{0:?} is not the name of a cgroup v2 file")]
    UnifiedKey(String),
    /// A negative number where CRI allows none.
    #[error("{field} is {value}")]
    OutOfRange {
        /// Field of the request.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// A named AppArmor profile on a node without AppArmor.
    #[error("AppArmor profile {0:?} cannot be used: AppArmor is off on this node")]
    AppArmorOff(String),
    /// An AppArmor profile that the kernel has not got.
    #[error("AppArmor profile {0:?} is not loaded on this node")]
    AppArmorNotLoaded(String),
    /// A seccomp profile file that nobody read.
    #[error("seccomp profile {0:?} was not loaded")]
    SeccompNotLoaded(String),
    /// Seccomp on a kernel without it.
    #[error("a seccomp profile is asked for, but the kernel has no seccomp filter")]
    SeccompOff,
    /// A namespace that the request needs and the pod has not got.
    #[error("the pod has no {0} namespace to join")]
    NoNamespace(&'static str),
    /// What was put together is not a valid spec.
    #[error("the runtime spec cannot be put together")]
    Build(#[from] oci_spec::OciSpecError),
}

impl Classify for SpecError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::MissingCapability(_)
            | Self::AppArmorOff(_)
            | Self::AppArmorNotLoaded(_)
            | Self::SeccompOff
            | Self::UnifiedNeedsV2(_)
            | Self::HugepageSize(_)
            | Self::Propagation { .. } => ErrorClass::FailedPrecondition,
            Self::Build(_) | Self::SeccompNotLoaded(_) | Self::NoNamespace(_) => {
                ErrorClass::Internal
            }
            _ => ErrorClass::InvalidArgument,
        }
    }
}
