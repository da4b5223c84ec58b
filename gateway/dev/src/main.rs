//! `diffyne-dev`: gateway, worker and bus in one process, for trying things out: the demo with its page, or an application.
//!
//! The gateway speaks to the worker as in production, but within the process: each of its threads serves both ends of its
//! connection, so a call needs no system call to get to the worker.
//! This is the only crate that depends on both the gateway and the worker.

mod pages;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{ArgMatches, Command};
use diffyne_gateway::process;
use diffyne_gateway::scripts::ScriptPages;
use diffyne_gateway::server::{Gateway, MakePages, OwnWorker};
use diffyne_shared::rpc::Endpoint;
use diffyne_shared::settings::gateway::{self, GatewaySettings};
use diffyne_shared::settings::worker::{self, Components, MissingKey, WorkerSettings};
use diffyne_shared::settings::{self, Layers, Spec};
use diffyne_shared::signals::Signals;
use diffyne_shared::telemetry::Logs;
use diffyne_worker::backend::Backend;
use diffyne_worker::backend::native::NativeBackend;
use diffyne_worker::component::Registry;
use diffyne_worker::component::engine::Engine;
use diffyne_worker::server::Worker;
use diffyne_worker::{cli as worker_cli, demo};

use pages::DemoPages;

/// Settings of a worker's listener and threads, which this process has not, and of workers beside its own.
const WITHOUT_EFFECT: &[&str] = &[
    "DIFFYNE_WORKERS",
    "DIFFYNE_WORKER_ADVERTISE",
    "DIFFYNE_WORKER_DRAIN_TIMEOUT",
    "DIFFYNE_WORKER_LISTEN",
    "DIFFYNE_WORKER_THREADS",
    "DIFFYNE_WORKER_TLS_CERT",
    "DIFFYNE_WORKER_TLS_KEY",
];

/// Of so many cores, one is for a thread of the gateway, where PHP runs the calls.
const CORES_A_THREAD: usize = 4;

/// Faster than that of the system for the many small parts of states and views.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let matches = command().get_matches();
    match run(&matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("diffyne-dev: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the settings of both programs.
fn specs() -> Vec<&'static Spec> {
    let mut specs = gateway::specs();
    for spec in worker::specs() {
        if !specs.iter().any(|known| known.name == spec.name) {
            specs.push(spec);
        }
    }
    specs
}

fn command() -> Command {
    Command::new("diffyne-dev")
        .about("Try Diffyne Cluster: gateway, worker and bus in one process, with a demo page or with your application")
        .after_help(
            "Without more, the demo runs. With --app DIRECTORY, the Laravel application there does, by PHP processes of its \
             own and with the settings of its .env.\n\nEvery setting can also be given in the environment, in a .env file or \
             in a TOML file. Ctrl-C stops.",
        )
        .version(diffyne_shared::VERSION)
        .args(settings::arguments(&specs()))
}

/// Runs everything until Ctrl-C.
fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let specs = specs();
    let layers = worker_cli::layers_of(matches, &specs)?;
    let settings = BothSettings::read(&layers)?;
    let logs = Logs::start(&settings.gateway.log, "diffyne-dev", &settings.gateway.name).map_err(anyhow::Error::msg)?;
    settings.warn();
    process::control_runtime()?.block_on(async {
        let signals = Signals::new().context("cannot take signals")?;
        let (engine, backend) = open_backend(&settings.worker)?;
        let worker = Worker::start(&settings.worker, Arc::clone(&backend))?;
        let gateway = start_gateway(settings.gateway.clone(), &settings.worker, &engine, &worker)?;
        println!("{}", welcome(&gateway, &worker, &settings));
        let reload = || {
            let settings = BothSettings::read(&worker_cli::layers_of(matches, &specs)?)?;
            settings.warn();
            // The key of the demo's components is another one at each start.
            if !settings.is_demo() {
                worker_cli::apply(&settings.worker, &engine, &*backend, &worker)?;
            }
            process::apply(&gateway, &logs, settings.gateway)
        };
        process::wait_for_stop(&gateway, signals, reload).await;
        gateway.stop().await;
        worker.stop().await;
        Ok(())
    })
}

/// The settings of gateway and worker, checked.
struct BothSettings {
    gateway: GatewaySettings,
    worker: WorkerSettings,
    warnings: Vec<String>,
}

impl BothSettings {
    /// Reads them. The worker of this process listens nowhere: the gateway's threads serve it.
    fn read(layers: &Layers) -> anyhow::Result<Self> {
        let (layers, left_out) = layers.without(WITHOUT_EFFECT);
        let mut gateway = GatewaySettings::read(&layers)?;
        let mut worker = WorkerSettings::read(&layers, MissingKey::Random)?;
        let is_demo = matches!(worker.components, Components::Native);
        if !is_demo {
            // Pages are signed with the application's key.
            worker = WorkerSettings::read(&layers, MissingKey::Refuse)?;
        }
        let mut warnings = layers.warnings().to_vec();
        if !is_demo {
            warnings.extend(gateway.warnings());
            let no_effect = |name| format!("{name} has no effect: the worker is a part of this process");
            warnings.extend(left_out.into_iter().map(no_effect));
        }
        gateway.workers.push(Endpoint::InProcess);
        worker.listen = Endpoint::InProcess;
        // Other gateways do not reach this worker.
        worker.redis.url = None;
        let is_set = |name| specs().into_iter().any(|spec| spec.name == name && layers.is_set(spec));
        if is_demo {
            worker.admin_listen = None;
        } else if !is_set("DIFFYNE_WORKER_ADMIN_LISTEN") {
            // Any free port: a worker of its own may run beside this process.
            worker.admin_listen = Some(Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: 0 });
        }
        if !is_demo && !is_set("DIFFYNE_THREADS") {
            // PHP takes the others.
            gateway.threads = (gateway.threads / CORES_A_THREAD).max(1);
        }
        Ok(Self { gateway, worker, warnings })
    }

    /// Whether the demo's components run, and no application's.
    fn is_demo(&self) -> bool {
        matches!(self.worker.components, Components::Native)
    }

    /// Logs what an operator should know. Settings of an application are taken as seriously as in production.
    fn warn(&self) {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
    }
}

/// The engine of the components in Rust, and what runs the calls: the demo's components, or an application's.
fn open_backend(settings: &WorkerSettings) -> anyhow::Result<(Arc<Engine>, Arc<dyn Backend>)> {
    let mut registry = Registry::default();
    if matches!(settings.components, Components::Native) {
        demo::register(&mut registry);
        let engine = worker_cli::engine(settings, registry, demo::app(&settings.database)?);
        return Ok((Arc::clone(&engine), Arc::new(NativeBackend::demo(engine))));
    }
    let engine = worker_cli::engine(settings, registry, Arc::new(()));
    let backend = worker_cli::backend(settings, &engine)?;
    Ok((engine, backend))
}

fn start_gateway(
    settings: GatewaySettings,
    worker_settings: &WorkerSettings,
    engine: &Arc<Engine>,
    worker: &Worker,
) -> anyhow::Result<Gateway> {
    let prefix = settings.route_prefix.clone();
    let pages: MakePages = if matches!(worker_settings.components, Components::Native) {
        let encoded = |key: &String| form_urlencoded::byte_serialize(key.as_bytes()).collect::<String>();
        let query = settings.keys.first().map(|key| format!("?key={}", encoded(key))).unwrap_or_default();
        let (socket, engine) = (format!("{}{query}", settings.path), Arc::clone(engine));
        Box::new(move |health| Arc::new(DemoPages::new(health, engine, socket, prefix)))
    } else {
        let release = settings.release.clone();
        Box::new(move |health| Arc::new(ScriptPages::new(health, &prefix, release.as_deref())))
    };
    let own_worker = OwnWorker(worker.serve_in_process());
    Ok(Gateway::start_with(settings, pages, Some(own_worker))?)
}

fn welcome(gateway: &Gateway, worker: &Worker, both: &BothSettings) -> String {
    let metrics = |at: &Option<Endpoint>| at.as_ref().map_or("off".to_owned(), |at| format!("http://{at}/metrics"));
    let admin = metrics(&gateway.admin_address);
    let settings = &both.gateway;
    let bus = settings.redis.url.as_ref().map_or("in memory", |_| "Redis");
    let at = &gateway.address;
    let addresses = format!(
        "    socket   ws://{at}{path}
    health   http://{at}/health
    metrics  {admin}",
        path = settings.path
    );
    let version = diffyne_shared::VERSION;
    if both.is_demo() {
        format!(
            "
  Diffyne Cluster {version} is running: one gateway, one worker, a bus {bus}.

    page     http://{at}/          open it in two tabs and chat
{addresses}
    messages {database}

  Try: curl -s http://{at}/health
  Ctrl-C stops.
",
            database = both.worker.database.display(),
        )
    } else {
        let reloads = match &both.worker.components {
            Components::Php(_) => "A SIGHUP loads the application's newest code. ",
            _ => "",
        };
        format!(
            "
  Diffyne Cluster {version} is running your application: gateway and worker in one process, a bus {bus}.

{addresses}
    worker   {worker}

  Pages connect to the address in config/diffyne.php (DIFFYNE_WS_HOST and DIFFYNE_WS_PORT in the application's .env).
  {reloads}Ctrl-C stops.
",
            worker = metrics(&worker.admin_address),
        )
    }
}
