//! The configuration of the server of exec, attach and port-forward.

use std::net::SocketAddr;
use std::path::PathBuf;

use pinpod_config::{Api, TlsVersion};
use pinpod_streaming::{Config, TlsConfig};

/// What the file says, in the server's own words.
pub(super) fn config(api: &Api) -> anyhow::Result<Config> {
    let given = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
    let tls = api.stream_enable_tls.then(|| TlsConfig {
        certificate: api.stream_tls_cert.clone(),
        key: api.stream_tls_key.clone(),
        client_ca: given(&api.stream_tls_ca),
        min_version: match api.tls_min_version {
            TlsVersion::Tls12 => pinpod_streaming::TlsVersion::Tls12,
            TlsVersion::Tls13 => pinpod_streaming::TlsVersion::Tls13,
        },
        cipher_suites: api.tls_cipher_suites.clone(),
    });
    Ok(Config {
        address: SocketAddr::new(api.stream_address, api.stream_port),
        tls,
        max_connections: usize::try_from(api.stream_max_connections)?,
        idle_timeout: api.stream_idle_timeout.0,
        ..Config::default()
    })
}
