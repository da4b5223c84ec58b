//! A PHP process as the system knows it: one that the worker has spawned, or that was forked from a template.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::rc::Rc;

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot::{self, error::RecvError};

use super::template::Template;

/// A process, and how its end is heard of.
pub(super) enum OsProcess {
    Spawned { id: u32, child: tokio::process::Child },
    Forked(ForkedProcess),
}

/// A process whose parent is a template.
pub(super) struct ForkedProcess {
    id: u32,
    /// Readable once the process has ended.
    pidfd: AsyncFd<OwnedFd>,
    template: Rc<Template>,
    /// The template was asked how the process has ended.
    asked: Option<oneshot::Receiver<ExitStatus>>,
    ended: Option<Result<ExitStatus, RecvError>>,
}

/// Whether the system can tell of the end of a process that is not the worker's child.
pub(super) fn can_watch_others() -> bool {
    pidfd_open(getpid(), PidfdFlags::empty()).is_ok()
}

impl OsProcess {
    pub(super) fn spawned(child: tokio::process::Child) -> Self {
        Self::Spawned { id: child.id().unwrap_or_default(), child }
    }

    /// The template keeps the process's number until it is asked for its end, so the number is the right process's.
    pub(super) fn forked(id: u32, template: Rc<Template>) -> io::Result<Self> {
        let pidfd = watch(id).inspect_err(|_| {
            // It exits, because nobody has its channel. The template need not keep its number.
            template.status(id);
        })?;
        Ok(Self::Forked(ForkedProcess { id, pidfd, template, asked: None, ended: None }))
    }

    pub(super) fn id(&self) -> u32 {
        match self {
            Self::Spawned { id, .. } => *id,
            Self::Forked(forked) => forked.id,
        }
    }

    /// Waits until it has ended. May be cancelled, and called again.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        match self {
            Self::Spawned { child, .. } => child.wait().await,
            Self::Forked(forked) => forked.wait().await,
        }
    }

    /// Kills it. Fails when it has ended already.
    pub(super) fn start_kill(&mut self) -> io::Result<()> {
        match self {
            Self::Spawned { child, .. } => child.start_kill(),
            Self::Forked(forked) => Ok(pidfd_send_signal(&forked.pidfd, Signal::KILL)?),
        }
    }
}

/// A descriptor that is readable once the process has ended.
fn watch(id: u32) -> io::Result<AsyncFd<OwnedFd>> {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
    #[expect(deprecated, reason = "an owned descriptor stays open for as long as it is registered")]
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}

impl Drop for ForkedProcess {
    fn drop(&mut self) {
        if self.asked.is_none() {
            // It has just been killed. The template need not keep its number.
            self.template.status(self.id);
        }
    }
}

impl ForkedProcess {
    async fn wait(&mut self) -> io::Result<ExitStatus> {
        let ended = if let Some(ended) = &self.ended {
            ended.clone()
        } else {
            let _ = self.pidfd.readable().await?;
            self.asked.get_or_insert_with(|| self.template.status(self.id)).await
        };
        self.ended = Some(ended.clone());
        ended.map_err(|_| io::Error::other("it ended, and so has the process that it was forked from"))
    }
}
