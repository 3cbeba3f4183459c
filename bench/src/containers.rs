//! The calls of a container's life, and what holds containers.

use crate::client::Cri;
use crate::measure::Times;
use crate::request::Kind;
use crate::{Options, process, report, request};

/// A pod as most are: a network of its own, a PID namespace for each container.
const USUAL: Kind = Kind {
    host_network: false,
    shared_pid: false,
};

/// Each call alone, in one pod.
///
/// # Errors
/// The first call that fails.
pub(crate) async fn calls(cri: &Cri, options: &Options) -> anyhow::Result<()> {
    let config = request::pod("containers", USUAL, options.place());
    let pod = cri.run_pod(&config).await?;
    let mut times = [(); 5].map(|()| Times::default());
    let [create, start, exec, stop, remove] = &mut times;
    for number in 0..options.turns {
        let container = request::container(&format!("c{number}"), &options.image, USUAL);
        let id = create.of(cri.create(&pod, &config, container)).await?;
        start.of(cri.start(&id)).await?;
        exec.of(cri.exec_true(&id)).await?;
        stop.of(cri.stop(&id)).await?;
        remove.of(cri.remove(&id)).await?;
    }
    cri.stop_pod(&pod).await?;
    cri.remove_pod(&pod).await?;
    let names = [
        "CreateContainer",
        "StartContainer",
        "ExecSync true",
        "StopContainer",
        "RemoveContainer",
    ];
    for (name, times) in names.iter().zip(&times) {
        report::time(format!("{name} p50"), times.percentile(50));
    }
    Ok(())
}

/// The nine calls of a pod with one container, from nothing to nothing.
///
/// # Errors
/// The first call that fails.
pub(crate) async fn lives(cri: &Cri, options: &Options) -> anyhow::Result<()> {
    let mut times = Times::default();
    for number in 0..options.turns {
        let config = request::pod(&format!("life-{number}"), USUAL, options.place());
        let container = request::container("main", &options.image, USUAL);
        let life = async {
            let pod = cri.run_pod(&config).await?;
            let id = cri.create(&pod, &config, container).await?;
            cri.start(&id).await?;
            cri.status(&id).await?;
            cri.exec_true(&id).await?;
            cri.stop(&id).await?;
            cri.remove(&id).await?;
            cri.stop_pod(&pod).await?;
            cri.remove_pod(&pod).await
        };
        times.of(life).await?;
    }
    report::time(
        "whole life of a one-container pod p50",
        times.percentile(50),
    );
    Ok(())
}

/// Processes and memory that a pod with one and with five running containers takes beside them.
///
/// # Errors
/// The first call that fails.
pub(crate) async fn monitors(cri: &Cri, options: &Options) -> anyhow::Result<()> {
    for containers in [1, 5] {
        let before = process::all()?;
        let config = request::pod(&format!("monitor-{containers}"), USUAL, options.place());
        let pod = cri.run_pod(&config).await?;
        for number in 0..containers {
            let container = request::container(&format!("c{number}"), &options.image, USUAL);
            let id = cri.create(&pod, &config, container).await?;
            cri.start(&id).await?;
            cri.exec_true(&id).await?;
        }
        let holders = process::new_since(&before)?;
        let memory = process::memory(&holders);
        let label = format!("beside {containers} container(s) of a pod");
        report::count(format!("{label}: processes"), holders.len());
        report::kilobytes(format!("{label}: RSS"), memory.resident);
        report::kilobytes(format!("{label}: PSS"), memory.proportional);
        cri.stop_pod(&pod).await?;
        cri.remove_pod(&pod).await?;
    }
    Ok(())
}
