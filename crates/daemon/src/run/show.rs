//! Tells what is there of a running pod, from CRI where CRI knows it and from `/proc` where it does
//! not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use pinpod_config::Config;
use pinpod_cri_api::runtime::v1 as cri;
use serde_json::Value;

use super::pod::{Cri, RunningPod, plain};
use crate::manifest::PodPlan;

/// Lines shown of each container's log.
const LOG_LINES: usize = 10;

/// Prints the pod.
///
/// # Errors
/// If the daemon does not know the pod any more.
pub(super) async fn show(
    config: &Config,
    cri: &mut Cri,
    plan: &PodPlan,
    running: &RunningPod,
) -> anyhow::Result<()> {
    let request = cri::PodSandboxStatusRequest {
        pod_sandbox_id: running.sandbox.clone(),
        verbose: true,
    };
    let answer = cri
        .runtime
        .pod_sandbox_status(request)
        .await
        .map_err(plain)?
        .into_inner();
    let status = answer.status.context("a pod without a status")?;
    let name = status
        .metadata
        .as_ref()
        .map_or("", |metadata| &metadata.name);
    crate::say(&format!("pod sandbox {name}  {}", running.sandbox));
    crate::say(&format!("  IP: {}", addresses(&status)));
    let pins = pins(config, &running.sandbox);
    crate::say("  pinned namespaces:");
    for pin in &pins {
        crate::say(&format!("    {}", pin.display()));
    }
    let mut mains = BTreeSet::new();
    for (id, container) in running.containers.iter().zip(&plan.containers) {
        let answer = cri.container(id).await?;
        mains.extend(pid(&answer));
        show_container(&answer, &container.name, &plan.sandbox.log_directory);
    }
    show_processes(&pins, &mains);
    Ok(())
}

fn addresses(status: &cri::PodSandboxStatus) -> String {
    let Some(network) = status
        .network
        .as_ref()
        .filter(|network| !network.ip.is_empty())
    else {
        return "the node's".to_owned();
    };
    let more = network
        .additional_ips
        .iter()
        .map(|address| address.ip.as_str());
    std::iter::once(network.ip.as_str())
        .chain(more)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Files that pin the pod's namespaces: `netns/`, `ipcns/`, … below the configured directory, with
/// the sandbox's identifier in their names.
pub(super) fn pins(config: &Config, sandbox: &str) -> Vec<PathBuf> {
    let mut pins = Vec::new();
    for kind in ["netns", "ipcns", "utsns", "pidns", "userns"] {
        let entries = std::fs::read_dir(config.runtime.namespaces_dir.join(kind));
        pins.extend(
            entries
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| {
                    path.file_name()
                        .is_some_and(|name| name.to_string_lossy().contains(sandbox))
                }),
        );
    }
    pins
}

fn pid(answer: &cri::ContainerStatusResponse) -> Option<u32> {
    let info: Value = serde_json::from_str(answer.info.get("info")?).ok()?;
    u32::try_from(info.get("pid")?.as_u64()?)
        .ok()
        .filter(|pid| *pid > 0)
}

fn show_container(answer: &cri::ContainerStatusResponse, name: &str, logs: &str) {
    let Some(status) = &answer.status else {
        return;
    };
    let state = match status.state() {
        cri::ContainerState::ContainerCreated => "created".to_owned(),
        cri::ContainerState::ContainerRunning => {
            pid(answer).map_or_else(|| "running".to_owned(), |pid| format!("running, pid {pid}"))
        }
        cri::ContainerState::ContainerExited => {
            format!(
                "ended with exit code {} {}",
                status.exit_code, status.reason
            )
        }
        cri::ContainerState::ContainerUnknown => "unknown".to_owned(),
    };
    crate::say(&format!(
        "container {name}  {}  {}",
        &status.id,
        state.trim_end()
    ));
    let path = Path::new(logs).join(name).join("0.log");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
        crate::say(&format!("  | {line}"));
    }
}

/// A process that lives in one of the pod's namespaces.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    parent: u32,
    parent_name: String,
    name: String,
    command: String,
}

/// The pod's processes are those in its namespaces. A pause process is one that belongs to no
/// container: it is no container's first process, no child of the monitor, and comes from none.
fn show_processes(pins: &[PathBuf], mains: &BTreeSet<u32>) {
    let processes = processes_in(pins, mains);
    crate::say("processes of the pod:");
    for Process { pid, command, .. } in &processes {
        crate::say(&format!("  {pid:>7}  {command}"));
    }
    crate::say(&format!("pause processes: {}", pauses(&processes, mains)));
}

fn pauses(processes: &[Process], mains: &BTreeSet<u32>) -> usize {
    let mut of_containers = mains.clone();
    let executed = processes
        .iter()
        .filter(|process| process.parent_name == "pinpod-monitor");
    of_containers.extend(executed.map(|process| process.pid));
    // Children come after their parents by number nearly always; a second round catches the rest.
    for _ in 0..2 {
        for process in processes {
            if of_containers.contains(&process.parent) {
                of_containers.insert(process.pid);
            }
        }
    }
    processes
        .iter()
        .filter(|process| !of_containers.contains(&process.pid) && process.name != "pinpod-init")
        .count()
}

fn processes_in(pins: &[PathBuf], mains: &BTreeSet<u32>) -> Vec<Process> {
    use std::os::unix::fs::MetadataExt as _;
    let inode = |path: &Path| std::fs::metadata(path).ok().map(|found| found.ino());
    let pinned: Vec<(String, u64)> = pins
        .iter()
        .filter_map(|pin| {
            let directory = pin.parent()?.file_name()?.to_string_lossy().into_owned();
            Some((directory.trim_end_matches("ns").to_owned(), inode(pin)?))
        })
        .collect();
    let numbers = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut found: Vec<Process> = numbers
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            mains.contains(pid)
                || pinned.iter().any(|(kind, pin)| {
                    inode(Path::new(&format!("/proc/{pid}/ns/{kind}"))) == Some(*pin)
                })
        })
        .filter_map(read_process)
        .collect();
    found.sort_by_key(|process| process.pid);
    found
}

fn read_process(pid: u32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and parentheses; what follows the last one is numbers.
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let parent: u32 = tail.split_whitespace().nth(1)?.parse().ok()?;
    let parent_name = std::fs::read_to_string(format!("/proc/{parent}/comm")).unwrap_or_default();
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&arguments)
        .replace(['\0', '\n'], " ")
        .trim_end()
        .to_owned();
    let command = if command.is_empty() {
        format!("[{name}]")
    } else {
        command
    };
    Some(Process {
        pid,
        parent,
        parent_name: parent_name.trim_end().to_owned(),
        name,
        command,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_process_belongs_to_no_container() {
        let process = |pid, parent, name: &str| Process {
            pid,
            parent,
            parent_name: if parent == 7 {
                "pinpod-monitor"
            } else {
                "init"
            }
            .to_owned(),
            name: name.to_owned(),
            command: String::new(),
        };
        let processes = [
            process(10, 1, "sh"),
            process(11, 10, "sleep"),
            process(9, 11, "sleep"),
            process(12, 7, "executed"),
            process(20, 1, "pinpod-init"),
            process(30, 1, "pause"),
        ];
        assert_eq!(pauses(&processes, &BTreeSet::from([10])), 1);
    }
}
