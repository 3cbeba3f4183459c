//! What a layer becomes on disk and in a real overlay mount, and how the store keeps it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use pinpod_kernel::namespace::{PinRequest, UserPin};
use pinpod_layer_store::{
    Claim, LayerBlob, LayerStore, Limits, RootfsOptions, RootfsUserNamespace,
};
use pinpod_model::{ContainerId, IdMapping, UserNamespace};
use support::{Store, Tar, digest, gzip, in_mount_namespace};
use tar::EntryType;

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 1024];
    let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).ok()?;
    value.truncate(length);
    Some(value)
}

#[tokio::test]
async fn metadata_is_kept_to_the_letter() {
    let capability: &[u8] =
        b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let long = format!("{}/file", "long".repeat(40));
    let records: [(&str, &[u8]); 3] = [
        ("mtime", b"1234567890.123456789"),
        ("SCHILY.xattr.security.capability", capability),
        ("SCHILY.xattr.user.note", b"a\0b"),
    ];
    let tar = Tar::new()
        .owned(EntryType::Directory, "./", "", b"", (0o1777, 7, 8))
        .owned(EntryType::Directory, "dir/", "", b"", (0o2750, 1000, 1001))
        .pax(&records)
        .owned(EntryType::Regular, "dir/suid", "", b"x", (0o6755, 5, 6))
        .entry(EntryType::Fifo, "fifo", "", b"")
        .entry(EntryType::Char, "null", "", b"")
        .hard_link("hard", "dir/suid")
        .symlink("link", "/etc/passwd")
        .pax(&[("path", long.as_bytes())])
        .file("short", "long")
        .finish();
    let store = Store::new();
    let layer = store.layer(&gzip_free(&tar), &[]).await.unwrap();
    assert!(layer.has_root);
    let diff = store.store.diff(&layer.key);
    let stat = |name: &str| std::fs::symlink_metadata(diff.join(name)).unwrap();
    let root = stat(".");
    assert_eq!(
        (root.mode() & 0o7777, root.uid(), root.gid()),
        (0o1777, 7, 8)
    );
    let dir = stat("dir");
    assert_eq!(
        (dir.mode() & 0o7777, dir.uid(), dir.gid()),
        (0o2750, 1000, 1001)
    );
    assert_eq!(dir.mtime(), 1_000_000_000);
    let suid = stat("dir/suid");
    assert_eq!(
        (suid.mode() & 0o7777, suid.uid(), suid.gid()),
        (0o6755, 5, 6)
    );
    assert_eq!(
        (suid.mtime(), suid.mtime_nsec()),
        (1_234_567_890, 123_456_789)
    );
    assert_eq!(
        xattr(&diff.join("dir/suid"), "security.capability").unwrap(),
        capability
    );
    if let Some(note) = xattr(&diff.join("dir/suid"), "user.note") {
        assert_eq!(note, b"a\0b");
    }
    assert_eq!(stat("hard").ino(), suid.ino());
    assert!(stat("fifo").file_type().is_fifo());
    assert_eq!(stat("null").rdev(), rustix::fs::makedev(1, 3));
    assert_eq!(stat("link").mtime(), 1_000_000_000);
    assert_eq!(std::fs::read_to_string(diff.join(&long)).unwrap(), "long");
}

fn gzip_free(tar: &[u8]) -> Vec<u8> {
    tar.to_vec()
}

#[tokio::test]
async fn sparse_files_keep_their_holes() {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_path("holes").unwrap();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(8);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.set_real_size(10 << 20);
    gnu.sparse[0].set_offset(0);
    gnu.sparse[0].set_length(4);
    gnu.sparse[1].set_offset(5 << 20);
    gnu.sparse[1].set_length(4);
    header.set_cksum();
    let mut map = b"2\n0\n4\n5242880\n4\n".to_vec();
    map.resize(512, 0);
    map.extend_from_slice(b"headtail");
    let records: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"pax"),
        ("GNU.sparse.realsize", b"10485760"),
    ];
    let old: [(&str, &[u8]); 2] = [
        ("GNU.sparse.size", b"10485760"),
        ("GNU.sparse.map", b"0,4,5242880,4"),
    ];
    let tar = Tar::new()
        .raw(&header, b"headtail")
        .pax(&records)
        .entry(EntryType::Regular, "GNUSparseFile.0/pax", "", &map)
        .pax(&old)
        .entry(EntryType::Regular, "old", "", b"headtail")
        .finish();
    let store = Store::new();
    let layer = store.layer(&tar, &[]).await.unwrap();
    for name in ["holes", "pax", "old"] {
        let path = store.store.diff(&layer.key).join(name);
        let content = std::fs::read(&path).unwrap();
        assert_eq!(content.len(), 10 << 20, "{name}");
        assert_eq!(&content[..4], b"head", "{name}");
        assert_eq!(&content[5 << 20..(5 << 20) + 4], b"tail", "{name}");
        assert!(std::fs::metadata(&path).unwrap().blocks() < 100, "{name}");
    }
}

#[tokio::test]
async fn every_compression_gives_the_same_layer() {
    let tar = Tar::new().file("a", &"text ".repeat(100_000)).finish();
    let zstd = zstd::stream::encode_all(tar.as_slice(), 3).unwrap();
    let mut two_members = gzip(&tar[..1000]);
    two_members.extend(gzip(&tar[1000..]));
    for blob in [tar.clone(), gzip(&tar), zstd, two_members] {
        let store = Store::new();
        let staged = support::unpack(&store.store, &blob, blob.len() as u64, digest(&tar));
        let layer = store
            .store
            .commit(staged.await.unwrap(), &[], &digest(&tar))
            .unwrap();
        assert_eq!(layer.key, digest(&tar));
        assert_eq!((layer.size, layer.inodes), (503_808, 1));
    }
}

#[tokio::test]
async fn whiteouts_hide_what_is_below_and_nothing_else() {
    let base = Tar::new()
        .owned(EntryType::Directory, "./", "", b"", (0o755, 0, 0))
        .file("gone", "base")
        .file("kept", "base")
        .dir("late")
        .file("late/old", "base")
        .dir("early")
        .file("early/old", "base")
        .dir("made")
        .file("made/old", "base")
        .dir("again")
        .file("again/old", "base")
        .finish();
    let top = Tar::new()
        .owned(EntryType::Directory, "./", "", b"", (0o711, 3, 4))
        .file(".wh.gone", "")
        // Opaque after its content, and before it.
        .dir("late")
        .file("late/new", "top")
        .file("late/.wh..wh..opq", "")
        .dir("early")
        .file("early/.wh..wh..opq", "")
        .file("early/new", "top")
        // Removed and made again: in both orders the old content is gone.
        .file(".wh.made", "")
        .dir("made")
        .file("made/new", "top")
        .dir("again")
        .file("again/new", "top")
        .file(".wh.again", "")
        .file(".wh..wh.plnk", "")
        .finish();
    let store = Store::new();
    let base = store.layer(&base, &[]).await.unwrap();
    let top = store.layer(&top, &[Arc::clone(&base)]).await.unwrap();
    assert!(!top.dependent);
    let container = ContainerId::generate().unwrap();
    let layers = [base, top];
    let image = digest(b"image");
    let options = RootfsOptions::default();
    let spec = store
        .store
        .prepare_rootfs(&container, &image, &layers, options)
        .unwrap();
    assert_eq!(spec.lower.len(), 2);
    let target = store.dir.path().join("rootfs");
    std::fs::create_dir(&target).unwrap();
    in_mount_namespace(|| {
        store.store.mount_rootfs(&container, &target).unwrap();
        store.store.mount_rootfs(&container, &target).unwrap();
        let root = std::fs::metadata(&target).unwrap();
        assert_eq!(
            (root.mode() & 0o7777, root.uid(), root.gid()),
            (0o711, 3, 4)
        );
        let has = |name: &str| target.join(name).symlink_metadata().is_ok();
        assert!(!has("gone") && has("kept"));
        for dir in ["late", "early", "made", "again"] {
            assert!(has(&format!("{dir}/new")), "{dir}");
            assert!(!has(&format!("{dir}/old")), "{dir}");
        }
        assert!(!has(".wh..wh.plnk") && !has(".wh.gone"));
        std::fs::write(target.join("written"), "by the container").unwrap();
        store.store.unmount(&target).unwrap();
        store.store.unmount(&target).unwrap();
        // Again on the same directories, although the kernel marked them volatile.
        store.store.mount_rootfs(&container, &target).unwrap();
        assert!(has("written"));
        store.store.unmount(&target).unwrap();
        store.store.mount_layers(&layers, &target, None).unwrap();
        assert!(!has("written") && has("kept"));
        assert!(std::fs::write(target.join("x"), "").is_err());
        store.store.unmount(&target).unwrap();
        store
            .store
            .mount_layers(&layers[..1], &target, None)
            .unwrap();
        assert!(has("gone"));
        assert!(std::fs::write(target.join("x"), "").is_err());
        store.store.unmount(&target).unwrap();
    });
    let usage = store.store.writable_usage(&container).unwrap();
    assert_eq!(usage.inodes, 2);
    store.store.remove_rootfs(&container).unwrap();
    store.store.remove_rootfs(&container).unwrap();
    assert!(store.store.writable_usage(&container).is_err());
}

#[tokio::test]
async fn what_a_layer_leaves_out_comes_from_below() {
    let base = Tar::new()
        .owned(EntryType::Directory, "data", "", b"", (0o2770, 11, 12))
        .owned(
            EntryType::Regular,
            "data/file",
            "",
            b"below",
            (0o640, 13, 14),
        )
        .dir("usr")
        .dir("usr/lib")
        .symlink("lib", "usr/lib")
        .finish();
    let top = Tar::new()
        .file("data/new", "top")
        .file("lib/so", "top")
        .file("lib/deep/so", "top")
        .hard_link("data/link", "data/file")
        .hard_link("lib/link", "lib/so")
        .finish();
    let store = Store::new();
    let alone = store
        .layer(&Tar::new().dir("other").finish(), &[])
        .await
        .unwrap();
    let base = store.layer(&base, &[]).await.unwrap();
    let mut layer = None;
    in_mount_namespace(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let below = [Arc::clone(&alone), Arc::clone(&base)];
        layer = Some(runtime.block_on(store.layer(&top, &below)).unwrap());
    });
    let layer = layer.unwrap();
    assert!(layer.dependent);
    assert_ne!(layer.key, layer.diff_id);
    let diff = store.store.diff(&layer.key);
    let data = std::fs::metadata(diff.join("data")).unwrap();
    assert_eq!(
        (data.mode() & 0o7777, data.uid(), data.gid()),
        (0o2770, 11, 12)
    );
    let file = std::fs::metadata(diff.join("data/file")).unwrap();
    assert_eq!(
        (file.mode() & 0o7777, file.uid(), file.gid()),
        (0o640, 13, 14)
    );
    assert_eq!(
        file.ino(),
        std::fs::metadata(diff.join("data/link")).unwrap().ino()
    );
    assert_eq!(
        std::fs::read_to_string(diff.join("data/link")).unwrap(),
        "below"
    );
    assert!(diff.join("lib").symlink_metadata().is_err());
    assert_eq!(
        std::fs::read_to_string(diff.join("usr/lib/deep/so")).unwrap(),
        "top"
    );
    assert_eq!(
        std::fs::read_to_string(diff.join("usr/lib/link")).unwrap(),
        "top"
    );
    // On another stack it is not this layer.
    assert!(
        store
            .store
            .find(&layer.diff_id, &digest(b"another chain"))
            .is_none()
    );
    assert!(store.store.find(&layer.diff_id, &layer.key).is_some());
    assert!(store.is_clean());
    let bad = store
        .layer(&Tar::new().hard_link("a", "missing").finish(), &[])
        .await;
    assert!(bad.unwrap_err().to_string().contains("does not exist"));
}

#[tokio::test]
async fn one_fetches_and_the_others_wait_or_take_over() {
    let store = Store::new();
    let tar = Tar::new().file("a", "x").finish();
    let blob = LayerBlob {
        digest: digest(&tar),
        size: tar.len() as u64,
        diff_id: digest(&tar),
    };
    let chain = digest(&tar);
    let first = store.store.claim(&blob, &chain).await;
    assert!(matches!(first, Claim::Fetch(_)));
    let claim = || {
        let (store, blob, chain) = (store.store.clone(), blob.clone(), chain.clone());
        tokio::spawn(async move { store.claim(&blob, &chain).await })
    };
    let (second, third) = (claim(), claim());
    tokio::task::yield_now().await;
    assert!(!second.is_finished() && !third.is_finished());
    // The first gives up; the second takes over, and the third gets what it fetched.
    drop(first);
    let second = second.await.unwrap();
    assert!(matches!(second, Claim::Fetch(_)));
    let layer = store.layer(&tar, &[]).await.unwrap();
    drop(second);
    let Claim::Present(found) = third.await.unwrap() else {
        panic!("the third fetches again");
    };
    assert!(Arc::ptr_eq(&found, &layer));
}

#[tokio::test]
async fn layers_live_as_long_as_they_are_held() {
    let store = Store::new();
    let held = store
        .layer(&Tar::new().file("a", "x").finish(), &[])
        .await
        .unwrap();
    let free = store
        .layer(&Tar::new().file("b", "x").finish(), &[])
        .await
        .unwrap();
    let container = ContainerId::generate().unwrap();
    let image = digest(b"image");
    let rooted = store
        .layer(&Tar::new().file("c", "x").finish(), &[])
        .await
        .unwrap();
    let options = RootfsOptions::default();
    let layers = [Arc::clone(&rooted)];
    store
        .store
        .prepare_rootfs(&container, &image, &layers, options)
        .unwrap();
    let (free_key, rooted_key) = (free.key.clone(), rooted.key.clone());
    drop((free, rooted, layers));
    assert_eq!(store.store.usage().inodes, 3);
    assert_eq!(store.store.collect(), 1);
    assert!(store.store.get(&free_key).is_none());
    assert!(!store.store.diff(&free_key).exists());
    assert!(store.store.get(&held.key).is_some() && store.store.get(&rooted_key).is_some());
    store.store.remove_rootfs(&container).unwrap();
    assert_eq!(store.store.collect(), 1);
    assert_eq!(store.store.usage().inodes, 1);
}

#[tokio::test]
async fn a_start_drops_what_is_torn_and_keeps_the_rest() {
    let Store { dir, store } = Store::new();
    let root = dir.path();
    assert!(
        LayerStore::open(root, Limits::default()).is_err(),
        "two may open it"
    );
    let store = Store { dir, store };
    let mut keys = Vec::new();
    for name in [
        "good",
        "synced",
        "no-record",
        "torn-record",
        "no-content",
        "lost",
    ] {
        let layer = store
            .layer(&Tar::new().file(name, name).finish(), &[])
            .await
            .unwrap();
        keys.push(layer.key.clone());
        if name == "synced" {
            store.store.sync().unwrap();
        }
    }
    let container = ContainerId::generate().unwrap();
    let layers = [store.store.get(&keys[0]).unwrap()];
    let image = digest(b"image");
    let options = RootfsOptions::default();
    store
        .store
        .prepare_rootfs(&container, &image, &layers, options)
        .unwrap();
    drop(layers);
    let Store { dir, store } = store;
    let root = dir.path();
    let layer_dir = |n: usize| root.join("layers").join(keys[n].hex());
    std::fs::remove_file(layer_dir(2).join("layer.json")).unwrap();
    std::fs::write(layer_dir(3).join("layer.json"), "{\"key\":").unwrap();
    std::fs::remove_dir_all(layer_dir(4).join("diff")).unwrap();
    let record = std::fs::read_to_string(layer_dir(5).join("layer.json")).unwrap();
    assert!(record.contains("unsynced_since_boot"));
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let lost = record.replace(boot.trim(), "another-boot");
    std::fs::write(layer_dir(5).join("layer.json"), lost).unwrap();
    let synced = std::fs::read_to_string(layer_dir(1).join("layer.json")).unwrap();
    assert!(!synced.contains("unsynced_since_boot"));
    std::fs::create_dir_all(root.join("staging/0/diff/half")).unwrap();
    let strange = root
        .join("containers")
        .join(ContainerId::generate().unwrap().as_str());
    std::fs::create_dir_all(&strange).unwrap();
    std::fs::set_permissions(
        root.join("staging/0"),
        std::fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    drop(store);

    let store = LayerStore::open(root, Limits::default()).unwrap();
    let there: Vec<bool> = keys.iter().map(|key| store.get(key).is_some()).collect();
    assert_eq!(there, [true, true, false, false, false, false]);
    assert_eq!(std::fs::read_dir(root.join("staging")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(root.join("layers")).unwrap().count(), 2);
    assert_eq!(store.rootfs_images(), [(container, image)]);
    assert!(!strange.exists());
}

#[tokio::test]
async fn a_user_namespace_sees_the_image_as_its_own() {
    let store = Store::new();
    let root = (0o755, 0, 0);
    let low = Tar::new()
        .owned(EntryType::Directory, "./", "", b"", root)
        .owned(EntryType::Regular, "user", "", b"x", (0o644, 1000, 1000))
        .finish();
    let high = Tar::new()
        .owned(EntryType::Regular, "root", "", b"x", root)
        .finish();
    let low = store.layer(&low, &[]).await.unwrap();
    let high = store.layer(&high, &[]).await.unwrap();
    // The same layer twice, as images have it.
    let layers = [Arc::clone(&high), low, high];
    let (target, path) = (
        store.dir.path().join("rootfs"),
        store.dir.path().join("userns"),
    );
    std::fs::create_dir(&target).unwrap();
    let ids = IdMapping {
        host_id: 300_000,
        container_id: 0,
        length: 65_536,
    };
    let mapping = UserNamespace { uid: ids, gid: ids };
    let container = ContainerId::generate().unwrap();
    let options = RootfsOptions {
        user_namespace: Some(RootfsUserNamespace {
            mapping: mapping.clone(),
            path: path.clone(),
        }),
    };
    let prepared = (store.store).prepare_rootfs(&container, &digest(b"image"), &layers, options);
    assert_eq!(prepared.unwrap().lower.len(), 2);
    in_mount_namespace(|| {
        let pin = PinRequest {
            user: Some(UserPin {
                target: path.clone(),
                mapping,
            }),
            ..PinRequest::default()
        };
        pinpod_kernel::namespace::pin(&pin).unwrap();
        store.store.mount_rootfs(&container, &target).unwrap();
        for (name, uid) in [(".", 300_000), ("root", 300_000), ("user", 301_000)] {
            let stat = std::fs::metadata(target.join(name)).unwrap();
            assert_eq!((stat.uid(), stat.gid()), (uid, uid), "{name}");
        }
        assert!(store.is_clean());
        store.store.unmount(&target).unwrap();
        pinpod_kernel::namespace::unpin(&path).unwrap();
    });
}

#[tokio::test]
async fn a_layer_that_is_let_go_during_a_sync_is_collected() {
    let store = Store::new();
    for number in 0..30 {
        let tar = Tar::new().file("number", &format!("{number}")).finish();
        let layer = store.layer(&gzip_free(&tar), &[]).await.unwrap();
        let key = layer.key.clone();
        let syncing = store.store.clone();
        let sync = std::thread::spawn(move || syncing.sync().unwrap());
        drop(layer);
        // At any moment before, during or after the other.
        store.store.collect();
        sync.join().unwrap();
        assert!(store.store.get(&key).is_none(), "round {number}");
    }
}
