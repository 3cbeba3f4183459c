//! Filters of the list calls: all parts that are given must match. An identifier matches by its
//! beginning, as `crictl` shows and sends short ones.

use pinpod_cri_api::runtime::v1 as cri;
use pinpod_model::Labels;
use pinpod_pod::{ContainerSnapshot, PodSnapshot};

use super::container_status::state_of as container_state;
use super::error::{ConvertError, Problem};
use super::pod_status::state_of as pod_state;

/// Which pod sandboxes are meant.
#[derive(Debug, Default)]
pub(crate) struct PodMatch {
    id: String,
    state: Option<cri::PodSandboxState>,
    labels: Labels,
}

impl PodMatch {
    pub(crate) fn new(filter: Option<cri::PodSandboxFilter>) -> Result<Self, ConvertError> {
        let filter = filter.unwrap_or_default();
        let state = filter.state.map(|value| {
            cri::PodSandboxState::try_from(value.state)
                .map_err(|_| unknown_state(value.state, "SANDBOX_READY, SANDBOX_NOTREADY"))
        });
        Ok(Self {
            id: filter.id,
            state: state.transpose()?,
            labels: filter.label_selector,
        })
    }

    /// The filter of statistics has no state.
    pub(crate) fn of_stats(filter: Option<cri::PodSandboxStatsFilter>) -> Self {
        let filter = filter.unwrap_or_default();
        Self {
            id: filter.id,
            state: None,
            labels: filter.label_selector,
        }
    }

    pub(crate) fn matches(&self, pod: &PodSnapshot) -> bool {
        pod.id.as_str().starts_with(&self.id)
            && self.state.is_none_or(|state| state == pod_state(pod))
            && selects(&self.labels, &pod.config.labels)
    }
}

/// Which containers are meant.
#[derive(Debug, Default)]
pub(crate) struct ContainerMatch {
    id: String,
    pod: String,
    state: Option<cri::ContainerState>,
    labels: Labels,
}

impl ContainerMatch {
    pub(crate) fn new(filter: Option<cri::ContainerFilter>) -> Result<Self, ConvertError> {
        let filter = filter.unwrap_or_default();
        let allowed = "CONTAINER_CREATED, _RUNNING, _EXITED, _UNKNOWN";
        let state = filter.state.map(|value| {
            cri::ContainerState::try_from(value.state)
                .map_err(|_| unknown_state(value.state, allowed))
        });
        Ok(Self {
            id: filter.id,
            pod: filter.pod_sandbox_id,
            state: state.transpose()?,
            labels: filter.label_selector,
        })
    }

    /// The filter of statistics has no state.
    pub(crate) fn of_stats(filter: Option<cri::ContainerStatsFilter>) -> Self {
        let filter = filter.unwrap_or_default();
        Self {
            id: filter.id,
            pod: filter.pod_sandbox_id,
            state: None,
            labels: filter.label_selector,
        }
    }

    pub(crate) fn matches(&self, container: &ContainerSnapshot) -> bool {
        container.id.as_str().starts_with(&self.id)
            && container.pod.as_str().starts_with(&self.pod)
            && self
                .state
                .is_none_or(|state| state == container_state(container))
            && selects(&self.labels, &container.config.labels)
    }
}

fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

fn unknown_state(value: i32, allowed: &'static str) -> ConvertError {
    ConvertError::new(
        "filter.state",
        Problem::Choice {
            value: value.to_string(),
            allowed,
        },
    )
}
