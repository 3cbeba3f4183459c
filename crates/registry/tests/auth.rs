//! Who may pull: tokens, passwords, callers apart from each other, and where secrets go.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use pinpod_model::{Classify, Credentials, ErrorClass};
use pinpod_registry::{
    ClientOptions, Registries, RegistriesPaths, RegistryClient, RegistryError, ResolveError,
};
use support::{
    Reply, Request, Server, content, descriptor, drain, image_manifest, options, session, user,
};

fn basic(user: &str, password: &str) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {text}")
}

/// A registry with a token server in it. A token is `<user>-<how many were given>`; it is good as
/// long as it is the newest, so each new one takes the old away.
async fn token_registry(blob: Vec<u8>, private: bool) -> (Server, Arc<AtomicUsize>) {
    let newest = Arc::new(AtomicUsize::new(0));
    let counter = newest.clone();
    let script = move |request: &Request, _| {
        let authorization = request.header("authorization").unwrap_or_default();
        let host = request.header("host").unwrap();
        if request.target.starts_with("/token") {
            let refresh = request.body.contains("refresh_token=refresh%2Fme");
            let user = if refresh {
                "refreshed"
            } else if authorization == basic("alice", "secret") {
                "alice"
            } else if authorization.is_empty() && !private && request.body.is_empty() {
                "anonymous"
            } else {
                return Reply::new(401, r#"{"details":"wrong user"}"#);
            };
            let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
            return Reply::new(
                200,
                format!(r#"{{"access_token":"{user}-{number}","expires_in":3600}}"#),
            );
        }
        let newest = counter.load(Ordering::SeqCst);
        let good = authorization.starts_with("Bearer ")
            && authorization.ends_with(&format!("-{newest}"))
            && newest > 0;
        if !good {
            let challenge = format!(
                r#"Bearer realm="http://{host}/token?keep=1",service="the service",scope="repository:a/b:pull""#
            );
            return Reply::new(401, "").with("WWW-Authenticate", challenge);
        }
        if request.target.contains("/blobs/") {
            return Reply::new(200, blob.clone());
        }
        Reply::new(200, image_manifest(b"c", &blob))
    };
    (Server::start(script).await, newest)
}

#[tokio::test]
async fn a_token_is_fetched_once_and_again_when_it_is_refused() {
    let blob = content(1000);
    let (server, newest) = token_registry(blob.clone(), true).await;
    let session = session(&server, user("alice", "secret")).await;
    session.fetch_manifest().await.unwrap();
    let asked = server.requests_for("/token").pop().unwrap();
    assert_eq!(
        asked.target,
        "/token?keep=1&service=the+service&scope=repository%3Aa%2Fb%3Apull"
    );
    drain(session.fetch_blob(&descriptor(&blob))).await.unwrap();
    assert_eq!(server.requests_for("/token").len(), 1);
    // The token is taken away in the middle of the pull.
    newest.fetch_add(1, Ordering::SeqCst);
    drain(session.fetch_blob(&descriptor(&blob))).await.unwrap();
    assert_eq!(server.requests_for("/token").len(), 2);
}

#[tokio::test]
async fn parallel_layers_share_one_new_token() {
    let blob = content(1000);
    let (server, newest) = token_registry(blob.clone(), true).await;
    let session = session(&server, user("alice", "secret")).await;
    session.fetch_manifest().await.unwrap();
    newest.fetch_add(1, Ordering::SeqCst);
    let wanted = descriptor(&blob);
    let (a, b, c) = tokio::join!(
        drain(session.fetch_blob(&wanted)),
        drain(session.fetch_blob(&wanted)),
        drain(session.fetch_blob(&wanted))
    );
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(server.requests_for("/token").len(), 2);
}

#[tokio::test]
async fn a_401_while_resuming_is_answered() {
    let blob = content(100_000);
    let (server, newest) = token_registry(blob.clone(), true).await;
    // In front of it stands one that cuts the first transfer.
    let (body, revoke) = (blob.clone(), newest.clone());
    let inner = server.address.clone();
    let front = Server::start(move |request, _| {
        let authorization = request.header("authorization").unwrap_or_default();
        let newest = revoke.load(Ordering::SeqCst);
        if !authorization.ends_with(&format!("-{newest}")) || newest == 0 {
            let challenge = format!(r#"Bearer realm="http://{inner}/token",service="s""#);
            return Reply::new(401, "").with("WWW-Authenticate", challenge);
        }
        if request.header("range").is_none() {
            revoke.fetch_add(1, Ordering::SeqCst);
            return Reply::new(200, body.clone()).cut_at(40_000);
        }
        Reply::new(206, &body[40_000..]).with("Content-Range", "bytes 40000-99999/100000")
    })
    .await;
    let session = session(&front, user("alice", "secret")).await;
    let all = drain(session.fetch_blob(&descriptor(&blob))).await.unwrap();
    assert_eq!(all, blob);
    let scopes = server.requests_for("scope=repository%3Aa%2Fb%3Apull");
    assert_eq!(
        scopes.len(),
        2,
        "the scope is the session's where the challenge has none"
    );
}

#[tokio::test]
async fn one_caller_never_pulls_with_anothers_credentials() {
    let (server, _) = token_registry(content(10), true).await;
    let client = RegistryClient::new(options());
    let alice = client
        .session(&server.endpoint(), user("alice", "secret"))
        .await
        .unwrap();
    alice.fetch_manifest().await.unwrap();
    for other in [None, user("alice", "wrong"), user("mallory", "secret")] {
        let session = client.session(&server.endpoint(), other).await.unwrap();
        let error = session.fetch_manifest().await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Unauthenticated);
        let text = error.to_string();
        assert!(
            text.contains("wrong user") && !text.contains("secret"),
            "{text}"
        );
    }
    alice.fetch_manifest().await.unwrap();
    let again = client
        .session(&server.endpoint(), user("alice", "secret"))
        .await
        .unwrap();
    again.fetch_manifest().await.unwrap();
}

#[tokio::test]
async fn nobody_in_particular_and_refresh_tokens() {
    let (public, _) = token_registry(content(10), false).await;
    session(&public, None).await.fetch_manifest().await.unwrap();
    let (private, _) = token_registry(content(10), true).await;
    let refresh = Credentials {
        identity_token: "refresh/me".into(),
        ..Credentials::default()
    };
    session(&private, Some(refresh))
        .await
        .fetch_manifest()
        .await
        .unwrap();
    let asked = private.requests_for("/token").pop().unwrap();
    assert_eq!(asked.method, "POST");
    for part in [
        "grant_type=refresh_token",
        "service=the+service",
        "scope=repository%3Aa%2Fb%3Apull",
    ] {
        assert!(asked.body.contains(part), "{}", asked.body);
    }
}

#[tokio::test]
async fn a_password_goes_only_to_who_asks_for_it() {
    let server = Server::start(|request, _| match request.header("authorization") {
        Some(value) if value == basic("alice", "secret") => {
            Reply::new(200, image_manifest(b"c", b"l"))
        }
        _ => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=\"x\""),
    })
    .await;
    session(&server, user("alice", "secret"))
        .await
        .fetch_manifest()
        .await
        .unwrap();
    assert_eq!(server.requests()[0].header("authorization"), None);
    let wrong = session(&server, user("alice", "wrong"))
        .await
        .fetch_manifest()
        .await;
    assert_eq!(wrong.unwrap_err().class(), ErrorClass::Unauthenticated);
    assert_eq!(
        server.requests().len(),
        4,
        "a refused password is not sent again"
    );
    let none = session(&server, None).await.fetch_manifest().await;
    assert_eq!(none.unwrap_err().class(), ErrorClass::Unauthenticated);
}

#[tokio::test]
async fn a_registry_token_is_sent_as_it_is() {
    let server = Server::start(|request, _| match request.header("authorization") {
        Some("Bearer mine") => Reply::new(200, image_manifest(b"c", b"l")),
        _ => Reply::new(401, "").with("WWW-Authenticate", "Bearer realm=\"http://127.0.0.1:1/\""),
    })
    .await;
    let token = |text: &str| {
        Some(Credentials {
            registry_token: text.into(),
            ..Credentials::default()
        })
    };
    session(&server, token("mine"))
        .await
        .fetch_manifest()
        .await
        .unwrap();
    let error = session(&server, token("old"))
        .await
        .fetch_manifest()
        .await
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unauthenticated);
}

#[tokio::test]
async fn a_redirect_to_another_host_takes_no_secret_along() {
    let blob = content(1000);
    let body = blob.clone();
    // The other host refuses once with a challenge of its own: nothing is sent for that either.
    let other = Server::start(move |_, number| match number {
        0 => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=\"phish\""),
        _ => Reply::new(200, body.clone()),
    })
    .await;
    let target = format!("http://{}/signed?key=1", other.address);
    let server = Server::start(move |request, _| match request.header("authorization") {
        Some(_) => Reply::new(307, "").with("Location", target.clone()),
        None => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=\"x\""),
    })
    .await;
    let session = session(&server, user("alice", "secret")).await;
    let all = drain(session.fetch_blob(&descriptor(&blob))).await.unwrap();
    assert_eq!(all, blob);
    let seen = other.requests();
    assert_eq!(seen.len(), 2);
    assert!(
        seen.iter()
            .all(|request| request.header("authorization").is_none())
    );
}

#[tokio::test]
async fn a_redirect_on_the_same_host_keeps_it_and_a_circle_ends() {
    let server = Server::start(|request, _| {
        let known = request.header("authorization").is_some();
        match request.target.as_str() {
            "/v2/a/b/manifests/1" if !known => {
                Reply::new(401, "").with("WWW-Authenticate", "Basic")
            }
            "/v2/a/b/manifests/1" => Reply::new(302, "").with("Location", "/moved"),
            "/moved" if known => Reply::new(200, image_manifest(b"c", b"l")),
            _ => Reply::new(302, "").with("Location", "/circle"),
        }
    })
    .await;
    let session = session(&server, user("alice", "secret")).await;
    session.fetch_manifest().await.unwrap();
    let circle = session
        .fetch_manifest_by_digest(&support::digest(b"x"))
        .await;
    assert!(
        matches!(circle, Err(RegistryError::Protocol { .. })),
        "{circle:?}"
    );
}

/// Answers like a registry for `alice` and remembers.
async fn plain_registry(works: bool) -> Server {
    Server::start(
        move |request, _| match (works, request.header("authorization")) {
            (false, Some(_)) => Reply::new(404, ""),
            (true, Some(value)) if value == basic("alice", "secret") => {
                Reply::new(200, image_manifest(b"c", b"l"))
            }
            _ => Reply::new(401, "").with("WWW-Authenticate", "Basic"),
        },
    )
    .await
}

#[tokio::test]
async fn mirrors_are_asked_first_and_get_the_nodes_credentials() {
    let (mirror, origin) = (plain_registry(false).await, plain_registry(true).await);
    let dir = tempfile::tempdir().unwrap();
    let paths = RegistriesPaths {
        conf: dir.path().join("registries.conf"),
        conf_dir: dir.path().join("d"),
        auth_files: vec![dir.path().join("auth.json")],
        short_name_mode: None,
    };
    let auths = BTreeMap::from([(
        format!("{}/cache", mirror.address),
        serde_json::json!({ "username": "node", "password": "own" }),
    )]);
    std::fs::write(
        &paths.auth_files[0],
        serde_json::json!({ "auths": auths }).to_string(),
    )
    .unwrap();
    let text = format!(
        "[[registry]]\nprefix = \"example.com\"\nlocation = \"{}\"\n\
         [[registry.mirror]]\nlocation = \"127.0.0.1:1\"\n\
         [[registry.mirror]]\nlocation = \"{}/cache\"\n",
        origin.address, mirror.address
    );
    std::fs::write(&paths.conf, &text).unwrap();
    let fast = ClientOptions {
        retries: 0,
        ..options()
    };
    let registries = Registries::load(paths.clone(), fast).unwrap();
    let name = "example.com/a/b:1".parse().unwrap();
    let alice = user("alice", "secret");
    let found = registries.resolve(&name, alice.as_ref()).await.unwrap();
    assert_eq!(found.reference.to_string(), "example.com/a/b:1");
    assert_eq!(
        found.session.endpoint().reference.registry(),
        origin.address
    );
    let sent: Vec<_> = mirror
        .requests()
        .iter()
        .map(|r| r.header("authorization").map(str::to_owned))
        .collect();
    assert_eq!(sent, [None, Some(basic("node", "own"))]);
    assert_eq!(mirror.requests()[0].target, "/v2/cache/a/b/manifests/1");

    let error = registries.resolve(&name, None).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unauthenticated);
    let shown = error.to_string();
    assert!(
        shown.contains("3 places") && shown.contains(&mirror.address),
        "{shown}"
    );

    // A changed file counts at once, a broken one does not.
    std::fs::write(&paths.conf, format!("{text}\nblocked = 1")).unwrap();
    assert!(registries.resolve(&name, alice.as_ref()).await.is_ok());
    std::fs::write(
        &paths.conf,
        text.replacen("\nlocation", "\nblocked = true\nlocation", 1),
    )
    .unwrap();
    let blocked = registries.resolve(&name, alice.as_ref()).await;
    assert!(
        matches!(blocked, Err(ResolveError::Blocked(_))),
        "{blocked:?}"
    );
}

#[tokio::test]
async fn a_host_that_is_not_there_is_unavailable() {
    let client = RegistryClient::new(ClientOptions {
        retries: 0,
        connect_timeout: Duration::from_secs(1),
        ..options()
    });
    let endpoint = support::endpoint("127.0.0.1:1/a/b");
    let error = client.session(&endpoint, None).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unavailable);
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}
