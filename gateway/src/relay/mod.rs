//! The gateway's side of the worker protocol: which worker gets a call, and what becomes of it.
//!
//! One relay a thread, with its own connection to each worker. Four questions, four files: who is there
//! ([`discovery`]), who is well ([`peer`], with [`breaker`] and [`latency`]), who gets the next call ([`selection`]),
//! and which calls are under way ([`calls`]).
//!
//! A call runs at most once: once a worker has it (no `Busy`), it is never handed to another.

mod breaker;
mod calls;
mod connect;
pub mod discovery;
mod latency;
mod peer;
mod selection;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use diffyne_shared::envelope::FailureKind;
use diffyne_shared::rpc::{self, CallId, CallKind, CallRef, Cause, Endpoint, Frame, OversizedFrame, Transport};
use diffyne_shared::settings::gateway::GatewaySettings;
use diffyne_shared::telemetry;
use diffyne_shared::tls::ClientTls;
use diffyne_shared::token::SharedTokens;

pub use connect::{MemoryConnector, greet_once};
pub use peer::Wellness;

use crate::jar::Jar;
use calls::{CallTable, Place};
use peer::{Handed, Peer};

const TOO_LARGE: &str = "The message is larger than a worker takes. The call was not run.";
const ANSWER_TOO_LARGE: &str = "The worker's answer is larger than this gateway takes. The call was run.";
const OVERLOADED: &str = "The server is overloaded. The call was not run.";
/// Below this many waiting calls nobody guesses how long they will take.
const QUEUE_WORTH_A_GUESS: usize = 16;
/// What the workers get done is known after so long a time in which calls wait,
const THROUGHPUT_KNOWN_AFTER: Duration = Duration::from_secs(1);
/// and what was longer ago counts half.
const THROUGHPUT_WINDOW: Duration = Duration::from_secs(10);
/// How often deadlines are looked at.
const SWEEP_EVERY: Duration = Duration::from_millis(50);

/// Who calls, as workers are told; made once a connection.
#[derive(Debug)]
pub struct Caller {
    /// Client id.
    pub id: String,
    /// Address of the browser.
    pub ip: String,
    /// `name: value` lines.
    pub headers: Box<[u8]>,
    /// Cookies set since.
    pub jar: Jar,
}

/// A call on its way.
#[derive(Debug)]
pub struct Request {
    /// Who calls.
    pub caller: Rc<Caller>,
    /// How it came.
    pub transport: Transport,
    /// What is asked for.
    pub kind: CallKind,
    /// The push it reacts to.
    pub cause: Option<Cause>,
    /// The client's `data`.
    pub payload: Rc<str>,
    /// When it arrived.
    pub arrived: Instant,
    /// When nobody waits for it any more.
    pub deadline: Instant,
}

/// What became of a call.
#[derive(Debug)]
pub enum Answer<'a> {
    /// A worker ran it.
    Reply(rpc::Reply<'a>),
    /// It was not run, or nobody knows.
    Failed(FailureKind, &'static str),
}

/// What the relay is told about limits.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    /// This gateway, as it says hello.
    pub gateway_id: String,
    /// What is proved to workers, and by them; can be exchanged, for the next connections.
    pub tokens: SharedTokens,
    /// Calls that may wait for a worker on this thread.
    pub queue_max: usize,
    /// How long a call waits when there is no worker.
    pub worker_wait: Duration,
    /// Silence after which a worker is left out.
    pub health: Duration,
    /// Longest frame from a worker.
    pub frame_bytes_max: usize,
    /// Longest frame to a worker that does not tell what it takes.
    pub call_bytes_assumed: usize,
    /// How workers on other hosts are spoken to, if not in the clear.
    pub tls: Option<ClientTls>,
}

impl RelaySettings {
    /// One thread's share of a gateway's settings.
    pub fn new(settings: &GatewaySettings, gateway_id: String, tokens: SharedTokens) -> Result<Self, String> {
        Ok(Self {
            gateway_id,
            tokens,
            queue_max: settings.call_queue_max.div_ceil(settings.threads),
            worker_wait: settings.worker_wait,
            health: settings.worker_health,
            frame_bytes_max: settings.outbox_bytes_max + rpc::FRAME_OVERHEAD_MAX,
            call_bytes_assumed: settings.message_bytes_max + rpc::FRAME_OVERHEAD_MAX,
            tls: settings.worker_ca.as_deref().map(ClientTls::read).transpose()?,
        })
    }
}

/// What the relay counts; shared by all threads.
pub trait RelayObserver {
    /// A worker handed a call back.
    fn busy(&self);
    /// A worker said something that fits no call.
    fn stray_reply(&self);
    /// Connections to workers changed.
    fn worker_connection(&self, up: bool);
    /// A call whose client had left came back, not run.
    fn cancelled(&self);
    /// Calls waiting for a worker changed.
    fn waiting(&self, delta: i64);
    /// Somebody at a worker's address did not prove to be one.
    fn unproved(&self);
}

type Handler<O> = dyn Fn(O, Answer<'_>);

/// One thread's relay; `O` is what the caller wants back with the answer.
pub struct Relay<O> {
    settings: RelaySettings,
    calls: RefCell<CallTable<O>>,
    peers: RefCell<Vec<Rc<Peer>>>,
    handler: RefCell<Option<Rc<Handler<O>>>>,
    /// Runs after a batch of answers: what they put into outboxes is written together.
    after_batch: RefCell<Option<Rc<dyn Fn()>>>,
    observer: Rc<dyn RelayObserver>,
    memory: Option<MemoryConnector>,
    /// Since when no worker is there.
    alone_since: Cell<Option<Instant>>,
    throughput: Throughput,
}

/// What the workers get done while calls wait for them, so that one that would wait in vain is told at once.
#[derive(Default)]
struct Throughput {
    /// Since when calls wait, without a pause.
    since: Cell<Option<Instant>>,
    /// Answers since then.
    answered: Cell<u32>,
}

impl Throughput {
    /// Looks again; called about as often as [`SWEEP_EVERY`] says.
    fn look(&self, now: Instant, waiting: usize) {
        match self.since.get() {
            _ if waiting == 0 => self.since.set(None),
            None => {
                self.since.set(Some(now));
                self.answered.set(0);
            }
            // The newest count most.
            Some(since) if now.duration_since(since) > THROUGHPUT_WINDOW => {
                self.since.set(Some(since + now.duration_since(since) / 2));
                self.answered.set(self.answered.get() / 2);
            }
            Some(_) => {}
        }
    }

    /// How long as many calls will take, once that can be told.
    fn time_for(&self, calls: usize, now: Instant) -> Option<Duration> {
        let spent = now.duration_since(self.since.get()?);
        let known = spent >= THROUGHPUT_KNOWN_AFTER && self.answered.get() > 0;
        known.then(|| spent.mul_f64(calls as f64 / f64::from(self.answered.get())))
    }
}

impl<O: 'static> Relay<O> {
    /// A relay without workers; must live on a `LocalSet` or local runtime.
    pub fn new(settings: RelaySettings, observer: Rc<dyn RelayObserver>, memory: Option<MemoryConnector>) -> Rc<Self> {
        Rc::new(Self {
            calls: RefCell::new(CallTable::new(settings.queue_max)),
            settings,
            peers: RefCell::default(),
            handler: RefCell::default(),
            after_batch: RefCell::default(),
            observer,
            memory,
            alone_since: Cell::new(Some(Instant::now())),
            throughput: Throughput::default(),
        })
    }

    /// Who gets the answers; set once, before the first call.
    pub fn set_handler(&self, handler: Rc<Handler<O>>, after_batch: Rc<dyn Fn()>) {
        *self.handler.borrow_mut() = Some(handler);
        *self.after_batch.borrow_mut() = Some(after_batch);
    }

    /// Follows the list of workers, and looks at deadlines, until the thread ends.
    pub async fn run(self: Rc<Self>, mut workers: tokio::sync::watch::Receiver<discovery::Workers>) {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.follow(&workers.borrow_and_update().clone());
        loop {
            tokio::select! {
                changed = workers.changed() => match changed {
                    Ok(()) => self.follow(&workers.borrow_and_update().clone()),
                    Err(_) => return,
                },
                _ = sweep.tick() => self.sweep(),
            }
        }
    }

    fn follow(self: &Rc<Self>, workers: &discovery::Workers) {
        let mut peers = self.peers.borrow_mut();
        peers.retain(|peer| {
            let stays = workers.iter().any(|address| *address == peer.address);
            if !stays {
                peer.retire();
            }
            stays
        });
        for address in workers.iter() {
            if !peers.iter().any(|peer| peer.address == *address) {
                let peer = Peer::new(address.clone());
                tokio::task::spawn_local(peer::run(Rc::clone(self), Rc::clone(&peer)));
                peers.push(peer);
            }
        }
    }

    /// Hands a call to a worker, or lets it wait for one.
    pub fn submit(self: &Rc<Self>, request: Request, origin: O) {
        let key = self.calls.borrow_mut().insert(request, origin);
        match self.try_send(key) {
            Some(Handed::Over) => {}
            Some(Handed::TooLarge) => self.fail(key, FailureKind::TooLarge, TOO_LARGE),
            None if self.would_be_late(key) => self.fail(key, FailureKind::Overloaded, OVERLOADED),
            None => self.wait(key),
        }
    }

    /// The client is gone: what has not started need not. How many calls will not be answered any more.
    pub fn cancel(&self, matches: impl Fn(&O) -> bool) -> usize {
        let gone = self.calls.borrow().keys_where(matches);
        let mut dropped = 0;
        for key in gone {
            let place = self.calls.borrow().place(key);
            match place {
                Some(Place::Sent(peer)) => {
                    self.calls.borrow_mut().cancel(key);
                    peer.send(&Frame::Cancel(CallId { id: key }));
                }
                Some(Place::Waiting) => {
                    self.calls.borrow_mut().remove(key);
                    self.observer.waiting(-1);
                    dropped += 1;
                }
                Some(Place::New) | None => {}
            }
        }
        dropped
    }

    /// Calls that have not been answered.
    pub fn in_flight(&self) -> usize {
        self.calls.borrow().len()
    }

    /// Gives a call to the better of two random workers; lets it wait when all are busy.
    fn place(self: &Rc<Self>, key: u64) {
        match self.try_send(key) {
            Some(Handed::Over) => {}
            Some(Handed::TooLarge) => self.fail(key, FailureKind::TooLarge, TOO_LARGE),
            None => self.wait(key),
        }
    }

    fn wait(&self, key: u64) {
        let waits = self.calls.borrow_mut().wait(key);
        if waits {
            self.observer.waiting(1);
        } else {
            self.fail(key, FailureKind::Overloaded, OVERLOADED);
        }
    }

    /// Whether the calls that wait already take longer than this one has time.
    fn would_be_late(&self, key: u64) -> bool {
        let calls = self.calls.borrow();
        let ahead = calls.waiting();
        if ahead < QUEUE_WORTH_A_GUESS {
            return false;
        }
        let now = Instant::now();
        self.throughput.time_for(ahead, now).zip(calls.budget(key, now)).is_some_and(|(wait, left)| wait > left)
    }

    /// Hands a call to the worker that is chosen for it; `None` when none takes calls now.
    fn try_send(&self, key: u64) -> Option<Handed> {
        let peer = {
            let (peers, calls) = (self.peers.borrow(), self.calls.borrow());
            selection::choose(&peers, |peer| calls.was_refused(key, peer)).cloned()
        };
        let peer = peer?;
        let handed = self.calls.borrow_mut().send(key, &peer);
        if handed == Handed::Over {
            peer.breaker.sent();
        }
        Some(handed)
    }

    /// Workers have room again: those who wait go first.
    fn place_waiting(self: &Rc<Self>) {
        loop {
            let next = self.calls.borrow_mut().first_waiting();
            let Some(key) = next else { return };
            match self.try_send(key) {
                Some(Handed::Over) => self.calls.borrow_mut().left_queue(),
                // Its end takes it out of the queue.
                Some(Handed::TooLarge) => self.fail(key, FailureKind::TooLarge, TOO_LARGE),
                None => return,
            }
            self.observer.waiting(-1);
        }
    }

    fn answer(&self, origin: O, answer: Answer<'_>) {
        let handler = self.handler.borrow().clone();
        if let Some(handler) = handler {
            handler(origin, answer);
        }
    }

    fn fail(&self, key: u64, failure: FailureKind, text: &'static str) {
        let call = self.calls.borrow_mut().remove(key);
        if let Some(origin) = call {
            self.answer(origin, Answer::Failed(failure, text));
        }
    }

    fn batch_done(&self) {
        let after = self.after_batch.borrow().clone();
        if let Some(after) = after {
            after();
        }
    }

    /// Looks at what waits too long.
    fn sweep(self: &Rc<Self>) {
        let now = Instant::now();
        self.throughput.look(now, self.calls.borrow().waiting());
        let any_ready = self.peers.borrow().iter().any(|peer| peer.is_there());
        let alone = if any_ready {
            self.alone_since.set(None);
            false
        } else {
            let since = self.alone_since.get().unwrap_or(now);
            self.alone_since.set(Some(since));
            now.duration_since(since) >= self.settings.worker_wait
        };
        if self.calls.borrow().len() == 0 {
            return;
        }
        for peer in self.peers.borrow().iter() {
            peer.try_again();
        }
        self.place_waiting();
        let late = self.calls.borrow().late(now);
        for (key, place) in late {
            match place {
                Place::Sent(peer) => {
                    peer.send(&Frame::Cancel(CallId { id: key }));
                    peer.failed("a call ran out of time");
                    let text = "The call took too long. It may or may not have run.";
                    self.fail(key, FailureKind::Timeout, text);
                }
                Place::Waiting | Place::New => {
                    self.observer.waiting(-1);
                    let text = "No worker became free in time. The call was not run.";
                    self.fail(key, FailureKind::Overloaded, text);
                }
            }
        }
        if alone {
            let waited_long = self.calls.borrow().waiting_since_before(now, self.settings.worker_wait);
            for key in waited_long {
                self.observer.waiting(-1);
                self.fail(key, FailureKind::NoWorker, "No worker is available. The call was not run.");
            }
        }
        self.batch_done();
    }

    /// A worker's connection is gone: what it had may have run, what it never got has not.
    fn peer_lost(self: &Rc<Self>, peer: &Rc<Peer>) {
        let unsent = peer.take_unsent();
        let (again, lost) = self.calls.borrow_mut().of_peer(peer, &unsent);
        if !lost.is_empty() {
            peer.failed("its connection broke under a call");
        }
        for key in lost {
            let text = "The worker is gone. The call may or may not have run.";
            self.fail(key, FailureKind::WorkerLost, text);
        }
        for key in again {
            self.place(key);
        }
        self.batch_done();
    }

    /// A frame from a worker was too large, and read past.
    fn oversized(&self, peer: &Rc<Peer>, frame: OversizedFrame) {
        tracing::error!(worker = %peer.address, bytes = frame.bytes, limit = self.settings.frame_bytes_max,
            "a worker's frame is too large and was dropped: lower its DIFFYNE_WORKER_MAX_ANSWER");
        let Some(CallRef::Reply(id)) = frame.call else { return };
        let taken = self.calls.borrow_mut().take_sent(id, peer, Instant::now());
        if let Some((origin, _)) = taken {
            self.answer(origin, Answer::Failed(FailureKind::AnswerTooLarge, ANSWER_TOO_LARGE));
        }
    }

    /// One frame from a worker.
    fn frame(self: &Rc<Self>, peer: &Rc<Peer>, frame: Frame<'_>) {
        match frame {
            Frame::Reply(reply) => {
                peer.told_load(reply.load);
                peer.told_fault(reply.faulty);
                let now = Instant::now();
                let taken = self.calls.borrow_mut().take_sent(reply.id, peer, now);
                let Some((origin, took)) = taken else {
                    self.observer.stray_reply();
                    return;
                };
                self.throughput.answered.set(self.throughput.answered.get() + 1);
                peer.latency.observe(took, now);
                if matches!(reply.data, [b'{', .., b'}']) {
                    peer.succeeded();
                } else {
                    peer.failed("its answer is no JSON object");
                }
                self.answer(origin, Answer::Reply(reply));
            }
            Frame::Busy(CallId { id }) => {
                peer.is_busy();
                peer.breaker.handed_back();
                self.observer.busy();
                let handed_back = self.calls.borrow_mut().refused(id, peer);
                if handed_back && self.calls.borrow().is_cancelled(id) {
                    self.calls.borrow_mut().remove(id);
                    self.observer.cancelled();
                } else if handed_back {
                    self.place(id);
                }
            }
            Frame::Pong(pong) => {
                peer.told_load(pong.load);
                peer.told_fault(pong.faulty);
                if pong.draining {
                    peer.drain();
                }
            }
            Frame::Ping(_) => peer.send(&Frame::Pong(rpc::Pong::default())),
            Frame::Refuse(refuse) => {
                tracing::error!(worker = %peer.address, reason = %telemetry::error(&refuse.reason), "the worker turned this gateway away");
            }
            Frame::Hello(_)
            | Frame::Challenge(_)
            | Frame::Proof(_)
            | Frame::Call(_)
            | Frame::Cancel(_)
            | Frame::Unknown(_) => {}
        }
    }

    /// Addresses of workers and how they are.
    pub fn workers(&self) -> Vec<(Endpoint, Wellness)> {
        self.peers.borrow().iter().map(|peer| (peer.address.clone(), peer.wellness())).collect()
    }
}
