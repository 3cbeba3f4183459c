//! Times CRI calls and counts processes and memory, for pinpod and for any other CRI runtime.
//! `bench/run` runs it on each daemon; it prints one line a result: name, unit, value, with tabs.

mod client;
mod containers;
mod many;
mod measure;
mod process;
mod pull;
mod report;
mod request;
mod sandboxes;
mod stats;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

/// What is measured, and on whom.
#[derive(Debug, Parser)]
#[command(about)]
pub(crate) struct Options {
    /// The CRI socket
    #[arg(long)]
    endpoint: PathBuf,
    /// Name of the daemon's process, for its memory
    #[arg(long)]
    daemon: String,
    /// How many pods are up at once
    #[arg(long, default_value_t = 100)]
    pods: usize,
    /// How many times a single call is timed
    #[arg(long, default_value_t = 20)]
    turns: usize,
    /// Calls under way at once where many pods are made
    #[arg(long, default_value_t = 10)]
    in_flight: usize,
    /// Image that is there, with busybox' /bin/sh
    #[arg(long)]
    image: String,
    /// Image of a registry, for the pull
    #[arg(long)]
    pull: Option<String>,
    /// Parent cgroup of all pods
    #[arg(long, default_value = "/pinpod-bench")]
    cgroup_parent: String,
    /// Directory of the containers' logs
    #[arg(long, default_value = "/run/bench-logs")]
    logs: PathBuf,
    /// Only these parts; may be given several times
    #[arg(long)]
    only: Vec<Part>,
}

/// A part of the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Pods without containers
    Sandboxes,
    /// A hundred pods with a container each
    Many,
    /// The calls of a container
    Containers,
    /// What holds a pod's containers
    Monitors,
    /// Statistics of thirty containers
    Stats,
    /// An image pull
    Pull,
}

impl Options {
    fn asks(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match measure(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "a command-line tool complains there")]
fn complain(error: &anyhow::Error) {
    eprintln!("{error:#}");
}

async fn measure(options: &Options) -> anyhow::Result<()> {
    let cri = client::Cri::connect(&options.endpoint).await?;
    if options.asks(Part::Sandboxes) {
        sandboxes::measure(&cri, options).await?;
    }
    if options.asks(Part::Many) {
        many::measure(&cri, options).await?;
    }
    if options.asks(Part::Containers) {
        containers::calls(&cri, options).await?;
        containers::lives(&cri, options).await?;
    }
    if options.asks(Part::Monitors) {
        containers::monitors(&cri, options).await?;
    }
    if options.asks(Part::Stats) {
        stats::measure(&cri, options).await?;
    }
    if let Some(image) = &options.pull
        && options.asks(Part::Pull)
    {
        pull::measure(&cri, image).await?;
    }
    Ok(())
}
