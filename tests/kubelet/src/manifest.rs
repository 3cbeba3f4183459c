//! Manifests of static pods.

use pinpod_testkit::Image;
use serde_json::{Value, json};

/// A pod in the making; its name is its file's too.
#[derive(Debug, Clone)]
pub struct Manifest {
    name: String,
    spec: Value,
    annotations: Value,
}

/// A container that runs a script in the image's shell.
#[must_use]
pub fn shell(name: &str, image: &Image, script: &str) -> Value {
    json!({
        "name": name,
        "image": image.reference,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", script],
    })
}

impl Manifest {
    /// A pod of these containers, which have a second to end by themselves.
    #[must_use]
    pub fn new(name: &str, containers: Value) -> Self {
        Self {
            name: name.to_owned(),
            spec: json!({"containers": containers, "terminationGracePeriodSeconds": 1}),
            annotations: json!({}),
        }
    }

    /// Sets a member of the pod's `spec`.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.spec[key] = value;
        self
    }

    /// Adds an annotation.
    #[must_use]
    pub fn annotated(mut self, key: &str, value: &str) -> Self {
        self.annotations[key] = json!(value);
        self
    }

    /// The name that was given; the kubelet adds the node's.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the file says.
    #[must_use]
    pub fn text(&self) -> String {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self.name,
                "namespace": "default",
                "labels": {"app": self.name},
                "annotations": self.annotations,
            },
            "spec": self.spec,
        })
        .to_string()
    }
}
