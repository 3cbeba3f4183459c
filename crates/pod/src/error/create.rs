//! What can fail of CreateContainer.

use std::path::PathBuf;

use pinpod_model::{Classify, ContainerId, ErrorClass, PodId};

use super::{FileError, LookupError, MonitorError, PodGone, UnstageError};

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
