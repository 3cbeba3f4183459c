//! A connection in memory: the server's side against a client that keeps to the protocol, and
//! against ones that do not.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::frame::{Control, HEAD_LEN, REFUSED_STREAM};
use super::session::{OpenStream, SessionError, serve};
use super::test_client::{Client, Frame};

type Served = JoinHandle<Result<(), SessionError>>;

fn start<F>(
    app: impl FnOnce(mpsc::Receiver<OpenStream>) -> F + Send + 'static,
) -> (Client<DuplexStream>, Served)
where
    F: Future<Output = ()> + Send,
{
    let (near, far) = duplex(64 << 10);
    let served = tokio::spawn(async move { serve(near, app).await });
    (Client::new(far), served)
}

/// Sends back what comes on each stream, and ends with the stream.
async fn echo(mut opened: mpsc::Receiver<OpenStream>) {
    while let Some(mut stream) = opened.recv().await {
        let name = stream.header("streamtype").unwrap_or("none").to_owned();
        stream.outgoing.send(Bytes::from(name)).await.unwrap();
        while let Some(bytes) = stream.incoming.next().await {
            stream.outgoing.send(bytes).await.unwrap();
        }
        stream.outgoing.end().await.unwrap();
    }
}

/// Takes streams and does nothing with them.
async fn keep(mut opened: mpsc::Receiver<OpenStream>) {
    let mut kept = Vec::new();
    while let Some(stream) = opened.recv().await {
        kept.push(stream);
    }
    std::future::pending().await
}

#[tokio::test]
async fn streams_are_accepted_fed_and_ended() {
    let (mut client, served) = start(echo);
    client.open(1, &[("Streamtype", "stdin")]).await;
    client.data(1, false, b"one").await;
    client.data(1, true, b"two").await;
    let frames = client.until(&Frame::End(1)).await;
    assert_eq!(
        frames[..2],
        [Frame::Reply(1), Frame::Data(1, b"stdin".to_vec())]
    );
    client.open(3, &[]).await;
    client.data(3, true, b"").await;
    client.until(&Frame::End(3)).await;
    client.send(Control::Ping { id: 7 }).await;
    client.until(&Frame::Ping(7)).await;
    drop(client);
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_end_of_the_application_is_written_out_and_the_client_closes() {
    let (mut client, served) = start(async |mut opened| {
        let stream = opened.recv().await.unwrap();
        let long = Bytes::from(vec![b'x'; 1 << 20]);
        stream.outgoing.send(long).await.unwrap();
        stream.outgoing.end().await.unwrap();
    });
    client.open(1, &[]).await;
    let mut count = 0;
    for frame in client.until(&Frame::GoAway(0)).await {
        if let Frame::Data(1, bytes) = frame {
            count += bytes.len();
        }
    }
    assert_eq!(count, 1 << 20);
    client
        .send(Control::GoAway {
            last_good: 0,
            status: 0,
        })
        .await;
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_reset_reaches_the_application() {
    let (told, mut tells) = mpsc::channel(1);
    let (mut client, _served) = start(async move |mut opened: mpsc::Receiver<OpenStream>| {
        let stream = opened.recv().await.unwrap();
        stream.reset.cancelled().await;
        told.send(()).await.unwrap();
        std::future::pending::<()>().await;
    });
    client.open(1, &[]).await;
    client
        .send(Control::RstStream {
            stream: 1,
            status: 5,
        })
        .await;
    tells.recv().await.unwrap();
}

#[tokio::test]
async fn streams_are_bounded_and_their_places_come_back() {
    let (mut client, _served) = start(keep);
    for number in 0..520_u32 {
        client.open(number * 2 + 1, &[]).await;
        let expected = if number < 512 {
            Frame::Reply(number * 2 + 1)
        } else {
            Frame::Reset(number * 2 + 1, REFUSED_STREAM)
        };
        assert_eq!(client.next().await, Some(expected));
    }
    client
        .send(Control::RstStream {
            stream: 1,
            status: 5,
        })
        .await;
    client.open(2001, &[]).await;
    assert_eq!(client.next().await, Some(Frame::Reply(2001)));
}

#[tokio::test]
async fn a_stream_that_is_not_read_stops_the_client() {
    let (mut client, _served) = start(keep);
    client.open(1, &[]).await;
    let flood = async {
        for _ in 0..1000 {
            client.data(1, false, &[0; 32 << 10]).await;
        }
    };
    tokio::time::timeout(Duration::from_millis(300), flood)
        .await
        .unwrap_err();
}

#[tokio::test]
async fn clients_that_break_the_protocol_are_told_and_cut_off() {
    let block: &[u8] = &[1, 2, 3];
    let syn = |stream| {
        Control::SynStream {
            stream,
            fin: false,
            unidirectional: false,
            block,
        }
        .encode()
        .unwrap()
    };
    let giant = [&[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff][..], &[0; 100]].concat();
    for (what, bytes) in [
        ("another version", b"\x80\x02\0\x01\0\0\0\0".to_vec()),
        ("text", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("a giant control frame", giant),
        ("headers that are not compressed", syn(1)),
        ("a short frame", b"\x80\x03\0\x03\0\0\0\x04aaaa".to_vec()),
        (
            "a reply",
            Control::SynReply {
                stream: 1,
                fin: false,
                block,
            }
            .encode()
            .unwrap(),
        ),
        ("data of no stream", b"\0\0\0\x05\0\0\0\x01x".to_vec()),
    ] {
        let (mut client, served) = start(keep);
        client.io.write_all(&bytes).await.unwrap();
        assert_eq!(client.next().await, Some(Frame::GoAway(1)), "{what}");
        assert_eq!(client.next().await, None, "{what}");
        served.await.unwrap().unwrap_err();
    }
}

#[tokio::test]
async fn numbers_of_streams_only_grow() {
    for bad in [4, 3, 1] {
        let (mut client, served) = start(keep);
        client.open(3, &[]).await;
        assert_eq!(client.next().await, Some(Frame::Reply(3)));
        client.open(bad, &[]).await;
        assert_eq!(client.next().await, Some(Frame::GoAway(1)));
        let error = served.await.unwrap().unwrap_err();
        assert!(matches!(error, SessionError::Protocol { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_frame_that_stops_in_the_middle_is_an_error_of_the_connection() {
    let (mut client, served) = start(keep);
    client.open(1, &[]).await;
    client.io.write_all(&[0; HEAD_LEN - 3]).await.unwrap();
    drop(client);
    assert!(matches!(served.await.unwrap(), Err(SessionError::Io(_))));
}
