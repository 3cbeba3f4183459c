//! What passed the interfaces of pods, read inside of their pinned network namespaces.

use std::path::Path;

use pinpod_kernel::namespace;

use crate::read::now;
use crate::usage::{InterfaceUsage, NetworkUsage};

/// The counters of the network namespace of the thread that reads them (`proc_pid_net(5)`).
const DEV: &str = "/proc/thread-self/net/dev";
/// What CNI calls the interface of a pod.
const DEFAULT: &str = "eth0";
const LOOPBACK: &str = "lo";

/// Reads the interfaces of each of these pinned namespaces, in their order; `None` for one that
/// cannot be read any more. One thread for all of them.
pub(crate) fn read(namespaces: &[&Path]) -> Vec<Option<NetworkUsage>> {
    if namespaces.is_empty() {
        return Vec::new();
    }
    let read = namespace::enter_each(namespaces, || (now(), std::fs::read_to_string(DEV)));
    let texts = match read {
        Ok(texts) => texts,
        Err(error) => {
            tracing::warn!(%error, "cannot read the networks of pods");
            return vec![None; namespaces.len()];
        }
    };
    let usages = texts.into_iter().map(|entered| {
        // A pod that is being stopped has no namespace any more.
        let (read_at, text) = entered.ok()?;
        let interfaces = parse(&text.ok()?)?;
        summary(read_at, interfaces)
    });
    usages.collect()
}

/// The kubelet takes it for granted that there is a default interface.
fn summary(read_at: i64, mut interfaces: Vec<InterfaceUsage>) -> Option<NetworkUsage> {
    interfaces.retain(|interface| interface.name != LOOPBACK);
    let named = interfaces.iter().position(|known| known.name == DEFAULT);
    if interfaces.is_empty() {
        return None;
    }
    let default = interfaces.remove(named.unwrap_or(0));
    Some(NetworkUsage {
        read_at,
        default,
        others: interfaces,
    })
}

/// Two lines of heading, then `name:` and sixteen counters: eight received, eight sent, each bytes,
/// packets, errors and drops first. A name has no colon.
fn parse(text: &str) -> Option<Vec<InterfaceUsage>> {
    text.lines().skip(2).map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<InterfaceUsage> {
    let (name, rest) = line.split_once(':')?;
    let mut counters = [0; 16];
    let mut words = rest.split_ascii_whitespace();
    for counter in &mut counters {
        *counter = words.next()?.parse().ok()?;
    }
    let [
        rx_bytes,
        rx_packets,
        rx_errors,
        rx_dropped,
        ..,
        tx_bytes,
        tx_packets,
        tx_errors,
        tx_dropped,
        _,
        _,
        _,
        _,
    ] = counters;
    Some(InterfaceUsage {
        name: name.trim().to_owned(),
        rx_bytes,
        rx_packets,
        rx_errors,
        rx_dropped,
        tx_bytes,
        tx_packets,
        tx_errors,
        tx_dropped,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str = "Inter-|   Receive                    |  Transmit\n \
                        face |bytes    packets errs drop fifo frame compressed multicast|bytes\n";

    #[test]
    fn counters_of_interfaces() {
        let text = format!(
            "{HEAD}    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0\n  \
             net1:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  eth0: 10 20 30 40 5 6 7 8 90 100 110 120 13 14 15 16\n"
        );
        let interfaces = parse(&text).unwrap();
        assert_eq!(interfaces.len(), 3);
        let usage = summary(7, interfaces).unwrap();
        let want = InterfaceUsage {
            name: "eth0".into(),
            rx_bytes: 10,
            rx_packets: 20,
            rx_errors: 30,
            rx_dropped: 40,
            tx_bytes: 90,
            tx_packets: 100,
            tx_errors: 110,
            tx_dropped: 120,
        };
        assert_eq!(usage.default, want);
        assert_eq!(usage.others.len(), 1);
        assert_eq!(usage.others[0].name, "net1");
        assert_eq!(usage.others[0].tx_bytes, 9);
    }

    #[test]
    fn a_pod_without_eth0_has_a_default_still_and_one_with_loopback_alone_has_none() {
        let interface = |name: &str| InterfaceUsage {
            name: name.into(),
            ..InterfaceUsage::default()
        };
        let usage = summary(
            1,
            vec![interface("lo"), interface("net0"), interface("net1")],
        );
        let usage = usage.unwrap();
        assert_eq!(usage.default.name, "net0");
        assert_eq!(usage.others, [interface("net1")]);
        assert_eq!(summary(1, vec![interface("lo")]), None);
        assert_eq!(parse(&format!("{HEAD}eth0: 1 2\n")), None, "too short");
        assert_eq!(parse(""), Some(vec![]));
    }

    #[test]
    fn the_kernels_own_file_is_understood() {
        let namespaces = [Path::new("/proc/self/ns/net"), Path::new("/nowhere")];
        let usages = read(&namespaces);
        assert_eq!(usages.len(), 2);
        assert_eq!(usages[1], None);
        let text = std::fs::read_to_string(DEV).unwrap();
        assert!(parse(&text).unwrap().iter().any(|known| known.name == "lo"));
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "\\PC*", line in "[a-z: 0-9]*") {
            parse(&text);
            parse_line(&line);
        }
    }
}
