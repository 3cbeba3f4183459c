//! SPDY frames with their header blocks, as one connection would bring them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pinpod_streaming::fuzzing::spdy_frames(bytes));
