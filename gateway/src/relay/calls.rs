//! The calls under way on one thread: each is new, waiting for a worker, or sent to one.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use diffyne_shared::rpc::{Call, Client, Frame};
use slab::Slab;

use super::Request;
use super::peer::{Handed, Peer};

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

    /// Writes the call into the worker's buffer. A call that does not fit there stays where it is.
    pub(super) fn send(&mut self, key: u64, peer: &Rc<Peer>) -> Handed {
        let Some(entry) = self.get_mut(key) else { return Handed::Over };
        let request = &entry.request;
        // A call that never waited has its whole budget, and needs no look at the clock.
        let waited = matches!(entry.place, Place::Waiting) || !entry.refused_by.is_empty();
        let now = if waited { Instant::now() } else { entry.since };
        let budget = request.deadline.saturating_duration_since(now);
        let handed = request.caller.jar.with(|jar| {
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
        if handed == Handed::Over {
            entry.place = Place::Sent(Rc::clone(peer));
            entry.since = now;
        }
        handed
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    //! The table against a model of it: whatever workers and clients do in whatever order, each call is in one place,
    //! ends once, and is with one worker at most.

    use std::collections::BTreeMap;
    use std::rc::Rc;

    use diffyne_shared::rpc::{CallKind, Endpoint, Hello, Transport};
    use proptest::prelude::*;

    use super::*;
    use crate::jar::Jar;
    use crate::relay::Caller;

    const QUEUE: usize = 3;
    const PEERS: usize = 2;

    #[derive(Debug, Clone)]
    enum Step {
        /// A call arrives, for a worker if one is named, else for the queue.
        Arrive(Option<usize>),
        /// The first that waits goes to a worker.
        Send(usize),
        /// A worker answers the n-th call there is, whether it has it or not.
        Answer(usize, usize),
        /// It hands it back.
        Busy(usize, usize),
        /// A worker's connection breaks; so many of its newest calls never left.
        Lost(usize, usize),
        /// A client leaves.
        Cancel(usize),
        /// An answer for a call that ended long ago.
        Stale(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (peer, call) = (0..PEERS, 0..12usize);
        prop_oneof![
            3 => proptest::option::of(peer.clone()).prop_map(Step::Arrive),
            2 => peer.clone().prop_map(Step::Send),
            3 => (peer.clone(), call.clone()).prop_map(|(peer, call)| Step::Answer(peer, call)),
            2 => (peer.clone(), call.clone()).prop_map(|(peer, call)| Step::Busy(peer, call)),
            1 => (peer.clone(), 0..4usize).prop_map(|(peer, unsent)| Step::Lost(peer, unsent)),
            1 => call.clone().prop_map(Step::Cancel),
            1 => peer.prop_map(Step::Stale),
        ]
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum At {
        New,
        Waiting,
        With(usize),
    }

    fn request() -> Request {
        let caller = Caller { id: "c".to_owned(), ip: String::new(), headers: Box::default(), jar: Jar::default() };
        let now = Instant::now();
        Request {
            caller: Rc::new(caller),
            transport: Transport::Ws,
            kind: CallKind::Call,
            cause: None,
            payload: "{}".into(),
            arrived: now,
            deadline: now + Duration::from_mins(1),
        }
    }

    fn peers() -> Vec<Rc<Peer>> {
        let hello = Hello::worker("w", 4);
        let peers: Vec<Rc<Peer>> = (0..PEERS).map(|port| Peer::new(Endpoint::tcp("h", port as u16))).collect();
        for peer in &peers {
            peer.connected(&hello, usize::MAX);
        }
        peers
    }

    fn check(table: &CallTable<u64>, peers: &[Rc<Peer>], model: &BTreeMap<u64, At>) {
        assert_eq!(table.len(), model.len());
        for (key, at) in model {
            match (table.place(*key).unwrap(), at) {
                (Place::New, At::New) | (Place::Waiting, At::Waiting) => {}
                (Place::Sent(peer), At::With(index)) => assert!(Rc::ptr_eq(&peer, &peers[*index])),
                (place, at) => panic!("{place:?} instead of {at:?}"),
            }
        }
        let waiting = model.values().filter(|at| **at == At::Waiting).count();
        assert!(waiting <= QUEUE && table.waiting() >= waiting, "{waiting} of {} wait", table.waiting());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn every_call_is_in_one_place_and_ends_once(steps in proptest::collection::vec(step(), 1..80)) {
            let (mut table, peers) = (CallTable::new(QUEUE), peers());
            let mut model: BTreeMap<u64, At> = BTreeMap::new();
            let (mut ended, mut number) = (Vec::new(), 0u64);
            let nth = |model: &BTreeMap<u64, At>, n: usize| model.keys().nth(n % model.len().max(1)).copied();
            for step in steps {
                match step {
                    Step::Arrive(to) => {
                        number += 1;
                        let key = table.insert(request(), number);
                        prop_assert!(!model.contains_key(&key) && !ended.contains(&key), "an id is used again");
                        let at = match to {
                            Some(peer) => { prop_assert_eq!(table.send(key, &peers[peer]), Handed::Over); At::With(peer) }
                            None if table.wait(key) => At::Waiting,
                            None => {
                                prop_assert!(table.waiting() >= QUEUE, "there was room");
                                prop_assert_eq!(table.remove(key), Some(number));
                                ended.push(key);
                                continue;
                            }
                        };
                        model.insert(key, at);
                    }
                    Step::Send(peer) => {
                        if let Some(key) = table.first_waiting() {
                            prop_assert_eq!(model[&key], At::Waiting);
                            prop_assert_eq!(table.send(key, &peers[peer]), Handed::Over);
                            table.left_queue();
                            model.insert(key, At::With(peer));
                        } else {
                            prop_assert!(!model.values().any(|at| *at == At::Waiting), "somebody waits and is not found");
                        }
                    }
                    Step::Answer(peer, n) => {
                        let Some(key) = nth(&model, n) else { continue };
                        let taken = table.take_sent(key, &peers[peer], Instant::now());
                        prop_assert_eq!(taken.is_some(), model[&key] == At::With(peer), "only who has it answers it");
                        if taken.is_some() {
                            model.remove(&key);
                            ended.push(key);
                        }
                    }
                    Step::Busy(peer, n) => {
                        let Some(key) = nth(&model, n) else { continue };
                        let handed_back = table.refused(key, &peers[peer]);
                        prop_assert_eq!(handed_back, model[&key] == At::With(peer));
                        if handed_back {
                            prop_assert!(table.was_refused(key, &peers[peer]));
                            model.insert(key, At::New);
                        }
                    }
                    Step::Lost(peer, unsent) => {
                        let its: Vec<u64> = model.iter().filter(|(_, at)| **at == At::With(peer)).map(|(key, _)| *key).collect();
                        let unsent: Vec<u64> = its.iter().rev().take(unsent).copied().collect();
                        let (again, lost) = table.of_peer(&peers[peer], &unsent);
                        let sorted = |mut keys: Vec<u64>| { keys.sort_unstable(); keys };
                        prop_assert_eq!(sorted(again.clone()), sorted(unsent), "what never left is not lost");
                        prop_assert_eq!(sorted([again.clone(), lost.clone()].concat()), its, "and nothing else is touched");
                        for key in lost {
                            prop_assert!(table.remove(key).is_some());
                            model.remove(&key);
                            ended.push(key);
                        }
                        model.extend(again.into_iter().map(|key| (key, At::New)));
                    }
                    Step::Cancel(n) => {
                        let Some(key) = nth(&model, n) else { continue };
                        if matches!(model[&key], At::With(_)) {
                            table.cancel(key);
                            prop_assert!(table.is_cancelled(key));
                        } else {
                            prop_assert!(table.remove(key).is_some());
                            model.remove(&key);
                            ended.push(key);
                        }
                    }
                    Step::Stale(peer) => {
                        for key in &ended {
                            prop_assert!(table.take_sent(*key, &peers[peer], Instant::now()).is_none(), "it had ended");
                            prop_assert!(!table.refused(*key, &peers[peer]) && table.remove(*key).is_none());
                        }
                    }
                }
                check(&table, &peers, &model);
            }
        }
    }
}
