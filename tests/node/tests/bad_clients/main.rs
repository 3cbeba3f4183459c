//! What a bad client gets: a clear error, and nothing of the daemon that it keeps. Each test attacks
//! the real daemon while a good client asks on, and compares memory and descriptors before and after.
//!
//! The figures: `PINPOD_TEST_SHOW=1 cargo test -p pinpod-node-tests --test bad_clients -- --nocapture`.

mod events;
mod frames;
mod grpc;
mod limits;
mod socket;
mod stream;
mod table;
