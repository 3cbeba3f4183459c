//! Imports of layouts and archives, made by hand and by skopeo.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;
use std::path::PathBuf;

use pinpod_image::ImportError;
use support::{Layout, Node, digest, gzip, skopeo_copy, tar};

#[tokio::test(flavor = "multi_thread")]
async fn every_form_gives_the_same_image() {
    let layers = [tar(&[("a", b"one")]), tar(&[("a", b"two")])];
    let layout = Layout::new("it", &layers);
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let (oci, docker) = (file("oci.tar"), file("docker.tar"));
    skopeo_copy(
        &[],
        &layout.source(),
        &format!("oci-archive:{}:it", oci.display()),
    );
    let saved = format!("docker-archive:{}:docker.io/library/it:2", docker.display());
    skopeo_copy(&[], &layout.source(), &saved);
    fs::write(file("oci.tar.gz"), gzip(&fs::read(&oci).unwrap())).unwrap();
    let zstd = zstd::encode_all(fs::read(&docker).unwrap().as_slice(), 1).unwrap();
    fs::write(file("docker.tar.zst"), zstd).unwrap();
    let forms: Vec<(PathBuf, bool)> = vec![
        (layout.dir.path().to_owned(), true),
        (oci, true),
        (file("oci.tar.gz"), true),
        (docker, false),
        (file("docker.tar.zst"), false),
    ];
    for (path, tagged) in forms {
        let node = Node::new();
        let tag = tagged.then_some("it:2");
        let imported = node.images.import(&path, tag).await.unwrap();
        let what = path.display();
        assert_eq!(imported.len(), 1, "{what}");
        assert_eq!(imported[0].repo_tags, ["docker.io/library/it:2"], "{what}");
        let image = node.images.resolve("it:2").unwrap();
        assert_eq!(image.id, imported[0].id, "{what}");
        if tagged {
            assert_eq!(image.id, layout.id, "{what}");
        }
        assert_eq!(
            image.layers,
            layers.iter().map(|l| digest(l)).collect::<Vec<_>>(),
            "{what}"
        );
        assert_eq!(image.repo_digests.len(), 1, "{what}");
        assert_eq!(image.config.config.cmd, ["/bin/sh"], "{what}");
        let again = node.images.import(&path, tag).await.unwrap();
        assert_eq!(again, imported, "{what}");
        let top = node.layer(&digest(&layers[1])).join("a");
        assert_eq!(fs::read_to_string(top).unwrap(), "two", "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_image_is_refused() {
    let node = Node::new();
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.tar");
    fs::write(&empty, tar(&[("file", b"x")])).unwrap();
    let text = dir.path().join("text");
    fs::write(&text, "no archive at all").unwrap();
    let damaged = Layout::new("damaged", &[tar(&[("a", b"x")])]);
    let blob = damaged
        .dir
        .path()
        .join("blobs/sha256")
        .join(damaged.blobs[0].hex());
    fs::write(&blob, gzip(b"other")).unwrap();
    let no_config = Layout::new("no-config", &[]);
    let blob = no_config
        .dir
        .path()
        .join("blobs/sha256")
        .join(no_config.id.hex());
    fs::remove_file(blob).unwrap();
    for (path, what) in [
        (dir.path().join("missing"), "io"),
        (empty, "format"),
        (text, "io or format"),
        (damaged.dir.path().to_owned(), "store"),
        (no_config.dir.path().to_owned(), "format"),
    ] {
        let error = node.images.import(&path, Some("x:1")).await.unwrap_err();
        let expected = match error {
            ImportError::Io { .. } => what.contains("io"),
            ImportError::Format { .. } => what.contains("format"),
            ImportError::Store { .. } => what.contains("store"),
        };
        assert!(expected, "{what}: {error:?}");
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
    }
    assert!(node.images.list().is_empty());
    assert_eq!(node.entries("staging"), 0);
}
