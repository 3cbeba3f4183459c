//! Exec and attach over WebSocket: channel 0 is stdin, 1 stdout, 2 stderr, 3 the error, 4 the size
//! of the terminal.

use tokio::io::{AsyncRead, AsyncWrite};

use crate::remote_command::{self, Stdio};
use crate::request::RemoteCommand;
use crate::server::Shared;
use crate::status::StatusForm;
use crate::websocket::channel_frame::Encoding;
use crate::websocket::{self, Channels, SessionError};

/// A subprotocol of exec and attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Protocol {
    encoding: Encoding,
    status: StatusForm,
}

const BINARY: Encoding = Encoding::Binary { half_close: false };

impl Protocol {
    /// All, the one that is liked best first.
    pub(crate) const ALL: [(&'static str, Self); 5] = [
        (
            "v5.channel.k8s.io",
            Self::new(Encoding::Binary { half_close: true }, StatusForm::Json),
        ),
        ("v4.channel.k8s.io", Self::new(BINARY, StatusForm::Json)),
        (
            "v4.base64.channel.k8s.io",
            Self::new(Encoding::Base64, StatusForm::Json),
        ),
        ("channel.k8s.io", Self::new(BINARY, StatusForm::Text)),
        (
            "base64.channel.k8s.io",
            Self::new(Encoding::Base64, StatusForm::Text),
        ),
    ];
    /// For a client that names none.
    pub(crate) const UNNAMED: Self = Self::new(BINARY, StatusForm::Text);

    const fn new(encoding: Encoding, status: StatusForm) -> Self {
        Self { encoding, status }
    }
}

/// Serves one client of exec or attach.
pub(crate) async fn run<IO>(
    shared: &Shared,
    what: &RemoteCommand,
    protocol: Protocol,
    io: IO,
) -> Result<(), SessionError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    let wanted = what.wanted;
    let mut channels = Channels::default();
    let stdio = Stdio {
        stdin: wanted.stdin.then(|| channels.input(0)),
        resize: wanted.tty.then(|| channels.input(4)),
        stdout: wanted.stdout.then(|| channels.output(1)),
        stderr: wanted.stderr.then(|| channels.output(2)),
        error: channels.output(3),
    };
    let app = async {
        let first = stdio.stdout.as_ref().or(stdio.stderr.as_ref());
        if first.unwrap_or(&stdio.error).announce().await.is_ok() {
            remote_command::run(shared, what, protocol.status, stdio).await;
        }
    };
    websocket::serve(io, protocol.encoding, channels, app).await
}
