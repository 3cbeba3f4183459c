//! Capability arguments: what the runtime tells those plugins that ask for it (`runtimeConfig`).
//!
//! The names are the conventions of the CNI project (`CONVENTIONS.md`: `portMappings`, `bandwidth`,
//! `dns`, `ipRanges`, `cgroupPath`) and `io.kubernetes.cri.pod-annotations`, which CRI runtimes
//! share.

use pinpod_model::{DnsConfig, Labels, PortMapping, PortProtocol};
use serde_json::{Map, Value, json};

use crate::AttachRequest;
use crate::quantity::{Quantity, QuantityError};

const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
const EGRESS: &str = "kubernetes.io/egress-bandwidth";

/// Bits that a shaped pod may send at once: as much as every version of the bandwidth plugin takes,
/// since Kubernetes has no annotation for it.
const BURST: u64 = i32::MAX as u64;

/// Kubernetes takes rates from 1 kbit/s to 1 Pbit/s.
const RATES: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000_000;

/// An annotation that sets a rate and does not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnotationError {
    /// Not a quantity.
    #[error("{key}")]
    Quantity {
        /// The annotation.
        key: &'static str,
        /// Why.
        #[source]
        source: QuantityError,
    },
    /// Less than 1k or more than 1P.
    #[error("{key}: {rate} bit/s is not between 1k and 1P")]
    OutOfRange {
        /// The annotation.
        key: &'static str,
        /// Its value in bits per second.
        rate: u64,
    },
}

fn rate(annotations: &Labels, key: &'static str) -> Result<Option<u64>, AnnotationError> {
    let Some(text) = annotations.get(key) else {
        return Ok(None);
    };
    let quantity: Quantity = text
        .parse()
        .map_err(|source| AnnotationError::Quantity { key, source })?;
    let rate = quantity.value();
    if RATES.contains(&rate) {
        Ok(Some(rate))
    } else {
        Err(AnnotationError::OutOfRange { key, rate })
    }
}

fn bandwidth(annotations: &Labels) -> Result<Option<Value>, AnnotationError> {
    let mut limits = Map::new();
    for (key, direction) in [(INGRESS, "ingress"), (EGRESS, "egress")] {
        if let Some(rate) = rate(annotations, key)? {
            limits.insert(format!("{direction}Rate"), rate.into());
            limits.insert(format!("{direction}Burst"), BURST.into());
        }
    }
    Ok((!limits.is_empty()).then_some(Value::Object(limits)))
}

/// Mappings with a port of the node; the others only declare a port and open nothing.
fn port_mappings(mappings: &[PortMapping]) -> Option<Value> {
    let mappings: Vec<Value> = mappings
        .iter()
        .filter(|mapping| mapping.host_port != 0)
        .map(port_mapping)
        .collect();
    (!mappings.is_empty()).then_some(Value::Array(mappings))
}

fn port_mapping(mapping: &PortMapping) -> Value {
    let protocol = match mapping.protocol {
        PortProtocol::Tcp => "tcp",
        PortProtocol::Udp => "udp",
        PortProtocol::Sctp => "sctp",
    };
    let mut value = json!({
        "hostPort": mapping.host_port,
        "containerPort": mapping.container_port,
        "protocol": protocol,
    });
    if let Some(host_ip) = mapping.host_ip {
        value["hostIP"] = host_ip.to_string().into();
    }
    value
}

fn dns(config: &DnsConfig) -> Option<Value> {
    if *config == DnsConfig::default() {
        return None;
    }
    Some(json!({
        "servers": config.servers,
        "searches": config.searches,
        "options": config.options,
    }))
}

/// One set of one range for each address family.
fn ip_ranges(cidrs: &[String]) -> Option<Value> {
    let set = |cidr: &String| json!([{ "subnet": cidr }]);
    (!cidrs.is_empty()).then(|| cidrs.iter().map(set).collect())
}

/// Everything there is to tell about a pod, by capability.
pub(crate) fn arguments(
    request: &AttachRequest,
    pod_cidrs: &[String],
) -> Result<Map<String, Value>, AnnotationError> {
    let annotations = (!request.annotations.is_empty()).then(|| json!(request.annotations));
    let cgroup = (!request.cgroup_parent.is_empty()).then(|| request.cgroup_parent.clone().into());
    let known = [
        ("portMappings", port_mappings(&request.port_mappings)),
        ("bandwidth", bandwidth(&request.annotations)?),
        ("dns", request.dns.as_ref().and_then(dns)),
        ("ipRanges", ip_ranges(pod_cidrs)),
        ("io.kubernetes.cri.pod-annotations", annotations),
        ("cgroupPath", cgroup),
    ];
    let present = known
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Ok(present.collect())
}

/// What one plugin asked for, of what there is: its `capabilities` that are true.
pub(crate) fn runtime_config(
    plugin: &Map<String, Value>,
    arguments: &Map<String, Value>,
) -> Option<Value> {
    let asked = plugin.get("capabilities")?.as_object()?;
    let wanted = |name: &String| asked.get(name).and_then(Value::as_bool) == Some(true);
    let given: Map<String, Value> = arguments
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    (!given.is_empty()).then_some(Value::Object(given))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidth_annotations() {
        let table = [
            (vec![], Ok(None)),
            (
                vec![(INGRESS, "10M")],
                Ok(Some(
                    json!({"ingressRate": 10_000_000, "ingressBurst": BURST}),
                )),
            ),
            (
                vec![(INGRESS, "1k"), (EGRESS, "1Mi")],
                Ok(Some(json!({
                    "ingressRate": 1000, "ingressBurst": BURST,
                    "egressRate": 1_048_576, "egressBurst": BURST,
                }))),
            ),
            (
                vec![(EGRESS, "999")],
                Err("kubernetes.io/egress-bandwidth: 999 bit/s is not between 1k and 1P"),
            ),
            (
                vec![(INGRESS, "2P")],
                Err(
                    "kubernetes.io/ingress-bandwidth: 2000000000000000 bit/s is not between 1k and 1P",
                ),
            ),
            (vec![(INGRESS, "fast")], Err(INGRESS)),
        ];
        for (annotations, expected) in table {
            let labels: Labels = annotations
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            let found = bandwidth(&labels).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{annotations:?}");
        }
    }

    #[test]
    fn port_mappings_with_a_host_port() {
        let mapping = |protocol, container_port, host_port, host_ip: Option<&str>| PortMapping {
            protocol,
            container_port,
            host_port,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        };
        let table = [
            (vec![], None),
            (vec![mapping(PortProtocol::Tcp, 80, 0, None)], None),
            (
                vec![
                    mapping(PortProtocol::Tcp, 80, 8080, None),
                    mapping(PortProtocol::Tcp, 81, 0, None),
                    mapping(PortProtocol::Udp, 53, 5353, Some("127.0.0.1")),
                    mapping(PortProtocol::Sctp, 9, 65535, Some("fd00::1")),
                ],
                Some(json!([
                    {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
                    {"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"},
                    {"hostPort": 65535, "containerPort": 9, "protocol": "sctp", "hostIP": "fd00::1"},
                ])),
            ),
        ];
        for (mappings, expected) in table {
            assert_eq!(port_mappings(&mappings), expected, "{mappings:?}");
        }
    }

    #[test]
    fn a_plugin_gets_what_it_asked_for() {
        let arguments = json!({"portMappings": [1], "bandwidth": {"ingressRate": 1}});
        let arguments = arguments.as_object().unwrap();
        for (plugin, expected) in [
            (json!({}), None),
            (json!({"capabilities": {}}), None),
            (json!({"capabilities": {"portMappings": false}}), None),
            (json!({"capabilities": {"dns": true}}), None),
            (
                json!({"capabilities": {"portMappings": true, "dns": true}}),
                Some(json!({"portMappings": [1]})),
            ),
        ] {
            let found = runtime_config(plugin.as_object().unwrap(), arguments);
            assert_eq!(found, expected, "{plugin}");
        }
    }

    #[test]
    fn ranges_of_both_families() {
        assert_eq!(ip_ranges(&[]), None);
        assert_eq!(
            ip_ranges(&["10.1.0.0/24".to_owned(), "fd01::/64".to_owned()]),
            Some(json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/64"}]]))
        );
    }
}
