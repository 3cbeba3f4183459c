//! Asks systemd for the scopes of processes that are not containers: a pod's PID 1 and its monitor.
//! The scopes of containers are made by the OCI runtime.
//!
//! This is all that the daemon wants of D-Bus, so the few messages are written and read here, by the
//! D-Bus specification (version 0.41), over one connection of the system bus for each call: no
//! connection can be stale after a restart of the bus, and calls do not wait for each other.

mod bus;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use bus::Bus;
use wire::{Body, Message, Value};

/// How long systemd may take for one scope; it needs some milliseconds.
const DEADLINE: Duration = Duration::from_secs(20);

const DESTINATION: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// A scope that shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Name of the unit, with `.scope`.
    pub name: String,
    /// The slice that it lies in, with `.slice`; systemd makes one that is not there.
    pub slice: String,
    /// What `systemctl status` says of it.
    pub description: String,
    /// The process that is moved into it. When the scope's last process ends, the scope does.
    pub pid: u32,
}

/// Why there is no scope.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SystemdError {
    /// The bus cannot be reached, or broke off.
    #[error("cannot talk to the system bus at {}", socket.display())]
    Bus {
        /// Its socket.
        socket: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// systemd refuses.
    #[error("systemd refuses {method} of {unit}: {name}: {text}")]
    Refused {
        /// What was asked.
        method: &'static str,
        /// Of which unit.
        unit: String,
        /// D-Bus name of the error.
        name: String,
        /// Its text.
        text: String,
    },
    /// The job that starts the scope did not end well.
    #[error("systemd could not start {unit}: {result}")]
    Job {
        /// The unit.
        unit: String,
        /// systemd's word: `failed`, `canceled`, `timeout`, `dependency`, `skipped`.
        result: String,
    },
    /// systemd takes too long.
    #[error("systemd did not start {unit} within {} s", DEADLINE.as_secs())]
    TimedOut {
        /// The unit.
        unit: String,
    },
}

/// Makes a scope and returns when its process is in it. Where a scope of that name is there already,
/// the process joins it.
///
/// # Errors
/// See [`SystemdError`]; the process is where it was then.
pub async fn start_scope(scope: &Scope) -> Result<(), SystemdError> {
    let timed = tokio::time::timeout(DEADLINE, start(scope)).await;
    timed.unwrap_or_else(|_elapsed| {
        Err(SystemdError::TimedOut {
            unit: scope.name.clone(),
        })
    })
}

async fn start(scope: &Scope) -> Result<(), SystemdError> {
    let mut bus = Bus::connect().await?;
    bus.call(&watch_jobs()).await?;
    let reply = bus.call(&start_transient(scope)).await?;
    let job = match (reply.error, reply.strings.first()) {
        (None, Some(job)) => job.clone(),
        (Some(name), _) if name == UNIT_EXISTS => return join(&mut bus, scope).await,
        (name, text) => return Err(refused("StartTransientUnit", scope, name, text)),
    };
    loop {
        let signal = bus.signal().await?;
        if signal.member.as_deref() != Some("JobRemoved") || signal.strings.first() != Some(&job) {
            continue;
        }
        return match signal.strings.last().map(String::as_str) {
            Some("done") => Ok(()),
            result => Err(SystemdError::Job {
                unit: scope.name.clone(),
                result: result.unwrap_or_default().to_owned(),
            }),
        };
    }
}

/// A pod's second monitor finds the scope of the first.
async fn join(bus: &mut Bus, scope: &Scope) -> Result<(), SystemdError> {
    const METHOD: &str = "AttachProcessesToUnit";
    let mut body = Body::default();
    body.string(&scope.name).string("").pids(&[scope.pid]);
    let reply = bus.call(&manager(METHOD, "ssau", body)).await?;
    match reply.error {
        None => Ok(()),
        name => Err(refused(METHOD, scope, name, reply.strings.first())),
    }
}

fn refused(
    method: &'static str,
    scope: &Scope,
    name: Option<String>,
    text: Option<&String>,
) -> SystemdError {
    SystemdError::Refused {
        method,
        unit: scope.name.clone(),
        name: name.unwrap_or_default(),
        text: text.cloned().unwrap_or_default(),
    }
}

/// The end of a job is told as a signal, which only comes to who wants it.
fn watch_jobs() -> Message {
    let rule =
        format!("type='signal',sender='{DESTINATION}',interface='{MANAGER}',member='JobRemoved'");
    let mut body = Body::default();
    body.string(&rule);
    bus::of_the_bus("AddMatch", "s", body)
}

/// `StartTransientUnit(name, mode, properties, auxiliary units)`.
fn start_transient(scope: &Scope) -> Message {
    let mut body = Body::default();
    body.string(&scope.name).string("replace");
    body.properties(&[
        ("Description", Value::Text(&scope.description)),
        ("Slice", Value::Text(&scope.slice)),
        ("PIDs", Value::Pids(&[scope.pid])),
        // What is below the scope is not systemd's.
        ("Delegate", Value::Flag(true)),
        // As the scopes that OCI runtimes make: not in the way of a shutdown.
        ("DefaultDependencies", Value::Flag(false)),
        ("CollectMode", Value::Text("inactive-or-failed")),
    ]);
    body.no_properties();
    manager("StartTransientUnit", "ssa(sv)a(sa(sv))", body)
}

fn manager(member: &'static str, signature: &'static str, body: Body) -> Message {
    Message {
        destination: DESTINATION,
        path: PATH,
        interface: MANAGER,
        member,
        signature,
        body,
    }
}
