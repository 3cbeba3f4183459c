//! The test plugin, as a process.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use pinpod_testkit::{Result, tool, until};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin, Command};

/// How long anything may take that is not measured.
const SOON: Duration = Duration::from_secs(20);

/// A running plugin. Dropping this kills it.
pub(crate) struct Plugin {
    _process: Child,
    stdin: ChildStdin,
    log: PathBuf,
}

/// The file that a plugin notes events in.
pub(crate) fn log_of(name: &str) -> PathBuf {
    PathBuf::from(format!("/tmp/nri-{name}.log"))
}

impl Plugin {
    /// Starts a plugin `<index>-<name>` that does what `config` says, and waits until it is in.
    pub(crate) async fn start(index: &str, name: &str, config: Value) -> Result<Self> {
        let plugin = Self::spawn(index, name, config, &[])?;
        plugin.wait_for("Synchronize", 1).await?;
        Ok(plugin)
    }

    /// Starts it and does not wait.
    #[allow(
        clippy::disallowed_methods,
        reason = "a plugin runs beside the test, as a service does"
    )]
    pub(crate) fn spawn(index: &str, name: &str, mut config: Value, args: &[&str]) -> Result<Self> {
        let log = log_of(name);
        config["Log"] = json!(log);
        let mut process = Command::new(tool("nri-plugin")?)
            .args(["-idx", index, "-name", name, "-config"])
            .arg(config.to_string())
            .args(args)
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = process.stdin.take().context("a plugin without stdin")?;
        Ok(Self {
            _process: process,
            stdin,
            log,
        })
    }

    /// Everything noted, as `event pod container state`.
    pub(crate) fn record(&self) -> Vec<String> {
        read(&self.log)
    }

    /// Waits until an event was noted that many times.
    pub(crate) async fn wait_for(&self, event: &str, times: usize) -> Result {
        let what = format!("{times} × {event} in {}", self.log.display());
        until(&what, SOON, async || {
            let seen = self.record();
            let seen = seen
                .iter()
                .filter(|line| line.split(' ').next() == Some(event));
            Ok((seen.count() >= times).then_some(()))
        })
        .await
    }

    /// Has it ask for an update by itself, and returns what it is told.
    pub(crate) async fn ask(&mut self, update: Value) -> Result<String> {
        let times = self.answers().len() + 1;
        let line = format!("{update}\n");
        self.stdin.write_all(line.as_bytes()).await?;
        self.wait_for("UpdateContainers", times).await?;
        self.answers().pop().context("no answer")
    }

    fn answers(&self) -> Vec<String> {
        let mut lines = self.record();
        lines.retain(|line| line.starts_with("UpdateContainers"));
        lines
    }
}

/// The lines of a plugin's log.
pub(crate) fn read(log: &std::path::Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines()
        .map(|line| {
            let line: BTreeMap<String, Value> = serde_json::from_str(line).unwrap_or_default();
            let keys = [
                "event",
                "pod",
                "container",
                "state",
                "detail",
                "pods",
                "containers",
            ];
            let parts: Vec<String> = keys
                .into_iter()
                .filter_map(|key| line.get(key))
                .map(|part| match part {
                    Value::String(text) => text.clone(),
                    list => list.to_string(),
                })
                .collect();
            parts.join(" ")
        })
        .collect()
}
