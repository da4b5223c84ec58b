//! The calls in progress on one thread. Each is new, waiting for a worker, or sent to one.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use diffyne_shared::rpc::{Call, Client, Frame};
use slab::Slab;

use super::call::CallRequest;
use super::component_key::ComponentKey;
use super::upstream::{SendResult, Upstream};

/// A call that is with a worker has this much more: the worker's own time-out comes first, and is counted and logged there.
const LAST_WORD: Duration = Duration::from_millis(200);

/// The state of a call.
#[derive(Debug, Clone)]
pub(super) enum CallState {
    New,
    Waiting,
    Sent(Rc<Upstream>),
}

struct CallEntry<O> {
    request: CallRequest,
    origin: O,
    state: CallState,
    generation: u32,
    /// The time for the call, and after each part of its answer for what follows.
    timeout: Duration,
    /// A part of the answer has come.
    has_parts: bool,
    /// The time at which the call began to wait or was sent.
    since: Instant,
    /// The client no longer waits, so the call must not be sent.
    cancelled: bool,
    /// Workers that handed the call back. They are tried again when they report room.
    refused_by: Vec<Rc<Upstream>>,
}

/// All calls by id. An id consists of a slab index and a generation, so a late reply matches no call.
pub(super) struct CallTable<O> {
    entries: Slab<CallEntry<O>>,
    generation: u32,
    waiting: VecDeque<u64>,
    waiting_max: usize,
}

fn slot(key: u64) -> usize {
    (key & u64::from(u32::MAX)) as usize
}

/// The number of a call, in the order of arrival. It begins anew after the last.
fn generation(key: u64) -> u32 {
    (key >> 32) as u32
}

/// Whether a call arrived before another one.
fn is_older(key: u64, other: u64) -> bool {
    generation(key).wrapping_sub(generation(other)) > u32::MAX / 2
}

impl<O> CallTable<O> {
    pub(super) fn new(waiting_max: usize) -> Self {
        Self { entries: Slab::new(), generation: 0, waiting: VecDeque::new(), waiting_max }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn insert(&mut self, request: CallRequest, origin: O) -> u64 {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let entry = {
            let since = request.arrived;
            let timeout = request.deadline.saturating_duration_since(since);
            CallEntry {
                request,
                origin,
                state: CallState::New,
                generation,
                timeout,
                has_parts: false,
                since,
                cancelled: false,
                refused_by: Vec::new(),
            }
        };
        (u64::from(generation) << 32) | self.entries.insert(entry) as u64
    }

    fn get(&self, key: u64) -> Option<&CallEntry<O>> {
        self.entries.get(slot(key)).filter(|entry| entry.generation == generation(key))
    }

    fn get_mut(&mut self, key: u64) -> Option<&mut CallEntry<O>> {
        self.entries.get_mut(slot(key)).filter(|entry| entry.generation == generation(key))
    }

    fn key(&self, slot: usize) -> u64 {
        (u64::from(self.entries[slot].generation) << 32) | slot as u64
    }

    pub(super) fn state(&self, key: u64) -> Option<CallState> {
        self.get(key).map(|entry| entry.state.clone())
    }

    /// Returns the component that a call is for.
    pub(super) fn component(&self, key: u64) -> Option<ComponentKey> {
        self.get(key).map(|entry| entry.request.component)
    }

    pub(super) fn was_refused(&self, key: u64, upstream: &Rc<Upstream>) -> bool {
        self.get(key).is_some_and(|entry| {
            !upstream.runs(entry.request.kind) || entry.refused_by.iter().any(|other| Rc::ptr_eq(other, upstream))
        })
    }

    /// Writes the call into the worker's buffer. A call that is too large for the worker keeps its state.
    pub(super) fn send(&mut self, key: u64, upstream: &Rc<Upstream>) -> SendResult {
        let Some(entry) = self.get_mut(key) else { return SendResult::Queued };
        let request = &entry.request;
        // A call that never waited has its whole budget, so reading the clock is unnecessary.
        let waited = matches!(entry.state, CallState::Waiting) || !entry.refused_by.is_empty();
        let now = if waited { Instant::now() } else { entry.since };
        let budget = request.deadline.saturating_duration_since(now);
        let stream = (request.arrived + request.stream_max).saturating_duration_since(now);
        let handed = request.caller.cookies.with(|cookies| {
            let call = Call {
                id: key,
                budget_ms: u32::try_from(budget.as_millis()).unwrap_or(u32::MAX),
                client: Client {
                    id: request.caller.id(),
                    ip: request.caller.ip(),
                    transport: request.transport,
                    headers: request.caller.headers(),
                    cookies,
                },
                kind: request.kind,
                cause: request.cause.clone(),
                pushes: request.takes_pushes,
                stream_ms: u32::try_from(stream.as_millis()).unwrap_or(u32::MAX),
                wants_user: request.wants_user,
                trace: request.trace.as_deref().copied(),
                payload: request.payload.as_bytes(),
            };
            upstream.send_call(key, &Frame::Call(call))
        });
        if handed == SendResult::Queued {
            entry.state = CallState::Sent(Rc::clone(upstream));
            entry.since = now;
        }
        handed
    }

    /// Returns the number of waiting calls.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Returns the remaining time of a call.
    pub(super) fn budget(&self, key: u64, now: Instant) -> Option<Duration> {
        self.get(key).map(|entry| entry.request.deadline.saturating_duration_since(now))
    }

    /// Queues a call for a worker, by its age: one that was handed back keeps its turn. Returns `false` if the queue is full.
    pub(super) fn wait(&mut self, key: u64) -> bool {
        if self.waiting.len() >= self.waiting_max {
            return false;
        }
        let Some(entry) = self.get_mut(key) else { return false };
        entry.state = CallState::Waiting;
        entry.since = Instant::now();
        // Most are the newest.
        let is_newest = self.waiting.back().is_none_or(|last| is_older(*last, key));
        let newer = if is_newest { None } else { self.waiting.iter().position(|other| is_older(key, *other)) };
        self.waiting.insert(newer.unwrap_or(self.waiting.len()), key);
        true
    }

    /// Returns the call that has waited longest. Workers that refused it before may be tried again.
    pub(super) fn first_waiting(&mut self) -> Option<u64> {
        while let Some(&key) = self.waiting.front() {
            if let Some(entry) = self.get_mut(key).filter(|entry| matches!(entry.state, CallState::Waiting)) {
                entry.refused_by.clear();
                return Some(key);
            }
            self.waiting.pop_front();
        }
        None
    }

    pub(super) fn left_queue(&mut self) {
        self.waiting.pop_front();
    }

    /// Marks a call as cancelled, because the client no longer waits for it.
    pub(super) fn cancel(&mut self, key: u64) {
        if let Some(entry) = self.get_mut(key) {
            entry.cancelled = true;
        }
    }

    pub(super) fn is_cancelled(&self, key: u64) -> bool {
        self.get(key).is_some_and(|entry| entry.cancelled)
    }

    /// Removes a call, whatever its state.
    pub(super) fn remove(&mut self, key: u64) -> Option<O> {
        self.get(key)?;
        let entry = self.entries.remove(slot(key));
        match &entry.state {
            CallState::Sent(upstream) => upstream.call_ended(),
            CallState::Waiting => self.waiting.retain(|waiting| *waiting != key),
            CallState::New => {}
        }
        Some(entry.origin)
    }

    fn is_with(&self, key: u64, upstream: &Rc<Upstream>) -> bool {
        self.get(key).is_some_and(|entry| matches!(&entry.state, CallState::Sent(at) if Rc::ptr_eq(at, upstream)))
    }

    /// Removes a call that this worker answered. Returns its origin and the time the worker took, or `None` if the
    /// worker has no such call.
    pub(super) fn take_sent(&mut self, key: u64, upstream: &Rc<Upstream>, now: Instant) -> Option<(O, Duration)> {
        if !self.is_with(key, upstream) {
            return None;
        }
        let took = self.get(key).map(|entry| now.saturating_duration_since(entry.since))?;
        self.remove(key).zip(Some(took))
    }

    /// Notes that this worker has sent a part of a call's answer, which gives the call more time. Returns the origin of a
    /// call whose client takes the part.
    pub(super) fn take_part(&mut self, key: u64, upstream: &Rc<Upstream>, now: Instant) -> Option<&O> {
        if !self.is_with(key, upstream) {
            return None;
        }
        let entry = self.get_mut(key)?;
        let request = &mut entry.request;
        if entry.cancelled || request.stream_max.is_zero() {
            return None;
        }
        entry.has_parts = true;
        request.deadline = request.deadline.max((now + entry.timeout).min(request.arrived + request.stream_max));
        Some(&entry.origin)
    }

    /// Whether a part of a call's answer has come.
    pub(super) fn has_parts(&self, key: u64) -> bool {
        self.get(key).is_some_and(|entry| entry.has_parts)
    }

    /// Notes that a worker handed the call back.
    pub(super) fn refused(&mut self, key: u64, upstream: &Rc<Upstream>) -> bool {
        if !self.is_with(key, upstream) {
            return false;
        }
        upstream.call_ended();
        if let Some(entry) = self.get_mut(key) {
            entry.state = CallState::New;
            entry.refused_by.push(Rc::clone(upstream));
        }
        true
    }

    /// Returns the calls of a lost worker: those that never reached it, and the others.
    pub(super) fn of_upstream(&mut self, upstream: &Rc<Upstream>, unsent: &[u64]) -> (Vec<u64>, Vec<u64>) {
        let with_upstream: Vec<u64> =
            self.entries.iter().map(|(slot, _)| self.key(slot)).filter(|key| self.is_with(*key, upstream)).collect();
        let (again, lost): (Vec<u64>, Vec<u64>) = with_upstream.into_iter().partition(|key| unsent.contains(key));
        for key in &again {
            upstream.call_ended();
            if let Some(entry) = self.get_mut(*key) {
                entry.state = CallState::New;
            }
        }
        (again, lost)
    }

    pub(super) fn late(&self, now: Instant) -> Vec<(u64, CallState)> {
        let is_late = |entry: &CallEntry<O>| match entry.state {
            CallState::Sent(_) => entry.request.deadline + LAST_WORD <= now,
            CallState::New | CallState::Waiting => entry.request.deadline <= now,
        };
        let late = self.entries.iter().filter(|(_, entry)| is_late(entry));
        late.map(|(slot, entry)| (self.key(slot), entry.state.clone())).collect()
    }

    pub(super) fn waiting_since_before(&self, now: Instant, limit: Duration) -> Vec<u64> {
        let long = |entry: &&CallEntry<O>| now.duration_since(entry.since) >= limit;
        self.waiting.iter().copied().filter(|key| self.get(*key).as_ref().is_some_and(long)).collect()
    }

    pub(super) fn keys_where(&self, matches: impl Fn(&O) -> bool) -> Vec<u64> {
        self.entries.iter().filter(|(_, entry)| matches(&entry.origin)).map(|(slot, _)| self.key(slot)).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
