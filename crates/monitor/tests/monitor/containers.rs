//! Containers of the real runc under a real monitor.

use std::fs;
use std::time::{Duration, Instant};

use crate::pod::{LONG, Options, Pod, eventually};
use pinpod_monitor_api::{
    Attach, ClientError, Exit, Phase, Refusal, Stream, StreamFrame, spawn_monitor,
};

fn plain() -> Options {
    Options::default()
}

#[tokio::test]
async fn output_exit_and_the_end_of_the_monitor() {
    let pod = Pod::start().await;
    let id = pod
        .create("echo out; echo err >&2; printf tail; exit 7", &plain())
        .await;
    let list = pod.client.list().await.unwrap();
    assert!(matches!(list[0].phase, Phase::Alive { .. }), "{list:?}");
    let before = pod.entries(&id);
    assert!(before.is_empty(), "{before:?}");
    pod.runtime.start(&id).await.unwrap();
    let exit = pod.exit_of(&id).await;
    assert_eq!(
        (exit.exit_code, exit.signal, exit.oom_killed),
        (7, None, false)
    );
    let file = fs::read(pod.bundle(&id).join("exit.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Exit>(&file).unwrap(), exit);
    let mut entries = pod.entries(&id);
    entries.sort();
    assert_eq!(entries, ["stderr F err", "stdout F out", "stdout P tail"]);
    let text = fs::read_to_string(pod.log(&id)).unwrap();
    assert!(
        text.lines().all(|line| line.as_bytes()[29] == b'Z'),
        "{text}"
    );

    assert_eq!(
        pod.client.list().await.unwrap()[0].phase,
        Phase::Exited(exit)
    );
    pod.client.forget(id.clone()).await.unwrap();
    pod.client.forget(id.clone()).await.unwrap();
    assert!(pod.client.list().await.unwrap().is_empty());
    pod.client.shutdown().await.unwrap();
    let gone = format!("/proc/{}", pod.monitor_pid());
    eventually("the monitor ends", || !fs::exists(&gone).unwrap()).await;
    let error = pod.client.list().await.unwrap_err();
    assert!(matches!(error, ClientError::Gone { .. }), "{error:?}");
}

#[tokio::test]
async fn signals_and_two_containers_at_once() {
    let pod = Pod::start().await;
    let options = plain();
    let (a, b) = tokio::join!(
        pod.run("echo a; sleep 60", &options),
        pod.run("echo b; sleep 60", &options)
    );
    let error = pod.client.forget(a.clone()).await.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Refused {
                reason: Refusal::Running,
                ..
            }
        ),
        "{error:?}"
    );
    pod.client.shutdown().await.unwrap();
    assert_eq!(pod.client.list().await.unwrap().len(), 2);
    pod.kill(&a).await;
    let exit = pod.exit_of(&a).await;
    assert_eq!(
        (exit.exit_code, exit.signal, exit.oom_killed),
        (137, Some(9), false)
    );
    eventually("b says its word", || pod.entries(&b) == ["stdout F b"]).await;
    assert_eq!(pod.entries(&a), ["stdout F a"]);
    assert!(!fs::exists(pod.bundle(&b).join("exit.json")).unwrap());
    pod.runtime.delete(&a, false).await.unwrap();
    let error = pod.runtime.start(&a).await.unwrap_err();
    assert!(
        matches!(error, pinpod_oci_runtime::RuntimeError::NotFound { .. }),
        "{error:?}"
    );
    let children = children_of(pod.monitor_pid());
    assert_eq!(children.len(), 1, "only b is left: {children:?}");
}

/// State letters of the children of a process.
fn children_of(parent: i32) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let Some((head, rest)) = stat.rsplit_once(')') else {
            continue;
        };
        let mut fields = rest.split_whitespace();
        let state = fields.next().unwrap().to_owned();
        if fields.next() == Some(&parent.to_string()) {
            found.push((head.to_owned(), state));
        }
    }
    found
}

#[tokio::test]
async fn a_failed_create_says_the_runtimes_words() {
    let pod = Pod::start().await;
    let request = pod.request("true", &plain());
    fs::write(request.bundle.join("config.json"), "{}").unwrap();
    let error = pod.client.create_container(request).await.unwrap_err();
    let ClientError::Runtime { message } = &error else {
        panic!("{error:?}")
    };
    // runc says the first, crun the second.
    assert!(
        ["process", "config.json"]
            .iter()
            .any(|it| message.contains(it)),
        "{message}"
    );

    let mut request = pod.request("true", &plain());
    request.argv = vec![
        "/bin/sh".into(),
        "-c".into(),
        "echo words >&2; exit 3".into(),
    ];
    let error = pod.client.create_container(request).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Runtime { message } if message == "words"),
        "{error:?}"
    );

    let mut request = pod.request("true", &plain());
    request.argv = vec!["/bin/sh".into(), "-c".into(), "sleep 60; true".into()];
    request.timeout_ms = 200;
    let error = pod.client.create_container(request).await.unwrap_err();
    assert!(
        matches!(error, ClientError::RuntimeTimedOut { .. }),
        "{error:?}"
    );

    let mut request = pod.request("true", &plain());
    request.argv = vec!["/does/not/exist".into()];
    let error = pod.client.create_container(request).await.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Refused {
                reason: Refusal::Internal,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(pod.client.list().await.unwrap().is_empty());
    assert!(children_of(pod.monitor_pid()).is_empty());
}

#[tokio::test]
async fn the_same_creation_is_joined() {
    let pod = Pod::start().await;
    let request = pod.request("sleep 60", &plain());
    let id = request.id.clone();
    let (a, b) = tokio::join!(
        pod.client.create_container(request.clone()),
        pod.client.create_container(request.clone())
    );
    assert_eq!(a.unwrap(), b.unwrap());
    // A caller that goes away does not stop it.
    let request = pod.request("sleep 60", &plain());
    let left = request.id.clone();
    let gone = pod.client.create_container(request.clone());
    assert!(
        tokio::time::timeout(Duration::from_millis(2), gone)
            .await
            .is_err()
    );
    let (pid, _) = pod.client.create_container(request).await.unwrap();
    let list = pod.client.list().await.unwrap();
    assert_eq!(list.len(), 2);
    let phase = list.iter().find(|it| it.id == left).unwrap().phase;
    assert!(matches!(phase, Phase::Alive { pid: it, .. } if it == pid));
    assert_ne!(id, left);
}

#[tokio::test]
async fn the_log_is_opened_again() {
    let pod = Pod::start().await;
    let once = Options {
        stdin: true,
        ..plain()
    };
    let id = pod.run("cat", &once).await;
    let mut stream = attach(&pod, &id).await;
    stream
        .send(&StreamFrame::Stdin(b"one\n".to_vec()))
        .await
        .unwrap();
    eventually("the first line", || pod.entries(&id) == ["stdout F one"]).await;
    let log = pod.log(&id);
    let rotated = log.with_extension("1");
    fs::rename(&log, &rotated).unwrap();
    pod.client.reopen_log(id.clone()).await.unwrap();
    assert!(fs::exists(&log).unwrap());
    stream
        .send(&StreamFrame::Stdin(b"two\n".to_vec()))
        .await
        .unwrap();
    eventually("the second line", || pod.entries(&id) == ["stdout F two"]).await;
    assert_eq!(crate::pod::entries(&rotated), ["stdout F one"]);
    let other = pinpod_model::ContainerId::generate().unwrap();
    let error = pod.client.reopen_log(other).await.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Refused {
                reason: Refusal::NotFound,
                ..
            }
        ),
        "{error:?}"
    );
}

async fn attach(pod: &Pod, id: &pinpod_model::ContainerId) -> Stream {
    let request = Attach {
        container_id: id.clone(),
        stdin: true,
        stdout: true,
        stderr: true,
    };
    pod.client.attach(request).await.unwrap()
}

/// All that a stream says until its end: stdout, stderr, exit code.
async fn read_all(stream: &mut Stream) -> (String, String, Option<i32>) {
    let (mut out, mut err, mut exit) = (Vec::new(), Vec::new(), None);
    let read = async {
        while let Some(frame) = stream.next().await.unwrap() {
            match frame {
                StreamFrame::Stdout(bytes) => out.extend(bytes),
                StreamFrame::Stderr(bytes) => err.extend(bytes),
                StreamFrame::Exit { code } => exit = Some(code),
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(LONG, read)
        .await
        .expect("the stream does not end");
    (
        String::from_utf8_lossy(&out).into(),
        String::from_utf8_lossy(&err).into(),
        exit,
    )
}

#[tokio::test]
async fn stdin_once_ends_with_the_first_attach() {
    let pod = Pod::start().await;
    let options = Options {
        stdin: true,
        stdin_once: true,
        ..plain()
    };
    let id = pod.run("cat; echo end >&2; exit 4", &options).await;
    let mut watcher = attach_output(&pod, &id).await;
    let mut stream = attach(&pod, &id).await;
    let big = "0123456789abcde\n".repeat(20_000);
    let (mut reader, mut writer) = stream_parts(&mut stream, &pod, &id).await;
    let sent = big.clone();
    let sender = tokio::spawn(async move {
        writer
            .send(&StreamFrame::Stdin(sent.into_bytes()))
            .await
            .unwrap();
        writer.send(&StreamFrame::StdinClosed).await.unwrap();
        writer
    });
    let (out, err, code) = read_all(&mut reader).await;
    sender.await.unwrap();
    assert_eq!(
        (out.len(), err.as_str(), code),
        (big.len(), "end\n", Some(4))
    );
    assert!(out == big);
    let (out, err, code) = read_all(&mut watcher).await;
    assert_eq!(
        (out.len(), err.as_str(), code),
        (big.len(), "end\n", Some(4))
    );
    assert_eq!(pod.entries(&id).len(), 20_001);
    assert_eq!(pod.exit_of(&id).await.exit_code, 4);
}

async fn attach_output(pod: &Pod, id: &pinpod_model::ContainerId) -> Stream {
    let request = Attach {
        container_id: id.clone(),
        stdin: false,
        stdout: true,
        stderr: true,
    };
    pod.client.attach(request).await.unwrap()
}

/// Two attachments: one to read from, one to write to. Both have stdin; the container's ends when
/// the writer says so.
async fn stream_parts(
    stream: &mut Stream,
    pod: &Pod,
    id: &pinpod_model::ContainerId,
) -> (Stream, pinpod_monitor_api::StreamWriter) {
    let other = attach_output(pod, id).await;
    let first = std::mem::replace(stream, attach_output(pod, id).await);
    let (mut reader, writer) = first.into_split();
    tokio::spawn(async move { while let Ok(Some(_)) = reader.next().await {} });
    (other, writer)
}

#[tokio::test]
async fn stdin_stays_open_between_attaches() {
    let pod = Pod::start().await;
    let id = pod
        .run(
            "cat",
            &Options {
                stdin: true,
                ..plain()
            },
        )
        .await;
    for word in ["one", "two"] {
        let mut stream = attach(&pod, &id).await;
        stream
            .send(&StreamFrame::Stdin(format!("{word}\n").into_bytes()))
            .await
            .unwrap();
        let answer = tokio::time::timeout(LONG, stream.next())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            answer,
            Some(StreamFrame::Stdout(format!("{word}\n").into_bytes()))
        );
    }
    assert_eq!(pod.entries(&id), ["stdout F one", "stdout F two"]);
}

#[tokio::test]
async fn a_terminal() {
    let pod = Pod::start().await;
    let options = Options {
        tty: true,
        stdin: true,
        ..plain()
    };
    let id = pod
        .run("read word; stty size; echo got $word >&2; exit 5", &options)
        .await;
    pod.client.resize_tty(id.clone(), 90, 30).await.unwrap();
    let mut stream = attach(&pod, &id).await;
    stream
        .send(&StreamFrame::Stdin(b"hello\n".to_vec()))
        .await
        .unwrap();
    let (out, err, code) = read_all(&mut stream).await;
    assert!(
        out.contains("30 90\r\n") && out.contains("got hello\r\n"),
        "{out:?}"
    );
    assert_eq!((err.as_str(), code), ("", Some(5)));
    let log = fs::read_to_string(pod.log(&id)).unwrap();
    assert!(log.contains(" stdout F got hello\r\n"), "{log:?}");
    assert!(!fs::exists(pod.bundle(&id).join("c.sock")).unwrap());

    let without = pod.run("sleep 60", &plain()).await;
    let error = pod.client.resize_tty(without, 1, 1).await.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Refused {
                reason: Refusal::Invalid,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn exit_is_told_while_children_hold_the_output() {
    let pod = Pod::start().await;
    let mut request = pod.request("(sleep 60; echo late) & echo early; exit 0", &plain());
    // In the node's PID namespace the child outlives its parent.
    let config = request.bundle.join("config.json");
    let text = fs::read_to_string(&config)
        .unwrap()
        .replace(r#"{"type":"pid"},"#, "");
    fs::write(&config, text).unwrap();
    request.oom = None;
    let id = request.id.clone();
    pod.client.create_container(request).await.unwrap();
    let started = Instant::now();
    pod.runtime.start(&id).await.unwrap();
    assert_eq!(pod.exit_of(&id).await.exit_code, 0);
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(pod.entries(&id), ["stdout F early"]);
    let children = children_of(pod.monitor_pid());
    assert!(
        !children.is_empty() && children.iter().all(|(_, state)| state != "Z"),
        "{children:?}"
    );
}

#[tokio::test]
async fn out_of_memory_is_told() {
    let pod = Pod::start().await;
    let options = Options {
        memory: Some(16 << 20),
        ..plain()
    };
    let direct = pod.run("exec tail /dev/zero", &options).await;
    let by_shell = pod.run("tail /dev/zero; exit $?", &options).await;
    let exit = pod.exit_of(&direct).await;
    assert_eq!(
        (exit.signal, exit.exit_code, exit.oom_killed),
        (Some(9), 137, true)
    );
    let exit = pod.exit_of(&by_shell).await;
    assert_eq!(
        (exit.signal, exit.exit_code, exit.oom_killed),
        (None, 137, true)
    );
}

#[tokio::test]
async fn a_monitor_survives_who_started_it() {
    let dir = tempfile::Builder::new().prefix("pinmon").tempdir().unwrap();
    let mut starter = tokio::task::spawn_blocking({
        let dir = dir.path().to_owned();
        move || start_and_die(&dir)
    });
    let died = (&mut starter).await.unwrap();
    assert_eq!(died, Some(9));
    let pod = Pod::of(dir).await;
    let id = pod.run("echo alive", &plain()).await;
    assert_eq!(pod.exit_of(&id).await.exit_code, 0);
    assert_eq!(pod.entries(&id), ["stdout F alive"]);
}

/// Runs this test binary as a daemon that starts a monitor and then kills itself with SIGKILL.
#[allow(
    clippy::disallowed_methods,
    reason = "the environment of this run must be kept"
)]
fn start_and_die(dir: &std::path::Path) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt;
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "containers::daemon_that_dies", "--ignored"])
        .env("PINMON_DIR", dir);
    command.output().unwrap().status.signal()
}

#[tokio::test]
#[ignore = "run by a_monitor_survives_who_started_it"]
async fn daemon_that_dies() {
    let Some(dir) = std::env::var_os("PINMON_DIR") else {
        return;
    };
    spawn_monitor(&crate::pod::binary(), dir.as_ref(), None)
        .await
        .unwrap();
    let me = rustix::process::getpid();
    rustix::process::kill_process(me, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_client_that_reads_nothing_does_not_stop_the_container() {
    let pod = Pod::start().await;
    let script = "read go; head -c 4000000 /dev/zero | tr '\\0' 'x'; echo; echo end >&2";
    let id = pod
        .run(
            script,
            &Options {
                stdin: true,
                ..plain()
            },
        )
        .await;
    let mut stuck = attach_output(&pod, &id).await;
    let mut other = attach(&pod, &id).await;
    other
        .send(&StreamFrame::Stdin(b"go\n".to_vec()))
        .await
        .unwrap();
    let started = Instant::now();
    let (out, err, code) = read_all(&mut other).await;
    assert_eq!(
        (out.len(), err.as_str(), code),
        (4_000_001, "end\n", Some(0))
    );
    let took = started.elapsed();
    assert!(
        (4..20).contains(&took.as_secs()),
        "the stuck client is waited for a while: {took:?}"
    );
    assert_eq!(pod.exit_of(&id).await.exit_code, 0);
    let logged: usize = pod
        .entries(&id)
        .iter()
        .map(|line| line.len() - "stdout F ".len())
        .sum();
    assert_eq!(logged, 4_000_000 + "end".len());
    let (out, _, code) = read_all(&mut stuck).await;
    assert!(out.len() < 4_000_000 && code.is_none(), "it was cut off");
}
