//! Waiting for what happens by itself.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::Instant;

use crate::Result;

/// Asks again and again until `ask` has an answer.
///
/// # Errors
/// The error of `ask` at once; after `deadline`, one that names `what`.
pub async fn until<T, F>(what: &str, deadline: Duration, mut ask: F) -> Result<T>
where
    F: AsyncFnMut() -> Result<Option<T>>,
{
    let end = Instant::now() + deadline;
    loop {
        if let Some(answer) = ask().await.with_context(|| format!("waiting for {what}"))? {
            return Ok(answer);
        }
        if Instant::now() >= end {
            bail!("{what}: not within {deadline:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
