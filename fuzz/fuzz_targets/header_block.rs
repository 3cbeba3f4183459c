//! Header blocks of SPDY, inflated and not.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pinpod_streaming::fuzzing::header_block(bytes));
