//! HTTP clients for each registry host, and whether the host speaks HTTPS or plain HTTP.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pinpod_model::Credentials;
use reqwest::{Client, Url};

use crate::certs::{self, HostCertificates};
use crate::error::RegistryError;
use crate::http_send::Transport;
use crate::reference::DOCKER_IO;
use crate::registries_conf::Endpoint;
use crate::session::Session;

/// How long the answer to "HTTPS or HTTP?" is believed.
const SCHEME_LIFE: Duration = Duration::from_secs(300);
/// How long one of the two questions may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a [`RegistryClient`] goes by.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// `User-Agent`.
    pub user_agent: String,
    /// Directories with a directory for each registry host, which holds `*.crt` (more roots) and
    /// `*.cert` with `*.key` (client certificate). The first that knows the host is used.
    pub certs_dirs: Vec<PathBuf>,
    /// For the TCP and TLS handshakes.
    pub connect_timeout: Duration,
    /// For each read: a transfer that gives nothing for so long is broken.
    pub read_timeout: Duration,
    /// How often in a row a broken connection or a 5xx answer is tried again.
    pub retries: u32,
    /// How long in all a request waits because the registry asks for it (429, 503, Retry-After).
    pub max_wait: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            user_agent: concat!("pinpod/", env!("CARGO_PKG_VERSION")).to_owned(),
            certs_dirs: vec![
                PathBuf::from("/etc/containers/certs.d"),
                PathBuf::from("/etc/docker/certs.d"),
            ],
            connect_timeout: Duration::from_secs(15),
            read_timeout: Duration::from_secs(60),
            retries: 5,
            max_wait: Duration::from_secs(120),
        }
    }
}

/// Opens [`Session`]s. Shares connections between them and nothing else; cheap to clone.
#[derive(Debug, Clone)]
pub struct RegistryClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: ClientOptions,
    hosts: Mutex<HashMap<HostKey, Host>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct HostKey {
    registry: String,
    insecure: bool,
}

#[derive(Debug, Clone)]
struct Host {
    certificates: certs::Fingerprint,
    http: Client,
    base: Option<(Url, Instant)>,
}

impl RegistryClient {
    /// A client that knows no host yet.
    #[must_use]
    pub fn new(options: ClientOptions) -> Self {
        Self {
            shared: Arc::new(Shared {
                options,
                hosts: Mutex::new(HashMap::new()),
            }),
        }
    }

    /// A session with one endpoint's repository for one caller. An insecure or loopback host is
    /// asked which scheme it speaks; no other is contacted yet.
    ///
    /// # Errors
    /// If the host's certificates cannot be used, or an insecure host answers neither way.
    pub async fn session(
        &self,
        endpoint: &Endpoint,
        credentials: Option<Credentials>,
    ) -> Result<Session, RegistryError> {
        let registry = endpoint.reference.registry().to_owned();
        let key = HostKey {
            insecure: endpoint.insecure,
            registry,
        };
        let http = self.http(&key).await?;
        let base = self.base(&key, &http).await?;
        let transport = Transport {
            http,
            base,
            insecure: endpoint.insecure,
            retries: self.shared.options.retries,
            max_wait: self.shared.options.max_wait,
        };
        Ok(Session::new(transport, endpoint.clone(), credentials))
    }

    /// The host's HTTP client, made again when its certificates changed.
    async fn http(&self, key: &HostKey) -> Result<Client, RegistryError> {
        let this = self.clone();
        let key = key.clone();
        let host = key.registry.clone();
        let made = tokio::task::spawn_blocking(move || this.http_blocking(&key)).await;
        made.unwrap_or_else(|error| {
            Err(RegistryError::Certificates {
                host,
                path: PathBuf::new(),
                problem: error.to_string(),
            })
        })
    }

    fn http_blocking(&self, key: &HostKey) -> Result<Client, RegistryError> {
        let options = &self.shared.options;
        let certificates = certs::read(&options.certs_dirs, &key.registry)?;
        if let Some(host) = self.lock().get(key)
            && host.certificates == certificates.fingerprint
        {
            return Ok(host.http.clone());
        }
        let http = build(options, key, &certificates)?;
        let host = Host {
            certificates: certificates.fingerprint,
            http: http.clone(),
            base: None,
        };
        self.lock().insert(key.clone(), host);
        Ok(http)
    }

    /// `https://host/` or `http://host/`.
    async fn base(&self, key: &HostKey, http: &Client) -> Result<Url, RegistryError> {
        if !key.insecure && !is_loopback(&key.registry) {
            return base_url("https", &key.registry);
        }
        let known = self.lock().get(key).and_then(|host| host.base.clone());
        if let Some((url, since)) = known
            && since.elapsed() < SCHEME_LIFE
        {
            return Ok(url);
        }
        let url = probe(&key.registry, http).await?;
        if let Some(host) = self.lock().get_mut(key) {
            host.base = Some((url.clone(), Instant::now()));
        }
        Ok(url)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<HostKey, Host>> {
        // The map is whole at every point where a panic could happen.
        self.shared
            .hosts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn build(
    options: &ClientOptions,
    key: &HostKey,
    certificates: &HostCertificates,
) -> Result<Client, RegistryError> {
    let builder = || {
        let mut builder = Client::builder()
            .user_agent(&options.user_agent)
            .connect_timeout(options.connect_timeout)
            .read_timeout(options.read_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .http2_adaptive_window(true)
            .tls_danger_accept_invalid_certs(key.insecure);
        if let Some(identity) = &certificates.identity {
            builder = builder.identity(identity.clone());
        }
        if is_loopback(&key.registry) {
            // A proxy cannot reach this node's loopback.
            builder = builder.no_proxy();
        }
        builder
    };
    let roots = certificates.roots.clone();
    builder()
        .tls_certs_merge(roots.clone())
        .build()
        .or_else(|error| {
            // A node without any CA file can still pull from hosts that certs.d describes and from
            // plain HTTP ones.
            tracing::warn!(host = %key.registry, %error, "the system's CA certificates cannot be used");
            builder().tls_certs_only(roots).build()
        })
        .map_err(|source| RegistryError::Client {
            host: key.registry.clone(),
            source,
        })
}

/// Asks for `/v2/` by HTTPS, and by HTTP if that is not spoken.
async fn probe(registry: &str, http: &Client) -> Result<Url, RegistryError> {
    let ask = async |base: &Url| {
        let request = http.get(format!("{base}v2/")).timeout(PROBE_TIMEOUT);
        request.send().await
    };
    let secure = base_url("https", registry)?;
    let Err(refused) = ask(&secure).await else {
        return Ok(secure);
    };
    let plain = base_url("http", registry)?;
    let source = match ask(&plain).await {
        // 400 is what a TLS server answers to plain HTTP.
        Ok(answer) if answer.status() != 400 => return Ok(plain),
        Ok(_) => refused,
        Err(error) => error,
    };
    Err(RegistryError::Connection {
        what: format!("an answer from {registry}"),
        place: registry.to_owned(),
        source: source.without_url(),
    })
}

fn base_url(scheme: &str, registry: &str) -> Result<Url, RegistryError> {
    let host = match registry {
        DOCKER_IO => "registry-1.docker.io",
        other => other,
    };
    Url::parse(&format!("{scheme}://{host}/")).map_err(|error| RegistryError::Protocol {
        what: format!("an answer from {registry}"),
        problem: error.to_string(),
    })
}

/// `localhost`, 127.0.0.0/8 and `[::1]`, with any port.
fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => registry.split(':').next().unwrap_or(registry),
    };
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_hosts() {
        for (registry, loopback) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.1.2.3", true),
            ("[::1]:5000", true),
            ("[::1]", true),
            ("[::2]:5000", false),
            ("localhost.example.com", false),
            ("10.0.0.1:5000", false),
        ] {
            assert_eq!(is_loopback(registry), loopback, "{registry}");
        }
    }

    #[test]
    fn docker_io_is_another_host() {
        let url = base_url("https", "docker.io").unwrap();
        assert_eq!(url.as_str(), "https://registry-1.docker.io/");
        assert!(base_url("http", "[::1]:5000").is_ok());
    }
}
