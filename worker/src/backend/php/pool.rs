//! A pool of PHP processes: as many as run calls, and one that is warm to take the place of one that ends.
//!
//! Everything here lives on one thread, which the processes die with. A process takes a call when it holds one of the
//! places; there is one place less than there are processes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use diffyne_shared::backoff::Backoff;
use diffyne_shared::settings::php::PhpSettings;
use serde_json::Value;
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::time::Instant;

use super::process::{Ended, Process};
use crate::backend::translation::Told;

/// Processes beyond those that run calls.
const SPARE: usize = 1;
/// How often the pool looks after itself.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A call that waited this long asks for one more process.
const GROW_AFTER: Duration = Duration::from_millis(50);
/// A pool that had a place free for this long lets one process go.
const SHRINK_AFTER: Duration = Duration::from_secs(30);
/// Starts that fail are tried again after this at first,
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// and after this at last.
const RETRY_LAST: Duration = Duration::from_secs(30);

/// A call for the pool.
pub(super) struct Call {
    pub(super) head: Value,
    pub(super) payload: Vec<u8>,
    pub(super) deadline: Instant,
    pub(super) since: Instant,
    pub(super) answer: oneshot::Sender<(Told, Vec<u8>)>,
}

/// What can be seen of a pool from outside.
#[derive(Debug, Clone, Default)]
pub struct PoolState {
    /// Processes that are ready.
    pub ready: usize,
    /// Processes ended against their will, since the start.
    pub lost: u64,
    /// Why none could be started the last time, if so.
    pub fault: Option<String>,
}

/// The pool.
pub(super) struct Pool {
    settings: PhpSettings,
    queue: RefCell<VecDeque<Call>>,
    queued: Notify,
    places: Semaphore,
    /// Places in the semaphore, held or not.
    target: Cell<usize>,
    /// Processes of this generation that are ready or starting.
    current: Cell<usize>,
    /// Grows with each reload: older processes go as newer ones are ready.
    generation: Cell<u32>,
    /// There may be one process too many: each looks whether it is the one to go.
    leave: Notify,
    busy_at: Cell<Instant>,
    state: watch::Sender<PoolState>,
}

impl Pool {
    pub(super) fn new(settings: PhpSettings, state: watch::Sender<PoolState>) -> Rc<Self> {
        Rc::new(Self {
            places: Semaphore::new(settings.processes_min),
            target: Cell::new(settings.processes_min),
            settings,
            queue: RefCell::default(),
            queued: Notify::new(),
            current: Cell::new(0),
            generation: Cell::new(0),
            leave: Notify::new(),
            busy_at: Cell::new(Instant::now()),
            state,
        })
    }

    /// Takes a call; its answer comes by its own channel.
    pub(super) fn submit(&self, call: Call) {
        let fault = self.state.borrow().fault.clone();
        if let Some(fault) = fault.filter(|_| self.state.borrow().ready == 0) {
            return answer(call, Told::broken(format!("the application does not start: {fault}")), Vec::new());
        }
        self.queue.borrow_mut().push_back(call);
        self.queued.notify_one();
    }

    /// Replaces all processes, one after the other.
    pub(super) fn reload(&self) {
        self.generation.set(self.generation.get() + 1);
        self.current.set(0);
    }

    /// Keeps as many processes as are wanted, until the thread ends.
    pub(super) async fn keep(self: Rc<Self>) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LAST);
        loop {
            self.adapt();
            if self.current.get() >= self.target.get() + SPARE {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            let generation = self.generation.get();
            self.current.set(self.current.get() + 1);
            match Process::start(&self.settings).await {
                Ok(process) => {
                    backoff.reset();
                    self.state.send_modify(|state| {
                        state.ready += 1;
                        state.fault = None;
                    });
                    self.leave.notify_waiters();
                    tokio::task::spawn_local(Rc::clone(&self).serve(process, generation));
                }
                Err(error) => {
                    self.one_less(generation);
                    let wait = backoff.wait();
                    tracing::error!(%error, retry = ?wait, "PHP does not start");
                    self.fail_waiting(&error.to_string());
                    self.state.send_modify(|state| state.fault = Some(error.to_string()));
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    fn one_less(&self, generation: u32) {
        if generation == self.generation.get() {
            self.current.set(self.current.get().saturating_sub(1));
        }
    }

    /// Nobody is there, and nobody comes soon.
    fn fail_waiting(&self, fault: &str) {
        if self.state.borrow().ready > 0 {
            return;
        }
        for call in self.queue.take() {
            answer(call, Told::broken(format!("the application does not start: {fault}")), Vec::new());
        }
    }

    /// Grows when calls wait, and shrinks when places stay free.
    fn adapt(&self) {
        let now = Instant::now();
        let target = self.target.get();
        let waits = self.queue.borrow().front().is_some_and(|call| now.duration_since(call.since) > GROW_AFTER);
        if self.places.available_permits() == 0 || waits {
            self.busy_at.set(now);
        }
        if waits && target < self.settings.processes_max && self.current.get() >= target + SPARE {
            self.target.set(target + 1);
            self.places.add_permits(1);
            tracing::debug!(processes = target + 1, "the pool grows");
        } else if target > self.settings.processes_min
            && now.duration_since(self.busy_at.get()) > SHRINK_AFTER
            && self.places.forget_permits(1) == 1
        {
            self.target.set(target - 1);
            self.busy_at.set(now);
            self.leave.notify_waiters();
            tracing::debug!(processes = target - 1, "the pool shrinks");
        }
    }

    /// Whether there is one too many: of all that are ready for an older process, of its own for a newer one.
    fn may_leave(&self, generation: u32) -> bool {
        let older = generation < self.generation.get();
        let processes = if older { self.state.borrow().ready } else { self.current.get() };
        processes > self.target.get() + SPARE
    }

    /// Lets one process run calls until it ends.
    async fn serve(self: Rc<Self>, mut process: Process, generation: u32) {
        let why = self.work(&mut process, generation).await;
        tracing::debug!(process = process.id, calls = process.calls, why, "a PHP process has ended");
        self.one_less(generation);
        self.state.send_modify(|state| state.ready = state.ready.saturating_sub(1));
        process.end().await;
    }

    async fn work(&self, process: &mut Process, generation: u32) -> &'static str {
        loop {
            if self.may_leave(generation) {
                return "it is replaced";
            }
            let place = tokio::select! {
                place = self.places.acquire() => place,
                () = self.leave.notified() => continue,
                status = process.gone() => {
                    tracing::warn!(process = process.id, status, "a PHP process ended while it had nothing to do");
                    return "it ended";
                }
            };
            let next = self.queue.borrow_mut().pop_front();
            let Some(call) = next else {
                drop(place);
                tokio::select! {
                    () = self.queued.notified() => {}
                    () = self.leave.notified() => {}
                    _ = process.gone() => return "it ended",
                }
                continue;
            };
            if call.deadline <= Instant::now() || call.answer.is_closed() {
                continue;
            }
            match process.run(&call.head, &call.payload, call.deadline).await {
                Ended::Answered(told, body) => answer(call, told, body),
                Ended::AnsweredLast(told) => {
                    // Not a crash: users may not slow the pool down by it.
                    answer(call, told, Vec::new());
                    return "a call ended it";
                }
                Ended::Died(how) => {
                    self.state.send_modify(|state| state.lost += 1);
                    tracing::error!(process = process.id, how, "a PHP process died in a call");
                    answer(call, Told::broken("the PHP process died".to_owned()), Vec::new());
                    return "it died";
                }
                Ended::Late => {
                    self.state.send_modify(|state| state.lost += 1);
                    tracing::error!(process = process.id, "a call took too long, so its PHP process was killed");
                    answer(call, Told::late(), Vec::new());
                    return "its call took too long";
                }
            }
            if !process.settle().await {
                return "it did not tidy up";
            }
            drop(place);
            if process.calls >= process.calls_max {
                return "it has run its number of calls";
            }
            if process.memory() > self.settings.memory_max {
                return "it occupies too much memory";
            }
        }
    }
}

fn answer(call: Call, told: Told, body: Vec<u8>) {
    // The gateway may have gone.
    let _ = call.answer.send((told, body));
}
