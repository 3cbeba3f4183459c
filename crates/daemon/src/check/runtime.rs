//! OCI runtimes and pinpod's own two binaries.

use std::path::Path;
use std::time::Duration;

use pinpod_command::Command;
use pinpod_config::Config;
use pinpod_oci_runtime::Runtime;

use super::report::Finding;

const DEADLINE: Duration = Duration::from_secs(10);

pub(super) async fn findings(config: &Config) -> Vec<Finding> {
    let mut findings = binaries(config);
    let search = std::env::var_os("PATH").unwrap_or_default();
    for name in config.runtime.runtimes.0.keys() {
        let what = format!("runtime {name}");
        let is_default = *name == config.runtime.default_runtime;
        match config.runtime_path(name, &search) {
            Some(path) => {
                let root = config.runtime_root(name).unwrap_or_default();
                findings.push(Finding::ok(what, describe(name, &path, &root).await));
            }
            None if is_default => findings.push(Finding::needed(
                what,
                false,
                "no such program",
                "it is the default handler: no container can be made",
            )),
            None => findings.push(Finding::wanted(
                what,
                false,
                "no such program",
                "pods that name this handler are refused",
            )),
        }
    }
    findings
}

fn binaries(config: &Config) -> Vec<Finding> {
    let own = std::env::current_exe().unwrap_or_default();
    let place = |path: Option<&Path>| {
        path.map_or_else(
            || "neither beside pinpod nor in /usr/libexec/pinpod".to_owned(),
            |path| path.display().to_string(),
        )
    };
    let monitor = config.monitor_path(&own);
    let init = config.init_path(&own);
    vec![
        Finding::needed(
            "pinpod-monitor",
            monitor.is_some(),
            place(monitor.as_deref()),
            "no container can be made",
        ),
        Finding::wanted(
            "pinpod-init",
            init.is_some(),
            place(init.as_deref()),
            "pods that share one PID namespace are refused",
        ),
    ]
}

/// Path, version and what `features` says, as far as the program tells.
async fn describe(name: &str, path: &Path, root: &Path) -> String {
    let version = match Command::new(path).arg("--version").run(DEADLINE).await {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.lines().next().unwrap_or("tells no version").to_owned()
        }
        Err(error) => crate::chain(&error),
    };
    let features = match Runtime::new(name, path, root).features().await {
        Ok(features) => {
            let mut told = Vec::new();
            if features.recursive_read_only_mounts() {
                told.push("recursive read-only mounts");
            }
            if features.idmapped_mounts() {
                told.push("idmapped mounts");
            }
            if told.is_empty() {
                "no extra features".to_owned()
            } else {
                told.join(", ")
            }
        }
        Err(_) => "does not tell its features".to_owned(),
    };
    format!("{}: {version}; {features}", path.display())
}
