//! What each PHP process does, for operators.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use diffyne_shared::memory::page_bytes;
use diffyne_shared::telemetry;
use serde_json::{Value, json};

use super::exit_reason::ExitReason;

/// Bytes that are kept of each text about a call.
const TEXT_BYTES_MAX: usize = 255;

/// The words for what a process does.
pub(super) const STATES: [&str; 6] = ["starting", "template", "idle", "busy", "cleaning_up", "exiting"];

/// A call as operators know it.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallLabel<'a> {
    /// The class as the client spelled it.
    pub(super) class: &'a str,
    /// The method as the client spelled it; `update`, `mount` or `grant` for those.
    pub(super) method: &'a str,
    pub(super) request_id: &'a str,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    /// It boots the application.
    Starting,
    /// It has booted the application, and the others are forked from it.
    Template,
    /// It waits for a call.
    Idle,
    /// It runs a call.
    Busy,
    /// It has replied, and puts back what the call has changed.
    CleaningUp,
    /// It was told to exit, or has to be killed.
    Exiting(ExitReason),
}

impl Activity {
    /// The word for it in answers to operators.
    fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Template => "template",
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::CleaningUp => "cleaning_up",
            Self::Exiting(_) => "exiting",
        }
    }

    fn has_call(self) -> bool {
        matches!(self, Self::Busy | Self::CleaningUp | Self::Exiting(_))
    }
}

struct State {
    activity: Activity,
    since: Instant,
    /// Calls that it was given.
    calls: u32,
    core: Option<usize>,
    /// The last call. The texts are reused, so that a call costs no allocation.
    class: String,
    method: String,
    request_id: String,
    /// When the last call began.
    began: Instant,
}

/// The status of one process.
pub(super) struct ProcessStatus {
    /// Process id.
    pub(super) id: u32,
    /// The generation of processes that it belongs to.
    pub(super) generation: u32,
    state: Mutex<State>,
}

impl ProcessStatus {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process was given a call.
    pub(super) fn begin(&self, call: &CallLabel<'_>, core: Option<usize>) {
        let now = Instant::now();
        let mut state = self.lock();
        let State { class, method, request_id, .. } = &mut *state;
        for (text, new) in [(class, call.class), (method, call.method), (request_id, call.request_id)] {
            text.clear();
            text.push_str(&new[..new.floor_char_boundary(TEXT_BYTES_MAX)]);
        }
        (state.activity, state.since, state.began) = (Activity::Busy, now, now);
        state.core = core;
        state.calls += 1;
    }

    /// The process does something else.
    pub(super) fn set(&self, activity: Activity) {
        let mut state = self.lock();
        (state.activity, state.since) = (activity, Instant::now());
    }

    /// What operators are told.
    fn report(&self, now: Instant, newest: u32) -> Value {
        let state = self.lock();
        let call = state.activity.has_call() && state.calls > 0;
        let call = call.then(|| {
            json!({
                "component": telemetry::name(&state.class).to_string(),
                "method": telemetry::name(&state.method).to_string(),
                "request": telemetry::name(&state.request_id).to_string(),
                "age_ms": milliseconds(now.duration_since(state.began)),
            })
        });
        let exit = match state.activity {
            Activity::Exiting(reason) => Some(reason.label()),
            _ => None,
        };
        json!({
            "process": self.id,
            "state": state.activity.word(),
            "state_ms": milliseconds(now.duration_since(state.since)),
            "exit": exit,
            "call": call,
            "calls": state.calls,
            "memory_bytes": private_memory(self.id),
            "generation": self.generation,
            "is_outdated": self.generation < newest,
            "core": state.core,
        })
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A process's resident memory that is not shared with other processes; 0 when the system does not tell.
pub(super) fn private_memory(process: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    let field = |at: usize| statm.split(' ').nth(at).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
    field(1).saturating_sub(field(2)) * page_bytes() as u64
}

/// All processes of a pool, from their start until the system has let go of them.
#[derive(Default)]
pub(super) struct ProcessList(Mutex<Vec<Arc<ProcessStatus>>>);

/// A process's place in the list, until this is dropped.
pub(super) struct ListedProcess {
    list: Arc<ProcessList>,
    status: Arc<ProcessStatus>,
}

impl ListedProcess {
    pub(super) fn status(&self) -> &Arc<ProcessStatus> {
        &self.status
    }
}

impl Drop for ListedProcess {
    fn drop(&mut self) {
        self.list.lock().retain(|other| !Arc::ptr_eq(other, &self.status));
    }
}

impl ProcessList {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<ProcessStatus>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a process that has just been started.
    pub(super) fn add(self: &Arc<Self>, id: u32, generation: u32) -> ListedProcess {
        let now = Instant::now();
        let state = State {
            activity: Activity::Starting,
            since: now,
            calls: 0,
            core: None,
            class: String::new(),
            method: String::new(),
            request_id: String::new(),
            began: now,
        };
        let status = Arc::new(ProcessStatus { id, generation, state: Mutex::new(state) });
        self.lock().push(Arc::clone(&status));
        ListedProcess { list: Arc::clone(self), status }
    }

    /// How many processes are in a state.
    pub(super) fn count(&self, state: &str) -> usize {
        self.lock().iter().filter(|process| process.lock().activity.word() == state).count()
    }

    /// What operators are told of each process, in the order of their starts.
    pub(super) fn report(&self, newest_generation: u32) -> Vec<Value> {
        let processes = self.lock().clone();
        let now = Instant::now();
        processes.iter().map(|process| process.report(now, newest_generation)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_listed_with_its_call_until_it_is_gone() {
        let list = Arc::new(ProcessList::default());
        let listed = list.add(7, 1);
        let status = listed.status();
        assert_eq!(list.report(1)[0]["state"], "starting");
        status.set(Activity::Idle);
        assert_eq!((&list.report(1)[0]["state"], &list.report(1)[0]["call"]), (&json!("idle"), &Value::Null));
        status.begin(&CallLabel { class: "App\\Cart", method: "pay", request_id: "r\u{1b}[2J" }, Some(3));
        let report = &list.report(2)[0];
        assert_eq!((&report["state"], &report["core"], &report["calls"]), (&json!("busy"), &json!(3), &json!(1)));
        assert_eq!((&report["call"]["component"], &report["call"]["method"]), (&json!("App\\Cart"), &json!("pay")));
        assert_eq!(report["call"]["request"], "r\\u{1b}[2J", "no control characters for a terminal");
        assert_eq!(report["is_outdated"], true);
        status.set(Activity::Exiting(ExitReason::MaxCalls));
        assert_eq!(list.report(2)[0]["exit"], "max_calls");
        drop(listed);
        assert!(list.report(2).is_empty());
    }
}
