//! One error type for each operation of the engine. What waits for a job shares its error, so
//! replies carry `Arc`s.

use std::path::PathBuf;
use std::sync::Arc;

use pinpod_model::{Classify, ContainerId, ErrorClass, PodId, PodMetadata};

/// An identifier in a request that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No pod sandbox has it.
    #[error("pod sandbox {0:?} is not known")]
    NoPod(String),
    /// No container has it.
    #[error("container {0:?} is not known")]
    NoContainer(String),
    /// A prefix that fits several.
    #[error("{0:?} is the beginning of more than one identifier")]
    Ambiguous(String),
}

impl Classify for LookupError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoPod(_) | Self::NoContainer(_) => ErrorClass::NotFound,
            Self::Ambiguous(_) => ErrorClass::InvalidArgument,
        }
    }
}

/// The task that owns a pod ended before it answered, which only happens when the pod was removed
/// in the meantime or the daemon shuts down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pod sandbox was removed in the meantime")]
pub struct PodGone;

/// What failed while something was taken away. All of it was tried.
#[derive(Debug, thiserror::Error)]
#[error("{object}: {}", .failures.join("; "))]
pub struct TeardownError {
    /// What was being torn down.
    pub object: String,
    /// Each failure with its causes.
    pub failures: Vec<String>,
}

/// A file or directory that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}", path = .path.display())]
pub struct FileError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

impl FileError {
    fn class(&self) -> ErrorClass {
        match self.source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                ErrorClass::ResourceExhausted
            }
            _ => ErrorClass::Internal,
        }
    }
}

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

/// CreateContainer failed; everything made for it was undone.
#[derive(Debug, thiserror::Error)]
pub enum CreateContainerError {
    /// The pod's identifier.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The pod is stopping or stopped.
    #[error("pod sandbox {0} is not ready")]
    PodNotReady(PodId),
    /// A privileged container needs a privileged pod.
    #[error("linux.security_context.privileged: pod sandbox {0} is not privileged")]
    PodNotPrivileged(PodId),
    /// A PID namespace shared by the pod, in a pod that has none.
    #[error("namespace_options.pid: pod sandbox {0} was not run with a PID namespace to share")]
    NoPodPidNamespace(PodId),
    /// A log path that is not one below the pod's log directory.
    #[error("log_path {0:?} is not a path below the pod's log_directory")]
    LogPath(String),
    /// The pod's cgroup parent does not fit the driver.
    #[error(transparent)]
    Cgroup(pinpod_cgroup::driver::CgroupParentError),
    /// The handler that the pod was made with is no longer configured.
    #[error("runtime handler {0:?} is no longer configured")]
    NoHandler(String),
    /// The image is not on this node.
    #[error("image {0:?} is not on this node")]
    NoImage(String),
    /// The PID namespace's target.
    #[error("namespace_options.target_id: container {0} is not a running one of this pod")]
    NoTarget(ContainerId),
    /// A user namespace other than the pod's.
    #[error("namespace_options.userns_options: mode and mappings are not those of pod sandbox {0}")]
    UserNamespace(PodId),
    /// A user or group that the pod's user namespace does not have.
    #[error("{what} {id} is not mapped by the pod's user namespace, which has ids 0 to {last}")]
    UnmappedId {
        /// `user`, `group` or `supplemental group`.
        what: &'static str,
        /// The id in the container.
        id: u32,
        /// The last one that is mapped.
        last: u32,
    },
    /// A mount source that is not there and cannot be made.
    #[error("mounts: cannot make the source {path}", path = .path.display())]
    MountSource {
        /// What is missing.
        path: PathBuf,
        /// Why it could not be made.
        #[source]
        source: std::io::Error,
    },
    /// The root file system.
    #[error("cannot prepare the root file system of container {id}")]
    Rootfs {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: pinpod_image::RootfsError,
    },
    /// The user.
    #[error(transparent)]
    User(#[from] pinpod_bundle::user::UserError),
    /// The seccomp profile of the node that the request names cannot be read.
    #[error("seccomp profile {path}", path = .path.display())]
    SeccompFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The seccomp profile of the node that the request names is not one.
    #[error("seccomp profile {path}", path = .path.display())]
    SeccompProfile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pinpod_bundle::seccomp::ProfileError,
    },
    /// The rest of the runtime spec.
    #[error(transparent)]
    Spec(#[from] pinpod_bundle::SpecError),
    /// Pinning the PID namespace of the target.
    #[error("cannot pin the PID namespace of the target container")]
    Pin(#[source] pinpod_kernel::namespace::PinError),
    /// A file of the bundle.
    #[error(transparent)]
    File(#[from] FileError),
    /// The record.
    #[error("cannot record the container")]
    Record(#[from] pinpod_record::RecordError),
    /// The monitor could not be started or reached.
    #[error("the monitor of pod sandbox {pod} does not answer")]
    Monitor {
        /// The pod.
        pod: PodId,
        /// Why.
        #[source]
        source: MonitorError,
    },
    /// The OCI runtime refused; the text is its own.
    #[error("runtime handler {handler:?} cannot create container {name:?}: {message}")]
    Runtime {
        /// Handler.
        handler: String,
        /// Name of the container.
        name: String,
        /// The runtime's message.
        message: String,
    },
    /// The OCI runtime was too slow, and was killed.
    #[error(
        "runtime handler {handler:?} did not create container {name:?} within {seconds} s: {message}"
    )]
    RuntimeTimeout {
        /// Handler.
        handler: String,
        /// Name of the container.
        name: String,
        /// The limit.
        seconds: u64,
        /// What it had said until then.
        message: String,
    },
    /// The image of a mount is not on this node.
    #[error("mounts[{path:?}].image: image {image:?} is not on this node")]
    NoMountImage {
        /// Where the mount goes.
        path: String,
        /// The image.
        image: String,
    },
    /// The image of a mount was removed while the container was being made.
    #[error("mounts: an image was removed in the meantime")]
    MountImageGone,
    /// The image of a mount cannot be mounted.
    #[error("mounts[{path:?}].image")]
    MountImage {
        /// Where the mount goes.
        path: String,
        /// Why.
        #[source]
        source: pinpod_image::RootfsError,
    },
    /// A part of an image that the image has not.
    #[error("mounts[{path:?}].image_sub_path {sub_path:?} is not a part of the image")]
    ImageSubPath {
        /// Where the mount goes.
        path: String,
        /// The part.
        sub_path: String,
        /// Why it cannot be used.
        #[source]
        source: std::io::Error,
    },
    /// Mappings of a mount that are none for the kernel.
    #[error("mounts[{path:?}]: cannot use uidMappings and gidMappings")]
    MountMapping {
        /// Where the mount goes.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file system whose ids cannot be mapped.
    #[error("mounts[{path:?}]: the ids of its file system cannot be mapped")]
    MountIds {
        /// Where the mount goes.
        path: String,
        /// Why.
        #[source]
        source: pinpod_kernel::mount::MountError,
    },
    /// A source that cannot be brought to where the OCI runtime finds it.
    #[error("mounts[{path:?}]: cannot prepare its source")]
    StageMount {
        /// Where the mount goes.
        path: String,
        /// Why.
        #[source]
        source: pinpod_kernel::mount::MountError,
    },
    /// There is no place for the sources of mounts.
    #[error("cannot make a place for the sources of mounts")]
    Stage(#[source] pinpod_kernel::mount::MountError),
    /// A prepared source that stays.
    #[error("cannot let go of the sources of mounts")]
    Unstage(#[from] UnstageError),
    /// The checkpoint that is given in place of an image.
    #[error("image: cannot use the checkpoint {checkpoint}")]
    Checkpoint {
        /// The archive's path, or the image that has its files.
        checkpoint: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The image that has a checkpoint's files.
    #[error("image: cannot read the checkpoint {checkpoint}")]
    ReadCheckpointImage {
        /// The image.
        checkpoint: String,
        /// Why.
        #[source]
        source: pinpod_image::RootfsError,
    },
    /// The image that a checkpoint was taken of.
    #[error("the checkpoint {checkpoint} needs the image {image}, which is not on this node")]
    CheckpointBase {
        /// The archive's path, or the image that has its files.
        checkpoint: String,
        /// The image's names.
        image: String,
    },
    /// The image that a checkpoint was taken of, from its registry.
    #[error("the checkpoint {checkpoint} needs an image")]
    PullCheckpointBase {
        /// The archive's path, or the image that has its files.
        checkpoint: String,
        /// Why it could not be pulled.
        #[source]
        source: pinpod_image::PullError,
    },
    /// Nothing can be restored here.
    #[error("runtime handler {handler:?} cannot restore a checkpoint: {lack}")]
    NoCheckpoints {
        /// The handler.
        handler: String,
        /// What is missing.
        lack: String,
    },
    /// Criu makes a user namespace of its own, out of which it cannot enter those of a pod.
    #[error(
        "pod sandbox {0} has a user namespace: criu cannot restore a checkpoint into one that is there"
    )]
    RestoreUserNamespace(PodId),
    /// The devices of the node that the container asks for.
    #[error(transparent)]
    Device(#[from] pinpod_bundle::host::DeviceError),
    /// No identifier could be made.
    #[error("cannot make an identifier")]
    Identifier(#[source] std::io::Error),
    /// NRI plugins do not want it.
    #[error("cannot create container {name:?}")]
    Plugin {
        /// Name of the container.
        name: String,
        /// Who, and why.
        #[source]
        source: pinpod_nri::NriError,
    },
    /// What NRI plugins want cannot be done.
    #[error("cannot create container {name:?}")]
    Adjust {
        /// Name of the container.
        name: String,
        /// What.
        #[source]
        source: pinpod_bundle::plugin::AdjustError,
    },
    /// Removed while it was waited for.
    #[error(transparent)]
    Gone(#[from] PodGone),
}

impl Classify for CreateContainerError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Lookup(error) => error.class(),
            Self::PodNotReady(_) | Self::NoTarget(_) | Self::NoHandler(_) => {
                ErrorClass::FailedPrecondition
            }
            Self::PodNotPrivileged(_)
            | Self::NoPodPidNamespace(_)
            | Self::LogPath(_)
            | Self::Cgroup(_)
            | Self::UserNamespace(_)
            | Self::UnmappedId { .. }
            | Self::MountSource { .. } => ErrorClass::InvalidArgument,
            Self::NoImage(_)
            | Self::NoMountImage { .. }
            | Self::MountImageGone
            | Self::CheckpointBase { .. }
            | Self::Gone(_) => ErrorClass::NotFound,
            Self::NoCheckpoints { .. } | Self::RestoreUserNamespace(_) => ErrorClass::Unimplemented,
            Self::Checkpoint { .. } => ErrorClass::InvalidArgument,
            Self::ReadCheckpointImage { source, .. } => source.class(),
            Self::PullCheckpointBase { source, .. } => source.class(),
            Self::ImageSubPath { .. } | Self::MountMapping { .. } => ErrorClass::InvalidArgument,
            Self::MountIds { .. } => ErrorClass::FailedPrecondition,
            Self::MountImage { source, .. } => source.class(),
            Self::StageMount { source, .. } | Self::Stage(source) => source.class(),
            Self::Device(error) => error.class(),
            Self::Plugin { source, .. } => source.class(),
            Self::Adjust { source, .. } => source.class(),
            Self::RuntimeTimeout { .. } => ErrorClass::DeadlineExceeded,
            Self::Rootfs { source, .. } => source.class(),
            Self::User(error) => error.class(),
            Self::SeccompFile { .. } | Self::SeccompProfile { .. } => ErrorClass::InvalidArgument,
            Self::Spec(error) => error.class(),
            Self::File(error) => error.class(),
            Self::Record(error) => error.class(),
            Self::Monitor { .. } => ErrorClass::Unavailable,
            Self::Runtime { .. } | Self::Unstage(_) | Self::Pin(_) | Self::Identifier(_) => {
                ErrorClass::Internal
            }
        }
    }
}

/// Something is still mounted in a bundle.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct UnstageError(pub pinpod_kernel::mount::MountError);

/// The monitor of a pod could not be started or asked.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// It did not start.
    #[error("cannot start it")]
    Spawn(#[from] pinpod_monitor_api::SpawnError),
    /// It cannot be looked at.
    #[error(transparent)]
    Process(#[from] pinpod_kernel::process::ProcessError),
    /// It did not answer.
    #[error(transparent)]
    Client(#[from] pinpod_monitor_api::ClientError),
}

/// An operation on an existing container failed.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// The identifier.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// Its state does not allow it.
    #[error("container {id} is {state}, so it cannot be {verb}")]
    State {
        /// The container.
        id: ContainerId,
        /// What it is.
        state: &'static str,
        /// What was asked, as a participle.
        verb: &'static str,
    },
    /// The handler that the pod was made with is no longer configured.
    #[error("runtime handler {0:?} is no longer configured")]
    NoHandler(String),
    /// The OCI runtime.
    #[error(transparent)]
    Runtime(#[from] pinpod_oci_runtime::RuntimeError),
    /// The monitor.
    #[error("the monitor of container {id} does not answer")]
    Monitor {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: MonitorError,
    },
    /// A signal could not be sent.
    #[error("cannot signal container {id}")]
    Signal {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: pinpod_kernel::process::ProcessError,
    },
    /// Its end could not be waited for.
    #[error("cannot wait for the end of container {id}")]
    Wait {
        /// The container.
        id: ContainerId,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The record.
    #[error("cannot record the container's state")]
    Record(#[from] pinpod_record::RecordError),
    /// Not everything could be taken away.
    #[error(transparent)]
    Teardown(#[from] TeardownError),
    /// New limits that cannot be set.
    #[error(transparent)]
    Resources(#[from] pinpod_bundle::SpecError),
    /// The command of an exec could not be run; the text is the runtime's.
    #[error("cannot execute in container {id}: {message}")]
    Exec {
        /// The container.
        id: ContainerId,
        /// The runtime's message.
        message: String,
    },
    /// The command of an exec ran longer than it may.
    #[error("the command in container {id} did not end within {seconds} s")]
    ExecTimeout {
        /// The container.
        id: ContainerId,
        /// The limit.
        seconds: u64,
    },
    /// A file of the bundle.
    #[error(transparent)]
    File(#[from] FileError),
    /// NRI plugins do not want it.
    #[error("container {id}")]
    Plugin {
        /// The container.
        id: ContainerId,
        /// Who, and why.
        #[source]
        source: pinpod_nri::NriError,
    },
    /// Nothing can be checkpointed here.
    #[error("runtime handler {handler:?} cannot take a checkpoint: {lack}")]
    NoCheckpoints {
        /// The handler.
        handler: String,
        /// What is missing.
        lack: String,
    },
    /// A checkpoint took longer than it may.
    #[error("the checkpoint of container {id} was not taken within {seconds} s")]
    CheckpointTimeout {
        /// The container.
        id: ContainerId,
        /// The limit.
        seconds: u64,
    },
    /// Criu failed at a checkpoint.
    #[error("criu cannot save container {id}: {reason}")]
    Criu {
        /// The container.
        id: ContainerId,
        /// Criu's first error.
        reason: String,
        /// What the runtime says.
        #[source]
        source: pinpod_oci_runtime::RuntimeError,
    },
    /// A container made from a checkpoint does not start.
    #[error("cannot restore container {id}: {reason}")]
    Restore {
        /// The container.
        id: ContainerId,
        /// Criu's first error.
        reason: String,
        /// What the runtime says.
        #[source]
        source: Box<CreateContainerError>,
    },
    /// Removed while it was waited for.
    #[error(transparent)]
    Gone(#[from] PodGone),
}

impl Classify for ContainerError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Lookup(error) => error.class(),
            Self::State { .. } | Self::NoHandler(_) => ErrorClass::FailedPrecondition,
            Self::Monitor { .. } => ErrorClass::Unavailable,
            Self::Record(error) => error.class(),
            Self::Resources(error) => error.class(),
            Self::File(error) => error.class(),
            Self::Plugin { source, .. } => source.class(),
            Self::NoCheckpoints { .. } => ErrorClass::Unimplemented,
            Self::Restore { source, .. } => source.class(),
            Self::ExecTimeout { .. } | Self::CheckpointTimeout { .. } => {
                ErrorClass::DeadlineExceeded
            }
            Self::Gone(_) => ErrorClass::NotFound,
            Self::Runtime(_)
            | Self::Criu { .. }
            | Self::Signal { .. }
            | Self::Wait { .. }
            | Self::Teardown(_)
            | Self::Exec { .. } => ErrorClass::Internal,
        }
    }
}

/// Shared result of a job that several requests may wait for.
pub(crate) type Shared<T, E> = Result<T, Arc<E>>;
