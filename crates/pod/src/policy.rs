//! What a request means for a container in a given state: pure, so that it can be tested without
//! one.

use crate::snapshot::ContainerPhase;

/// Work in progress on a container. At most one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Busy {
    /// Nothing.
    Idle,
    /// The creation job.
    Creating,
    /// A start.
    Starting,
    /// A stop, until the exit is known.
    Stopping,
    /// A change of limits, or a checkpoint.
    Updating,
    /// A removal.
    Removing,
}

/// The state of a container as far as requests care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Creating,
    Created,
    Prepared,
    Running,
    Exited,
}

impl From<&ContainerPhase> for Stage {
    fn from(phase: &ContainerPhase) -> Self {
        match phase {
            ContainerPhase::Creating => Self::Creating,
            ContainerPhase::Created { .. } => Self::Created,
            ContainerPhase::Prepared => Self::Prepared,
            ContainerPhase::Running { .. } => Self::Running,
            ContainerPhase::Exited { .. } => Self::Exited,
        }
    }
}

impl Stage {
    /// How an error message calls it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Creating => "being created",
            Self::Created => "created",
            Self::Prepared => "waiting for its restore",
            Self::Running => "running",
            Self::Exited => "exited",
        }
    }
}

/// What a client asks of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    Start,
    Stop,
    Remove,
    Update,
    Checkpoint,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Begin the work.
    Do,
    /// Answer at once: it is so already.
    AlreadyDone,
    /// Wait for the same work that is in progress.
    Join,
    /// Ask again when the work in progress is done.
    Defer,
    /// Stop it first, without grace, and ask again.
    StopFirst,
    /// Refuse: the state does not allow it.
    Deny,
}

/// Decides. The table below is the whole policy.
pub(crate) fn decide(stage: Stage, busy: Busy, ask: Ask) -> Decision {
    match (busy, ask) {
        (Busy::Starting, Ask::Start)
        | (Busy::Stopping, Ask::Stop)
        | (Busy::Removing, Ask::Remove | Ask::Stop) => Decision::Join,
        (Busy::Stopping, Ask::Remove) => Decision::StopFirst,
        (Busy::Removing | Busy::Stopping, Ask::Start | Ask::Update | Ask::Checkpoint) => {
            Decision::Deny
        }
        (Busy::Creating | Busy::Starting | Busy::Updating, _) => Decision::Defer,
        (Busy::Idle, _) => match (stage, ask) {
            (Stage::Creating, _) => Decision::Defer,
            (Stage::Created, Ask::Start | Ask::Stop | Ask::Update)
            | (Stage::Prepared, Ask::Start | Ask::Stop | Ask::Remove)
            | (Stage::Running, Ask::Stop | Ask::Update | Ask::Checkpoint)
            | (Stage::Exited, Ask::Remove) => Decision::Do,
            (Stage::Running, Ask::Start) | (Stage::Exited, Ask::Stop) => Decision::AlreadyDone,
            (Stage::Created | Stage::Running, Ask::Remove) => Decision::StopFirst,
            (Stage::Prepared, Ask::Update)
            | (Stage::Created | Stage::Prepared, Ask::Checkpoint)
            | (Stage::Exited, Ask::Start | Ask::Update | Ask::Checkpoint) => Decision::Deny,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGES: [Stage; 5] = [
        Stage::Creating,
        Stage::Created,
        Stage::Prepared,
        Stage::Running,
        Stage::Exited,
    ];
    const BUSY: [Busy; 6] = [
        Busy::Idle,
        Busy::Creating,
        Busy::Starting,
        Busy::Stopping,
        Busy::Updating,
        Busy::Removing,
    ];
    const ASKS: [Ask; 5] = [
        Ask::Start,
        Ask::Stop,
        Ask::Remove,
        Ask::Update,
        Ask::Checkpoint,
    ];

    #[test]
    fn work_begins_only_on_an_idle_container() {
        for stage in STAGES {
            for busy in BUSY {
                for ask in ASKS {
                    if decide(stage, busy, ask) == Decision::Do {
                        assert_eq!(busy, Busy::Idle, "{stage:?} {ask:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn stop_and_remove_are_never_refused() {
        for stage in STAGES {
            for busy in BUSY {
                for ask in [Ask::Stop, Ask::Remove] {
                    assert_ne!(
                        decide(stage, busy, ask),
                        Decision::Deny,
                        "{stage:?} {busy:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn nothing_starts_what_is_ending() {
        for busy in [Busy::Stopping, Busy::Removing] {
            for stage in STAGES {
                assert_eq!(decide(stage, busy, Ask::Start), Decision::Deny);
            }
        }
        assert_eq!(
            decide(Stage::Exited, Busy::Idle, Ask::Start),
            Decision::Deny
        );
    }

    #[test]
    fn asking_for_what_is_so_is_done_at_once() {
        assert_eq!(
            decide(Stage::Running, Busy::Idle, Ask::Start),
            Decision::AlreadyDone
        );
        assert_eq!(
            decide(Stage::Exited, Busy::Idle, Ask::Stop),
            Decision::AlreadyDone
        );
    }
}
