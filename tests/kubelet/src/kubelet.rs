//! The kubelet: started, asked, killed.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use pinpod_testkit::{Node, Result, run, tool, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::node::ADDRESS;
use crate::{Manifest, Pod};

/// Where the kubelet keeps what it has of its pods.
pub(crate) const ROOT: &str = "/var/lib/kubelet";
/// What it logs.
pub const LOG: &str = "/run/testkit/kubelet.log";
const MANIFESTS: &str = "/etc/kubernetes/manifests";
const CONFIG: &str = "/etc/kubernetes/kubelet.json";
const KUBECONFIG: &str = "/etc/kubernetes/kubelet.conf";
const API: &str = "https://127.0.0.1:10250";

/// Sysctls of the whole machine that a kubelet sets when they are not as it wants them. It is shown
/// files that say what it wants to read.
const TUNABLES: [(&str, u32); 6] = [
    ("vm/overcommit_memory", 1),
    ("vm/panic_on_oom", 0),
    ("kernel/panic", 10),
    ("kernel/panic_on_oops", 1),
    ("kernel/keys/root_maxkeys", 1_000_000),
    ("kernel/keys/root_maxbytes", 25_000_000),
];

/// How the kubelet learns what happens to its pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It lists them every second, and reads their figures from cgroups where it can.
    Relisting,
    /// The runtime tells it, their figures too (feature gates `EventedPLEG` and
    /// `PodAndContainerStatsFromCRI`).
    Events,
    /// As [`Mode::Relisting`], with an API server that does not answer, as on a control plane's
    /// node that starts. `/pods` shows no new status then.
    Bootstrap,
}

/// A running kubelet.
#[derive(Debug)]
pub struct Kubelet {
    mode: Mode,
    process: Option<Child>,
}

fn configuration(node: &Node, mode: Mode) -> Value {
    let never = "0%";
    let events = mode == Mode::Events;
    json!({
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "containerRuntimeEndpoint": Node::ENDPOINT,
        "staticPodPath": MANIFESTS,
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": node.cgroup_parent(),
        "cgroupsPerQOS": true,
        "enforceNodeAllocatable": [],
        "makeIPTablesUtilChains": false,
        "failSwapOn": false,
        // The state of the machine's disks is none of a test's business.
        "evictionHard": {"memory.available": never, "nodefs.available": never,
            "nodefs.inodesFree": never, "imagefs.available": never, "imagefs.inodesFree": never},
        "imageGCHighThresholdPercent": 100,
        "volumePluginDir": format!("{ROOT}/volume-plugins"),
        "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
        "containerLogMaxSize": "10Ki",
        "containerLogMonitorInterval": "3s",
        "featureGates": {"EventedPLEG": events, "PodAndContainerStatsFromCRI": events},
    })
}

/// Nothing listens there.
fn kubeconfig() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "none",
        "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "none", "user": {}}],
        "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
    })
}

/// What is run in the mount namespace that is the kubelet's alone; what it mounts for pods is shared.
fn script() -> String {
    let mut script = "set -e\nmount --make-rprivate /proc\n".to_owned();
    for (name, value) in TUNABLES {
        let file = format!("/run/testkit/tunable-{}", name.replace('/', "-"));
        script += &format!("echo {value} >{file}\nmount --bind {file} /proc/sys/{name}\n");
    }
    script + "exec \"$@\"\n"
}

impl Kubelet {
    /// Starts it, and waits until it is healthy.
    ///
    /// # Errors
    /// When it is not there, ends, or is not healthy within 30 seconds.
    pub(crate) async fn start(node: &Node, mode: Mode) -> Result<Self> {
        std::fs::create_dir_all(MANIFESTS)?;
        std::fs::write(CONFIG, configuration(node, mode).to_string())?;
        std::fs::write(KUBECONFIG, kubeconfig().to_string())?;
        let mut kubelet = Self {
            mode,
            process: None,
        };
        kubelet.launch().await?;
        Ok(kubelet)
    }

    /// Starts it again.
    ///
    /// # Errors
    /// When it is not there, ends, or is not healthy within 30 seconds.
    #[allow(
        clippy::disallowed_methods,
        reason = "the kubelet runs beside the test, as a service does"
    )]
    pub async fn launch(&mut self) -> Result {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(LOG)?;
        let mut process = Command::new("unshare")
            .args(["--mount", "--propagation", "unchanged", "--"])
            .args(["/bin/sh", "-c", &script(), "kubelet"])
            .arg(tool("kubelet")?)
            .args(["--config", CONFIG, "--root-dir", ROOT])
            .args(["--cert-dir", &format!("{ROOT}/pki")])
            .args(["--node-ip", ADDRESS, "--v", "4"])
            .args(match self.mode {
                Mode::Bootstrap => vec!["--kubeconfig", KUBECONFIG],
                Mode::Relisting | Mode::Events => Vec::new(),
            })
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("the kubelet")?;
        until("a healthy kubelet", Duration::from_secs(30), async || {
            if let Some(status) = process.try_wait()? {
                bail!("the kubelet ended with {status}");
            }
            Ok(self.get("/healthz").await.ok().filter(|text| text == "ok"))
        })
        .await?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends it, as a service manager does.
    ///
    /// # Errors
    /// When it does not run, or not end within ten seconds.
    pub async fn stop(&mut self) -> Result {
        let mut process = self.process.take().context("the kubelet does not run")?;
        let pid = process
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        kill_process(pid.context("the kubelet is gone")?, Signal::TERM)?;
        tokio::time::timeout(Duration::from_secs(10), process.wait())
            .await
            .context("the kubelet did not end within 10 s of SIGTERM")??;
        Ok(())
    }

    /// GET of a path of its API; returns the body.
    ///
    /// # Errors
    /// When it does not answer, or with an error.
    pub async fn get(&self, path: &str) -> Result<String> {
        request("GET", path).await
    }

    /// POST to a path of its API, such as `/run/…`; returns the body.
    ///
    /// # Errors
    /// When it does not answer, or with an error.
    pub async fn post(&self, path: &str) -> Result<String> {
        request("POST", path).await
    }

    /// The URL of a path of its API.
    #[must_use]
    pub fn url(path: &str) -> String {
        format!("{API}{path}")
    }

    /// Makes a manifest appear.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn place(&self, manifest: &Manifest) -> Result {
        // The kubelet leaves out files that begin with a dot.
        let new = format!("{MANIFESTS}/.new");
        std::fs::write(&new, manifest.text())?;
        std::fs::rename(new, format!("{MANIFESTS}/{}.json", manifest.name()))?;
        Ok(())
    }

    /// Makes a manifest disappear.
    ///
    /// # Errors
    /// When it is not there.
    pub fn remove(&self, name: &str) -> Result {
        std::fs::remove_file(format!("{MANIFESTS}/{name}.json"))
            .with_context(|| format!("manifest {name}"))
    }

    /// All its pods.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn pods(&self) -> Result<Vec<Pod>> {
        let list: Value = serde_json::from_str(&self.get("/pods").await?)?;
        // The list of none is `null`.
        let items = list["items"].as_array().cloned().unwrap_or_default();
        Ok(items.into_iter().map(Pod::from).collect())
    }

    /// The pod of a manifest, once `reached` says so of it.
    ///
    /// # Errors
    /// The pod's status when that takes more than 60 seconds.
    pub async fn until(&self, name: &str, reached: impl Fn(&Pod) -> Result<bool>) -> Result<Pod> {
        let full = format!("{name}-{}", crate::node::NAME);
        let mut last = "not there".to_owned();
        let pod = until(
            &format!("pod {name}"),
            Duration::from_secs(60),
            async || {
                let pods = self.pods().await?;
                let Some(pod) = pods.into_iter().find(|pod| pod.name() == full) else {
                    return Ok(None);
                };
                last = pod.status().to_string();
                Ok(reached(&pod).unwrap_or(false).then_some(pod))
            },
        )
        .await;
        pod.with_context(|| format!("last: {last}"))
    }

    /// The pod of a manifest, once it is ready.
    ///
    /// # Errors
    /// As [`Kubelet::until`].
    pub async fn ready(&self, name: &str) -> Result<Pod> {
        self.until(name, |pod| Ok(pod.is_ready())).await
    }

    /// A container's log by the kubelet's API.
    ///
    /// # Errors
    /// When it does not answer, or with an error.
    pub async fn logs(&self, pod: &Pod, container: &str) -> Result<String> {
        self.get(&format!(
            "/containerLogs/default/{}/{container}",
            pod.name()
        ))
        .await
    }

    /// Removes every manifest, waits until the kubelet has none of the pods and their directories, and
    /// ends it.
    ///
    /// # Errors
    /// What is left after 60 seconds.
    pub(crate) async fn clear(mut self) -> Result {
        if self.mode == Mode::Bootstrap {
            // It takes nothing away before its API server has told it which pods there are.
            self.stop().await?;
            return unmount_volumes().await;
        }
        for file in std::fs::read_dir(MANIFESTS)? {
            std::fs::remove_file(file?.path())?;
        }
        let mut left = String::new();
        let gone = until("the end of all pods", Duration::from_secs(60), async || {
            let pods = self.pods().await?;
            let names: Vec<&str> = pods.iter().map(Pod::name).collect();
            let directories = names_in(&Path::new(ROOT).join("pods"))?;
            left = format!("pods {names:?}, directories {directories:?}");
            Ok((pods.is_empty() && directories.is_empty()).then_some(()))
        });
        gone.await.with_context(|| format!("left: {left}"))?;
        self.stop().await
    }
}

/// Unmounts the volumes of pods.
async fn unmount_volumes() -> Result {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    for point in mounts.lines().filter_map(|line| line.split(' ').nth(4)) {
        if point.starts_with(&format!("{ROOT}/pods/")) {
            run("umount", &[point]).await?;
        }
    }
    Ok(())
}

async fn request(method: &str, path: &str) -> Result<String> {
    let url = Kubelet::url(path);
    let mut args = vec!["-sS", "--insecure", "--fail-with-body", "--max-time", "20"];
    args.extend(["--request", method, &url]);
    run("curl", &args).await
}

/// Removes the kubelet's cgroups of pods and of classes of service, which it makes where and when it
/// likes. One that still has a container's in it stays, and the check of what is left names it.
pub(crate) fn remove_cgroups(parent: &str) -> Result {
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup")? {
        let top = hierarchy?.path().join(parent.trim_start_matches('/'));
        for class in ["kubepods/burstable", "kubepods/besteffort", "kubepods"] {
            let class = top.join(class);
            for pod in names_in(&class)?
                .iter()
                .filter(|name| name.starts_with("pod"))
            {
                let _kept = std::fs::remove_dir(class.join(pod));
            }
            let _kept = std::fs::remove_dir(class);
        }
    }
    Ok(())
}

/// The names in a directory, none when it is not there.
fn names_in(path: &Path) -> Result<Vec<String>> {
    let Ok(entries) = std::fs::read_dir(path) else {
        return Ok(Vec::new());
    };
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}
