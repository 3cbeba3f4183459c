//! SPDY/3.1 as Kubernetes' clients speak it on an upgraded connection: the server's side.
//!
//! The client opens streams; every one is accepted at once and handed to the application with its
//! headers. What both sides leave out: settings, and flow control by WINDOW_UPDATE. The only
//! clients there are (all built on one Go library) neither send such updates nor wait for them, so
//! a server that kept to the windows would stop after 64 KiB. The connection itself carries the
//! back-pressure: a stream that is not read holds up the others of its connection.

mod dictionary;
pub mod frame;
pub mod header_block;
mod session;
#[cfg(test)]
mod session_tests;
#[cfg(test)]
pub(crate) mod test_client;

pub(crate) use session::{OpenStream, serve};
