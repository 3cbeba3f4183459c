//! The limit of open files: the daemon's is its hard one, the monitor keeps what the daemon was given.
//! What containers get is the monitor's, as far as the OCI runtime hands it on: a runc as old as
//! Debian 12's gives them its own, which Go has raised.

use anyhow::{Context as _, ensure};
use pinpod_testkit::{Options, Result, busybox, container, on_node, run};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Soft and hard limit of open files of a process.
fn open_files(pid: u32) -> Result<(String, String)> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let mut words = line.context("no such limit")?.split_whitespace().skip(3);
    let mut word = || words.next().map(str::to_owned).context("a number");
    Ok((word()?, word()?))
}

#[test]
fn only_the_daemon_opens_many_files() -> Result {
    on_node(
        "limits::only_the_daemon_opens_many_files",
        Options::default(),
        async |node| {
            let maximum = getrlimit(Resource::Nofile).maximum;
            let current = Some(777);
            setrlimit(Resource::Nofile, Rlimit { current, maximum })?;
            node.restart().await?;
            let (soft, hard) = open_files(node.daemon_pid()?)?;
            ensure!(soft == hard && soft != "777", "{soft} {hard}");
            let image = node.import(busybox().await?).await?;
            let config = node.pod("limits");
            let pod = node.run_pod(&config).await?;
            let sleep = container("main", &image, &["sleep", "1000"]);
            node.launch(&pod, &config, sleep).await?;
            let monitor = run("pgrep", &["-x", "pinpod-monitor"]).await?;
            ensure!(open_files(monitor.trim().parse()?)?.0 == "777");
            node.remove_pod(&pod).await
        },
    )
}
