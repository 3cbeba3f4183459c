//! Whether anything of a pod is still there after it was removed.

use std::path::PathBuf;

use pinpod_config::Config;
use pinpod_cri_api::runtime::v1 as cri;
use tonic::Code;

use super::pod::{Cri, RunningPod};
use super::show;

/// What the pod had, noted before its removal.
#[derive(Debug)]
pub(super) struct Watched {
    sandbox: String,
    files: Vec<PathBuf>,
}

impl Watched {
    pub(super) fn note(config: &Config, running: &RunningPod) -> Self {
        let mut files = Vec::new();
        if !running.sandbox.is_empty() {
            files = show::pins(config, &running.sandbox);
            files.push(config.runroot.join("pods").join(&running.sandbox));
            let containers = config.runroot.join("containers");
            files.extend(running.containers.iter().map(|id| containers.join(id)));
        }
        Self {
            sandbox: running.sandbox.clone(),
            files,
        }
    }

    /// Names what is left, and answers whether nothing is.
    pub(super) async fn is_clean(&self, cri: &mut Cri) -> bool {
        let mut clean = true;
        let mut complain = |text: String| {
            crate::complain(&text);
            clean = false;
        };
        for file in self.files.iter().filter(|file| file.exists()) {
            complain(format!("left: {}", file.display()));
        }
        if let Ok(mounts) = std::fs::read_to_string("/proc/self/mountinfo")
            && !self.sandbox.is_empty()
        {
            for line in mounts.lines().filter(|line| line.contains(&self.sandbox)) {
                complain(format!("left: mount {line}"));
            }
        }
        let request = cri::PodSandboxStatusRequest {
            pod_sandbox_id: self.sandbox.clone(),
            verbose: false,
        };
        if !self.sandbox.is_empty() {
            match cri.runtime.pod_sandbox_status(request).await {
                Err(status) if status.code() == Code::NotFound => {}
                _ => complain(format!("left: pod sandbox {} in the daemon", self.sandbox)),
            }
        }
        clean
    }
}
