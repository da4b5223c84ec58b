//! Starts a pool's processes: forked from a template where that is possible, else booted one by one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use diffyne_shared::settings::php::{Fork, PhpSettings};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::child::ChildProcess;
use super::os_process::OsProcess;
use super::process::PhpProcess;
use super::start::{self, ChannelSockets, ProcessStartError, Ready, await_ready};
use super::status::ProcessList;
use super::template::Template;

/// A process that can run calls, and the system's side of it.
type Started = (PhpProcess, ChildProcess);

/// Starts a pool's processes.
pub(super) struct Starter {
    settings: PhpSettings,
    list: Arc<ProcessList>,
    /// What the newest processes are forked from.
    template: RefCell<Option<Rc<Template>>>,
    /// The generation whose processes cannot be forked.
    unforkable: Cell<Option<u32>>,
    died: Rc<Notify>,
}

impl Starter {
    pub(super) fn new(settings: PhpSettings, list: Arc<ProcessList>) -> Self {
        Self { settings, list, template: RefCell::default(), unforkable: Cell::default(), died: Rc::default() }
    }

    /// Starts a process and waits until it is ready. The calling thread must live as long as the process.
    pub(super) async fn start(&self, generation: u32) -> Result<Started, ProcessStartError> {
        if self.settings.fork == Fork::Off || self.unforkable.get() == Some(generation) {
            return start::boot(&self.settings, generation, &self.list).await;
        }
        match self.start_forked(generation).await {
            Err(ProcessStartError::CannotFork(reason)) => {
                tracing::info!(reason, "each PHP process boots the application by itself (DIFFYNE_PHP_FORK)");
                self.unforkable.set(Some(generation));
                self.template.take();
                start::boot(&self.settings, generation, &self.list).await
            }
            started => started,
        }
    }

    async fn start_forked(&self, generation: u32) -> Result<Started, ProcessStartError> {
        let current = self.template.borrow().clone();
        let current = current.filter(|template| template.generation == generation && template.is_alive());
        if let Some(template) = current {
            let started = self.fork(&template).await;
            match &started {
                // The next one is not forked from what may be damaged.
                Err(ProcessStartError::Ended(_) | ProcessStartError::TimedOut(_)) => drop(self.template.take()),
                Err(ProcessStartError::Fork(error)) if !template.is_alive() => tracing::debug!(%error, "no fork"),
                _ => return started,
            }
        }
        let template = start::boot_template(&self.settings, generation, &self.list, &self.died).await?;
        self.template.replace(Some(Rc::clone(&template)));
        // What fails right after the boot will fail again.
        self.fork(&template).await.map_err(|error| ProcessStartError::CannotFork(error.to_string()))
    }

    /// Waits until a template has ended that processes still belong to.
    pub(super) async fn template_died(&self) {
        self.died.notified().await;
    }

    async fn fork(&self, template: &Rc<Template>) -> Result<Started, ProcessStartError> {
        let (sockets, theirs) = ChannelSockets::new().map_err(ProcessStartError::Fork)?;
        let id = template.fork(theirs).await.map_err(ProcessStartError::Fork)?;
        let listed = self.list.add(id, template.generation);
        let process = OsProcess::forked(id, Rc::clone(template)).map_err(ProcessStartError::Fork)?;
        let (mut child, exit, end) = ChildProcess::new(process, listed, None);
        let ready = tokio::select! {
            biased;
            ready = timeout(self.settings.start_timeout, await_ready(sockets, child.id)) => ready,
            status = child.wait() => return Err(ProcessStartError::Ended(status)),
        };
        match ready {
            Ok(Ok(Ready { sockets, release, .. })) => {
                let channel = sockets.into_channel().map_err(ProcessStartError::Fork)?;
                let mut process = PhpProcess::new(channel, &child, self.settings.calls_max, exit, end);
                process.release = release;
                Ok((process, child))
            }
            Ok(Err(Some(error))) => Err(error),
            Ok(Err(None)) => Err(ProcessStartError::Ended(child.wait_or_kill().await)),
            Err(_elapsed) => Err(ProcessStartError::TimedOut(self.settings.start_timeout)),
        }
    }
}
