//! Why a URL is not given, or the server does not start.

use std::io;
use std::net::SocketAddr;

use pinpod_model::{Classify, ContainerId, ErrorClass, PodId};
use pinpod_pod::LookupError;

use crate::tls::TlsError;
use crate::token::MAX_TOKENS;

/// An error of a [`crate::Server`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} for exec, attach and port-forward")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// It cannot speak TLS as it should.
    #[error("cannot set up TLS for exec, attach and port-forward")]
    Tls(#[from] TlsError),
    /// The container or the pod.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The container does not run.
    #[error("container {0} is not running")]
    NotRunning(ContainerId),
    /// The pod is stopped.
    #[error("pod sandbox {0} is not ready")]
    NotReady(PodId),
    /// A request that contradicts itself.
    #[error("{field}: {problem}")]
    Invalid {
        /// Field of the request.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Too many URLs wait for their use.
    #[error("{MAX_TOKENS} streaming URLs wait to be used; each ends after a minute")]
    TooManyTokens,
    /// The kernel gave no random bytes.
    #[error("cannot make a token")]
    Random(#[source] io::Error),
}

impl Classify for StreamError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Lookup(error) => error.class(),
            Self::NotRunning(_) | Self::NotReady(_) => ErrorClass::FailedPrecondition,
            Self::Invalid { .. } => ErrorClass::InvalidArgument,
            Self::TooManyTokens => ErrorClass::ResourceExhausted,
            Self::Bind { .. } | Self::Tls(_) | Self::Random(_) => ErrorClass::Internal,
        }
    }
}
