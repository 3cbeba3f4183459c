//! A registry that stops in the middle of a layer.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use pinpod_image::{Images, ImagesConfig, PullError};
use support::{Layout, Node, settings, tar};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Serves the blobs of a layout; of `stalled` it gives a part and then nothing.
async fn serve(blobs: PathBuf, manifest: String, stalled: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (blobs, manifest, stalled) = (blobs.clone(), manifest.clone(), stalled.clone());
            tokio::spawn(async move { answer(stream, blobs, manifest, stalled).await });
        }
    });
    host
}

async fn answer(stream: TcpStream, blobs: PathBuf, manifest: String, stalled: String) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if stream.read_line(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
        let mut line = String::new();
        while stream.read_line(&mut line).await.unwrap_or(0) > 2 {
            line.clear();
        }
        let path = request.split(' ').nth(1).unwrap().to_owned();
        let (kind, name) = match path.rsplit_once('/').unwrap() {
            (dir, _) if dir.ends_with("/manifests") => (
                "application/vnd.oci.image.manifest.v1+json",
                manifest.as_str(),
            ),
            (_, blob) => ("application/octet-stream", blob),
        };
        let body = fs::read(blobs.join(name.trim_start_matches("sha256:"))).unwrap_or_default();
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        if name.contains(&stalled) {
            stream.write_all(&body[..body.len() / 2]).await.unwrap();
            std::future::pending::<()>().await;
        }
        stream.write_all(&body).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_pull_ends_and_a_dropped_one_stops() {
    let noise: Vec<u8> = (0..400_000_u32)
        .map(|n| n.to_le_bytes()[(n % 2) as usize])
        .collect();
    let layout = Layout::new("it", &[tar(&[("a", b"x")]), tar(&[("noise", &noise)])]);
    let blobs = layout.dir.path().join("blobs/sha256");
    let stalled = layout.blobs[1].hex().to_owned();
    let host = serve(blobs, layout.manifest.hex().to_owned(), stalled).await;
    let reference = format!("{host}/it:1");
    let dir = tempfile::tempdir().unwrap();
    let images = Images::open(ImagesConfig {
        pull_progress_timeout: Duration::from_millis(500),
        ..settings(dir.path())
    });
    let node = Node {
        images: images.unwrap(),
        dir,
    };
    let error = node.images.pull(&reference, None).await.unwrap_err();
    assert!(matches!(error, PullError::NoProgress { .. }), "{error:?}");
    node.staging_empties().await;

    // Two callers: the pull goes on while one is left, and stops with the last.
    let node = Node::new();
    let mut first = Box::pin(node.images.pull(&reference, None));
    let mut second = Box::pin(node.images.pull(&reference, None));
    let moment = Duration::from_millis(300);
    for caller in [&mut first, &mut second] {
        assert!(tokio::time::timeout(moment, caller).await.is_err());
    }
    drop(first);
    assert!(tokio::time::timeout(moment, &mut second).await.is_err());
    assert_eq!(node.entries("staging"), 1);
    drop(second);
    node.staging_empties().await;
    // The layer that was complete stays for the next try.
    assert_eq!(node.entries("layers"), 1);
    assert!(node.images.list().is_empty());
}
