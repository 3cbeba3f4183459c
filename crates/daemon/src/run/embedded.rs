//! The daemon of `pinpod run`, for a machine where none serves: its own state directory, the
//! bundled bridge network, no other service. Everything of it is removed at the end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use pinpod_command::Command;
use pinpod_config::Config;
use pinpod_model::CgroupDriver;
use serde_json::Value;

use crate::log;
use crate::serve::Server;

/// Bridge of the bundled network while it is ours: another daemon may have one of the usual name.
const BRIDGE: &str = "pinpod-run0";

/// Kernel parameters that the bridge plugin turns on and nobody turns off.
const FORWARDING: &[&str] = &[
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv6/conf/all/forwarding",
];

/// Chains that the portmap plugin makes with its first host port and keeps.
const PORTMAP_CHAINS: &[&str] = &[
    "CNI-HOSTPORT-SETMARK",
    "CNI-HOSTPORT-MASQ",
    "CNI-HOSTPORT-DNAT",
];

const DEADLINE: Duration = Duration::from_secs(10);

/// A daemon in this process, and what the machine was like before it.
#[derive(Debug)]
pub(super) struct Embedded {
    server: Server,
    directories: [PathBuf; 2],
    namespaces_dir: PathBuf,
    forwarding: Vec<(&'static str, String)>,
    tables: Vec<(&'static str, String)>,
}

impl Embedded {
    /// Starts it with that configuration, changed to live in `state` alone.
    ///
    /// # Errors
    /// If its directories are in use, or it cannot be built.
    pub(super) async fn start(config: Config, state: &Path) -> anyhow::Result<(Config, Self)> {
        let config = changed(config, state)?;
        let directories = [config.root.clone(), config.runroot.clone()];
        let forwarding = FORWARDING
            .iter()
            .filter_map(|path| Some((*path, std::fs::read_to_string(path).ok()?)))
            .collect();
        let tables = tables().await;
        let file = std::fs::File::create(config.root.join("log"))
            .with_context(|| config.root.display().to_string())?;
        log::start(config.runtime.log_level, config.runtime.log_format, file);
        let server = Server::start(&config).await?;
        let namespaces_dir = config.runtime.namespaces_dir.clone();
        Ok((
            config,
            Self {
                server,
                directories,
                namespaces_dir,
                forwarding,
                tables,
            },
        ))
    }

    /// Ends it and removes what it leaves on purpose for its next start.
    ///
    /// # Errors
    /// If something could not be removed.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        self.server.stop().await?;
        // The bridge is there only if a pod had a network. `/sys` may show another namespace's.
        if run("ip", &["link", "show", BRIDGE]).await.is_ok() {
            run("ip", &["link", "delete", BRIDGE]).await?;
        }
        for (program, before) in &self.tables {
            remove_new_chains(program, before).await?;
        }
        for (path, before) in &self.forwarding {
            std::fs::write(path, before).with_context(|| (*path).to_owned())?;
        }
        for kind in ["ipcns", "utsns", "pidns"] {
            // Another daemon may have its pins there: only an empty one goes.
            std::fs::remove_dir(self.namespaces_dir.join(kind)).unwrap_or_default();
        }
        for directory in &self.directories {
            std::fs::remove_dir_all(directory).with_context(|| directory.display().to_string())?;
        }
        Ok(())
    }
}

/// The configuration of a daemon that lives in one directory and needs no other service.
fn changed(mut config: Config, state: &Path) -> anyhow::Result<Config> {
    let state = std::path::absolute(state).with_context(|| state.display().to_string())?;
    let name = state
        .file_name()
        .context("the state directory has no name")?;
    config.root.clone_from(&state);
    config.runroot = Path::new("/run").join(name);
    config.api.listen = config.runroot.join("pinpod.sock");
    if !Path::new("/run/systemd/system").exists() {
        config.runtime.cgroup_manager = CgroupDriver::Cgroupfs;
    }
    let network = state.join("net.d");
    std::fs::create_dir_all(&network).with_context(|| network.display().to_string())?;
    std::fs::write(
        network.join(pinpod_network::BUNDLED_CONFLIST_NAME),
        conflist(&state)?,
    )?;
    config.network.network_dir = network;
    config.network.cni_default_network = String::new();
    config.nri.enable_nri = false;
    // The default handler is the first of the usual OCI runtimes that is here.
    let search = std::env::var_os("PATH").unwrap_or_default();
    if config
        .runtime_path(&config.runtime.default_runtime, &search)
        .is_none()
    {
        for name in ["runc", "crun", "youki"] {
            config
                .runtime
                .runtimes
                .0
                .entry(name.to_owned())
                .or_default();
            if config.runtime_path(name, &search).is_some() {
                config.runtime.default_runtime = name.to_owned();
                break;
            }
        }
    }
    Ok(config)
}

/// The bundled network under a name of our own, with its leases in our directory.
fn conflist(state: &Path) -> anyhow::Result<String> {
    let mut list: Value = serde_json::from_str(pinpod_network::BUNDLED_CONFLIST)?;
    list["name"] = "pinpod-run".into();
    for plugin in list["plugins"].as_array_mut().into_iter().flatten() {
        if plugin["type"] == "bridge" {
            plugin["bridge"] = BRIDGE.into();
            plugin["ipam"]["dataDir"] = state.join("leases").to_string_lossy().into();
        }
    }
    Ok(serde_json::to_string_pretty(&list)?)
}

/// The nat tables as they are now, for those of the two programs that are here and work.
async fn tables() -> Vec<(&'static str, String)> {
    let mut tables = Vec::new();
    for program in ["iptables", "ip6tables"] {
        if let Ok(rules) = run(program, &["-w", "-t", "nat", "-S"]).await {
            tables.push((program, rules));
        }
    }
    tables
}

/// Takes away the portmap plugin's chains, if they were not there before and nothing uses them.
async fn remove_new_chains(program: &str, before: &str) -> anyhow::Result<()> {
    let now = run(program, &["-w", "-t", "nat", "-S"]).await?;
    let is_new = |chain: &str| {
        let made = format!("-N {chain}");
        now.lines().any(|line| line == made) && !before.lines().any(|line| line == made)
    };
    let new: Vec<&str> = PORTMAP_CHAINS
        .iter()
        .copied()
        .filter(|chain| is_new(chain))
        .collect();
    // First the rules that lead to them, then what is in them, then they themselves.
    for rule in now.lines().filter(|line| {
        new.iter()
            .any(|chain| line.starts_with("-A ") && line.ends_with(&format!("-j {chain}")))
    }) {
        let rule = rule.replacen("-A ", "-D ", 1);
        let mut arguments = vec!["-w", "-t", "nat"];
        let words = words(&rule);
        arguments.extend(words.iter().map(String::as_str));
        run(program, &arguments).await?;
    }
    for action in ["-F", "-X"] {
        for chain in &new {
            run(program, &["-w", "-t", "nat", action, chain]).await?;
        }
    }
    Ok(())
}

/// A rule as `-S` prints it, cut into arguments; comments are in double quotes.
fn words(rule: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in rule.split('"').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

async fn run(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let command = arguments
        .iter()
        .fold(Command::new(program), |command, argument| {
            command.arg(*argument)
        });
    let output = command.run(DEADLINE).await?;
    anyhow::ensure!(
        output.status.success(),
        "{program} {}: {}",
        arguments.join(" "),
        output.message()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_is_our_own() {
        let list: Value = serde_json::from_str(&conflist(Path::new("/s")).unwrap()).unwrap();
        assert_eq!(list["plugins"][0]["bridge"], BRIDGE);
        assert_eq!(list["plugins"][0]["ipam"]["dataDir"], "/s/leases");
        assert!(BRIDGE.len() < 16);
    }

    #[test]
    fn rules_are_cut_at_quotes() {
        let rule = r#"-D OUTPUT -m comment --comment "CNI portfwd" -j X"#;
        assert_eq!(words(rule)[4], "--comment");
        assert_eq!(words(rule)[5], "CNI portfwd");
        assert_eq!(words(rule).len(), 8);
    }
}
