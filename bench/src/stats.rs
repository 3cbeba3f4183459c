//! Statistics of many containers.

use crate::client::Cri;
use crate::measure::Times;
use crate::request::Kind;
use crate::{Options, many, report, request};

/// How many containers are listed, one in each pod.
const CONTAINERS: usize = 30;

/// Lists what running containers use.
///
/// # Errors
/// The first call that fails.
pub(crate) async fn measure(cri: &Cri, options: &Options) -> anyhow::Result<()> {
    let kind = Kind {
        host_network: false,
        shared_pid: false,
    };
    let mut pods = Vec::new();
    for number in 0..CONTAINERS {
        let config = request::pod(&format!("stats-{number}"), kind, options.place());
        let pod = cri.run_pod(&config).await?;
        let container = request::container("main", &options.image, kind);
        let id = cri.create(&pod, &config, container).await?;
        cri.start(&id).await?;
        pods.push(pod);
    }
    let mut times = Times::default();
    for _ in 0..options.turns {
        let listed = times.of(cri.container_stats()).await?;
        anyhow::ensure!(listed == CONTAINERS, "ListContainerStats tells of {listed}");
    }
    report::time(
        format!("ListContainerStats, {CONTAINERS} containers p50"),
        times.percentile(50),
    );
    many::end_pods(cri, pods, options.in_flight).await
}
