//! Messages by hand against messages as they are written and read.

use super::*;
use proptest::prelude::*;

fn call(body: Body, signature: &'static str) -> Message {
    Message {
        destination: "d.d",
        path: "/p",
        interface: "i.i",
        member: "M",
        signature,
        body,
    }
}

#[test]
fn a_call_as_bytes() {
    let mut body = Body::default();
    body.string("ab").pids(&[7, 9]);
    let bytes = call(body, "sau").to_bytes(5);
    let head = [
        &b"l\x01\x00\x01"[..],
        &[20, 0, 0, 0, 5, 0, 0, 0, 73, 0, 0, 0],
        b"\x01\x01o\0\x02\0\0\0/p\0\0\0\0\0\0",
        b"\x02\x01s\0\x03\0\0\0i.i\0\0\0\0\0",
    ]
    .concat();
    assert_eq!(bytes[..head.len()], head);
    let tail = [
        &b"\x08\x01g\0\x03sau\0\0\0\0\0\0\0\0"[..],
        &[
            2, 0, 0, 0, b'a', b'b', 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0,
        ],
    ]
    .concat();
    assert_eq!(bytes[bytes.len() - tail.len()..], tail);
    assert_eq!(length(&bytes), Some(bytes.len()));
}

#[test]
fn properties_are_aligned_structures() {
    let mut body = Body::default();
    body.properties(&[("A", Value::Flag(true)), ("B", Value::Text("x"))]);
    let expected = [
        &[34, 0, 0, 0, 0, 0, 0, 0][..],
        &[1, 0, 0, 0, b'A', 0, 1, b'b', 0, 0, 0, 0, 1, 0, 0, 0],
        &[
            1, 0, 0, 0, b'B', 0, 1, b's', 0, 0, 0, 0, 1, 0, 0, 0, b'x', 0,
        ],
    ]
    .concat();
    assert_eq!(body.bytes, expected);
    let mut none = Body::default();
    none.no_properties();
    assert_eq!(none.bytes, [0; 8]);
}

/// A message of the bus, written with what writes calls.
fn from_bus(kind: u8, fields: &[(u8, &str, &str)], signature: &str, body: &Body) -> Vec<u8> {
    let mut head = Body::default();
    head.bytes.extend([b'l', kind, 0, 1]);
    head.number(size(body.bytes.len())).number(1);
    head.array(8, |head| {
        for (field, kind, text) in fields {
            head.align(8);
            head.bytes.push(*field);
            head.signature(kind).string(text);
        }
        head.align(8);
        head.bytes.push(FIELD_REPLY_SERIAL);
        head.signature("u").number(4);
        head.align(8);
        head.bytes.push(FIELD_SIGNATURE);
        head.signature("g").signature(signature);
    });
    head.align(8);
    head.bytes.extend(&body.bytes);
    head.bytes
}

#[test]
fn what_the_bus_sends() {
    let mut body = Body::default();
    body.number(31);
    body.string("/job/31").string("x.scope").string("done");
    let member = (FIELD_MEMBER, "s", "JobRemoved");
    let bytes = from_bus(SIGNAL, &[member], "uoss", &body);
    assert_eq!(length(&bytes[..FIXED]), Some(bytes.len()));
    let signal = Received::parse(&bytes).unwrap();
    assert_eq!(signal.kind, Kind::Signal);
    assert_eq!(signal.member.as_deref(), Some("JobRemoved"));
    assert_eq!(signal.strings, ["/job/31", "x.scope", "done"]);

    let mut body = Body::default();
    body.string("no");
    let name = (FIELD_ERROR, "s", "a.B");
    let error = Received::parse(&from_bus(ERROR, &[name], "s", &body)).unwrap();
    assert_eq!((error.kind, error.reply_to), (Kind::Reply, Some(4)));
    assert_eq!(error.error.as_deref(), Some("a.B"));
    assert_eq!(error.strings, ["no"]);
}

#[test]
fn what_is_no_message() {
    assert_eq!(length(b"B\x01\0\x01\0\0\0\0\0\0\0\0\0\0\0\0"), None);
    assert_eq!(length(b"l\x01\0\x01\xff\xff\xff\xff\0\0\0\0\0\0\0\0"), None);
    assert_eq!(length(b"l"), None);
}

proptest! {
    #[test]
    fn nothing_received_is_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 16..200)) {
        bytes[0] = b'l';
        length(&bytes);
        Received::parse(&bytes);
    }
}
