//! Times of calls.

use std::time::{Duration, Instant};

/// How long calls of one kind took.
#[derive(Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    /// Waits for a call and keeps its time if it succeeds.
    ///
    /// # Errors
    /// Those of the call.
    pub(crate) async fn of<T, E>(
        &mut self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let begin = Instant::now();
        let answer = call.await?;
        self.0.push(begin.elapsed());
        Ok(answer)
    }

    /// The smallest time that so many per cent do not exceed; zero if there is none.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let index = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted.get(index).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let times = Times((1..=100).rev().map(Duration::from_millis).collect());
        assert_eq!(times.percentile(50), Duration::from_millis(50));
        assert_eq!(times.percentile(99), Duration::from_millis(99));
        let one = Times(vec![Duration::from_millis(7)]);
        assert_eq!(one.percentile(1), Duration::from_millis(7));
        assert_eq!(Times::default().percentile(50), Duration::ZERO);
    }
}
