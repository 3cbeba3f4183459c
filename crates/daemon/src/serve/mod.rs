//! `pinpod serve`: configuration → parts → socket → serve → drain.

mod apparmor;
mod build;
mod connection;
mod lock;
mod notify;
mod plugins;
mod socket;
mod stats;
mod streaming;
mod user_namespaces;

use std::time::Duration;

use anyhow::Context as _;
use pinpod_config::{Config, ConfigError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) use build::open_images;
use connection::Incoming;

/// How long requests under way are given when the daemon ends. What they make goes on at the next
/// start: creation is a job with a record.
const DRAIN: Duration = Duration::from_secs(8);

/// Serves until SIGTERM or SIGINT. At SIGHUP the configuration is read again with `load`; one that
/// is wrong changes nothing.
///
/// # Errors
/// If the daemon cannot start.
pub(crate) async fn run(
    config: &Config,
    load: impl Fn() -> Result<Config, ConfigError>,
) -> anyhow::Result<()> {
    match pinpod_command::raise_open_files() {
        Ok(limit) => tracing::debug!(?limit, "open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
    }
    let mut end = EndSignal::new()?;
    let mut changed = signal(SignalKind::hangup()).context("SIGHUP")?;
    let server = tokio::select! {
        server = Server::start(config) => server?,
        () = end.wait() => return Ok(()),
    };
    notify::notify(notify::READY);
    tracing::info!(
        socket = %config.api.listen.display(),
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
    loop {
        tokio::select! {
            () = end.wait() => break,
            _ = changed.recv() => match load() {
                Ok(config) => server.follow(config),
                Err(error) => {
                    let error = crate::chain(&error);
                    tracing::error!(error, "the configuration is wrong and changes nothing");
                }
            },
        }
    }
    notify::notify(notify::STOPPING);
    tracing::info!("ending; containers run on");
    server.stop().await
}

/// SIGTERM or SIGINT.
#[derive(Debug)]
pub(crate) struct EndSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignal {
    /// From now on these signals are noted instead of ending the process.
    ///
    /// # Errors
    /// If the runtime has no signal driver.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("SIGINT")?,
        })
    }

    /// Returns when one arrives.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A serving daemon.
#[derive(Debug)]
pub(crate) struct Server {
    end: oneshot::Sender<()>,
    streaming: pinpod_streaming::Server,
    images: pinpod_image::Images,
    events: pinpod_pod::Events,
    nri: Option<pinpod_nri::Running>,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
    _socket: socket::Socket,
    _lock: lock::Lock,
}

impl Server {
    /// Locks the directories, binds the socket, takes up what a former daemon left, and serves.
    ///
    /// # Errors
    /// If the directories or the socket are another's, or a part cannot be built.
    pub(crate) async fn start(config: &Config) -> anyhow::Result<Self> {
        // The image store takes the lock of `root` itself.
        let lock = lock::take(&config.runroot)?;
        let (socket, listener) = socket::bind(&config.api.listen)?;
        let build::Services {
            router,
            streaming,
            images,
            events,
            nri,
        } = build::services(config).await?;
        let (end, ended) = oneshot::channel::<()>();
        let serving = router.serve_with_incoming_shutdown(Incoming::new(listener), async move {
            // A dropped sender means the same as a message: nobody wants the server any more.
            ended.await.unwrap_or(());
        });
        Ok(Self {
            end,
            streaming,
            images,
            events,
            nri,
            task: tokio::spawn(serving),
            _socket: socket,
            _lock: lock,
        })
    }

    /// Takes over what may change while the daemon runs: `pinned_images`.
    fn follow(&self, config: Config) {
        self.images.set_pinned(config.image.pinned_images);
        tracing::info!("configuration read again; what else has changed in it needs a restart");
    }

    /// Takes no new requests, and gives those under way a while.
    ///
    /// # Errors
    /// If serving had failed.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        drop(self.end);
        // Who follows them would do so for ever.
        self.events.end();
        let abort = self.task.abort_handle();
        let serving = tokio::time::timeout(DRAIN, self.task);
        let ((), served) = tokio::join!(self.streaming.stop(), serving);
        let served = match served {
            Ok(served) => served.context("the serving task").map(Some)?,
            Err(_) => {
                tracing::warn!(seconds = DRAIN.as_secs(), "requests under way are cut off");
                abort.abort();
                None
            }
        };
        if let Some(nri) = self.nri {
            nri.stop().await;
        }
        Ok(served.transpose().map(drop)?)
    }
}
