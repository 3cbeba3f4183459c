//! Exec and attach over SPDY: the client opens a stream for each of the standard streams it wants,
//! one for the error, and for a terminal one for its size.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::remote_command::{self, Stdio};
use crate::request::{RemoteCommand, Wanted};
use crate::server::Shared;
use crate::spdy::OpenStream;
use crate::status::StatusForm;

/// Version of the remote command protocol that was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// `channel.k8s.io`.
    V1,
    /// `v2.channel.k8s.io`: stdin is closed by itself.
    V2,
    /// `v3.channel.k8s.io`: sizes of a terminal.
    V3,
    /// `v4.channel.k8s.io`: the exit code.
    V4,
}

impl Version {
    /// All, the one that is liked best first.
    pub(crate) const ALL: [(&'static str, Self); 4] = [
        ("v4.channel.k8s.io", Self::V4),
        ("v3.channel.k8s.io", Self::V3),
        ("v2.channel.k8s.io", Self::V2),
        ("channel.k8s.io", Self::V1),
    ];

    fn status_form(self) -> StatusForm {
        if self >= Self::V4 {
            StatusForm::Json
        } else {
            StatusForm::Text
        }
    }
}

/// Serves one client of exec or attach.
pub(crate) async fn run(
    shared: &Shared,
    what: &RemoteCommand,
    version: Version,
    setup: Duration,
    mut opened: mpsc::Receiver<OpenStream>,
) {
    let expected = Expected::new(what.wanted, version);
    let stdio = match tokio::time::timeout(setup, expected.collect(&mut opened)).await {
        Ok(Some(stdio)) => stdio,
        Ok(None) => return,
        Err(_) => {
            tracing::warn!(container = %what.container, "a client did not open its streams");
            return;
        }
    };
    tokio::select! {
        () = remote_command::run(shared, what, version.status_form(), stdio) => {}
        () = refuse_more(opened) => {}
    }
}

/// There is no use for further streams. Never returns.
async fn refuse_more(mut opened: mpsc::Receiver<OpenStream>) {
    while let Some(stream) = opened.recv().await {
        refuse(stream).await;
    }
    std::future::pending().await
}

async fn refuse(stream: OpenStream) {
    tracing::debug!(stream = stream.id, "a stream that nobody expects");
    // When the client is gone, the connection's end is on its way.
    stream.outgoing.reset().await.unwrap_or_default();
}

/// The streams that are waited for.
#[derive(Debug)]
struct Expected {
    wanted: Wanted,
    resize: bool,
}

impl Expected {
    fn new(wanted: Wanted, version: Version) -> Self {
        let resize = wanted.tty && version >= Version::V3;
        Self { wanted, resize }
    }

    /// `None` when the client is gone first.
    async fn collect(self, opened: &mut mpsc::Receiver<OpenStream>) -> Option<Stdio> {
        let (mut stdin, mut resize) = (None, None);
        let (mut stdout, mut stderr, mut error) = (None, None, None);
        while (self.wanted.stdin && stdin.is_none())
            || (self.wanted.stdout && stdout.is_none())
            || (self.wanted.stderr && stderr.is_none())
            || (self.resize && resize.is_none())
            || error.is_none()
        {
            let stream = opened.recv().await?;
            match stream.header("streamtype") {
                // The sides that are not used are dropped: nothing is expected on them. A stdin
                // that its client does not end by itself is ended with the connection.
                Some("stdin") if self.wanted.stdin && stdin.is_none() => stdin = Some(stream),
                Some("resize") if self.resize && resize.is_none() => resize = Some(stream),
                Some("stdout") if self.wanted.stdout && stdout.is_none() => {
                    stdout = Some(stream.outgoing);
                }
                Some("stderr") if self.wanted.stderr && stderr.is_none() => {
                    stderr = Some(stream.outgoing);
                }
                Some("error") if error.is_none() => error = Some(stream.outgoing),
                _ => refuse(stream).await,
            }
        }
        Some(Stdio {
            stdin: stdin.map(|stream| stream.incoming),
            resize: resize.map(|stream| stream.incoming),
            stdout,
            stderr,
            error: error?,
        })
    }
}
