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
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::time::Instant;

use super::figures::Figures;
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

/// The last gateway has been gone for this long: the connection's status is another.
const GONE_AFTER: Duration = Duration::from_secs(1);
/// The status is told so often in the time that it lives.
const TOLD_PER_LIFE: u32 = 3;

/// Who is connected to the worker.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Gateways {
    pub(super) connected: usize,
    /// The worker is on its way out: gateways leave it, and not the cluster.
    pub(super) draining: bool,
}

/// Why a process ends.
#[derive(Debug, Clone, Copy)]
enum Why {
    Replaced,
    Idle,
    LastCall,
    Died,
    Late,
    Untidy,
    Calls,
    Memory,
}

impl Why {
    /// The label of metrics.
    fn label(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::Idle => "ended_idle",
            Self::LastCall => "ended_by_call",
            Self::Died => "died",
            Self::Late => "call_too_long",
            Self::Untidy => "not_tidied_up",
            Self::Calls => "max_calls",
            Self::Memory => "max_memory",
        }
    }
}

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
    /// Processes that are to be replaced by newer ones.
    pub older: usize,
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
    gateways: Cell<Gateways>,
    /// Since when no gateway is connected.
    alone_since: Cell<Instant>,
    /// What the application's cache was told of the connection, and when.
    told: Cell<Option<(bool, Instant)>>,
    status_ttl: Duration,
    figures: Figures,
    state: watch::Sender<PoolState>,
}

impl Pool {
    pub(super) fn new(
        settings: PhpSettings,
        status_ttl: Duration,
        figures: Figures,
        state: watch::Sender<PoolState>,
    ) -> Rc<Self> {
        Rc::new(Self {
            gateways: Cell::default(),
            alone_since: Cell::new(Instant::now()),
            told: Cell::default(),
            status_ttl,
            figures,
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

    /// Gateways came or went.
    pub(super) fn gateways(&self, gateways: Gateways) {
        if gateways.connected == 0 {
            self.alone_since.set(Instant::now());
        }
        self.gateways.set(gateways);
    }

    /// Tells the application's cache of the connection, before the last word is forgotten.
    fn tell_status(&self) {
        let (now, gateways) = (Instant::now(), self.gateways.get());
        let connected = gateways.connected > 0;
        let due = match self.told.get() {
            _ if gateways.draining || self.state.borrow().ready == 0 => false,
            Some((true, _)) if !connected => now.duration_since(self.alone_since.get()) > GONE_AFTER,
            Some((true, at)) => now.duration_since(at) > self.status_ttl / TOLD_PER_LIFE,
            // Another worker may have gateways, so only one that had them says that they are gone.
            _ => connected,
        };
        if !due {
            return;
        }
        self.told.set(Some((connected, now)));
        let status = if connected { "connected" } else { "disconnected" };
        let (answer, answered) = oneshot::channel();
        self.submit(Call {
            head: json!({"kind": "status", "status": status, "seconds": self.status_ttl.as_secs().max(1)}),
            payload: Vec::new(),
            deadline: now + self.status_ttl,
            since: now,
            answer,
        });
        tokio::task::spawn_local(async move {
            if let Ok((told, _)) = answered.await
                && let Some(error) = told.error()
            {
                tracing::warn!(error, "the connection's status was not written into the application's cache");
            }
        });
    }

    /// Replaces all processes, one after the other.
    pub(super) fn reload(&self) {
        self.generation.set(self.generation.get() + 1);
        self.current.set(0);
        self.state.send_modify(|state| state.older = state.ready);
    }

    /// Keeps as many processes as are wanted, until the thread ends.
    pub(super) async fn keep(self: Rc<Self>) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LAST);
        loop {
            self.adapt();
            self.tell_status();
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
                    self.figures.ready.inc();
                    tokio::task::spawn_local(Rc::clone(&self).serve(process, generation));
                }
                Err(error) => {
                    self.one_less(generation);
                    self.figures.start_failures.inc();
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
        self.figures.places.set(target as i64);
        self.figures.queued.set(self.queue.borrow().len() as i64);
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
        tracing::debug!(process = process.id, calls = process.calls, why = why.label(), "a PHP process has ended");
        self.figures.ended.with_label_values(&[why.label()]).inc();
        self.figures.ready.dec();
        self.one_less(generation);
        let is_older = generation < self.generation.get();
        self.state.send_modify(|state| {
            state.ready = state.ready.saturating_sub(1);
            state.older = state.older.saturating_sub(usize::from(is_older));
        });
        process.end().await;
    }

    async fn work(&self, process: &mut Process, generation: u32) -> Why {
        loop {
            if self.may_leave(generation) {
                return Why::Replaced;
            }
            let place = tokio::select! {
                place = self.places.acquire() => place,
                () = self.leave.notified() => continue,
                status = process.gone() => {
                    tracing::warn!(process = process.id, status, "a PHP process ended while it had nothing to do");
                    return Why::Idle;
                }
            };
            let next = self.queue.borrow_mut().pop_front();
            let Some(call) = next else {
                drop(place);
                tokio::select! {
                    () = self.queued.notified() => {}
                    () = self.leave.notified() => {}
                    _ = process.gone() => return Why::Idle,
                }
                continue;
            };
            if call.deadline <= Instant::now() || call.answer.is_closed() {
                continue;
            }
            self.figures.wait.observe(call.since.elapsed().as_secs_f64());
            match process.run(&call.head, &call.payload, call.deadline).await {
                Ended::Answered(told, body) => answer(call, told, body),
                Ended::AnsweredLast(told) => {
                    // Not a crash: users may not slow the pool down by it.
                    answer(call, told, Vec::new());
                    return Why::LastCall;
                }
                Ended::Died(how) => {
                    tracing::error!(process = process.id, how, "a PHP process died in a call");
                    answer(call, Told::broken("the PHP process died".to_owned()), Vec::new());
                    return Why::Died;
                }
                Ended::Late => {
                    tracing::error!(process = process.id, "a call took too long, so its PHP process was killed");
                    answer(call, Told::late(), Vec::new());
                    return Why::Late;
                }
            }
            if !process.settle().await {
                return Why::Untidy;
            }
            drop(place);
            if process.calls >= process.calls_max {
                return Why::Calls;
            }
            let memory = process.memory();
            self.figures.memory.set(memory as i64);
            if memory > self.settings.memory_max {
                return Why::Memory;
            }
        }
    }
}

fn answer(call: Call, told: Told, body: Vec<u8>) {
    // The gateway may have gone.
    let _ = call.answer.send((told, body));
}
