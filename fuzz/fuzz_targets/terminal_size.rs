//! Sizes of a terminal, in pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pinpod_streaming::fuzzing::terminal_size(bytes));
