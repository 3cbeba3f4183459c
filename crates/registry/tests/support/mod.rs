//! A scripted HTTP server on loopback, and what tests ask the client for.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pinpod_model::{Credentials, Digest};
use pinpod_registry::{
    BlobError, BlobStream, ClientOptions, Descriptor, Endpoint, RegistryClient, Session,
};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a client sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With the query.
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut same = self.headers.iter().filter(|(key, _)| key == name);
        same.next().map(|(_, value)| value.as_str())
    }
}

/// What the server sends; the connection is closed after it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// `Content-Length`, if it is to be sent.
    pub(crate) length: Option<usize>,
    /// Keep the connection open and silent after the body.
    pub(crate) hang: bool,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self {
            status,
            length: Some(body.len()),
            body,
            ..Self::default()
        }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sends only the first bytes of the body, but the length of all.
    pub(crate) fn cut_at(mut self, bytes: usize) -> Self {
        self.body.truncate(bytes);
        self
    }

    /// Sends no length: the body ends with the connection.
    pub(crate) fn unbounded(mut self) -> Self {
        self.length = None;
        self
    }
}

type Script = dyn Fn(&Request, usize) -> Reply + Send + Sync;

/// The server; it ends when it is dropped.
pub(crate) struct Server {
    pub(crate) address: String,
    requests: Arc<Mutex<Vec<Request>>>,
    /// Connections on which the client went away before everything was sent.
    pub(crate) gone: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Answers each request with the script; its number counts from 0.
    pub(crate) async fn start(
        script: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let gone = Arc::new(AtomicUsize::new(0));
        let script: Arc<Script> = Arc::new(script);
        let (log, lost) = (requests.clone(), gone.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, log, lost) = (script.clone(), log.clone(), lost.clone());
                tokio::spawn(async move {
                    if serve(stream, &*script, &log).await.is_err() {
                        lost.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        Self {
            address,
            requests,
            gone,
            task,
        }
    }

    /// All requests but the question for `/v2/` so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        let all = self.requests.lock().unwrap();
        all.iter()
            .filter(|one| one.target != "/v2/")
            .cloned()
            .collect()
    }

    /// Those whose target contains a text.
    pub(crate) fn requests_for(&self, part: &str) -> Vec<Request> {
        let mut all = self.requests();
        all.retain(|one| one.target.contains(part));
        all
    }

    /// An endpoint for `<this server>/a/b:1`.
    pub(crate) fn endpoint(&self) -> Endpoint {
        endpoint(&format!("{}/a/b:1", self.address))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    script: &Script,
    log: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let end = loop {
        if stream.read_buf(&mut bytes).await? == 0 || bytes[0] == 0x16 {
            // 0x16 is the first byte of TLS, which this server does not speak.
            return Ok(());
        }
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ').map(str::to_owned);
    let (method, target) = (first.next().unwrap(), first.next().unwrap());
    let split = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    let mut request = Request {
        method,
        target,
        headers: lines.map(split).collect(),
        body: String::new(),
    };
    let length = request
        .header("content-length")
        .map_or(0, |n| n.parse().unwrap());
    while bytes.len() < end + 4 + length {
        stream.read_buf(&mut bytes).await?;
    }
    request.body = String::from_utf8_lossy(&bytes[end + 4..]).into_owned();
    let number = {
        let mut log = log.lock().unwrap();
        let number = log.iter().filter(|one| one.target != "/v2/").count();
        log.push(request.clone());
        number
    };
    let reply = if request.target == "/v2/" {
        Reply::new(200, "{}")
    } else {
        script(&request, number)
    };
    let mut head = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", reply.status);
    if let Some(length) = reply.length {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&reply.body).await?;
    stream.flush().await?;
    if reply.hang {
        let mut rest = [0; 16];
        return match stream.read(&mut rest).await? {
            0 => Err(std::io::ErrorKind::BrokenPipe.into()),
            _ => Ok(()),
        };
    }
    stream.shutdown().await
}

/// Options that do not make tests slow.
pub(crate) fn options() -> ClientOptions {
    ClientOptions {
        certs_dirs: Vec::new(),
        connect_timeout: Duration::from_secs(5),
        read_timeout: Duration::from_secs(5),
        retries: 3,
        max_wait: Duration::from_secs(5),
        ..ClientOptions::default()
    }
}

pub(crate) fn endpoint(reference: &str) -> Endpoint {
    Endpoint {
        reference: reference.parse().unwrap(),
        insecure: false,
        mirror: false,
    }
}

pub(crate) fn user(name: &str, password: &str) -> Option<Credentials> {
    Some(Credentials {
        username: name.to_owned(),
        password: password.to_owned(),
        ..Credentials::default()
    })
}

/// A session with `<server>/a/b:1` by a client of its own.
pub(crate) async fn session(server: &Server, credentials: Option<Credentials>) -> Session {
    let client = RegistryClient::new(options());
    client
        .session(&server.endpoint(), credentials)
        .await
        .unwrap()
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::from_sha256(Sha256::digest(bytes).into())
}

pub(crate) fn descriptor(bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: String::new(),
        digest: digest(bytes),
        size: bytes.len() as u64,
        annotations: Default::default(),
    }
}

/// Bytes that repeat nowhere near.
pub(crate) fn content(length: usize) -> Vec<u8> {
    (0_u32..).flat_map(u32::to_le_bytes).take(length).collect()
}

/// All of a blob, or the error.
pub(crate) async fn drain(mut stream: BlobStream) -> Result<Vec<u8>, BlobError> {
    let mut all = Vec::new();
    while let Some(piece) = stream.next().await? {
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

/// A manifest of one config and one layer.
pub(crate) fn image_manifest(config: &[u8], layer: &[u8]) -> Vec<u8> {
    let json = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest(config), "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": digest(layer), "size": layer.len(),
        }],
    });
    json.to_string().into_bytes()
}
