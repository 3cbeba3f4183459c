//! What goes wrong with plugins, as requests see it.

use std::io;
use std::path::PathBuf;

use pinpod_model::{Classify, ErrorClass};

use crate::api::{Event, Field};
use crate::connection::CallError;

/// Plugins fail a request. Each text names the plugin, as index and name.
#[derive(Debug, thiserror::Error)]
pub enum NriError {
    /// A plugin says no.
    #[error("NRI plugin {plugin:?} refuses {event}: {message}")]
    Refused {
        /// The plugin.
        plugin: String,
        /// What it was told.
        event: &'static str,
        /// Its words.
        message: String,
    },
    /// A plugin did not answer as it should, and it wants requests to fail then.
    #[error("NRI plugin {plugin:?} did not handle {event}")]
    Failed {
        /// The plugin.
        plugin: String,
        /// What it was told.
        event: &'static str,
        /// Why.
        #[source]
        source: PluginFault,
    },
    /// Two plugins want the same thing differently.
    #[error("NRI plugins {first:?} and {second:?} both set {what}")]
    Conflict {
        /// Who set it first.
        first: String,
        /// Who wants it too.
        second: String,
        /// The field, with its key.
        what: String,
    },
    /// A plugin wants an update of the container that is only being made.
    #[error(
        "NRI plugin {plugin:?} asks for an update of container {container}, which is being made"
    )]
    UpdateOfNew {
        /// The plugin.
        plugin: String,
        /// The container.
        container: String,
    },
    /// A validating plugin rejects what the others want.
    #[error("NRI plugin {plugin:?} rejects the adjustments of the container: {reason}")]
    Rejected {
        /// The validating plugin.
        plugin: String,
        /// Its words.
        reason: String,
    },
}

impl Classify for NriError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Refused { .. }
            | Self::Rejected { .. }
            | Self::Conflict { .. }
            | Self::UpdateOfNew { .. } => ErrorClass::FailedPrecondition,
            Self::Failed { .. } => ErrorClass::Unavailable,
        }
    }
}

/// A plugin that did not answer as the protocol says.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct PluginFault(#[from] pub(crate) CallError);

/// A plugin did not become one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegisterError {
    /// It said nothing.
    #[error("it did not register within {0} ms")]
    Late(u128),
    /// It left.
    #[error("it went away before it registered")]
    Gone,
    /// A name or an index that cannot be.
    #[error("{0:?} is not {1}")]
    Identity(String, &'static str),
    /// Its first words are none.
    #[error("its registration cannot be read")]
    Decode(#[from] prost::DecodeError),
    /// It cannot be configured.
    #[error("it cannot be configured")]
    Configure(#[source] CallError),
    /// It wants events that there are not.
    #[error("it subscribes to unknown events (mask {0:#x})")]
    Events(i32),
    /// It cannot take in what there is.
    #[error("it cannot be told of the pods and containers there are")]
    Synchronize(#[source] CallError),
    /// It does not understand a list in pieces.
    #[error("it does not take a long list of containers in pieces")]
    Pieces,
    /// The engine has ended.
    #[error("the daemon ends")]
    Ending,
}

/// Plugins cannot be let in at all.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory of pre-installed plugins.
    #[error("cannot read the NRI plugin directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The socket.
    #[error("cannot listen for NRI plugins on {}", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The name of an event as the protocol writes it.
pub(crate) fn event_name(event: Event) -> &'static str {
    match event {
        Event::RunPodSandbox => "RunPodSandbox",
        Event::StopPodSandbox => "StopPodSandbox",
        Event::RemovePodSandbox => "RemovePodSandbox",
        Event::CreateContainer => "CreateContainer",
        Event::PostCreateContainer => "PostCreateContainer",
        Event::StartContainer => "StartContainer",
        Event::PostStartContainer => "PostStartContainer",
        Event::UpdateContainer => "UpdateContainer",
        Event::PostUpdateContainer => "PostUpdateContainer",
        Event::StopContainer => "StopContainer",
        Event::RemoveContainer => "RemoveContainer",
        Event::UpdatePodSandbox => "UpdatePodSandbox",
        Event::PostUpdatePodSandbox => "PostUpdatePodSandbox",
        Event::ValidateContainerAdjustment => "ValidateContainerAdjustment",
        Event::Unknown | Event::Last => "an unknown event",
    }
}

/// A field as an error names it.
pub(crate) fn field_text(field: Field, key: Option<&str>) -> String {
    let name = field.as_str_name();
    match key {
        Some(key) => format!("{name} {key:?}"),
        None => name.to_owned(),
    }
}
