//! TLS with real certificates, which `openssl` makes, between the server's side and a client.

use std::path::Path;
use std::sync::Arc;

use pinpod_command::Command;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio_rustls::TlsConnector;

use super::*;

const OPENSSL: std::time::Duration = std::time::Duration::from_secs(30);

async fn openssl(directory: &Path, line: &str) {
    let command = Command::new("openssl").current_dir(directory);
    let output = command.args(line.split(' ')).run(OPENSSL).await.unwrap();
    assert!(output.status.success(), "{line}: {}", output.message());
}

/// An authority, and a certificate for 127.0.0.1 of it by this name.
async fn issue(directory: &Path, name: &str) {
    let ec = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    if !directory.join("ca.pem").exists() {
        let ca = format!("req -x509 {ec} -subj /CN=ca -keyout ca.key -out ca.pem");
        openssl(directory, &ca).await;
    }
    let line = format!(
        "req -x509 {ec} -subj /CN={name} -addext subjectAltName=IP:127.0.0.1 \
         -addext basicConstraints=critical,CA:FALSE -CA ca.pem -CAkey ca.key \
         -keyout {name}.key -out {name}.pem"
    );
    openssl(directory, &line).await;
}

fn config(directory: &Path) -> TlsConfig {
    TlsConfig {
        certificate: directory.join("server.pem"),
        key: directory.join("server.key"),
        client_ca: None,
        min_version: TlsVersion::Tls12,
        cipher_suites: Vec::new(),
    }
}

/// A client that trusts the authority, with a certificate if one is named.
fn client(
    directory: &Path,
    certificate: Option<&str>,
    version: &'static SupportedProtocolVersion,
) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(directory.join("ca.pem")).unwrap();
    roots.add(ca).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    let config = match certificate {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let file = |ending: &str| directory.join(format!("{name}.{ending}"));
            let chain = CertificateDer::from_pem_file(file("pem")).unwrap();
            let key = PrivateKeyDer::from_pem_file(file("key")).unwrap();
            builder.with_client_auth_cert(vec![chain], key).unwrap()
        }
    };
    TlsConnector::from(Arc::new(config))
}

/// What the client knows after a byte went both ways: the server's certificate, the version.
async fn meet(
    tls: &Tls,
    client: TlsConnector,
) -> std::io::Result<(CertificateDer<'static>, ProtocolVersion)> {
    let (near, far) = duplex(1 << 16);
    let acceptor = tls.acceptor();
    let server = tokio::spawn(async move {
        let mut stream = acceptor.accept(near).await?;
        let byte = stream.read_u8().await?;
        stream.write_u8(byte).await?;
        stream.shutdown().await
    });
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = client.connect(name, far).await?;
    stream.write_u8(7).await?;
    assert_eq!(stream.read_u8().await?, 7);
    server.await.unwrap()?;
    let (_, session) = stream.get_ref();
    let shown = session.peer_certificates().unwrap();
    Ok((shown[0].clone(), session.protocol_version().unwrap()))
}

#[tokio::test]
async fn a_certificate_that_changes_is_shown_from_then_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    issue(path, "server").await;
    let tls = Tls::load(config(path)).unwrap();
    let trusting = || client(path, None, &TLS13);
    let (first, _) = meet(&tls, trusting()).await.unwrap();
    assert_eq!(meet(&tls, trusting()).await.unwrap().0, first);

    // A new key before its certificate: the pair that was read goes on.
    issue(path, "next").await;
    fs::rename(path.join("next.key"), path.join("server.key")).unwrap();
    assert_eq!(meet(&tls, trusting()).await.unwrap().0, first);
    fs::rename(path.join("next.pem"), path.join("server.pem")).unwrap();
    let (second, _) = meet(&tls, trusting()).await.unwrap();
    assert_ne!(second, first);

    fs::write(path.join("server.pem"), "nonsense").unwrap();
    assert_eq!(meet(&tls, trusting()).await.unwrap().0, second);
    fs::remove_file(path.join("server.pem")).unwrap();
    assert_eq!(meet(&tls, trusting()).await.unwrap().0, second);
}

#[tokio::test]
async fn clients_show_a_certificate_of_the_authority_or_stay_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    issue(path, "server").await;
    issue(path, "kubelet").await;
    let other = tempfile::tempdir().unwrap();
    issue(other.path(), "stranger").await;
    for file in ["stranger.pem", "stranger.key"] {
        fs::copy(other.path().join(file), path.join(file)).unwrap();
    }
    let tls = Tls::load(TlsConfig {
        client_ca: Some(path.join("ca.pem")),
        ..config(path)
    });
    let tls = tls.unwrap();
    for version in [&TLS12, &TLS13] {
        let known = client(path, Some("kubelet"), version);
        assert_eq!(meet(&tls, known).await.unwrap().1, version.version);
        for stranger in [None, Some("stranger")] {
            let stranger = client(path, stranger, version);
            meet(&tls, stranger).await.unwrap_err();
        }
    }
}

#[tokio::test]
async fn versions_and_suites_are_those_that_are_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    issue(path, "server").await;
    let old = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    let rsa = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
    let new = "TLS_AES_256_GCM_SHA384";
    for (min_version, suites, has_12) in [
        (TlsVersion::Tls12, &[][..], true),
        (TlsVersion::Tls13, &[], false),
        (TlsVersion::Tls12, &[old], true),
        // None of them signs with the certificate's key.
        (TlsVersion::Tls12, &[rsa], false),
        (TlsVersion::Tls12, &[old, new], true),
        (TlsVersion::Tls12, &[new], false),
        (TlsVersion::Tls13, &[old], false),
    ] {
        let cipher_suites = suites.iter().map(|name| (*name).to_owned()).collect();
        let tls = Tls::load(TlsConfig {
            min_version,
            cipher_suites,
            ..config(path)
        });
        let tls = tls.unwrap();
        let met = meet(&tls, client(path, None, &TLS12)).await;
        assert_eq!(met.is_ok(), has_12, "{min_version:?} {suites:?}");
        meet(&tls, client(path, None, &TLS13)).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_files_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    issue(path, "server").await;
    issue(path, "other").await;
    fs::write(path.join("empty.pem"), "").unwrap();
    let good = config(path);
    let file = |name: &str| path.join(name);
    for (config, expected) in [
        (
            TlsConfig {
                certificate: file("none.pem"),
                ..good.clone()
            },
            "none.pem: ",
        ),
        (
            TlsConfig {
                certificate: file("empty.pem"),
                ..good.clone()
            },
            "empty.pem holds no certificate",
        ),
        (
            TlsConfig {
                key: file("server.pem"),
                ..good.clone()
            },
            "cannot read ",
        ),
        (
            TlsConfig {
                key: file("other.key"),
                ..good.clone()
            },
            "server.pem and ",
        ),
        (
            TlsConfig {
                client_ca: Some(file("empty.pem")),
                ..good.clone()
            },
            "empty.pem holds no certificate",
        ),
        (
            TlsConfig {
                cipher_suites: vec!["RC4".to_owned()],
                ..good.clone()
            },
            "RC4 is no cipher suite that is spoken here; these are: TLS_AES_256_GCM_SHA384, ",
        ),
    ] {
        let error = crate::chain(&Tls::load(config).unwrap_err());
        assert!(error.contains(expected), "{error}");
    }
}
