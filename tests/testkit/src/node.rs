//! A node: the real daemon, started as on a machine, with its clients.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use hyper_util::rt::TokioIo;
use pinpod_cri_api::runtime::v1::image_service_client::ImageServiceClient;
use pinpod_cri_api::runtime::v1::runtime_service_client::RuntimeServiceClient;
use pinpod_cri_api::runtime::v1::{ImageSpec, PullImageRequest, VersionRequest};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint};

use crate::isolate::{cgroup_parent, hierarchies, runtime};
use crate::{Image, Result, Snapshot, binaries, isolated, program, tree, until};

const SOCKET: &str = "/run/pinpod/pinpod.sock";
const LOG: &str = "/run/testkit/pinpod.log";
const CONFLIST: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../crates/network/conf/10-pinpod-bridge.conflist"
));

/// How a node is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether there is a CNI network, the bundled bridge.
    pub network: bool,
    /// Lines of TOML after the node's own configuration.
    pub config: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            network: true,
            config: String::new(),
        }
    }
}

/// A running daemon. Its programs and data are gone with the test's namespaces.
#[derive(Debug)]
pub struct Node {
    daemon: Option<Child>,
    channel: Channel,
    cgroup_parent: String,
    baseline: Snapshot,
}

/// Runs a test on a node of its own; [`isolated`] says what `name` is. After the body succeeded,
/// nothing that it made may be left and the daemon must end when asked to.
///
/// # Errors
/// The body's error or each thing left, with the end of the daemon's log.
pub fn on_node<F>(name: &str, options: Options, body: F) -> Result
where
    F: AsyncFnOnce(&mut Node) -> Result,
{
    isolated(name, async move || {
        let outcome = async {
            let mut node = Node::start(&options).await?;
            body(&mut node).await?;
            node.finish().await
        };
        outcome
            .await
            .map_err(|error| anyhow!("{error:?}\n\nThe daemon's log ends with:\n{}", log_end()))
    })
}

/// The last lines of the daemon's log.
fn log_end() -> String {
    let log = std::fs::read(LOG).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let skip = log.lines().count().saturating_sub(80);
    log.lines().skip(skip).collect::<Vec<_>>().join("\n")
}

impl Node {
    /// Where the daemon listens, as its clients write it.
    pub const ENDPOINT: &str = "unix:///run/pinpod/pinpod.sock";

    /// Writes the configuration and starts the daemon, within [`isolated`].
    ///
    /// # Errors
    /// When a program is missing or the daemon does not answer within ten seconds.
    pub async fn start(options: &Options) -> Result<Self> {
        let runtime = runtime();
        binaries::check(Path::new(tree::PROGRAMS))?;
        let path = program::run("/bin/sh", &["-c", &format!("command -v {runtime}")]).await;
        let path = path.with_context(|| format!("this test needs the program {runtime}"))?;
        let mut config = format!(
            "[pinpod.runtime]\nlog_level = \"debug\"\ncgroup_manager = \"cgroupfs\"\n\
             default_runtime = \"{runtime}\"\n\
             [pinpod.runtime.runtimes.{runtime}]\nruntime_path = \"{}\"\n",
            path.trim()
        );
        writeln!(config, "{}", options.config)?;
        std::fs::write("/etc/pinpod/pinpod.conf", config)?;
        std::fs::write(
            "/etc/containers/registries.conf",
            "[[registry]]\nlocation = \"localhost:5000\"\ninsecure = true\n",
        )?;
        if options.network {
            write_network(CONFLIST)?;
        }
        let cgroup_parent = cgroup_parent()?;
        make_cgroups(&cgroup_parent)?;
        let mut node = Self {
            daemon: None,
            channel: connect()?,
            baseline: Snapshot::take(&cgroup_parent).await?,
            cgroup_parent,
        };
        node.start_daemon().await?;
        node.settle().await?;
        Ok(node)
    }

    /// Client of the runtime service.
    #[must_use]
    pub fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone())
    }

    /// Client of the runtime service on a connection of its own, on which the daemon may be at most
    /// `window` bytes ahead of its reader.
    ///
    /// # Errors
    /// Never, in practice: the address is a constant.
    pub fn runtime_apart(&self, window: u32) -> Result<RuntimeServiceClient<Channel>> {
        let endpoint = Endpoint::try_from("http://pinpod")?
            .initial_stream_window_size(window)
            .initial_connection_window_size(window);
        Ok(RuntimeServiceClient::new(connect_to(&endpoint)))
    }

    /// Client of the image service.
    #[must_use]
    pub fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone())
    }

    /// Runs `crictl` with these arguments; returns what it prints.
    ///
    /// # Errors
    /// When it was not built or fails.
    pub async fn crictl(&self, args: &[&str]) -> Result<String> {
        let mut all = vec!["--runtime-endpoint", Self::ENDPOINT];
        all.extend(["--image-endpoint", Self::ENDPOINT]);
        all.extend(args);
        let crictl = binaries::tool("crictl")?;
        let printed = program::run(&crictl.display().to_string(), &all).await?;
        Ok(printed.trim().to_owned())
    }

    /// Process id of the daemon.
    ///
    /// # Errors
    /// When it does not run.
    pub fn daemon_pid(&self) -> Result<u32> {
        let daemon = self.daemon.as_ref().context("the daemon does not run")?;
        daemon.id().context("the daemon has ended")
    }

    /// Cgroup that pods of this node belong below.
    #[must_use]
    pub fn cgroup_parent(&self) -> &str {
        &self.cgroup_parent
    }

    /// Gives the daemon an image of a layout, and takes what is there from then on as the state
    /// that the test must come back to.
    ///
    /// # Errors
    /// What `pinpod image import` says.
    pub async fn import(&mut self, image: Image) -> Result<Image> {
        let pinpod = format!("{}/pinpod", tree::PROGRAMS);
        let layout = image.layout.display().to_string();
        let args = ["image", "import", &layout, "--tag", &image.reference];
        program::run(&pinpod, &args).await?;
        self.settle().await?;
        Ok(image)
    }

    /// Has the daemon pull an image from the registry, as [`Node::import`] otherwise.
    ///
    /// # Errors
    /// The call's error.
    pub async fn pull(&mut self, image: Image) -> Result<Image> {
        let request = PullImageRequest {
            image: Some(ImageSpec {
                image: image.reference.clone(),
                ..Default::default()
            }),
            ..Default::default()
        };
        self.images()
            .pull_image(request)
            .await
            .context("PullImage")?;
        self.settle().await?;
        Ok(image)
    }

    /// Takes what is there now as the state that the test must come back to.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub async fn settle(&mut self) -> Result {
        self.baseline = Snapshot::take(&self.cgroup_parent).await?;
        Ok(())
    }

    /// Fails when something is there that was not at the start, naming each thing. The kernel takes
    /// some things away a moment later, so they get five seconds.
    ///
    /// # Errors
    /// What is left.
    pub async fn assert_clean(&self) -> Result {
        let mut left = Vec::new();
        let clean = until("a clean node", Duration::from_secs(5), async || {
            left = Snapshot::take(&self.cgroup_parent)
                .await?
                .beyond(&self.baseline);
            Ok(left.is_empty().then_some(()))
        });
        if clean.await.is_err() {
            bail!("left behind:\n  {}", left.join("\n  "));
        }
        Ok(())
    }

    /// Kills the daemon as the kernel would for want of memory; [`Node::restart`] brings it back.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill9(&mut self) -> Result {
        let mut daemon = self.daemon.take().context("the daemon does not run")?;
        daemon.kill().await?;
        Ok(())
    }

    /// Asks the daemon to end; it must, within ten seconds and with exit code 0.
    ///
    /// # Errors
    /// When it does not run or does not end well.
    pub async fn stop_daemon(&mut self) -> Result {
        let mut daemon = self.daemon.take().context("the daemon does not run")?;
        let pid = daemon
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        kill_process(pid.context("the daemon is gone")?, Signal::TERM)?;
        let status = tokio::time::timeout(Duration::from_secs(10), daemon.wait())
            .await
            .context("the daemon did not end within 10 s of SIGTERM")??;
        ensure!(status.success(), "the daemon ended with {status}");
        Ok(())
    }

    /// Has the daemon read its configuration again (SIGHUP).
    ///
    /// # Errors
    /// When it does not run.
    pub fn reload(&self) -> Result {
        let daemon = self.daemon.as_ref().and_then(Child::id);
        let pid = daemon.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        kill_process(pid.context("the daemon does not run")?, Signal::HUP)?;
        Ok(())
    }

    /// What the daemons of this node have logged.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn log() -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(LOG)?).into_owned())
    }

    /// Starts the daemon again; one that runs is asked to end first.
    ///
    /// # Errors
    /// When it does not end or does not answer.
    pub async fn restart(&mut self) -> Result {
        if self.daemon.is_some() {
            self.stop_daemon().await?;
        }
        self.start_daemon().await
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "the daemon runs beside the test, as a service does"
    )]
    async fn start_daemon(&mut self) -> Result {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(LOG)?;
        let mut daemon = Command::new(format!("{}/pinpod", tree::PROGRAMS))
            .args(["serve", "--listen", SOCKET])
            .args(["--root", "/var/lib/pinpod", "--runroot", "/run/pinpod"])
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.channel = connect()?;
        let mut client = self.runtime();
        until("the daemon's answer", Duration::from_secs(10), async || {
            if let Some(status) = daemon.try_wait()? {
                bail!("the daemon ended with {status}");
            }
            Ok(client.version(VersionRequest::default()).await.ok())
        })
        .await?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// The end of every test: nothing is left, and the daemon ends when asked to.
    async fn finish(mut self) -> Result {
        self.assert_clean().await?;
        if self.daemon.is_some() {
            self.stop_daemon().await?;
        }
        self.assert_clean().await
    }
}

/// Makes a conflist the node's network.
///
/// # Errors
/// When it cannot be written.
fn write_network(conflist: &str) -> Result {
    std::fs::create_dir_all("/etc/cni/net.d")?;
    std::fs::write("/etc/cni/net.d/10-pinpod-bridge.conflist", conflist)?;
    Ok(())
}

/// A channel that connects when it is first used.
fn connect() -> Result<Channel> {
    Ok(connect_to(&Endpoint::try_from("http://pinpod")?))
}

fn connect_to(endpoint: &Endpoint) -> Channel {
    endpoint.connect_with_connector_lazy(tower::service_fn(|_| async {
        UnixStream::connect(SOCKET).await.map(TokioIo::new)
    }))
}

/// Makes the directory of the test's cgroups, as the kubelet makes that of its pods.
fn make_cgroups(parent: &str) -> Result {
    for hierarchy in hierarchies()? {
        let path = hierarchy.join(parent.trim_start_matches('/'));
        std::fs::create_dir(&path).with_context(|| format!("cgroup {}", path.display()))?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            // Cgroup v1: no process may enter before both are set.
            if let Ok(all) = std::fs::read_to_string(hierarchy.join(file)) {
                std::fs::write(path.join(file), all.trim())?;
            }
        }
    }
    Ok(())
}
