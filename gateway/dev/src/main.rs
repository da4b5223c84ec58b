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

/// Of so many cores, one is for a thread of the gateway, where PHP runs the calls.
const CORES_A_THREAD: usize = 4;

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
    let (gateway_settings, worker_settings) = read_settings(&layers)?;
    let logs = Logs::start(&gateway_settings.log, "diffyne-dev", &gateway_settings.name).map_err(anyhow::Error::msg)?;
    for warning in warnings(&layers, &gateway_settings, &worker_settings) {
        tracing::warn!("{warning}");
    }
    process::control_runtime()?.block_on(async {
        let signals = Signals::new().context("cannot take signals")?;
        let (engine, backend) = open_backend(&worker_settings)?;
        let worker = Worker::start(&worker_settings, Arc::clone(&backend))?;
        let gateway = start_gateway(gateway_settings.clone(), &worker_settings, &engine, &worker)?;
        println!("{}", welcome(&gateway, &gateway_settings, &worker_settings));
        let reload = || {
            let layers = worker_cli::layers_of(matches, &specs)?;
            process::reload(&gateway, &logs, &layers)?;
            match worker_settings.components {
                // Its key is another one at each start.
                Components::Native => Ok(()),
                _ => worker_cli::reload(&layers, &logs, &engine, &*backend, &worker),
            }
        };
        process::wait_for_stop(&gateway, signals, reload).await;
        gateway.stop().await;
        worker.stop().await;
        Ok(())
    })
}

/// What an operator should know of these settings. Those of an application are taken as seriously as in production.
fn warnings(layers: &Layers, gateway_settings: &GatewaySettings, worker_settings: &WorkerSettings) -> Vec<String> {
    let mut warnings = layers.warnings().to_vec();
    if !matches!(worker_settings.components, Components::Native) {
        warnings.extend(gateway_settings.warnings());
        warnings.extend(worker_settings.warnings());
        let listen = worker::specs().into_iter().find(|spec| spec.name == "DIFFYNE_WORKER_LISTEN");
        if listen.is_some_and(|spec| layers.is_set(spec)) {
            warnings.push("DIFFYNE_WORKER_LISTEN has no effect: the worker of this process listens nowhere".to_owned());
        }
    }
    warnings
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

/// The settings of gateway and worker. The worker of this process listens nowhere: the gateway's threads serve it.
fn read_settings(layers: &Layers) -> anyhow::Result<(GatewaySettings, WorkerSettings)> {
    let mut gateway = GatewaySettings::read(layers)?;
    let mut worker = WorkerSettings::read(layers, MissingKey::Random)?;
    gateway.workers.push(Endpoint::InProcess);
    worker.listen = Endpoint::InProcess;
    if matches!(worker.components, Components::Native) {
        (worker.admin_listen, worker.redis.url) = (None, None);
    } else {
        // Pages are signed with the application's key.
        let signer = WorkerSettings::read(layers, MissingKey::Refuse)?.signer;
        // Other gateways do not reach this worker.
        (worker.signer, worker.redis.url) = (signer, None);
        if layers.text("DIFFYNE_THREADS").is_none() {
            // PHP takes the others.
            gateway.threads = (gateway.threads / CORES_A_THREAD).max(1);
        }
    }
    Ok((gateway, worker))
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

fn welcome(gateway: &Gateway, settings: &GatewaySettings, worker: &WorkerSettings) -> String {
    let admin = gateway.admin_address.as_ref().map_or_else(|| "off".to_owned(), |at| format!("http://{at}/metrics"));
    let bus = settings.redis.url.as_ref().map_or("in memory", |_| "Redis");
    let at = &gateway.address;
    let addresses = format!(
        "    socket   ws://{at}{path}
    health   http://{at}/health
    metrics  {admin}",
        path = settings.path
    );
    let version = diffyne_shared::VERSION;
    if matches!(worker.components, Components::Native) {
        format!(
            "
  Diffyne Cluster {version} is running: one gateway, one worker, a bus {bus}.

    page     http://{at}/          open it in two tabs and chat
{addresses}
    messages {database}

  Try: curl -s http://{at}/health
  Ctrl-C stops.
",
            database = worker.database.display(),
        )
    } else {
        let workers =
            worker.admin_listen.as_ref().map_or_else(|| "off".to_owned(), |at| format!("http://{at}/metrics"));
        format!(
            "
  Diffyne Cluster {version} is running your application: gateway and worker in one process, a bus {bus}.

{addresses}
    worker   {workers}

  Pages connect to the address in config/diffyne.php (DIFFYNE_WS_HOST and DIFFYNE_WS_PORT in the application's .env).
  A SIGHUP loads the application's newest code. Ctrl-C stops.
",
        )
    }
}
