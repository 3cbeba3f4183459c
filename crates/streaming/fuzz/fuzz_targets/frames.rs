//! Every parser that reads what a client of exec, attach or port-forward sends: SPDY frames with
//! their header blocks, as one connection would bring them, and messages of the channel protocols.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pinpod_streaming::spdy::frame::{Control, HEAD_LEN, Head};
use pinpod_streaming::spdy::header_block::{Inflater, MAX_BLOCK, MAX_HEADERS, parse};
use pinpod_streaming::websocket::channel_frame::{ChannelFrame, Encoding};

fuzz_target!(|bytes: &[u8]| {
    connection(bytes);
    if let Ok(headers) = parse(bytes) {
        assert!(headers.len() <= MAX_HEADERS);
    }
    for encoding in [
        Encoding::Binary { half_close: false },
        Encoding::Binary { half_close: true },
        Encoding::Base64,
    ] {
        if let Ok(ChannelFrame::Data(channel, data)) = encoding.decode(bytes)
            && !matches!(encoding, Encoding::Binary { half_close: true } if channel == 255)
            && (encoding != Encoding::Base64 || channel < 10)
        {
            let again = encoding.decode(&encoding.encode(channel, &data));
            assert_eq!(again, Ok(ChannelFrame::Data(channel, data)));
        }
    }
});

fn connection(mut bytes: &[u8]) {
    let mut inflater = Inflater::default();
    while let Some((head, rest)) = bytes.split_first_chunk::<HEAD_LEN>() {
        let Ok(head) = Head::decode(*head) else {
            return;
        };
        let (Head::Control { length, .. } | Head::Data { length, .. }) = head;
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            return;
        };
        bytes = rest;
        let Head::Control { kind, flags, .. } = head else {
            continue;
        };
        let Ok(frame) = Control::decode(kind, flags, payload) else {
            return;
        };
        if let Control::SynStream { block, .. } | Control::Headers { block, .. } = frame {
            let Ok(headers) = inflater.decode(block) else {
                return;
            };
            let length: usize = headers
                .iter()
                .map(|(name, value)| name.len() + value.len())
                .sum();
            assert!(length <= MAX_BLOCK);
        }
        if !matches!(frame, Control::Settings | Control::Unknown(_)) {
            let again = frame.encode().unwrap();
            assert_eq!(
                Control::decode(kind, again[4], &again[HEAD_LEN..]),
                Ok(frame)
            );
        }
    }
}
