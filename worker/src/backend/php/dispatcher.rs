//! Hands calls to PHP processes.
//!
//! A call takes a slot and the process that ran last, talks to the process on its own thread, and leaves it to clean up.
//! Where none is free, it waits in the [`ProcessTable`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use diffyne_shared::settings::php::{Affinity, PhpSettings};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::affinity::{CoreReservation, CpuCores};
use super::channel::CleanUp;
use super::exit_reason::ExitReason;
use super::frame;
use super::metrics::PoolMetrics;
use super::pool_status::PoolStatus;
use super::process::{CallOutcome, CallTime, PhpProcess};
use super::status::{CallLabel, ProcessList};
use super::table::{Grant, Next, ProcessTable, QueueLength, SlotCounts, WaitingCall};
use crate::backend::bridge_reply::BridgeReply;
use crate::call::Parts;

/// A larger call is sent to a process only when it can run there: while it waits, it is not kept a second time.
const POSTED_BYTES_MAX: usize = 64 * 1024;

/// Hands calls to processes.
pub(super) struct Dispatcher {
    table: Mutex<ProcessTable<PhpProcess, Lease>>,
    pub(super) state: PoolStatus,
    pub(super) metrics: PoolMetrics,
    /// What operators can see of each process.
    pub(super) processes: Arc<ProcessList>,
    memory_max: u64,
    spare: usize,
    /// `None` when the system decides where processes run.
    cores: Option<Arc<CpuCores>>,
}

/// A process with the slot for the call that it runs. The slot is free when this is dropped.
struct Lease {
    /// `None` once it is idle or has exited.
    process: Option<PhpProcess>,
    id: u32,
    has_slot: bool,
    core: Option<CoreReservation>,
    /// Whether the call waited for the slot or the process.
    has_waited: bool,
    dispatcher: Arc<Dispatcher>,
}

impl Lease {
    /// Makes the process exit.
    fn exit(mut self, reason: ExitReason) {
        if let Some(process) = self.process.take() {
            process.exit(reason);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Whoever gets the slot finds the core free.
        self.core = None;
        if !self.has_slot {
            return;
        }
        let lost = self.dispatcher.lock().end(self.id);
        if let Some(call) = lost {
            // Its caller may have left.
            let _ = call.granted.send(Grant::Lost(self.id));
        }
        self.dispatcher.dispatch();
    }
}

/// A call's place among those that wait, until it is dropped.
struct Waiting<'a> {
    dispatcher: &'a Dispatcher,
    /// `None` once it does not wait any more.
    number: Option<u64>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.dispatcher.lock().withdraw(number);
        }
    }
}

impl Waiting<'_> {
    /// The call has got what it waited for.
    fn end(mut self) {
        self.number = None;
    }
}

impl Dispatcher {
    pub(super) fn new(settings: &PhpSettings, spare: usize, metrics: PoolMetrics) -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::new(ProcessTable::with_slots(settings.processes_min)),
            state: PoolStatus::default(),
            metrics,
            processes: Arc::default(),
            memory_max: settings.memory_max,
            spare,
            cores: (settings.affinity == Affinity::Auto).then(CpuCores::of_this_worker),
        })
    }

    fn lock(&self) -> MutexGuard<'_, ProcessTable<PhpProcess, Lease>> {
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
        let mut waited = None;
        loop {
            let lease = self.acquire(head, payload, time.deadline).await;
            waited.get_or_insert_with(|| began.elapsed());
            let outcome = match lease {
                Ok(lease) => self.run_on(lease, label, time).await,
                Err(reply) => Some((reply, Vec::new())),
            };
            if let Some((reply, body)) = outcome {
                return (reply, body, waited.unwrap_or_default());
            }
        }
    }

    /// Runs something that is no component's call.
    pub(super) async fn run(
        self: &Arc<Self>,
        label: &CallLabel<'_>,
        head: &impl Serialize,
        deadline: Instant,
    ) -> (BridgeReply, Vec<u8>) {
        let time = CallTime { deadline, parts: &Parts::default() };
        let (reply, body, _) = self.run_call(label, head, b"", time).await;
        (reply, body)
    }

    /// Runs a call on the process that has been sent it; `None` when the process has not run it. The process cleans up
    /// afterwards, which the call does not wait for.
    async fn run_on(
        self: &Arc<Self>,
        mut lease: Lease,
        label: &CallLabel<'_>,
        time: CallTime<'_>,
    ) -> Option<(BridgeReply, Vec<u8>)> {
        self.bind_to_core(&mut lease);
        let id = lease.id;
        let process = lease.process.as_mut()?;
        // Nobody waits for a client that reads a stream slowly.
        let on_first_part = || self.close(id);
        let (reply, reason) = match process.run(label, time, &on_first_part).await {
            CallOutcome::Replied(reply, body) => {
                self.release(lease);
                return Some((reply, body));
            }
            CallOutcome::NotRun => {
                // The process exited without having read the call: another one runs it.
                lease.exit(ExitReason::CleanUpFailed);
                return None;
            }
            CallOutcome::NotRunUnclean(leftover) => {
                self.metrics.count_leftover(lease.id, &leftover);
                lease.exit(ExitReason::Unclean);
                return None;
            }
            // Not a crash, so the pool does not slow down: users can cause this at will.
            CallOutcome::RepliedLast(reply) => (reply, ExitReason::LastCall),
            CallOutcome::Died(how) => (died(lease.id, &how), ExitReason::Died),
            CallOutcome::TimedOut => {
                tracing::warn!(
                    process = lease.id,
                    request = label.request_id,
                    "a PHP process is killed: its call is out of time"
                );
                (BridgeReply::timed_out(), ExitReason::CallTimedOut)
            }
        };
        lease.exit(reason);
        Some((reply, Vec::new()))
    }

    /// Binds the process to a core of its own while calls wait; otherwise the system moves it freely.
    fn bind_to_core(&self, lease: &mut Lease) {
        let (Some(cores), Some(process)) = (&self.cores, &mut lease.process) else { return };
        if !lease.has_waited || self.lock().slots != cores.count() {
            lease.core = None;
        } else if lease.core.is_none() {
            lease.core = cores.reserve(process.core);
        }
        let core = lease.core.as_ref().map(CoreReservation::number);
        if process.core != core {
            process.core = core;
            if let Err(error) = cores.bind(process.id, core) {
                // The process has just exited, or runs as another user.
                tracing::debug!(process = process.id, %error, "a PHP process is not bound to a core");
            }
        }
    }

    /// Waits for a slot and a process, which has been sent the call then; the error is the reply when there is none.
    async fn acquire(
        self: &Arc<Self>,
        head: &impl Serialize,
        payload: &[u8],
        deadline: Instant,
    ) -> Result<Lease, BridgeReply> {
        let encode = || frame::encode(0, head, payload);
        let broken = |error: std::io::Error| BridgeReply::broken(error.to_string());
        let frame = encode().map_err(broken)?;
        let (granted, grant) = oneshot::channel();
        let waiting = {
            let mut table = self.lock();
            if let Some(process) = table.take_idle() {
                drop(table);
                return Ok(self.send(self.lease(process, false), frame));
            }
            let posted = (frame.len() <= POSTED_BYTES_MAX).then_some(frame);
            Waiting { dispatcher: self, number: Some(table.wait(posted, granted)) }
        };
        let grant = tokio::select! {
            biased;
            grant = grant => grant,
            error = self.state.start_error() => return Err(not_started(&error)),
            () = tokio::time::sleep_until(deadline.into()) => return Err(BridgeReply::timed_out()),
        };
        waiting.end();
        match grant {
            Ok(Grant::Process { mut lease, is_sent: true }) => {
                if let Some(process) = &mut lease.process {
                    process.take_posted();
                }
                Ok(lease)
            }
            Ok(Grant::Process { lease, is_sent: false }) => Ok(self.send(lease, encode().map_err(broken)?)),
            Ok(Grant::Lost(process)) => Err(died(process, "it ended before it had replied")),
            Err(_closed) => Err(not_started("the pool is closed")),
        }
    }

    fn lease(self: &Arc<Self>, process: PhpProcess, has_waited: bool) -> Lease {
        let id = process.id;
        Lease { process: Some(process), id, has_slot: true, core: None, has_waited, dispatcher: Arc::clone(self) }
    }

    /// Sends a call to the process that runs it.
    fn send(&self, mut lease: Lease, frame: Vec<u8>) -> Lease {
        if lease.process.as_mut().is_some_and(|process| process.send(frame)) {
            self.lock().open(lease.id);
        }
        lease
    }

    /// Gives processes that are free to calls that wait.
    fn dispatch(self: &Arc<Self>) {
        loop {
            let next = self.lock().next_grant();
            let Some((call, process)) = next else { return };
            grant(call, self.lease(process, true), false);
        }
    }

    /// Releases a process that has replied. A waiting call gets it at once: the process reads the call when it has
    /// cleaned up.
    fn release(self: &Arc<Self>, lease: Lease) {
        let Some(process) = &lease.process else { return };
        let is_reusable = process.calls < process.calls_max && process.memory() <= self.memory_max;
        let mut table = self.lock();
        let continues = is_reusable && !self.is_surplus(&table, process.generation);
        match table.after_reply(lease.id, continues) {
            Next::Run(call, is_sent) => {
                drop(table);
                grant(call, lease, is_sent);
            }
            Next::CleanUp => {
                drop(table);
                tokio::spawn(Arc::clone(self).clean_up(lease));
            }
        }
    }

    /// Waits until a process has cleaned up after its reply, and puts it back or replaces it. Or it goes on with a call that
    /// was posted meanwhile.
    async fn clean_up(self: Arc<Self>, mut lease: Lease) {
        let Some(process) = &mut lease.process else { return };
        let cleaned_up = process.clean_up().await;
        let posted = match cleaned_up {
            CleanUp::Done | CleanUp::Begun => self.lock().take_posted(lease.id),
            // It may run that call, which nothing has been heard of.
            CleanUp::TimedOut if !self.close(lease.id) => self.lock().take_posted(lease.id),
            _ => None,
        };
        match posted {
            Some(call) => grant(call, lease, true),
            None => self.cleaned_up(lease, cleaned_up),
        }
    }

    /// Takes back what lies at a process; whether it has begun none of that.
    fn close(self: &Arc<Self>, id: u32) -> bool {
        let has_begun_none = self.lock().close(id);
        self.dispatch();
        has_begun_none
    }

    fn cleaned_up(self: &Arc<Self>, lease: Lease, cleaned_up: CleanUp) {
        let Some(process) = &lease.process else { return };
        match cleaned_up {
            CleanUp::Done if process.calls >= process.calls_max => lease.exit(ExitReason::MaxCalls),
            CleanUp::Done => {
                let memory = process.memory();
                self.metrics.memory.set(memory as i64);
                if memory > self.memory_max {
                    lease.exit(ExitReason::MaxMemory);
                } else {
                    self.put_back(lease);
                }
            }
            CleanUp::Unclean(leftover) => {
                self.metrics.count_leftover(lease.id, &leftover);
                lease.exit(ExitReason::Unclean);
            }
            CleanUp::Begun | CleanUp::TimedOut | CleanUp::Failed => lease.exit(ExitReason::CleanUpFailed),
        }
    }

    /// Makes a process available for the next call, or ends it when it is surplus.
    fn put_back(self: &Arc<Self>, mut lease: Lease) {
        let Some(process) = lease.process.take() else { return };
        lease.core = None;
        if let Some(process) = self.unless_surplus(process) {
            self.lock().end_idle(process);
            lease.has_slot = false;
            drop(lease);
            self.dispatch();
        }
    }

    /// Ends a process when it is surplus.
    fn unless_surplus(&self, process: PhpProcess) -> Option<PhpProcess> {
        let mut table = self.lock();
        if !self.is_surplus(&table, process.generation) {
            return Some(process);
        }
        self.uncount(&mut table, process.generation);
        drop(table);
        process.exit(ExitReason::Replaced);
        None
    }

    /// Whether there are more processes than wanted: of all generations for an outdated process, of its own for a
    /// current one.
    fn is_surplus(&self, table: &ProcessTable<PhpProcess, Lease>, generation: u32) -> bool {
        let is_outdated = generation < table.generation;
        let processes = if is_outdated { self.state.borrow().ready } else { table.current };
        processes > table.slots + self.spare
    }

    fn uncount(&self, table: &mut ProcessTable<PhpProcess, Lease>, generation: u32) {
        let is_outdated = generation < table.generation;
        if !is_outdated {
            table.current = table.current.saturating_sub(1);
        }
        self.metrics.ready.dec();
        self.state.ended(is_outdated);
    }

    /// Removes a process that has exited; `true` when it was idle, so that no call knows the reason.
    pub(super) fn remove(&self, id: u32, generation: u32, is_counted: bool) -> bool {
        let mut table = self.lock();
        if is_counted {
            self.uncount(&mut table, generation);
        }
        table.take_idle_if(|_, process| process.id == id).is_some()
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
        self.state.start_failed(error);
    }

    /// Adds a process that is ready. Outdated ones may exit now.
    pub(super) fn started(self: &Arc<Self>, process: PhpProcess) {
        self.metrics.ready.inc();
        self.state.started(process.release.clone());
        if let Some(process) = self.unless_surplus(process) {
            self.lock().add_idle(process);
            self.dispatch();
        }
        self.end_surplus();
    }

    fn end_surplus(&self) {
        loop {
            let mut table = self.lock();
            let Some(process) = table.take_idle_if(|table, process| self.is_surplus(table, process.generation)) else {
                return;
            };
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
        self.state.begin_generation();
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
        self.lock().queue()
    }

    pub(super) fn slots(&self) -> SlotCounts {
        let table = self.lock();
        SlotCounts {
            total: table.slots,
            free: table.free_slots(),
            have_processes: table.current >= table.slots + self.spare,
        }
    }

    /// Adds a slot.
    pub(super) fn grow(self: &Arc<Self>) {
        self.lock().add_slot();
        self.dispatch();
    }

    /// Removes a slot, if one is free.
    pub(super) fn shrink(&self) -> bool {
        let is_smaller = self.lock().remove_slot();
        if is_smaller {
            self.end_surplus();
        }
        is_smaller
    }
}

/// Gives a waiting call its process. If nobody waits any more, the process ends with what it has been sent.
fn grant(call: WaitingCall<Lease>, mut lease: Lease, is_sent: bool) {
    lease.has_waited = true;
    if let Err(Grant::Process { lease, is_sent: false }) = call.granted.send(Grant::Process { lease, is_sent }) {
        Arc::clone(&lease.dispatcher).put_back(lease);
    }
}

fn died(process: u32, how: &str) -> BridgeReply {
    BridgeReply::broken(format!("a PHP process died in a call: {how} (process {process})"))
}

fn not_started(error: &str) -> BridgeReply {
    BridgeReply::broken(format!("the application does not start: {error}"))
}
