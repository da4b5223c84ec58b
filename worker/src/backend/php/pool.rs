//! The keeper of a pool: as many processes as run calls, and one that is warm to take the place of one that ends.
//!
//! Everything here lives on one thread, which the processes die with. Calls do not come by here: see [`super::room`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use diffyne_shared::backoff::Backoff;
use diffyne_shared::settings::php::PhpSettings;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::process;
use super::room::Room;

/// Processes beyond those that run calls.
pub(super) const SPARE: usize = 1;
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

/// The keeper.
pub(super) struct Pool {
    settings: PhpSettings,
    room: Arc<Room>,
    busy_at: Cell<Instant>,
    gateways: Cell<Gateways>,
    /// Since when no gateway is connected.
    alone_since: Cell<Instant>,
    /// What the application's cache was told of the connection, and when.
    told: Cell<Option<(bool, Instant)>>,
    status_ttl: Duration,
    /// A process has ended: another may be wanted at once.
    pub(super) look: Rc<Notify>,
    backoff: RefCell<Backoff>,
}

impl Pool {
    pub(super) fn new(settings: PhpSettings, status_ttl: Duration, room: Arc<Room>) -> Rc<Self> {
        Rc::new(Self {
            settings,
            room,
            busy_at: Cell::new(Instant::now()),
            gateways: Cell::default(),
            alone_since: Cell::new(Instant::now()),
            told: Cell::default(),
            status_ttl,
            look: Rc::default(),
            backoff: RefCell::new(Backoff::new(RETRY_FIRST, RETRY_LAST)),
        })
    }

    /// Replaces all processes, one after the other.
    pub(super) fn reload(&self) {
        self.room.renew();
        self.look.notify_one();
    }

    /// Gateways came or went.
    pub(super) fn gateways(&self, gateways: Gateways) {
        if gateways.connected == 0 {
            self.alone_since.set(Instant::now());
        }
        self.gateways.set(gateways);
    }

    /// Looks after calls that wait and places that stay free, until the thread ends.
    pub(super) async fn watch(self: Rc<Self>) {
        loop {
            self.adapt();
            self.tell_status();
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Keeps as many processes as are wanted, until the thread ends.
    pub(super) async fn keep(self: Rc<Self>) {
        loop {
            let Some(generation) = self.room.wanted() else {
                // Whatever it was that changed, it is looked at again soon.
                let _ = tokio::time::timeout(LOOK_EVERY, self.look.notified()).await;
                continue;
            };
            match process::start(&self.settings, generation).await {
                Ok((ready, child)) => {
                    self.backoff.borrow_mut().reset();
                    self.room.started(ready);
                    tokio::task::spawn_local(child.tend(Arc::clone(&self.room), Rc::clone(&self.look)));
                }
                Err(error) => {
                    let wait = self.backoff.borrow_mut().wait();
                    tracing::error!(%error, retry = ?wait, "PHP does not start");
                    self.room.not_started(generation, error.to_string());
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// Grows when calls wait, and shrinks when places stay free.
    fn adapt(&self) {
        let now = Instant::now();
        let ((queued, waits), (target, free, complete)) = (self.room.queue(), self.room.places());
        self.room.figures.places.set(target as i64);
        self.room.figures.queued.set(queued as i64);
        let waits = waits > GROW_AFTER;
        if free == 0 || waits {
            self.busy_at.set(now);
        }
        if waits && target < self.settings.processes_max && complete {
            self.room.grow();
            self.look.notify_one();
            tracing::debug!(processes = target + 1, "the pool grows");
        } else if target > self.settings.processes_min
            && now.duration_since(self.busy_at.get()) > SHRINK_AFTER
            && self.room.shrink()
        {
            self.busy_at.set(now);
            tracing::debug!(processes = target - 1, "the pool shrinks");
        }
    }

    /// Tells the application's cache of the connection, before the last word is forgotten.
    fn tell_status(&self) {
        let (now, gateways) = (Instant::now(), self.gateways.get());
        let connected = gateways.connected > 0;
        let due = match self.told.get() {
            _ if gateways.draining || self.room.state.borrow().ready == 0 => false,
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
        let head = json!({"kind": "status", "status": status, "seconds": self.status_ttl.as_secs().max(1)});
        let (room, deadline) = (Arc::clone(&self.room), (now + self.status_ttl).into_std());
        tokio::task::spawn_local(async move {
            if let Some(error) = room.run(&head, b"", deadline).await.0.error() {
                tracing::warn!(error, "the connection's status was not written into the application's cache");
            }
        });
    }
}
