//! Components of a Laravel application, in a pool of PHP processes that boot it once.
//!
//! * `process`: one process, its script and its ends
//! * `room`: where calls meet processes, on the calls' own threads
//! * `pool`: how many there are, and what becomes of them, on a thread that they die with
//! * `cores`: where they run while calls wait
//! * `frame`: what goes over the socket between
//! * `figures`: what a pool counts

mod cores;
mod figures;
mod frame;
mod pool;
mod process;
mod room;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use diffyne_shared::settings::php::PhpSettings;
use diffyne_shared::signing::Signer;
use prometheus::Registry;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::names::KnownNames;
use super::translation::Asked;
use super::{Backend, Finished, FinishedFuture, Job, request};
use figures::Figures;
use pool::{Gateways, Pool, SPARE};
use room::Room;

pub use room::PoolState;

/// Words for the pool's thread that wait; there are few of them.
const COMMANDS_MAX: usize = 1024;

enum Command {
    Reload,
    Gateways(Gateways),
}

/// The backend over a pool.
pub struct PhpBackend {
    commands: mpsc::Sender<Command>,
    room: Arc<Room>,
    /// Signs and verifies; can be exchanged while calls run.
    signer: ArcSwap<Signer>,
    debug: bool,
    known: KnownNames,
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
        let (commands, mut received) = mpsc::channel(COMMANDS_MAX);
        let room = Room::new(&settings, SPARE, Figures::new());
        let kept = Arc::clone(&room);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("php-pool".to_owned()).spawn(move || {
            LocalSet::new().block_on(&runtime, async move {
                let pool = Pool::new(settings, status_ttl, kept);
                let tasks = [
                    tokio::task::spawn_local(std::rc::Rc::clone(&pool).keep()),
                    tokio::task::spawn_local(std::rc::Rc::clone(&pool).watch()),
                ];
                while let Some(command) = received.recv().await {
                    match command {
                        Command::Reload => pool.reload(),
                        Command::Gateways(gateways) => pool.gateways(gateways),
                    }
                }
                for task in tasks {
                    task.abort();
                }
            });
        })?;
        Ok(Arc::new(Self {
            commands,
            room,
            signer: ArcSwap::from_pointee(signer),
            debug,
            known: KnownNames::default(),
        }))
    }

    async fn attempt(&self, job: Job) -> Finished {
        let verified = match job.verify(&self.signer.load()) {
            Ok(verified) => verified,
            Err(refused) => return *refused,
        };
        let head = request::head(&job, &verified.trust);
        let (told, body) = self.room.run(&head, &job.payload, job.deadline).await;
        let asked = Asked {
            kind: job.kind,
            transport: job.client.transport,
            class: &verified.class,
            method: &verified.method,
            request_id: &job.request_id,
            debug: self.debug,
            known: &self.known,
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

    fn features(&self) -> Vec<String> {
        std::iter::once("bridge".to_owned()).chain(super::locked_feature(&self.signer.load())).collect()
    }

    fn register_metrics(&self, registry: &Registry) {
        self.room.figures.register(registry);
    }

    fn gateways(&self, connected: usize, draining: bool) {
        // There is room: few words are said, and the thread has little else to do.
        let _ = self.commands.try_send(Command::Gateways(Gateways { connected, draining }));
    }

    /// Replaces all processes, one after the other: the application's code may be another.
    fn reload(&self) -> bool {
        self.commands.try_send(Command::Reload).is_ok()
    }

    fn reloading(&self) -> usize {
        self.room.state.borrow().older
    }

    fn set_signer(&self, signer: &Signer) {
        self.signer.store(Arc::new(signer.clone()));
    }

    fn ready(&self) -> Result<(), String> {
        let state = self.room.state.borrow();
        match &state.fault {
            _ if state.ready > 0 => Ok(()),
            Some(fault) => Err(format!("PHP does not start: {fault}")),
            None => Err("PHP is starting".to_owned()),
        }
    }
}
