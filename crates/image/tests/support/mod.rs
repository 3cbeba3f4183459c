//! Images made by hand, and a real registry on loopback.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs::{self, File};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pinpod_image::{Images, ImagesConfig};
use pinpod_model::Digest;
use serde_json::{Value, json};
use sha2::Digest as _;

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::from_sha256(sha2::Sha256::digest(bytes).into())
}

/// A tar of plain files.
pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An OCI layout of one image.
pub(crate) struct Layout {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) id: Digest,
    pub(crate) manifest: Digest,
    pub(crate) blobs: Vec<Digest>,
}

impl Layout {
    /// `name` makes the config, and so the image, a different one.
    pub(crate) fn new(name: &str, layers: &[Vec<u8>]) -> Self {
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| digest(layer)).collect();
        Self::with_diff_ids(name, layers, &diff_ids)
    }

    pub(crate) fn with_diff_ids(name: &str, layers: &[Vec<u8>], diff_ids: &[Digest]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let blobs = dir.path().join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let put = |bytes: &[u8], media_type: &str| -> Value {
            let digest = digest(bytes);
            fs::write(blobs.join(digest.hex()), bytes).unwrap();
            json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
        };
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "User": "1002:50",
                "Env": ["A=b"],
                "Cmd": ["/bin/sh"],
                "Labels": {"name": name},
            },
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string();
        let layer_type = "application/vnd.oci.image.layer.v1.tar+gzip";
        let layers: Vec<Value> = layers
            .iter()
            .map(|layer| put(&gzip(layer), layer_type))
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": put(config.as_bytes(), "application/vnd.oci.image.config.v1+json"),
            "layers": layers,
        });
        let manifest = manifest.to_string();
        let mut line = put(
            manifest.as_bytes(),
            "application/vnd.oci.image.manifest.v1+json",
        );
        line["annotations"] = json!({"org.opencontainers.image.ref.name": "it"});
        let index = json!({"schemaVersion": 2, "manifests": [line]});
        fs::write(dir.path().join("index.json"), index.to_string()).unwrap();
        fs::write(
            dir.path().join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )
        .unwrap();
        let parse = |layer: &Value| layer["digest"].as_str().unwrap().parse().unwrap();
        Self {
            id: digest(config.as_bytes()),
            manifest: digest(manifest.as_bytes()),
            blobs: layers.iter().map(parse).collect(),
            dir,
        }
    }

    pub(crate) fn source(&self) -> String {
        format!("oci:{}:it", self.dir.path().display())
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test starts the registry and skopeo itself"
)]
fn command(program: &str) -> Command {
    Command::new(program)
}

pub(crate) fn skopeo_copy(options: &[&str], from: &str, to: &str) {
    let mut skopeo = command("skopeo");
    skopeo
        .args(["--insecure-policy", "copy", "-q"])
        .args(options)
        .args([from, to]);
    let output = skopeo.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// `docker-registry` on a free port of loopback; ends with the value.
pub(crate) struct Registry {
    child: Child,
    dir: tempfile::TempDir,
    pub(crate) host: String,
}

impl Registry {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let host = format!("127.0.0.1:{port}");
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: false}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{host}'}}\n",
            dir.path().join("data").display()
        );
        fs::write(dir.path().join("config.yml"), config).unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let mut server = command("docker-registry");
        server.arg("serve").arg(dir.path().join("config.yml"));
        server
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null());
        let registry = Self {
            child: server.spawn().unwrap(),
            dir,
            host,
        };
        for _ in 0..500 {
            if TcpStream::connect(&registry.host).is_ok() {
                return registry;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        panic!("the registry does not start");
    }

    pub(crate) fn push(&self, layout: &Layout, name: &str) -> String {
        let reference = format!("{}/{name}", self.host);
        let options = ["--preserve-digests", "--dest-tls-verify=false"];
        skopeo_copy(&options, &layout.source(), &format!("docker://{reference}"));
        reference
    }

    /// How often a blob was downloaded.
    pub(crate) fn downloads(&self, blob: &Digest) -> usize {
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap();
        let wanted = format!("/blobs/{blob} ");
        log.lines()
            .filter(|line| line.contains("\"GET ") && line.contains(&wanted))
            .count()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

pub(crate) fn settings(root: &Path) -> ImagesConfig {
    ImagesConfig {
        root: root.to_owned(),
        registries_conf: root.join("none.conf"),
        registries_dir: root.join("none.d"),
        ..ImagesConfig::default()
    }
}

pub(crate) struct Node {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) images: Images,
}

impl Node {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let images = Images::open(settings(dir.path())).unwrap();
        Self { dir, images }
    }

    pub(crate) fn entries(&self, dir: &str) -> usize {
        fs::read_dir(self.dir.path().join(dir)).unwrap().count()
    }

    pub(crate) fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.dir
            .path()
            .join("layers")
            .join(diff_id.hex())
            .join("diff")
    }

    /// Waits until nothing is being unpacked.
    pub(crate) async fn staging_empties(&self) {
        for _ in 0..500 {
            if self.entries("staging") == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("something is still being unpacked");
    }

    /// Closes and opens the store again.
    pub(crate) fn reopen(self) -> Self {
        let Self { dir, images } = self;
        drop(images);
        for _ in 0..500 {
            match Images::open(settings(dir.path())) {
                Ok(images) => return Self { dir, images },
                // A sync of the last pull still holds the store.
                Err(_locked) => std::thread::park_timeout(Duration::from_millis(20)),
            }
        }
        panic!("the store stays locked");
    }
}
