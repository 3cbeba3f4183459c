//! A WebSocket connection in memory, against a client that keeps to the protocol and ones that do
//! not.

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{DuplexStream, duplex};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use super::channel_frame::{ChannelFrame, Encoding};
use super::session::{Channels, serve};

const V4: Encoding = Encoding::Binary { half_close: false };
const V5: Encoding = Encoding::Binary { half_close: true };

type Client = WebSocketStream<DuplexStream>;

/// Sends on channel 1 what comes on channel 0; says on channel 3 when that has ended.
async fn start(encoding: Encoding) -> Client {
    let (near, far) = duplex(64 << 10);
    let mut channels = Channels::default();
    let mut input = channels.input(0);
    let (output, end) = (channels.output(1), channels.output(3));
    let app = async move {
        output.announce().await.unwrap();
        while let Some(bytes) = input.next().await {
            output.send(bytes).await.unwrap();
        }
        end.send(Bytes::from_static(b"ended")).await.unwrap();
    };
    tokio::spawn(serve(near, encoding, channels, app));
    WebSocketStream::from_raw_socket(far, Role::Client, None).await
}

async fn put(client: &mut Client, encoding: Encoding, payload: Vec<u8>) {
    let message = match encoding {
        Encoding::Base64 => Message::Text(String::from_utf8(payload).unwrap().into()),
        Encoding::Binary { .. } => Message::Binary(payload.into()),
    };
    client.send(message).await.unwrap();
}

async fn take(client: &mut Client, encoding: Encoding) -> ChannelFrame {
    let message = client.next().await.unwrap().unwrap();
    assert_eq!(message.is_text(), encoding == Encoding::Base64);
    encoding.decode(&message.into_data()).unwrap()
}

async fn close_code(client: &mut Client) -> CloseCode {
    loop {
        match client.next().await.unwrap().unwrap() {
            Message::Close(frame) => return frame.unwrap().code,
            other => assert!(other.is_binary() || other.is_text(), "{other:?}"),
        }
    }
}

#[tokio::test]
async fn bytes_go_through_in_each_encoding_and_pings_are_answered() {
    for encoding in [V4, V5, Encoding::Base64] {
        let mut client = start(encoding).await;
        let announced = take(&mut client, encoding).await;
        assert_eq!(announced, ChannelFrame::Data(1, vec![]));
        // A channel that nobody expects, and one that is.
        put(&mut client, encoding, encoding.encode(7, b"lost")).await;
        put(&mut client, encoding, encoding.encode(0, b"hello")).await;
        let echoed = take(&mut client, encoding).await;
        assert_eq!(echoed, ChannelFrame::Data(1, b"hello".to_vec()));
        client
            .send(Message::Ping(Bytes::from_static(b"p")))
            .await
            .unwrap();
        let pong = client.next().await.unwrap().unwrap();
        assert_eq!(pong, Message::Pong(Bytes::from_static(b"p")));
        client.close(None).await.unwrap();
        while let Some(Ok(_)) = client.next().await {}
    }
}

#[tokio::test]
async fn stdin_can_be_ended_by_itself_and_the_end_has_code_1000() {
    let mut client = start(V5).await;
    put(&mut client, V5, vec![0, b'x']).await;
    put(&mut client, V5, vec![255, 0]).await;
    let mut frames = Vec::new();
    while frames.len() < 3 {
        frames.push(take(&mut client, V5).await);
    }
    assert_eq!(frames[1], ChannelFrame::Data(1, b"x".to_vec()));
    assert_eq!(frames[2], ChannelFrame::Data(3, b"ended".to_vec()));
    assert_eq!(close_code(&mut client).await, CloseCode::Normal);
}

#[tokio::test]
async fn clients_that_break_the_protocol_hear_why() {
    for (encoding, message, code) in [
        (
            V5,
            Message::Binary(Bytes::from_static(&[255])),
            CloseCode::Protocol,
        ),
        (
            Encoding::Base64,
            Message::Text("0%".into()),
            CloseCode::Protocol,
        ),
        (
            V4,
            Message::Binary(vec![0; 2 << 20].into()),
            CloseCode::Size,
        ),
    ] {
        let client = start(encoding).await;
        // A giant message is not read to its end, so it may not be written to its end either.
        let (mut sink, mut stream) = client.split();
        let sending = tokio::spawn(async move { sink.send(message).await.is_ok() });
        let closed = loop {
            match stream.next().await.unwrap().unwrap() {
                Message::Close(frame) => break frame.unwrap().code,
                other => assert_eq!(other.len(), 1, "only the announcement"),
            }
        };
        assert_eq!(closed, code);
        sending.abort();
    }
}
