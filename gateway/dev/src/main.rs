//! `diffyne-dev`: gateway, worker and bus in one process, with a demo page, for trying things out.
//!
//! The gateway reaches the worker by the same protocol as in production, over a Unix socket in a temporary directory.
//! This is the only crate that depends on both the gateway and the worker.

mod pages;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{ArgMatches, Command};
use diffyne_gateway::http::pages::Pages;
use diffyne_gateway::process;
use diffyne_gateway::server::Gateway;
use diffyne_shared::rpc::Endpoint;
use diffyne_shared::settings::gateway::{self, GatewaySettings};
use diffyne_shared::settings::worker::{self, MissingKey, WorkerSettings};
use diffyne_shared::settings::{self, Spec};
use diffyne_shared::signals::Signals;
use diffyne_shared::telemetry::Logs;
use diffyne_worker::backend::native::NativeBackend;
use diffyne_worker::component::Registry;
use diffyne_worker::component::engine::Engine;
use diffyne_worker::server::Worker;
use diffyne_worker::{cli as worker_cli, demo};

use pages::DemoPages;

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
        .about("Try Diffyne Cluster: gateway, worker and bus in one process, and a demo page")
        .after_help(
            "Every setting can also be given in the environment, in a .env file or in a TOML file. Ctrl-C stops.",
        )
        .version(diffyne_shared::VERSION)
        .args(settings::arguments(&specs()))
}

/// Runs everything until Ctrl-C.
fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let specs = specs();
    let layers = process::layers(matches, &specs)?;
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let socket = Endpoint::Unix(directory.path().join("worker.sock"));
    let mut gateway_settings = GatewaySettings::read(&layers)?;
    gateway_settings.workers.push(socket.clone());
    let worker_settings = WorkerSettings {
        listen: socket,
        admin_listen: None,
        redis: diffyne_shared::settings::common::RedisSettings { url: None, ..gateway_settings.redis.clone() },
        ..WorkerSettings::read(&layers, MissingKey::Random)?
    };
    let logs = Logs::start(&gateway_settings.log, "diffyne-dev", &gateway_settings.name).map_err(anyhow::Error::msg)?;
    process::control_runtime()?.block_on(async {
        let signals = Signals::new().context("cannot take signals")?;
        let mut registry = Registry::default();
        demo::register(&mut registry);
        let engine = worker_cli::engine(&worker_settings, registry, demo::app(&worker_settings.database)?);
        let worker = Worker::start(&worker_settings, Arc::new(NativeBackend::demo(Arc::clone(&engine))))?;
        let gateway = start_gateway(gateway_settings.clone(), engine)?;
        println!("{}", welcome(&gateway, &gateway_settings, &worker_settings));
        process::wait_for_stop(&gateway, signals, &logs, matches, &specs).await;
        gateway.stop().await;
        worker.stop().await;
        Ok(())
    })
}

fn start_gateway(settings: GatewaySettings, engine: Arc<Engine>) -> anyhow::Result<Gateway> {
    let encoded = |key: &String| form_urlencoded::byte_serialize(key.as_bytes()).collect::<String>();
    let query = settings.keys.first().map(|key| format!("?key={}", encoded(key))).unwrap_or_default();
    let socket = format!("{}{query}", settings.path);
    let prefix = settings.route_prefix.clone();
    let pages = move |health| -> Arc<dyn Pages> { Arc::new(DemoPages::new(health, engine, socket, prefix)) };
    Ok(Gateway::start(settings, Box::new(pages))?)
}

fn welcome(gateway: &Gateway, settings: &GatewaySettings, worker: &WorkerSettings) -> String {
    let admin = gateway.admin_address.as_ref().map_or_else(|| "off".to_owned(), |at| format!("http://{at}/metrics"));
    let bus = settings.redis.url.as_ref().map_or("in memory", |_| "Redis");
    format!(
        "
  Diffyne Cluster {version} is running: one gateway, one worker, a bus {bus}.

    page     http://{at}/          open it in two tabs and chat
    socket   ws://{at}/
    health   http://{at}/health
    metrics  {admin}
    messages {database}

  Try: curl -s http://{at}/health
  Ctrl-C stops.
",
        version = diffyne_shared::VERSION,
        at = gateway.address,
        database = worker.database.display(),
    )
}
