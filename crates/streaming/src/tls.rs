//! TLS of the streaming server: which certificate it shows, whom it lets in, and how both are read
//! again when their files change.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CipherSuite, ProtocolVersion, RootCertStore, ServerConfig, SupportedCipherSuite,
    SupportedProtocolVersion,
};
use tokio_rustls::TlsAcceptor;

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;

/// The oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    /// 1.2, RFC 5246.
    #[default]
    Tls12,
    /// 1.3, RFC 8446.
    Tls13,
}

/// How the server speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Its certificate, then those between it and the one that clients trust: PEM.
    pub certificate: PathBuf,
    /// The certificate's private key: PEM.
    pub key: PathBuf,
    /// Who signs clients' certificates, in PEM; clients without such a certificate are refused.
    /// `None` asks for none.
    pub client_ca: Option<PathBuf>,
    /// The oldest version.
    pub min_version: TlsVersion,
    /// Cipher suites by IANA's names; none means all that are known. Where only suites of TLS 1.2
    /// are named, those of 1.3 stay; where only suites of 1.3 are named, 1.2 is not spoken.
    pub cipher_suites: Vec<String>,
}

/// Why the server cannot speak TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: pem::Error,
    },
    /// There is no certificate in a file.
    #[error("{} holds no certificate", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A certificate of those who sign clients' certificates.
    #[error("{} holds a certificate that can sign nothing", path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// Nothing verifies clients.
    #[error("clients' certificates cannot be verified")]
    Verifier(#[from] VerifierBuilderError),
    /// Certificate and key do not belong together, or cannot be used.
    #[error("{} and {} cannot be used", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
    /// A suite that is not known.
    #[error("{name} is no cipher suite that is spoken here; these are: {known}")]
    UnknownSuite {
        /// Its name.
        name: String,
        /// All that are.
        known: String,
    },
    /// Versions and suites leave nothing.
    #[error("no cipher suite is left for the versions of TLS that are allowed")]
    NothingLeft,
}

/// What tells that a file was written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    written: (i64, i64),
}

/// The files in force.
#[derive(Debug)]
struct Loaded {
    stamps: Vec<Option<Stamp>>,
    server: Arc<ServerConfig>,
}

/// The server's side of TLS.
#[derive(Debug)]
pub(crate) struct Tls {
    config: TlsConfig,
    loaded: Mutex<Loaded>,
}

impl Tls {
    /// Reads all files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub(crate) fn load(config: TlsConfig) -> Result<Self, TlsError> {
        let stamps = stamps(&config);
        let server = server_config(&config)?;
        let loaded = Mutex::new(Loaded { stamps, server });
        Ok(Self { config, loaded })
    }

    /// What serves the next connection. Files that have changed are read again first; while they
    /// are of no use, as between the writing of a certificate and of its key, what was read before
    /// stays in force.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let stamps = stamps(&self.config);
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.stamps != stamps {
            loaded.stamps = stamps;
            match server_config(&self.config) {
                Ok(server) => {
                    tracing::info!("the streaming server's certificates were read again");
                    loaded.server = server;
                }
                Err(error) => {
                    let error = crate::chain(&error);
                    tracing::warn!(error, "new certificates of the streaming server do not do");
                }
            }
        }
        TlsAcceptor::from(loaded.server.clone())
    }
}

fn stamps(config: &TlsConfig) -> Vec<Option<Stamp>> {
    let files = [&config.certificate, &config.key];
    let stamp = |path: &PathBuf| fs::metadata(path).map(|it| Stamp::of(&it)).ok();
    files
        .into_iter()
        .chain(&config.client_ca)
        .map(stamp)
        .collect()
}

impl Stamp {
    fn of(file: &fs::Metadata) -> Self {
        Self {
            inode: file.ino(),
            size: file.size(),
            written: (file.mtime(), file.mtime_nsec()),
        }
    }
}

fn server_config(config: &TlsConfig) -> Result<Arc<ServerConfig>, TlsError> {
    let (provider, versions) = provider(config)?;
    let provider = Arc::new(provider);
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(|_| TlsError::NothingLeft)?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(roots(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let chain = certificates(&config.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&config.key)
        .map_err(|source| read_error(&config.key, source))?;
    let pair = |source| TlsError::Pair {
        certificate: config.certificate.clone(),
        key: config.key.clone(),
        source,
    };
    let mut server = builder.with_single_cert(chain, key).map_err(pair)?;
    // Each URL is used once, so no session is taken up again: nothing is kept for it, and a client
    // whose certificate is no longer trusted does not come in by an old one.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(server))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = |source| read_error(path, source);
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(read)?.collect();
    let found = found.map_err(read)?;
    if found.is_empty() {
        let path = path.to_owned();
        return Err(TlsError::NoCertificate { path });
    }
    Ok(found)
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|source| TlsError::Root {
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(roots)
}

fn read_error(path: &Path, source: pem::Error) -> TlsError {
    TlsError::Read {
        path: path.to_owned(),
        source,
    }
}

/// The suites and versions that the configuration leaves.
fn provider(
    config: &TlsConfig,
) -> Result<(CryptoProvider, Vec<&'static SupportedProtocolVersion>), TlsError> {
    let mut provider = aws_lc_rs::default_provider();
    let known: Vec<String> = provider.cipher_suites.iter().map(name).collect();
    if let Some(name) = config.cipher_suites.iter().find(|it| !known.contains(it)) {
        return Err(TlsError::UnknownSuite {
            name: name.clone(),
            known: known.join(", "),
        });
    }
    let is_named = |suite: &SupportedCipherSuite| config.cipher_suites.contains(&name(suite));
    let named_of_13 = provider
        .cipher_suites
        .iter()
        .filter(|it| is_13(it))
        .any(is_named);
    if !config.cipher_suites.is_empty() {
        provider
            .cipher_suites
            .retain(|suite| is_named(suite) || (is_13(suite) && !named_of_13));
    }
    let has_12 = config.min_version == TlsVersion::Tls12
        && provider.cipher_suites.iter().any(|suite| !is_13(suite));
    let versions = if has_12 {
        vec![&TLS13, &TLS12]
    } else {
        vec![&TLS13]
    };
    Ok((provider, versions))
}

fn is_13(suite: &SupportedCipherSuite) -> bool {
    suite.version().version == ProtocolVersion::TLSv1_3
}

/// IANA's name; rustls says `TLS13` where IANA says `TLS`.
fn name(suite: &SupportedCipherSuite) -> String {
    let ours: CipherSuite = suite.suite();
    let ours = ours.as_str().unwrap_or_default();
    match ours.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => ours.to_owned(),
    }
}
