//! The daemon's log: one line an event on stderr, where systemd or a terminal takes it.

use pinpod_config::{LogFormat, LogLevel};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Starts logging, and makes a panic a line of the log too. A second call changes nothing.
pub(crate) fn start<W>(level: LogLevel, format: LogFormat, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // Libraries tell of their own inner life from "info" down; that is nobody's concern here.
    let filter = EnvFilter::new(format!("warn,pinpod={}", name(level)));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    let started = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    if started.is_ok() {
        std::panic::set_hook(Box::new(
            |panic| tracing::error!(%panic, "a task ended by a bug"),
        ));
    }
}

fn name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}
