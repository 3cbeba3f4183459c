//! The CNI configuration, its plugins, and the programs that those run.

use std::path::{Path, PathBuf};

use pinpod_config::Config;
use serde_json::Value;

use super::report::Finding;

pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut findings = configuration(config);
    let tables = ["iptables", "nft"].map(|name| (name, in_path(name)));
    let found: Vec<String> = tables
        .iter()
        .map(|(name, path)| match path {
            Some(path) => path.display().to_string(),
            None => format!("no {name}"),
        })
        .collect();
    findings.push(Finding::wanted(
        "iptables, nft",
        tables.iter().any(|(_, path)| path.is_some()),
        found.join(", "),
        "host ports and masquerading do not work with the usual plugins",
    ));
    let forward = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap_or_default();
    findings.push(Finding::wanted(
        "ip_forward",
        forward.trim() == "1",
        forward.trim(),
        "pods reach nobody beyond the node until a plugin or an administrator turns it on",
    ));
    findings
}

fn configuration(config: &Config) -> Vec<Finding> {
    let directory = &config.network.network_dir;
    let wanted = &config.network.cni_default_network;
    let networks = networks(directory);
    let chosen = networks
        .iter()
        .find(|(_, document)| wanted.is_empty() || document["name"] == wanted.as_str());
    let Some((file, document)) = chosen else {
        return vec![Finding::wanted(
            "CNI network",
            false,
            format!("none in {}", directory.display()),
            "NetworkReady is false: only pods on the node's network run, until a file appears",
        )];
    };
    let mut findings = vec![Finding::ok(
        "CNI network",
        format!(
            "{} in {}",
            document["name"].as_str().unwrap_or("?"),
            file.display()
        ),
    )];
    for plugin in plugins(document) {
        let place = config
            .network
            .plugin_dirs
            .iter()
            .map(|dir| dir.join(&plugin))
            .find(|path| path.is_file());
        findings.push(Finding::needed(
            format!("CNI plugin {plugin}"),
            place.is_some(),
            place.map_or_else(
                || "in none of plugin_dirs".to_owned(),
                |path| path.display().to_string(),
            ),
            "every pod with a network of its own fails",
        ));
    }
    findings
}

/// Files that are JSON objects with a name, by file name.
fn networks(directory: &Path) -> Vec<(PathBuf, Value)> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|kind| kind == "conflist" || kind == "conf" || kind == "json")
        })
        .collect();
    files.sort();
    files
        .into_iter()
        .filter_map(|path| {
            let document: Value = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
            document["name"].is_string().then_some((path, document))
        })
        .collect()
}

/// Types of the plugins in the chain and of their IPAM.
fn plugins(document: &Value) -> Vec<String> {
    let chain = match document["plugins"].as_array() {
        Some(plugins) => plugins.iter().collect(),
        None => vec![document],
    };
    let mut types: Vec<String> = chain
        .into_iter()
        .flat_map(|plugin| [&plugin["type"], &plugin["ipam"]["type"]])
        .filter_map(|kind| kind.as_str().map(str::to_owned))
        .collect();
    types.dedup();
    types
}

fn in_path(program: &str) -> Option<PathBuf> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&search)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_and_its_ipam_are_plugins() {
        let document: Value = serde_json::from_str(pinpod_network::BUNDLED_CONFLIST).unwrap();
        assert_eq!(plugins(&document), ["bridge", "host-local", "portmap"]);
        let single = serde_json::json!({"name": "a", "type": "ptp", "ipam": {"type": "static"}});
        assert_eq!(plugins(&single), ["ptp", "static"]);
    }
}
