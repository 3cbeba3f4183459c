//! A registry on the loopback interface of the test's network namespace.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::{Child, Command};

use crate::{Image, Result, program, until};

const ADDRESS: &str = "127.0.0.1:5000";
const LOG: &str = "/tmp/registry.log";

const CONFIG: &str = "version: 0.1\n\
    log: {level: warn}\n\
    storage: {filesystem: {rootdirectory: /tmp/registry}, delete: {enabled: true}}\n\
    http: {addr: '127.0.0.1:5000'}\n";

/// Debian's docker-registry; ends when this is dropped.
#[derive(Debug)]
pub struct Registry {
    _process: Child,
}

impl Registry {
    /// Starts it on `127.0.0.1:5000`, which `localhost:5000` names too.
    ///
    /// # Errors
    /// When docker-registry is not installed, or does not listen within ten seconds.
    #[allow(
        clippy::disallowed_methods,
        reason = "a program that runs beside the test, with its own log"
    )]
    pub async fn start() -> Result<Self> {
        let config = Path::new("/tmp/registry.yml");
        std::fs::write(config, CONFIG)?;
        let log = std::fs::File::create(LOG)?;
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("this test needs the program docker-registry")?;
        let listening = async || Ok(tokio::net::TcpStream::connect(ADDRESS).await.ok());
        until("the registry", Duration::from_secs(10), listening)
            .await
            .with_context(|| std::fs::read_to_string(LOG).unwrap_or_default())?;
        Ok(Self { _process: process })
    }

    /// Pushes an image under its reference, which must begin with `localhost:5000/`.
    ///
    /// # Errors
    /// When skopeo is not installed or fails.
    pub async fn push(&self, image: &Image) -> Result {
        let tag = image.reference.rsplit(':').next().unwrap_or("latest");
        let source = format!("oci:{}:{tag}", image.layout.display());
        let target = format!("docker://{}", image.reference);
        let args = [
            "--insecure-policy",
            "copy",
            "--quiet",
            "--dest-tls-verify=false",
            &source,
            &target,
        ];
        program::run("skopeo", &args).await?;
        Ok(())
    }
}
