//! The engine's side of a pod's monitor: started with the first container, asked by many, listened
//! to by one task that tells the driver.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pinpod_kernel::process::{self, ProcessIdentity};
use pinpod_model::PodId;
use pinpod_monitor_api::{Client, ClientError, Hello, SOCKET_NAME, Subscription, spawn_monitor};
use tokio::sync::mpsc;

use crate::driver::{Chain, Event, Message};
use crate::error::MonitorError;
use crate::scope;
use crate::settings::Parts;

/// The way to a pod's monitor, if it has one.
#[derive(Debug)]
pub(crate) struct MonitorLink {
    pod_dir: PathBuf,
    /// Root of the pod's user namespace.
    root: Option<(u32, u32)>,
    pod: PodId,
    parts: Arc<Parts>,
    outbox: mpsc::UnboundedSender<Message>,
    /// Held while a monitor is started, so that a pod never gets two.
    client: tokio::sync::Mutex<Option<Client>>,
    identity: Mutex<Option<ProcessIdentity>>,
}

impl MonitorLink {
    pub(crate) fn new(
        parts: Arc<Parts>,
        pod_dir: PathBuf,
        pod: PodId,
        root: Option<(u32, u32)>,
        outbox: mpsc::UnboundedSender<Message>,
    ) -> Self {
        Self {
            pod_dir,
            pod,
            parts,
            root,
            outbox,
            client: tokio::sync::Mutex::new(None),
            identity: Mutex::new(None),
        }
    }

    /// The monitor, as status shows it.
    pub(crate) fn identity(&self) -> Option<ProcessIdentity> {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The monitor; starts one if there is none.
    pub(crate) async fn ensure(&self) -> Result<Client, MonitorError> {
        let mut slot = self.client.lock().await;
        if let Some(client) = &*slot {
            if is_alive(client)? {
                return Ok(client.clone());
            }
            *slot = None;
        }
        let binary = &self.parts.settings.monitor_binary;
        let hello = spawn_monitor(binary, &self.pod_dir, self.root).await?;
        self.give_scope(hello).await;
        self.open(&mut slot).await
    }

    /// A monitor that stays in the daemon's own cgroup works as well; systemd then complains of it
    /// whenever the service starts again.
    async fn give_scope(&self, hello: Hello) {
        let Ok(pid) = u32::try_from(hello.pid) else {
            return;
        };
        let Some(scope) = scope::of_monitor(&self.parts.settings, &self.pod, pid) else {
            return;
        };
        if let Err(error) = pinpod_systemd::start_scope(&scope).await {
            tracing::warn!(pod = %self.pod, error = %Chain(&error), "a monitor has no scope");
        }
    }

    /// The monitor that is there already, as after a restart of the daemon.
    pub(crate) async fn connect(&self) -> Result<Client, MonitorError> {
        let mut slot = self.client.lock().await;
        match &*slot {
            Some(client) => Ok(client.clone()),
            None => self.open(&mut slot).await,
        }
    }

    async fn open(&self, slot: &mut Option<Client>) -> Result<Client, MonitorError> {
        let client = Client::connect(&self.pod_dir.join(SOCKET_NAME)).await?;
        let subscription = client.subscribe().await?;
        tokio::spawn(listen(subscription, self.outbox.clone()));
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = identity(client.hello());
        *slot = Some(client.clone());
        Ok(client)
    }

    /// Lets the monitor end, if there is one. One that is gone already is what is wanted.
    pub(crate) async fn shut_down(&self) {
        let client = match self.connect().await {
            Ok(client) => client,
            Err(MonitorError::Client(ClientError::Gone { .. })) => return,
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "cannot reach a monitor to end it");
                return;
            }
        };
        let process = identity(client.hello());
        match client.shutdown().await {
            Ok(()) => {
                if let Some(process) = process {
                    crate::watch_process::gone(process).await;
                }
            }
            Err(ClientError::Gone { .. }) => {}
            Err(error) => tracing::warn!(error = %Chain(&error), "cannot end a monitor"),
        }
        *self.client.lock().await = None;
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Asked of the kernel, so that a create costs no round trip to find out.
fn is_alive(client: &Client) -> Result<bool, MonitorError> {
    match identity(client.hello()) {
        Some(process) => Ok(process::is_alive(&process)?),
        None => Ok(false),
    }
}

fn identity(hello: Hello) -> Option<ProcessIdentity> {
    let pid = u32::try_from(hello.pid).ok()?;
    Some(ProcessIdentity {
        pid,
        start_time: hello.start_time,
    })
}

/// Passes every exit on to the driver, those before the subscription included, until the monitor
/// ends.
async fn listen(subscription: Subscription, outbox: mpsc::UnboundedSender<Message>) {
    let Subscription { exits, mut events } = subscription;
    for (id, exit) in exits {
        if outbox
            .send(Message::Event(Event::Exited {
                id,
                exit: exit.into(),
            }))
            .is_err()
        {
            return;
        }
    }
    loop {
        match events.next().await {
            Ok(Some(pinpod_monitor_api::Event::Exited { id, exit })) => {
                let event = Event::Exited {
                    id,
                    exit: exit.into(),
                };
                if outbox.send(Message::Event(event)).is_err() {
                    return;
                }
            }
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "a monitor's connection broke");
                break;
            }
        }
    }
    if outbox.send(Message::Event(Event::MonitorGone)).is_err() {
        tracing::debug!("the pod was gone before its monitor");
    }
}
