//! The spec as a whole, and requests to make one from.

use pinpod_model::{
    ContainerConfig, ContainerMetadata, ContainerSecurity, ImageSource, Labels, LinuxResources,
};

/// A container that asks for nothing.
pub(crate) fn container_config() -> ContainerConfig {
    ContainerConfig {
        metadata: ContainerMetadata {
            name: "web".into(),
            attempt: 0,
        },
        image: ImageSource {
            image: "sha256:0".into(),
            user_specified: "docker.io/library/busybox:latest".into(),
            ..ImageSource::default()
        },
        command: Vec::new(),
        args: Vec::new(),
        working_dir: String::new(),
        env: Vec::new(),
        mounts: Vec::new(),
        devices: Vec::new(),
        cdi_devices: Vec::new(),
        labels: Labels::new(),
        annotations: Labels::new(),
        log_path: String::new(),
        stdin: false,
        stdin_once: false,
        tty: false,
        resources: LinuxResources::default(),
        security: ContainerSecurity::default(),
        stop_signal: None,
    }
}
