//! CPU time a second, from the last two samples of CPU time.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Samples nearer to each other make no new rate: the kernel's counter has its own grain.
const SHORTEST: Duration = Duration::from_secs(1);
/// How young a thing is whose whole life is the last while: it began at zero.
const YOUNG: Duration = Duration::from_secs(60);

/// CPU time at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    /// CPU time since the beginning, in nanoseconds.
    pub(crate) usage_ns: u64,
    /// How long ago the beginning was.
    pub(crate) age: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    at: Instant,
    usage_ns: u64,
    rate: Option<u64>,
}

/// The last sample of each thing. The lock is held for map operations only.
#[derive(Debug)]
pub(crate) struct Rates<K> {
    known: Mutex<HashMap<K, Known>>,
}

impl<K: Eq + Hash> Rates<K> {
    pub(crate) fn new() -> Self {
        Self {
            known: Mutex::new(HashMap::new()),
        }
    }

    /// Notes a sample and gives the rate in nanoseconds a second: since the sample before it, or
    /// since the beginning of what is young, or the one known already when hardly any time has
    /// passed.
    pub(crate) fn note(&self, key: K, sample: Sample) -> Option<u64> {
        let mut known = self.lock();
        let rate = match known.get(&key) {
            // Time of a scheduler does not run backwards: it is another cgroup of the same name.
            Some(last) if sample.usage_ns < last.usage_ns => None,
            Some(last) => {
                let elapsed = sample.at.saturating_duration_since(last.at);
                if elapsed < SHORTEST {
                    return last.rate;
                }
                rate(sample.usage_ns - last.usage_ns, elapsed)
            }
            None if sample.age < YOUNG => rate(sample.usage_ns, sample.age),
            None => None,
        };
        let now = Known {
            at: sample.at,
            usage_ns: sample.usage_ns,
            rate,
        };
        known.insert(key, now);
        rate
    }

    /// Forgets everything else.
    pub(crate) fn keep(&self, keys: &HashSet<K>) {
        self.lock().retain(|key, _| keys.contains(key));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rate(used_ns: u64, elapsed: Duration) -> Option<u64> {
    let second = u128::from(used_ns) * 1_000_000_000;
    u64::try_from(second.checked_div(elapsed.as_nanos())?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_last_two_samples() {
        let rates = Rates::new();
        let begin = Instant::now();
        let note = |ms: u64, usage_ms: u64, age_ms: u64| {
            let sample = Sample {
                at: begin + Duration::from_millis(ms),
                usage_ns: usage_ms * 1_000_000,
                age: Duration::from_millis(age_ms),
            };
            let rate = rates.note("c", sample);
            rate.map(|rate| rate / 1_000_000)
        };
        assert_eq!(note(0, 100, 200), Some(500), "half of its life");
        assert_eq!(note(500, 600, 700), Some(500), "too near for a new one");
        assert_eq!(note(2000, 2100, 2200), Some(1000));
        assert_eq!(note(12_000, 2100, 12_200), Some(0));
        assert_eq!(note(14_000, 6100, 14_200), Some(2000), "two cores");
        assert_eq!(note(16_000, 1, 16_200), None, "another cgroup");
        assert_eq!(note(18_000, 1001, 18_200), Some(500));
    }

    #[test]
    fn an_old_one_has_no_rate_before_its_second_sample() {
        let rates = Rates::new();
        let mut sample = Sample {
            at: Instant::now(),
            usage_ns: 7_000_000_000,
            age: Duration::from_secs(3600),
        };
        assert_eq!(rates.note(1, sample), None);
        sample.at += Duration::from_secs(2);
        sample.usage_ns += 1_000_000_000;
        assert_eq!(rates.note(1, sample), Some(500_000_000));
        rates.keep(&HashSet::from([2]));
        assert_eq!(rates.note(1, sample), None, "forgotten");
        sample.age = Duration::ZERO;
        assert_eq!(rates.note(3, sample), None, "no time has passed");
    }
}
