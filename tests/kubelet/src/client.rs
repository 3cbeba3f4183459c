//! `kubelet-client`: exec, attach and port-forward with the client that kubectl is made of.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use pinpod_testkit::{Result, tool};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::Kubelet;

/// The protocols that it speaks.
pub const PROTOCOLS: [&str; 2] = ["spdy", "websocket"];

const DEADLINE: Duration = Duration::from_secs(30);

/// A client that runs.
#[derive(Debug)]
pub struct Client {
    process: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

/// What a client came back with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The remote command's exit code; 125 when the client itself failed.
    pub code: i32,
    /// What came on stdout.
    pub stdout: String,
    /// What came on stderr, and the client's own complaint.
    pub stderr: String,
}

fn command(protocol: &str, args: &[&str]) -> Result<Command> {
    #[allow(
        clippy::disallowed_methods,
        reason = "it is talked to while it runs, as a user does"
    )]
    let mut command = Command::new(tool("kubelet-client")?);
    command
        .args(["--protocol", protocol])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    Ok(command)
}

impl Kubelet {
    /// Runs a client to its end: `args` are its flags and verb, `path` with its query is the API's.
    ///
    /// # Errors
    /// When it takes more than 30 seconds.
    pub async fn stream(
        &self,
        protocol: &str,
        args: &[&str],
        path: &str,
        input: Option<Vec<u8>>,
    ) -> Result<Finished> {
        let url = Self::url(path);
        let mut all = args.to_vec();
        all.extend(["stream", &url]);
        let mut command = command(protocol, &all)?;
        let mut process = command.stderr(Stdio::piped()).spawn()?;
        let mut stdin = process.stdin.take().context("its stdin")?;
        let feed = tokio::spawn(async move {
            if let Some(input) = input {
                stdin.write_all(&input).await?;
            }
            stdin.shutdown().await
        });
        let output = tokio::time::timeout(DEADLINE, process.wait_with_output())
            .await
            .with_context(|| format!("{protocol} {args:?} {path}: not within {DEADLINE:?}"))??;
        feed.await??;
        Ok(Finished {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Starts a client that goes on; it ends when this is dropped.
    ///
    /// # Errors
    /// When it was not built.
    pub fn client(&self, protocol: &str, args: &[&str]) -> Result<Client> {
        let mut process = command(protocol, args)?.spawn()?;
        let stdout = process.stdout.take().context("its stdout")?;
        Ok(Client {
            stdin: process.stdin.take(),
            lines: BufReader::new(stdout).lines(),
            process,
        })
    }
}

impl Client {
    /// Sends a line.
    ///
    /// # Errors
    /// When the client has ended.
    pub async fn send(&mut self, line: &str) -> Result {
        let stdin = self.stdin.as_mut().context("its stdin is closed")?;
        stdin.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(())
    }

    /// The next line, within 30 seconds.
    ///
    /// # Errors
    /// When none comes.
    pub async fn line(&mut self) -> Result<String> {
        let line = tokio::time::timeout(DEADLINE, self.lines.next_line()).await;
        let line = line.context("the client says nothing")??;
        line.context("the client has ended")
    }

    /// Kills it, as a user does who presses ctrl-C twice.
    ///
    /// # Errors
    /// When it has ended by itself.
    pub async fn kill(mut self) -> Result {
        ensure!(self.process.try_wait()?.is_none(), "the client has ended");
        self.process.kill().await?;
        Ok(())
    }
}
