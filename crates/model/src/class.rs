//! What a caller can do about an error, which is also what decides its gRPC code.

/// The kind of an error as the caller sees it. `pinpod-cri-server` maps each to one gRPC code of
/// the same name; nothing else in the workspace knows gRPC codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The request itself is wrong; the text names the field or the file.
    InvalidArgument,
    /// The named object does not exist.
    NotFound,
    /// The object exists already and is not the one asked for.
    AlreadyExists,
    /// The object is in a state that does not allow the request.
    FailedPrecondition,
    /// A quota or a disk is full.
    ResourceExhausted,
    /// Something that pinpod needs is not there now (registry, CNI plugin); trying again may help.
    Unavailable,
    /// The caller lacks the right, as a registry judges it.
    PermissionDenied,
    /// The credentials given are missing or wrong.
    Unauthenticated,
    /// The deadline passed first.
    DeadlineExceeded,
    /// Nobody waits for the work any more.
    Cancelled,
    /// Known, but not built or not possible on this node.
    Unimplemented,
    /// Everything else.
    Internal,
}

/// Implemented by each operation's error type.
pub trait Classify: std::error::Error {
    /// The kind of this error.
    fn class(&self) -> ErrorClass;
}

impl<E: Classify> Classify for std::sync::Arc<E> {
    fn class(&self) -> ErrorClass {
        (**self).class()
    }
}
