//! A Kubernetes Pod manifest and what it means in CRI.
//!
//! `schema` is the part of `v1.Pod` that a node without a control plane can honour, `quantity` its
//! number format, `expand` its `$(NAME)` references, and `convert` turns a manifest into the
//! requests that a kubelet would send. No I/O here but the reading of the file itself.

mod container;
mod convert;
mod expand;
mod quantity;
mod schema;

use std::path::Path;

use anyhow::{Context as _, bail};

pub(crate) use container::ContainerPlan;
pub(crate) use convert::{Place, PodPlan, Volume, plan};
pub(crate) use schema::{Pod, PullPolicy};

/// Reads one Pod from a YAML or JSON file (`-` is standard input), and names every field in it
/// that will not be honoured.
///
/// # Errors
/// If the file cannot be read, is not a v1 Pod, or has a value of the wrong type.
pub(crate) fn read(path: &Path) -> anyhow::Result<(Pod, Vec<String>)> {
    let text = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin()).context("standard input")?
    } else {
        std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?
    };
    parse(&text).with_context(|| format!("{}", path.display()))
}

fn parse(text: &str) -> anyhow::Result<(Pod, Vec<String>)> {
    let pod: Pod = serde_yaml_ng::from_str(text)?;
    if pod.api_version != "v1" || pod.kind != "Pod" {
        bail!("is {} {}, not v1 Pod", pod.api_version, pod.kind);
    }
    if pod.spec.containers.is_empty() {
        bail!("spec.containers is empty");
    }
    let mut ignored = Vec::new();
    pod.ignored(&mut ignored);
    Ok((pod, ignored))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_mean_nothing_here_are_named() {
        let (_, ignored) = parse(
            "{apiVersion: v1, kind: Pod, metadata: {name: a, finalizers: []}, spec: {nodeName: n, \
             containers: [{name: c, image: i, livenessProbe: {}}]}}",
        )
        .unwrap();
        let expected = [
            "metadata.finalizers",
            "spec.nodeName",
            "spec.containers[0].livenessProbe",
        ];
        assert_eq!(ignored, expected);
    }

    #[test]
    fn what_is_no_pod_is_refused() {
        for (text, word) in [
            (
                "{apiVersion: apps/v1, kind: Deployment, metadata: {}, spec: {containers: []}}",
                "Deployment",
            ),
            (
                "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: []}}",
                "containers",
            ),
            (
                "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {hostPID: 3, containers: []}}",
                "hostPID",
            ),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(word), "{error}");
        }
    }
}
