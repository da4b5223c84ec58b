//! The processes of a pool and the calls that wait for them: which call gets which process.
//!
//! While no process is free, a waiting call is posted behind one that runs: it lies in the process's inbox, so that the
//! process goes on without waiting for the worker. Where the running call takes long, or another process has nothing else
//! to do, the posted call is taken back and runs there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::inbox::Inbox;

/// A call that has run for so long may run much longer: none is posted behind it, and one that is may be taken back.
const SLOW_AFTER: Duration = Duration::from_millis(5);

/// A process of the pool.
pub(super) trait PooledProcess {
    /// Its number.
    fn id(&self) -> u32;
    /// Where its next call can lie.
    fn inbox(&self) -> &Arc<Inbox>;
}

/// Calls that wait for a slot or a process.
pub(super) struct QueueLength {
    pub(super) calls: usize,
    pub(super) longest_wait: Duration,
}

/// The slots for running calls.
pub(super) struct SlotCounts {
    pub(super) total: usize,
    pub(super) free: usize,
    /// Whether all processes for them are ready or starting.
    pub(super) have_processes: bool,
}

/// A call that waits, with the type of what it gets.
pub(super) struct WaitingCall<L> {
    pub(super) number: u64,
    pub(super) since: Instant,
    /// The call as processes read it; `None` when it is too large to be posted.
    pub(super) frame: Option<Vec<u8>>,
    pub(super) granted: oneshot::Sender<Grant<L>>,
}

/// What becomes of a waiting call.
pub(super) enum Grant<L> {
    /// It runs on this process, which has been sent it or not.
    Process { lease: L, is_sent: bool },
    /// The process with this number had begun to read it, and is gone.
    Lost(u32),
}

/// A process that has a slot.
struct BusyProcess<L> {
    id: u32,
    inbox: Arc<Inbox>,
    stage: Stage,
    /// Since when its call runs, or since when it cleans up.
    since: Instant,
    /// The call behind the one that runs.
    posted: Option<WaitingCall<L>>,
}

/// What a busy process does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It takes no further call: the present one is not yet written, or it is to be replaced.
    Closed,
    Running,
    CleaningUp,
}

/// What a process does after its reply.
pub(super) enum Next<L> {
    /// It runs this call, which it has been sent or not.
    Run(WaitingCall<L>, bool),
    /// It cleans up and waits. A call may be posted meanwhile.
    CleanUp,
}

/// The processes of a pool, and the calls that wait for them.
pub(super) struct ProcessTable<P, L> {
    /// Processes that wait for a call. The last one is taken: its memory is warm in the caches.
    idle: Vec<P>,
    busy: Vec<BusyProcess<L>>,
    /// Calls that wait, the oldest first.
    queue: VecDeque<WaitingCall<L>>,
    last_number: u64,
    /// Slots, free or not.
    pub(super) slots: usize,
    /// Slots that are free.
    free: usize,
    /// Grows with each reload. Older processes exit as newer ones get ready.
    pub(super) generation: u32,
    /// Processes of this generation that are ready or starting.
    pub(super) current: usize,
}

impl<P: PooledProcess, L> ProcessTable<P, L> {
    /// Without processes, with so many slots.
    pub(super) fn with_slots(slots: usize) -> Self {
        Self {
            idle: Vec::new(),
            busy: Vec::new(),
            queue: VecDeque::new(),
            last_number: 0,
            slots,
            free: slots,
            generation: 0,
            current: 0,
        }
    }

    /// A process and a slot for a call that has just come. It is [open](Self::open) for another call once it has been sent
    /// this one.
    pub(super) fn take_idle(&mut self) -> Option<P> {
        let process = if self.free > 0 { self.idle.pop() } else { None }?;
        self.free -= 1;
        self.busy.push(BusyProcess::with_call(&process));
        Some(process)
    }

    /// Lets a call be posted behind the one that a process has been sent.
    pub(super) fn open(&mut self, id: u32) {
        let Some(at) = self.position(id) else { return };
        self.busy[at].stage = Stage::Running;
        self.post_next(at);
    }

    /// Adds a call that waits: behind one that runs, or to the queue. Its number.
    pub(super) fn wait(&mut self, frame: Option<Vec<u8>>, granted: oneshot::Sender<Grant<L>>) -> u64 {
        self.last_number += 1;
        let call = WaitingCall { number: self.last_number, since: Instant::now(), frame, granted };
        let at = if self.queue.is_empty() { self.soonest() } else { None };
        let refused = match at {
            Some(at) => self.busy[at].post(call).err(),
            None => Some(call),
        };
        self.queue.extend(refused);
        self.last_number
    }

    /// The process that will probably be free first.
    fn soonest(&self) -> Option<usize> {
        let now = Instant::now();
        let takes_call = |process: &BusyProcess<L>| {
            process.posted.is_none() && process.stage != Stage::Closed && now.duration_since(process.since) < SLOW_AFTER
        };
        let open = self.busy.iter().enumerate().filter(|(_, process)| takes_call(process));
        open.min_by_key(|(_, process)| (process.stage == Stage::Running, process.since)).map(|(at, _)| at)
    }

    /// Removes a call that no longer waits.
    pub(super) fn withdraw(&mut self, number: u64) {
        if let Some(at) = self.queue.iter().position(|call| call.number == number) {
            self.queue.remove(at);
            return;
        }
        let behind = |process: &&mut BusyProcess<L>| process.posted.as_ref().is_some_and(|call| call.number == number);
        if let Some(process) = self.busy.iter_mut().find(behind) {
            // If the process has begun to read it, it ends with its reply, which nobody takes.
            process.take_back();
        }
    }

    /// What a process does after its reply. One that `continues` takes further calls.
    pub(super) fn after_reply(&mut self, id: u32, continues: bool) -> Next<L> {
        let Some(at) = self.position(id) else { return Next::CleanUp };
        self.busy[at].stage = if continues { Stage::Running } else { Stage::Closed };
        if let Some(call) = self.run_posted(at) {
            return Next::Run(call, true);
        }
        if continues && let Some(mut call) = self.next_waiting(SLOW_AFTER) {
            let process = &mut self.busy[at];
            process.since = Instant::now();
            let is_sent = call.frame.as_mut().is_some_and(|frame| process.inbox.post_behind(frame));
            if is_sent {
                process.inbox.advance();
                self.post_next(at);
            } else {
                process.stage = Stage::Closed;
            }
            return Next::Run(call, is_sent);
        }
        if continues {
            self.busy[at].stage = Stage::CleaningUp;
        }
        self.busy[at].since = Instant::now();
        Next::CleanUp
    }

    /// The call that was posted while a process cleaned up. Without one, the process takes none any more.
    pub(super) fn take_posted(&mut self, id: u32) -> Option<WaitingCall<L>> {
        let at = self.position(id)?;
        let is_open = self.busy[at].stage != Stage::Closed && self.busy[at].posted.is_some();
        self.busy[at].stage = if is_open { Stage::Running } else { Stage::Closed };
        self.run_posted(at)
    }

    /// Posts no more calls to a process, and takes back what lies there; whether the process has begun none of it.
    pub(super) fn close(&mut self, id: u32) -> bool {
        let Some(at) = self.position(id) else { return true };
        let process = &mut self.busy[at];
        process.stage = Stage::Closed;
        if let Some(call) = process.take_back() {
            self.queue_again(call);
        }
        self.busy[at].posted.is_none()
    }

    /// Lets a process go on with the call behind the one that it has answered.
    fn run_posted(&mut self, at: usize) -> Option<WaitingCall<L>> {
        let process = &mut self.busy[at];
        let call = process.posted.take()?;
        process.inbox.advance();
        process.since = Instant::now();
        self.post_next(at);
        Some(call)
    }

    /// Posts the next call behind the one that a process runs.
    fn post_next(&mut self, at: usize) {
        if self.busy[at].stage != Stage::Running {
            return;
        }
        if let Some(call) = self.next_waiting(SLOW_AFTER)
            && let Err(call) = self.busy[at].post(call)
        {
            self.queue.push_front(call);
        }
    }

    /// The call that has waited longest: in the queue, or behind one that has run for so long.
    fn next_waiting(&mut self, runs_for: Duration) -> Option<WaitingCall<L>> {
        self.take_back_stuck(runs_for).or_else(|| self.next_queued())
    }

    fn next_queued(&mut self) -> Option<WaitingCall<L>> {
        self.forget_given_up();
        self.queue.pop_front()
    }

    /// Drops calls at the front of the queue whose callers have left.
    fn forget_given_up(&mut self) {
        while self.queue.front().is_some_and(|call| call.granted.is_closed()) {
            self.queue.pop_front();
        }
    }

    /// Ends a busy process's hold of its slot. What was posted to it waits again; it is returned when it has been read.
    pub(super) fn end(&mut self, id: u32) -> Option<WaitingCall<L>> {
        let at = self.position(id)?;
        let mut process = self.busy.swap_remove(at);
        self.free += 1;
        match process.take_back() {
            Some(call) => self.queue_again(call),
            None => return process.posted,
        }
        None
    }

    /// Makes a busy process that has cleaned up an idle one.
    pub(super) fn end_idle(&mut self, process: P) {
        if let Some(at) = self.position(process.id()) {
            self.busy.swap_remove(at);
            self.free += 1;
        }
        self.idle.push(process);
    }

    /// Adds a process that has started.
    pub(super) fn add_idle(&mut self, process: P) {
        self.idle.push(process);
    }

    /// Takes out an idle process for which this holds.
    pub(super) fn take_idle_if(&mut self, is_wanted: impl Fn(&Self, &P) -> bool) -> Option<P> {
        let at = self.idle.iter().position(|process| is_wanted(self, process))?;
        Some(self.idle.remove(at))
    }

    /// A waiting call for which a process and a slot are free, and the process, which has not been sent it.
    pub(super) fn next_grant(&mut self) -> Option<(WaitingCall<L>, P)> {
        if self.free == 0 || self.idle.is_empty() {
            return None;
        }
        self.forget_given_up();
        // With nothing else to do, it takes over from any.
        let runs_for = if self.queue.is_empty() { Duration::ZERO } else { SLOW_AFTER };
        let call = self.next_waiting(runs_for)?;
        let process = self.take_idle()?;
        Some((call, process))
    }

    /// Takes back the call that has waited longest behind one that has run for so long, if none in the queue is older.
    fn take_back_stuck(&mut self, runs_for: Duration) -> Option<WaitingCall<L>> {
        let now = Instant::now();
        let oldest = self.queue.front().map_or(u64::MAX, |call| call.number);
        let is_stuck = |process: &&mut BusyProcess<L>| {
            process.posted.as_ref().is_some_and(|call| call.number < oldest)
                && now.duration_since(process.since) >= runs_for
        };
        let mut stuck: Vec<_> = self.busy.iter_mut().filter(is_stuck).collect();
        stuck.sort_by_key(|process| process.posted.as_ref().map(|call| call.number));
        stuck.into_iter().find_map(BusyProcess::take_back)
    }

    /// Puts a call back to where it belongs by its age.
    fn queue_again(&mut self, call: WaitingCall<L>) {
        let at = self.queue.iter().position(|other| other.number > call.number).unwrap_or(self.queue.len());
        self.queue.insert(at, call);
    }

    fn position(&self, id: u32) -> Option<usize> {
        self.busy.iter().position(|process| process.id == id)
    }

    /// Adds a free slot.
    pub(super) fn add_slot(&mut self) {
        self.slots += 1;
        self.free += 1;
    }

    /// Removes a slot, if one is free.
    pub(super) fn remove_slot(&mut self) -> bool {
        let is_free = self.free > 0;
        self.free -= usize::from(is_free);
        self.slots -= usize::from(is_free);
        is_free
    }

    pub(super) fn free_slots(&self) -> usize {
        self.free
    }

    pub(super) fn queue(&self) -> QueueLength {
        let posted = self.busy.iter().filter_map(|process| process.posted.as_ref());
        let waiting = posted.chain(&self.queue);
        let (mut calls, mut oldest) = (0, None);
        for call in waiting {
            calls += 1;
            oldest = Some(oldest.map_or(call.since, |oldest: Instant| oldest.min(call.since)));
        }
        QueueLength { calls, longest_wait: oldest.map_or(Duration::ZERO, |oldest| oldest.elapsed()) }
    }
}

impl<L> BusyProcess<L> {
    /// A process that gets its first call.
    fn with_call(process: &impl PooledProcess) -> Self {
        Self {
            id: process.id(),
            inbox: Arc::clone(process.inbox()),
            stage: Stage::Closed,
            since: Instant::now(),
            posted: None,
        }
    }

    /// Posts a call behind the one that runs. The error is the call, when there is no room for it.
    fn post(&mut self, mut call: WaitingCall<L>) -> Result<(), WaitingCall<L>> {
        if !call.frame.as_mut().is_some_and(|frame| self.inbox.post_behind(frame)) {
            return Err(call);
        }
        self.posted = Some(call);
        Ok(())
    }

    /// Takes the posted call back, unless the process has begun to read it.
    fn take_back(&mut self) -> Option<WaitingCall<L>> {
        if self.posted.is_some() && self.inbox.take_back() { self.posted.take() } else { None }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
