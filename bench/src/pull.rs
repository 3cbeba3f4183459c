//! An image pull.

use crate::client::Cri;
use crate::measure::Times;
use crate::report;

/// Pulls the image once, whole: the daemon has none of its layers. A second pull would say less, as
/// a daemon may still have the layers of an image that was just removed.
///
/// # Errors
/// The call fails.
pub(crate) async fn measure(cri: &Cri, image: &str) -> anyhow::Result<()> {
    let mut times = Times::default();
    let id = times.of(cri.pull(image)).await?;
    cri.remove_image(&id).await?;
    report::time("PullImage", times.percentile(50));
    Ok(())
}
