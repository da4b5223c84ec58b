//! Components of a Laravel application, in a pool of PHP processes that boot it once.
//!
//! * `process`: one process, its script and its ends
//! * `pool`: how many there are, and who gets the next call
//! * `frame`: what goes over the socket between
//! * `figures`: what a pool counts

mod figures;
mod frame;
mod pool;
mod process;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use diffyne_shared::settings::php::PhpSettings;
use diffyne_shared::signing::Signer;
use prometheus::Registry;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;

use super::translation::{Asked, Told};
use super::{Backend, Finished, FinishedFuture, Job, request};
use figures::Figures;
use pool::{Call, Gateways, Pool};

pub use pool::PoolState;

/// Calls on their way to the pool's thread; the worker's own limits are far below.
const CALLS_MAX: usize = 4096;

enum Command {
    Run(Call),
    Reload,
    Gateways(Gateways),
}

/// The backend over a pool.
pub struct PhpBackend {
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<PoolState>,
    figures: Figures,
    /// Signs and verifies; can be exchanged while calls run.
    signer: ArcSwap<Signer>,
    debug: bool,
}

impl PhpBackend {
    /// Starts the pool, on a thread of its own.
    ///
    /// The connection's status stays in the application's cache for `status_ttl` after the last word.
    pub fn start(
        settings: PhpSettings,
        status_ttl: Duration,
        signer: Signer,
        debug: bool,
    ) -> std::io::Result<Arc<Self>> {
        let (commands, mut received) = mpsc::channel(CALLS_MAX);
        let (sender, state) = watch::channel(PoolState::default());
        let figures = Figures::new();
        let counting = figures.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("php-pool".to_owned()).spawn(move || {
            LocalSet::new().block_on(&runtime, async move {
                let pool = Pool::new(settings, status_ttl, counting, sender);
                let keeper = tokio::task::spawn_local(std::rc::Rc::clone(&pool).keep());
                while let Some(command) = received.recv().await {
                    match command {
                        Command::Run(call) => pool.submit(call),
                        Command::Reload => pool.reload(),
                        Command::Gateways(gateways) => pool.gateways(gateways),
                    }
                }
                keeper.abort();
            });
        })?;
        Ok(Arc::new(Self { commands, state, figures, signer: ArcSwap::from_pointee(signer), debug }))
    }

    async fn attempt(&self, job: Job) -> Finished {
        let verified = match job.verify(&self.signer.load()) {
            Ok(verified) => verified,
            Err(refused) => return *refused,
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
        let asked = Asked {
            kind: job.kind,
            transport: job.client.transport,
            class: &verified.class,
            method: &verified.method,
            request_id: &job.request_id,
            debug: self.debug,
        };
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

    fn register_metrics(&self, registry: &Registry) {
        self.figures.register(registry);
    }

    fn gateways(&self, connected: usize, draining: bool) {
        // A full queue means thousands of calls; the next change tells it.
        let _ = self.commands.try_send(Command::Gateways(Gateways { connected, draining }));
    }

    /// Replaces all processes, one after the other: the application's code may be another.
    fn reload(&self) -> bool {
        self.commands.try_send(Command::Reload).is_ok()
    }

    fn reloading(&self) -> usize {
        self.state.borrow().older
    }

    fn set_signer(&self, signer: &Signer) {
        self.signer.store(Arc::new(signer.clone()));
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
