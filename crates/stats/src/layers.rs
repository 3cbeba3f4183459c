//! Writable layers, measured in the background.
//!
//! To know what a directory holds, it must be walked, and a container may have put a million files
//! into its upper directory. So one task walks one layer after the other and rests nine times as
//! long as each took: a tenth of one disk and of one CPU at most. A call takes what was measured
//! last. It is at most [`MAX_AGE`] old, or ten times what it takes to walk all of the layers, if
//! that is more.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pinpod_image::Images;
use pinpod_model::ContainerId;
use pinpod_pod::Engine;
use tokio::sync::Notify;

use crate::read::now;
use crate::usage::LayerUsage;

/// How old a measurement becomes before the next one is due.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(10);
/// Rest after each walk, in times of its length.
const REST: u32 = 9;

#[derive(Debug, Clone, Copy)]
struct Measured {
    /// The end of the last try.
    at: Instant,
    /// `None` if none succeeded yet.
    usage: Option<LayerUsage>,
}

/// The last measurement of each layer. The lock is held for map operations only.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    measured: Mutex<HashMap<ContainerId, Measured>>,
    wanted: Notify,
}

/// What is to be measured next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Now(ContainerId),
    After(Duration),
}

impl Layers {
    /// The last measurement. One that was never measured comes first from now on.
    pub(crate) fn usage(&self, container: &ContainerId) -> Option<LayerUsage> {
        let measured = self.lock().get(container).copied();
        if measured.is_none() {
            self.wanted.notify_one();
        }
        measured?.usage
    }

    /// Measures for ever.
    pub(crate) async fn measure(&self, engine: &Engine, images: &Images) {
        loop {
            let containers = engine.containers();
            let ids: Vec<_> = containers.iter().map(|known| known.id.clone()).collect();
            drop(containers);
            match self.next(&ids, Instant::now()) {
                Next::Now(id) => {
                    let rest = self.measure_one(images, id).await;
                    tokio::time::sleep(rest).await;
                }
                Next::After(pause) => {
                    // Woken or not, the next look tells what is due.
                    tokio::time::timeout(pause, self.wanted.notified())
                        .await
                        .unwrap_or_default();
                }
            }
        }
    }

    async fn measure_one(&self, images: &Images, id: ContainerId) -> Duration {
        let begin = Instant::now();
        let walked = images.writable_usage(&id).await;
        let at = Instant::now();
        let usage = match walked {
            Ok(usage) => Some(LayerUsage {
                measured_at: now(),
                bytes: usage.bytes,
                inodes: usage.inodes,
            }),
            Err(error) => {
                tracing::debug!(container = %id, %error, "cannot measure a writable layer");
                None
            }
        };
        let mut measured = self.lock();
        let last = measured.get(&id).and_then(|last| last.usage);
        let usage = usage.or(last);
        measured.insert(id, Measured { at, usage });
        at.saturating_duration_since(begin).saturating_mul(REST)
    }

    /// The layer that waits longest, when it is due. Layers that are not there any more are
    /// forgotten.
    fn next(&self, ids: &[ContainerId], now: Instant) -> Next {
        let mut measured = self.lock();
        let there: HashSet<&ContainerId> = ids.iter().collect();
        measured.retain(|id, _| there.contains(id));
        if let Some(never) = ids.iter().find(|id| !measured.contains_key(id)) {
            return Next::Now(never.clone());
        }
        let Some((oldest, last)) = measured.iter().min_by_key(|(_, last)| last.at) else {
            return Next::After(MAX_AGE);
        };
        let age = now.saturating_duration_since(last.at);
        match MAX_AGE.checked_sub(age) {
            None | Some(Duration::ZERO) => Next::Now(oldest.clone()),
            Some(rest) => Next::After(rest),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ContainerId, Measured>> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layer_that_waits_longest_comes_first() {
        let [a, b, c] = ["a", "b", "c"].map(|digit| digit.repeat(64).parse().unwrap());
        let layers = Layers::default();
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let note = |id: &ContainerId, seconds| {
            let measured = Measured {
                at: at(seconds),
                usage: None,
            };
            layers.lock().insert(id.clone(), measured);
        };
        assert_eq!(layers.next(&[], begin), Next::After(MAX_AGE));
        note(&a, 0);
        note(&b, 3);
        let all = [a.clone(), b.clone(), c.clone()];
        assert_eq!(layers.next(&all, at(20)), Next::Now(c.clone()), "never");
        note(&c, 4);
        assert_eq!(
            layers.next(&all, at(5)),
            Next::After(Duration::from_secs(5))
        );
        assert_eq!(layers.next(&all, at(10)), Next::Now(a.clone()));
        note(&a, 10);
        assert_eq!(layers.next(&all, at(20)), Next::Now(b.clone()));
        assert_eq!(
            layers.next(std::slice::from_ref(&a), at(11)),
            Next::After(Duration::from_secs(9))
        );
        assert_eq!(layers.lock().len(), 1, "the others are forgotten");
    }
}
