//! Streams as numbered channels of a WebSocket (RFC 6455), and SPDY inside of one.

pub mod channel_frame;
mod session;
#[cfg(test)]
mod session_tests;
mod tunnel;

pub(crate) use session::{Channels, SessionError, serve};
pub(crate) use tunnel::tunnel;

use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// The longest message that a client may send, in bytes.
const MAX_MESSAGE: usize = 1 << 20;
/// What may wait to be written, in bytes: answers to pings that the client does not read are put
/// off beyond it, and only the last is kept.
const MAX_UNWRITTEN: usize = 1 << 20;

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(16 << 10)
        .max_write_buffer_size(MAX_UNWRITTEN)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
}
