//! An image pull.

use crate::client::Cri;
use crate::measure::Times;
use crate::report;

/// Odd, so that the middle one is a pull that was.
const PULLS: usize = 3;

/// Pulls the image, removing it in between.
///
/// # Errors
/// The first call that fails.
pub(crate) async fn measure(cri: &Cri, image: &str) -> anyhow::Result<()> {
    let mut times = Times::default();
    for _ in 0..PULLS {
        let id = times.of(cri.pull(image)).await?;
        cri.remove_image(&id).await?;
    }
    report::time("PullImage p50", times.percentile(50));
    Ok(())
}
