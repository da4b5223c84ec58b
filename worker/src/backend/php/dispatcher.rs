//! Hands calls to PHP processes.
//!
//! A call takes a slot and the process that ran last, talks to the process on its own thread, and leaves it to clean up.
//! No other thread has to wake up for a call. A call that finds none free waits: it is handed a process with a slot, at
//! once where one cleans up, which reads the call when it is done. So it has to tell nobody that it is idle.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use diffyne_shared::settings::php::{Affinity, PhpSettings};
use futures_util::FutureExt as _;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{Notify, oneshot, watch};

use super::affinity::{CoreReservation, CpuCores};
use super::channel::CleanUp;
use super::exit_reason::ExitReason;
use super::metrics::PoolMetrics;
use super::process::{CallOutcome, CallTime, PhpProcess};
use super::status::{CallLabel, ProcessList};
use super::table::{ProcessTable, QueueLength, SlotCounts, WaitingCall};
use crate::backend::bridge_reply::BridgeReply;
use crate::call::Parts;

/// The pool's state for readiness checks and reloads.
#[derive(Debug, Clone, Default)]
pub(super) struct PoolState {
    /// Processes that are ready.
    pub(super) ready: usize,
    /// Processes of an older generation, which newer ones will replace.
    pub(super) outdated: usize,
    /// Why the newest code did not start, if its last start failed.
    pub(super) start_error: Option<String>,
    /// The release of the application, by the process that started last.
    pub(super) release: Option<Arc<str>>,
}

/// Hands calls to processes.
pub(super) struct Dispatcher {
    table: Mutex<ProcessTable>,
    pub(super) state: watch::Sender<PoolState>,
    pub(super) metrics: PoolMetrics,
    /// What operators can see of each process.
    pub(super) processes: Arc<ProcessList>,
    memory_max: u64,
    spare: usize,
    /// `None` when the system decides where processes run.
    cores: Option<Arc<CpuCores>>,
}

/// The permission to run one call: held while the call runs and while its process cleans up.
struct CallSlot {
    dispatcher: Arc<Dispatcher>,
    core: Option<CoreReservation>,
    /// Whether the call waited for others.
    has_waited: bool,
}

impl CallSlot {
    /// A slot that was counted as taken.
    fn new(dispatcher: &Arc<Dispatcher>, has_waited: bool) -> Self {
        Self { dispatcher: Arc::clone(dispatcher), core: None, has_waited }
    }
}

impl Drop for CallSlot {
    fn drop(&mut self) {
        // Whoever gets the slot finds the core free.
        self.core = None;
        let mut table = self.dispatcher.lock();
        table.free += 1;
        table.hand_over();
    }
}

/// A call's place among those that wait, until this is dropped.
struct Waiting<'a> {
    dispatcher: &'a Arc<Dispatcher>,
    number: u64,
    process: oneshot::Receiver<PhpProcess>,
    /// Whether it has waited for other calls, and not for the clean-up of a process.
    waits_for_calls: bool,
    is_over: bool,
}

impl Waiting<'_> {
    async fn process(&mut self) -> Result<(PhpProcess, CallSlot), BridgeReply> {
        let received = (&mut self.process).await;
        self.is_over = true;
        let process = received.map_err(|_| not_started("the pool is closed"))?;
        Ok((process, CallSlot::new(self.dispatcher, self.waits_for_calls)))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        self.process.close();
        if let Ok(process) = self.process.try_recv() {
            // It was handed over at the last moment.
            let slot = CallSlot::new(self.dispatcher, false);
            self.dispatcher.put_back(process);
            drop(slot);
        } else {
            let number = self.number;
            self.dispatcher.lock().waiting.retain(|call| call.number != number);
        }
    }
}

impl Dispatcher {
    pub(super) fn new(settings: &PhpSettings, spare: usize, metrics: PoolMetrics) -> Arc<Self> {
        let slots = settings.processes_min;
        Arc::new(Self {
            table: Mutex::new(ProcessTable::with_slots(slots)),
            state: watch::channel(PoolState::default()).0,
            metrics,
            processes: Arc::default(),
            memory_max: settings.memory_max,
            spare,
            cores: (settings.affinity == Affinity::Auto).then(CpuCores::of_this_worker),
        })
    }

    fn lock(&self) -> MutexGuard<'_, ProcessTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a component's call. Returns also how long it waited for its first process.
    pub(super) async fn run_call(
        self: &Arc<Self>,
        label: &CallLabel<'_>,
        head: &impl Serialize,
        payload: &[u8],
        time: CallTime<'_>,
    ) -> (BridgeReply, Vec<u8>, Duration) {
        let began = Instant::now();
        let acquired = self.acquire(time.deadline).await;
        let waited = began.elapsed();
        let (reply, body) = self.run_on(acquired, label, head, payload, time).await;
        (reply, body, waited)
    }

    /// Runs something that is no component's call.
    pub(super) async fn run(
        self: &Arc<Self>,
        label: &CallLabel<'_>,
        head: &impl Serialize,
        deadline: Instant,
    ) -> (BridgeReply, Vec<u8>) {
        let acquired = self.acquire(deadline).await;
        self.run_on(acquired, label, head, b"", CallTime { deadline, parts: &Parts::default() }).await
    }

    /// Runs a call on the process that it has got. Its process cleans up afterwards, which the call does not wait for.
    async fn run_on(
        self: &Arc<Self>,
        mut acquired: Result<(PhpProcess, CallSlot), BridgeReply>,
        label: &CallLabel<'_>,
        head: &impl Serialize,
        payload: &[u8],
        time: CallTime<'_>,
    ) -> (BridgeReply, Vec<u8>) {
        loop {
            let (mut process, mut slot) = match acquired {
                Ok(acquired) => acquired,
                Err(reply) => return (reply, Vec::new()),
            };
            self.bind_to_core(&mut process, &mut slot);
            let (reply, reason) = match process.run(label, head, payload, time).await {
                CallOutcome::Replied(reply, body) => {
                    self.release(process, slot);
                    return (reply, body);
                }
                CallOutcome::NotRun => {
                    // The process exited without having read the call: another one runs it.
                    process.exit(ExitReason::CleanUpFailed);
                    drop(slot);
                    acquired = self.acquire(time.deadline).await;
                    continue;
                }
                CallOutcome::NotRunUnclean(leftover) => {
                    self.metrics.count_leftover(process.id, &leftover);
                    process.exit(ExitReason::Unclean);
                    drop(slot);
                    acquired = self.acquire(time.deadline).await;
                    continue;
                }
                // Not a crash, so the pool does not slow down: users can cause this at will.
                CallOutcome::RepliedLast(reply) => (reply, ExitReason::LastCall),
                CallOutcome::Died(how) => {
                    tracing::error!(process = process.id, how, "a PHP process died in a call");
                    (BridgeReply::broken(format!("the PHP process died ({how})")), ExitReason::Died)
                }
                CallOutcome::TimedOut => {
                    tracing::warn!(
                        process = process.id,
                        request = label.request_id,
                        "a PHP process is killed: its call is out of time"
                    );
                    (BridgeReply::timed_out(), ExitReason::CallTimedOut)
                }
            };
            process.exit(reason);
            return (reply, Vec::new());
        }
    }

    /// Binds the process to a core of its own while calls wait; otherwise the system moves it freely.
    fn bind_to_core(&self, process: &mut PhpProcess, slot: &mut CallSlot) {
        let Some(cores) = &self.cores else { return };
        if slot.has_waited && self.lock().slots == cores.count() {
            slot.core = cores.reserve(process.core);
        }
        let core = slot.core.as_ref().map(CoreReservation::number);
        if process.core != core {
            process.core = core;
            if let Err(error) = cores.bind(process.id, core) {
                // The process has just exited, or runs as another user.
                tracing::debug!(process = process.id, %error, "a PHP process is not bound to a core");
            }
        }
    }

    /// Waits for a slot and a process; the error is the reply when there is none.
    async fn acquire(self: &Arc<Self>, deadline: Instant) -> Result<(PhpProcess, CallSlot), BridgeReply> {
        let mut waiting = {
            let mut table = self.lock();
            if let Some(process) = table.take_idle() {
                return Ok((process, CallSlot::new(self, false)));
            }
            self.wait(&mut table)
        };
        tokio::select! {
            biased;
            acquired = waiting.process() => acquired,
            error = self.start_error() => Err(not_started(&error)),
            () = tokio::time::sleep_until(deadline.into()) => Err(BridgeReply::timed_out()),
        }
    }

    /// Lets a call wait, and asks for a process that cleans up.
    fn wait(self: &Arc<Self>, table: &mut ProcessTable) -> Waiting<'_> {
        let is_cleaning = table.want_cleaning();
        table.last_waiting += 1;
        let (number, (sender, process)) = (table.last_waiting, oneshot::channel());
        let (since, thread) = (Instant::now(), std::thread::current().id());
        table.waiting.push_back(WaitingCall { number, since, thread, process: sender });
        Waiting { dispatcher: self, number, process, waits_for_calls: !is_cleaning, is_over: false }
    }

    /// Returns when no process is ready and the last start failed.
    async fn start_error(&self) -> String {
        let mut state = self.state.subscribe();
        loop {
            let error = {
                let now = state.borrow_and_update();
                now.start_error.clone().filter(|_| now.ready == 0)
            };
            if let Some(error) = error {
                return error;
            }
            if state.changed().await.is_err() {
                return "its thread has ended".to_owned();
            }
        }
    }

    /// Releases a process that has replied. A waiting call gets it at once: the process reads the call when it has
    /// cleaned up.
    fn release(self: &Arc<Self>, mut process: PhpProcess, slot: CallSlot) {
        let is_reusable = process.calls < process.calls_max && process.memory() <= self.memory_max;
        let mut table = self.lock();
        if is_reusable && !table.waiting.is_empty() {
            drop(table);
            self.put_back(process);
            return drop(slot);
        }
        let wanted = is_reusable.then(|| table.add_cleaning(&process));
        drop(table);
        tokio::spawn(Arc::clone(self).clean_up(process, slot, wanted));
    }

    /// Waits until a process has cleaned up after its reply, and puts it back or replaces it. A call that comes meanwhile
    /// gets it at once.
    async fn clean_up(self: Arc<Self>, mut process: PhpProcess, slot: CallSlot, mut wanted: Option<Arc<Notify>>) {
        let clean_up = loop {
            let clean_up = tokio::select! {
                biased;
                clean_up = process.clean_up() => Some(clean_up),
                () = until_wanted(wanted.as_deref()) => None,
            };
            if let Some(clean_up) = clean_up {
                if let Some(wanted) = wanted
                    && !self.lock().remove_cleaning(process.id)
                {
                    // It was wanted, too, which is of no interest any more.
                    let _ = wanted.notified().now_or_never();
                }
                break clean_up;
            }
            wanted = None;
            // Otherwise what it is to tell of its memory decides.
            if process.memory_now() <= self.memory_max {
                let mut table = self.lock();
                if !table.waiting.is_empty() {
                    drop(table);
                    self.put_back(process);
                    return drop(slot);
                }
                // Another process was sooner.
                wanted = Some(table.add_cleaning(&process));
            }
        };
        match clean_up {
            CleanUp::Done if process.calls >= process.calls_max => process.exit(ExitReason::MaxCalls),
            CleanUp::Done => {
                let memory = process.memory();
                self.metrics.memory.set(memory as i64);
                if memory > self.memory_max {
                    process.exit(ExitReason::MaxMemory);
                } else {
                    self.put_back(process);
                }
            }
            CleanUp::Unclean(leftover) => {
                self.metrics.count_leftover(process.id, &leftover);
                process.exit(ExitReason::Unclean);
            }
            CleanUp::Failed => process.exit(ExitReason::CleanUpFailed),
        }
        drop(slot);
    }

    /// Makes a process available for the next call, or ends it when it is surplus.
    fn put_back(&self, process: PhpProcess) {
        let mut table = self.lock();
        if self.is_surplus(&table, process.generation) {
            self.uncount(&mut table, process.generation);
            drop(table);
            return process.exit(ExitReason::Replaced);
        }
        table.idle.push(process);
        table.hand_over();
    }

    /// Whether there are more processes than wanted: of all generations for an outdated process, of its own for a
    /// current one.
    fn is_surplus(&self, table: &ProcessTable, generation: u32) -> bool {
        let is_outdated = generation < table.generation;
        let processes = if is_outdated { self.state.borrow().ready } else { table.current };
        processes > table.slots + self.spare
    }

    fn uncount(&self, table: &mut ProcessTable, generation: u32) {
        let is_outdated = generation < table.generation;
        if !is_outdated {
            table.current = table.current.saturating_sub(1);
        }
        self.metrics.ready.dec();
        self.state.send_modify(|state| {
            state.ready = state.ready.saturating_sub(1);
            state.outdated = state.outdated.saturating_sub(usize::from(is_outdated));
        });
    }

    /// Removes a process that has exited; `true` when it was idle, so that no call knows the reason.
    pub(super) fn remove(&self, id: u32, generation: u32, is_counted: bool) -> bool {
        let mut table = self.lock();
        if is_counted {
            self.uncount(&mut table, generation);
        }
        let before = table.idle.len();
        table.idle.retain(|process| process.id != id);
        table.idle.len() < before
    }

    /// Counts a process that is about to start, if one is missing; its generation.
    pub(super) fn reserve_process(&self) -> Option<u32> {
        let mut table = self.lock();
        (table.current < table.slots + self.spare).then(|| {
            table.current += 1;
            table.generation
        })
    }

    /// Uncounts a reserved process that did not start.
    pub(super) fn start_failed(&self, generation: u32, error: String) {
        let mut table = self.lock();
        self.metrics.start_failures.inc();
        if generation < table.generation {
            // A reload has begun meanwhile: the newest code has not failed yet.
            return;
        }
        table.current = table.current.saturating_sub(1);
        self.state.send_modify(|state| state.start_error = Some(error));
    }

    /// Adds a process that is ready. Outdated ones may exit now.
    pub(super) fn started(&self, process: PhpProcess) {
        self.metrics.ready.inc();
        self.state.send_modify(|state| {
            state.ready += 1;
            state.start_error = None;
            state.release.clone_from(&process.release);
        });
        self.put_back(process);
        self.end_surplus();
    }

    fn end_surplus(&self) {
        loop {
            let mut table = self.lock();
            let surplus = table.idle.iter().position(|process| self.is_surplus(&table, process.generation));
            let Some(at) = surplus else { return };
            let process = table.idle.remove(at);
            self.uncount(&mut table, process.generation);
            drop(table);
            process.exit(ExitReason::Replaced);
        }
    }

    /// Begins a new generation: all processes are outdated from now on.
    pub(super) fn begin_generation(&self) {
        let mut table = self.lock();
        table.generation += 1;
        table.current = 0;
        self.state.send_modify(|state| {
            state.outdated = state.ready;
            state.start_error = None;
        });
    }

    /// What operators are told of the pool and its processes.
    pub(super) fn report(&self) -> Value {
        let (queue, slots, generation) = (self.queue(), self.slots(), self.lock().generation);
        json!({
            "processes": self.processes.report(generation),
            "generation": generation,
            "slots": slots.total,
            "slots_free": slots.free,
            "calls_queued": queue.calls,
            "longest_wait_ms": u64::try_from(queue.longest_wait.as_millis()).unwrap_or(u64::MAX),
        })
    }

    pub(super) fn queue(&self) -> QueueLength {
        let table = self.lock();
        let longest_wait = table.waiting.front().map_or(Duration::ZERO, |call| call.since.elapsed());
        QueueLength { calls: table.waiting.len(), longest_wait }
    }

    pub(super) fn slots(&self) -> SlotCounts {
        let table = self.lock();
        SlotCounts { total: table.slots, free: table.free, have_processes: table.current >= table.slots + self.spare }
    }

    /// Adds a slot.
    pub(super) fn grow(&self) {
        let mut table = self.lock();
        table.slots += 1;
        table.free += 1;
        table.hand_over();
    }

    /// Removes a slot, if one is free.
    pub(super) fn shrink(&self) -> bool {
        let mut table = self.lock();
        if table.free == 0 {
            return false;
        }
        table.free -= 1;
        table.slots -= 1;
        drop(table);
        self.end_surplus();
        true
    }
}

/// Waits until a call wants the process; for ever, if none may have it.
async fn until_wanted(wanted: Option<&Notify>) {
    match wanted {
        Some(wanted) => wanted.notified().await,
        None => std::future::pending().await,
    }
}

fn not_started(error: &str) -> BridgeReply {
    BridgeReply::broken(format!("the application does not start: {error}"))
}
