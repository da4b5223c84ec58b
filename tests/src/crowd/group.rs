//! What the clients of one process share: their plan, and what they count.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher as _, RandomState};

use tokio::sync::{Semaphore, watch};

use super::record::Record;
use super::{Figures, Plan, Status, now_us};

/// Clients of one process that connect at a time. Else all would connect before the first sends its request, unlike those on
/// machines of their own.
const CONNECTING_MAX: usize = 256;

/// The clients that have a broadcast, and when the first and the last of them got it.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    clients: usize,
    first_at_us: u64,
    last_at_us: u64,
}

/// What the clients of a process share.
pub struct Group {
    /// What they do.
    pub plan: Plan,
    records: RefCell<Vec<Record>>,
    figures: RefCell<Figures>,
    heard: RefCell<Vec<Heard>>,
    status: Cell<Status>,
    /// Clients that were connected at some time, and subscribed if they do.
    arrived: Cell<usize>,
    /// Turns to connect.
    pub(super) turns: Semaphore,
    subscribes: watch::Sender<bool>,
    finished: watch::Sender<bool>,
    /// Makes the hashes that stand for ids.
    hasher: RandomState,
}

impl Group {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            records: RefCell::new((0..plan.clients).map(|_| Record::default()).collect()),
            figures: RefCell::default(),
            heard: RefCell::default(),
            status: Cell::default(),
            arrived: Cell::default(),
            turns: Semaphore::new(CONNECTING_MAX),
            subscribes: watch::Sender::new(plan.subscribes),
            finished: watch::Sender::new(false),
            hasher: RandomState::new(),
            plan,
        }
    }

    /// Ends all clients.
    pub(super) fn finish(&self) {
        self.finished.send_replace(true);
    }

    /// Lets all clients subscribe.
    pub(super) fn subscribe(&self) {
        self.subscribes.send_replace(true);
    }

    pub(super) fn is_finished(&self) -> bool {
        *self.finished.borrow()
    }

    pub(super) async fn finished(&self) {
        // The sender lives as long as this.
        let _ = self.finished.subscribe().wait_for(|finished| *finished).await;
    }

    pub(super) fn subscribes(&self) -> bool {
        *self.subscribes.borrow()
    }

    pub(super) async fn subscribed(&self) {
        let _ = self.subscribes.subscribe().wait_for(|subscribes| *subscribes).await;
    }

    pub(super) fn hash(&self, id: &str) -> u64 {
        self.hasher.hash_one(id)
    }

    pub(super) fn update(&self, index: usize, change: impl FnOnce(&mut Record)) {
        change(&mut self.records.borrow_mut()[index]);
    }

    pub(super) fn update_figures(&self, change: impl FnOnce(&mut Figures)) {
        change(&mut self.figures.borrow_mut());
    }

    fn update_status(&self, change: impl FnOnce(&mut Status)) {
        let mut status = self.status.get();
        change(&mut status);
        self.status.set(status);
    }

    /// Notes that a client has come as far as the plan wants for the first time. It may have been cut since.
    pub(super) fn count_arrival(&self) {
        self.arrived.set(self.arrived.get() + 1);
        if self.arrived.get() == self.plan.clients {
            self.update_status(|status| status.complete_at_us = Some(now_us()));
        }
    }

    pub(super) fn count_try(&self) {
        self.update_status(|status| status.tries += 1);
    }

    pub(super) fn count_refused(&self) {
        self.update_status(|status| status.refused += 1);
    }

    pub(super) fn count_connected(&self, change: isize) {
        self.update_status(|status| status.connected = status.connected.saturating_add_signed(change));
    }

    pub(super) fn count_listening(&self, change: isize) {
        self.update_status(|status| status.listening = status.listening.saturating_add_signed(change));
    }

    pub(super) fn count_heard(&self, number: u64) {
        let mut heard = self.heard.borrow_mut();
        let number = number as usize;
        if heard.len() <= number {
            heard.resize(number + 1, Heard::default());
        }
        let (heard, now) = (&mut heard[number], now_us());
        if heard.clients == 0 {
            heard.first_at_us = now;
        }
        heard.clients += 1;
        heard.last_at_us = now;
    }

    pub(super) fn status(&self, number: u64) -> Status {
        let heard = self.heard.borrow().get(number as usize).copied().unwrap_or_default();
        let records = self.records.borrow();
        let informed = records.iter().filter(|record| record.was_informed).count();
        // As long as nobody has it, nobody misses it.
        let missing = |record: &&Record| heard.clients > 0 && record.knows_of_missing(number, heard.first_at_us);
        let know_of_missing = records.iter().filter(missing).count();
        Status { have: heard.clients, know_of_missing, last_at_us: heard.last_at_us, informed, ..self.status.get() }
    }

    pub(super) fn figures(&self, sent: u64) -> Figures {
        let mut all = self.figures.borrow().clone();
        for record in self.records.borrow().iter() {
            all.add(&record.figures(sent));
        }
        all
    }
}
