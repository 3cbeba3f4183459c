//! The direction between crates: which may use which, checked against `cargo metadata`.

use anyhow::{Context as _, bail};
use serde_json::Value;

/// Every package of the workspace and its rank. A crate uses crates of lower rank only, so news
/// goes up as return values and published state, never as a call.
pub(crate) const RANKS: &[(&str, u32)] = &[
    ("pinpod-model", 0),
    ("pinpod-cri-api", 0),
    ("pinpod-config", 1),
    ("pinpod-kernel", 1),
    ("pinpod-command", 1),
    ("pinpod-pod-init", 2),
    ("pinpod-cgroup", 2),
    ("pinpod-systemd", 2),
    ("pinpod-record", 2),
    ("pinpod-oci-runtime", 3),
    ("pinpod-registry", 3),
    ("pinpod-layer-store", 3),
    ("pinpod-nri", 3),
    ("pinpod-image", 4),
    ("pinpod-bundle", 4),
    ("pinpod-network", 4),
    ("pinpod-monitor-api", 4),
    ("pinpod-pod", 5),
    ("pinpod-monitor", 5),
    ("pinpod-stats", 6),
    ("pinpod-streaming", 6),
    ("pinpod-cri-server", 7),
    ("pinpod", 8),
    ("pinpod-testkit", 9),
    ("pinpod-contract-tests", 9),
    ("pinpod-bench", 9),
    ("pinpod-node-tests", 10),
    ("pinpod-kubelet-tests", 10),
    ("xtask", 10),
];

/// What the monitor may use of ours: it outlives an upgrade of the daemon and lives with every
/// pod, so it stays small.
const MONITOR_USES: &[&str] = &[
    "pinpod-model",
    "pinpod-kernel",
    "pinpod-cgroup",
    "pinpod-oci-runtime",
    "pinpod-monitor-api",
];

/// Foreign crates that only some of ours may name.
const CONFINED: &[(&str, &[&str], &str)] = &[
    (
        "libc",
        &["pinpod-kernel", "pinpod-pod-init"],
        "raw system calls stay in one crate",
    ),
    ("nix", &[], "rustix does it"),
    (
        "anyhow",
        &[
            "pinpod",
            "pinpod-testkit",
            "pinpod-bench",
            "pinpod-node-tests",
            "pinpod-kubelet-tests",
            "xtask",
        ],
        "libraries have typed errors",
    ),
    (
        "tonic",
        &[
            "pinpod-cri-api",
            "pinpod-cri-server",
            "pinpod",
            "pinpod-testkit",
            "pinpod-bench",
            "pinpod-node-tests",
        ],
        "gRPC stays at the border",
    ),
];

/// One dependency of a package of the workspace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) dev: bool,
}

/// Names of the workspace's packages and all their direct dependencies, from the output of
/// `cargo metadata --no-deps`.
///
/// # Errors
/// If the text is not what cargo prints.
pub(crate) fn parse(metadata: &str) -> anyhow::Result<(Vec<String>, Vec<Edge>)> {
    let metadata: Value = serde_json::from_str(metadata).context("cargo metadata")?;
    let Some(packages) = metadata["packages"].as_array() else {
        bail!("cargo metadata names no packages");
    };
    let mut names = Vec::new();
    let mut edges = Vec::new();
    for package in packages {
        let from = text(&package["name"])?;
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            edges.push(Edge {
                from: from.clone(),
                to: text(&dependency["name"])?,
                dev: dependency["kind"] == "dev",
            });
        }
        names.push(from);
    }
    Ok((names, edges))
}

fn text(value: &Value) -> anyhow::Result<String> {
    let text = value
        .as_str()
        .context("cargo metadata: a name that is no string")?;
    Ok(text.to_owned())
}

/// Everything wrong with the direction between crates.
pub(crate) fn check(names: &[String], edges: &[Edge]) -> Vec<String> {
    let rank = |name: &str| {
        RANKS
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, rank)| *rank)
    };
    let mut complaints: Vec<String> = names
        .iter()
        .filter(|name| rank(name).is_none())
        .map(|name| format!("{name}: has no rank in xtask/src/graph.rs"))
        .collect();
    for (known, _) in RANKS {
        if !names.iter().any(|name| name == known) {
            complaints.push(format!(
                "{known}: has a rank in xtask/src/graph.rs but is gone"
            ));
        }
    }
    for Edge { from, to, dev } in edges {
        if let (Some(low), Some(high)) = (rank(to), rank(from))
            && low >= high
            && !(*dev && to == "pinpod-testkit")
        {
            complaints.push(format!("{from} (rank {high}) uses {to} (rank {low})"));
        }
        let ours = to.starts_with("pinpod");
        if from == "pinpod-monitor" && ours && !dev && !MONITOR_USES.contains(&to.as_str()) {
            complaints.push(format!("{from} uses {to}: the monitor must stay small"));
        }
        for (confined, allowed, why) in CONFINED {
            if to == confined && !dev && !allowed.contains(&from.as_str()) {
                complaints.push(format!("{from} uses {to}: {why}"));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: &str, to: &str) -> Edge {
        Edge {
            from: from.into(),
            to: to.into(),
            dev: false,
        }
    }

    #[test]
    fn edges_up_and_sideways_are_refused() {
        let names: Vec<String> = RANKS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert!(check(&names, &[edge("pinpod-pod", "pinpod-image")]).is_empty());
        for (from, to) in [
            ("pinpod-image", "pinpod-pod"),
            ("pinpod-image", "pinpod-network"),
            ("pinpod-monitor", "pinpod-image"),
            ("pinpod-image", "libc"),
            ("pinpod-pod", "anyhow"),
        ] {
            assert_eq!(check(&names, &[edge(from, to)]).len(), 1, "{from} → {to}");
        }
    }

    #[test]
    fn a_crate_without_a_rank_and_a_rank_without_a_crate_are_named() {
        let complaints = check(&["pinpod-new".to_owned()], &[]);
        assert!(complaints[0].contains("pinpod-new"));
        assert_eq!(complaints.len(), RANKS.len() + 1);
    }
}
