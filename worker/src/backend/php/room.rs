//! Where calls meet PHP processes: a call waits for a place, takes the process that ran last, talks to it on its own
//! thread, and leaves it to tidy up. No other thread has to wake up for a call.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use diffyne_shared::settings::php::{Affinity, PhpSettings};
use serde::Serialize;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use super::cores::{Core, Cores};
use super::figures::Figures;
use super::process::{Ended, Ready};
use crate::backend::translation::Told;

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

/// Why a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
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
    pub(super) fn label(self) -> &'static str {
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

    /// Whether it has to be made to: a process in a loop reads nothing.
    pub(super) fn is_forced(self) -> bool {
        matches!(self, Self::Late | Self::Untidy | Self::Died)
    }
}

#[derive(Default)]
struct Inner {
    /// Processes that wait for a call. The last is taken, even while it may be tidying up: its memory is warm, and a
    /// third working set beside two costs more than the wait.
    idle: Vec<Ready>,
    /// Calls that wait, since when.
    waiting: VecDeque<(u64, Instant)>,
    next: u64,
    /// Grows with each reload: older processes go as newer ones are ready.
    generation: u32,
    /// Processes of this generation that are ready or starting.
    current: usize,
    /// Places in the semaphore, held or not.
    target: usize,
}

/// The room.
pub(super) struct Room {
    inner: Mutex<Inner>,
    places: Arc<Semaphore>,
    freed: Notify,
    pub(super) state: watch::Sender<PoolState>,
    pub(super) figures: Figures,
    memory_max: u64,
    spare: usize,
    /// None when the system decides where processes run.
    cores: Option<Arc<Cores>>,
}

/// What a call holds while it runs and its process tidies up.
struct Place {
    /// Before the permit: whoever gets that finds this free.
    core: Option<Core>,
    _permit: OwnedSemaphorePermit,
    /// It had to wait for it.
    has_waited: bool,
}

impl Place {
    fn new(permit: OwnedSemaphorePermit, has_waited: bool) -> Self {
        Self { core: None, _permit: permit, has_waited }
    }
}

/// A call that waits, until it no longer does.
struct Waiting<'a> {
    room: &'a Room,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let number = self.number;
        self.room.lock().waiting.retain(|(other, _)| *other != number);
    }
}

impl Room {
    pub(super) fn new(settings: &PhpSettings, spare: usize, figures: Figures) -> Arc<Self> {
        let target = settings.processes_min;
        Arc::new(Self {
            inner: Mutex::new(Inner { target, ..Inner::default() }),
            places: Arc::new(Semaphore::new(target)),
            freed: Notify::new(),
            state: watch::channel(PoolState::default()).0,
            figures,
            memory_max: settings.memory_max,
            spare,
            cores: (settings.affinity == Affinity::Auto).then(Cores::of_this_worker),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a call; what is to be tidied up afterwards is, without anybody waiting for it.
    pub(super) async fn run(
        self: &Arc<Self>,
        head: &impl Serialize,
        payload: &[u8],
        deadline: Instant,
    ) -> (Told, Vec<u8>) {
        let began = Instant::now();
        loop {
            let (mut process, mut place) = match self.process(deadline).await {
                Ok(taken) => taken,
                Err(told) => return (told, Vec::new()),
            };
            self.figures.wait.observe(began.elapsed().as_secs_f64());
            self.bind(&mut process, &mut place);
            let (told, body, why) = match process.run(head, payload, deadline).await {
                Ended::Answered(told, body) => {
                    self.go_on(process, place);
                    return (told, body);
                }
                Ended::NotRun => {
                    // It has ended without having read the call.
                    process.end(Why::Untidy);
                    continue;
                }
                // Not a crash: users may not slow the pool down by it.
                Ended::AnsweredLast(told) => (told, Vec::new(), Why::LastCall),
                Ended::Died(how) => {
                    tracing::error!(process = process.id, how, "a PHP process died in a call");
                    (Told::broken("the PHP process died".to_owned()), Vec::new(), Why::Died)
                }
                Ended::Late => {
                    tracing::error!(process = process.id, "a call took too long, so its PHP process was killed");
                    (Told::late(), Vec::new(), Why::Late)
                }
            };
            process.end(why);
            return (told, body);
        }
    }

    /// While calls wait, a process keeps to a core of its own; otherwise the system moves it as it likes.
    fn bind(&self, process: &mut Ready, place: &mut Place) {
        let Some(cores) = &self.cores else { return };
        if place.has_waited && self.lock().target == cores.count() {
            place.core = cores.take(process.core);
        }
        let core = place.core.as_ref().map(Core::number);
        if process.core != core {
            process.core = core;
            if let Err(error) = cores.bind(process.id, core) {
                // It has just ended, or runs as another user.
                tracing::debug!(process = process.id, %error, "a PHP process is not bound to a core");
            }
        }
    }

    /// A place, and a process for it; or why there is none.
    async fn process(self: &Arc<Self>, deadline: Instant) -> Result<(Ready, Place), Told> {
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned()
            && let Some(process) = self.lock().idle.pop()
        {
            return Ok((process, Place::new(permit, false)));
        }
        let number = {
            let mut inner = self.lock();
            inner.next += 1;
            let number = inner.next;
            inner.waiting.push_back((number, Instant::now()));
            number
        };
        let _waiting = Waiting { room: self, number };
        let mut state = self.state.subscribe();
        let wait = async {
            let permit = Arc::clone(&self.places).acquire_owned().await.map_err(|_| not_run("it is closed"))?;
            loop {
                let freed = self.freed.notified();
                if let Some(process) = self.lock().idle.pop() {
                    return Ok((process, Place::new(permit, true)));
                }
                freed.await;
            }
        };
        let fault = async {
            loop {
                let fault = {
                    let now = state.borrow_and_update();
                    now.fault.clone().filter(|_| now.ready == 0)
                };
                if let Some(fault) = fault {
                    return fault;
                }
                if state.changed().await.is_err() {
                    return "its thread has ended".to_owned();
                }
            }
        };
        tokio::select! {
            taken = wait => taken,
            fault = fault => Err(not_run(&fault)),
            () = tokio::time::sleep_until(deadline.into()) => Err(Told::late()),
        }
    }

    /// What becomes of a process that has answered. Nobody has to wait until it has tidied up: a call that waits is
    /// handed to it at once, and read by it as soon as it can.
    fn go_on(self: &Arc<Self>, process: Ready, place: Place) {
        let is_good = process.calls < process.calls_max && process.weight() <= self.memory_max;
        if is_good && !self.lock().waiting.is_empty() {
            self.put(process);
            drop(place);
        } else {
            tokio::spawn(Arc::clone(self).settle(process, place));
        }
    }

    /// Waits until a process has tidied up after its answer, and gives it back.
    async fn settle(self: Arc<Self>, mut process: Ready, place: Place) {
        if !process.settle().await {
            process.end(Why::Untidy);
        } else if process.calls >= process.calls_max {
            process.end(Why::Calls);
        } else {
            let memory = process.weight();
            self.figures.memory.set(memory as i64);
            if memory > self.memory_max {
                process.end(Why::Memory);
            } else {
                self.put(process);
            }
        }
        drop(place);
    }

    /// A process that waits for its next call; or goes, if it is one too many.
    fn put(&self, process: Ready) {
        {
            let mut inner = self.lock();
            if self.may_leave(&inner, process.generation) {
                self.forget(&mut inner, process.generation);
                drop(inner);
                return process.end(Why::Replaced);
            }
            inner.idle.push(process);
        }
        self.freed.notify_one();
    }

    /// Whether there is one too many: of all that are ready for an older process, of its own for a newer one.
    fn may_leave(&self, inner: &Inner, generation: u32) -> bool {
        let older = generation < inner.generation;
        let processes = if older { self.state.borrow().ready } else { inner.current };
        processes > inner.target + self.spare
    }

    /// One process less, of those that count.
    fn forget(&self, inner: &mut Inner, generation: u32) {
        let is_older = generation < inner.generation;
        if !is_older {
            inner.current = inner.current.saturating_sub(1);
        }
        self.figures.ready.dec();
        self.state.send_modify(|state| {
            state.ready = state.ready.saturating_sub(1);
            state.older = state.older.saturating_sub(usize::from(is_older));
        });
    }

    /// A process has ended; `true` when nobody had told it to, and it was not in a call.
    pub(super) fn gone(&self, id: u32, generation: u32, counted: bool) -> bool {
        let mut inner = self.lock();
        if counted {
            self.forget(&mut inner, generation);
        }
        let before = inner.idle.len();
        inner.idle.retain(|process| process.id != id);
        inner.idle.len() < before
    }

    /// A process is wanted: it counts from now on. Its generation.
    pub(super) fn wanted(&self) -> Option<u32> {
        let mut inner = self.lock();
        (inner.current < inner.target + self.spare).then(|| {
            inner.current += 1;
            inner.generation
        })
    }

    /// A process that was wanted does not start.
    pub(super) fn not_started(&self, generation: u32, fault: String) {
        let mut inner = self.lock();
        if generation == inner.generation {
            inner.current = inner.current.saturating_sub(1);
        }
        self.figures.start_failures.inc();
        self.state.send_modify(|state| state.fault = Some(fault));
    }

    /// A process is ready; older ones may go.
    pub(super) fn started(&self, process: Ready) {
        self.figures.ready.inc();
        self.state.send_modify(|state| {
            state.ready += 1;
            state.fault = None;
        });
        self.put(process);
        self.let_go();
    }

    /// Lets idle processes go that are too many.
    fn let_go(&self) {
        loop {
            let mut inner = self.lock();
            let surplus = inner.idle.iter().position(|process| self.may_leave(&inner, process.generation));
            let Some(at) = surplus else { return };
            let process = inner.idle.remove(at);
            self.forget(&mut inner, process.generation);
            drop(inner);
            process.end(Why::Replaced);
        }
    }

    /// From now on, all processes are older ones.
    pub(super) fn renew(&self) {
        let mut inner = self.lock();
        inner.generation += 1;
        inner.current = 0;
        self.state.send_modify(|state| state.older = state.ready);
    }

    /// Calls that wait, and for how long the first has.
    pub(super) fn queue(&self) -> (usize, Duration) {
        let inner = self.lock();
        (inner.waiting.len(), inner.waiting.front().map_or(Duration::ZERO, |(_, since)| since.elapsed()))
    }

    /// Places, how many of them are free, and whether all processes for them are there.
    pub(super) fn places(&self) -> (usize, usize, bool) {
        let inner = self.lock();
        (inner.target, self.places.available_permits(), inner.current >= inner.target + self.spare)
    }

    /// One place more.
    pub(super) fn grow(&self) {
        self.lock().target += 1;
        self.places.add_permits(1);
    }

    /// One place less, if one is free.
    pub(super) fn shrink(&self) -> bool {
        if self.places.forget_permits(1) == 0 {
            return false;
        }
        self.lock().target -= 1;
        self.let_go();
        true
    }
}

fn not_run(fault: &str) -> Told {
    Told::broken(format!("the application does not start: {fault}"))
}
