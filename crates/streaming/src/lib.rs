//! Exec, attach and port-forward over HTTP.
//!
//! [`Server`] gives URLs for CRI's `Exec`, `Attach` and `PortForward`, each for one use within a
//! minute, and serves them on one HTTP/1.1 address, with TLS (`tls`) if asked to. What a client has to do is in
//! `docs/streaming.md`.
//!
//! - `token` keeps what URLs stand for; `http` answers requests and agrees on a protocol.
//! - [`spdy`] and [`websocket`] turn an upgraded connection into streams, both into the same ends
//!   of `channel`, through which back-pressure goes.
//! - `remote_command` joins the streams of exec and attach with the stdio that the pod's monitor
//!   gives; `exec_spdy` and `exec_websocket` say which stream is which.
//! - `port_forward` joins them with sockets in the pod's network.

mod activity;
mod channel;
mod error;
mod exec_spdy;
mod exec_websocket;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod negotiate;
mod port_forward;
mod remote_command;
mod request;
mod resize;
mod server;
pub mod spdy;
mod status;
mod tls;
mod token;
pub mod websocket;

pub use error::StreamError;
pub use request::{AttachRequest, ExecRequest, PortForwardRequest};
pub use server::{Config, MAX_CONNECTIONS, Server};
pub use tls::{TlsConfig, TlsError, TlsVersion};
pub use token::{MAX_TOKENS, TOKEN_LIFE};

/// `what: why: why that`, each cause once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if next != last {
            text.push_str(": ");
            text.push_str(&next);
        }
        last = next;
        cause = error.source();
    }
    text
}
