//! The cost of one client, in one account: the memory held for it, and the work done for it.
//!
//! Memory is counted where it is allocated and released, and is limited by `DIFFYNE_CONNECTION_BYTES`. Work is counted
//! in bytes: those received, those replayed, and a fixed number for each filter that a replay compares. A client pays
//! for it at `DIFFYNE_CONNECTION_RATE`. The gateway does not read from a client that has overspent until the debt is
//! paid.

use std::cell::Cell;
use std::time::{Duration, Instant};

use diffyne_shared::rate::{self, Bucket, Rate};

/// The cost of comparing one filter, in bytes. `bench hostile` measures 35 ns for a filter, and 1 to 6 ns for a byte of
/// a message.
pub const FILTER_COST: u64 = 16;

/// The additional cost of a byte in a subscribe message. `bench hostile` measures 20 to 40 ns for it, and 2 ns for a
/// byte of a call.
pub const SUBSCRIBE_COST: u64 = 8;

/// A kind of memory that is held for a connection beside its outbox and the headers of its handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldKind {
    /// Cookies set since the handshake.
    Cookies,
    /// Event names and filters, and the rooms that the connection is in.
    Subscriptions,
    /// The events that were granted.
    Grants,
    /// The user, in an index.
    User,
    /// Calls and grant requests that run or wait.
    Calls,
    /// The received part of an unfinished message.
    Unfinished,
}

/// The number of kinds.
const KINDS: usize = HeldKind::Unfinished as usize + 1;

/// The account of one connection.
#[derive(Debug, Default)]
pub struct Account {
    held: [Cell<u32>; KINDS],
    work: rate::CostLimiter,
    frames: Bucket,
    messages: Bucket,
    calls: Bucket,
}

/// The rates at which a client may cause work.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// Bytes of work.
    pub work: Rate,
    /// Frames of any kind.
    pub frames: Rate,
    /// Complete messages.
    pub messages: Rate,
    /// Calls.
    pub calls: Rate,
}

/// Converts to `u32`. A connection's limit is far below 4 GiB, so nothing real saturates.
fn saturated(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Account {
    /// Returns the bytes held of all these kinds.
    pub fn held(&self) -> usize {
        self.held.iter().map(|cell| cell.get() as usize).sum()
    }

    /// Whether no call is pending whose end would release memory.
    pub fn is_held_by_itself(&self) -> bool {
        self.held[HeldKind::Calls as usize].get() == 0
    }

    /// Adds to the bytes held.
    pub fn hold(&self, what: HeldKind, bytes: usize) {
        let cell = &self.held[what as usize];
        cell.set(cell.get().saturating_add(saturated(bytes)));
    }

    /// Subtracts from the bytes held.
    pub fn release(&self, what: HeldKind, bytes: usize) {
        let cell = &self.held[what as usize];
        cell.set(cell.get().saturating_sub(saturated(bytes)));
    }

    /// Sets the bytes held.
    pub fn set(&self, what: HeldKind, bytes: usize) {
        self.held[what as usize].set(saturated(bytes));
    }

    /// Charges work. Returns how long the client has to wait before more is done for it.
    pub fn charge(&self, rates: &Rates, bytes: u64, now: Instant) -> Duration {
        self.work.charge(rates.work, bytes, now)
    }

    /// Whether the rate allows this many frames.
    pub fn may_send_frames(&self, rates: &Rates, frames: u32, now: Instant) -> bool {
        self.frames.take_many(rates.frames, frames, now)
    }

    /// Whether the rate allows one more message.
    pub fn may_send_message(&self, rates: &Rates, now: Instant) -> bool {
        self.messages.take(rates.messages, now)
    }

    /// Whether the rate allows one more call.
    pub fn may_call(&self, rates: &Rates, now: Instant) -> bool {
        self.calls.take(rates.calls, now)
    }
}
