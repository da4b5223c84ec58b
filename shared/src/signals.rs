//! Signals to a gateway or a worker.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal tells a program to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalAction {
    /// SIGTERM, SIGINT: to stop.
    Stop,
    /// SIGHUP: to read its settings again.
    Reload,
}

/// The signals that a program takes.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    first: Signal,
    second: Signal,
}

impl Signals {
    /// From now on none of them ends the process by itself, so this comes before anything that others can see. Must be
    /// called within a runtime.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            first: signal(SignalKind::user_defined1())?,
            second: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for one that tells something, also one that came since [`Self::new`]. Nothing is lost when this is dropped.
    pub async fn recv(&mut self) -> SignalAction {
        loop {
            let name = tokio::select! {
                _ = self.terminate.recv() => return SignalAction::Stop,
                _ = self.interrupt.recv() => return SignalAction::Stop,
                _ = self.hang_up.recv() => return SignalAction::Reload,
                _ = self.first.recv() => "SIGUSR1",
                _ = self.second.recv() => "SIGUSR2",
            };
            // Other servers reopen their logs on them, so that scripts which rotate logs send them to everything.
            tracing::warn!(
                "{name} does nothing: log files (DIFFYNE_LOG_DIR) begin anew each day by themselves; SIGHUP reloads keys and the log level"
            );
        }
    }
}
