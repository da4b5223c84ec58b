//! Tracks the subscribe and resume messages of one connection that have no answer yet.

use std::cell::Cell;

/// The number of requests of one connection that may wait for a worker's grant or for the gateway's start.
const WAITING_MAX: u8 = 4;

/// The progress of a resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Resume {
    /// No resume is in progress.
    #[default]
    None,
    /// The client has not been told how the resume ended.
    Pending,
    /// The history is being replayed; the replay delivers live broadcasts, too.
    Replaying,
}

/// The unanswered requests of one connection.
#[derive(Debug, Default)]
pub struct SubscriptionRequests {
    waiting: Cell<u8>,
    resume: Cell<Resume>,
    has_resumed: Cell<bool>,
}

impl SubscriptionRequests {
    /// Counts a request that has to wait. Returns `false` if too many already wait.
    #[must_use]
    pub fn begin_wait(&self) -> bool {
        let may_wait = self.waiting.get() < WAITING_MAX;
        if may_wait {
            self.waiting.set(self.waiting.get() + 1);
        }
        may_wait
    }

    /// Ends the wait of a request.
    pub fn end_wait(&self) {
        self.waiting.set(self.waiting.get().saturating_sub(1));
    }

    /// Whether a request waits.
    pub fn is_waiting(&self) -> bool {
        self.waiting.get() > 0
    }

    /// Notes that the client has asked to resume, whatever comes of it.
    pub fn set_has_resumed(&self) {
        self.has_resumed.set(true);
    }

    /// Whether the client has ever asked to resume.
    pub fn has_resumed(&self) -> bool {
        self.has_resumed.get()
    }

    /// Begins a resume. Returns `false` if another one is in progress.
    #[must_use]
    pub fn begin_resume(&self) -> bool {
        self.resume.replace(match self.resume.get() {
            Resume::None => Resume::Pending,
            under_way => under_way,
        }) == Resume::None
    }

    /// Begins the replay of a resume.
    pub fn begin_replay(&self) {
        self.resume.set(Resume::Replaying);
    }

    /// Whether a replay is in progress.
    pub fn is_replaying(&self) -> bool {
        self.resume.get() == Resume::Replaying
    }

    /// Ends the resume.
    pub fn end_resume(&self) {
        self.resume.set(Resume::None);
    }

    /// Whether no request waits and no resume is in progress.
    pub fn is_empty(&self) -> bool {
        !self.is_waiting() && self.resume.get() == Resume::None
    }
}
