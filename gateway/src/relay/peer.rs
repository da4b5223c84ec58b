//! One connection to one worker: its state, its two halves, and whether it is well.
//!
//! Health is judged by answers: a worker that says nothing for the health interval is left out until it speaks
//! again. What it has been given stays with it until its connection breaks (a host that is gone breaks it within a
//! second) or the budget ends.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use diffyne_shared::backoff::Backoff;
use diffyne_shared::rpc::{self, CodecError, Empty, Endpoint, Frame, FrameReader, Hello};
use diffyne_shared::telemetry;
use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::Notify;

use super::Relay;
use super::breaker::{Breaker, Change};
use super::connect::{Connected, connect};
use super::latency::Latency;
use diffyne_shared::listener::Stream;

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(2);
/// A connection that lived this long was a good one.
const STEADY: Duration = Duration::from_secs(5);
/// What may wait to be written to a worker before it counts as busy.
const OUT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A write buffer that grew beyond this is not kept.
const OUT_BYTES_KEPT: usize = 256 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No connection.
    Away,
    /// Takes calls.
    Ready,
    /// Finishes what it has.
    Draining,
}

/// How a worker is, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wellness {
    /// Not connected, silent, or on its way out.
    Unreachable,
    /// Connected, and its backend cannot run calls.
    Faulty,
    /// It can be called.
    Well,
}

/// What became of a call that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handed {
    /// It waits to be written.
    Over,
    /// Its frame is longer than the worker takes.
    TooLarge,
}

/// What the relay knows of a worker.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: Endpoint,
    state: Cell<State>,
    /// It handed a call back and has not told of room since.
    busy: Cell<bool>,
    /// It has been silent for the health interval.
    silent: Cell<bool>,
    /// Its backend cannot run calls.
    faulty: Cell<bool>,
    capacity: Cell<u32>,
    /// Longest frame that it takes.
    frame_bytes_max: Cell<usize>,
    /// Calls that it takes at most, running and waiting, if it has told.
    room: Cell<Option<u32>>,
    load: Cell<u32>,
    in_flight: Cell<u32>,
    /// Sent since the load was told.
    sent_since: Cell<u32>,
    out: RefCell<Vec<u8>>,
    /// Calls in `out`: no byte of them has been handed to the kernel.
    unsent: RefCell<Vec<u64>>,
    wake: Notify,
    retired: Cell<bool>,
    retire: Notify,
    heard: Cell<Instant>,
    pub(super) breaker: Breaker,
    pub(super) latency: Latency,
}

impl Peer {
    pub(super) fn new(address: Endpoint) -> Rc<Self> {
        Rc::new(Self {
            address,
            state: Cell::new(State::Away),
            busy: Cell::new(false),
            silent: Cell::new(false),
            faulty: Cell::new(false),
            capacity: Cell::new(1),
            frame_bytes_max: Cell::new(usize::MAX),
            room: Cell::new(None),
            load: Cell::new(0),
            in_flight: Cell::new(0),
            sent_since: Cell::new(0),
            out: RefCell::default(),
            unsent: RefCell::default(),
            wake: Notify::new(),
            retired: Cell::new(false),
            retire: Notify::new(),
            heard: Cell::new(Instant::now()),
            breaker: Breaker::default(),
            latency: Latency::new(),
        })
    }

    /// It said hello. One that does not tell its longest frame is taken to have this gateway's own limit.
    pub(super) fn connected(&self, hello: &Hello, frame_bytes_assumed: usize) {
        self.frame_bytes_max.set(hello.frame_bytes_max.map_or(frame_bytes_assumed, |bytes| bytes as usize));
        self.state.set(if hello.draining { State::Draining } else { State::Ready });
        self.faulty.set(hello.faulty);
        self.busy.set(false);
        self.silent.set(false);
        self.capacity.set(hello.capacity.max(1));
        self.room.set(hello.queue.map(|queue| hello.capacity.max(1).saturating_add(queue)));
        self.load.set(0);
        self.sent_since.set(0);
        self.heard.set(Instant::now());
    }

    /// Connected, answering, and not on its way out.
    pub(super) fn is_there(&self) -> bool {
        self.state.get() == State::Ready && !self.silent.get()
    }

    /// How it is.
    pub(super) fn wellness(&self) -> Wellness {
        match self.is_there() {
            false => Wellness::Unreachable,
            true if self.faulty.get() || !self.breaker.is_closed() => Wellness::Faulty,
            true => Wellness::Well,
        }
    }

    pub(super) fn is_faulty(&self) -> bool {
        self.faulty.get()
    }

    pub(super) fn told_fault(&self, faulty: bool) {
        if self.faulty.replace(faulty) != faulty {
            let state = if faulty { "it cannot run calls now; its own log says why" } else { "it can run calls again" };
            tracing::warn!(worker = %self.address, state, "a worker's backend changed");
        }
    }

    pub(super) fn takes_calls(&self) -> bool {
        self.is_there()
            && !self.busy.get()
            && self.has_room()
            && self.breaker.allows()
            && self.out.borrow().len() < OUT_BYTES_MAX
    }

    /// Calls beyond its room would only come back.
    fn has_room(&self) -> bool {
        self.room.get().is_none_or(|room| self.load.get().saturating_add(self.sent_since.get()) < room)
    }

    /// How long a call would take here, more or less: load in relation to capacity, times what a call takes. Smaller
    /// is better.
    pub(super) fn score(&self, now: Instant) -> f64 {
        let load = f64::from(self.load.get()) + f64::from(self.sent_since.get());
        (load + 1.0) / f64::from(self.capacity.get()) * self.latency.at(now)
    }

    pub(super) fn failed(&self, why: &str) {
        if let Change::Opened(pause) = self.breaker.failed() {
            tracing::warn!(worker = %self.address, why, ?pause, "the worker fails again and again; it gets no calls for a while");
        }
    }

    pub(super) fn succeeded(&self) {
        if self.breaker.succeeded() == Change::Closed {
            tracing::info!(worker = %self.address, "the worker answers well again");
        }
    }

    pub(super) fn told_load(&self, load: u32) {
        self.load.set(load);
        self.sent_since.set(0);
        self.busy.set(false);
    }

    pub(super) fn is_busy(&self) {
        self.busy.set(true);
    }

    /// A busy worker may have room without having said so: for one call at least, it is assumed.
    pub(super) fn try_again(&self) {
        self.busy.set(false);
        if let Some(room) = self.room.get().filter(|_| !self.has_room()) {
            self.load.set(room.saturating_sub(1));
            self.sent_since.set(0);
        }
    }

    pub(super) fn one_less(&self) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        if self.state.get() == State::Draining && self.in_flight.get() == 0 {
            self.wake.notify_one();
        }
    }

    /// The worker takes no more; its connection ends when it has answered all.
    pub(super) fn drain(&self) {
        if self.state.get() == State::Ready {
            self.state.set(State::Draining);
            self.wake.notify_one();
        }
    }

    /// No longer in the list of workers: finish, and do not come back.
    pub(super) fn retire(&self) {
        self.retired.set(true);
        self.drain();
        self.retire.notify_one();
    }

    pub(super) fn send(&self, frame: &Frame<'_>) {
        if self.state.get() != State::Away && rpc::encode(frame, &mut self.out.borrow_mut()).is_ok() {
            self.wake.notify_one();
        }
    }

    pub(super) fn send_call(&self, key: u64, frame: &Frame<'_>) -> Handed {
        if rpc::encode_within(frame, &mut self.out.borrow_mut(), self.frame_bytes_max.get()).is_err() {
            return Handed::TooLarge;
        }
        self.unsent.borrow_mut().push(key);
        self.in_flight.set(self.in_flight.get() + 1);
        self.sent_since.set(self.sent_since.get() + 1);
        self.wake.notify_one();
        Handed::Over
    }

    pub(super) fn take_unsent(&self) -> Vec<u64> {
        self.out.borrow_mut().clear();
        std::mem::take(&mut self.unsent.borrow_mut())
    }

    /// What is to be written now; from here on it may reach the worker.
    fn take_out(&self) -> Vec<u8> {
        self.unsent.borrow_mut().clear();
        std::mem::take(&mut self.out.borrow_mut())
    }

    fn is_finished(&self) -> bool {
        self.state.get() == State::Draining && self.in_flight.get() == 0 && self.out.borrow().is_empty()
    }
}

/// Keeps a worker connected until it is retired.
pub(super) async fn run<O: 'static>(relay: Rc<Relay<O>>, peer: Rc<Peer>) {
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LAST);
    let mut told = None;
    while !peer.retired.get() {
        match connect(&peer.address, &relay.settings, relay.memory.as_ref()).await {
            Ok(connected) => {
                told = None;
                let began = Instant::now();
                talk(&relay, &peer, connected).await;
                // One that comes and goes is not asked at its own pace.
                if began.elapsed() >= STEADY {
                    backoff.reset();
                }
            }
            Err(error) => {
                if error.is_unproved() {
                    relay.observer.unproved();
                }
                // Each reason once.
                if told.as_ref() != Some(&error) {
                    tracing::warn!(worker = %peer.address, %error, "cannot reach the worker; trying again");
                    told = Some(error);
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.wait()) => {}
            () = peer.retire.notified() => {}
        }
    }
}

/// One connection's life.
async fn talk<O: 'static>(relay: &Rc<Relay<O>>, peer: &Rc<Peer>, connected: Connected) {
    let Connected { stream, reader, hello } = connected;
    let (id, backend) = (telemetry::name(&hello.id), telemetry::name(&hello.backend));
    tracing::info!(worker = %peer.address, %id, %backend, "worker connected");
    peer.connected(&hello, relay.settings.call_bytes_assumed);
    relay.observer.worker_connection(true);
    relay.place_waiting();
    let (read, write) = tokio::io::split(stream);
    let why = tokio::select! {
        why = read_loop(relay, peer, read, reader) => why,
        why = write_loop(peer, write) => why,
        () = health_loop(relay, peer) => "retired".to_owned(),
    };
    peer.state.set(State::Away);
    relay.observer.worker_connection(false);
    tracing::info!(worker = %peer.address, why, "worker disconnected");
    relay.peer_lost(peer);
}

async fn read_loop<O: 'static>(
    relay: &Rc<Relay<O>>,
    peer: &Rc<Peer>,
    mut read: ReadHalf<Stream>,
    mut reader: FrameReader,
) -> String {
    loop {
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => relay.frame(peer, frame),
                Ok(None) => break,
                Err(CodecError::Oversized(oversized)) => relay.oversized(peer, oversized),
                Err(error) => return format!("the worker speaks nonsense: {error}"),
            }
        }
        relay.place_waiting();
        relay.batch_done();
        match reader.fill(&mut read).await {
            Ok(0) => return "closed by the worker".to_owned(),
            Ok(_) => {
                peer.heard.set(Instant::now());
                if peer.silent.replace(false) {
                    tracing::info!(worker = %peer.address, "the worker answers again");
                }
            }
            Err(error) => return error.to_string(),
        }
    }
}

/// Writes what has gathered since the last write, in one go and without a timer.
async fn write_loop(peer: &Rc<Peer>, mut write: WriteHalf<Stream>) -> String {
    loop {
        peer.wake.notified().await;
        loop {
            let mut batch = peer.take_out();
            if batch.is_empty() {
                break;
            }
            if let Err(error) = write.write_all(&batch).await {
                return error.to_string();
            }
            batch.clear();
            let mut out = peer.out.borrow_mut();
            if out.is_empty() && out.capacity() == 0 && batch.capacity() <= OUT_BYTES_KEPT {
                *out = batch;
            }
        }
        if peer.is_finished() {
            return "drained".to_owned();
        }
    }
}

/// Asks a silent worker whether it lives, and leaves it out while it does not answer.
async fn health_loop<O: 'static>(relay: &Rc<Relay<O>>, peer: &Rc<Peer>) {
    let interval = relay.settings.health;
    loop {
        tokio::time::sleep(interval / 2).await;
        let silence = peer.heard.get().elapsed();
        if silence > interval && !peer.silent.replace(true) {
            tracing::warn!(worker = %peer.address, ?silence, "the worker does not answer; it is left out");
        }
        if silence > interval / 4 {
            peer.send(&Frame::Ping(Empty {}));
        }
    }
}
