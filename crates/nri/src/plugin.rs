//! One connected plugin: its registration, and the requests that are relayed to it.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use prost::Message as _;
use tokio::net::UnixStream;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use crate::Settings;
use crate::api::{
    ConfigureRequest, ConfigureResponse, Container, ContainerUpdate, Empty, Event, FailurePolicy,
    PodSandbox, RegisterPluginRequest, StateChangeEvent, SynchronizeRequest, SynchronizeResponse,
};
use crate::connection::{CallError, Connection, Incoming};
use crate::error::{NriError, PluginFault, RegisterError, event_name};
use crate::rpc::{self, Status};

/// How long a plugin may take to say good-bye.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(1);
/// Version of the protocol that is told to plugins.
const NRI_VERSION: &str = "v0.12.5";

/// Index and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Two digits; plugins are called in this order.
    pub(crate) index: String,
    /// Name without the index.
    pub(crate) base: String,
}

impl Identity {
    /// From the parts that a plugin registers with.
    pub(crate) fn new(index: &str, base: &str) -> Result<Self, RegisterError> {
        let two_digits = index.len() == 2 && index.bytes().all(|byte| byte.is_ascii_digit());
        if !two_digits {
            let what = "a plugin index of two digits";
            return Err(RegisterError::Identity(index.to_owned(), what));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
        if base.is_empty() || !base.chars().all(plain) {
            return Err(RegisterError::Identity(base.to_owned(), "a plugin name"));
        }
        Ok(Self {
            index: index.to_owned(),
            base: base.to_owned(),
        })
    }

    /// From a file name, `<index>-<name>`.
    pub(crate) fn parse(name: &str) -> Result<Self, RegisterError> {
        match name.split_once('-') {
            Some((index, base)) => Self::new(index, base),
            None => Err(RegisterError::Identity(
                name.to_owned(),
                "a plugin's file name, <two digits>-<name>",
            )),
        }
    }
}

/// What the plugin of a connection is known to be beforehand: those of the plugin directory have
/// their name from there, and a configuration.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub(crate) identity: Option<Identity>,
    pub(crate) config: String,
}

/// A plugin that is registered and configured.
#[derive(Debug)]
pub(crate) struct Plugin {
    /// `<index>-<name>`, as in errors and the log.
    pub(crate) name: String,
    pub(crate) identity: Identity,
    pub(crate) connection: Connection,
    events: i32,
    /// Events for which it has no RPC of their own, learnt by asking.
    by_state_change: AtomicI32,
    policy: FailurePolicy,
    limit: Duration,
    /// A plugin gets one request at a time: few are written for more.
    one_at_a_time: Mutex<()>,
}

impl Plugin {
    /// Waits for the plugin's registration, and configures it. What it calls later comes out of the
    /// receiver.
    pub(crate) async fn register(
        socket: UnixStream,
        expected: Expected,
        settings: &Settings,
    ) -> Result<(Self, mpsc::Receiver<Incoming>), RegisterError> {
        let (connection, mut calls) = Connection::open(socket);
        let registered = async {
            let until = Instant::now() + settings.registration_timeout;
            let identity = tokio::select! {
                identity = first_words(&connection, &mut calls, expected.identity) => identity?,
                () = tokio::time::sleep_until(until) => {
                    return Err(RegisterError::Late(settings.registration_timeout.as_millis()));
                }
            };
            let configured = configure(&connection, expected.config, settings).await?;
            let events = subscription(configured.events)?;
            Ok((identity, events, configured.failure_policy))
        };
        match registered.await {
            Ok((identity, events, policy)) => {
                let plugin = Self {
                    name: format!("{}-{}", identity.index, identity.base),
                    identity,
                    connection,
                    events,
                    by_state_change: AtomicI32::new(0),
                    policy: policy.unwrap_or_default(),
                    limit: settings.request_timeout,
                    one_at_a_time: Mutex::new(()),
                };
                Ok((plugin, calls))
            }
            Err(error) => {
                connection.close();
                Err(error)
            }
        }
    }

    /// Whether it wants to hear of such events.
    pub(crate) fn wants(&self, event: Event) -> bool {
        self.events & bit(event) != 0 && !self.connection.is_closed()
    }

    /// Tells it of everything there is, in pieces where that is too much for one message, and
    /// returns the updates that it wants.
    pub(crate) async fn synchronize(
        &self,
        pods: Vec<PodSandbox>,
        containers: Vec<Container>,
    ) -> Result<Vec<ContainerUpdate>, RegisterError> {
        let _turn = self.one_at_a_time.lock().await;
        let (mut pods, mut containers) = (pods, containers);
        let (mut pods_at_once, mut containers_at_once) = (pods.len(), containers.len());
        loop {
            let rest_pods = pods.split_off(pods_at_once.min(pods.len()));
            let rest_containers = containers.split_off(containers_at_once.min(containers.len()));
            let more = !rest_pods.is_empty() || !rest_containers.is_empty();
            let request = SynchronizeRequest {
                pods,
                containers,
                more,
            };
            let answer: Result<SynchronizeResponse, _> = self
                .connection
                .call("Synchronize", &request, self.limit)
                .await;
            match answer {
                Ok(answer) if !more => return Ok(answer.update),
                Ok(answer) if !answer.more || !answer.update.is_empty() => {
                    return Err(RegisterError::Pieces);
                }
                Ok(_) => (pods, containers) = (rest_pods, rest_containers),
                Err(CallError::TooLong(_)) if pods_at_once.max(containers_at_once) > 1 => {
                    pods_at_once = pods_at_once.div_ceil(2);
                    containers_at_once = containers_at_once.div_ceil(2);
                    (pods, containers) = (request.pods, request.containers);
                    pods.extend(rest_pods);
                    containers.extend(rest_containers);
                }
                Err(error) => return Err(RegisterError::Synchronize(error)),
            }
        }
    }

    /// Relays a request. `None` when the plugin failed and the request goes on without it.
    ///
    /// # Errors
    /// The plugin refuses, or it failed and its policy is that the request fails too.
    pub(crate) async fn ask<Q, A>(&self, event: Event, request: &Q) -> Result<Option<A>, NriError>
    where
        Q: prost::Message,
        A: prost::Message + Default,
    {
        let _turn = self.one_at_a_time.lock().await;
        let answer = self.connection.call(event_name(event), request, self.limit);
        match answer.await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) => self.judge(event, error).map(|()| None),
        }
    }

    /// Tells it of an event that has no answer.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(crate) async fn tell<Q: prost::Message>(
        &self,
        event: Event,
        request: &Q,
        pod: &PodSandbox,
        container: Option<&Container>,
    ) -> Result<(), NriError> {
        let _turn = self.one_at_a_time.lock().await;
        if self.by_state_change.load(Ordering::Relaxed) & bit(event) == 0 {
            let told: Result<Empty, _> = self
                .connection
                .call(event_name(event), request, self.limit)
                .await;
            match told {
                Ok(Empty {}) => return Ok(()),
                Err(CallError::Status(status)) if status.code == rpc::UNIMPLEMENTED => {
                    self.by_state_change.fetch_or(bit(event), Ordering::Relaxed);
                }
                Err(error) => return self.judge(event, error),
            }
        }
        // An older plugin, from when there was one RPC for all of these.
        let change = StateChangeEvent {
            event: event.into(),
            pod: Some(pod.clone()),
            container: container.cloned(),
        };
        let told: Result<Empty, _> = self
            .connection
            .call("StateChange", &change, self.limit)
            .await;
        told.map(drop).or_else(|error| self.judge(event, error))
    }

    /// What an unanswered request means: an error that the plugin itself returned fails the request;
    /// a plugin that was too slow or broke off is let go, unless it asked otherwise.
    fn judge(&self, event: Event, error: CallError) -> Result<(), NriError> {
        let plugin = || self.name.clone();
        let event = event_name(event);
        if let CallError::Status(status) = error {
            return Err(NriError::Refused {
                plugin: plugin(),
                event,
                message: status.message,
            });
        }
        // That a request is too long for a message is no fault of the plugin.
        let keep = match error {
            CallError::TimedOut(_) => self.policy.keep_connected,
            CallError::TooLong(_) => true,
            CallError::Closed | CallError::Decode(_) | CallError::Status(_) => false,
        };
        if !keep {
            self.connection.close();
        }
        tracing::warn!(
            plugin = self.name, event, %error, disconnected = !keep,
            "an NRI plugin did not handle a request"
        );
        if self.policy.fail_request {
            return Err(NriError::Failed {
                plugin: plugin(),
                event,
                source: PluginFault(error),
            });
        }
        Ok(())
    }

    /// Says good-bye and ends the connection.
    pub(crate) async fn shut_down(&self) {
        let limit = SHUTDOWN_WITHIN.min(self.limit);
        let told: Result<Empty, _> = self.connection.call("Shutdown", &Empty {}, limit).await;
        if let Err(error) = told {
            tracing::debug!(plugin = self.name, %error, "an NRI plugin did not say good-bye");
        }
        self.connection.close();
    }
}

/// The plugin's first call must be its registration.
async fn first_words(
    connection: &Connection,
    calls: &mut mpsc::Receiver<Incoming>,
    known: Option<Identity>,
) -> Result<Identity, RegisterError> {
    let call = calls.recv().await.ok_or(RegisterError::Gone)?;
    if call.method != "RegisterPlugin" {
        let message = "register first".to_owned();
        let code = rpc::INVALID_ARGUMENT;
        connection
            .answer::<Empty>(&call, Err(Status { code, message }))
            .await;
        let what = "the registration of a plugin";
        return Err(RegisterError::Identity(call.method.clone(), what));
    }
    let request = RegisterPluginRequest::decode(call.payload.clone())?;
    let identity = match known {
        Some(identity) => Ok(identity),
        None => Identity::new(&request.plugin_idx, &request.plugin_name),
    };
    let answer = match &identity {
        Ok(_) => Ok(Empty {}),
        Err(error) => Err(Status {
            code: rpc::INVALID_ARGUMENT,
            message: error.to_string(),
        }),
    };
    connection.answer(&call, answer).await;
    identity
}

async fn configure(
    connection: &Connection,
    config: String,
    settings: &Settings,
) -> Result<ConfigureResponse, RegisterError> {
    let milliseconds = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let request = ConfigureRequest {
        config,
        runtime_name: settings.runtime_name.clone(),
        runtime_version: settings.runtime_version.clone(),
        registration_timeout: milliseconds(settings.registration_timeout),
        request_timeout: milliseconds(settings.request_timeout),
        nri_version: NRI_VERSION.to_owned(),
    };
    connection
        .call("Configure", &request, settings.request_timeout)
        .await
        .map_err(RegisterError::Configure)
}

/// The bit of an event in a subscription.
fn bit(event: Event) -> i32 {
    1 << (i32::from(event) - 1).clamp(0, 30)
}

/// Every event that there is.
const ALL: i32 = (1 << (Event::Last as i32 - 1)) - 1;

fn subscription(events: i32) -> Result<i32, RegisterError> {
    match events {
        0 => Ok(ALL),
        events if events & !ALL != 0 => Err(RegisterError::Events(events)),
        events => Ok(events),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities() {
        let identity = Identity::parse("10-device-injector").unwrap();
        assert_eq!(identity.index, "10");
        assert_eq!(identity.base, "device-injector");
        for bad in ["", "1-a", "abc", "10-", "x0-a", "100-a", "10-a/b", "10-a b"] {
            assert!(Identity::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn subscriptions() {
        assert_eq!(subscription(0).unwrap(), 0x3fff);
        assert_eq!(subscription(0b1001).unwrap(), 0b1001);
        assert!(subscription(1 << 14).is_err());
        assert_eq!(bit(Event::RunPodSandbox), 1);
        assert_eq!(bit(Event::ValidateContainerAdjustment), 1 << 13);
    }
}
