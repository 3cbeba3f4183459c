//! Port-forward over SPDY to sockets of this process.

use std::time::Duration;

use pinpod_model::PodId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::net::TcpListener;

use super::spdy::serve as forward;
use crate::request::PortForward;
use crate::spdy::serve;
use crate::spdy::test_client::{Client, Frame};

fn start(setup: Duration) -> Client<DuplexStream> {
    let (near, far) = duplex(64 << 10);
    tokio::spawn(async move {
        let what = PortForward {
            pod: PodId::generate().unwrap(),
            netns: None,
            ports: Vec::new(),
        };
        serve(near, async |opened| forward(&what, setup, opened).await).await
    });
    Client::new(far)
}

async fn open(client: &mut Client<DuplexStream>, first: u32, port: u16, request: &str) {
    let port = port.to_string();
    for (stream, kind) in [(first, "error"), (first + 2, "data")] {
        let headers = [
            ("streamtype", kind),
            ("port", port.as_str()),
            ("requestid", request),
        ];
        client.open(stream, &headers).await;
    }
    client.data(first, true, b"").await;
}

#[tokio::test]
async fn bytes_go_both_ways_and_each_end_by_itself() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut client = start(Duration::from_secs(5));
    // Two at once, and the data of the second before that of the first.
    open(&mut client, 1, port, "0").await;
    open(&mut client, 5, port, "1").await;
    client.data(7, true, b"second").await;
    client.data(3, true, b"first").await;
    let mut asked = Vec::new();
    for _ in 0..2 {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut text = String::new();
        // The client's end arrives while the answer is still to come.
        socket.read_to_string(&mut text).await.unwrap();
        socket
            .write_all(text.to_uppercase().as_bytes())
            .await
            .unwrap();
        asked.push(text);
    }
    asked.sort();
    assert_eq!(asked, ["first", "second"]);
    let mut frames = Vec::new();
    while frames
        .iter()
        .filter(|frame| matches!(frame, Frame::End(_)))
        .count()
        < 4
    {
        frames.push(client.next().await.unwrap());
    }
    for expected in [
        Frame::Data(3, b"FIRST".to_vec()),
        Frame::Data(7, b"SECOND".to_vec()),
        Frame::End(1),
        Frame::End(3),
        Frame::End(5),
        Frame::End(7),
    ] {
        assert!(frames.contains(&expected), "{expected:?} in {frames:?}");
    }
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_told_on_the_error_stream() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut client = start(Duration::from_secs(5));
    open(&mut client, 1, port, "0").await;
    let frames = client.until(&Frame::End(1)).await;
    let text = frames.iter().find_map(|frame| match frame {
        Frame::Data(1, bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    });
    assert!(text.unwrap().contains("Connection refused"));
    assert!(frames.contains(&Frame::End(3)));
}

#[tokio::test]
async fn a_client_that_resets_closes_the_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut client = start(Duration::from_secs(5));
    open(&mut client, 1, port, "0").await;
    let (mut socket, _) = listener.accept().await.unwrap();
    let status = 5;
    client
        .send(crate::spdy::frame::Control::RstStream { stream: 3, status })
        .await;
    assert_eq!(socket.read(&mut [0]).await.unwrap_or(0), 0);
    client.until(&Frame::End(1)).await;
}

#[tokio::test]
async fn streams_without_their_other_and_without_a_port_are_reset() {
    let mut client = start(Duration::from_millis(500));
    client
        .open(
            1,
            &[("streamtype", "data"), ("port", "80"), ("requestid", "0")],
        )
        .await;
    client
        .open(
            3,
            &[("streamtype", "data"), ("port", "0"), ("requestid", "1")],
        )
        .await;
    client.open(5, &[("streamtype", "stdin")]).await;
    // A second of the same kind for the same connection.
    client
        .open(
            7,
            &[("streamtype", "data"), ("port", "80"), ("requestid", "0")],
        )
        .await;
    let mut reset = Vec::new();
    while reset.len() < 4 {
        if let Frame::Reset(stream, _) = client.next().await.unwrap() {
            reset.push(stream);
        }
    }
    assert_eq!(reset, [3, 5, 7, 1]);
}
