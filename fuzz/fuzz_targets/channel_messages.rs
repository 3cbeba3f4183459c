//! Messages of the channel protocols on WebSocket.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pinpod_streaming::fuzzing::channel_messages(bytes));
