//! The calls under way on one thread: each is new, waiting for a worker, or sent to one.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use diffyne_shared::rpc::{Call, Client, Frame};
use slab::Slab;

use super::Request;
use super::peer::Peer;

/// Where a call is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    New,
    Waiting,
    Sent(Rc<Peer>),
}

struct Entry<O> {
    request: Request,
    origin: O,
    place: Place,
    generation: u32,
    /// When it began to wait, or was sent.
    since: Instant,
    /// Nobody waits for it: it is not to move on.
    cancelled: bool,
    /// Workers that handed it back; they are asked again when they tell of room.
    refused_by: Vec<Rc<Peer>>,
}

/// All calls by id. An id is a place in the slab and a generation, so that a late reply finds nobody.
pub(super) struct CallTable<O> {
    entries: Slab<Entry<O>>,
    generation: u32,
    waiting: VecDeque<u64>,
    waiting_max: usize,
}

fn slot(key: u64) -> usize {
    (key & u64::from(u32::MAX)) as usize
}

impl<O> CallTable<O> {
    pub(super) fn new(waiting_max: usize) -> Self {
        Self { entries: Slab::new(), generation: 0, waiting: VecDeque::new(), waiting_max }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn insert(&mut self, request: Request, origin: O) -> u64 {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let entry = {
            let since = request.arrived;
            Entry { request, origin, place: Place::New, generation, since, cancelled: false, refused_by: Vec::new() }
        };
        (u64::from(generation) << 32) | self.entries.insert(entry) as u64
    }

    fn get(&self, key: u64) -> Option<&Entry<O>> {
        self.entries.get(slot(key)).filter(|entry| entry.generation == (key >> 32) as u32)
    }

    fn get_mut(&mut self, key: u64) -> Option<&mut Entry<O>> {
        self.entries.get_mut(slot(key)).filter(|entry| entry.generation == (key >> 32) as u32)
    }

    fn key(&self, slot: usize) -> u64 {
        (u64::from(self.entries[slot].generation) << 32) | slot as u64
    }

    pub(super) fn place(&self, key: u64) -> Option<Place> {
        self.get(key).map(|entry| entry.place.clone())
    }

    pub(super) fn was_refused(&self, key: u64, peer: &Rc<Peer>) -> bool {
        self.get(key).is_some_and(|entry| entry.refused_by.iter().any(|other| Rc::ptr_eq(other, peer)))
    }

    /// Writes the call into the worker's buffer. A call that cannot be encoded stays where it is.
    pub(super) fn send(&mut self, key: u64, peer: &Rc<Peer>) -> bool {
        let Some(entry) = self.get_mut(key) else { return true };
        let request = &entry.request;
        // A call that never waited has its whole budget, and needs no look at the clock.
        let waited = matches!(entry.place, Place::Waiting) || !entry.refused_by.is_empty();
        let now = if waited { Instant::now() } else { entry.since };
        let budget = request.deadline.saturating_duration_since(now);
        let sent = request.caller.jar.with(|jar| {
            let call = Call {
                id: key,
                budget_ms: u32::try_from(budget.as_millis()).unwrap_or(u32::MAX),
                client: Client {
                    id: &request.caller.id,
                    ip: &request.caller.ip,
                    transport: request.transport,
                    headers: &request.caller.headers,
                    jar,
                },
                kind: request.kind,
                cause: request.cause.clone(),
                payload: request.payload.as_bytes(),
            };
            peer.send_call(key, &Frame::Call(call))
        });
        if !sent {
            return false;
        }
        entry.place = Place::Sent(Rc::clone(peer));
        entry.since = now;
        true
    }

    /// Calls that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What is left of a call's time.
    pub(super) fn budget(&self, key: u64, now: Instant) -> Option<Duration> {
        self.get(key).map(|entry| entry.request.deadline.saturating_duration_since(now))
    }

    /// Lets a call wait for a worker; `false` when there is no place.
    pub(super) fn wait(&mut self, key: u64) -> bool {
        if self.waiting.len() >= self.waiting_max {
            return false;
        }
        let Some(entry) = self.get_mut(key) else { return false };
        entry.place = Place::Waiting;
        entry.since = Instant::now();
        self.waiting.push_back(key);
        true
    }

    /// The call that has waited longest. It may be asked of workers again that refused it before.
    pub(super) fn first_waiting(&mut self) -> Option<u64> {
        while let Some(&key) = self.waiting.front() {
            if let Some(entry) = self.get_mut(key).filter(|entry| matches!(entry.place, Place::Waiting)) {
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

    /// Nobody waits for this call any more.
    pub(super) fn cancel(&mut self, key: u64) {
        if let Some(entry) = self.get_mut(key) {
            entry.cancelled = true;
        }
    }

    pub(super) fn is_cancelled(&self, key: u64) -> bool {
        self.get(key).is_some_and(|entry| entry.cancelled)
    }

    /// Ends a call, whatever its place.
    pub(super) fn remove(&mut self, key: u64) -> Option<O> {
        self.get(key)?;
        let entry = self.entries.remove(slot(key));
        match &entry.place {
            Place::Sent(peer) => peer.one_less(),
            Place::Waiting => self.waiting.retain(|waiting| *waiting != key),
            Place::New => {}
        }
        Some(entry.origin)
    }

    fn is_with(&self, key: u64, peer: &Rc<Peer>) -> bool {
        self.get(key).is_some_and(|entry| matches!(&entry.place, Place::Sent(at) if Rc::ptr_eq(at, peer)))
    }

    /// Ends a call that this worker answered, and tells how long it had it; `None` when it has no such call.
    pub(super) fn take_sent(&mut self, key: u64, peer: &Rc<Peer>, now: Instant) -> Option<(O, Duration)> {
        if !self.is_with(key, peer) {
            return None;
        }
        let took = self.get(key).map(|entry| now.saturating_duration_since(entry.since))?;
        self.remove(key).zip(Some(took))
    }

    /// A worker handed the call back.
    pub(super) fn refused(&mut self, key: u64, peer: &Rc<Peer>) -> bool {
        if !self.is_with(key, peer) {
            return false;
        }
        peer.one_less();
        if let Some(entry) = self.get_mut(key) {
            entry.place = Place::New;
            entry.refused_by.push(Rc::clone(peer));
        }
        true
    }

    /// The calls of a lost worker: those it never got, and the others.
    pub(super) fn of_peer(&mut self, peer: &Rc<Peer>, unsent: &[u64]) -> (Vec<u64>, Vec<u64>) {
        let with_peer: Vec<u64> =
            self.entries.iter().map(|(slot, _)| self.key(slot)).filter(|key| self.is_with(*key, peer)).collect();
        let (again, lost): (Vec<u64>, Vec<u64>) = with_peer.into_iter().partition(|key| unsent.contains(key));
        for key in &again {
            peer.one_less();
            if let Some(entry) = self.get_mut(*key) {
                entry.place = Place::New;
            }
        }
        (again, lost)
    }

    pub(super) fn late(&self, now: Instant) -> Vec<(u64, Place)> {
        let late = self.entries.iter().filter(|(_, entry)| entry.request.deadline <= now);
        late.map(|(slot, entry)| (self.key(slot), entry.place.clone())).collect()
    }

    pub(super) fn waiting_since_before(&self, now: Instant, limit: Duration) -> Vec<u64> {
        let long = |entry: &&Entry<O>| now.duration_since(entry.since) >= limit;
        self.waiting.iter().copied().filter(|key| self.get(*key).as_ref().is_some_and(long)).collect()
    }

    pub(super) fn keys_where(&self, matches: impl Fn(&O) -> bool) -> Vec<u64> {
        self.entries.iter().filter(|(_, entry)| matches(&entry.origin)).map(|(slot, _)| self.key(slot)).collect()
    }
}
