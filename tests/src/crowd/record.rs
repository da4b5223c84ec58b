//! What one client has heard, in numbers.

use super::{Figures, now_us};

/// What one client has heard.
#[derive(Debug, Default)]
pub struct Record {
    /// The number that it expects next.
    pub next: u64,
    /// It was told that something is missing, and has heard nothing since.
    informed: bool,
    /// When it was told so last, in microseconds of the system's clock.
    informed_at_us: u64,
    /// It was told so at some time.
    pub was_informed: bool,
    delivered: u64,
    lost: u64,
    reported: u64,
    doubled: u64,
    /// Broadcasts that were left out by their id.
    pub repeats: u64,
}

impl Record {
    /// Notes that the broadcast of this number has arrived.
    pub fn hear(&mut self, number: u64) {
        if number < self.next {
            self.doubled += 1;
            return;
        }
        let missing = number - self.next;
        *(if self.informed { &mut self.reported } else { &mut self.lost }) += missing;
        self.delivered += 1;
        (self.next, self.informed) = (number + 1, false);
    }

    /// Notes that the client was told that something is missing.
    pub fn inform(&mut self) {
        (self.informed, self.was_informed) = (true, true);
        self.informed_at_us = now_us();
    }

    /// Whether the client was told, after this time, that it misses the broadcast of this number.
    pub fn knows_of_missing(&self, number: u64, since_us: u64) -> bool {
        self.informed && self.next <= number && self.informed_at_us > since_us
    }

    /// What the client has found at the end: so many broadcasts were sent.
    pub fn figures(&self, sent: u64) -> Figures {
        let rest = sent.saturating_sub(self.next);
        let (lost, reported) = if self.informed { (0, rest) } else { (rest, 0) };
        Figures {
            delivered: self.delivered,
            lost: self.lost + lost,
            reported: self.reported + reported,
            doubled: self.doubled,
            repeats: self.repeats,
            ..Figures::default()
        }
    }
}
