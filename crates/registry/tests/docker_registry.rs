//! Against the distribution project's own registry (`docker-registry`), with passwords and TLS.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use pinpod_model::{Classify, ErrorClass};
use pinpod_registry::{ClientOptions, Endpoint, Platform, RegistryClient};
use support::{content, descriptor, digest, drain, image_manifest, options, user};

/// bcrypt of `opensesame`.
const HTPASSWD: &str = "alice:$2b$05$wLxeWhO95iCVlbmPkMQxa.ae0ql7gp41slUoTsQ.GYY6SLFSqro.q\n";

/// A registry process with a directory of its own; both end with the value.
struct DockerRegistry {
    _child: tokio::process::Child,
    dir: tempfile::TempDir,
    address: String,
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's server outlives any deadline that pinpod-command could set"
)]
fn command(program: &str) -> tokio::process::Command {
    tokio::process::Command::new(program)
}

impl DockerRegistry {
    /// `tls` are lines for `http.tls` of its configuration, relative to the directory.
    async fn start(dir: tempfile::TempDir, tls: &str) -> Self {
        let path = dir.path().display();
        std::fs::write(dir.path().join("htpasswd"), HTPASSWD).unwrap();
        let port = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().port()
        };
        let address = format!("127.0.0.1:{port}");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {path}/data}}}}\n\
             auth: {{htpasswd: {{realm: test, path: {path}/htpasswd}}}}\n\
             http:\n  addr: {address}\n{tls}"
        );
        std::fs::write(dir.path().join("config.yml"), config).unwrap();
        let child = command("docker-registry")
            .arg("serve")
            .arg(dir.path().join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("docker-registry is installed (Debian package docker-registry)");
        let since = Instant::now();
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            assert!(
                since.elapsed() < Duration::from_secs(20),
                "docker-registry does not listen"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self {
            _child: child,
            dir,
            address,
        }
    }

    fn endpoint(&self, rest: &str) -> Endpoint {
        support::endpoint(&format!("{}/{rest}", self.address))
    }

    async fn push_blob(&self, repository: &str, bytes: &[u8]) {
        let http = reqwest::Client::new();
        let url = format!("http://{}/v2/{repository}/blobs/uploads/", self.address);
        let begun = http.post(url).basic_auth("alice", Some("opensesame"));
        let begun = begun.send().await.unwrap().error_for_status().unwrap();
        let location = begun.headers()["location"].to_str().unwrap();
        let put = http
            .put(format!("{location}&digest={}", digest(bytes)))
            .basic_auth("alice", Some("opensesame"))
            .body(bytes.to_vec());
        put.send().await.unwrap().error_for_status().unwrap();
    }

    async fn push_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) {
        let put = reqwest::Client::new()
            .put(format!(
                "http://{}/v2/{repository}/manifests/{tag}",
                self.address
            ))
            .basic_auth("alice", Some("opensesame"))
            .header("content-type", media_type)
            .body(bytes.to_vec());
        put.send().await.unwrap().error_for_status().unwrap();
    }
}

#[tokio::test]
async fn push_and_pull_with_a_password() {
    let registry = DockerRegistry::start(tempfile::tempdir().unwrap(), "").await;
    let (config, layer) = (b"{}".to_vec(), content(9_000_001));
    let image = image_manifest(&config, &layer);
    let node = Platform::node();
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest(&image), "size": image.len(),
            "platform": { "os": "linux", "architecture": node.architecture },
        }],
    })
    .to_string();
    registry.push_blob("org/app", &config).await;
    registry.push_blob("org/app", &layer).await;
    let oci = "application/vnd.oci.image.manifest.v1+json";
    registry.push_manifest("org/app", "one", oci, &image).await;
    let list = "application/vnd.docker.distribution.manifest.list.v2+json";
    registry
        .push_manifest("org/app", "many", list, index.as_bytes())
        .await;

    let client = RegistryClient::new(options());
    for reference in [
        "org/app:one".to_owned(),
        format!("org/app@{}", digest(&image)),
        "org/app:many".to_owned(),
    ] {
        let endpoint = registry.endpoint(&reference);
        let session = client
            .session(&endpoint, user("alice", "opensesame"))
            .await
            .unwrap();
        let top = session.fetch_manifest().await.unwrap();
        let chosen = session.image_manifest(top, &node).await.unwrap();
        assert_eq!(chosen.fetched.digest, digest(&image), "{reference}");
        let pulled = drain(session.fetch_blob(&chosen.manifest.layers[0]))
            .await
            .unwrap();
        assert_eq!(pulled, layer);
    }
    for (credentials, reference, class) in [
        (None, "org/app:one", ErrorClass::Unauthenticated),
        (
            user("alice", "wrong"),
            "org/app:one",
            ErrorClass::Unauthenticated,
        ),
        (
            user("alice", "opensesame"),
            "org/app:none",
            ErrorClass::NotFound,
        ),
        (
            user("alice", "opensesame"),
            "org/none:one",
            ErrorClass::NotFound,
        ),
    ] {
        let session = client
            .session(&registry.endpoint(reference), credentials)
            .await
            .unwrap();
        let error = session.fetch_manifest().await.unwrap_err();
        assert_eq!(error.class(), class, "{error}");
    }
    let session = client
        .session(&registry.endpoint("org/app"), user("alice", "opensesame"))
        .await;
    let missing = drain(session.unwrap().fetch_blob(&descriptor(b"no such blob"))).await;
    assert_eq!(missing.unwrap_err().class(), ErrorClass::NotFound);
}

/// A CA and a certificate of it for 127.0.0.1, good for both sides.
async fn certificates(dir: &Path) {
    let script = "
        set -e
        new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
        openssl req -x509 $new -keyout ca.key -out ca.crt -subj /CN=ca -days 2
        openssl req $new -keyout host.key -out host.csr -subj /CN=host
        printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth,clientAuth\\n' > ext
        openssl x509 -req -in host.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile ext -out host.crt -days 2
    ";
    let output = command("sh")
        .arg("-c")
        .arg(script)
        .current_dir(dir)
        .output()
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Whether the registry can be talked to: its answer to a missing manifest is such talk.
async fn talks(
    registry: &DockerRegistry,
    certs: Option<PathBuf>,
    insecure: bool,
) -> Result<(), String> {
    let client = RegistryClient::new(ClientOptions {
        certs_dirs: certs.into_iter().collect(),
        retries: 0,
        ..options()
    });
    let endpoint = Endpoint {
        insecure,
        ..registry.endpoint("a/b:1")
    };
    let session = client.session(&endpoint, user("alice", "opensesame")).await;
    let error = match session {
        Ok(session) => session.fetch_manifest().await.unwrap_err(),
        Err(error) => error,
    };
    match error.class() {
        ErrorClass::NotFound => Ok(()),
        _ => Err(format!("{error}: {:?}", std::error::Error::source(&error))),
    }
}

/// A `certs.d` for the registry with these files of its directory, by their names there.
fn certs_d(registry: &DockerRegistry, files: &[(&str, &str)]) -> PathBuf {
    let certs = registry.dir.path().join(format!("certs.d-{}", files.len()));
    let host = certs.join(&registry.address);
    std::fs::create_dir_all(&host).unwrap();
    for (from, to) in files {
        std::fs::copy(registry.dir.path().join(from), host.join(to)).unwrap();
    }
    certs
}

#[tokio::test]
async fn certificates_of_a_host() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path()).await;
    let tls = format!(
        "  tls: {{certificate: {0}/host.crt, key: {0}/host.key}}\n",
        dir.path().display()
    );
    let registry = DockerRegistry::start(dir, &tls).await;
    let error = talks(&registry, None, false).await.unwrap_err();
    assert!(
        error.contains("UnknownIssuer") || error.contains("certificate"),
        "{error}"
    );
    talks(&registry, None, true).await.unwrap();
    talks(
        &registry,
        Some(certs_d(&registry, &[("ca.crt", "ca.crt")])),
        false,
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn a_client_certificate() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path()).await;
    let tls = format!(
        "  tls: {{certificate: {0}/host.crt, key: {0}/host.key, clientcas: [{0}/ca.crt]}}\n",
        dir.path().display()
    );
    let registry = DockerRegistry::start(dir, &tls).await;
    let ca_only = certs_d(&registry, &[("ca.crt", "ca.crt")]);
    talks(&registry, Some(ca_only), false).await.unwrap_err();
    let both = [
        ("ca.crt", "ca.crt"),
        ("host.crt", "client.cert"),
        ("host.key", "client.key"),
    ];
    talks(&registry, Some(certs_d(&registry, &both)), false)
        .await
        .unwrap();
}
