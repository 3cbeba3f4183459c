//! A whole WebSocket connection with channels, the frames of WebSocket included.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pinpod_streaming::fuzzing::websocket_session(bytes));
