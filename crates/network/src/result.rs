//! Results of ADD, section 5 of the CNI specification: what pinpod reads from them.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

/// The parts of a result that are read; the rest is passed on as it came.
#[derive(Debug, Deserialize)]
struct AddResult {
    #[serde(default)]
    interfaces: Option<Vec<Interface>>,
    #[serde(default)]
    ips: Option<Vec<Ip>>,
}

#[derive(Debug, Deserialize)]
struct Interface {
    name: String,
    #[serde(default)]
    sandbox: String,
}

#[derive(Debug, Deserialize)]
struct Ip {
    address: String,
    #[serde(default)]
    interface: Option<usize>,
}

/// The pod's addresses on `ifname`, in the order of the result. A result that ties no address to
/// that interface (plugins need not name interfaces) gives all of them.
pub(crate) fn addresses(result: &Value, ifname: &str) -> Result<Vec<IpAddr>, serde_json::Error> {
    use serde::de::Error;

    let result = AddResult::deserialize(result)?;
    let interfaces = result.interfaces.unwrap_or_default();
    let mut ours = Vec::new();
    let mut all = Vec::new();
    for ip in result.ips.unwrap_or_default() {
        let text = ip.address.split('/').next().unwrap_or_default();
        let address: IpAddr = text
            .parse()
            .map_err(|_| serde_json::Error::custom(format!("address {:?}", ip.address)))?;
        if all.contains(&address) {
            continue;
        }
        all.push(address);
        let on_ours = ip.interface.is_none_or(|index| {
            interfaces
                .get(index)
                .is_some_and(|one| one.name == ifname && !one.sandbox.is_empty())
        });
        if on_ours {
            ours.push(address);
        }
    }
    Ok(if ours.is_empty() { all } else { ours })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_of_results() {
        let interfaces = json!([
            {"name": "br0"},
            {"name": "eth0", "sandbox": "/run/netns/a"},
            {"name": "net1", "sandbox": "/run/netns/a"},
        ]);
        for (ips, expected) in [
            (json!([]), vec![]),
            (json!(null), vec![]),
            (
                json!([{"address": "10.0.0.2/16", "interface": 1}, {"address": "fd00::2/64", "interface": 1}]),
                vec!["10.0.0.2", "fd00::2"],
            ),
            (
                json!([{"address": "10.0.0.2/16", "interface": 2}, {"address": "10.0.0.3/16", "interface": 1}]),
                vec!["10.0.0.3"],
            ),
            (
                json!([{"version": "4", "address": "10.0.0.2/16"}, {"version": "4", "address": "10.0.0.2/16"}]),
                vec!["10.0.0.2"],
            ),
            (
                json!([{"address": "10.0.0.2/16", "interface": 9}]),
                vec!["10.0.0.2"],
            ),
        ] {
            let result = json!({"cniVersion": "1.0.0", "interfaces": interfaces, "ips": ips});
            let expected: Vec<IpAddr> = expected.iter().map(|ip| ip.parse().unwrap()).collect();
            assert_eq!(addresses(&result, "eth0").unwrap(), expected, "{ips}");
        }
        assert!(addresses(&json!({"ips": [{"address": "x"}]}), "eth0").is_err());
        assert!(addresses(&json!({"ips": "x"}), "eth0").is_err());
        assert!(addresses(&json!({}), "eth0").unwrap().is_empty());
    }
}
