//! Runs real programs.

use std::time::{Duration, Instant};

use pinpod_command::{Command, RunError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const LONG: Duration = Duration::from_secs(20);

fn sh(script: &str) -> Command {
    Command::new("/bin/sh").args(["-c", script])
}

fn alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn status_output_and_stdin() {
    let output = sh("cat; echo err >&2; exit 3")
        .stdin_bytes("in")
        .run(LONG)
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(output.stdout, b"in");
    assert_eq!(output.stderr, b"err\n");
    assert_eq!(output.message(), "err");
}

#[tokio::test]
async fn the_environment_is_what_is_set_and_path() {
    let output = Command::new("env").env("A", "1").run(LONG).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<_> = text
        .lines()
        .filter_map(|line| line.split('=').next())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["A", "PATH"]);
}

#[tokio::test]
async fn a_missing_program_is_told_apart() {
    let error = Command::new("/does/not/exist").run(LONG).await.unwrap_err();
    assert!(matches!(error, RunError::NotFound { .. }), "{error:?}");
    let error = Command::new("/etc/passwd").run(LONG).await.unwrap_err();
    assert!(matches!(error, RunError::Spawn { .. }), "{error:?}");
}

#[tokio::test]
async fn the_deadline_ends_the_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let script = format!("sleep 60 & echo $! > {}; wait", file.display());
    let started = Instant::now();
    let error = sh(&script)
        .run(Duration::from_millis(500))
        .await
        .unwrap_err();
    assert!(matches!(error, RunError::TimedOut { .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
    let pid = std::fs::read_to_string(file).unwrap();
    gone(&pid).await;
}

#[tokio::test]
async fn dropping_the_future_ends_the_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let script = format!("sleep 60 & echo $! > {}; wait", file.display());
    let run = tokio::time::timeout(Duration::from_millis(500), sh(&script).run(LONG));
    assert!(run.await.is_err());
    let pid = std::fs::read_to_string(file).unwrap();
    gone(&pid).await;
}

async fn gone(pid: &str) {
    let until = Instant::now() + Duration::from_secs(5);
    while alive(pid) {
        assert!(Instant::now() < until, "{pid} lives on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn too_much_output_is_cut_short() {
    let error = sh("yes").output_cap(1000).run(LONG).await.unwrap_err();
    assert!(
        matches!(error, RunError::TooMuchOutput { cap: 1000, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn stdin_that_nobody_reads_is_no_error() {
    let output = sh("exec 0<&-; exit 0")
        .stdin_bytes(vec![0; 1 << 20])
        .run(LONG)
        .await
        .unwrap();
    assert!(output.status.success());
}

#[tokio::test]
async fn a_service_lives_on_when_ready_and_dies_when_not() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let started = sh("echo said >&2; echo ready; exec sleep 60")
        .start_service(&log, LONG)
        .await
        .unwrap();
    assert_eq!(started.line, "ready");
    assert!(alive(&started.pid.to_string()));
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "said\n");
    let pid = rustix::process::Pid::from_raw(started.pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();

    let error = sh("exit 1").start_service(&log, LONG).await.unwrap_err();
    assert!(matches!(error, RunError::NotReady { .. }), "{error:?}");
    let error = sh("exec sleep 60")
        .start_service(&log, Duration::from_millis(200))
        .await
        .unwrap_err();
    assert!(matches!(error, RunError::TimedOut { .. }), "{error:?}");
}

#[tokio::test]
async fn programs_get_the_limit_of_open_files_that_was_before_it_was_raised() {
    let hard = getrlimit(Resource::Nofile).maximum;
    let low = Rlimit {
        current: Some(333),
        maximum: hard,
    };
    setrlimit(Resource::Nofile, low).unwrap();
    assert_eq!(pinpod_command::raise_open_files().unwrap(), hard);
    assert_eq!(getrlimit(Resource::Nofile).current, hard);
    // The limit is given back when the program has begun already.
    let script = "until [ $(ulimit -n) = 333 ]; do :; done; sh -c 'ulimit -n'";
    let output = Command::new("sh").args(["-c", script]).run(LONG).await;
    assert_eq!(output.unwrap().stdout, b"333\n");
}
