//! A whole SPDY connection: streams are opened, fed and ended by what comes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pinpod_streaming::fuzzing::spdy_session(bytes));
