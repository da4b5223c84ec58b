//! The operating system's process behind a PHP process: when it has ended, and how it is ended.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::DropGuard;

use super::exit_reason::ExitReason;
use super::os_process::OsProcess;
use super::status::{ListedProcess, ProcessStatus};

/// After a process exited, how long its last call may take to report the reason.
const EXIT_REASON_TIMEOUT: Duration = Duration::from_millis(200);
/// How long a process may take to exit after its socket closed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Tells the call of a process that the process has ended, whoever still holds its socket.
pub(super) struct ProcessEnd {
    told: oneshot::Receiver<String>,
    status: Option<String>,
}

impl ProcessEnd {
    /// Waits until the process has ended; how it did.
    pub(super) async fn wait(&mut self) -> &str {
        if self.status.is_none() {
            // Without its thread, the process does not live.
            self.status = Some((&mut self.told).await.unwrap_or_else(|_| "its thread has ended".to_owned()));
        }
        self.status.as_deref().unwrap_or_default()
    }
}

/// The operating system's process.
///
/// It leads a process group, to which the programs that it starts belong. They are killed with it, and stay when it exits
/// by itself.
pub(super) struct ChildProcess {
    process: OsProcess,
    pub(super) id: u32,
    pub(super) generation: u32,
    exit_reason: oneshot::Receiver<ExitReason>,
    /// Tells the process's call that it has ended; `None` once it has.
    end: Option<oneshot::Sender<String>>,
    listed: ListedProcess,
    /// Its output is read until this is dropped. Those that are forked print where their template does.
    output: Option<DropGuard>,
}

impl ChildProcess {
    /// A process that runs, the handle that makes it exit, and the one that tells of its end.
    pub(super) fn new(
        process: OsProcess,
        listed: ListedProcess,
        output: Option<DropGuard>,
    ) -> (Self, oneshot::Sender<ExitReason>, ProcessEnd) {
        let (id, generation) = (listed.status().id, listed.status().generation);
        let (exit, exit_reason) = oneshot::channel();
        let (end, told) = oneshot::channel();
        let process = Self { process, id, generation, exit_reason, end: Some(end), listed, output };
        (process, exit, ProcessEnd { told, status: None })
    }

    /// What keeps its output read, for whoever needs it longer.
    pub(super) fn take_output(&mut self) -> Option<DropGuard> {
        self.output.take()
    }

    /// What operators can see of it.
    pub(super) fn status(&self) -> &Arc<ProcessStatus> {
        self.listed.status()
    }

    /// Waits until the process has exited, and kills it where it has to. The reason is `None` when nobody ended it.
    pub(super) async fn exit(&mut self) -> (Option<ExitReason>, String) {
        tokio::select! {
            status = self.process.wait() => {
                let status = self.ended(status);
                // A call that ran on the process notices the exit at the same time, and knows the reason.
                let reason = timeout(EXIT_REASON_TIMEOUT, &mut self.exit_reason).await;
                (reason.ok().and_then(Result::ok), status)
            }
            reason = &mut self.exit_reason => {
                let reason = reason.unwrap_or(ExitReason::Idle);
                if reason.needs_kill() {
                    self.kill();
                }
                (Some(reason), self.wait_or_kill().await)
            }
        }
    }

    /// Waits until the process has ended by itself.
    pub(super) async fn wait(&mut self) -> String {
        let status = self.process.wait().await;
        self.ended(status)
    }

    /// Waits until the process has ended, and kills it when that takes too long.
    pub(super) async fn wait_or_kill(&mut self) -> String {
        if let Ok(status) = timeout(EXIT_TIMEOUT, self.wait()).await {
            return status;
        }
        self.kill();
        self.wait().await;
        "it had to be killed".to_owned()
    }

    /// Tells the process's call that it has ended.
    fn ended(&mut self, status: io::Result<ExitStatus>) -> String {
        // What is not known may be a signal.
        if status.as_ref().map_or(true, |status| status.signal().is_some()) {
            // A group keeps its number while it has members. Without members, no other process gets the number so soon.
            self.kill_group();
        }
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        if let Some(end) = self.end.take() {
            // Nobody listens when there was no call.
            let _ = end.send(status.clone());
        }
        status
    }

    /// Kills the process and the programs that it has started.
    pub(super) fn kill(&mut self) {
        self.kill_group();
        // The process may have left its group. The kill fails only when it has exited already.
        let _ = self.process.start_kill();
    }

    fn kill_group(&self) {
        if let Some(group) = i32::try_from(self.id).ok().and_then(Pid::from_raw) {
            // It fails when the group has no members, as most often.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        if self.end.is_some() {
            self.kill();
        }
    }
}
