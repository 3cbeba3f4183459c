//! Everything that reads what a client sends, each as a function of bytes that may be any. The fuzz
//! targets in `fuzz/` call them, and so do the property tests here; a panic is a finding.

use std::pin::pin;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::mpsc;

use crate::negotiate::{Kind, negotiate};
use crate::port_forward::Halves;
use crate::resize::Sizes;
use crate::spdy::frame::{Control, HEAD_LEN, Head};
use crate::spdy::header_block::{Deflater, Inflater, MAX_BLOCK, MAX_HEADERS, parse};
use crate::spdy::{self, OpenStream};
use crate::websocket::channel_frame::{ChannelFrame, Encoding};
use crate::websocket::{self, Channels};

/// How long a whole connection may take, in the paused time of its runtime.
const PATIENCE: Duration = Duration::from_secs(3600);

/// SPDY frames with their header blocks, as one connection would bring them.
pub fn spdy_frames(mut bytes: &[u8]) {
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
            let length: usize = headers.iter().map(|(a, b)| a.len() + b.len()).sum();
            assert!(length <= MAX_BLOCK, "a block longer than its limit");
        }
        if matches!(frame, Control::Settings | Control::Unknown(_)) {
            continue;
        }
        if let Ok(again) = frame.encode() {
            let (head, payload) = again.split_at(HEAD_LEN);
            let flags = head.get(4).copied().unwrap_or_default();
            assert_eq!(Control::decode(kind, flags, payload), Ok(frame));
        }
    }
}

/// Header blocks, inflated and not; what can be read can be written and read again.
pub fn header_block(bytes: &[u8]) {
    Inflater::default().decode(bytes).ok();
    let Ok(headers) = parse(bytes) else { return };
    assert!(headers.len() <= MAX_HEADERS, "more headers than the limit");
    let borrowed: Vec<(&str, &str)> = headers.iter().map(|(a, b)| (&**a, &**b)).collect();
    if let Ok(block) = Deflater::default().encode(&borrowed) {
        assert_eq!(Inflater::default().decode(&block), Ok(headers));
    }
}

/// Messages of the channel protocols.
pub fn channel_messages(bytes: &[u8]) {
    for encoding in ENCODINGS {
        let Ok(ChannelFrame::Data(channel, data)) = encoding.decode(bytes) else {
            continue;
        };
        let closes = matches!(encoding, Encoding::Binary { half_close: true }) && channel == 255;
        if !closes && (encoding != Encoding::Base64 || channel < 10) {
            let again = encoding.decode(&encoding.encode(channel, &data));
            assert_eq!(again, Ok(ChannelFrame::Data(channel, data)));
        }
    }
}

const ENCODINGS: [Encoding; 3] = [
    Encoding::Binary { half_close: false },
    Encoding::Binary { half_close: true },
    Encoding::Base64,
];

/// A request as lines; the first is its path, the others are headers.
pub fn http_request(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let path = String::from_utf8_lossy(lines.next().unwrap_or_default());
    crate::http::split_path(&path);
    let mut headers = HeaderMap::new();
    for line in lines.take(100) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
            continue;
        };
        let name = HeaderName::from_bytes(name.trim_ascii());
        let value = HeaderValue::from_bytes(value.trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    for kind in [Kind::RemoteCommand, Kind::PortForward] {
        if let Ok(agreement) = negotiate(kind, &headers) {
            let accept = agreement.accept.unwrap_or_default();
            assert!(
                HeaderValue::from_str(&accept).is_ok(),
                "a header: {accept:?}"
            );
        }
    }
}

/// Sizes of a terminal, in pieces of which the first byte tells the length.
pub fn terminal_size(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first() else {
        return;
    };
    let mut sizes = Sizes::default();
    for piece in rest.chunks(usize::from(*length).max(1)) {
        sizes.push(piece);
    }
}

/// A whole SPDY connection to an application that sends back what comes.
pub fn spdy_session(bytes: &[u8]) {
    converse(bytes, async |io| {
        let app = async |mut opened: mpsc::Receiver<OpenStream>| {
            while let Some(mut stream) = opened.recv().await {
                tokio::spawn(async move {
                    while let Some(bytes) = stream.incoming.next().await {
                        if stream.outgoing.send(bytes).await.is_err() {
                            return;
                        }
                    }
                    stream.outgoing.end().await.ok();
                });
            }
        };
        spdy::serve(io, app).await.ok();
    });
}

/// A whole SPDY connection of port-forward, up to the pairs of streams.
pub fn port_forward(bytes: &[u8]) {
    converse(bytes, async |io| {
        let app = async |mut opened: mpsc::Receiver<OpenStream>| {
            let mut halves = Halves::default();
            while let Some(stream) = opened.recv().await {
                let now = std::time::Instant::now();
                if let Err(stream) = halves.add(stream, now) {
                    stream.outgoing.reset().await.ok();
                }
            }
        };
        spdy::serve(io, app).await.ok();
    });
}

/// A whole WebSocket connection, in each encoding.
pub fn websocket_session(bytes: &[u8]) {
    for encoding in ENCODINGS {
        converse(bytes, async |io| {
            let mut channels = Channels::default();
            let mut input = channels.input(0);
            let output = channels.output(1);
            let app = async move {
                while let Some(bytes) = input.next().await {
                    if output.send(bytes).await.is_err() {
                        return;
                    }
                }
            };
            websocket::serve(io, encoding, channels, app).await.ok();
        });
    }
}

/// Lets a server read the bytes and then the end, while all that it answers is read. It must come to
/// an end by itself.
fn converse(bytes: &[u8], server: impl AsyncFnOnce(DuplexStream)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let (near, far) = duplex(4096);
        let (mut answers, mut requests) = tokio::io::split(far);
        let client = async {
            // A server that has heard enough takes no more.
            requests.write_all(bytes).await.ok();
            requests.shutdown().await.ok();
        };
        let mut sink = tokio::io::sink();
        let reader = async { tokio::io::copy(&mut answers, &mut sink).await.ok() };
        let mut all = pin!(async { tokio::join!(server(near), client, reader) });
        let ended = tokio::time::timeout(PATIENCE, &mut all).await;
        assert!(ended.is_ok(), "a connection without end");
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Frames, most of which are nearly right.
    fn spdy() -> impl Strategy<Value = Vec<u8>> {
        let control = (
            0_u8..11,
            any::<u8>(),
            prop::collection::vec(any::<u8>(), 0..40),
        );
        let control = control.prop_map(|(kind, flags, payload)| {
            let length = u8::try_from(payload.len()).unwrap();
            [&[0x80, 3, 0, kind, flags, 0, 0, length][..], &payload].concat()
        });
        let opened = (0_u8..8, any::<bool>(), "[a-z]{0,8}", 0_u32..3).prop_map(
            |(stream, fin, kind, port)| {
                let headers = [("streamtype", &*kind), ("port", &*port.to_string())];
                let block = Deflater::default().encode(&headers).unwrap();
                let frame = Control::SynStream {
                    stream: stream.into(),
                    fin,
                    unidirectional: false,
                    block: &block,
                };
                frame.encode().unwrap()
            },
        );
        let data = (0_u8..8, 0_u8..2, prop::collection::vec(any::<u8>(), 0..40));
        let data = data.prop_map(|(stream, fin, payload)| {
            let length = u8::try_from(payload.len()).unwrap();
            [&[0, 0, 0, stream, fin, 0, 0, length][..], &payload].concat()
        });
        let noise = prop::collection::vec(any::<u8>(), 0..40);
        let frame = prop_oneof![2 => control, 3 => opened, 3 => data, 1 => noise];
        prop::collection::vec(frame, 0..12).prop_map(|frames| frames.concat())
    }

    /// Frames of a WebSocket client, most of which are nearly right.
    fn web() -> impl Strategy<Value = Vec<u8>> {
        let frame = (
            any::<u8>(),
            any::<bool>(),
            prop::collection::vec(any::<u8>(), 0..60),
        );
        let frame = frame.prop_map(|(first, masked, payload)| {
            let first = (first & 0x8f) | 0x80;
            let length = u8::try_from(payload.len()).unwrap();
            let mask: &[u8] = if masked { &[0; 4] } else { &[] };
            [&[first, length | 0x80][..], mask, &payload].concat()
        });
        prop::collection::vec(frame, 0..12).prop_map(|frames| frames.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn any_spdy_is_read_to_its_end(bytes in spdy()) {
            spdy_frames(&bytes);
            spdy_session(&bytes);
            port_forward(&bytes);
        }

        #[test]
        fn any_websocket_is_read_to_its_end(bytes in web()) {
            websocket_session(&bytes);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            header_block(&bytes);
            channel_messages(&bytes);
            terminal_size(&bytes);
            http_request(&bytes);
        }

        #[test]
        fn any_request_is_answered(
            path in "/?(exec|attach|portforward|x)?/?[A-Za-z0-9_/.%-]{0,30}",
            headers in prop::collection::vec(
                ("(connection|upgrade|sec-websocket-(version|key|protocol)|x-stream-protocol-version)",
                 "(upgrade|websocket|SPDY/3.1|13|v[0-9](\\.base64)?\\.channel\\.k8s\\.io|\\PC{0,30})"),
                0..8,
            ),
        ) {
            let lines = headers.iter().map(|(name, value)| format!("\n{name}: {value}"));
            http_request(format!("{path}{}", lines.collect::<String>()).as_bytes());
        }
    }
}
