//! Pulls from a real registry on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;

use pinpod_image::{ImageUser, PullError, RemoveError, RootfsOptions};
use pinpod_model::{Classify, ContainerId, ErrorClass};
use support::{Layout, Node, Registry, digest, tar};

#[tokio::test(flavor = "multi_thread")]
async fn a_pulled_image_has_every_name_and_runs() {
    let registry = Registry::start();
    let layers = [tar(&[("a", b"low"), ("b", b"low")]), tar(&[("b", b"high")])];
    let layout = Layout::new("one", &layers);
    let reference = registry.push(&layout, "team/app:1");
    let node = Node::new();
    let images = &node.images;
    let pulled = images.pull(&reference, None).await.unwrap();
    assert_eq!(pulled.id, layout.id);
    let repository = format!("{}/team/app", registry.host);
    let by_digest = format!("{repository}@{}", layout.manifest);
    assert_eq!(pulled.repo_digest, by_digest);
    let image = images.resolve(&reference).unwrap();
    assert_eq!(
        (&image.repo_tags, &image.repo_digests),
        (&vec![reference.clone()], &vec![by_digest.clone()])
    );
    assert_eq!(image.user, ImageUser::Uid(1002));
    assert_eq!(image.config.config.env, ["A=b"]);
    assert!(image.size > 8192);
    let hex = layout.id.hex();
    for name in [layout.id.as_str(), hex, &hex[..13], &hex[..3], &by_digest] {
        assert_eq!(images.resolve(name).unwrap().id, layout.id, "{name}");
    }
    for name in [
        "",
        "sha256:",
        &hex[..2],
        "nothing",
        &format!("{repository}:2"),
    ] {
        assert!(images.resolve(name).is_none(), "{name}");
    }
    let layers = &layout.blobs;
    let before: Vec<usize> = layers.iter().map(|blob| registry.downloads(blob)).collect();
    assert_eq!(before, [1, 1]);
    assert_eq!(images.pull(&reference, None).await.unwrap(), pulled);
    assert_eq!(images.pull(&by_digest, None).await.unwrap(), pulled);
    let after: Vec<usize> = layers.iter().map(|blob| registry.downloads(blob)).collect();
    assert_eq!(after, before);

    let container = ContainerId::generate().unwrap();
    let spec = images
        .prepare_rootfs(&image.id, &container, RootfsOptions::default())
        .await;
    let spec = spec.unwrap();
    assert_eq!(fs::read_to_string(spec.lower[0].join("b")).unwrap(), "high");
    let refused = images.remove(&reference).await.unwrap_err();
    assert!(
        matches!(&refused, RemoveError::InUse { users, .. } if *users == [container.to_string()])
    );
    assert_eq!(refused.class(), ErrorClass::FailedPrecondition);
    let node = node.reopen();
    assert_eq!(
        node.images.rootfs_containers(),
        std::slice::from_ref(&container)
    );
    assert!(node.images.remove(&reference).await.is_err());
    node.images.remove_rootfs(&container).await.unwrap();
    node.images.remove(&reference).await.unwrap();
    node.images.remove(&reference).await.unwrap();
    assert_eq!(node.images.list().len(), 0);
    for dir in ["layers", "images", "blobs/sha256", "staging"] {
        assert_eq!(node.entries(dir), 0, "{dir}");
    }
    assert_eq!(node.images.fs_info().unwrap().images.bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_move_and_go_alone() {
    let registry = Registry::start();
    let shared = tar(&[("shared", b"x")]);
    let old = Layout::new("old", &[shared.clone(), tar(&[("old", b"x")])]);
    let new = Layout::new("new", &[shared.clone(), tar(&[("new", b"x")])]);
    let reference = registry.push(&old, "app:latest");
    let node = Node::new();
    let images = &node.images;
    images.pull(&reference, None).await.unwrap();
    // Without a tag it is the same image.
    let short = reference.strip_suffix(":latest").unwrap();
    assert_eq!(images.resolve(short).unwrap().id, old.id);
    registry.push(&new, "app:latest");
    let second = registry.push(&new, "app:second");
    images.pull(&reference, None).await.unwrap();
    images.pull(&second, None).await.unwrap();
    assert_eq!(images.resolve(&reference).unwrap().id, new.id);
    let orphan = images.resolve(old.id.as_str()).unwrap();
    assert!(orphan.repo_tags.is_empty() && orphan.repo_digests.len() == 1);
    assert_eq!(registry.downloads(&old.blobs[0]), 1);
    let node = node.reopen();
    let images = &node.images;
    assert_eq!(
        images.resolve(new.id.as_str()).unwrap().repo_tags,
        [reference.clone(), second.clone()]
    );
    images.remove(&reference).await.unwrap();
    assert_eq!(
        images.resolve(new.id.as_str()).unwrap().repo_tags,
        std::slice::from_ref(&second)
    );
    images.remove(old.id.as_str()).await.unwrap();
    assert!(node.layer(&digest(&shared)).exists());
    assert_eq!(node.entries("layers"), 2);
    images.remove(&second).await.unwrap();
    assert_eq!(node.entries("layers"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_is_fetched_once_for_all_who_want_it() {
    let registry = Registry::start();
    let noise: Vec<u8> = (0..8_000_000_u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2])
        .collect();
    let shared = tar(&[("large", &noise)]);
    let one = Layout::new("one", &[shared.clone(), tar(&[("one", b"x")])]);
    let two = Layout::new("two", &[shared.clone(), tar(&[("two", b"x")])]);
    let (first, second) = (registry.push(&one, "one:1"), registry.push(&two, "two:1"));
    let node = Node::new();
    let images = &node.images;
    let (a, b, c, d) = tokio::join!(
        images.pull(&first, None),
        images.pull(&second, None),
        images.pull(&first, None),
        images.pull(&second, None),
    );
    for (pulled, layout) in [(a, &one), (b, &two), (c, &one), (d, &two)] {
        assert_eq!(pulled.unwrap().id, layout.id);
    }
    assert_eq!(one.blobs[0], two.blobs[0]);
    assert_eq!(registry.downloads(&one.blobs[0]), 1);
    assert_eq!(registry.downloads(&one.blobs[1]), 1);
    assert_eq!(node.entries("layers"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_fails_leaves_nothing_and_names_the_layer() {
    let registry = Registry::start();
    let layer = tar(&[("a", b"x")]);
    let lying = Layout::with_diff_ids("lying", std::slice::from_ref(&layer), &[digest(b"other")]);
    let evil = {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..7].copy_from_slice(b"../evil");
        header.set_size(0);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, std::io::empty()).unwrap();
        Layout::new("evil", &[layer.clone(), builder.into_inner().unwrap()])
    };
    let short = Layout::with_diff_ids("short", std::slice::from_ref(&layer), &[]);
    let node = Node::new();
    for (layout, name) in [(&lying, "lying:1"), (&evil, "evil:1"), (&short, "short:1")] {
        let reference = registry.push(layout, name);
        let error = node.images.pull(&reference, None).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::FailedPrecondition, "{name}");
        let text = error.to_string();
        assert!(text.contains(name), "{text}");
        if let PullError::Layer { digest, .. } = &error {
            assert_eq!(Some(digest), layout.blobs.last());
        }
    }
    let missing = format!("{}/nothing:1", registry.host);
    let error = node.images.pull(&missing, None).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotFound);
    let error = node.images.pull("a//b", None).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::InvalidArgument);
    assert!(node.images.list().is_empty());
    assert_eq!((node.entries("staging"), node.entries("images")), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_drops_images_that_miss_a_part_and_no_other() {
    let registry = Registry::start();
    let node = Node::new();
    let mut layouts = Vec::new();
    for name in [
        "good",
        "no-layer",
        "no-config",
        "damaged-config",
        "torn-record",
    ] {
        let layout = Layout::new(name, &[tar(&[(name, b"x")])]);
        let reference = registry.push(&layout, &format!("{name}:1"));
        node.images.pull(&reference, None).await.unwrap();
        layouts.push((layout, reference));
    }
    let root = node.dir.path().to_owned();
    let blob = |n: usize| root.join("blobs/sha256").join(layouts[n].0.id.hex());
    fs::remove_dir_all(node.layer(&digest(&tar(&[("no-layer", b"x")])))).unwrap();
    fs::remove_file(blob(2)).unwrap();
    fs::write(blob(3), "{}").unwrap();
    let record = root
        .join("images")
        .join(format!("{}.json", layouts[4].0.id.hex()));
    fs::write(record, "{\"id\"").unwrap();
    fs::write(root.join("blobs/sha256").join("0".repeat(64)), "stray").unwrap();
    let node = node.reopen();
    let there = node.images.list();
    assert_eq!(
        there.iter().map(|image| &image.id).collect::<Vec<_>>(),
        [&layouts[0].0.id]
    );
    assert_eq!((node.entries("images"), node.entries("layers")), (1, 1));
    assert_eq!(node.entries("blobs/sha256"), 2);
    // What was dropped can be pulled again.
    node.images.pull(&layouts[1].1, None).await.unwrap();
    assert_eq!(node.images.list().len(), 2);
}
