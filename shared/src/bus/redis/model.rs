//! Runs publisher and tracker of two gateways against a model of Redis: it loses replies, is away, freezes and executes
//! later what it got, loses messages to subscribers, and fails over to a replica that lacks the last calls. The model keeps
//! the promise of `publish.lua`.

use std::collections::{HashMap, HashSet, VecDeque};

use proptest::prelude::*;

use super::backlog::tests::item;
use super::backlog::{BATCH_BYTES_MAX, BATCH_MAX, Backlog, Batch, Placement};
use super::tracker::{Continuity, Head, Tracker};
use crate::bus::event::{Broadcast, Position, Publication};

const GATEWAYS: usize = 2;
/// Broadcasts that a gateway keeps for a Redis that is away.
const QUEUE_MAX: usize = 6;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A gateway publishes, with an event of so many bytes.
    Publish(usize, usize),
    /// A gateway sends its batch.
    Attempt(usize, Fate),
    /// Redis executes one of those that it got while it was frozen.
    Thaw(usize),
    /// A gateway gets the next message.
    Push(usize),
    /// A gateway loses its subscription and the messages on their way, and subscribes again.
    Resubscribe(usize),
    /// A gateway compares its place with the head.
    CheckHead(usize),
    /// A replica takes over that lacks so many of the last calls.
    Failover(usize),
}

/// What becomes of an attempt.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answered,
    /// Redis took it, and its answer was lost.
    AnswerLost,
    /// Redis never got it.
    Unheard,
    /// Redis is frozen and executes it later; the gateway gives up waiting.
    Frozen,
}

fn step() -> impl Strategy<Value = Step> {
    let fate = prop_oneof![
        5 => Just(Fate::Answered),
        2 => Just(Fate::AnswerLost),
        1 => Just(Fate::Unheard),
        2 => Just(Fate::Frozen),
    ];
    let bytes = prop_oneof![4 => Just(10), 1 => Just(BATCH_BYTES_MAX / 2), 1 => Just(BATCH_BYTES_MAX + 1)];
    prop_oneof![
        10 => (0..GATEWAYS, bytes).prop_map(|(gateway, bytes)| Step::Publish(gateway, bytes)),
        8 => (0..GATEWAYS, fate).prop_map(|(gateway, fate)| Step::Attempt(gateway, fate)),
        2 => (0..4usize).prop_map(Step::Thaw),
        8 => (0..GATEWAYS).prop_map(Step::Push),
        1 => (0..GATEWAYS).prop_map(Step::Resubscribe),
        2 => (0..GATEWAYS).prop_map(Step::CheckHead),
    ]
}

/// Broadcasts with consecutive offsets, as they are pushed.
#[derive(Clone)]
struct Message {
    first: Position,
    prev: String,
    ids: Vec<String>,
}

/// What Redis remembers, and loses in a failover.
#[derive(Clone, Default)]
struct Memory {
    epoch: usize,
    /// The ids of this epoch; their index is their offset less one.
    log: Vec<String>,
    /// The last number of each gateway, and the first offset of its batch.
    marks: HashMap<usize, (u64, u64)>,
}

impl Memory {
    fn head(&self) -> Head {
        let last = self.log.last().cloned().unwrap_or_default();
        Head { epoch: self.epoch.to_string().into(), offset: self.log.len() as u64, last }
    }

    fn prev(&self, offset: u64) -> String {
        offset.checked_sub(2).map_or_else(String::new, |at| self.log[at as usize].clone())
    }
}

#[derive(Default)]
struct Redis {
    memory: Memory,
    /// Its memory before each call, and the ids that the call has added.
    calls: Vec<(Memory, Vec<String>)>,
    /// What it got while it was frozen.
    late: Vec<(usize, Batch)>,
    epochs: usize,
}

/// What a call of the script has done.
struct Published {
    message: Option<Message>,
    first: u64,
}

impl Redis {
    /// `publish.lua`.
    fn publish(&mut self, gateway: usize, batch: &Batch) -> Published {
        let before = self.memory.clone();
        let (last, offset) = self.memory.marks.get(&gateway).copied().unwrap_or_default();
        let new: Vec<_> = batch.items.iter().filter(|item| item.sequence > last).collect();
        let Some(newest) = new.last() else { return Published { message: None, first: offset } };
        let (epoch, first) = (self.memory.epoch.to_string().into(), self.memory.log.len() as u64 + 1);
        let prev = self.memory.head().last;
        let ids: Vec<String> = new.iter().map(|item| item.id.clone()).collect();
        self.calls.push((before, ids.clone()));
        self.memory.log.extend(ids.iter().cloned());
        self.memory.marks.insert(gateway, (newest.sequence, first));
        Published { message: Some(Message { first: Position { epoch, offset: first }, prev, ids }), first }
    }

    /// `renew.lua`, when the epoch is the one that was found broken.
    fn renew(&mut self, old: &str) {
        if self.memory.epoch.to_string() == old {
            self.calls.push((self.memory.clone(), Vec::new()));
            self.epochs += 1;
            self.memory.epoch = self.epochs;
            self.memory.log.clear();
        }
    }
}

/// A gateway, and a client that has subscribed to everything from the beginning.
struct Gateway {
    backlog: Backlog,
    tracker: Tracker,
    sequence: u64,
    /// The highest of its own numbers that came back.
    returned: u64,
    inbox: VecDeque<Message>,
    delivered_locally: HashSet<String>,
    client: Vec<String>,
    /// It had to tell its client that something is missing.
    told: usize,
    overflowed: usize,
}

impl Gateway {
    fn new() -> Self {
        let mut tracker = Tracker::default();
        tracker.start_at(Memory::default().head());
        Self {
            backlog: Backlog::new(QUEUE_MAX),
            tracker,
            sequence: 0,
            returned: 0,
            inbox: VecDeque::new(),
            delivered_locally: HashSet::new(),
            client: Vec::new(),
            told: 0,
            overflowed: 0,
        }
    }

    /// As `cluster::Deliveries` does: a broadcast that came back already is not delivered again.
    fn deliver_locally(&mut self, sequence: u64, id: &str) {
        if sequence > self.returned && self.delivered_locally.insert(id.to_owned()) {
            self.client.push(id.to_owned());
        }
    }

    fn deliver(&mut self, own: usize, id: &str, position: Position) {
        if let Some(sequence) = id.strip_prefix(&format!("{own}-")) {
            self.returned = self.returned.max(sequence.parse().unwrap_or(0));
        }
        let event =
            Publication { name: String::new(), params: String::new(), except: None, depth: 0, user: None, trace: None };
        self.tracker.advance(&Broadcast { id: id.to_owned(), position: Some(position), event });
        if !self.delivered_locally.contains(id) {
            self.client.push(id.to_owned());
        }
    }

    fn jump(&mut self, head: Head) {
        self.tracker.start_at(head);
        self.told += 1;
    }
}

struct World {
    redis: Redis,
    gateways: Vec<Gateway>,
    /// The place that each broadcast got first, unless a failover took it back.
    places: HashMap<String, Position>,
    /// Acknowledged, and lost by a failover.
    lost: HashSet<String>,
    failed_over: bool,
}

impl World {
    fn new() -> Self {
        let gateways = (0..GATEWAYS).map(|_| Gateway::new()).collect();
        Self { redis: Redis::default(), gateways, places: HashMap::new(), lost: HashSet::new(), failed_over: false }
    }

    fn run(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Publish(at, bytes) => self.publish(at, bytes),
            Step::Attempt(at, fate) => return self.attempt(at, fate),
            Step::Thaw(which) => {
                if !self.redis.late.is_empty() {
                    let (at, batch) = self.redis.late.swap_remove(which % self.redis.late.len());
                    self.execute(at, &batch)?;
                }
            }
            Step::Push(at) => self.push(at),
            Step::Resubscribe(at) => {
                self.gateways[at].inbox.clear();
                self.catch_up(at);
            }
            Step::CheckHead(at) => self.check_head(at),
            Step::Failover(calls) => self.fail_over(calls),
        }
        Ok(())
    }

    fn publish(&mut self, at: usize, bytes: usize) {
        let gateway = &mut self.gateways[at];
        gateway.sequence += 1;
        let item = item(&at.to_string(), gateway.sequence, bytes);
        match gateway.backlog.push(&item) {
            Placement::Queued => {}
            Placement::QueuedAndLocal => gateway.deliver_locally(item.sequence, &item.id),
            Placement::LocalOnly => {
                gateway.overflowed += 1;
                gateway.deliver_locally(item.sequence, &item.id);
            }
        }
    }

    fn attempt(&mut self, at: usize, fate: Fate) -> Result<(), TestCaseError> {
        let Some(batch) = self.gateways[at].backlog.attempt() else { return Ok(()) };
        let bytes: usize = batch.items.iter().map(|item| item.json.len()).sum();
        prop_assert!(batch.items.len() <= BATCH_MAX && (bytes <= BATCH_BYTES_MAX || batch.items.len() == 1));
        prop_assert!(batch.items.is_sorted_by(|a, b| a.sequence < b.sequence));
        let failed = match fate {
            Fate::Answered | Fate::AnswerLost => {
                if batch.renews_epoch
                    && let Some(head) = self.gateways[at].tracker.head().cloned()
                {
                    self.redis.renew(&head.epoch);
                }
                let first = self.execute(at, &batch)?;
                let known = self.places.get(&batch.items[0].id).cloned();
                prop_assert_eq!(
                    known.map(|place| place.offset),
                    Some(first),
                    "a retry gets the first attempt's offset"
                );
                matches!(fate, Fate::AnswerLost)
            }
            Fate::Unheard => true,
            Fate::Frozen => {
                self.redis.late.push((at, batch));
                true
            }
        };
        let gateway = &mut self.gateways[at];
        if failed {
            for item in gateway.backlog.failed(gateway.returned) {
                gateway.deliver_locally(item.sequence, &item.id);
            }
        } else {
            gateway.backlog.published(gateway.returned);
        }
        Ok(())
    }

    /// Runs the script and pushes its message to everybody. Returns the offset that the gateway is told.
    fn execute(&mut self, at: usize, batch: &Batch) -> Result<u64, TestCaseError> {
        let Published { message, first } = self.redis.publish(at, batch);
        let Some(message) = message else { return Ok(first) };
        for (id, offset) in message.ids.iter().zip(message.first.offset..) {
            let place = Position { epoch: message.first.epoch.clone(), offset };
            let twice = self.places.insert(id.clone(), place);
            prop_assert!(twice.is_none(), "{} is numbered twice", id);
            self.lost.remove(id);
        }
        for gateway in &mut self.gateways {
            gateway.inbox.push_back(message.clone());
        }
        Ok(first)
    }

    /// As `Subscriber::message` does.
    fn push(&mut self, at: usize) {
        let Some(Message { first, mut prev, ids }) = self.gateways[at].inbox.pop_front() else { return };
        for (id, offset) in ids.into_iter().zip(first.offset..) {
            let position = Position { epoch: first.epoch.clone(), offset };
            let continuity = self.gateways[at].tracker.check(&position, &id, &prev);
            prev.clone_from(&id);
            match continuity {
                Continuity::Next => self.gateways[at].deliver(at, &id, position),
                Continuity::Duplicate => {}
                Continuity::Missing | Continuity::NewEpoch => self.catch_up(at),
                Continuity::Diverged => self.renew(at),
            }
        }
    }

    /// As `Subscriber::check_head` does: what is missing may be on its way.
    fn check_head(&mut self, at: usize) {
        let there = self.redis.memory.head();
        let found = self.gateways[at].tracker.check_head(&there);
        while self.gateways[at].tracker.check_head(&there) == Continuity::Missing && !self.gateways[at].inbox.is_empty()
        {
            self.push(at);
        }
        let was_on_its_way = found == Continuity::Missing && self.gateways[at].tracker.has_reached(&there);
        if found != Continuity::Next && !was_on_its_way {
            self.catch_up(at);
        }
    }

    /// As `Subscriber::catch_up` does; the stream has everything.
    fn catch_up(&mut self, at: usize) {
        let there = self.redis.memory.head();
        match self.gateways[at].tracker.check_head(&there) {
            Continuity::Next | Continuity::Duplicate => {}
            Continuity::NewEpoch => self.enter_epoch(at, &there),
            Continuity::Diverged => self.renew(at),
            Continuity::Missing => self.close_gap(at, &there),
        }
    }

    fn enter_epoch(&mut self, at: usize, there: &Head) {
        self.gateways[at].jump(Head { epoch: there.epoch.clone(), offset: 0, last: String::new() });
        self.close_gap(at, there);
    }

    fn close_gap(&mut self, at: usize, there: &Head) {
        let from = self.gateways[at].tracker.head().map_or(0, |head| head.offset);
        for offset in from + 1..=there.offset {
            let (memory, gateway) = (&self.redis.memory, &mut self.gateways[at]);
            let (id, prev) = (memory.log[offset as usize - 1].clone(), memory.prev(offset));
            let position = Position { epoch: there.epoch.clone(), offset };
            if gateway.tracker.check(&position, &id, &prev) != Continuity::Next {
                return self.renew(at);
            }
            gateway.deliver(at, &id, position);
        }
    }

    fn renew(&mut self, at: usize) {
        let old = self.gateways[at].tracker.head().map(|head| head.epoch.clone()).unwrap_or_default();
        self.redis.renew(&old);
        let there = self.redis.memory.head();
        self.enter_epoch(at, &there);
    }

    fn fail_over(&mut self, calls: usize) {
        self.failed_over = true;
        let keep = self.redis.calls.len().saturating_sub(calls);
        let mut undone = self.redis.calls.split_off(keep);
        for id in undone.iter_mut().flat_map(|(_, ids)| ids.drain(..)) {
            self.places.remove(&id);
            self.lost.insert(id);
        }
        if let Some((before, _)) = undone.into_iter().next() {
            self.redis.memory = before;
            self.redis.late.clear();
        }
    }

    /// In the end Redis is there, and stays.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        while !self.redis.late.is_empty() {
            self.run(Step::Thaw(0))?;
        }
        for at in 0..GATEWAYS {
            for _ in 0..200 {
                self.attempt(at, Fate::Answered)?;
            }
        }
        // What one finds, another may have to hear of.
        for at in (0..GATEWAYS).cycle().take(8) {
            while !self.gateways[at].inbox.is_empty() {
                self.push(at);
            }
            self.check_head(at);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let head = self.redis.memory.head();
        for (at, gateway) in self.gateways.iter().enumerate() {
            prop_assert_eq!(gateway.tracker.head(), Some(&head), "gateway {} is at the head", at);
            prop_assert!(!gateway.backlog.is_away());
            let mut heard = HashSet::new();
            let forgotten = (1..=gateway.sequence).map(|sequence| format!("{at}-{sequence}"));
            let forgotten = forgotten.filter(|id| !self.places.contains_key(id) && !self.lost.contains(id)).count();
            prop_assert_eq!(forgotten, gateway.overflowed, "what never left is what found the queue full");
            if self.failed_over {
                continue;
            }
            for id in &gateway.client {
                prop_assert!(heard.insert(id.clone()), "{} is heard twice at {}", id, at);
            }
            prop_assert!(gateway.overflowed == 0 || self.gateways.iter().all(|one| one.told > 0));
            for from in 0..GATEWAYS {
                let numbers = gateway.client.iter().filter_map(|id| id.strip_prefix(&format!("{from}-")));
                let numbers: Vec<u64> = numbers.filter_map(|number| number.parse().ok()).collect();
                prop_assert!(numbers.is_sorted(), "the client of {} gets {:?} of {}", at, numbers, from);
                let all = numbers.len() as u64 == self.gateways[from].sequence;
                prop_assert!(all || gateway.told > 0, "the client of {} lacks some of {:?} untold", at, numbers);
            }
        }
        Ok(())
    }
}

fn steps(with_failover: bool) -> impl Strategy<Value = Vec<Step>> {
    let failover = (1..4usize).prop_map(Step::Failover);
    let one = prop_oneof![30 => step(), u32::from(with_failover) => failover];
    proptest::collection::vec(one, 1..150)
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut world = World::new();
    for step in steps {
        world.run(step)?;
    }
    world.settle()?;
    world.check()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn each_broadcast_is_numbered_once_and_heard_once_in_order(steps in steps(false)) {
        run(steps)?;
    }

    #[test]
    fn after_a_failover_nothing_is_forgotten_and_everybody_is_at_the_same_place(steps in steps(true)) {
        run(steps)?;
    }
}
