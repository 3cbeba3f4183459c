//! What a monitor and a daemon read of each other: frames, and the messages in them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pinpod_monitor_api::frame::{Decoded, HEADER_LEN, Kind, MAX_PAYLOAD, decode, encode};
use pinpod_monitor_api::{Event, Hello, Reply, Request, StreamFrame};

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Some(Decoded { kind, payload, len })) = decode(rest) {
        assert!(payload.len() <= MAX_PAYLOAD && len == HEADER_LEN + payload.len());
        let mut again = Vec::new();
        encode(kind, payload, &mut again).unwrap();
        assert_eq!(again, rest[..len]);
        rest = &rest[len..];
        if let Ok(frame) = StreamFrame::from_parts(kind, payload) {
            assert_ne!(kind, Kind::Message);
            let mut written = Vec::new();
            frame.encode(&mut written);
            assert!(payload.len() > 32 << 10 || payload.is_empty() || written == again || kind == Kind::StdinClosed);
        }
        if let Ok(request) = serde_json::from_slice::<Request>(payload) {
            let text = serde_json::to_vec(&request).unwrap();
            assert_eq!(serde_json::from_slice::<Request>(&text).unwrap(), request);
        }
        serde_json::from_slice::<Reply>(payload).ok();
        serde_json::from_slice::<Hello>(payload).ok();
        serde_json::from_slice::<Event>(payload).ok();
    }
});
