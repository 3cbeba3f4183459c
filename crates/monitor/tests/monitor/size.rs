//! What a monitor costs. Not a test: `cargo test -p pinpod-monitor -- --ignored --nocapture size`
//! with `PINMON_BINARY` naming a release build prints it.

use std::fs;

use crate::pod::{Options, Pod};

#[tokio::test]
#[ignore = "prints the memory of the binary in PINMON_BINARY"]
async fn memory_of_a_monitor() {
    let pod = Pod::start().await;
    report(&pod, "empty");
    let id = pod.run("echo hello; sleep 60", &Options::default()).await;
    report(&pod, "1 container");
    let started = std::time::Instant::now();
    for _ in 0..20 {
        let request = pod.exec_sync(&id, "true", Some(10_000));
        assert_eq!(pod.client.exec_sync(request).await.unwrap().exit_code, 0);
    }
    println!("exec sync: {:?} each", started.elapsed() / 20);
    report(&pod, "1 container, 20 execs");
    for _ in 0..4 {
        pod.run("sleep 60", &Options::default()).await;
    }
    report(&pod, "5 containers");
    let loud = pod
        .run(
            "head -c 5000000 /dev/zero | tr '\\0' '\\n'",
            &Options::default(),
        )
        .await;
    let started = std::time::Instant::now();
    pod.exit_of(&loud).await;
    println!("5 M empty lines: {:?}", started.elapsed());
    report(&pod, "after 5 M log lines");
}

fn report(pod: &Pod, when: &str) {
    let path = format!("/proc/{}/smaps_rollup", pod.monitor_pid());
    let text = fs::read_to_string(path).unwrap();
    let line = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    println!(
        "{when}: RSS {}, PSS {}, dirty {}",
        line("Rss:"),
        line("Pss:"),
        line("Private_Dirty:")
    );
}
