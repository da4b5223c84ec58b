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
        self.entries.get(slot(key)).filter(|entry| entry.generation == (key >> 32) as u32)
    }

    fn get_mut(&mut self, key: u64) -> Option<&mut CallEntry<O>> {
        self.entries.get_mut(slot(key)).filter(|entry| entry.generation == (key >> 32) as u32)
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

    /// Queues a call for a worker. Returns `false` if the queue is full.
    pub(super) fn wait(&mut self, key: u64) -> bool {
        if self.waiting.len() >= self.waiting_max {
            return false;
        }
        let Some(entry) = self.get_mut(key) else { return false };
        entry.state = CallState::Waiting;
        entry.since = Instant::now();
        self.waiting.push_back(key);
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
mod tests {
    //! Compares the table with a model. Whatever workers and clients do, and in whatever order, each call has one
    //! state, ends once, and is with at most one worker.

    use std::collections::BTreeMap;
    use std::rc::Rc;

    use diffyne_shared::rpc::{CallKind, Endpoint, Hello, Transport};
    use proptest::prelude::*;

    use super::*;
    use crate::auth::cookie_store::CookieStore;
    use crate::relay::Caller;

    const QUEUE: usize = 3;
    const UPSTREAMS: usize = 2;

    #[derive(Debug, Clone)]
    enum Step {
        /// A call arrives, and is sent to a worker if one is given, otherwise queued.
        Arrive(Option<usize>),
        /// The first waiting call is sent to a worker.
        Send(usize),
        /// A worker answers the n-th call, whether it has that call or not.
        Answer(usize, usize),
        /// A worker hands the n-th call back.
        Busy(usize, usize),
        /// A worker's connection breaks before this many of its newest calls were written.
        Lost(usize, usize),
        /// A client leaves.
        Cancel(usize),
        /// An answer arrives for a call that ended long ago.
        Stale(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (upstream, call) = (0..UPSTREAMS, 0..12usize);
        prop_oneof![
            3 => proptest::option::of(upstream.clone()).prop_map(Step::Arrive),
            2 => upstream.clone().prop_map(Step::Send),
            3 => (upstream.clone(), call.clone()).prop_map(|(upstream, call)| Step::Answer(upstream, call)),
            2 => (upstream.clone(), call.clone()).prop_map(|(upstream, call)| Step::Busy(upstream, call)),
            1 => (upstream.clone(), 0..4usize).prop_map(|(upstream, unsent)| Step::Lost(upstream, unsent)),
            1 => call.clone().prop_map(Step::Cancel),
            1 => upstream.prop_map(Step::Stale),
        ]
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum At {
        New,
        Waiting,
        With(usize),
    }

    fn request() -> CallRequest {
        let caller = Caller::new("c", "", Box::default(), CookieStore::default());
        let now = Instant::now();
        CallRequest {
            caller: Rc::new(caller),
            transport: Transport::Ws,
            kind: CallKind::Call,
            component: ComponentKey::default(),
            cause: None,
            takes_pushes: false,
            wants_user: false,
            stream_max: Duration::ZERO,
            trace: None,
            payload: "{}".into(),
            arrived: now,
            deadline: now + Duration::from_mins(1),
        }
    }

    fn upstreams() -> Vec<Rc<Upstream>> {
        let hello = Hello::worker("w", 4);
        let upstreams: Vec<Rc<Upstream>> =
            (0..UPSTREAMS).map(|port| Upstream::new(Endpoint::tcp("h", port as u16))).collect();
        for upstream in &upstreams {
            upstream.connected(&hello, usize::MAX);
        }
        upstreams
    }

    fn check(table: &CallTable<u64>, upstreams: &[Rc<Upstream>], model: &BTreeMap<u64, At>) {
        assert_eq!(table.len(), model.len());
        for (key, at) in model {
            match (table.state(*key).unwrap(), at) {
                (CallState::New, At::New) | (CallState::Waiting, At::Waiting) => {}
                (CallState::Sent(upstream), At::With(index)) => assert!(Rc::ptr_eq(&upstream, &upstreams[*index])),
                (place, at) => panic!("{place:?} instead of {at:?}"),
            }
        }
        let waiting = model.values().filter(|at| **at == At::Waiting).count();
        assert!(waiting <= QUEUE && table.waiting() >= waiting, "{waiting} of {} wait", table.waiting());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn every_call_has_one_state_and_ends_once(steps in proptest::collection::vec(step(), 1..80)) {
            let (mut table, upstreams) = (CallTable::new(QUEUE), upstreams());
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
                            Some(upstream) => { prop_assert_eq!(table.send(key, &upstreams[upstream]), SendResult::Queued); At::With(upstream) }
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
                    Step::Send(upstream) => {
                        if let Some(key) = table.first_waiting() {
                            prop_assert_eq!(model[&key], At::Waiting);
                            prop_assert_eq!(table.send(key, &upstreams[upstream]), SendResult::Queued);
                            table.left_queue();
                            model.insert(key, At::With(upstream));
                        } else {
                            prop_assert!(!model.values().any(|at| *at == At::Waiting), "somebody waits and is not found");
                        }
                    }
                    Step::Answer(upstream, n) => {
                        let Some(key) = nth(&model, n) else { continue };
                        let taken = table.take_sent(key, &upstreams[upstream], Instant::now());
                        prop_assert_eq!(taken.is_some(), model[&key] == At::With(upstream), "only who has it answers it");
                        if taken.is_some() {
                            model.remove(&key);
                            ended.push(key);
                        }
                    }
                    Step::Busy(upstream, n) => {
                        let Some(key) = nth(&model, n) else { continue };
                        let handed_back = table.refused(key, &upstreams[upstream]);
                        prop_assert_eq!(handed_back, model[&key] == At::With(upstream));
                        if handed_back {
                            prop_assert!(table.was_refused(key, &upstreams[upstream]));
                            model.insert(key, At::New);
                        }
                    }
                    Step::Lost(upstream, unsent) => {
                        let its: Vec<u64> = model.iter().filter(|(_, at)| **at == At::With(upstream)).map(|(key, _)| *key).collect();
                        let unsent: Vec<u64> = its.iter().rev().take(unsent).copied().collect();
                        let (again, lost) = table.of_upstream(&upstreams[upstream], &unsent);
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
                    Step::Stale(upstream) => {
                        for key in &ended {
                            prop_assert!(table.take_sent(*key, &upstreams[upstream], Instant::now()).is_none(), "it had ended");
                            prop_assert!(!table.refused(*key, &upstreams[upstream]) && table.remove(*key).is_none());
                        }
                    }
                }
                check(&table, &upstreams, &model);
            }
        }
    }

    #[test]
    fn each_part_gives_a_call_more_time_and_not_without_end() {
        let (upstreams, mut table) = (upstreams(), CallTable::new(QUEUE));
        let minute = Duration::from_mins(1);
        let request = CallRequest { stream_max: 2 * minute, ..request() };
        let arrived = request.arrived;
        let key = table.insert(request, 7);
        assert!(table.take_part(key, &upstreams[0], arrived).is_none(), "it is with no worker");
        table.send(key, &upstreams[0]);
        assert!(table.take_part(key, &upstreams[1], arrived).is_none(), "it is with another one");
        assert_eq!(table.take_part(key, &upstreams[0], arrived + minute / 2), Some(&7));
        assert_eq!(table.budget(key, arrived + minute), Some(minute / 2));
        table.take_part(key, &upstreams[0], arrived + minute * 3 / 2);
        assert_eq!(table.budget(key, arrived + minute * 3 / 2), Some(minute / 2), "two minutes in all");
        table.cancel(key);
        assert!(table.has_parts(key) && table.take_part(key, &upstreams[0], arrived).is_none(), "its client has left");
    }
}
