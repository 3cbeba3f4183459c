//! Exec and attach: the stdio that the pod's monitor gives, on the client's streams.

use bytes::Bytes;
use pinpod_monitor_api::{Stream, StreamFrame, StreamReader, StreamWriter};
use pinpod_pod::{Engine, ExecStreamRequest};

use crate::chain;
use crate::channel::{ClientGone, Incoming, Outgoing};
use crate::request::{Action, RemoteCommand};
use crate::resize::Sizes;
use crate::server::Shared;
use crate::status::{Outcome, StatusForm};

/// What clients hear when the daemon ends.
const ENDING: &str = "pinpod ends; what was started runs on";

/// The client's streams.
#[derive(Debug)]
pub(crate) struct Stdio {
    pub(crate) stdin: Option<Incoming>,
    pub(crate) resize: Option<Incoming>,
    pub(crate) stdout: Option<Outgoing>,
    pub(crate) stderr: Option<Outgoing>,
    pub(crate) error: Outgoing,
}

/// Does it to the end and tells the client how it ended. Dropping the future ends the client's
/// part in it: stdin is closed, a terminal is hung up, the process is not killed.
pub(crate) async fn run(shared: &Shared, what: &RemoteCommand, form: StatusForm, stdio: Stdio) {
    let Stdio {
        stdin,
        resize,
        stdout,
        stderr,
        error,
    } = stdio;
    let outcome = match open(&shared.engine, what).await {
        Ok(stream) => {
            let (reader, writer) = stream.into_split();
            tokio::select! {
                outcome = output(reader, stdout.as_ref(), stderr.as_ref(), &what.action) => outcome,
                outcome = input(writer, stdin, resize) => outcome,
                // Without a status, SPDY's clients would take the end for a success.
                () = shared.ending.cancelled() => Ok(Outcome::Failed(ENDING.to_owned())),
            }
        }
        Err(text) => Ok(Outcome::Failed(text)),
    };
    let told = async {
        let outcome = outcome?;
        tracing::debug!(container = %what.container, action = what.word(), ?outcome, "done");
        for stream in [stdout, stderr].into_iter().flatten() {
            stream.end().await?;
        }
        error.send(outcome.encode(form)).await?;
        error.end().await
    };
    if let Err(ClientGone) = told.await {
        tracing::debug!(container = %what.container, "the client did not wait for the end");
    }
}

impl RemoteCommand {
    fn word(&self) -> &'static str {
        match self.action {
            Action::Exec(_) => "exec",
            Action::Attach => "attach",
        }
    }
}

async fn open(engine: &Engine, what: &RemoteCommand) -> Result<Stream, String> {
    let id = what.container.as_str();
    let wanted = what.wanted;
    let opened = match &what.action {
        Action::Exec(command) => {
            let request = ExecStreamRequest {
                command: command.clone(),
                tty: wanted.tty,
                stdin: wanted.stdin,
            };
            engine.exec_stream(id, request).await
        }
        Action::Attach => {
            engine
                .attach(id, wanted.stdin, wanted.stdout, wanted.stderr)
                .await
        }
    };
    opened.map_err(|error| {
        let text = chain(&*error);
        tracing::warn!(container = %id, action = what.word(), "{text}");
        text
    })
}

/// Passes output on until the process ends.
async fn output(
    mut reader: StreamReader,
    stdout: Option<&Outgoing>,
    stderr: Option<&Outgoing>,
    action: &Action,
) -> Result<Outcome, ClientGone> {
    loop {
        let (to, bytes) = match reader.next().await {
            Ok(Some(StreamFrame::Stdout(bytes))) => (stdout, bytes),
            Ok(Some(StreamFrame::Stderr(bytes))) => (stderr, bytes),
            Ok(Some(StreamFrame::Exit { code })) => {
                return Ok(match action {
                    Action::Exec(_) if code != 0 => Outcome::ExitCode(code),
                    // How the container ended is told by its status.
                    Action::Exec(_) | Action::Attach => Outcome::Success,
                });
            }
            Ok(Some(
                StreamFrame::Stdin(_) | StreamFrame::StdinClosed | StreamFrame::Resize { .. },
            )) => continue,
            Ok(None) => {
                let text = "the pod's monitor cut the stream off before the process ended";
                return Ok(Outcome::Failed(text.to_owned()));
            }
            Err(error) => return Ok(Outcome::Failed(chain(&error))),
        };
        if let Some(to) = to {
            to.send(Bytes::from(bytes)).await?;
        }
    }
}

/// Passes input on as long as there is any, and then keeps the stream open for ever: its end would
/// tell the monitor that the client is gone.
async fn input(
    mut writer: StreamWriter,
    mut stdin: Option<Incoming>,
    mut resize: Option<Incoming>,
) -> Result<Outcome, ClientGone> {
    let mut sizes = Sizes::default();
    loop {
        let frame = tokio::select! {
            bytes = next(&mut stdin) => match bytes {
                Some(bytes) => StreamFrame::Stdin(bytes.into()),
                None => {
                    stdin = None;
                    StreamFrame::StdinClosed
                }
            },
            bytes = next(&mut resize) => match bytes {
                Some(bytes) => match sizes.push(&bytes) {
                    Some(size) => StreamFrame::Resize { width: size.width, height: size.height },
                    None => continue,
                },
                None => {
                    resize = None;
                    continue;
                }
            },
        };
        if let Err(error) = writer.send(&frame).await {
            // The reader learns how the process ended, if it did.
            tracing::debug!(error = chain(&error), "input that nobody takes");
            std::future::pending::<()>().await;
        }
    }
}

/// Never returns for a stream that is not there.
async fn next(stream: &mut Option<Incoming>) -> Option<Bytes> {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}
