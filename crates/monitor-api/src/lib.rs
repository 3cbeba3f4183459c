//! What the daemon and a pod's monitor say to each other.
//!
//! A monitor listens on `<pod dir>/monitor.sock`, a Unix stream socket. Everything on it is a
//! [`frame`]: one byte of kind, a length (u32, big endian), a payload. A connection begins with a
//! [`Hello`] from each side and one [`Request`] from the daemon, both [`frame::Kind::Message`] with
//! JSON inside. What follows depends on the request:
//!
//! - most requests: one [`Reply`]; the next request may follow;
//! - [`Request::ExecSync`]: `Stdout` and `Stderr` frames while the process runs, then one `Reply`.
//!   Closing the connection before it kills the process;
//! - [`Request::ExecStream`], [`Request::Attach`]: `Reply::Streaming`, then stream frames both ways
//!   until `Exit` (see [`StreamFrame`]);
//! - [`Request::Subscribe`]: `Reply::Subscribed` with all exits so far, then one [`Event`] for each
//!   further exit, for ever.
//!
//! An exit is in its file on disk before anyone is told of it.

#[cfg(feature = "client")]
mod client;
#[cfg(feature = "client")]
mod client_error;
#[cfg(feature = "client")]
mod connection;
pub mod frame;
mod message;
#[cfg(feature = "client")]
mod start;
#[cfg(feature = "client")]
mod stream;

#[cfg(feature = "client")]
pub use client::{Client, Events, ExecOutput, Subscription};
#[cfg(feature = "client")]
pub use client_error::ClientError;
pub use frame::StreamFrame;
pub use message::{
    Attach, ContainerEntry, CreateContainer, Event, ExecStream, ExecSync, Exit, Hello, OomFile,
    Phase, Refusal, Reply, Request, VERSION,
};
#[cfg(feature = "client")]
pub use start::{SpawnError, spawn_monitor};
#[cfg(feature = "client")]
pub use stream::{Stream, StreamReader, StreamWriter};

/// Name of the monitor's socket in the pod's directory.
pub const SOCKET_NAME: &str = "monitor.sock";

/// Name of the file in the pod's directory that the monitor's stderr goes to.
pub const LOG_NAME: &str = "monitor.log";
