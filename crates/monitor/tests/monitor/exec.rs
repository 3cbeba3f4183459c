//! Processes run in containers of the real runc under a real monitor.

use std::fs;
use std::time::{Duration, Instant};

use crate::pod::{LONG, Options, Pod, eventually};
use pinpod_monitor_api::{ClientError, Refusal, StreamFrame};

async fn sleeper(pod: &Pod) -> pinpod_model::ContainerId {
    pod.run("sleep 600", &Options::default()).await
}

fn files_of_execs(pod: &Pod, id: &pinpod_model::ContainerId) -> Vec<String> {
    let entries = fs::read_dir(pod.bundle(id)).unwrap().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with("exec")).collect()
}

#[tokio::test]
async fn output_and_exit_code() {
    let pod = Pod::start().await;
    let id = sleeper(&pod).await;
    let request = pod.exec_sync(&id, "echo out; echo err >&2; exit 3", Some(30_000));
    let output = pod.client.exec_sync(request).await.unwrap();
    assert_eq!(
        (output.exit_code, output.timed_out, output.truncated),
        (3, false, false)
    );
    assert_eq!(
        (&output.stdout[..], &output.stderr[..]),
        (&b"out\n"[..], &b"err\n"[..])
    );
    let killed = pod
        .client
        .exec_sync(pod.exec_sync(&id, "kill -9 $$", None))
        .await
        .unwrap();
    assert_eq!(killed.exit_code, 137);
    let mut big = pod.exec_sync(&id, "head -c 3000000 /dev/zero; echo end >&2", None);
    big.output_cap = 2_000_000;
    let output = pod.client.exec_sync(big).await.unwrap();
    assert_eq!((output.stdout.len(), output.truncated), (2_000_000, true));
    assert_eq!(output.stderr, b"end\n");
    assert_eq!(files_of_execs(&pod, &id), [""; 0]);
}

#[tokio::test]
async fn many_at_once() {
    let pod = Pod::start().await;
    let id = sleeper(&pod).await;
    let runs = (0..12).map(|n| {
        let request = pod.exec_sync(&id, &format!("echo {n}; exit {n}"), Some(30_000));
        let client = pod.client.clone();
        tokio::spawn(async move { client.exec_sync(request).await.unwrap() })
    });
    for (n, run) in runs.collect::<Vec<_>>().into_iter().enumerate() {
        let output = run.await.unwrap();
        assert_eq!(output.exit_code, i32::try_from(n).unwrap());
        assert_eq!(output.stdout, format!("{n}\n").into_bytes());
    }
}

/// Whether a process with this word in its command line lives on the node.
fn lives(word: &str) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.starts_with("sleep\0") && line.contains(word)
    })
}

#[tokio::test]
async fn the_deadline_kills_all_of_it() {
    let pod = Pod::start().await;
    let id = sleeper(&pod).await;
    let script = "echo before; sleep 98761 & sleep 98761; true";
    let started = Instant::now();
    let output = pod
        .client
        .exec_sync(pod.exec_sync(&id, script, Some(1000)))
        .await
        .unwrap();
    assert!(output.timed_out && started.elapsed() < Duration::from_secs(15));
    assert_eq!(
        (output.exit_code, &output.stdout[..]),
        (-1, &b"before\n"[..])
    );
    eventually("its children die", || !lives("98761")).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_it() {
    let pod = Pod::start().await;
    let id = sleeper(&pod).await;
    let request = pod.exec_sync(&id, "sleep 98762; true", None);
    let run = pod.client.exec_sync(request);
    let wait = async { eventually("the process", || lives("98762")).await };
    tokio::select! {
        result = run => panic!("{result:?}"),
        () = wait => {}
    }
    eventually("its end", || !lives("98762")).await;
    assert_eq!(files_of_execs(&pod, &id), [""; 0]);
}

#[tokio::test]
async fn what_cannot_be_run() {
    let pod = Pod::start().await;
    let id = sleeper(&pod).await;
    let request = pod.exec_sync(&id, "true", None);
    let process = request.scratch[0].clone();
    let text = fs::read_to_string(&process)
        .unwrap()
        .replace("/bin/sh", "/no/such");
    fs::write(&process, text).unwrap();
    let error = pod.client.exec_sync(request).await.unwrap_err();
    let ClientError::Runtime { message } = &error else {
        panic!("{error:?}")
    };
    assert!(message.contains("/no/such"), "{message}");

    let request = pod.exec_sync(&id, "true", None);
    pod.kill(&id).await;
    pod.exit_of(&id).await;
    let error = pod.client.exec_sync(request.clone()).await.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Refused {
                reason: Refusal::NotRunning,
                ..
            }
        ),
        "{error:?}"
    );
    pod.client.forget(id).await.unwrap();
    let error = pod.client.exec_sync(request).await.unwrap_err();
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

#[tokio::test]
async fn streams_with_and_without_a_terminal() {
    let pod = Pod::start().await;
    let id = sleeper(&pod).await;
    let request = pod.exec_stream(&id, "tr a-z A-Z; echo err >&2; exit 6", false);
    let mut stream = pod.client.exec_stream(request).await.unwrap();
    stream
        .send(&StreamFrame::Stdin(b"hello".to_vec()))
        .await
        .unwrap();
    stream.send(&StreamFrame::StdinClosed).await.unwrap();
    let (mut out, mut err, mut code) = (Vec::new(), Vec::new(), None);
    while let Some(frame) = tokio::time::timeout(LONG, stream.next())
        .await
        .unwrap()
        .unwrap()
    {
        match frame {
            StreamFrame::Stdout(bytes) => out.extend(bytes),
            StreamFrame::Stderr(bytes) => err.extend(bytes),
            StreamFrame::Exit { code: it } => code = Some(it),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        (&out[..], &err[..], code),
        (&b"HELLO"[..], &b"err\n"[..], Some(6))
    );

    let request = pod.exec_stream(&id, "read x; stty size; exit 2", true);
    let mut stream = pod.client.exec_stream(request).await.unwrap();
    stream
        .send(&StreamFrame::Resize {
            width: 111,
            height: 22,
        })
        .await
        .unwrap();
    stream
        .send(&StreamFrame::Stdin(b"\n".to_vec()))
        .await
        .unwrap();
    let (mut out, mut code) = (Vec::new(), None);
    while let Some(frame) = tokio::time::timeout(LONG, stream.next())
        .await
        .unwrap()
        .unwrap()
    {
        match frame {
            StreamFrame::Stdout(bytes) => out.extend(bytes),
            StreamFrame::Exit { code: it } => code = Some(it),
            other => panic!("{other:?}"),
        }
    }
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("22 111\r\n"), "{out:?}");
    assert_eq!(code, Some(2));
}

#[tokio::test]
async fn a_slow_reader_slows_its_process_and_gets_all() {
    let pod = Pod::start().await;
    let id = sleeper(&pod).await;
    let request = pod.exec_stream(&id, "head -c 8000000 /dev/zero", false);
    let mut stream = pod.client.exec_stream(request).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let status = fs::read_to_string(format!("/proc/{}/status", pod.monitor_pid())).unwrap();
    let rss = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let rss: u64 = rss.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(
        rss < 8000,
        "the monitor holds no more than its queue: {rss} kB"
    );
    let mut total = 0;
    while let Some(frame) = tokio::time::timeout(LONG, stream.next())
        .await
        .unwrap()
        .unwrap()
    {
        if let StreamFrame::Stdout(bytes) = frame {
            total += bytes.len();
        }
    }
    assert_eq!(total, 8_000_000);
}
