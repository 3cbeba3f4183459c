//! `pinpod`: a container runtime for Kubernetes nodes. The daemon and its command line.
//!
//! - `cli` is the command line, `log` the log.
//! - `serve` builds every part from the configuration and serves CRI.
//! - `check` says what the node has and lacks.
//! - `run` is a CRI client for one Pod manifest (`manifest`), with a daemon of its own if none runs.
//! - `image` and `admin` bring images in without a registry.

mod admin;
mod check;
mod cli;
mod client;
mod image;
mod log;
mod manifest;
mod run;
mod serve;
mod version;

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use cli::{Cli, Command};
use pinpod_config::Config;

/// Threads that run tasks. What blocks has threads of its own, and the rest waits for the kernel,
/// for programs and for registries.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("cannot start threads");
    match runtime.and_then(|runtime| runtime.block_on(dispatch(cli))) {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("pinpod: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Command::Config { default: true } = cli.command {
        say(Config::default_toml_commented()?.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let config = cli.options.load()?;
    match cli.command {
        Command::Serve => {
            log::start(
                config.runtime.log_level,
                config.runtime.log_format,
                std::io::stderr,
            );
            serve::run(&config, || cli.options.load()).await?;
        }
        Command::Config { .. } => say(config.to_toml()?.trim_end()),
        Command::Check { json } => return check::run(&config, json).await,
        Command::Run(args) => return run::run(config, &args).await,
        Command::Image { command } => image::run(&config, command).await?,
        Command::Version => version::run(&config).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// An error and its sources in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// A reader that has seen enough and went away is no error.
fn say(text: &str) {
    writeln!(std::io::stdout(), "{text}").unwrap_or_default();
}

fn complain(text: &str) {
    writeln!(std::io::stderr(), "{text}").unwrap_or_default();
}
