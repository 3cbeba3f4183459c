//! Pulls under way. Callers who ask for the same with the same credentials share one; it goes on
//! while one of them waits, and ends with the last.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{Shared, WeakShared};
use pinpod_model::Credentials;

use crate::PulledImage;
use crate::error::PullError;

type Outcome = Result<PulledImage, PullError>;
type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// What makes two pulls the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct JobKey {
    pub(crate) name: String,
    pub(crate) credentials: Option<Credentials>,
}

#[derive(Debug, Default)]
pub(crate) struct Jobs {
    running: Mutex<HashMap<JobKey, WeakShared<Work>>>,
}

impl Jobs {
    /// The pull of this key that is under way, or a new one.
    pub(crate) fn join(&self, key: JobKey, work: impl FnOnce() -> Work) -> Shared<Work> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // A finished one may be old news by now: a tag can have moved.
        let is_running = |job: &WeakShared<Work>| job.upgrade().is_some_and(|j| j.peek().is_none());
        running.retain(|_, job| is_running(job));
        if let Some(job) = running.get(&key).and_then(WeakShared::upgrade) {
            return job;
        }
        let job = work().shared();
        if let Some(weak) = job.downgrade() {
            running.insert(key, weak);
        }
        job
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn key(name: &str, user: &str) -> JobKey {
        JobKey {
            name: name.to_owned(),
            credentials: Some(Credentials {
                username: user.to_owned(),
                ..Credentials::default()
            }),
        }
    }

    struct CountDrop(Arc<AtomicUsize>);

    impl Drop for CountDrop {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn the_same_pull_is_shared_and_ends_with_its_last_caller() {
        let jobs = Jobs::default();
        let started = AtomicUsize::new(0);
        let dropped = Arc::new(AtomicUsize::new(0));
        let work = || -> Work {
            started.fetch_add(1, Ordering::Relaxed);
            let guard = CountDrop(Arc::clone(&dropped));
            Box::pin(async move {
                let _guard = guard;
                std::future::pending().await
            })
        };
        let first = jobs.join(key("a", "x"), work);
        let second = jobs.join(key("a", "x"), work);
        assert_eq!(started.load(Ordering::Relaxed), 1);
        let other = jobs.join(key("a", "y"), work);
        assert_eq!(started.load(Ordering::Relaxed), 2);
        drop(first);
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
        drop((second, other));
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
        drop(jobs.join(key("a", "x"), work));
        assert_eq!(started.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_finished_pull_is_not_joined() {
        let jobs = Jobs::default();
        let work = || -> Work {
            let reference = String::new();
            Box::pin(async { Err(PullError::Cancelled { reference }) })
        };
        let first = jobs.join(key("a", "x"), work);
        assert!(first.clone().await.is_err());
        let second = jobs.join(key("a", "x"), work);
        assert!(!first.ptr_eq(&second));
    }
}
