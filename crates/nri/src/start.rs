//! How plugins come in, and leave.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use prost::Message as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::api::{ContainerUpdate, Empty, UpdateContainersRequest, UpdateContainersResponse};
use crate::connection::{Connection, Incoming};
use crate::error::{RegisterError, StartError};
use crate::launch::{self, Program};
use crate::plugin::{Expected, Plugin};
use crate::rpc::{self, Status};
use crate::{HostRequest, Shared, State};

/// Who may connect: root only.
const SOCKET_MODE: u32 = 0o600;
/// Connections that have not registered yet; more wait.
const NEWCOMERS: usize = 16;

/// How long the programs of plugins may take to end, killed as they are.
const END_WITHIN: Duration = Duration::from_secs(2);

/// Plugins are let in while this lives.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    end: CancellationToken,
    socket: Option<PathBuf>,
}

impl Running {
    /// Tells every plugin that the runtime ends, and ends those that the daemon had started.
    pub async fn stop(self) {
        self.end.cancel();
        let plugins = std::mem::take(&mut *self.shared.plugins.write().await);
        join_all(plugins.iter().map(|plugin| plugin.shut_down())).await;
        self.shared.connected.close();
        if tokio::time::timeout(END_WITHIN, self.shared.connected.wait())
            .await
            .is_err()
        {
            tracing::warn!("an NRI plugin does not end");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end.cancel();
        if let Some(path) = &self.socket
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove the NRI socket");
        }
    }
}

pub(crate) async fn start(shared: &Arc<Shared>) -> Result<Running, StartError> {
    let mut running = Running {
        shared: Arc::clone(shared),
        end: CancellationToken::new(),
        socket: None,
    };
    let installed = launch::discover(&shared.settings)?;
    let joining = installed.iter().filter_map(|installed| {
        match Program::start(installed) {
            Ok((program, socket, expected)) => {
                Some(welcome(shared, socket, expected, Some(program)))
            }
            Err(error) => {
                tracing::error!(path = %installed.path.display(), %error, "cannot start an NRI plugin");
                None
            }
        }
    });
    let joining: Vec<_> = joining.collect();
    join_all(joining).await;
    if let Some(path) = &shared.settings.socket {
        let listener = listen(path).map_err(|source| StartError::Listen {
            path: path.clone(),
            source,
        })?;
        running.socket = Some(path.clone());
        tokio::spawn(accept(Arc::clone(shared), listener, running.end.clone()));
    }
    Ok(running)
}

/// Binds the socket in the place of one that nobody answers on.
fn listen(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(listener)
}

async fn accept(shared: Arc<Shared>, listener: UnixListener, end: CancellationToken) {
    let room = Arc::new(tokio::sync::Semaphore::new(NEWCOMERS));
    loop {
        let next = async {
            let place = Arc::clone(&room).acquire_owned().await;
            (listener.accept().await, place)
        };
        let Some((accepted, place)) = end.run_until_cancelled(next).await else {
            return;
        };
        match accepted {
            Ok((socket, _)) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let _place = place;
                    welcome(&shared, socket, Expected::default(), None).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an NRI plugin");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Lets a plugin join, if it behaves.
async fn welcome(
    shared: &Arc<Shared>,
    socket: UnixStream,
    expected: Expected,
    program: Option<Program>,
) {
    let known = expected.identity.clone();
    let registered = Plugin::register(socket, expected, &shared.settings).await;
    let (plugin, calls) = match registered {
        Ok((plugin, calls)) => (Arc::new(plugin), calls),
        Err(error) => {
            let name = known.map(|it| format!("{}-{}", it.index, it.base));
            let error = chain(&error);
            tracing::warn!(plugin = name, error, "an NRI plugin did not register");
            return;
        }
    };
    let name = plugin.name.clone();
    // It may ask for updates from its first moment on.
    tokio::spawn(serve(
        name.clone(),
        plugin.connection.clone(),
        calls,
        shared.host.clone(),
    ));
    match join(shared, &plugin).await {
        Ok(updates) => {
            tracing::info!(plugin = name, "an NRI plugin has joined");
            let parting = farewell(Arc::clone(shared), plugin, program);
            shared.connected.spawn(parting);
            if !updates.is_empty() {
                update(&shared.host, name, updates).await;
            }
        }
        Err(error) => {
            plugin.connection.close();
            let error = chain(&error);
            tracing::warn!(plugin = name, error, "an NRI plugin could not join");
        }
    }
}

/// Tells the plugin of what there is and puts it among the others, between two events.
async fn join(
    shared: &Arc<Shared>,
    plugin: &Arc<Plugin>,
) -> Result<Vec<ContainerUpdate>, RegisterError> {
    let mut plugins = shared.plugins.write().await;
    let (reply, answer) = oneshot::channel();
    let asked = shared.host.send(HostRequest::State(reply)).await;
    asked.map_err(|_| RegisterError::Ending)?;
    let State { pods, containers } = answer.await.map_err(|_| RegisterError::Ending)?;
    let updates = plugin.synchronize(pods, containers).await?;
    let after = plugins.partition_point(|other| other.identity.index <= plugin.identity.index);
    plugins.insert(after, Arc::clone(plugin));
    Ok(updates)
}

/// Takes a plugin out when its connection has ended. From that moment on it is skipped.
async fn farewell(shared: Arc<Shared>, plugin: Arc<Plugin>, program: Option<Program>) {
    plugin.connection.closed().await;
    tracing::warn!(plugin = plugin.name, "an NRI plugin has left");
    let mut plugins = shared.plugins.write().await;
    plugins.retain(|other| !Arc::ptr_eq(other, &plugin));
    drop(plugins);
    if let Some(program) = program {
        program.end().await;
    }
}

/// Serves what the plugin calls, one call after the other.
async fn serve(
    name: String,
    connection: Connection,
    mut calls: mpsc::Receiver<Incoming>,
    host: mpsc::Sender<HostRequest>,
) {
    while let Some(call) = calls.recv().await {
        let refuse = |code, message: String| Status { code, message };
        if call.method != "UpdateContainers" {
            let status = refuse(rpc::UNIMPLEMENTED, format!("no method {}", call.method));
            connection.answer::<Empty>(&call, Err(status)).await;
            continue;
        }
        let answer = match UpdateContainersRequest::decode(call.payload.clone()) {
            Err(error) => Err(refuse(rpc::INVALID_ARGUMENT, error.to_string())),
            Ok(request) => {
                let (failed, answer) = oneshot::channel();
                let asked = host.send(HostRequest::Update {
                    plugin: name.clone(),
                    updates: request.update,
                    evictions: request.evict,
                    failed,
                });
                match (asked.await, answer.await) {
                    (Ok(()), Ok(failed)) => Ok(UpdateContainersResponse { failed }),
                    _ => Err(refuse(rpc::UNKNOWN, "the daemon ends".to_owned())),
                }
            }
        };
        connection.answer(&call, answer).await;
    }
}

async fn update(host: &mpsc::Sender<HostRequest>, plugin: String, updates: Vec<ContainerUpdate>) {
    let (failed, answer) = oneshot::channel();
    let request = HostRequest::Update {
        plugin: plugin.clone(),
        updates,
        evictions: Vec::new(),
        failed,
    };
    if host.send(request).await.is_ok()
        && let Ok(failed) = answer.await
        && !failed.is_empty()
    {
        let containers: Vec<_> = failed.iter().map(|it| it.container_id.as_str()).collect();
        tracing::warn!(
            plugin,
            ?containers,
            "updates that an NRI plugin wanted were not made"
        );
    }
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
