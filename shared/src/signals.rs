//! Signals that mean nothing here, and would end the process: other servers reopen their logs on them, so that scripts which
//! rotate logs send them to everything.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGUSR1 and SIGUSR2.
#[derive(Debug)]
pub struct UserSignals {
    first: Signal,
    second: Signal,
}

impl UserSignals {
    /// From now on these signals do not end the process.
    pub fn new() -> io::Result<Self> {
        Ok(Self { first: signal(SignalKind::user_defined1())?, second: signal(SignalKind::user_defined2())? })
    }

    /// Waits for one; its name.
    pub async fn recv(&mut self) -> &'static str {
        tokio::select! {
            _ = self.first.recv() => "SIGUSR1",
            _ = self.second.recv() => "SIGUSR2",
        }
    }

    /// Says that nothing is done.
    pub fn refuse(name: &str) {
        tracing::warn!(
            "{name} does nothing: log files (DIFFYNE_LOG_DIR) begin anew each day by themselves; SIGHUP reloads keys and the log level"
        );
    }
}
