//! The processes of a pool, and the calls that wait for them: which call gets which process.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use super::process::PhpProcess;

/// So many waiting calls of its own thread may a free process run before one of another thread that waits longer. They
/// wake no thread, and the process's socket stays with its runtime.
const OWN_THREAD_TURNS_MAX: u32 = 8;
/// So many waiting calls are looked at to find one of the own thread.
const SEARCHED_MAX: usize = 64;

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

/// The processes of a pool, and the calls that wait for them.
#[derive(Default)]
pub(super) struct ProcessTable {
    /// Processes that wait for a call. The last one is taken, even while it may be cleaning up: its memory is warm in
    /// the caches, and a third working set beside two costs more than the wait.
    pub(super) idle: Vec<PhpProcess>,
    /// Processes that clean up with their slots, and how to get them for a call that has come.
    cleaning: Vec<CleaningProcess>,
    /// Calls that wait, the oldest first. There are none while a process is idle and a slot free.
    pub(super) waiting: VecDeque<WaitingCall>,
    pub(super) last_waiting: u64,
    /// Calls of the thread at work that were preferred to an older one, one after the other.
    own_thread_turns: u32,
    /// Slots that are free.
    pub(super) free: usize,
    /// Grows with each reload. Older processes exit as newer ones get ready.
    pub(super) generation: u32,
    /// Processes of this generation that are ready or starting.
    pub(super) current: usize,
    /// Slots, free or not.
    pub(super) slots: usize,
}

/// A call that waits for a process and a slot.
pub(super) struct WaitingCall {
    pub(super) number: u64,
    pub(super) since: Instant,
    /// The thread that the call runs on.
    pub(super) thread: ThreadId,
    pub(super) process: oneshot::Sender<PhpProcess>,
}

/// A process that cleans up, and that would be idle with a free slot then.
struct CleaningProcess {
    id: u32,
    /// The thread that waits for it.
    thread: ThreadId,
    wanted: Arc<Notify>,
}

impl ProcessTable {
    /// Without processes, with so many slots.
    pub(super) fn with_slots(slots: usize) -> Self {
        Self { slots, free: slots, ..Self::default() }
    }

    /// A process for a call that has just come.
    pub(super) fn take_idle(&mut self) -> Option<PhpProcess> {
        let process = if self.free > 0 { self.idle.pop() } else { None };
        self.free -= usize::from(process.is_some());
        process
    }

    /// Hands free processes to calls that wait.
    pub(super) fn hand_over(&mut self) {
        while self.free > 0 && !self.waiting.is_empty() {
            let Some(process) = self.idle.pop() else { return };
            let Some(call) = self.next_waiting() else { return self.idle.push(process) };
            match call.process.send(process) {
                Ok(()) => self.free -= 1,
                // Its call is over.
                Err(process) => self.idle.push(process),
            }
        }
    }

    /// Takes the call that has waited longest, or one of this thread.
    fn next_waiting(&mut self) -> Option<WaitingCall> {
        let thread = std::thread::current().id();
        let own = self.waiting.iter().take(SEARCHED_MAX).position(|call| call.thread == thread);
        let at = own.filter(|_| self.own_thread_turns < OWN_THREAD_TURNS_MAX).unwrap_or_default();
        self.own_thread_turns = if at > 0 { self.own_thread_turns + 1 } else { 0 };
        self.waiting.remove(at)
    }

    /// Lets calls have a process that cleans up; what tells that one wants it.
    pub(super) fn add_cleaning(&mut self, process: &PhpProcess) -> Arc<Notify> {
        let (id, thread, wanted) = (process.id, std::thread::current().id(), Arc::clone(&process.wanted));
        self.cleaning.push(CleaningProcess { id, thread, wanted: Arc::clone(&wanted) });
        wanted
    }

    /// Whether no call wanted it.
    pub(super) fn remove_cleaning(&mut self, id: u32) -> bool {
        let at = self.cleaning.iter().position(|process| process.id == id);
        at.map(|at| self.cleaning.swap_remove(at)).is_some()
    }

    /// Asks for a process that cleans up; whether there is one.
    pub(super) fn want_cleaning(&mut self) -> bool {
        let thread = std::thread::current().id();
        let own = self.cleaning.iter().position(|process| process.thread == thread);
        let Some(at) = own.or_else(|| self.cleaning.len().checked_sub(1)) else { return false };
        self.cleaning.swap_remove(at).wanted.notify_one();
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn call(number: u64, thread: ThreadId) -> WaitingCall {
        WaitingCall { number, since: Instant::now(), thread, process: oneshot::channel().0 }
    }

    #[test]
    fn calls_of_the_own_thread_come_first_for_a_while() {
        let here = std::thread::current().id();
        let there = std::thread::spawn(|| std::thread::current().id()).join().unwrap();
        let turns = u64::from(OWN_THREAD_TURNS_MAX);
        let mut table = ProcessTable::default();
        let calls = (0..=2 * turns).map(|number| call(number, if number == 0 { there } else { here }));
        table.waiting.extend(calls);
        let order: Vec<u64> = std::iter::from_fn(|| table.next_waiting()).map(|call| call.number).collect();
        let expected: Vec<u64> = (1..=turns).chain([0]).chain(turns + 1..=2 * turns).collect();
        assert_eq!(order, expected, "then the one that has waited longest");
        // Those of other threads alone keep their order, and a long queue is not searched to its end.
        table.waiting.extend((0..SEARCHED_MAX as u64).map(|number| call(number, there)));
        table.waiting.push_back(call(99, here));
        assert_eq!(table.next_waiting().unwrap().number, 0);
        assert_eq!(table.next_waiting().unwrap().number, 99);
        assert_eq!(table.next_waiting().unwrap().number, 1);
    }
}
