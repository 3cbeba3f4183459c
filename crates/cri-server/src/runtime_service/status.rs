//! Version, health and settings.

use std::collections::BTreeMap;

use pinpod_cri_api::runtime::v1 as cri;
use pinpod_model::CgroupDriver;
use serde_json::json;

use super::RuntimeService;
use crate::convert;
use crate::node_report::HandlerReport;
use crate::status_code::Refusal;

/// Version of the kubelet's own interface, which has been this since its first days.
const KUBELET_API_VERSION: &str = "0.1.0";

pub(super) async fn version(
    service: &RuntimeService,
    _: cri::VersionRequest,
) -> Result<cri::VersionResponse, Refusal> {
    Ok(cri::VersionResponse {
        version: KUBELET_API_VERSION.into(),
        runtime_name: "pinpod".into(),
        runtime_version: service.node.version.clone(),
        runtime_api_version: "v1".into(),
    })
}

pub(super) async fn status(
    service: &RuntimeService,
    request: cri::StatusRequest,
) -> Result<cri::StatusResponse, Refusal> {
    let network = service.network.status();
    let conditions = vec![
        // Who answers has recovered its pods, and needs nothing more to run others.
        condition("RuntimeReady", true, "", String::new()),
        condition(
            "NetworkReady",
            network.ready,
            network.reason,
            network.message,
        ),
    ];
    let node = &service.node;
    let named = node
        .handlers
        .iter()
        .map(|handler| runtime_handler(&handler.name, handler));
    let unnamed = node
        .handlers
        .iter()
        .filter(|handler| handler.name == node.default_handler)
        .map(|handler| runtime_handler("", handler));
    Ok(cri::StatusResponse {
        status: Some(cri::RuntimeStatus { conditions }),
        info: if request.verbose {
            let mut info = node.info.clone();
            info.insert("events".to_owned(), followed(service));
            info
        } else {
            BTreeMap::new()
        },
        runtime_handlers: unnamed.chain(named).collect(),
        features: Some(cri::RuntimeFeatures {
            supplemental_groups_policy: true,
            user_namespaces_host_network: node.user_namespaces_host_network,
        }),
    })
}

/// How many follow GetContainerEvents, and how far each may fall behind.
fn followed(service: &RuntimeService) -> String {
    let followers = service.engine.events().followers();
    json!({"followers": followers, "ring": pinpod_pod::RING}).to_string()
}

pub(super) async fn runtime_config(
    service: &RuntimeService,
    _: cri::RuntimeConfigRequest,
) -> Result<cri::RuntimeConfigResponse, Refusal> {
    let driver = match service.node.cgroup_driver {
        CgroupDriver::Systemd => cri::CgroupDriver::Systemd,
        CgroupDriver::Cgroupfs => cri::CgroupDriver::Cgroupfs,
    };
    let linux = cri::LinuxRuntimeConfiguration {
        cgroup_driver: driver.into(),
    };
    Ok(cri::RuntimeConfigResponse { linux: Some(linux) })
}

pub(super) async fn update_runtime_config(
    service: &RuntimeService,
    request: cri::UpdateRuntimeConfigRequest,
) -> Result<cri::UpdateRuntimeConfigResponse, Refusal> {
    let cidrs = convert::pod_cidrs(request.runtime_config)?;
    if !cidrs.is_empty() {
        service.network.update_pod_cidr(cidrs)?;
    }
    Ok(cri::UpdateRuntimeConfigResponse {})
}

fn condition(name: &str, status: bool, reason: &str, message: String) -> cri::RuntimeCondition {
    cri::RuntimeCondition {
        r#type: name.into(),
        status,
        reason: reason.into(),
        message,
    }
}

fn runtime_handler(name: &str, handler: &HandlerReport) -> cri::RuntimeHandler {
    cri::RuntimeHandler {
        name: name.into(),
        features: Some(cri::RuntimeHandlerFeatures {
            recursive_read_only_mounts: handler.recursive_read_only_mounts,
            user_namespaces: handler.user_namespaces,
        }),
    }
}
