//! One worker as this thread sees it: the state of its connection, its load, its health, and its write buffer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use diffyne_shared::rpc::{self, CallKind, Endpoint, Frame, Hello, Ping};
use tokio::sync::Notify;

use super::breaker::{Breaker, Change};
use super::component_key::worker_identity;
use super::health::Health;
use super::latency::Latency;
use super::slowness::Slowness;

/// The bytes that may wait to be written to a worker before it counts as busy.
const OUT_BYTES_MAX: usize = 8 * 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkState {
    /// There is no connection.
    Disconnected,
    /// The worker takes calls.
    Ready,
    /// The worker finishes the calls that it has.
    Draining,
}

/// The result of sending a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendResult {
    /// The call waits to be written.
    Queued,
    /// The call's frame is longer than the worker accepts.
    TooLarge,
}

/// One worker.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) address: Endpoint,
    /// The same worker has the same identity at all gateways.
    pub(super) identity: u64,
    pub(super) state: Cell<LinkState>,
    /// The worker handed a call back and has not reported room since.
    busy: Cell<bool>,
    /// The worker has sent nothing for the health interval.
    pub(super) silent: Cell<bool>,
    /// The worker's backend cannot run calls.
    faulty: Cell<bool>,
    /// The worker runs calls with older code than the newest, which does not start.
    outdated: Cell<bool>,
    /// The worker's application can be told what happens to connections.
    runs_lifecycle: Cell<bool>,
    capacity: Cell<u32>,
    /// The longest frame that the worker accepts, in bytes.
    frame_bytes_max: Cell<usize>,
    /// The number of calls that may always wait in the worker, if its hello reports it.
    queue: Cell<Option<u32>>,
    /// The number of calls that the worker takes now, running and waiting.
    room: Cell<Option<u32>>,
    load: Cell<u32>,
    in_flight: Cell<u32>,
    /// Calls sent since the worker reported its load.
    sent_since_load: Cell<u32>,
    pub(super) out: RefCell<Vec<u8>>,
    /// The calls in `out`: no byte of them has been handed to the kernel.
    unsent: RefCell<Vec<u64>>,
    pub(super) wake: Notify,
    /// The release of the worker's components, if the worker tells it.
    release: RefCell<Option<Rc<str>>>,
    /// What each of the worker's processes does, as it told last.
    processes: RefCell<Option<String>>,
    pub(super) retired: Cell<bool>,
    pub(super) retire: Notify,
    pub(super) heard: Cell<Instant>,
    pub(super) breaker: Breaker,
    pub(super) latency: Latency,
    pub(super) slowness: Slowness,
}

impl Upstream {
    pub(super) fn new(address: Endpoint) -> Rc<Self> {
        Rc::new(Self {
            identity: worker_identity(&address.to_string()),
            address,
            state: Cell::new(LinkState::Disconnected),
            busy: Cell::new(false),
            silent: Cell::new(false),
            faulty: Cell::new(false),
            outdated: Cell::new(false),
            runs_lifecycle: Cell::new(false),
            capacity: Cell::new(1),
            frame_bytes_max: Cell::new(usize::MAX),
            queue: Cell::new(None),
            room: Cell::new(None),
            load: Cell::new(0),
            in_flight: Cell::new(0),
            sent_since_load: Cell::new(0),
            out: RefCell::default(),
            unsent: RefCell::default(),
            wake: Notify::new(),
            release: RefCell::default(),
            processes: RefCell::default(),
            retired: Cell::new(false),
            retire: Notify::new(),
            heard: Cell::new(Instant::now()),
            breaker: Breaker::default(),
            latency: Latency::new(),
            slowness: Slowness::default(),
        })
    }

    /// Notes that the worker is connected and has said hello. If the worker does not report its longest frame, this
    /// gateway's own limit is assumed.
    pub(super) fn connected(&self, hello: &Hello, frame_bytes_assumed: usize) {
        self.frame_bytes_max.set(hello.frame_bytes_max.map_or(frame_bytes_assumed, |bytes| bytes as usize));
        self.state.set(if hello.draining { LinkState::Draining } else { LinkState::Ready });
        self.faulty.set(hello.faulty);
        self.outdated.set(hello.outdated);
        self.runs_lifecycle.set(hello.features.iter().any(|feature| feature == rpc::LIFECYCLE_FEATURE));
        self.set_release(hello.release.as_deref());
        self.busy.set(false);
        self.silent.set(false);
        self.capacity.set(hello.capacity.max(1));
        self.queue.set(hello.queue);
        self.set_load(0, None);
        self.heard.set(Instant::now());
    }

    /// Whether the worker is connected, answers, and is not about to leave.
    pub(super) fn is_connected(&self) -> bool {
        self.state.get() == LinkState::Ready && !self.silent.get()
    }

    /// Whether the worker knows calls of a kind. An older one would end the connection.
    pub(super) fn runs(&self, kind: CallKind) -> bool {
        kind != CallKind::Lifecycle || self.runs_lifecycle.get()
    }

    /// Returns the worker's health.
    pub(super) fn health(&self) -> Health {
        match self.is_connected() {
            false => Health::Unreachable,
            true if self.faulty.get() || !self.breaker.is_closed() => Health::Degraded,
            true if self.outdated.get() => Health::Outdated,
            true => Health::Healthy,
        }
    }

    pub(super) fn is_faulty(&self) -> bool {
        self.faulty.get()
    }

    pub(super) fn set_faulty(&self, faulty: bool) {
        if self.faulty.replace(faulty) != faulty {
            let worker = &self.address;
            if faulty {
                tracing::warn!(%worker, "a worker cannot run calls now; see its /ready and its log");
            } else {
                tracing::info!(%worker, "a worker can run calls now");
            }
        }
    }

    pub(super) fn set_outdated(&self, outdated: bool) {
        if self.outdated.replace(outdated) != outdated {
            let state =
                if outdated { "old code still serves; see its /ready and its log" } else { "the newest code serves" };
            tracing::warn!(worker = %self.address, state, "a worker's application changed");
        }
    }

    pub(super) fn release(&self) -> Option<Rc<str>> {
        self.release.borrow().clone()
    }

    pub(super) fn set_release(&self, release: Option<&str>) {
        if self.release.borrow().as_deref() != release {
            *self.release.borrow_mut() = release.map(Rc::from);
        }
    }

    /// Takes what a pong tells of processes, if it tells anything.
    pub(super) fn set_processes(&self, report: Option<String>) {
        if report.is_some() {
            *self.processes.borrow_mut() = report;
        }
    }

    /// Asks what each of the worker's processes does.
    pub(super) fn ask_processes(&self) {
        self.processes.take();
        self.send(&Frame::Ping(Ping { processes: true }));
    }

    /// Returns what the worker has answered by now.
    pub(super) fn processes(&self) -> Option<String> {
        self.processes.borrow().clone()
    }

    pub(super) fn takes_calls(&self) -> bool {
        self.is_connected()
            && !self.busy.get()
            && self.has_room()
            && self.breaker.allows()
            && self.out.borrow().len() < OUT_BYTES_MAX
    }

    /// Whether the worker has room. It would hand back any further call.
    fn has_room(&self) -> bool {
        self.room.get().is_none_or(|room| self.load.get().saturating_add(self.sent_since_load.get()) < room)
    }

    /// Estimates how long a call would take here: load relative to capacity, times the usual latency. Smaller is
    /// better.
    pub(super) fn score(&self, now: Instant) -> f64 {
        self.utilization() * self.latency.at(now)
    }

    /// Returns the load with one more call, relative to the capacity.
    pub(super) fn utilization(&self) -> f64 {
        let load = f64::from(self.load.get()) + f64::from(self.sent_since_load.get());
        (load + 1.0) / f64::from(self.capacity.get())
    }

    /// Returns the number of calls that the worker runs side by side.
    pub(super) fn capacity(&self) -> u32 {
        self.capacity.get()
    }

    pub(super) fn failed(&self, why: &str) {
        if let Change::Opened(pause) = self.breaker.failed() {
            tracing::warn!(worker = %self.address, why, ?pause, "the worker keeps failing: it gets no calls for a while");
        }
    }

    pub(super) fn succeeded(&self) {
        if self.breaker.succeeded() == Change::Closed {
            tracing::info!(worker = %self.address, "the worker works again");
        }
    }

    /// Notes the worker's load, and how many calls may wait in it if not as many as always may.
    pub(super) fn set_load(&self, load: u32, queue: Option<u32>) {
        let room = self.queue.get().map(|always| self.capacity.get().saturating_add(queue.unwrap_or(always)));
        self.room.set(room);
        self.load.set(load);
        self.sent_since_load.set(0);
        self.busy.set(false);
    }

    pub(super) fn set_busy(&self) {
        self.busy.set(true);
    }

    /// Assumes room for one call, since a busy worker may have room without having reported it.
    pub(super) fn assume_room(&self) {
        self.busy.set(false);
        if let Some(room) = self.room.get().filter(|_| !self.has_room()) {
            self.load.set(room.saturating_sub(1));
            self.sent_since_load.set(0);
        }
    }

    /// A call was answered, and more follows: the connection stays for it.
    pub(super) fn call_opened(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
    }

    pub(super) fn call_ended(&self) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        if self.state.get() == LinkState::Draining && self.in_flight.get() == 0 {
            self.wake.notify_one();
        }
    }

    /// Stops sending calls to the worker. Its connection ends when it has answered those that it has.
    pub(super) fn drain(&self) {
        if self.state.get() == LinkState::Ready {
            self.state.set(LinkState::Draining);
            self.wake.notify_one();
        }
    }

    /// Retires a worker that is no longer on the list. Its connection ends for good when it has answered all calls.
    pub(super) fn retire(&self) {
        self.retired.set(true);
        self.drain();
        self.retire.notify_one();
    }

    pub(super) fn send(&self, frame: &Frame<'_>) {
        if self.state.get() != LinkState::Disconnected && rpc::encode(frame, &mut self.out.borrow_mut()).is_ok() {
            self.wake.notify_one();
        }
    }

    pub(super) fn send_call(&self, key: u64, frame: &Frame<'_>) -> SendResult {
        if rpc::encode_within(frame, &mut self.out.borrow_mut(), self.frame_bytes_max.get()).is_err() {
            return SendResult::TooLarge;
        }
        self.unsent.borrow_mut().push(key);
        self.in_flight.set(self.in_flight.get() + 1);
        self.sent_since_load.set(self.sent_since_load.get() + 1);
        self.wake.notify_one();
        SendResult::Queued
    }

    pub(super) fn take_unsent(&self) -> Vec<u64> {
        self.out.borrow_mut().clear();
        std::mem::take(&mut self.unsent.borrow_mut())
    }

    /// Takes the bytes to be written now. From here on, they may reach the worker.
    pub(super) fn take_out(&self) -> Vec<u8> {
        self.unsent.borrow_mut().clear();
        std::mem::take(&mut self.out.borrow_mut())
    }

    pub(super) fn is_finished(&self) -> bool {
        self.state.get() == LinkState::Draining && self.in_flight.get() == 0 && self.out.borrow().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_does_not_know_lifecycle_calls_gets_none() {
        let upstream = Upstream::new(Endpoint::tcp("127.0.0.1", 1));
        let mut hello = Hello::worker("w", 1);
        for (features, runs) in
            [(vec!["bridge"], false), (vec!["bridge", rpc::LIFECYCLE_FEATURE], true), (vec![], false)]
        {
            hello.features = features.into_iter().map(str::to_owned).collect();
            upstream.connected(&hello, 1000);
            assert_eq!(upstream.runs(CallKind::Lifecycle), runs, "{:?}", hello.features);
            assert!(upstream.runs(CallKind::Call) && upstream.runs(CallKind::Grant));
        }
    }
}
