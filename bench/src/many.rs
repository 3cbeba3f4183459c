//! Many pods at once.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::Cri;
use crate::request::Kind;
use crate::{Options, report, request};

/// Pods with one container each, some calls in flight: until all are up, until all are gone.
///
/// # Errors
/// The first call that fails.
pub(crate) async fn measure(cri: &Cri, options: &Options) -> anyhow::Result<()> {
    let kind = Kind {
        host_network: false,
        shared_pid: false,
    };
    let begin = Instant::now();
    let mut jobs = Vec::new();
    for number in 0..options.pods {
        let cri = cri.clone();
        let pod_config = request::pod(&format!("many-{number}"), kind, options.place());
        let config = request::container("main", &options.image, kind);
        jobs.push(async move {
            let pod = cri.run_pod(&pod_config).await?;
            let container = cri.create(&pod, &pod_config, config).await?;
            cri.start(&container).await?;
            Ok(pod)
        });
    }
    let pods = in_flight(jobs, options.in_flight).await?;
    let up = begin.elapsed();
    let begin = Instant::now();
    end_pods(cri, pods, options.in_flight).await?;
    let gone = begin.elapsed();

    let label = format!(
        "{} pods with a container, {} in flight",
        options.pods, options.in_flight
    );
    report::time(format!("{label}: all up"), up);
    report::time(format!("{label}: all gone"), gone);
    Ok(())
}

/// Stops and removes pods, so many at once.
///
/// # Errors
/// The first call that fails.
pub(crate) async fn end_pods(cri: &Cri, pods: Vec<String>, at_once: usize) -> anyhow::Result<()> {
    let jobs = pods.into_iter().map(|pod| {
        let cri = cri.clone();
        async move {
            cri.stop_pod(&pod).await?;
            cri.remove_pod(&pod).await
        }
    });
    in_flight(jobs, at_once).await.map(drop)
}

/// Waits for all jobs, so many at once; the first failure ends it.
async fn in_flight<T: Send + 'static>(
    jobs: impl IntoIterator<Item = impl Future<Output = anyhow::Result<T>> + Send + 'static>,
    at_once: usize,
) -> anyhow::Result<Vec<T>> {
    let places = Arc::new(Semaphore::new(at_once.min(Semaphore::MAX_PERMITS)));
    let mut running = JoinSet::new();
    for job in jobs {
        let places = Arc::clone(&places);
        running.spawn(async move {
            let _place = places.acquire_owned().await?;
            job.await
        });
    }
    let mut results = Vec::new();
    while let Some(done) = running.join_next().await {
        results.push(done??);
    }
    Ok(results)
}
