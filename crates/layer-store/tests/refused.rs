//! Archives that were made to do harm: each is refused, nothing of it stays, and nothing outside
//! of the staging directory was touched.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use pinpod_layer_store::{Limits, UnpackError};
use support::{Store, Tar, digest, gzip, unpack};
use tar::EntryType;

fn text(error: &UnpackError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[tokio::test]
async fn entries_that_climb_are_refused_by_name() {
    let attribute = [("SCHILY.xattr.trusted.overlay.opaque", b"y".as_slice())];
    for (what, tar, named) in [
        ("climb", Tar::new().file("../evil", "x"), "../evil"),
        (
            "climb inside",
            Tar::new().dir("a").file("a/../../evil", "x"),
            "a/../../evil",
        ),
        (
            "hard link out",
            Tar::new().hard_link("passwd", "../../etc/passwd"),
            "passwd",
        ),
        ("hard link to the root", Tar::new().hard_link("x", "/"), "x"),
        (
            "whiteout of ..",
            Tar::new().dir("a").file("a/.wh...", ""),
            "a/.wh...",
        ),
        ("whiteout of .", Tar::new().file(".wh..", ""), ".wh.."),
        ("whiteout of nothing", Tar::new().file(".wh.", ""), ".wh."),
        ("file as root", Tar::new().file("./", "x"), "./"),
        (
            "overlay attribute",
            Tar::new().pax(&attribute).dir("a"),
            "\"a\"",
        ),
        (
            "file as parent",
            Tar::new().file("a", "x").file("a/b", "x"),
            "a/b",
        ),
        (
            "loop",
            Tar::new()
                .symlink("a", "b")
                .symlink("b", "a")
                .file("a/x", ""),
            "a/x",
        ),
    ] {
        let store = Store::new();
        let error = store.unpack(&tar.finish()).await.unwrap_err();
        assert!(text(&error).contains(named), "{what}: {}", text(&error));
        assert!(
            matches!(
                error,
                UnpackError::Refused { .. } | UnpackError::Entry { .. }
            ),
            "{what}: {error:?}"
        );
        assert!(store.is_clean(), "{what}");
    }
}

#[tokio::test]
async fn symbolic_links_and_absolute_paths_stay_inside() {
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    std::fs::write(&victim, "safe").unwrap();
    let target = outside.path().to_str().unwrap().to_owned();
    let up = format!("../../../../../../../..{target}");
    let tar = Tar::new()
        .symlink("absolute", &target)
        .file("absolute/victim", "evil")
        .symlink("relative", &up)
        .file("relative/victim", "evil")
        .entry(EntryType::Regular, &format!("{target}/victim"), "", b"evil")
        .symlink("file", victim.to_str().unwrap())
        .file("file", "replaced")
        .hard_link("hard", "absolute/victim")
        .finish();
    let store = Store::new();
    let layer = store.layer(&tar, &[]).await.unwrap();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "safe");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    let diff = store.store.diff(&layer.key);
    assert_eq!(
        std::fs::read_to_string(diff.join("file")).unwrap(),
        "replaced"
    );
    assert_eq!(std::fs::read_to_string(diff.join("hard")).unwrap(), "evil");
    assert_eq!(
        std::fs::read_link(diff.join("absolute")).unwrap().to_str(),
        Some(target.as_str())
    );
}

#[tokio::test]
async fn damaged_blobs_are_refused() {
    let tar = Tar::new()
        .dir("a")
        .file("a/b", &"content".repeat(5000))
        .finish();
    let compressed = gzip(&tar);
    let whole = compressed.len() as u64;
    let store = Store::new();
    let other = digest(b"other");
    let half = &compressed[..compressed.len() / 2];
    let mut flipped = compressed.clone();
    flipped[40] ^= 0xff;
    let cut = gzip(&tar[..600]);
    let junk = vec![0x55; 4096];
    let cases: [(&str, &[u8], u64, _); 8] = [
        ("wrong content", &compressed, whole, other.clone()),
        ("truncated", half, whole, digest(&tar)),
        (
            "truncated as declared",
            half,
            half.len() as u64,
            digest(&tar),
        ),
        ("longer than declared", &compressed, whole - 1, digest(&tar)),
        (
            "shorter than declared",
            &compressed,
            whole + 1,
            digest(&tar),
        ),
        ("damaged", &flipped, whole, digest(&tar)),
        (
            "cut inside a file",
            &cut,
            cut.len() as u64,
            digest(&tar[..600]),
        ),
        ("not a tar", &junk, 4096, digest(&junk)),
    ];
    for (what, blob, size, diff_id) in cases {
        let error = unpack(&store.store, blob, size, diff_id).await.unwrap_err();
        let expected = match what {
            "wrong content" => matches!(error, UnpackError::DiffId { .. }),
            "longer than declared" | "shorter than declared" => {
                matches!(error, UnpackError::BlobSize { .. })
            }
            "cut inside a file" | "not a tar" => matches!(error, UnpackError::Malformed { .. }),
            _ => !matches!(error, UnpackError::Abandoned),
        };
        assert!(expected, "{what}: {error:?}");
        assert!(store.is_clean(), "{what}");
    }
    assert!(
        unpack(&store.store, &compressed, whole, digest(&tar))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn bombs_end_at_the_limits() {
    let limits = Limits {
        unpacked_bytes: 1 << 20,
        entries: 100,
        header_bytes: 4096,
        ..Limits::default()
    };
    let store = Store::with(limits);
    let zeros = Tar::new()
        .entry(EntryType::Regular, "zeros", "", &vec![0; 8 << 20])
        .finish();
    let many = (0..101)
        .fold(Tar::new(), |tar, n| tar.file(&n.to_string(), ""))
        .finish();
    let value = vec![b'x'; 8192];
    let header = Tar::new()
        .pax(&[("SCHILY.xattr.user.a", &value)])
        .file("a", "")
        .finish();
    let mut long = tar::Header::new_gnu();
    long.set_entry_type(EntryType::GNULongName);
    long.set_size(8192);
    long.set_cksum();
    let long = Tar::new().raw(&long, &value).file("a", "").finish();
    for (what, tar) in [
        ("bytes", zeros),
        ("entries", many),
        ("pax", header),
        ("long", long),
    ] {
        let blob = gzip(&tar);
        let error = unpack(&store.store, &blob, blob.len() as u64, digest(&tar)).await;
        assert!(
            matches!(error, Err(UnpackError::Limit { .. })),
            "{what}: {error:?}"
        );
        assert!(store.is_clean(), "{what}");
    }
}

#[tokio::test]
async fn an_abandoned_unpack_leaves_nothing() {
    let store = Store::new();
    let tar = Tar::new().file("a", &"x".repeat(4096)).finish();
    let request = pinpod_layer_store::LayerBlob {
        digest: digest(&tar),
        size: tar.len() as u64,
        diff_id: digest(&tar),
    };
    let mut unpacker = store.store.unpack(request).unwrap();
    unpacker
        .write(bytes::Bytes::copy_from_slice(&tar[..2048]))
        .await
        .unwrap();
    assert!(!store.is_clean());
    drop(unpacker);
    for _ in 0..500 {
        if store.is_clean() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the staging directory is still there");
}

#[tokio::test]
async fn no_damage_to_a_tar_escapes_or_stays() {
    let tar = Tar::new()
        .dir("a")
        .pax(&[
            ("path", b"a/long"),
            ("mtime", b"1.5"),
            ("SCHILY.xattr.user.x", b"y"),
        ])
        .file("short", "content")
        .symlink("a/link", "../..")
        .file("a/link/through", "x")
        .hard_link("a/hard", "a/long")
        .file("a/.wh.gone", "")
        .file("a/.wh..wh..opq", "")
        .finish();
    let limits = Limits {
        unpacked_bytes: 1 << 20,
        ..Limits::default()
    };
    let store = Store::with(limits);
    let outside = || std::fs::read_dir(store.dir.path()).unwrap().count();
    let before = outside();
    let mut state = 7_u32;
    let mut random = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    let mut unpacked = 0;
    for _ in 0..150 {
        let mut tar = tar.clone();
        for _ in 0..=random(3) {
            let place = random(tar.len());
            tar[place] = b"\0/.07AZ\xff-wh"[random(11)];
        }
        // With the checksums right again, so that the fields themselves are what is tried.
        for header in tar
            .chunks_exact_mut(512)
            .filter(|block| block[257..262] == *b"ustar")
        {
            let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
            let sum = sum(&header[..148]) + sum(&header[156..]) + 8 * u32::from(b' ');
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        unpacked += usize::from(store.unpack(&tar).await.is_ok());
        assert!(store.is_clean());
    }
    assert_eq!(outside(), before);
    assert!(
        unpacked > 15,
        "{unpacked}: the damage is too great to tell anything"
    );
}
