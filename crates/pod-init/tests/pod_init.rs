//! `pinpod-init` as the daemon starts it, on the real kernel, as root.
#![allow(
    clippy::unwrap_used,
    reason = "a test; clippy knows that only of functions marked as one"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use pinpod_kernel::namespace::{self, PinRequest, UserPin};
use pinpod_kernel::process;
use pinpod_kernel::spawn::{PodInit, PodInitRequest, SpawnError, spawn_pod_init};
use pinpod_model::{IdMapping, Signal, UserNamespace};

const SOON: Duration = Duration::from_secs(10);

/// Ends the process whatever the test does.
struct Started(PodInit);

impl Drop for Started {
    fn drop(&mut self) {
        process::send_signal(&self.0.pidfd, Signal::KILL).unwrap();
        process::wait_exit(&self.0.pidfd, SOON).unwrap();
        process::reap(self.0.identity.pid).unwrap();
    }
}

fn request() -> PodInitRequest {
    PodInitRequest {
        binary: env!("CARGO_BIN_EXE_pinpod-init").into(),
        ..PodInitRequest::default()
    }
}

fn start(request: &PodInitRequest) -> Started {
    Started(spawn_pod_init(request).unwrap())
}

#[allow(clippy::disallowed_methods, reason = "a process beside the one tested")]
fn run(program: &str, args: &[&str]) -> Output {
    std::process::Command::new(program)
        .args(args)
        .output()
        .unwrap()
}

/// Runs a shell line in the PID namespace of `pid`; its orphans become children of PID 1.
fn inside(pid: u32, line: &str) -> String {
    let target = format!("--target={pid}");
    let output = run("nsenter", &[&target, "--pid", "sh", "-c", line]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[allow(
    clippy::disallowed_methods,
    reason = "nothing tells when a zombie goes"
)]
fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn status(pid: u32) -> BTreeMap<String, String> {
    fs::read_to_string(format!("/proc/{pid}/status"))
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect()
}

/// Processes in the PID namespace of `pid`, zombies included.
fn population(pid: u32) -> usize {
    let link = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = link(&pid.to_string());
    // A zombie has no namespaces any more, but it still has its parent.
    let zombie_of = |entry: &str| {
        let status = fs::read_to_string(format!("/proc/{entry}/status")).unwrap_or_default();
        status.contains(&format!("PPid:\t{pid}\n"))
    };
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.parse::<u32>().is_ok())
        .filter(|name| link(name) == own || zombie_of(name))
        .count()
}

fn assert_confined(pid: u32, user: &str) {
    let status = status(pid);
    for (key, value) in [
        ("Name", "pinpod-init"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Seccomp_filters", "1"),
        ("Groups", ""),
        ("Threads", "1"),
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
    ] {
        assert_eq!(status[key], value, "{key}");
    }
    let ids: Vec<&str> = status["Uid"].split_whitespace().collect();
    assert_eq!(ids, [user; 4]);
    assert!(status["NSpid"].ends_with("\t1"), "{}", status["NSpid"]);
    let entries = |name: &str| fs::read_dir(format!("/proc/{pid}/{name}")).unwrap().count();
    assert_eq!(entries("root"), 0);
    assert_eq!(entries("fd"), 0);
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    assert_eq!(mounts.lines().count(), 1, "{mounts}");
    assert!(mounts.contains(" / / ro,"), "{mounts}");
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(environment.is_empty());
}

#[test]
fn it_is_confined_and_in_a_session_of_its_own() {
    let init = start(&request());
    let pid = init.0.identity.pid;
    assert_confined(pid, "65534");
    let status = status(pid);
    assert!(status["NSsid"].starts_with(&pid.to_string()));
    assert_eq!(status["PPid"], std::process::id().to_string());
}

#[test]
fn it_reaps_orphans() {
    let init = start(&request());
    let pid = init.0.identity.pid;
    for round in 0..3 {
        inside(pid, "(sleep 0.1 &) ; (sleep 0.1 &) ; (true &)");
        until(&format!("a zombie stays in round {round}"), || {
            population(pid) == 1
        });
    }
    assert!(process::is_alive(&init.0.identity).unwrap());
}

#[test]
fn sigterm_ends_it_from_outside_only() {
    let init = start(&request());
    let PodInit { identity, pidfd } = &init.0;
    inside(
        identity.pid,
        "kill -TERM 1; kill -INT 1; kill -KILL 1; true",
    );
    // Signals arrive in order, so an orphan reaped later proves that those were looked at.
    inside(identity.pid, "(true &)");
    until("a zombie stays", || population(identity.pid) == 1);
    assert!(process::is_alive(identity).unwrap());

    assert!(process::send_signal(pidfd, Signal::TERM).unwrap());
    assert!(process::wait_exit(pidfd, SOON).unwrap());
    assert!(process::reap(identity.pid).unwrap());
}

/// A cgroup of its own in each hierarchy that has one by that name; version 1 and version 2 are
/// joined in different ways.
fn test_cgroups() -> Vec<PathBuf> {
    let name = format!("pinpod-init-test-{}", std::process::id());
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies: &[&str] = match root.join("cgroup.procs").exists() {
        true => &[""],
        false => &["cpu", "pids", "unified"],
    };
    let groups = hierarchies.iter().map(|hierarchy| root.join(hierarchy));
    let groups = groups.filter(|hierarchy| hierarchy.exists());
    groups.map(|hierarchy| hierarchy.join(&name)).collect()
}

#[test]
fn it_is_born_in_its_cgroups() {
    let groups = test_cgroups();
    for group in &groups {
        fs::create_dir(group).unwrap();
    }
    let procs: Vec<PathBuf> = groups
        .iter()
        .map(|group| group.join("cgroup.procs"))
        .collect();
    let init = start(&PodInitRequest {
        cgroup_procs: procs.clone(),
        ..request()
    });
    let pid = init.0.identity.pid;
    let members: Vec<String> = procs
        .iter()
        .map(|procs| fs::read_to_string(procs).unwrap())
        .collect();
    drop(init);
    for group in &groups {
        until("the cgroup stays", || fs::remove_dir(group).is_ok());
    }
    for (members, procs) in members.iter().zip(&procs) {
        assert_eq!(members.trim(), pid.to_string(), "{}", procs.display());
    }
}

#[test]
fn a_cgroup_that_takes_no_process_is_named() {
    // A cgroup of version 1 has the file; this one refuses what is written to it.
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", directory.path().join("tasks")).unwrap();
    let procs = directory.path().join("cgroup.procs");
    let error = spawn_pod_init(&PodInitRequest {
        cgroup_procs: vec![procs.clone()],
        ..request()
    });
    match error.unwrap_err() {
        SpawnError::Cgroup {
            procs: named,
            source,
        } => {
            assert_eq!(named, procs);
            assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_program_that_is_not_pinpod_init_is_told() {
    let other = PodInitRequest {
        binary: "/bin/true".into(),
        ..PodInitRequest::default()
    };
    let error = spawn_pod_init(&other).unwrap_err();
    assert!(matches!(error, SpawnError::Ended { .. }), "{error}");
    let missing = PodInitRequest {
        binary: "/nowhere".into(),
        ..PodInitRequest::default()
    };
    let error = spawn_pod_init(&missing).unwrap_err();
    assert!(matches!(error, SpawnError::Exec { .. }), "{error}");
}

/// Runs the named test again in a mount namespace of its own; there `body` runs.
#[allow(clippy::disallowed_methods, reason = "runs this test itself")]
fn with_private_mounts(name: &str, body: impl FnOnce()) {
    const INNER: &str = "PINPOD_TEST_PRIVATE_MOUNTS";
    if std::env::var_os(INNER).is_some() {
        return body();
    }
    let status = std::process::Command::new("unshare")
        .arg("--mount")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INNER, "1")
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn its_pid_namespace_belongs_to_the_pods_user_namespace() {
    with_private_mounts(
        "its_pid_namespace_belongs_to_the_pods_user_namespace",
        || {
            let dir = tempfile::tempdir().unwrap();
            let path = |name: &str| dir.path().join(name).join("pod");
            let map = IdMapping {
                host_id: 300_000,
                container_id: 0,
                length: 65_536,
            };
            namespace::pin(&PinRequest {
                net: Some(path("netns")),
                ipc: Some(path("ipcns")),
                uts: Some(path("utsns")),
                user: Some(UserPin {
                    target: path("userns"),
                    mapping: UserNamespace { uid: map, gid: map },
                }),
                ..PinRequest::default()
            })
            .unwrap();
            let init = start(&PodInitRequest {
                netns: Some(path("netns")),
                ipcns: Some(path("ipcns")),
                utsns: Some(path("utsns")),
                userns: Some(path("userns")),
                ..request()
            });
            let pid = init.0.identity.pid;
            assert_confined(pid, "365534");
            assert_eq!(status(pid)["PPid"], std::process::id().to_string());
            for (kind, name) in [
                ("net", "netns"),
                ("ipc", "ipcns"),
                ("uts", "utsns"),
                ("user", "userns"),
            ] {
                assert_eq!(
                    inode(&PathBuf::from(format!("/proc/{pid}/ns/{kind}"))),
                    inode(&path(name)),
                    "{kind}"
                );
            }
            // The owner may mount a view of the processes, as an OCI runtime does.
            let user = format!("--user={}", path("userns").display());
            let target = format!("--target={pid}");
            let line = "unshare --mount sh -c 'mount -t proc proc /proc && cat /proc/1/comm'";
            let output = run("nsenter", &[&target, "--pid", &user, "sh", "-c", line]);
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                "pinpod-init\n",
                "{output:?}"
            );
            drop(init);
            for name in ["netns", "ipcns", "utsns", "userns"] {
                namespace::unpin(&path(name)).unwrap();
                pinpod_kernel::mount::unmount(path(name).parent().unwrap()).unwrap();
            }
        },
    );
}

fn inode(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).unwrap().ino()
}
