//! What only shows on the wire: a plugin that the test plays itself. It sees the pieces that a long
//! Synchronize comes in, and evicts containers, for which NRI's Go stub has no call.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use pinpod_cri_api::runtime::v1::{
    ContainerState, LinuxContainerResources, NamespaceMode, PodSandboxConfig,
    UpdateContainerResourcesRequest,
};
use pinpod_nri::api;
use pinpod_nri::frame::{
    Kind, Message, MessageDecoder, MuxDecoder, PLUGIN_CONNECTION, RUNTIME_CONNECTION,
};
use pinpod_testkit::{Node, Options, Result, busybox, container, on_node, until};
use prost::Message as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use crate::plugin::Plugin;

/// Most bytes of a ttrpc message, as its Go library has it.
const MAX_MESSAGE: usize = 4 << 20;

/// A ttrpc request.
#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(string, tag = "1")]
    service: String,
    #[prost(string, tag = "2")]
    method: String,
    #[prost(bytes = "bytes", tag = "3")]
    payload: Bytes,
}

/// A ttrpc response that is none of an error.
#[derive(Clone, PartialEq, prost::Message)]
struct Response {
    #[prost(bytes = "bytes", tag = "1")]
    status: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    payload: Bytes,
}

/// What happens on the socket of a plugin, and what it does about it.
#[derive(Default)]
struct Seen {
    /// Each Synchronize, with the length of its message.
    pieces: Vec<(usize, api::SynchronizeRequest)>,
    /// Whom the next UpdateContainer evicts.
    evicts_on_update: Option<String>,
}

/// A plugin that has joined. Dropping this lets it leave.
struct OwnPlugin {
    writer: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    seen: Arc<Mutex<Seen>>,
    answers: mpsc::Receiver<Response>,
    reader: tokio::task::JoinHandle<Result>,
}

impl Drop for OwnPlugin {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl OwnPlugin {
    async fn join() -> Result<Self> {
        let socket = UnixStream::connect("/var/run/nri/nri.sock").await?;
        let (reader, writer) = socket.into_split();
        let writer = Arc::new(tokio::sync::Mutex::new(writer));
        let seen = Arc::default();
        let (answered, answers) = mpsc::channel(1);
        let serving = serve(reader, Arc::clone(&writer), Arc::clone(&seen), answered);
        let mut plugin = Self {
            writer,
            seen,
            answers,
            reader: tokio::spawn(serving),
        };
        let name = api::RegisterPluginRequest {
            plugin_name: "wire".to_owned(),
            plugin_idx: "50".to_owned(),
            ..Default::default()
        };
        plugin.call(1, "RegisterPlugin", &name).await?;
        until("the last piece", Duration::from_secs(20), async || {
            let last = plugin.seen().pieces.last().map(|(_, piece)| piece.more);
            Ok((last == Some(false)).then_some(()))
        })
        .await?;
        Ok(plugin)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the runtime.
    async fn call(
        &mut self,
        stream: u32,
        method: &str,
        request: &impl prost::Message,
    ) -> Result<Bytes> {
        let request = Request {
            service: "nri.pkg.api.v1alpha1.Runtime".to_owned(),
            method: method.to_owned(),
            payload: request.encode_to_vec().into(),
        };
        let payload = request.encode_to_vec();
        send(
            &self.writer,
            RUNTIME_CONNECTION,
            stream,
            Kind::Request,
            payload,
        )
        .await?;
        let answer = tokio::time::timeout(Duration::from_secs(20), self.answers.recv());
        let answer = answer.await.context(method.to_owned())?;
        let answer = answer.with_context(|| format!("{method}: the connection ended"))?;
        ensure!(answer.status.is_empty(), "{method}: {answer:?}");
        Ok(answer.payload)
    }
}

async fn send(
    writer: &tokio::sync::Mutex<OwnedWriteHalf>,
    connection: u32,
    stream: u32,
    kind: Kind,
    payload: Vec<u8>,
) -> Result {
    let message = Message {
        stream,
        kind,
        flags: 0,
        payload: payload.into(),
    };
    let mut frames = Vec::new();
    message.encode(connection, &mut frames)?;
    Ok(writer.lock().await.write_all(&frames).await?)
}

/// Reads the socket to its end, and answers what is asked.
async fn serve(
    mut reader: OwnedReadHalf,
    writer: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    seen: Arc<Mutex<Seen>>,
    answered: mpsc::Sender<Response>,
) -> Result {
    let mut mux = MuxDecoder::default();
    let (mut asked, mut answers) = (MessageDecoder::default(), MessageDecoder::default());
    let mut buffer = vec![0; 65_536];
    loop {
        let count = reader.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        mux.feed(&buffer[..count]);
        while let Some((connection, bytes)) = mux.next_frame()? {
            match connection {
                PLUGIN_CONNECTION => asked.feed(&bytes),
                _ => answers.feed(&bytes),
            }
        }
        while let Some(message) = answers.next_message()? {
            answered.send(Response::decode(message.payload)?).await?;
        }
        while let Some(message) = asked.next_message()? {
            let payload = answer(&seen, &message)?;
            let response = Response {
                payload: payload.into(),
                ..Default::default()
            };
            let response = response.encode_to_vec();
            send(
                &writer,
                PLUGIN_CONNECTION,
                message.stream,
                Kind::Response,
                response,
            )
            .await?;
        }
    }
}

/// What the plugin says to a request.
fn answer(seen: &Mutex<Seen>, message: &Message) -> Result<Vec<u8>> {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let request = Request::decode(message.payload.clone())?;
    Ok(match request.method.as_str() {
        "Configure" => api::ConfigureResponse {
            events: 1 << (i32::from(api::Event::UpdateContainer) - 1),
            ..Default::default()
        }
        .encode_to_vec(),
        "Synchronize" => {
            let piece = api::SynchronizeRequest::decode(request.payload)?;
            let more = piece.more;
            seen.pieces.push((message.payload.len(), piece));
            let update = Vec::new();
            api::SynchronizeResponse { update, more }.encode_to_vec()
        }
        "UpdateContainer" => {
            let evict = seen.evicts_on_update.take().map(eviction);
            api::UpdateContainerResponse {
                evict: evict.into_iter().collect(),
                ..Default::default()
            }
            .encode_to_vec()
        }
        _ => Vec::new(),
    })
}

fn eviction(container_id: String) -> api::ContainerEviction {
    api::ContainerEviction {
        container_id,
        reason: "its place is needed".to_owned(),
    }
}

/// A pod on the node's network that takes some room in a message.
fn large_pod(node: &Node, name: &str, bytes: usize) -> PodSandboxConfig {
    let mut config = node.pod(name);
    config.hostname = String::new();
    let linux = config.linux.get_or_insert_default();
    let security = linux.security_context.get_or_insert_default();
    let namespaces = security.namespace_options.get_or_insert_default();
    namespaces.set_network(NamespaceMode::Node);
    let text = "x".repeat(bytes);
    config.annotations.insert("large".to_owned(), text);
    config
}

#[test]
fn what_is_too_long_for_a_message_comes_in_pieces() -> Result {
    on_node(
        "wire::what_is_too_long_for_a_message_comes_in_pieces",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            // Few that are large, so that two or three fill a message.
            let mut pods = Vec::new();
            for number in 0..5 {
                let config = large_pod(node, &format!("p{number}"), 1_500_000);
                let pod = node.run_pod(&config).await?;
                let mut main = container(&format!("c{number}"), &image, &["sleep", "1000"]);
                let text = "y".repeat(500_000);
                main.annotations.insert("large".to_owned(), text);
                node.create_container(&pod, &config, main).await?;
                pods.push(pod);
            }
            let plugin = OwnPlugin::join().await?;
            let (mut names, mut count) = (Vec::new(), 0);
            for (length, piece) in &plugin.seen().pieces {
                ensure!(*length <= MAX_MESSAGE, "{length} bytes");
                names.extend(piece.pods.iter().map(|it| it.name.clone()));
                names.extend(piece.containers.iter().map(|it| it.name.clone()));
                count += 1;
                ensure!(piece.more == (names.len() < 10), "{names:?}");
            }
            ensure!(count >= 3, "10 MB came in {count} messages");
            names.sort_unstable();
            let all = ["c0", "c1", "c2", "c3", "c4", "p0", "p1", "p2", "p3", "p4"];
            assert_eq!(names, all);
            drop(plugin);

            // NRI's own stub puts the pieces together.
            let stub = Plugin::start("00", "pieces", json!({})).await?;
            let told = stub.record().pop().context("no record")?;
            let expected = r#"Synchronize ["p0","p1","p2","p3","p4"] ["c0 CREATED","c1 CREATED","c2 CREATED","c3 CREATED","c4 CREATED"]"#;
            assert_eq!(told, expected);
            for pod in pods {
                node.remove_pod(&pod).await?;
            }
            Ok(())
        },
    )
}

#[test]
fn plugins_evict_containers() -> Result {
    on_node(
        "wire::plugins_evict_containers",
        Options::default(),
        async |node| {
            let image = node.import(busybox().await?).await?;
            let config = large_pod(node, "p", 1);
            let pod = node.run_pod(&config).await?;
            let script = "trap 'exit 9' TERM; while :; do sleep 0.1; done";
            let mut ids = Vec::new();
            for name in ["asked", "answered", "stays"] {
                let main = container(name, &image, &["sh", "-c", script]);
                ids.push(node.launch(&pod, &config, main).await?);
            }
            let [asked, answered, stays] = &ids[..] else {
                anyhow::bail!("three containers");
            };
            let mut plugin = OwnPlugin::join().await?;
            // By itself; one that is not there harms nothing.
            let request = api::UpdateContainersRequest {
                evict: vec![eviction("0".repeat(64)), eviction(asked.clone())],
                ..Default::default()
            };
            let told = plugin.call(3, "UpdateContainers", &request).await?;
            let told = api::UpdateContainersResponse::decode(told)?;
            assert_eq!(told.failed, []);
            assert_eq!(node.exited(asked).await?.exit_code, 9, "it got its SIGTERM");

            // In answer to the update of another.
            plugin.seen().evicts_on_update = Some(answered.clone());
            let update = UpdateContainerResourcesRequest {
                container_id: stays.clone(),
                linux: Some(LinuxContainerResources {
                    cpu_shares: 512,
                    ..Default::default()
                }),
                ..Default::default()
            };
            node.runtime().update_container_resources(update).await?;
            assert_eq!(node.exited(answered).await?.exit_code, 9);
            let state = node.container_status(stays).await?.state();
            assert_eq!(state, ContainerState::ContainerRunning);
            node.remove_pod(&pod).await
        },
    )
}
