//! Faults on purpose, on real processes: what users would report, with the number of messages sent, delivered, lost
//! and doubled. The tests run them short, `make chaos` in full.
//!
//! * [`fleet`]: many clients that listen, lose their connection, come back and resume
//! * [`drops`]: networks and gateways that go away; [`crowds`]: the same with tens of thousands of clients
//! * [`presence`]: users who come and go while gateways die
//! * [`redis`]: Redis that is emptied, paused, voted out
//! * [`deploys`]: everything replaced while it is used; a reconnect storm
//! * [`hostile`]: clients that do not read, and garbage of all kinds
//! * [`workers`]: workers that freeze, flap, and talk nonsense
//! * [`soak`]: all of it at random

pub mod crowds;
pub mod deploys;
pub mod drops;
pub mod fleet;
pub mod hostile;
pub mod presence;
pub mod redis;
pub mod soak;
pub mod workers;

use std::fmt;
use std::time::Duration;

/// How large a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// For every `make test`: seconds.
    Short,
    /// For `make chaos`: minutes.
    Full,
}

impl Scale {
    /// One of two values.
    pub fn pick<T>(self, short: T, full: T) -> T {
        match self {
            Self::Short => short,
            Self::Full => full,
        }
    }

    /// One of two times, in seconds.
    pub fn seconds(self, short: u64, full: u64) -> Duration {
        Duration::from_secs(self.pick(short, full))
    }
}

/// What a scenario found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What was done.
    pub what: String,
    /// Messages that were sent.
    pub sent: u64,
    /// Clients that were to hear them.
    pub clients: u64,
    /// Deliveries to clients.
    pub delivered: u64,
    /// Deliveries that did not come, and of which nobody told the client.
    pub lost: u64,
    /// Deliveries that did not come, and of which the client was told.
    pub reported: u64,
    /// Deliveries that came twice or out of order, after clients dropped ids that they had seen.
    pub doubled: u64,
    /// More figures, in words.
    pub more: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, sent, clients, delivered, lost, reported, doubled, more } = self;
        write!(f, "| {what} | {sent} | {clients} | {delivered} | {lost} | {reported} | {doubled} | {more} |")
    }
}

/// The head of the table that reports are the rows of.
pub const TABLE_HEAD: &str =
    "| fault | sent | clients | delivered | lost | told of | doubled | |\n|---|---|---|---|---|---|---|---|";

/// A quantile of some times.
pub fn quantile(times: &mut [Duration], q: f64) -> Duration {
    times.sort_unstable();
    let at = ((times.len() as f64 * q) as usize).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or_default()
}
