//! Manifests and blobs from a server that misbehaves: cut, wrong, slow, refusing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pinpod_model::{Classify, ErrorClass};
use pinpod_registry::{BlobError, Platform, RegistryError};
use support::{Reply, Server, content, descriptor, digest, drain, image_manifest, session};

/// The part of a body that a `Range: bytes=N-` asks for.
fn ranged(request: &support::Request, body: &[u8]) -> Reply {
    let from = request.header("range").and_then(|range| {
        range
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse::<usize>()
            .ok()
    });
    match from {
        Some(from) => Reply::new(206, &body[from..]).with(
            "Content-Range",
            format!("bytes {from}-{}/{}", body.len() - 1, body.len()),
        ),
        None => Reply::new(200, body),
    }
}

#[tokio::test]
async fn a_broken_transfer_resumes_where_it_broke() {
    let blob = content(300_000);
    let body = blob.clone();
    let server = Server::start(move |request, number| {
        let reply = ranged(request, &body);
        if number < 3 {
            reply.cut_at(50_000)
        } else {
            reply
        }
    })
    .await;
    let counter = Arc::new(AtomicU64::new(0));
    let session = session(&server, None).await;
    let stream = session
        .fetch_blob(&descriptor(&blob))
        .count_into(counter.clone());
    assert_eq!(drain(stream).await.unwrap(), blob);
    assert_eq!(counter.load(Ordering::Relaxed), 300_000);
    let ranges: Vec<_> = server
        .requests()
        .iter()
        .map(|r| r.header("range").map(str::to_owned))
        .collect();
    assert_eq!(ranges[0], None);
    assert_eq!(ranges.len(), 4);
    assert_eq!(ranges[3].as_deref(), Some("bytes=150000-"));
}

#[tokio::test]
async fn a_server_without_ranges_is_read_from_the_start() {
    let blob = content(200_000);
    let body = blob.clone();
    let server = Server::start(move |_, number| {
        let reply = Reply::new(200, body.clone());
        if number == 0 {
            reply.cut_at(70_000)
        } else {
            reply
        }
    })
    .await;
    let stream = session(&server, None).await.fetch_blob(&descriptor(&blob));
    assert_eq!(drain(stream).await.unwrap(), blob);
}

#[tokio::test]
async fn a_wrong_range_is_not_used() {
    let blob = content(200_000);
    for wrong in [
        Reply::new(206, &blob[10..]).with("Content-Range", "bytes 10-199999/200000"),
        Reply::new(206, &blob[70_000..]),
        Reply::new(416, ""),
    ] {
        let body = blob.clone();
        let server =
            Server::start(
                move |request, number| match (request.header("range"), number) {
                    (Some(_), _) => wrong.clone(),
                    (None, 0) => Reply::new(200, body.clone()).cut_at(70_000),
                    (None, _) => Reply::new(200, body.clone()),
                },
            )
            .await;
        let stream = session(&server, None).await.fetch_blob(&descriptor(&blob));
        assert_eq!(drain(stream).await.unwrap(), blob);
        assert_eq!(server.requests().len(), 3);
    }
}

#[tokio::test]
async fn another_content_between_two_tries_is_found() {
    let blob = content(200_000);
    let body = blob.clone();
    let server = Server::start(move |request, number| {
        if number == 0 {
            return Reply::new(200, body.clone()).cut_at(70_000);
        }
        ranged(request, &vec![7; 200_000])
    })
    .await;
    let stream = session(&server, None).await.fetch_blob(&descriptor(&blob));
    assert!(matches!(drain(stream).await, Err(BlobError::Digest { .. })));
}

#[tokio::test]
async fn wrong_content_is_refused_before_its_last_piece() {
    let blob = content(1000);
    let mut wrong = blob.clone();
    wrong[999] ^= 1;
    let server = Server::start(move |_, _| Reply::new(200, wrong.clone())).await;
    let mut stream = session(&server, None).await.fetch_blob(&descriptor(&blob));
    let mut received = 0;
    let error = loop {
        match stream.next().await {
            Ok(Some(piece)) => received += piece.len(),
            Ok(None) => panic!("a wrong blob was taken"),
            Err(error) => break error,
        }
    };
    assert!(received < 1000);
    assert!(matches!(error, BlobError::Digest { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains(&server.address) && text.contains("a/b"),
        "{text}"
    );
}

#[tokio::test]
async fn a_truncated_or_longer_blob_is_refused() {
    let blob = content(1000);
    let short = blob[..900].to_vec();
    let mut long = blob.clone();
    long.push(0);
    let replies = [
        ("says it is shorter", Reply::new(200, short.clone()), 1),
        ("says it is longer", Reply::new(200, long.clone()), 1),
        (
            "goes on after the end",
            Reply::new(200, long).unbounded(),
            1,
        ),
    ];
    for (what, reply, asked) in replies {
        let server = Server::start(move |_, _| reply.clone()).await;
        let stream = session(&server, None).await.fetch_blob(&descriptor(&blob));
        let error = drain(stream).await.unwrap_err();
        assert!(
            matches!(error, BlobError::Size { size: 1000, .. }),
            "{what}: {error}"
        );
        assert_eq!(server.requests().len(), asked, "{what}");
    }
    // An end that looks like a good one.
    let server = Server::start(move |_, _| Reply::new(200, short.clone()).unbounded()).await;
    let stream = session(&server, None).await.fetch_blob(&descriptor(&blob));
    let error = drain(stream).await.unwrap_err();
    assert!(
        matches!(error, BlobError::Truncated { received: 900, .. }),
        "{error}"
    );
    assert_eq!(error.class(), ErrorClass::Unavailable);
}

#[tokio::test]
async fn an_empty_blob_needs_no_request() {
    let server = Server::start(|_, _| Reply::new(500, "")).await;
    let stream = session(&server, None).await.fetch_blob(&descriptor(b""));
    assert_eq!(drain(stream).await.unwrap(), b"");
}

#[tokio::test]
async fn a_silent_transfer_is_broken() {
    let blob = content(1000);
    let body = blob.clone();
    let server = Server::start(move |request, number| {
        let mut reply = ranged(request, &body);
        if number == 0 {
            reply = reply.cut_at(10);
            reply.hang = true;
        }
        reply
    })
    .await;
    let client = pinpod_registry::RegistryClient::new(pinpod_registry::ClientOptions {
        read_timeout: Duration::from_millis(300),
        ..support::options()
    });
    let session = client.session(&server.endpoint(), None).await.unwrap();
    let all = drain(session.fetch_blob(&descriptor(&blob))).await.unwrap();
    assert_eq!(all, blob);
}

#[tokio::test]
async fn a_dropped_stream_ends_the_transfer() {
    let blob = content(1000);
    let body = blob.clone();
    let server = Server::start(move |_, _| {
        let mut reply = Reply::new(200, body.clone()).cut_at(500);
        reply.hang = true;
        reply
    })
    .await;
    let mut stream = session(&server, None).await.fetch_blob(&descriptor(&blob));
    assert!(stream.next().await.unwrap().is_some());
    assert_eq!(server.gone.load(Ordering::SeqCst), 0);
    drop(stream);
    let since = Instant::now();
    while server.gone.load(Ordering::SeqCst) == 0 {
        assert!(
            since.elapsed() < Duration::from_secs(4),
            "the connection is still open"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn limits_and_trouble_are_waited_for() {
    for (first, pause) in [
        (Reply::new(429, "").with("Retry-After", "1"), 900),
        (Reply::new(503, "").with("Retry-After", "1"), 900),
        (Reply::new(429, ""), 100),
        (Reply::new(500, ""), 100),
        (Reply::new(502, "").cut_at(0), 100),
    ] {
        let body = image_manifest(b"c", b"l");
        let server = Server::start(move |_, number| match number {
            0 => first.clone(),
            _ => Reply::new(200, body.clone()),
        })
        .await;
        let since = Instant::now();
        session(&server, None).await.fetch_manifest().await.unwrap();
        assert!(since.elapsed() >= Duration::from_millis(pause));
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn waiting_has_an_end() {
    let server = Server::start(|_, _| Reply::new(429, "").with("Retry-After", "3600")).await;
    let error = session(&server, None)
        .await
        .fetch_manifest()
        .await
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::ResourceExhausted);
    assert!(error.to_string().contains("3600 s"), "{error}");
    assert_eq!(server.requests().len(), 1);
    let server = Server::start(|_, _| Reply::new(500, "")).await;
    let error = session(&server, None)
        .await
        .fetch_manifest()
        .await
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unavailable);
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn refusals_have_their_classes_and_words() {
    let words = r#"{"errors":[{"code":"CODE","message":"the\nreason"}]}"#;
    for (status, class) in [
        (401, ErrorClass::Unauthenticated),
        (403, ErrorClass::PermissionDenied),
        (404, ErrorClass::NotFound),
        (400, ErrorClass::Unavailable),
    ] {
        let server = Server::start(move |_, _| Reply::new(status, words)).await;
        let error = session(&server, None)
            .await
            .fetch_manifest()
            .await
            .unwrap_err();
        assert_eq!(error.class(), class);
        let text = error.to_string();
        assert!(
            text.contains("CODE thereason") && text.contains("manifest 1 of"),
            "{text}"
        );
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_manifest_is_verified() {
    let body = image_manifest(b"c", b"l");
    let sent = body.clone();
    let server = Server::start(move |request, _| {
        let reply = Reply::new(200, sent.clone());
        match request.target.as_str() {
            "/v2/a/b/manifests/lies" => {
                reply.with("Docker-Content-Digest", digest(b"").to_string())
            }
            "/v2/a/b/manifests/huge" => Reply::new(200, vec![b' '; 5 << 20]),
            "/v2/a/b/manifests/old" => Reply::new(200, r#"{"schemaVersion":1}"#),
            _ => reply,
        }
    })
    .await;
    let get = async |suffix: &str| {
        let client = pinpod_registry::RegistryClient::new(support::options());
        let endpoint = support::endpoint(&format!("{}/a/b{suffix}", server.address));
        client
            .session(&endpoint, None)
            .await
            .unwrap()
            .fetch_manifest()
            .await
    };
    let good = get(&format!(":ignored@{}", digest(&body))).await.unwrap();
    assert_eq!((&good.bytes[..], good.digest), (&body[..], digest(&body)));
    let asked = server.requests().pop().unwrap();
    assert_eq!(asked.target, format!("/v2/a/b/manifests/{}", digest(&body)));
    let wrong = get(&format!("@{}", digest(b"other"))).await;
    assert!(
        matches!(wrong, Err(RegistryError::Digest { .. })),
        "{wrong:?}"
    );
    assert!(matches!(
        get(":lies").await,
        Err(RegistryError::Digest { .. })
    ));
    assert!(matches!(
        get(":huge").await,
        Err(RegistryError::Protocol { .. })
    ));
    let old = get(":old").await.unwrap_err();
    assert_eq!(old.class(), ErrorClass::InvalidArgument);
    assert!(get("").await.is_ok());
    assert_eq!(
        server.requests().pop().unwrap().target,
        "/v2/a/b/manifests/latest"
    );
}

#[tokio::test]
async fn an_index_is_followed_to_the_platform() {
    let image = image_manifest(b"c", b"l");
    let entry = |architecture: &str, bytes: &[u8]| {
        serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest(bytes), "size": bytes.len(),
            "platform": { "os": "linux", "architecture": architecture },
        })
    };
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry("s390x", b"other"), entry("riscv64", &image)],
    })
    .to_string();
    let (top, below) = (index.clone(), image.clone());
    let server = Server::start(move |request, _| match request.target.as_str() {
        "/v2/a/b/manifests/1" => Reply::new(200, top.clone()),
        _ => Reply::new(200, below.clone()),
    })
    .await;
    let session = session(&server, None).await;
    let top = session.fetch_manifest().await.unwrap();
    assert_eq!(top.digest, digest(index.as_bytes()));
    let mut platform = Platform {
        os: "linux".into(),
        architecture: "riscv64".into(),
        variant: None,
    };
    let chosen = session
        .image_manifest(top.clone(), &platform)
        .await
        .unwrap();
    assert_eq!(chosen.fetched.digest, digest(&image));
    assert_eq!(chosen.manifest.config.digest, digest(b"c"));
    assert_eq!(chosen.manifest.layers[0].size, 1);
    platform.architecture = "m68k".into();
    let error = session.image_manifest(top, &platform).await.unwrap_err();
    assert!(
        error.to_string().contains("nothing for linux/m68k"),
        "{error}"
    );
}
