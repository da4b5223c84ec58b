//! What one client costs, in one place: the memory held for it, and the work done for it.
//!
//! Memory is counted where it is taken and given back, and limited by `DIFFYNE_CONNECTION_BYTES`. Work is counted in
//! bytes: those that arrive, those replayed, and so many for each filter that a replay looks at. It is paid for at
//! `DIFFYNE_CONNECTION_RATE`: whoever has spent more is not read from until it is paid.

use std::cell::Cell;
use std::time::{Duration, Instant};

use diffyne_shared::rate::{self, Bucket, Rate};

/// What looking at one filter costs in bytes: 35 ns in `bench hostile`, where a byte of a message takes 1 to 6.
pub const FILTER_COST: u64 = 16;

/// What a byte about subscriptions costs beside its own reading: `bench hostile` says 20 to 40 ns, where one of a call
/// takes 2.
pub const SUBSCRIBE_COST: u64 = 8;

/// What is held for a connection beside its outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Headers of its handshake.
    Headers,
    /// Cookies set since.
    Cookies,
    /// Event names and filters.
    Subscriptions,
    /// What it was granted to hear.
    Grants,
    /// Calls and questions that run or wait.
    Calls,
    /// The part of a message that has arrived.
    Unfinished,
}

/// How many kinds there are.
const KINDS: usize = Held::Unfinished as usize + 1;

/// One connection's account.
#[derive(Debug, Default)]
pub struct Account {
    held: [Cell<u32>; KINDS],
    work: rate::CostLimiter,
    frames: Bucket,
    messages: Bucket,
    calls: Bucket,
}

/// How fast a client may make work.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// Bytes of work.
    pub work: Rate,
    /// Frames of any kind.
    pub frames: Rate,
    /// Whole messages.
    pub messages: Rate,
    /// Calls.
    pub calls: Rate,
}

/// No single connection comes near 4 GiB: its limit is far below.
fn saturated(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Account {
    /// Bytes held beside the outbox.
    pub fn held(&self) -> usize {
        self.held.iter().map(|cell| cell.get() as usize).sum()
    }

    /// Whether no call is waited for whose end would make room.
    pub fn is_held_by_itself(&self) -> bool {
        self.held[Held::Calls as usize].get() == 0
    }

    /// More is held.
    pub fn hold(&self, what: Held, bytes: usize) {
        let cell = &self.held[what as usize];
        cell.set(cell.get().saturating_add(saturated(bytes)));
    }

    /// Less is held.
    pub fn release(&self, what: Held, bytes: usize) {
        let cell = &self.held[what as usize];
        cell.set(cell.get().saturating_sub(saturated(bytes)));
    }

    /// So much is held now.
    pub fn set(&self, what: Held, bytes: usize) {
        self.held[what as usize].set(saturated(bytes));
    }

    /// Charges work; how long nothing more may be done for this client.
    pub fn charge(&self, rates: &Rates, bytes: u64, now: Instant) -> Duration {
        self.work.charge(rates.work, bytes, now)
    }

    /// Whether so many frames may have arrived.
    pub fn may_send_frames(&self, rates: &Rates, frames: u32, now: Instant) -> bool {
        self.frames.take_many(rates.frames, frames, now)
    }

    /// Whether one more message may have arrived.
    pub fn may_send_message(&self, rates: &Rates, now: Instant) -> bool {
        self.messages.take(rates.messages, now)
    }

    /// Whether one more call may run.
    pub fn may_call(&self, rates: &Rates, now: Instant) -> bool {
        self.calls.take(rates.calls, now)
    }
}
