//! The address ranges that the kubelet tells with UpdateRuntimeConfig.

use std::net::IpAddr;

use pinpod_cri_api::runtime::v1 as cri;

use super::error::ConvertError;

/// The CIDRs of `network_config.pod_cidr`, one or, on a dual-stack node, two with a comma between.
pub(crate) fn pod_cidrs(proto: Option<cri::RuntimeConfig>) -> Result<Vec<String>, ConvertError> {
    let network = proto.unwrap_or_default().network_config.unwrap_or_default();
    let field = "runtime_config.network_config.pod_cidr";
    let parts = network
        .pod_cidr
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let check = |part: &str| match is_cidr(part) {
        true => Ok(part.to_owned()),
        false => Err(ConvertError::form(
            field,
            part,
            "an address range such as 10.0.0.0/16",
        )),
    };
    parts.map(check).collect()
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    let (Ok(address), Ok(length)) = (address.parse::<IpAddr>(), length.parse::<u8>()) else {
        return false;
    };
    length <= if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_two_or_none() {
        let config = |pod_cidr: &str| {
            let network_config = Some(cri::NetworkConfig {
                pod_cidr: pod_cidr.into(),
            });
            Some(cri::RuntimeConfig { network_config })
        };
        assert_eq!(pod_cidrs(None), Ok(Vec::new()));
        assert_eq!(pod_cidrs(config("")), Ok(Vec::new()));
        assert_eq!(
            pod_cidrs(config("10.1.0.0/24")),
            Ok(vec!["10.1.0.0/24".into()])
        );
        let both = pod_cidrs(config("10.1.0.0/24, fd00::/64")).unwrap();
        assert_eq!(both, ["10.1.0.0/24", "fd00::/64"]);
        for bad in ["10.1.0.0", "10.1.0.0/33", "x/8", "10.1.0.0/24,,fd00::/129"] {
            assert!(pod_cidrs(config(bad)).is_err(), "{bad}");
        }
    }
}
