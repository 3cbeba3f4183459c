//! What followers of the pods' lives are told: one ring, a place in it for each follower.
//!
//! A driver says what happened and never waits. A follower that falls [`RING`] events behind has
//! lost the oldest ones; it is told how many, and its stream ends, so that it lists everything anew.
//! A follower that is dropped holds nothing any more.

use std::sync::{Arc, Mutex, PoisonError};

use pinpod_model::{Classify, ErrorClass};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::snapshot::{PodSnapshot, UnixNanos};

/// How many events a follower may be behind. They share the snapshots, of some kilobytes each, with
/// one another and with the pods themselves.
pub const RING: usize = 1024;

/// What happened to a container or a pod sandbox (`runtime.v1.ContainerEventType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It can be seen from now on.
    Created,
    /// Its process runs; a pod sandbox is ready.
    Started,
    /// Its process has ended; a pod sandbox is not ready, and nothing runs in it.
    Stopped,
    /// It is gone.
    Deleted,
}

/// One thing that happened, and the pod right after it.
#[derive(Debug, Clone)]
pub struct PodEvent {
    /// What happened.
    pub kind: EventKind,
    /// Identifier of the container, or of the pod sandbox itself.
    pub subject: String,
    /// When; of two events of a pod, the later one has the larger time.
    pub created_at: UnixNanos,
    /// The pod with its containers at that moment.
    pub pod: Arc<PodSnapshot>,
}

/// Why a follower hears no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// It read too slowly.
    #[error("{lost} events are lost because they were not read in time: list everything anew")]
    TooSlow {
        /// How many events it missed.
        lost: u64,
    },
    /// The daemon ends.
    #[error("pinpod is ending; containers run on")]
    Ending,
}

impl Classify for FollowError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::TooSlow { .. } => ErrorClass::ResourceExhausted,
            Self::Ending => ErrorClass::Unavailable,
        }
    }
}

/// Where drivers say what happened. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Events {
    /// `None` once the daemon ends.
    ring: Arc<Mutex<Option<broadcast::Sender<Arc<PodEvent>>>>>,
}

impl Default for Events {
    fn default() -> Self {
        Self::with_ring(RING)
    }
}

impl Events {
    fn with_ring(size: usize) -> Self {
        let (ring, _) = broadcast::channel(size);
        Self {
            ring: Arc::new(Mutex::new(Some(ring))),
        }
    }

    /// Everything that happens from now on.
    #[must_use]
    pub fn follow(&self) -> Follower {
        Follower {
            receiver: self.with(broadcast::Sender::subscribe),
        }
    }

    /// How many follow.
    #[must_use]
    pub fn followers(&self) -> usize {
        self.with(broadcast::Sender::receiver_count).unwrap_or(0)
    }

    /// Ends every follower's stream, now and from now on: the daemon ends.
    pub fn end(&self) {
        self.ring
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    pub(crate) fn tell(&self, event: PodEvent) {
        // Nobody may listen; then there is nobody to tell.
        self.with(|ring| ring.send(Arc::new(event)).is_ok());
    }

    fn with<T>(&self, f: impl FnOnce(&broadcast::Sender<Arc<PodEvent>>) -> T) -> Option<T> {
        // The lock guards a single value, which a panic cannot leave half-changed.
        self.ring
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map(f)
    }
}

/// One who follows. Dropping it ends it.
#[derive(Debug)]
pub struct Follower {
    receiver: Option<broadcast::Receiver<Arc<PodEvent>>>,
}

impl Follower {
    /// Waits for the next event.
    ///
    /// # Errors
    /// [`FollowError`]; what comes after it is of no use, as something is missing in between.
    pub async fn next(&mut self) -> Result<Arc<PodEvent>, FollowError> {
        let Some(receiver) = &mut self.receiver else {
            return Err(FollowError::Ending);
        };
        match receiver.recv().await {
            Ok(event) => Ok(event),
            Err(RecvError::Lagged(lost)) => Err(FollowError::TooSlow { lost }),
            Err(RecvError::Closed) => Err(FollowError::Ending),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> PodEvent {
        PodEvent {
            kind: EventKind::Created,
            subject: number.to_string(),
            created_at: 0,
            pod: Arc::new(PodSnapshot::example()),
        }
    }

    #[tokio::test]
    async fn who_is_too_slow_learns_how_many_it_lost_and_holds_up_nobody() {
        let events = Events::with_ring(4);
        let (mut slow, mut quick) = (events.follow(), events.follow());
        for number in 0..10 {
            events.tell(event(number));
            assert_eq!(quick.next().await.unwrap().subject, number.to_string());
        }
        let error = slow.next().await.unwrap_err();
        assert_eq!(error, FollowError::TooSlow { lost: 6 });
        assert_eq!(
            error.to_string(),
            "6 events are lost because they were not read in time: list everything anew"
        );
    }

    #[tokio::test]
    async fn who_is_gone_is_not_counted() {
        let events = Events::default();
        let (one, two) = (events.follow(), events.follow());
        assert_eq!(events.followers(), 2);
        drop(one);
        assert_eq!(events.followers(), 1);
        drop(two);
        assert_eq!(events.followers(), 0);
        events.tell(event(0));
    }

    #[tokio::test]
    async fn at_the_end_everyone_gets_what_was_said_and_then_the_reason() {
        let events = Events::default();
        let mut early = events.follow();
        events.tell(event(7));
        events.end();
        assert_eq!(early.next().await.unwrap().subject, "7");
        assert_eq!(early.next().await.unwrap_err(), FollowError::Ending);
        assert_eq!(
            events.follow().next().await.unwrap_err(),
            FollowError::Ending
        );
        assert_eq!(events.followers(), 0);
    }
}
