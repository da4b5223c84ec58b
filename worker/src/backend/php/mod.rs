//! Components of a Laravel application, in a pool of PHP processes that boot it once.
//!
//! * `process`: one process, its script and its ends
//! * `pool`: how many there are, and who gets the next call
//! * `frame`: what goes over the socket between

mod frame;
mod pool;
mod process;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use diffyne_shared::settings::php::PhpSettings;
use diffyne_shared::signing::Signer;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;

use super::translation::{Asked, Told};
use super::{Backend, Finished, FinishedFuture, Job, request};
use crate::component::message::{Data, Verified};
use pool::{Call, Pool};

pub use pool::PoolState;

/// Calls on their way to the pool's thread; the worker's own limits are far below.
const CALLS_MAX: usize = 4096;

enum Command {
    Run(Call),
    Reload,
}

/// The backend over a pool.
pub struct PhpBackend {
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<PoolState>,
    /// Signs and verifies; can be exchanged while calls run.
    pub signer: ArcSwap<Signer>,
    debug: bool,
}

impl PhpBackend {
    /// Starts the pool, on a thread of its own.
    pub fn start(settings: PhpSettings, signer: Signer, debug: bool) -> std::io::Result<Arc<Self>> {
        let (commands, mut received) = mpsc::channel(CALLS_MAX);
        let (sender, state) = watch::channel(PoolState::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("php-pool".to_owned()).spawn(move || {
            LocalSet::new().block_on(&runtime, async move {
                let pool = Pool::new(settings, sender);
                let keeper = tokio::task::spawn_local(std::rc::Rc::clone(&pool).keep());
                while let Some(command) = received.recv().await {
                    match command {
                        Command::Run(call) => pool.submit(call),
                        Command::Reload => pool.reload(),
                    }
                }
                keeper.abort();
            });
        })?;
        Ok(Arc::new(Self { commands, state, signer: ArcSwap::from_pointee(signer), debug }))
    }

    /// Replaces all processes, one after the other: the application's code may be another.
    pub async fn reload(&self) {
        // The thread lives as long as this.
        let _ = self.commands.send(Command::Reload).await;
    }

    async fn attempt(&self, job: Job) -> Finished {
        let transport = job.client.transport;
        let verified = Data::read(&job.payload)
            .and_then(|data| Verified::of(&data, job.kind, transport, &self.signer.load()).map(Verified::into_owned));
        let verified = match verified {
            Ok(verified) => verified,
            Err(failure) => return Finished::refused(&failure, job.kind, transport),
        };
        let (answer, answered) = oneshot::channel();
        let call = Call {
            head: request::head(&job),
            payload: job.payload,
            deadline: job.deadline.into(),
            since: Instant::now().into(),
            answer,
        };
        if self.commands.send(Command::Run(call)).await.is_err() {
            tracing::error!("the pool's thread has ended");
        }
        let told = answered.await;
        let (told, body) = told.unwrap_or_else(|_| (Told::broken("the call was not run".to_owned()), Vec::new()));
        let asked =
            Asked { kind: job.kind, transport, class: &verified.class, method: &verified.method, debug: self.debug };
        told.finish(body, &asked)
    }
}

impl Backend for PhpBackend {
    fn name(&self) -> &'static str {
        "php"
    }

    fn run(&self, job: Job) -> FinishedFuture<'_> {
        Box::pin(self.attempt(job))
    }

    fn ready(&self) -> Result<(), String> {
        let state = self.state.borrow();
        match &state.fault {
            _ if state.ready > 0 => Ok(()),
            Some(fault) => Err(format!("PHP does not start: {fault}")),
            None => Err("PHP is starting".to_owned()),
        }
    }
}
