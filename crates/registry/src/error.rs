//! What a registry, or the way to it, answered instead of what was asked for.

use std::time::Duration;

use pinpod_model::{Classify, ErrorClass};

use crate::manifest::ManifestError;

/// A request to a registry that failed. `what` is the object, with its repository and the host
/// that was asked: `manifest 1.36 of docker.io/library/busybox at mirror.local:5000`.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Credentials are needed, or those given are wrong.
    #[error(
        "cannot get {what}: the registry wants valid credentials, or it does not exist: {detail}"
    )]
    Unauthenticated {
        /// The object.
        what: String,
        /// The registry's or token server's words.
        detail: String,
    },
    /// The credentials are good and do not allow this.
    #[error("cannot get {what}: permission denied: {detail}")]
    PermissionDenied {
        /// The object.
        what: String,
        /// The registry's words.
        detail: String,
    },
    /// The registry has no such object.
    #[error("{what} is not there: {detail}")]
    NotFound {
        /// The object.
        what: String,
        /// The registry's words.
        detail: String,
    },
    /// The registry allows no more requests for now.
    #[error("cannot get {what}: the registry limits requests, to be tried again in {}", wait_text(*.wait))]
    TooManyRequests {
        /// The object.
        what: String,
        /// How long it asks to wait, where it says so.
        wait: Option<Duration>,
    },
    /// No answer, or an answer that says that the server is in trouble.
    #[error("cannot get {what}: the server answered {status}: {detail}")]
    Server {
        /// The object.
        what: String,
        /// HTTP status.
        status: u16,
        /// The server's words.
        detail: String,
    },
    /// The connection could not be made or broke.
    #[error("cannot get {what}: {place} cannot be reached")]
    Connection {
        /// The object.
        what: String,
        /// Host that was asked.
        place: String,
        /// What the HTTP client says.
        #[source]
        source: reqwest::Error,
    },
    /// An answer that the protocol does not allow.
    #[error("cannot get {what}: {problem}")]
    Protocol {
        /// The object.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The manifest is not what its digest says.
    #[error("{what} is damaged: its digest is {actual}")]
    Digest {
        /// The object.
        what: String,
        /// What was computed.
        actual: pinpod_model::Digest,
    },
    /// The manifest is none that can be pulled.
    #[error("{what} cannot be used")]
    Manifest {
        /// The object.
        what: String,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// The index has nothing that runs on this node.
    #[error("{what} has nothing for {platform}")]
    Platform {
        /// The object.
        what: String,
        /// The platform that was looked for.
        platform: String,
    },
    /// A certificate of the node's configuration cannot be used.
    #[error("certificates for {host} in {path:?} cannot be used: {problem}")]
    Certificates {
        /// Registry host.
        host: String,
        /// File or directory.
        path: std::path::PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// No HTTP client could be made.
    #[error("no HTTPS client can be set up for {host}")]
    Client {
        /// Registry host.
        host: String,
        /// What the HTTP client says.
        #[source]
        source: reqwest::Error,
    },
}

fn wait_text(wait: Option<Duration>) -> String {
    match wait {
        Some(wait) => format!("{} s", wait.as_secs()),
        None => "a while".to_owned(),
    }
}

impl Classify for RegistryError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Unauthenticated { .. } => ErrorClass::Unauthenticated,
            Self::PermissionDenied { .. } => ErrorClass::PermissionDenied,
            Self::NotFound { .. } | Self::Platform { .. } => ErrorClass::NotFound,
            Self::TooManyRequests { .. } => ErrorClass::ResourceExhausted,
            Self::Server { .. } | Self::Connection { .. } | Self::Digest { .. } => {
                ErrorClass::Unavailable
            }
            Self::Protocol { .. } => ErrorClass::Unavailable,
            Self::Manifest { .. } => ErrorClass::InvalidArgument,
            Self::Certificates { .. } => ErrorClass::FailedPrecondition,
            Self::Client { .. } => ErrorClass::Internal,
        }
    }
}
