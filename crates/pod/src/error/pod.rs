//! What can fail of pod sandboxes.

use pinpod_model::{Classify, ErrorClass, PodId, PodMetadata};

use super::{FileError, LookupError, PodGone, TeardownError};

/// RunPodSandbox failed; everything made for it was undone.
#[derive(Debug, thiserror::Error)]
pub enum RunPodError {
    /// The handler is not in the configuration.
    #[error("runtime_handler {0:?} is not configured")]
    UnknownHandler(String),
    /// The key belongs to a sandbox that was stopped.
    #[error("pod sandbox {metadata} exists as {id:?} and is stopped; remove it first")]
    Stopped {
        /// The key.
        metadata: Box<PodMetadata>,
        /// The stopped sandbox.
        id: PodId,
    },
    /// A sysctl that the pod may not set.
    #[error("pod sandbox {metadata} cannot have its sysctls")]
    Sysctl {
        /// The pod.
        metadata: Box<PodMetadata>,
        /// Which, and why.
        #[source]
        source: pinpod_bundle::sysctl::SysctlError,
    },
    /// The cgroup parent does not fit the driver.
    #[error(transparent)]
    CgroupParent(pinpod_cgroup::driver::CgroupParentError),
    /// A user namespace was asked for where there can be none.
    #[error("userns_options: runtime handler {handler:?} cannot have user namespaces: {reason}")]
    UserNamespace {
        /// The handler.
        handler: String,
        /// What is missing.
        reason: String,
    },
    /// PID mode TARGET makes no sense for a sandbox.
    #[error("namespace_options.pid: TARGET is for containers, not for a pod sandbox")]
    TargetPid,
    /// The DNS configuration.
    #[error(transparent)]
    Dns(#[from] pinpod_bundle::files::DnsError),
    /// A file of the pod.
    #[error(transparent)]
    File(#[from] FileError),
    /// The record.
    #[error("cannot record the pod sandbox")]
    Record(#[from] pinpod_record::RecordError),
    /// The namespaces.
    #[error("cannot pin the namespaces of pod sandbox {metadata}")]
    Pin {
        /// The pod.
        metadata: Box<PodMetadata>,
        /// Why.
        #[source]
        source: pinpod_kernel::namespace::PinError,
    },
    /// `/dev/shm`.
    #[error("cannot mount the pod's /dev/shm")]
    Shm(#[source] pinpod_kernel::mount::MountError),
    /// The network.
    #[error("cannot attach pod sandbox {metadata} to its network")]
    Network {
        /// The pod.
        metadata: Box<PodMetadata>,
        /// Why.
        #[source]
        source: Box<pinpod_network::AttachError>,
    },
    /// The scope of PID 1 of the shared PID namespace.
    #[error("cannot have a scope for pinpod-init")]
    Scope(#[source] pinpod_systemd::SystemdError),
    /// PID 1 of the shared PID namespace.
    #[error("cannot start pinpod-init for pod sandbox {metadata}")]
    Init {
        /// The pod.
        metadata: Box<PodMetadata>,
        /// Why.
        #[source]
        source: pinpod_kernel::spawn::SpawnError,
    },
    /// The cgroup of PID 1.
    #[error("cannot make the cgroup of pinpod-init")]
    Cgroup(#[source] pinpod_cgroup::CgroupError),
    /// No identifier could be made.
    #[error("cannot make an identifier")]
    Identifier(#[source] std::io::Error),
    /// NRI plugins do not want it.
    #[error("cannot run pod sandbox {metadata}")]
    Plugin {
        /// The pod.
        metadata: Box<PodMetadata>,
        /// Who, and why.
        #[source]
        source: pinpod_nri::NriError,
    },
}

impl Classify for RunPodError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::UnknownHandler(_)
            | Self::Sysctl { .. }
            | Self::CgroupParent(_)
            | Self::TargetPid => ErrorClass::InvalidArgument,
            Self::Stopped { .. } => ErrorClass::AlreadyExists,
            Self::UserNamespace { .. } => ErrorClass::FailedPrecondition,
            Self::File(error) => error.class(),
            Self::Dns(error) => error.class(),
            Self::Record(error) => error.class(),
            Self::Network { source, .. } => source.class(),
            Self::Plugin { source, .. } => source.class(),
            Self::Pin { .. }
            | Self::Shm(_)
            | Self::Scope(_)
            | Self::Init { .. }
            | Self::Cgroup(_)
            | Self::Identifier(_) => ErrorClass::Internal,
        }
    }
}

/// StopPodSandbox or RemovePodSandbox failed; calling again goes on where it stopped.
#[derive(Debug, thiserror::Error)]
pub enum EndPodError {
    /// The identifier.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// Not everything could be taken away.
    #[error("cannot take away everything of pod sandbox {id}")]
    Teardown {
        /// The pod.
        id: PodId,
        /// What failed.
        #[source]
        source: TeardownError,
    },
    /// The record.
    #[error("cannot record the end of the pod sandbox")]
    Record(#[from] pinpod_record::RecordError),
}

impl Classify for EndPodError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Lookup(error) => error.class(),
            Self::Record(error) => error.class(),
            Self::Teardown { .. } => ErrorClass::Internal,
        }
    }
}

/// UpdatePodSandboxResources failed; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdatePodError {
    /// The identifier.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It is being made or taken away.
    #[error("pod sandbox {0} is being made or taken away")]
    Busy(PodId),
    /// NRI plugins do not want it.
    #[error("cannot update the resources of pod sandbox {id}")]
    Plugin {
        /// The pod.
        id: PodId,
        /// Who, and why.
        #[source]
        source: pinpod_nri::NriError,
    },
    /// Removed in the meantime.
    #[error(transparent)]
    Gone(#[from] PodGone),
}

impl Classify for UpdatePodError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Lookup(error) => error.class(),
            Self::Busy(_) => ErrorClass::FailedPrecondition,
            Self::Plugin { source, .. } => source.class(),
            Self::Gone(_) => ErrorClass::NotFound,
        }
    }
}
