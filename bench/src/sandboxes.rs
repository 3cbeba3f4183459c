//! Pods without containers.

use std::time::Instant;

use crate::client::Cri;
use crate::measure::Times;
use crate::request::{Kind, Place};
use crate::{Options, many, process, report, request};

/// Runs pods of four kinds, one after another.
///
/// # Errors
/// The first call that fails.
pub(crate) async fn measure(cri: &Cri, options: &Options) -> anyhow::Result<()> {
    // One unmeasured pod: the first on a node makes the bridge and the first firewall rules.
    let kind = Kind {
        host_network: false,
        shared_pid: false,
    };
    turns(
        cri,
        options,
        kind,
        1,
        &mut [(); 3].map(|()| Times::default()),
    )
    .await?;
    memory(options, "no pods")?;
    for shared_pid in [false, true] {
        for host_network in [false, true] {
            let kind = Kind {
                host_network,
                shared_pid,
            };
            hundred(cri, options, kind).await?;
            let mut times = [(); 3].map(|()| Times::default());
            turns(cri, options, kind, options.turns, &mut times).await?;
            let label = label(kind);
            report::time(
                format!("{label}: StopPodSandbox p50"),
                times[1].percentile(50),
            );
            report::time(
                format!("{label}: RemovePodSandbox p50"),
                times[2].percentile(50),
            );
        }
    }
    Ok(())
}

/// The comparison with which CRI-O dropped its pause container: run all one after another, then
/// stop and remove all at once, as `crictl rmp -fa` does.
async fn hundred(cri: &Cri, options: &Options, kind: Kind) -> anyhow::Result<()> {
    let label = label(kind);
    let before = process::all()?;
    let mut times = Times::default();
    let mut pods = Vec::new();
    let begin = Instant::now();
    for number in 0..options.pods {
        let config = request::pod(&name(kind, number), kind, options.place());
        pods.push(times.of(cri.run_pod(&config)).await?);
    }
    let run = begin.elapsed();
    let holders = process::new_since(&before)?;
    if !kind.host_network && !kind.shared_pid {
        memory(options, &format!("{} pods", options.pods))?;
    }
    let held = process::memory(&holders);
    let begin = Instant::now();
    many::end_pods(cri, pods, usize::MAX).await?;
    let removed = begin.elapsed();

    let all = format!("{label}, {} pods", options.pods);
    report::time(format!("{label}: RunPodSandbox p50"), times.percentile(50));
    report::time(format!("{label}: RunPodSandbox p99"), times.percentile(99));
    report::time(format!("{all}: run one after another"), run);
    report::time(format!("{all}: stop and remove all at once"), removed);
    report::time(format!("{all}: both"), run + removed);
    report::count(format!("{all}: processes that hold them"), holders.len());
    report::kilobytes(format!("{all}: PSS of those processes"), held.proportional);
    Ok(())
}

/// Pods run, stopped and removed one by one; times of the three calls.
async fn turns(
    cri: &Cri,
    options: &Options,
    kind: Kind,
    turns: usize,
    times: &mut [Times; 3],
) -> anyhow::Result<()> {
    let [run, stop, remove] = times;
    for number in 0..turns {
        let config = request::pod(&name(kind, number), kind, options.place());
        let pod = run.of(cri.run_pod(&config)).await?;
        stop.of(cri.stop_pod(&pod)).await?;
        remove.of(cri.remove_pod(&pod)).await?;
    }
    Ok(())
}

fn memory(options: &Options, when: &str) -> anyhow::Result<()> {
    let daemon = process::memory(&process::named(&options.daemon)?);
    report::kilobytes(format!("daemon RSS, {when}"), daemon.resident);
    report::kilobytes(format!("daemon PSS, {when}"), daemon.proportional);
    Ok(())
}

fn label(kind: Kind) -> String {
    let network = if kind.host_network {
        "node's network"
    } else {
        "own network"
    };
    let pid = if kind.shared_pid { ", shared PID" } else { "" };
    format!("{network}{pid}")
}

fn name(kind: Kind, number: usize) -> String {
    let network = if kind.host_network { "node" } else { "own" };
    let pid = if kind.shared_pid { "-shared" } else { "" };
    format!("{network}{pid}-{number}")
}

impl Options {
    /// Where this run's pods are.
    pub(crate) fn place(&self) -> Place<'_> {
        Place {
            cgroup_parent: &self.cgroup_parent,
            logs: &self.logs,
        }
    }
}
