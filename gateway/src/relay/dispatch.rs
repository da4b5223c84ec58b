//! Sends calls to workers, queues them, cancels them, and ends those whose time is over.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use diffyne_shared::envelope::FailureKind;
use diffyne_shared::rpc::{CallId, Endpoint, Frame, PartsSent};

use super::call::{CallHandler, CallRequest, RelayObserver, RelayResult};
use super::calls::{CallState, CallTable};
use super::health::Health;
use super::selection;
use super::settings::RelaySettings;
use super::slowness::ClassLatencies;
use super::throughput::Throughput;
use super::upstream::{SendResult, Upstream};

const TOO_LARGE: &str = "The message is larger than a worker takes. The call was not run.";
const OVERLOADED: &str = "The server is overloaded. The call was not run.";
const TIMED_OUT: &str = "The call took too long. It may or may not have run.";
const NOT_FREE_IN_TIME: &str = "No worker became free in time. The call was not run.";
const NO_WORKER: &str = "No worker is available. The call was not run.";
/// With fewer waiting calls than this, their duration is not estimated.
const ESTIMATE_FROM_WAITING: usize = 16;
/// How often deadlines are checked.
pub(super) const SWEEP_EVERY: Duration = Duration::from_millis(50);

/// One thread's relay. `O` is the origin that the caller gets back with the result of a call.
pub struct Relay<O> {
    pub(super) settings: RelaySettings,
    pub(super) calls: RefCell<CallTable<O>>,
    pub(super) upstreams: RefCell<Vec<Rc<Upstream>>>,
    /// The workers of calls that were answered and whose client gets more.
    pub(super) open: RefCell<HashMap<u64, Rc<Upstream>>>,
    pub(super) handler: Rc<dyn CallHandler<O>>,
    pub(super) observer: Rc<dyn RelayObserver>,
    pub(super) throughput: Throughput,
    pub(super) class_latencies: ClassLatencies,
    /// The time since which no worker is connected.
    alone_since: Cell<Option<Instant>>,
}

impl<O: 'static> Relay<O> {
    /// Creates a relay without workers. It must be used on a `LocalSet`.
    pub fn new(settings: RelaySettings, observer: Rc<dyn RelayObserver>, handler: Rc<dyn CallHandler<O>>) -> Rc<Self> {
        Rc::new(Self {
            calls: RefCell::new(CallTable::new(settings.queue_max)),
            settings,
            upstreams: RefCell::default(),
            open: RefCell::default(),
            handler,
            observer,
            throughput: Throughput::default(),
            class_latencies: ClassLatencies::default(),
            alone_since: Cell::new(Some(Instant::now())),
        })
    }

    /// Sends a call to a worker, or queues it.
    pub fn submit(&self, request: CallRequest, origin: O) {
        let key = self.calls.borrow_mut().insert(request, origin);
        match self.try_send(key) {
            Some(SendResult::Queued) => {}
            Some(SendResult::TooLarge) => self.fail(key, FailureKind::TooLarge, TOO_LARGE),
            None if self.would_be_late(key) => self.fail(key, FailureKind::Overloaded, OVERLOADED),
            None => self.wait(key),
        }
    }

    /// Cancels the calls of a client that has left; those that have not started need not run. Returns how many calls
    /// will have no result.
    pub fn cancel(&self, matches: impl Fn(&O) -> bool) -> usize {
        let cancelled = self.calls.borrow().keys_where(matches);
        let mut dropped = 0;
        for key in cancelled {
            let state = self.calls.borrow().state(key);
            match state {
                Some(CallState::Sent(upstream)) => {
                    self.calls.borrow_mut().cancel(key);
                    upstream.send(&Frame::Cancel(CallId { id: key }));
                }
                Some(CallState::Waiting) => {
                    self.calls.borrow_mut().remove(key);
                    self.observer.waiting(-1);
                    dropped += 1;
                }
                Some(CallState::New) | None => {}
            }
        }
        dropped
    }

    /// Tells the worker of a call that so many bytes of parts have been sent to the client.
    pub fn parts_sent(&self, call: u64, bytes: u32) {
        let state = self.calls.borrow().state(call);
        if let Some(CallState::Sent(upstream)) = state {
            upstream.send(&Frame::PartsSent(PartsSent { id: call, bytes }));
        }
    }

    /// Ends what follows the answer of a call, because its client has left.
    pub fn cancel_open(&self, call: u64) {
        let upstream = self.open.borrow_mut().remove(&call);
        if let Some(upstream) = upstream {
            upstream.send(&Frame::Cancel(CallId { id: call }));
            upstream.call_ended();
        }
    }

    /// Returns the addresses of the workers, and their health.
    pub fn workers(&self) -> Vec<(Endpoint, Health)> {
        self.upstreams.borrow().iter().map(|upstream| (upstream.address.clone(), upstream.health())).collect()
    }

    /// Asks the workers that answer what each of their processes does.
    pub fn ask_processes(&self) {
        for upstream in self.upstreams.borrow().iter().filter(|upstream| upstream.is_connected()) {
            upstream.ask_processes();
        }
    }

    /// Returns what they have told by now, as JSON; `None` from those that have not.
    pub fn processes(&self) -> Vec<(Endpoint, Option<String>)> {
        let upstreams = self.upstreams.borrow();
        let connected = upstreams.iter().filter(|upstream| upstream.is_connected());
        connected.map(|upstream| (upstream.address.clone(), upstream.processes())).collect()
    }

    /// Returns the release of the components that the workers run; `None` while they run several, as during a deploy, or
    /// when one of them does not tell it.
    pub fn release(&self) -> Option<Rc<str>> {
        let upstreams = self.upstreams.borrow();
        let mut releases =
            upstreams.iter().filter(|upstream| upstream.is_connected()).map(|upstream| upstream.release());
        let first = releases.next()??;
        releases.all(|other| other.as_ref() == Some(&first)).then_some(first)
    }

    /// Sends a call that was handed back to another worker, or queues it.
    pub(super) fn dispatch(&self, key: u64) {
        match self.try_send(key) {
            Some(SendResult::Queued) => {}
            Some(SendResult::TooLarge) => self.fail(key, FailureKind::TooLarge, TOO_LARGE),
            None => self.wait(key),
        }
    }

    /// Sends waiting calls to workers that have room, the oldest first.
    pub(super) fn dispatch_waiting(&self) {
        loop {
            let next = self.calls.borrow_mut().first_waiting();
            let Some(key) = next else { return };
            match self.try_send(key) {
                Some(SendResult::Queued) => self.calls.borrow_mut().left_queue(),
                // Failing the call also removes it from the queue.
                Some(SendResult::TooLarge) => self.fail(key, FailureKind::TooLarge, TOO_LARGE),
                None => return,
            }
            self.observer.waiting(-1);
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

    /// Whether the calls that already wait will take longer than this call has time.
    fn would_be_late(&self, key: u64) -> bool {
        let calls = self.calls.borrow();
        let ahead = calls.waiting();
        if ahead < ESTIMATE_FROM_WAITING {
            return false;
        }
        let now = Instant::now();
        self.throughput.time_for(ahead, now).zip(calls.budget(key, now)).is_some_and(|(wait, left)| wait > left)
    }

    /// Sends a call to the worker that is selected for it. Returns `None` if no worker takes calls now.
    fn try_send(&self, key: u64) -> Option<SendResult> {
        let (upstream, is_preferred) = {
            let (upstreams, calls) = (self.upstreams.borrow(), self.calls.borrow());
            let component = calls.component(key).unwrap_or_default();
            let now = Instant::now();
            let selected = selection::select(&upstreams, component, now, |upstream| calls.was_refused(key, upstream))?;
            (Rc::clone(selected.upstream), selected.is_preferred)
        };
        let sent = self.calls.borrow_mut().send(key, &upstream);
        if sent == SendResult::Queued {
            upstream.breaker.sent();
            self.observer.sent(is_preferred);
        }
        Some(sent)
    }

    pub(super) fn fail(&self, key: u64, failure: FailureKind, text: &'static str) {
        let call = self.calls.borrow_mut().remove(key);
        if let Some(origin) = call {
            self.handler.complete(origin, &RelayResult::Failed(failure, text));
        }
    }

    /// Ends calls whose time is over, and retries those that wait.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        self.throughput.update(now, self.calls.borrow().waiting());
        let is_alone = self.is_alone(now);
        if self.calls.borrow().len() == 0 {
            return;
        }
        for upstream in self.upstreams.borrow().iter() {
            upstream.assume_room();
        }
        self.dispatch_waiting();
        self.fail_late(now);
        if is_alone {
            let waited_long = self.calls.borrow().waiting_since_before(now, self.settings.worker_wait);
            for key in waited_long {
                self.observer.waiting(-1);
                self.fail(key, FailureKind::NoWorker, NO_WORKER);
            }
        }
        self.handler.batch_complete();
    }

    /// Whether no worker has been connected for `DIFFYNE_WORKER_WAIT`.
    fn is_alone(&self, now: Instant) -> bool {
        if self.upstreams.borrow().iter().any(|upstream| upstream.is_connected()) {
            self.alone_since.set(None);
            return false;
        }
        let since = self.alone_since.get().unwrap_or(now);
        self.alone_since.set(Some(since));
        now.duration_since(since) >= self.settings.worker_wait
    }

    /// Ends the calls whose deadline has passed.
    fn fail_late(&self, now: Instant) {
        let late = self.calls.borrow().late(now);
        for (key, state) in late {
            match state {
                CallState::Sent(upstream) => {
                    upstream.send(&Frame::Cancel(CallId { id: key }));
                    // A client that does not read says nothing about the worker.
                    if !self.handler.waits_for_client(key) {
                        upstream.failed("a call ran out of time");
                    }
                    self.fail(key, FailureKind::Timeout, TIMED_OUT);
                }
                CallState::Waiting | CallState::New => {
                    self.observer.waiting(-1);
                    self.fail(key, FailureKind::Overloaded, NOT_FREE_IN_TIME);
                }
            }
        }
    }
}
