//! A whole SPDY connection of port-forward: pairs of streams, ports, requests.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pinpod_streaming::fuzzing::port_forward(bytes));
