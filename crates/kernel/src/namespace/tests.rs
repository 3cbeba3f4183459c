//! Pins with the real kernel, as root.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Barrier;

use pinpod_model::{IdMapping, UserNamespace};

use super::*;
use crate::mount::{self, TmpfsOptions};
use crate::mountinfo::MountInfo;
use crate::process;
use crate::testing::{output, with_private_mounts};

/// An empty `/run` of this test's own.
fn empty_run() {
    let options = TmpfsOptions {
        size_bytes: 1 << 20,
        mode: 0o755,
        noexec: false,
        owner: (0, 0),
    };
    mount::tmpfs(Path::new("/run"), options).unwrap();
}

fn request() -> PinRequest {
    PinRequest {
        net: Some("/run/netns/pod-a".into()),
        ipc: Some("/run/ipcns/pod-a".into()),
        uts: Some("/run/utsns/pod-a".into()),
        hostname: Some("web-0".into()),
        ..PinRequest::default()
    }
}

fn inside<T: Send>(request: &PinRequest, work: impl FnOnce() -> T + Send) -> T {
    let paths = [&request.net, &request.ipc, &request.uts];
    let paths: Vec<&Path> = paths.into_iter().flatten().map(PathBuf::as_path).collect();
    enter_thread(&paths, work).unwrap()
}

fn sysctl(name: &str) -> String {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    fs::read_to_string(path).unwrap().trim().to_owned()
}

fn inode(path: &str) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[test]
fn a_pod_is_pinned_seen_by_ip_and_let_go() {
    with_private_mounts(|| {
        empty_run();
        let names = [
            "net.ipv4.ip_forward",
            "kernel.shmmni",
            "kernel.msgmax",
            "fs.mqueue.msg_max",
            "kernel.domainname",
        ];
        let node: Vec<String> = names.iter().map(|name| sysctl(name)).collect();
        let set = [
            if node[0] == "1" { "0" } else { "1" },
            "123",
            "7777",
            "17",
            "pods.example",
        ];
        let mut request = request();
        request.sysctls = names
            .iter()
            .zip(set)
            .map(|(name, value)| (name.to_string(), value.to_owned()))
            .collect();
        request.sysctls[0].0 = "net/ipv4/ip_forward".into();
        pin(&request).unwrap();

        assert_eq!(output("ip", &["netns", "list"]).trim(), "pod-a");
        let link = output(
            "ip",
            &["netns", "exec", "pod-a", "cat", "/sys/class/net/lo/flags"],
        );
        assert_eq!(link.trim(), "0x9");
        assert!(is_namespace(Path::new("/run/ipcns/pod-a")).unwrap());
        let seen = inside(&request, || {
            let uname = rustix::system::uname();
            assert_eq!(uname.nodename().to_str().unwrap(), "web-0");
            names.map(sysctl)
        });
        assert_eq!(seen, set);
        let after: Vec<String> = names.iter().map(|name| sysctl(name)).collect();
        assert_eq!(after, node);

        for path in ["/run/netns/pod-a", "/run/ipcns/pod-a", "/run/utsns/pod-a"] {
            unpin(Path::new(path)).unwrap();
            assert!(!Path::new(path).exists());
            unpin(Path::new(path)).unwrap();
        }
        assert_eq!(output("ip", &["netns", "list"]), "");
    });
}

#[test]
fn an_unpin_reaches_copies_of_the_mounts() {
    with_private_mounts(|| {
        empty_run();
        // The machine's own may have been copied, below the new `/run`.
        let on_itself = || {
            let mounts = crate::mountinfo::read().unwrap();
            let here = |mount: &&MountInfo| mount.mount_point == Path::new("/run/netns");
            mounts.iter().filter(here).count()
        };
        let covered = on_itself();
        let request = request();
        let target = request.net.clone().unwrap();
        pin(&request).unwrap();
        // Once more in the same directory: it must not be mounted on itself again.
        let second = PinRequest {
            net: Some("/run/netns/pod-b".into()),
            ..PinRequest::default()
        };
        pin(&second).unwrap();
        assert_eq!(on_itself(), covered + 1);
        let barrier = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                unshare_thread(UnshareFlags::FS | UnshareFlags::NEWNS).unwrap();
                barrier.wait();
                barrier.wait();
                let mounts = crate::mountinfo::read().unwrap();
                assert!(mounts.iter().all(|mount| mount.mount_point != target));
            });
            barrier.wait();
            unpin(&target).unwrap();
            barrier.wait();
        });
    });
}

#[test]
fn a_failed_pin_leaves_nothing_and_names_the_sysctl() {
    with_private_mounts(|| {
        empty_run();
        for (name, value) in [
            ("net.ipv4.no_such_thing", "1"),
            ("net.ipv4.ip_local_port_range", "nonsense"),
            ("vm.swappiness", "1"),
        ] {
            let mut request = request();
            request.sysctls = vec![(name.into(), value.into())];
            let error = pin(&request).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            assert!(!request.net.unwrap().exists());
        }
        let request = request();
        fs::create_dir_all("/run/utsns").unwrap();
        fs::write("/run/utsns/pod-a", "").unwrap();
        let error = pin(&request).unwrap_err();
        assert!(matches!(error, PinError::Exists { .. }), "{error}");
        assert!(!Path::new("/run/netns/pod-a").exists());
        assert!(!Path::new("/run/ipcns/pod-a").exists());
        let net = fs::read_dir("/run/netns").unwrap().count();
        assert_eq!(net, 0);
    });
}

#[test]
fn a_user_namespace_owns_the_others() {
    with_private_mounts(|| {
        empty_run();
        let map = IdMapping {
            host_id: 100_000,
            container_id: 0,
            length: 65_536,
        };
        let mut request = request();
        request.user = Some(UserPin {
            target: "/run/userns/pod-a".into(),
            mapping: UserNamespace { uid: map, gid: map },
        });
        request.sysctls = vec![
            ("net.ipv4.ping_group_range".into(), "0 2147483647".into()),
            ("kernel.shm_rmid_forced".into(), "1".into()),
        ];
        pin(&request).unwrap();
        let seen = output(
            "nsenter",
            &[
                "--user=/run/userns/pod-a",
                "--net=/run/netns/pod-a",
                "cat",
                "/proc/self/uid_map",
            ],
        );
        let fields: Vec<&str> = seen.split_whitespace().collect();
        assert_eq!(fields, ["0", "100000", "65536"]);
        inside(&request, || {
            assert_eq!(sysctl("kernel.shm_rmid_forced"), "1");
            assert_eq!(sysctl("net.ipv4.ping_group_range"), "100000\t165535");
        });
        unpin(Path::new("/run/userns/pod-a")).unwrap();
    });
}

#[test]
fn a_namespace_of_a_process_is_pinned() {
    with_private_mounts(|| {
        empty_run();
        let own = process::identify(std::process::id()).unwrap().unwrap();
        let target = Path::new("/run/pidns/pod-a");
        pin_process(&own, NamespaceKind::Pid, target).unwrap();
        assert_eq!(inode("/run/pidns/pod-a"), inode("/proc/self/ns/pid"));
        let other = process::ProcessIdentity {
            start_time: 1,
            ..own
        };
        let gone = pin_process(&other, NamespaceKind::Pid, Path::new("/run/pidns/x"));
        assert!(matches!(gone, Err(PinError::ProcessGone { .. })));
        assert!(!Path::new("/run/pidns/x").exists());
        unpin(target).unwrap();
    });
}

#[test]
fn what_is_no_namespace_is_not_entered() {
    let error = enter_thread(&[Path::new("/etc/hostname")], || ()).unwrap_err();
    assert!(matches!(error, EnterError::NotEnterable { .. }), "{error}");
    let error = enter_thread(&[Path::new("/nowhere")], || ()).unwrap_err();
    assert!(matches!(error, EnterError::Open { .. }), "{error}");
    let paths = ["/nowhere", "/proc/self/ns/uts"].map(Path::new);
    let each = super::enter_each(&paths, || sysctl("kernel.hostname")).unwrap();
    assert!(matches!(each[0], Err(EnterError::Open { .. })));
    assert_eq!(each[1].as_ref().unwrap(), &sysctl("kernel.hostname"));
    assert!(!is_namespace(Path::new("/nowhere")).unwrap());
    assert!(!is_namespace(Path::new("/etc")).unwrap());
}
