//! Contents of the files that a pod's containers share: `resolv.conf`, `hosts`, `hostname`.

use std::fmt::Write;
use std::net::IpAddr;

use pinpod_model::{Classify, DnsConfig, ErrorClass};

/// A field of the DNS configuration that would break out of its line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("DNS configuration: {field} {value:?} holds a space or a control character")]
pub struct DnsError {
    field: &'static str,
    value: String,
}

impl Classify for DnsError {
    fn class(&self) -> ErrorClass {
        ErrorClass::InvalidArgument
    }
}

/// `resolv.conf` of a pod (resolv.conf(5)). Without a configuration, or with an empty one, the
/// node's file is used to the letter.
///
/// # Errors
/// [`DnsError`].
pub fn resolv_conf(dns: Option<&DnsConfig>, host_file: &str) -> Result<String, DnsError> {
    let Some(dns) = dns.filter(|dns| **dns != DnsConfig::default()) else {
        return Ok(host_file.to_owned());
    };
    let mut text = String::new();
    for (field, values) in [
        ("search", &dns.searches),
        ("nameserver", &dns.servers),
        ("options", &dns.options),
    ] {
        let bad = |value: &&String| value.chars().any(|c| c.is_whitespace() || c.is_control());
        if let Some(value) = values.iter().find(bad) {
            return Err(DnsError {
                field,
                value: value.clone(),
            });
        }
        if field == "nameserver" {
            for value in values {
                text.push_str("nameserver ");
                text.push_str(value);
                text.push('\n');
            }
        } else if !values.is_empty() {
            text.push_str(field);
            text.push(' ');
            text.push_str(&values.join(" "));
            text.push('\n');
        }
    }
    Ok(text)
}

/// `hosts` of a pod (hosts(5)): the loopback names, and the host name at each of the pod's
/// addresses. The kubelet brings its own file for most containers; this one is for the others.
#[must_use]
pub fn hosts(hostname: &str, addresses: &[IpAddr]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         ff00::0\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    if !hostname.is_empty() {
        for address in addresses {
            // Writing to a string cannot fail.
            let _infallible = writeln!(text, "{address}\t{hostname}");
        }
    }
    text
}

/// `hostname` of a pod: one line.
#[must_use]
pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_of_a_pod() {
        let dns = DnsConfig {
            servers: vec!["10.10.10.10".into(), "fd00::10".into()],
            searches: vec!["google.com".into(), "svc.cluster.local".into()],
            options: vec!["ndots:8".into()],
        };
        assert_eq!(
            resolv_conf(Some(&dns), "node").unwrap(),
            "search google.com svc.cluster.local\nnameserver 10.10.10.10\nnameserver fd00::10\n\
             options ndots:8\n"
        );
        assert_eq!(
            resolv_conf(Some(&DnsConfig::default()), "node").unwrap(),
            "node"
        );
        assert_eq!(resolv_conf(None, "node").unwrap(), "node");
        let evil = DnsConfig {
            searches: vec!["a\nnameserver 6.6.6.6".into()],
            ..DnsConfig::default()
        };
        assert!(
            resolv_conf(Some(&evil), "")
                .unwrap_err()
                .to_string()
                .contains("search")
        );
    }

    #[test]
    fn hosts_of_a_pod() {
        let text = hosts(
            "web",
            &["10.88.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
        );
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("10.88.0.2\tweb\nfd00::2\tweb\n"));
        assert!(!hosts("", &["10.88.0.2".parse().unwrap()]).contains("10.88"));
    }
}
