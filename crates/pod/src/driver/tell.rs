//! What followers are told of a pod: the difference between what they know and what they may see.

use pinpod_model::ContainerId;

use super::Driver;
use super::slot::{Slot, Work};
use crate::events::{EventKind, PodEvent};
use crate::sandbox;
use crate::snapshot::{ContainerPhase, PodSnapshot, PodState};

/// How far a life has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Created,
    Started,
    Stopped,
}

/// What followers know of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Told {
    sandbox: Option<Stage>,
    containers: Vec<(ContainerId, Stage)>,
}

/// A pod as far as its events go.
#[derive(Debug)]
struct Seen<'a> {
    state: PodState,
    containers: Vec<(&'a ContainerId, &'a ContainerPhase)>,
}

impl<'a> From<&'a PodSnapshot> for Seen<'a> {
    fn from(pod: &'a PodSnapshot) -> Self {
        let containers = pod.containers.iter();
        Self {
            state: pod.state,
            containers: containers.map(|it| (&it.id, &it.phase)).collect(),
        }
    }
}

/// What happened; to the sandbox where there is no container.
type News = (EventKind, Option<ContainerId>);

impl Told {
    /// Takes a pod as known, without a word.
    pub(super) fn all_of(pod: &PodSnapshot) -> Self {
        let mut told = Self::default();
        told.update(&Seen::from(pod), |_| false);
        told
    }

    /// What has changed since the last time. The sandbox is there before its containers and stopped
    /// after them, and each life is told in order, whatever steps were not seen. A container for
    /// which `held` says so has ended, but whether it ever started is known only in a moment; it is
    /// told of then.
    fn update(&mut self, pod: &Seen<'_>, held: impl Fn(&ContainerId) -> bool) -> Vec<News> {
        let mut news = Vec::new();
        if self.sandbox.is_none() {
            news.push((EventKind::Created, None));
            news.push((EventKind::Started, None));
            self.sandbox = Some(Stage::Started);
        }
        let known = std::mem::take(&mut self.containers);
        for (id, _) in &known {
            if !pod.containers.iter().any(|(it, _)| *it == id) {
                news.push((EventKind::Deleted, Some(id.clone())));
            }
        }
        for &(id, phase) in &pod.containers {
            let before = known.iter().find(|it| it.0 == *id).map(|it| it.1);
            let after = match before {
                Some(before) if held(id) => before,
                _ => tell_phase(before, phase, |kind| news.push((kind, Some(id.clone())))),
            };
            self.containers.push((id.clone(), after));
        }
        let quiet = pod.containers.iter().all(|it| it.1.process().is_none());
        if self.sandbox == Some(Stage::Started) && pod.state == PodState::NotReady && quiet {
            news.push((EventKind::Stopped, None));
            self.sandbox = Some(Stage::Stopped);
        }
        news
    }
}

/// Tells the steps from what is known to what is, and returns that.
fn tell_phase(
    before: Option<Stage>,
    phase: &ContainerPhase,
    mut tell: impl FnMut(EventKind),
) -> Stage {
    let (after, has_started) = match phase {
        ContainerPhase::Creating | ContainerPhase::Created { .. } | ContainerPhase::Prepared => {
            (Stage::Created, false)
        }
        ContainerPhase::Running { .. } => (Stage::Started, true),
        ContainerPhase::Exited { started_at, .. } => (Stage::Stopped, started_at.is_some()),
    };
    if before.is_none() {
        tell(EventKind::Created);
    }
    if has_started && before < Some(Stage::Started) {
        tell(EventKind::Started);
    }
    if after == Stage::Stopped && before < Some(Stage::Stopped) {
        tell(EventKind::Stopped);
    }
    before.map_or(after, |before| before.max(after))
}

impl Driver {
    /// Tells followers what has happened since the last time, once clients may see the pod.
    pub(super) fn tell_followers(&mut self) {
        let published = self.publish.borrow().clone();
        if !published.visible {
            return;
        }
        let slots = &self.slots;
        let held = |id: &ContainerId| slots.iter().any(|slot| slot.record.id == *id && ends(slot));
        for news in self.told.update(&Seen::from(&*published.snapshot), held) {
            self.tell_one(news);
        }
    }

    /// The last word on a pod that is gone.
    pub(super) fn tell_deleted(&mut self) {
        if self.told.sandbox.is_some() {
            self.tell_one((EventKind::Deleted, None));
        }
    }

    fn tell_one(&mut self, (kind, container): News) {
        // The kubelet drops what is not newer than what it has.
        self.told_at = sandbox::now().max(self.told_at.saturating_add(1));
        self.index.events().tell(PodEvent {
            kind,
            subject: container.map_or_else(|| self.record.id.to_string(), String::from),
            created_at: self.told_at,
            pod: self.publish.borrow().snapshot.clone(),
        });
    }
}

/// Its exit was told before the end of its start.
fn ends(slot: &Slot) -> bool {
    matches!(slot.work, Work::Starting(_))
        && matches!(slot.record.phase, ContainerPhase::Exited { .. })
}

#[cfg(test)]
mod tests {
    use pinpod_kernel::process::ProcessIdentity;

    use super::*;
    use crate::snapshot::Exit;

    const PROCESS: ProcessIdentity = ProcessIdentity {
        pid: 7,
        start_time: 8,
    };
    const CREATED: ContainerPhase = ContainerPhase::Created { process: PROCESS };
    const RUNNING: ContainerPhase = ContainerPhase::Running {
        process: PROCESS,
        started_at: 1,
    };

    fn exited(started_at: Option<i64>) -> ContainerPhase {
        let exit = Exit {
            code: 0,
            finished_at: 2,
            oom_killed: false,
            message: String::new(),
        };
        ContainerPhase::Exited { started_at, exit }
    }

    fn id(pair: &str) -> ContainerId {
        pair.repeat(32).parse().unwrap()
    }

    /// The news as words like `a created` and `pod stopped`, with `held` containers by name.
    fn step(
        told: &mut Told,
        state: PodState,
        containers: &[(&str, &ContainerPhase)],
        held: &[&str],
    ) -> Vec<String> {
        let ids: Vec<_> = containers
            .iter()
            .map(|(name, phase)| (id(&name.repeat(2)), *phase))
            .collect();
        let seen = Seen {
            state,
            containers: ids.iter().map(|(id, phase)| (id, *phase)).collect(),
        };
        let is_held = |id: &ContainerId| held.iter().any(|name| id.as_str().starts_with(name));
        let name = |id: ContainerId| id.as_str()[..1].to_owned();
        told.update(&seen, is_held)
            .into_iter()
            .map(|(kind, id)| {
                let who = id.map_or_else(|| "pod".to_owned(), name);
                format!("{who} {kind:?}").to_lowercase()
            })
            .collect()
    }

    #[test]
    fn a_life_step_by_step() {
        use PodState::{NotReady, Ready};
        let mut told = Told::default();
        let exited = exited(Some(1));
        for (state, containers, news) in [
            (Ready, vec![], vec!["pod created", "pod started"]),
            (Ready, vec![], vec![]),
            (Ready, vec![("a", &CREATED)], vec!["a created"]),
            (Ready, vec![("a", &RUNNING)], vec!["a started"]),
            (
                Ready,
                vec![("a", &RUNNING), ("b", &CREATED)],
                vec!["b created"],
            ),
            (
                Ready,
                vec![("a", &exited), ("b", &RUNNING)],
                vec!["a stopped", "b started"],
            ),
            (Ready, vec![("b", &RUNNING)], vec!["a deleted"]),
            // The sandbox is not ready, but not stopped as long as something runs in it.
            (NotReady, vec![("b", &RUNNING)], vec![]),
            (
                NotReady,
                vec![("b", &exited)],
                vec!["b stopped", "pod stopped"],
            ),
            (NotReady, vec![], vec!["b deleted"]),
            (NotReady, vec![], vec![]),
        ] {
            assert_eq!(step(&mut told, state, &containers, &[]), news);
        }
    }

    #[test]
    fn steps_that_were_not_seen_are_told_in_order() {
        let (lived, unborn) = (exited(Some(1)), exited(None));
        let mut told = Told::default();
        let all = [("a", &lived), ("b", &unborn), ("c", &RUNNING)];
        assert_eq!(
            step(&mut told, PodState::Ready, &all, &[]),
            [
                "pod created",
                "pod started",
                "a created",
                "a started",
                "a stopped",
                "b created",
                "b stopped",
                "c created",
                "c started"
            ]
        );
    }

    #[test]
    fn an_exit_that_overtakes_the_start_waits_for_it() {
        let mut told = Told::default();
        let ready = PodState::Ready;
        step(&mut told, ready, &[("a", &CREATED)], &[]);
        let none: [&str; 0] = [];
        assert_eq!(
            step(&mut told, ready, &[("a", &exited(None))], &["a"]),
            none
        );
        assert_eq!(
            step(&mut told, ready, &[("a", &exited(Some(1)))], &[]),
            ["a started", "a stopped"]
        );
    }

    #[test]
    fn what_is_known_already_is_not_told() {
        let mut told = Told::default();
        let stopped = exited(Some(1));
        let all = [("a", &RUNNING), ("b", &stopped)];
        step(&mut told, PodState::NotReady, &all, &[]);
        assert!(step(&mut told, PodState::NotReady, &all, &[]).is_empty());
    }
}
