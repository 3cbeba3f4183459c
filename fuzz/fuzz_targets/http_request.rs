//! An HTTP request up to the agreement on a protocol, and the URL's path.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pinpod_streaming::fuzzing::http_request(bytes));
