//! The subscribe and resume messages of one connection that have no answer yet.

use std::cell::Cell;

/// Requests of one connection that may wait: for a worker's grant, or for the gateway to start.
const WAITING_MAX: u32 = 4;

/// How far a resume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Resume {
    /// None is under way.
    #[default]
    None,
    /// The client has not been told how it ended.
    Pending,
    /// The history is being replayed: live broadcasts are left to the replay.
    Replaying,
}

/// What a connection waits for.
#[derive(Debug, Default)]
pub struct SubscriptionRequests {
    waiting: Cell<u32>,
    resume: Cell<Resume>,
}

impl SubscriptionRequests {
    /// Takes in a request that has to wait; `false` when too many wait already.
    #[must_use]
    pub fn begin_wait(&self) -> bool {
        let may_wait = self.waiting.get() < WAITING_MAX;
        if may_wait {
            self.waiting.set(self.waiting.get() + 1);
        }
        may_wait
    }

    /// A request waits no longer.
    pub fn end_wait(&self) {
        self.waiting.set(self.waiting.get().saturating_sub(1));
    }

    /// Whether a request waits.
    pub fn is_waiting(&self) -> bool {
        self.waiting.get() > 0
    }

    /// Begins a resume; `false` when another one is under way.
    #[must_use]
    pub fn begin_resume(&self) -> bool {
        self.resume.replace(match self.resume.get() {
            Resume::None => Resume::Pending,
            under_way => under_way,
        }) == Resume::None
    }

    /// The replay of a resume begins.
    pub fn begin_replay(&self) {
        self.resume.set(Resume::Replaying);
    }

    /// Whether a replay is under way.
    pub fn is_replaying(&self) -> bool {
        self.resume.get() == Resume::Replaying
    }

    /// The resume has ended.
    pub fn end_resume(&self) {
        self.resume.set(Resume::None);
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        !self.is_waiting() && self.resume.get() == Resume::None
    }
}
