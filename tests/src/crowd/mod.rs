//! Tens of thousands of clients, in processes of their own: each process may have only so many descriptors.
//!
//! A client of a crowd listens to `message-sent` as the page's scripts do: it keeps its place, resumes, leaves out ids that
//! it has seen, and notes when it is told that something is missing. It costs a few microseconds a message, so that it is
//! not what is measured.
//!
//! * [`client`]: one client; [`record`]: what it has heard
//! * [`group`]: what the clients of one process share; [`service`]: its program, which `diffyne-bench crowd` runs
//! * [`process`]: such processes, as a test or a benchmark uses them

pub mod client;
pub mod group;
pub mod process;
pub mod record;
pub mod service;

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the clients of one process do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// The gateways, which the clients take in turn.
    pub targets: Vec<SocketAddr>,
    /// Clients.
    pub clients: usize,
    /// More headers of their handshakes, each line ended by CR LF.
    pub headers: String,
    /// They connect from many loopback addresses, which the gateways have to trust as proxies. From one address, the system
    /// would search long for each free port.
    pub many_addresses: bool,
    /// They subscribe as soon as they are connected, and not only when they are told.
    pub subscribes: bool,
    /// Their connections are cut now and then.
    pub cut: Option<Cut>,
    /// How long a client waits that was refused, or whose connection broke: a random time between these.
    pub retry_ms: (u64, u64),
    /// What is random follows from it.
    pub seed: u64,
}

/// Connections that are cut now and then.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Cut {
    /// A connection lasts about this long.
    pub every: Duration,
    /// Its client stays away this long.
    pub away: Duration,
}

/// An order to a process of clients, one line of JSON.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Order {
    /// All clients connect at once.
    Connect,
    /// All clients subscribe.
    Subscribe,
    /// Say how it stands, with the clients that have the broadcast of this number.
    Status(u64),
    /// End, and say what was found: so many broadcasts were sent.
    Finish(u64),
}

/// How it stands.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Status {
    /// Clients with a connection.
    pub connected: usize,
    /// Clients with a subscription.
    pub listening: usize,
    /// Clients that have the broadcast that was asked for.
    pub have: usize,
    /// Clients that were told after it that they miss something, and have heard nothing since.
    pub know_of_missing: usize,
    /// When the last of them got it, in microseconds of the system's clock.
    pub last_at_us: u64,
    /// Clients that were told of a gap so far.
    pub informed: usize,
    /// Connections that were tried.
    pub tries: u64,
    /// Of these, those that were refused.
    pub refused: u64,
    /// When the last client of all was connected for the first time, and subscribed if they do; in microseconds of the
    /// system's clock. `None` as long as one is missing.
    pub complete_at_us: Option<u64>,
}

impl Status {
    /// Adds another process's.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            connected: self.connected + other.connected,
            listening: self.listening + other.listening,
            have: self.have + other.have,
            know_of_missing: self.know_of_missing + other.know_of_missing,
            last_at_us: self.last_at_us.max(other.last_at_us),
            informed: self.informed + other.informed,
            tries: self.tries + other.tries,
            refused: self.refused + other.refused,
            complete_at_us: self.complete_at_us.zip(other.complete_at_us).map(|(one, another)| one.max(another)),
        }
    }
}

/// What clients found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Broadcasts that arrived.
    pub delivered: u64,
    /// Those that did not come, and of which nobody told the client.
    pub lost: u64,
    /// Those that did not come, and of which the client was told.
    pub reported: u64,
    /// Those that came twice or out of order, after clients left out ids that they had seen.
    pub doubled: u64,
    /// Those that were left out by their id.
    pub repeats: u64,
    /// Connections that were opened again.
    pub reconnects: u64,
    /// Times from a resume to its confirmation: how many took so many milliseconds.
    pub resumes: Milliseconds,
    /// Times from the beginning of a connection to its greeting.
    pub connects: Milliseconds,
}

impl Figures {
    /// Adds another process's or client's.
    pub fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.reported += other.reported;
        self.doubled += other.doubled;
        self.repeats += other.repeats;
        self.reconnects += other.reconnects;
        self.resumes.merge(&other.resumes);
        self.connects.merge(&other.connects);
    }
}

/// Durations, counted by their whole milliseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Milliseconds(Vec<u64>);

impl Milliseconds {
    /// The longest time that is told apart, in milliseconds.
    const LONGEST: usize = 60_000;

    /// Adds a duration.
    pub fn add(&mut self, time: Duration) {
        let at = (time.as_millis() as usize).min(Self::LONGEST);
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        self.0[at] += 1;
    }

    /// Adds those of another one.
    pub fn merge(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// A quantile, rounded up to a millisecond.
    pub fn quantile(&self, q: f64) -> Duration {
        let wanted = (self.count() as f64 * q) as u64;
        let mut seen = 0;
        for (ms, count) in self.0.iter().enumerate() {
            seen += count;
            if seen > wanted {
                return Duration::from_millis(ms as u64 + 1);
            }
        }
        Duration::from_millis(self.0.len() as u64)
    }
}

/// Microseconds of the system's clock, which all processes of a machine share.
pub fn now_us() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
