//! Mounts with the real kernel, as root.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::*;
use crate::testing::with_private_mounts;

/// A tmpfs with the named directories in it.
fn scratch(names: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_path_buf();
    let options = TmpfsOptions {
        size_bytes: 1 << 20,
        mode: 0o700,
        noexec: true,
        owner: (0, 0),
    };
    tmpfs(&path, options).unwrap();
    for name in names {
        fs::create_dir_all(path.join(name)).unwrap();
    }
    (dir, path)
}

fn is_read_only(path: &Path) -> bool {
    let error = fs::write(path.join("probe"), "").err();
    error.is_some_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem)
}

#[test]
fn binds_are_read_only_as_deep_as_asked() {
    with_private_mounts(|| {
        let (_dir, path) = scratch(&["source", "flat", "deep", "all"]);
        let (source, inner) = (path.join("source"), path.join("source/inner"));
        fs::create_dir(&inner).unwrap();
        let options = TmpfsOptions {
            size_bytes: 4096,
            mode: 0o1777,
            noexec: false,
            owner: (0, 0),
        };
        tmpfs(&inner, options).unwrap();
        assert_eq!(fs::metadata(&inner).unwrap().mode() & 0o7777, 0o1777);
        for (name, readonly, recursive) in [
            ("flat", true, false),
            ("deep", false, true),
            ("all", true, true),
        ] {
            let target = path.join(name);
            assert!(!is_mount_point(&target).unwrap());
            bind(
                &source,
                &target,
                BindFlags {
                    readonly,
                    recursive,
                },
            )
            .unwrap();
            assert!(is_mount_point(&target).unwrap());
            assert_eq!(is_read_only(&target), readonly, "{name}");
            let below = target.join("inner");
            assert_eq!(is_mount_point(&below).unwrap(), recursive, "{name}");
            assert_eq!(is_read_only(&below), readonly, "{name}");
            unmount(&target).unwrap();
            unmount(&target).unwrap();
        }
        let flags = BindFlags {
            readonly: false,
            recursive: true,
        };
        bind(&source, &path.join("deep"), flags).unwrap();
        mount_setattr_readonly_recursive(&path.join("deep")).unwrap();
        assert!(is_read_only(&path.join("deep/inner")));
        assert!(!is_read_only(&inner));
        let missing = bind(&path.join("none"), &path.join("flat"), flags);
        assert!(matches!(missing, Err(MountError::NotFound { .. })));
        unmount(&path.join("none")).unwrap();
        unmount(&path).unwrap();
    });
}

#[test]
fn propagation_is_seen_as_it_is_set() {
    with_private_mounts(|| {
        let (_dir, path) = scratch(&["below"]);
        let below = path.join("below");
        let seen = || propagation_of(&below).unwrap();
        let is = |shared, slave| Propagation { shared, slave };
        assert_eq!(seen(), is(false, false));
        make_shared(&path, true).unwrap();
        assert_eq!(seen(), is(true, false));
        let flags = BindFlags::default();
        bind(&path, &below, flags).unwrap();
        make_slave(&below, false).unwrap();
        assert_eq!(seen(), is(false, true));
        make_private(&below, false).unwrap();
        assert_eq!(seen(), is(false, false));
        unmount(&path).unwrap();
    });
}

#[test]
fn message_queues() {
    with_private_mounts(|| {
        let (_dir, path) = scratch(&["mqueue"]);
        mqueue(&path.join("mqueue")).unwrap();
        assert!(is_mount_point(&path.join("mqueue")).unwrap());
        unmount(&path).unwrap();
    });
}

/// Layers 0 (top) to `count - 1`; each has a file of its number and its own text in `which`.
fn layers(path: &Path, count: usize, prefix: &str) -> Vec<PathBuf> {
    (0..count)
        .map(|number| {
            let layer = path.join(format!("{prefix}{number}"));
            fs::create_dir(&layer).unwrap();
            fs::write(layer.join(number.to_string()), "").unwrap();
            fs::write(layer.join("which"), number.to_string()).unwrap();
            layer
        })
        .collect()
}

#[test]
fn overlays_of_many_layers_and_long_names() {
    with_private_mounts(|| {
        let (_dir, path) = scratch(&["upper", "work", "merged"]);
        let long = "layer".repeat(45);
        let mount = OverlayMount {
            lower: layers(&path, 60, &long),
            upper: Some(path.join("upper")),
            work: Some(path.join("work")),
            options: vec!["index=off".into()],
        };
        let merged = path.join("merged");
        let check = || {
            assert_eq!(fs::read_to_string(merged.join("which")).unwrap(), "0");
            assert!(merged.join("59").exists());
            fs::write(merged.join("new"), "").unwrap();
            assert!(path.join("upper/new").exists());
        };
        overlay(&mount, &merged).unwrap();
        check();
        unmount(&merged).unwrap();
        overlay::as_one_string(&mount, &merged).unwrap();
        check();
        unmount(&merged).unwrap();

        let read_only = OverlayMount {
            upper: None,
            work: None,
            ..mount.clone()
        };
        overlay(&read_only, &merged).unwrap();
        assert!(is_read_only(&merged));
        unmount(&merged).unwrap();
        let single = OverlayMount {
            lower: mount.lower[3..4].to_vec(),
            ..read_only
        };
        overlay(&single, &merged).unwrap();
        assert!(is_read_only(&merged));
        assert_eq!(fs::read_to_string(merged.join("which")).unwrap(), "3");
        let missing = OverlayMount {
            lower: vec![path.join("none"), path.join("nothing")],
            ..OverlayMount::default()
        };
        let error = overlay(&missing, &merged).unwrap_err();
        assert!(matches!(error, MountError::NotFound { .. }), "{error}");
        unmount(&path).unwrap();
    });
}

#[test]
fn ids_are_mapped_by_a_user_namespace() {
    use crate::namespace::{PinRequest, UserPin, pin};
    use pinpod_model::{IdMapping, UserNamespace};
    with_private_mounts(|| {
        let (_dir, path) = scratch(&["source", "mapped"]);
        let map = IdMapping {
            host_id: 200_000,
            container_id: 0,
            length: 65_536,
        };
        let user = path.join("userns/pod");
        pin(&PinRequest {
            user: Some(UserPin {
                target: user.clone(),
                mapping: UserNamespace { uid: map, gid: map },
            }),
            ..PinRequest::default()
        })
        .unwrap();
        fs::write(path.join("source/file"), "").unwrap();
        let namespace = fs::File::open(&user).unwrap();
        let flags = BindFlags::default();
        bind_idmapped(
            &path.join("source"),
            &path.join("mapped"),
            flags,
            &namespace,
        )
        .unwrap();
        let seen = fs::metadata(path.join("mapped/file")).unwrap();
        assert_eq!((seen.uid(), seen.gid()), (200_000, 200_000));
        unmount(&path).unwrap();
    });
}
