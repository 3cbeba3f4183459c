//! The parsers of what an NRI plugin sends: frames of its socket, and the messages in them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pinpod_nri::frame::{MAX_FRAME, MAX_MESSAGE, MessageDecoder, MuxDecoder};

fuzz_target!(|bytes: &[u8]| {
    let mut mux = MuxDecoder::default();
    let mut messages = MessageDecoder::default();
    for piece in bytes.chunks(7) {
        mux.feed(piece);
        loop {
            match mux.next_frame() {
                Ok(Some((connection, bytes))) => {
                    assert!(bytes.len() <= MAX_FRAME);
                    messages.feed(&bytes);
                    if !drain(&mut messages, connection) {
                        return;
                    }
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
});

/// False when there is nothing more to find.
fn drain(messages: &mut MessageDecoder, connection: u32) -> bool {
    loop {
        match messages.next_message() {
            Ok(Some(message)) => {
                assert!(message.payload.len() <= MAX_MESSAGE);
                let mut out = Vec::new();
                message.encode(connection, &mut out).unwrap();
            }
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}
