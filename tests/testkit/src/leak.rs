//! What is there now, to be compared with what was there before.

use std::collections::BTreeMap;
use std::path::Path;

use crate::isolate::hierarchies;
use crate::{Result, program, tree};

/// Directories of pins, each mounted on itself, once, before the first pod.
const PIN_DIRECTORIES: [&str; 5] = [
    "/run/netns",
    "/run/ipcns",
    "/run/utsns",
    "/run/userns",
    "/run/pidns",
];

/// Files and directories that come with the first pod and stay, by purpose.
const LASTING: [&str; 12] = [
    // Directories of state of the OCI runtimes.
    "/run/pinpod/runtimes",
    "/run/pinpod/runtimes/runc",
    "/run/pinpod/runtimes/crun",
    // crun makes its own even to say what it can.
    "/run/crun",
    // Notes about CNI attachments.
    "/var/lib/pinpod/cni",
    // Locks and bookkeeping of CNI plugins and of iptables.
    "/run/xtables.lock",
    "/var/lib/cni/networks/pinpod",
    "/var/lib/cni/networks/pinpod/lock",
    "/var/lib/cni/networks/pinpod/last_reserved_ip.0",
    "/var/lib/cni/networks/pinpod/last_reserved_ip.1",
    "/var/lib/cni/networks",
    "/run/cni",
];

/// Trees in which every file counts. Logs are the kubelet's to remove.
const TREES: [&str; 4] = ["/run", "/var/lib/pinpod", "/var/lib/cni", tree::WRITTEN];

/// Everything on the node that a pod could leave behind, each thing as a line of text, with how
/// often it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    things: BTreeMap<String, usize>,
}

impl Snapshot {
    /// Looks at processes, mounts, cgroups, interfaces, firewall rules and files.
    ///
    /// # Errors
    /// When one of them cannot be listed.
    pub async fn take(cgroup_parent: &str) -> Result<Self> {
        let mut snapshot = Self {
            things: BTreeMap::new(),
        };
        snapshot.processes()?;
        let mut pins = PIN_DIRECTORIES.to_vec();
        for point in tree::mount_points()? {
            let point = point.display().to_string();
            match pins.iter().position(|pin| *pin == point) {
                Some(first) => {
                    pins.swap_remove(first);
                }
                None => snapshot.add("mount", &point),
            }
        }
        for hierarchy in hierarchies()? {
            let parent = hierarchy.join(cgroup_parent.trim_start_matches('/'));
            snapshot.tree("cgroup", &parent, &|is_dir| is_dir);
        }
        snapshot.interfaces().await?;
        snapshot.rules().await?;
        for top in TREES {
            snapshot.tree("file", Path::new(top), &|_| true);
        }
        Ok(snapshot)
    }

    /// What is here and was not there before, one line each.
    #[must_use]
    pub fn beyond(&self, before: &Self) -> Vec<String> {
        let mut more = Vec::new();
        for (thing, count) in &self.things {
            let had = before.things.get(thing).copied().unwrap_or(0);
            match count.saturating_sub(had) {
                0 => {}
                1 => more.push(thing.clone()),
                extra => more.push(format!("{thing} ({extra} times)")),
            }
        }
        more
    }

    fn add(&mut self, kind: &str, what: &str) {
        *self.things.entry(format!("{kind} {what}")).or_default() += 1;
    }

    fn processes(&mut self) -> Result {
        for entry in std::fs::read_dir("/proc")? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if !name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
                continue;
            }
            // One that ends while it is looked at is none that stays.
            let Ok(command) = std::fs::read_to_string(path.join("cmdline")) else {
                continue;
            };
            let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
            let what = format!("{}: {}", name.trim(), command.replace('\0', " "));
            self.add("process", what.trim());
        }
        Ok(())
    }

    /// Lists what is below `top`; a tree that is not there has nothing in it.
    fn tree(&mut self, kind: &str, top: &Path, wanted: &dyn Fn(bool) -> bool) {
        let Ok(entries) = std::fs::read_dir(top) else {
            return;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let text = path.display().to_string();
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let overlay = text.starts_with(tree::WRITTEN) && !top.starts_with(tree::WRITTEN);
            let mut lasting = LASTING.iter().chain(&PIN_DIRECTORIES);
            let lasting = lasting.any(|path| *path == text);
            if wanted(is_dir) && !lasting && !overlay {
                self.add(kind, &text);
            }
            if is_dir && !overlay {
                self.tree(kind, &path, wanted);
            }
        }
    }

    async fn interfaces(&mut self) -> Result {
        for line in program::run("ip", &["-o", "link"]).await?.lines() {
            let name = line.split(": ").nth(1).unwrap_or(line);
            // The bridge is the network's, not a pod's.
            if name != "cni-pinpod0" {
                let name = name.split('@').next().unwrap_or(name);
                self.add("interface", name);
            }
        }
        Ok(())
    }

    /// Rules that name a pod. Chains that a plugin makes once for all pods stay.
    async fn rules(&mut self) -> Result {
        for save in ["iptables-save", "ip6tables-save"] {
            for line in program::run(save, &[]).await?.lines() {
                if line.contains("CNI-DN-") || line.contains("id: ") {
                    self.add("rule", &format!("{save}: {line}"));
                }
            }
        }
        let mut table = "";
        let ruleset = program::run("nft", &["list", "ruleset"]).await?;
        for line in ruleset.lines() {
            if let Some(name) = line.strip_prefix("table ") {
                table = name.trim_end_matches(" {");
            }
            let xtables = ["filter", "nat", "mangle", "raw"];
            let name = table.split(' ').nth(1).unwrap_or(table);
            if !xtables.contains(&name) && line.starts_with('\t') {
                self.add("rule", &format!("nft {table}: {}", line.trim()));
            }
        }
        Ok(())
    }
}
