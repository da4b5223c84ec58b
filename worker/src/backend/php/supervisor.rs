//! The supervisor of a pool: keeps as many processes as run calls, and a warm spare one that replaces one that exits.
//!
//! It lives on one thread, and the processes die with that thread. Calls do not pass through it: see
//! [`super::dispatcher`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use diffyne_shared::backoff::Backoff;
use diffyne_shared::settings::php::PhpSettings;
use diffyne_shared::task;
use diffyne_shared::telemetry;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::child::ChildProcess;
use super::dispatcher::Dispatcher;
use super::exit_reason::ExitReason;
use super::starter::Starter;
use super::status::CallLabel;
use super::watch;

/// Processes beyond those that run calls.
pub(super) const SPARE_PROCESSES: usize = 1;
/// Time between two checks of the pool.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// The pool grows when a call has waited for this long.
const GROW_AFTER: Duration = Duration::from_millis(50);
/// The pool shrinks when it had a free slot for this long.
const SHRINK_AFTER: Duration = Duration::from_secs(30);
/// The first pause after a failed start.
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// The longest pause after failed starts.
const RETRY_LAST: Duration = Duration::from_secs(30);
/// The reason, in the metric of processes that have ended, of one that others were forked from.
const TEMPLATE_DIED: &str = "template_died";
/// A template that has lived for so long ended for a reason of its own.
const TEMPLATE_SETTLED: Duration = Duration::from_mins(1);
/// The status becomes "disconnected" when no gateway has been connected for this long.
const DISCONNECTED_AFTER: Duration = Duration::from_secs(1);
/// How often the status is refreshed during its lifetime in the cache.
const REFRESHES_PER_TTL: u32 = 3;

/// The worker's connections to gateways.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct GatewayStatus {
    pub(super) connected: usize,
    /// The worker is draining: gateways leave it, but not the cluster.
    pub(super) draining: bool,
}

/// Keeps the pool's processes.
pub(super) struct Supervisor {
    settings: PhpSettings,
    starter: Starter,
    dispatcher: Arc<Dispatcher>,
    busy_at: Cell<Instant>,
    gateways: Cell<GatewayStatus>,
    /// Since when no gateway is connected.
    disconnected_at: Cell<Instant>,
    /// The status that was written last, and when.
    written_status: Cell<Option<(bool, Instant)>>,
    status_ttl: Duration,
    /// Something changed: the pool may need another process now.
    changed: Notify,
    /// A reload ends the pause after a failed start.
    retry: Notify,
    backoff: RefCell<Backoff>,
}

impl Supervisor {
    pub(super) fn new(settings: PhpSettings, status_ttl: Duration, dispatcher: Arc<Dispatcher>) -> Rc<Self> {
        Rc::new(Self {
            starter: Starter::new(settings.clone(), Arc::clone(&dispatcher.processes)),
            settings,
            dispatcher,
            busy_at: Cell::new(Instant::now()),
            gateways: Cell::default(),
            disconnected_at: Cell::new(Instant::now()),
            written_status: Cell::default(),
            status_ttl,
            changed: Notify::new(),
            retry: Notify::new(),
            backoff: RefCell::new(Backoff::new(RETRY_FIRST, RETRY_LAST)),
        })
    }

    /// Replaces all processes, one after the other.
    fn reload(&self) {
        self.dispatcher.begin_generation();
        self.start_newest();
    }

    /// Starts processes of a new generation at once.
    pub(super) fn start_newest(&self) {
        self.changed.notify_one();
        self.retry.notify_one();
    }

    /// Replaces all processes when files of the application change, where the settings name some.
    pub(super) async fn reload_on_change(self: Rc<Self>) {
        let PhpSettings { directory, watch, .. } = &self.settings;
        if watch.is_empty() {
            return;
        }
        watch::reload_on_change(directory, watch, |changed| {
            let changed = changed.to_string_lossy();
            tracing::info!(changed = %telemetry::name(&changed), "a file has changed, so the PHP processes are replaced");
            self.dispatcher.metrics.watch_reloads.inc();
            self.reload();
        })
        .await;
    }

    /// Replaces all processes when what they were forked from has ended: without it, nobody would kill them if the worker
    /// were killed.
    pub(super) async fn reload_without_template(self: Rc<Self>) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LAST);
        loop {
            let since = Instant::now();
            self.starter.template_died().await;
            self.dispatcher.metrics.ended.with_label_values(&[TEMPLATE_DIED]).inc();
            if since.elapsed() > TEMPLATE_SETTLED {
                backoff.reset();
            }
            tokio::time::sleep(backoff.wait()).await;
            self.reload();
        }
    }

    pub(super) fn set_gateways(&self, gateways: GatewayStatus) {
        if gateways.connected == 0 {
            self.disconnected_at.set(Instant::now());
        }
        self.gateways.set(gateways);
    }

    /// Adapts the pool's size and refreshes the status, until the thread ends.
    pub(super) async fn watch(self: Rc<Self>) {
        loop {
            self.resize();
            self.write_status();
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    }

    /// Starts processes whenever some are missing, until the thread ends.
    pub(super) async fn start_processes(self: Rc<Self>) {
        loop {
            let Some(generation) = self.dispatcher.reserve_process() else {
                // Whether it was a notification or the timeout: the pool is checked again.
                let _ = tokio::time::timeout(CHECK_INTERVAL, self.changed.notified()).await;
                continue;
            };
            match self.starter.start(generation).await {
                Ok((process, child)) => {
                    self.backoff.borrow_mut().reset();
                    self.dispatcher.started(process);
                    task::spawn_local(Rc::clone(&self).await_exit(child));
                }
                Err(error) => {
                    let wait = self.backoff.borrow_mut().wait();
                    let old_code_serves = self.dispatcher.state.borrow().outdated > 0;
                    tracing::error!(%error, retry = ?wait, old_code_serves, "PHP does not start");
                    self.dispatcher.start_failed(generation, error.to_string());
                    // What did not start may start with other code.
                    if tokio::time::timeout(wait, self.retry.notified()).await.is_ok() {
                        self.backoff.borrow_mut().reset();
                    }
                }
            }
        }
    }

    /// Waits for a process to exit, and counts and logs why.
    async fn await_exit(self: Rc<Self>, mut child: ChildProcess) {
        let (reason, status) = child.exit().await;
        // The dispatcher has already stopped counting a process that it replaced.
        let is_counted = reason != Some(ExitReason::Replaced);
        let was_idle = self.dispatcher.remove(child.id, child.generation, is_counted);
        if was_idle {
            tracing::warn!(process = child.id, status, "a PHP process ended while it had nothing to do");
        }
        let reason = reason.unwrap_or(if was_idle { ExitReason::Idle } else { ExitReason::Died });
        self.dispatcher.metrics.ended.with_label_values(&[reason.label()]).inc();
        tracing::debug!(process = child.id, status, why = reason.label(), "a PHP process has ended");
        self.changed.notify_one();
    }

    /// Grows the pool when calls wait, and shrinks it when slots stay free.
    fn resize(&self) {
        let now = Instant::now();
        let (queue, slots) = (self.dispatcher.queue(), self.dispatcher.slots());
        self.dispatcher.metrics.slots.set(slots.total as i64);
        self.dispatcher.metrics.queued.set(queue.calls as i64);
        let calls_wait = queue.longest_wait > GROW_AFTER;
        if slots.free == 0 || calls_wait {
            self.busy_at.set(now);
        }
        if calls_wait && slots.total < self.settings.processes_max && slots.have_processes {
            self.dispatcher.grow();
            self.changed.notify_one();
            tracing::debug!(processes = slots.total + 1, "the pool grows");
        } else if slots.total > self.settings.processes_min
            && now.duration_since(self.busy_at.get()) > SHRINK_AFTER
            && self.dispatcher.shrink()
        {
            self.busy_at.set(now);
            tracing::debug!(processes = slots.total - 1, "the pool shrinks");
        }
    }

    /// Writes the connection's status into the application's cache, when it changed or is about to expire.
    fn write_status(&self) {
        let (now, gateways) = (Instant::now(), self.gateways.get());
        let connected = gateways.connected > 0;
        let is_due = match self.written_status.get() {
            _ if gateways.draining || self.dispatcher.state.borrow().ready == 0 => false,
            Some((true, _)) if !connected => now.duration_since(self.disconnected_at.get()) > DISCONNECTED_AFTER,
            Some((true, at)) => now.duration_since(at) > self.status_ttl / REFRESHES_PER_TTL,
            // Other workers may have gateways: only one that had some writes that they are gone.
            _ => connected,
        };
        if !is_due {
            return;
        }
        self.written_status.set(Some((connected, now)));
        let status = if connected { "connected" } else { "disconnected" };
        let head = json!({"kind": "status", "status": status, "seconds": self.status_ttl.as_secs().max(1)});
        let (dispatcher, deadline) = (Arc::clone(&self.dispatcher), (now + self.status_ttl).into_std());
        task::spawn_local(async move {
            let label = CallLabel { class: "", method: "connection status", request_id: "" };
            let (reply, _) = dispatcher.run(&label, &head, deadline).await;
            if let Some(error) = reply.error() {
                tracing::warn!(error, "the connection's status was not written into the application's cache");
            }
        });
    }
}
