//! One row for each attack: what it got, and what it cost the daemon.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use pinpod_cri_api::runtime::v1::{ContainerConfig, PodSandboxConfig, VersionRequest};
use pinpod_testkit::{Node, Result, Usage, busybox, container, until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinHandle;

/// How often is looked while an attack lasts.
const LOOK: Duration = Duration::from_millis(50);
/// How long an attack's descriptors may stay after it: longer than every patience of the daemon.
const AFTERMATH: Duration = Duration::from_secs(60);

/// A pod with a container that sleeps.
pub(crate) struct Target {
    pub(crate) pod: String,
    pub(crate) config: PodSandboxConfig,
    pub(crate) container: String,
    pub(crate) template: ContainerConfig,
}

#[allow(clippy::print_stdout, reason = "the figures of a test")]
fn row(text: &str) {
    println!("{text}");
}

impl Target {
    /// Makes it, and lets this process open many sockets.
    pub(crate) async fn start(node: &mut Node, name: &str) -> Result<Self> {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let current = maximum;
        setrlimit(Resource::Nofile, Rlimit { current, maximum })?;
        let image = node.import(busybox().await?).await?;
        let config = node.pod(name);
        let pod = node.run_pod(&config).await?;
        let template = container("main", &image, &["sleep", "1000"]);
        let id = node.launch(&pod, &config, template.clone()).await?;
        node.output(&id, &["true"]).await?;
        row(
            "| attack | answer | RSS KiB: before, most, after | descriptors: before, most, after | slowest Version |",
        );
        row("|---|---|---|---|---|");
        Ok(Self {
            pod,
            config,
            container: id,
            template,
        })
    }
}

/// Watches the daemon while an attack lasts.
pub(crate) struct Watch {
    before: Usage,
    over: Arc<AtomicBool>,
    looking: JoinHandle<Result<(u64, u64, Duration)>>,
}

impl Watch {
    pub(crate) fn begin(node: &Node) -> Result<Self> {
        let pid = node.daemon_pid()?;
        let before = Usage::of(pid)?;
        let over = Arc::new(AtomicBool::new(false));
        let (mut client, is_over) = (node.runtime(), over.clone());
        let looking = tokio::spawn(async move {
            let (mut rss, mut descriptors, mut slowest) = (0, 0, Duration::ZERO);
            while !is_over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let answer = client.version(VersionRequest::default()).await;
                answer.context("the good client")?;
                slowest = slowest.max(begun.elapsed());
                let now = Usage::of(pid)?;
                (rss, descriptors) = (now.rss.max(rss), now.descriptors.max(descriptors));
                tokio::time::sleep(LOOK).await;
            }
            Ok((rss, descriptors, slowest))
        });
        Ok(Self {
            before,
            over,
            looking,
        })
    }

    /// Prints the row. Fails when a good client was not served, descriptors stay, or memory grew by
    /// more than `most` KiB.
    pub(crate) async fn end(self, node: &Node, attack: &str, answer: &str, most: u64) -> Result {
        self.over.store(true, Ordering::Relaxed);
        let (rss, descriptors, slowest) = self.looking.await??;
        let before = self.before;
        let mut after = before;
        let waited = until("descriptors", AFTERMATH, async || {
            after = Usage::of(node.daemon_pid()?)?;
            Ok((after.descriptors <= before.descriptors + 1).then_some(()))
        });
        let waited = waited.await;
        row(&format!(
            "| {attack} | {answer} | {}, {rss}, {} | {}, {descriptors}, {} | {} ms |",
            before.rss,
            after.rss,
            before.descriptors,
            after.descriptors,
            slowest.as_millis(),
        ));
        waited.with_context(|| format!("{attack}: {before}; then {after}"))?;
        let grown = rss.saturating_sub(before.rss);
        ensure!(grown <= most, "{attack}: the daemon grew by {grown} KiB");
        Ok(())
    }
}
