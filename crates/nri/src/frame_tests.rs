//! Tests of the frame parsers.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn message() -> impl Strategy<Value = Message> {
    let kind = prop_oneof![Just(Kind::Request), Just(Kind::Response), Just(Kind::Data)];
    (any::<u32>(), kind, any::<u8>(), vec(any::<u8>(), 0..300)).prop_map(
        |(stream, kind, flags, payload)| Message {
            stream,
            kind,
            flags,
            payload: payload.into(),
        },
    )
}

/// Reads a socket to its end, fed in pieces of `step` bytes.
fn read(socket: &[u8], step: usize) -> Result<Vec<(u32, Message)>, FrameError> {
    let mut mux = MuxDecoder::default();
    let mut connections = [MessageDecoder::default(), MessageDecoder::default()];
    let mut found = Vec::new();
    for piece in socket.chunks(step.max(1)) {
        mux.feed(piece);
        while let Some((connection, bytes)) = mux.next_frame()? {
            let Some(decoder) = connections.get_mut(connection as usize % 2) else {
                continue;
            };
            decoder.feed(&bytes);
            while let Some(message) = decoder.next_message()? {
                found.push((connection, message));
            }
        }
    }
    Ok(found)
}

proptest! {
    #[test]
    fn what_is_written_is_read(sent in vec((1..=2u32, message()), 0..8), step in 1..64usize) {
        let mut socket = Vec::new();
        for (connection, message) in &sent {
            message.encode(*connection, &mut socket).unwrap();
        }
        prop_assert_eq!(read(&socket, step).unwrap(), sent);
    }

    #[test]
    fn any_bytes_end_in_messages_or_an_error(bytes in vec(any::<u8>(), 0..512), step in 1..64usize) {
        let whole = read(&bytes, bytes.len());
        prop_assert_eq!(read(&bytes, step), whole);
    }
}

#[test]
fn a_message_cut_into_frames_anywhere() {
    let message = Message {
        stream: 7,
        kind: Kind::Response,
        flags: 0,
        payload: Bytes::from_static(b"hello"),
    };
    let mut whole = Vec::new();
    message.encode(1, &mut whole).unwrap();
    let bytes: Vec<u8> = [&whole[8..18], &whole[26..]].concat();
    for cut in 0..=bytes.len() {
        let mut socket = Vec::new();
        for part in [&bytes[..cut], &bytes[cut..]] {
            socket.extend(1u32.to_be_bytes());
            socket.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
            socket.extend(part);
        }
        assert_eq!(read(&socket, 3).unwrap(), [(1, message.clone())], "{cut}");
    }
}

#[test]
fn what_announces_too_much_is_refused_at_its_head() {
    let mut mux = MuxDecoder::default();
    mux.feed(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(mux.next_frame(), Err(FrameError::Frame(0xffff_ffff)));
    let mut messages = MessageDecoder::default();
    messages.feed(&[0, 0x40, 0, 1, 0, 0, 0, 1, 1, 0]);
    assert_eq!(
        messages.next_message(),
        Err(FrameError::Message(MAX_MESSAGE + 1))
    );
    let mut messages = MessageDecoder::default();
    messages.feed(&[0, 0, 0, 0, 0, 0, 0, 1, 9, 0]);
    assert_eq!(messages.next_message(), Err(FrameError::Kind(9)));
    let long = Message {
        stream: 1,
        kind: Kind::Request,
        flags: 0,
        payload: vec![0; MAX_MESSAGE + 1].into(),
    };
    let error = long.encode(1, &mut Vec::new());
    assert_eq!(error, Err(FrameError::Message(MAX_MESSAGE + 1)));
}
