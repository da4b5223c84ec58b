//! The command line of `diffyne-worker`, and of any worker with components of its own.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use clap::{ArgMatches, Command};
use diffyne_shared::settings::worker::{self, MissingKey, WorkerSettings};
use diffyne_shared::settings::{self, Layers};
use diffyne_shared::telemetry::Logs;
use tokio::signal::unix::{SignalKind, signal};

use crate::backend::Backend;
use crate::backend::http::HttpBackend;
use crate::backend::native::NativeBackend;
use crate::backend::php::PhpBackend;
use crate::component::Registry;
use crate::component::context::App;
use crate::component::engine::Engine;
use crate::demo;
use crate::server::Worker;

const AFTER: &str = "Example: diffyne-worker serve --env-file /path/to/app/.env --redis-url redis://127.0.0.1
Every setting can be given as a flag, in the environment, in a .env file or in a TOML file; later ones in
this list lose. Signals: SIGTERM finishes running calls, hands back the others and stops; SIGHUP reloads
signing keys, worker tokens and the log level, and replaces all PHP processes one by one (after a deploy).

A Laravel application: diffyne-worker serve --app /var/www/app --redis-url redis://127.0.0.1
takes the keys from its .env and runs its Diffyne components in PHP processes that boot it once.";

fn command() -> Command {
    let serve = Command::new("serve").about("Run a worker").args(settings::arguments(&worker::specs()));
    let check = Command::new("check-config")
        .about("Check the settings and print each with its origin; secrets are masked")
        .args(settings::arguments(&worker::specs()));
    let list = Command::new("settings").about("Print every setting as a Markdown table");
    Command::new("diffyne-worker")
        .about("Runs Diffyne components for the gateways")
        .after_help(AFTER)
        .version(diffyne_shared::VERSION)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([serve, check, list])
}

/// Runs the program with the demo components.
pub fn main() -> ExitCode {
    main_with(|registry, settings| {
        demo::register(registry);
        demo::app(&settings.database)
    })
}

/// Runs a worker with components of your own: `register` adds them and returns the state that they share.
pub fn main_with(register: impl FnOnce(&mut Registry, &WorkerSettings) -> anyhow::Result<App>) -> ExitCode {
    main_with_site(register, |_engine| std::future::pending())
}

/// The same, with something beside the worker: a web server that renders pages with the components ([`crate::page`]).
/// When it ends, the worker does.
pub fn main_with_site<F: Future<Output = anyhow::Result<()>>>(
    register: impl FnOnce(&mut Registry, &WorkerSettings) -> anyhow::Result<App>,
    site: impl FnOnce(Arc<Engine>) -> F,
) -> ExitCode {
    let matches = command().get_matches();
    let result = match matches.subcommand() {
        Some(("serve", matches)) => serve(matches, register, site),
        Some(("check-config", matches)) => check_config(matches),
        _ => {
            print!("{}", settings::markdown(&worker::specs()));
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("diffyne-worker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn layers(matches: &ArgMatches) -> anyhow::Result<Layers> {
    let specs = worker::specs();
    let (mut files, flags) = settings::from_matches(matches, &specs);
    let environment: HashMap<String, String> = std::env::vars().collect();
    if files.env_file.is_none() {
        // An application's own settings, its key first of all.
        let app = flags.get("DIFFYNE_APP").or_else(|| environment.get("DIFFYNE_APP"));
        files.env_file = app.map(|app| Path::new(app).join(".env")).filter(|file| file.is_file());
    }
    Ok(Layers::read(&specs, &files, &environment, &flags)?)
}

fn check_config(matches: &ArgMatches) -> anyhow::Result<()> {
    let layers = layers(matches)?;
    WorkerSettings::read(&layers, MissingKey::Refuse)?;
    print!("{}", layers.table());
    Ok(())
}

/// The engine of these settings.
pub fn engine(settings: &WorkerSettings, registry: Registry, app: App) -> Arc<Engine> {
    let signer = ArcSwap::from_pointee(settings.signer.clone());
    Arc::new(Engine { registry, signer, app, debug: settings.debug })
}

fn serve<F: Future<Output = anyhow::Result<()>>>(
    matches: &ArgMatches,
    register: impl FnOnce(&mut Registry, &WorkerSettings) -> anyhow::Result<App>,
    site: impl FnOnce(Arc<Engine>) -> F,
) -> anyhow::Result<()> {
    let settings = WorkerSettings::read(&layers(matches)?, MissingKey::Refuse)?;
    let logs = Logs::start(&settings.log, "diffyne-worker").map_err(anyhow::Error::msg)?;
    let mut registry = Registry::default();
    // Otherwise the components are an application's.
    let is_native = settings.php.is_none() && settings.http.is_none();
    let app: App = if is_native { register(&mut registry, &settings)? } else { Arc::new(()) };
    let engine = engine(&settings, registry, app);
    let php = match &settings.php {
        Some(php) => {
            let backend = PhpBackend::start(php.clone(), settings.signer.clone(), settings.debug);
            Some(backend.context("cannot start the pool of PHP processes")?)
        }
        None => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(async {
        let http = settings.http.clone().map(|http| HttpBackend::start(http, settings.signer.clone(), settings.debug));
        let backend: Arc<dyn Backend> = match (&php, &http) {
            (Some(php), _) => Arc::clone(php) as Arc<dyn Backend>,
            (None, Some(http)) => Arc::clone(http) as Arc<dyn Backend>,
            (None, None) => Arc::new(NativeBackend::new(Arc::clone(&engine))),
        };
        let worker = Worker::start(&settings, backend)?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let mut site = std::pin::pin!(site(Arc::clone(&engine)));
        let mut ended = Ok(());
        loop {
            tokio::select! {
                site_ended = &mut site => {
                    ended = site_ended;
                    break;
                }
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => match reload(matches, &logs, &engine, php.as_deref(), http.as_deref(), &worker).await {
                    Ok(()) => tracing::info!(php = php.is_some(), "keys and log level reloaded"),
                    Err(error) => tracing::error!(error = format!("{error:#}"), "nothing was reloaded"),
                },
            }
        }
        worker.stop().await;
        ended
    })
}

async fn reload(
    matches: &ArgMatches,
    logs: &Logs,
    engine: &Engine,
    php: Option<&PhpBackend>,
    http: Option<&HttpBackend>,
    worker: &Worker,
) -> anyhow::Result<()> {
    let settings = WorkerSettings::read(&layers(matches)?, MissingKey::Refuse)?;
    logs.set_filter(&settings.log.filter).map_err(anyhow::Error::msg)?;
    if let Some(php) = php {
        php.signer.store(Arc::new(settings.signer.clone()));
        php.reload().await;
    }
    if let Some(http) = http {
        http.signer.store(Arc::new(settings.signer.clone()));
    }
    engine.signer.store(Arc::new(settings.signer));
    worker.set_tokens(settings.tokens);
    Ok(())
}
