//! The command line of `diffyne-worker`, and of any worker with components of its own.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use clap::{ArgMatches, Command};
use diffyne_shared::admin;
use diffyne_shared::listener::Listener;
use diffyne_shared::rpc::Endpoint;
use diffyne_shared::settings::worker::{self, Components, MissingKey, WorkerSettings};
use diffyne_shared::settings::{self, Layers};
use diffyne_shared::telemetry::Logs;
use tokio::signal::unix::{SignalKind, signal};

use crate::backend::Backend;
use crate::backend::native::NativeBackend;
use crate::backend::php::PhpBackend;
use crate::backend::upstream::UpstreamBackend;
use crate::component::engine::{Engine, PushSlots};
use crate::component::{App, Registry};
use crate::demo;
use crate::server::Worker;
use crate::top;
use crate::upload::{self, UploadStore};

/// How long a reload may take: each process boots the application once.
const RELOAD_TIMEOUT: Duration = Duration::from_mins(10);
const RELOAD_CHECK_INTERVAL: Duration = Duration::from_millis(200);

const HELP: &str = "Example: diffyne-worker serve --env-file /path/to/app/.env --redis-url redis://127.0.0.1
Every setting can be given as a flag, in the environment, in a .env file or in a TOML file; later ones in
this list lose. Signals: SIGTERM finishes running calls, hands back the others and stops; SIGHUP reloads
signing keys, worker tokens and the log level, and replaces all PHP processes one by one (after a deploy);
`diffyne-worker reload` does the last and waits for it. `diffyne-worker top` shows what each PHP process does.

A Laravel application: diffyne-worker serve --app /var/www/app --redis-url redis://127.0.0.1
takes the keys from its .env and runs its Diffyne components in PHP processes that boot it once.";

fn command() -> Command {
    let serve = Command::new("serve").about("Run a worker").args(settings::arguments(&worker::specs()));
    let check = Command::new("check-config")
        .about("Check the settings and print each with its origin; secrets are masked")
        .args(settings::arguments(&worker::specs()));
    let list = Command::new("settings").about("Print every setting as a Markdown table");
    let reload = Command::new("reload")
        .about("Have a running worker replace its PHP processes one by one, and wait until it has (after a deploy)")
        .after_help(
            "Give it the settings of that worker: it is found at its admin address, and asks for DIFFYNE_ADMIN_TOKEN.",
        )
        .args(settings::arguments(&worker::specs()));
    let top = top::command().args(settings::arguments(&worker::specs()));
    Command::new("diffyne-worker")
        .about("Runs Diffyne components for the gateways")
        .after_help(HELP)
        .version(diffyne_shared::VERSION)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([serve, top, reload, check, list])
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

/// As [`main_with`], with a web server beside the worker that renders pages with its components ([`crate::page`]).
///
/// The worker stops when `site` returns.
pub fn main_with_site<F: Future<Output = anyhow::Result<()>>>(
    register: impl FnOnce(&mut Registry, &WorkerSettings) -> anyhow::Result<App>,
    site: impl FnOnce(Arc<Engine>) -> F,
) -> ExitCode {
    let matches = command().get_matches();
    let result = match matches.subcommand() {
        Some(("serve", matches)) => serve(matches, register, site),
        Some(("reload", matches)) => request_reload(matches),
        Some(("top", matches)) => show_processes(matches),
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
        // The application's own settings, above all its key.
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

/// Asks a running worker to load the application's newest code, and waits until it has.
fn request_reload(matches: &ArgMatches) -> anyhow::Result<()> {
    let (address, token) = running_worker(matches)?;
    let token = token.context("DIFFYNE_ADMIN_TOKEN is not set; without it, send the worker a SIGHUP")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut printed = None;
        let mut path = "/api/reload";
        let until = std::time::Instant::now() + RELOAD_TIMEOUT;
        loop {
            let response = admin::ask(&address, &token, path, "{}").await.map_err(anyhow::Error::msg)?;
            let left = response["left"].as_u64().unwrap_or_default();
            if left == 0 && path != "/api/reload" {
                println!("done: all PHP processes run the newest code");
                return Ok(());
            }
            if printed != Some(left) && left > 0 {
                println!("{left} PHP processes are to be replaced");
                printed = Some(left);
            }
            anyhow::ensure!(
                std::time::Instant::now() < until,
                "{left} PHP processes still run older code: see the worker's log"
            );
            path = "/api/reload/left";
            tokio::time::sleep(RELOAD_CHECK_INTERVAL).await;
        }
    })
}

/// Shows what the PHP processes of a running worker do.
fn show_processes(matches: &ArgMatches) -> anyhow::Result<()> {
    let (address, token) = running_worker(matches)?;
    let token = token.context("DIFFYNE_ADMIN_TOKEN is not set: the worker tells nobody without it")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(top::run(matches, &address, &token))
}

/// The admin address of the worker with these settings, and its token.
fn running_worker(matches: &ArgMatches) -> anyhow::Result<(Endpoint, Option<String>)> {
    let settings = WorkerSettings::read(&layers(matches)?, MissingKey::Refuse)?;
    let address = settings.admin_listen.context("the worker has no admin address: set DIFFYNE_WORKER_ADMIN_LISTEN")?;
    Ok((address, settings.admin_token))
}

/// The component engine by these settings. It takes no uploads.
pub fn engine(settings: &WorkerSettings, registry: Registry, app: App) -> Arc<Engine> {
    engine_with(settings, registry, app, None)
}

fn engine_with(
    settings: &WorkerSettings,
    registry: Registry,
    app: App,
    uploads: Option<Arc<UploadStore>>,
) -> Arc<Engine> {
    let signer = ArcSwap::from_pointee(settings.signer.clone());
    Arc::new(Engine {
        registry,
        signer,
        app,
        debug: settings.debug,
        uploads,
        release: settings.release.as_deref().map(Arc::from),
        push_slots: PushSlots::default(),
    })
}

/// Opens the store for uploads, if this worker takes any.
fn open_uploads(settings: &WorkerSettings) -> anyhow::Result<Option<Arc<UploadStore>>> {
    let Some(uploads) = &settings.uploads else { return Ok(None) };
    UploadStore::open(uploads).map(Some).with_context(|| format!("DIFFYNE_UPLOAD_DIR: {}", uploads.directory.display()))
}

/// Serves uploads until the program ends.
fn serve_uploads(settings: &WorkerSettings, store: &Arc<UploadStore>) -> anyhow::Result<()> {
    let Some(address) = settings.uploads.as_ref().and_then(|uploads| uploads.listen.as_ref()) else { return Ok(()) };
    let listener =
        Listener::bind(address).with_context(|| format!("DIFFYNE_UPLOAD_LISTEN: cannot listen on {address}"))?;
    tracing::info!(%address, "taking uploads");
    tokio::spawn(upload::serve(listener, Arc::clone(store)));
    tokio::spawn(Arc::clone(store).keep_clean());
    Ok(())
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
    let is_native = matches!(settings.components, Components::Native);
    let app: App = if is_native { register(&mut registry, &settings)? } else { Arc::new(()) };
    let uploads = if is_native { open_uploads(&settings)? } else { None };
    let engine = engine_with(&settings, registry, app, uploads.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(async {
        let backend = backend(&settings, &engine)?;
        let worker = Worker::start(&settings, Arc::clone(&backend))?;
        if let Some(store) = &uploads {
            serve_uploads(&settings, store)?;
        }
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
                _ = hang_up.recv() => match reload(matches, &logs, &engine, &*backend, &worker) {
                    Ok(()) => tracing::info!(backend = backend.name(), "keys and log level reloaded"),
                    Err(error) => tracing::error!(error = format!("{error:#}"), "nothing was reloaded"),
                },
            }
        }
        worker.stop().await;
        ended
    })
}

fn backend(settings: &WorkerSettings, engine: &Arc<Engine>) -> anyhow::Result<Arc<dyn Backend>> {
    let signer = || settings.signer.clone();
    let release = || settings.release.as_deref().map(Arc::from);
    Ok(match settings.components.clone() {
        Components::Native => Arc::new(NativeBackend::new(Arc::clone(engine))),
        Components::Php(php) => {
            PhpBackend::start(php, &settings.rendering, settings.status_ttl, signer(), settings.debug, release())
                .context("cannot start the pool of PHP processes")?
        }
        Components::Application(application) => {
            UpstreamBackend::start(application, &settings.rendering, signer(), settings.debug, release())
        }
    })
}

fn reload(
    matches: &ArgMatches,
    logs: &Logs,
    engine: &Engine,
    backend: &dyn Backend,
    worker: &Worker,
) -> anyhow::Result<()> {
    let settings = WorkerSettings::read(&layers(matches)?, MissingKey::Refuse)?;
    logs.set_filter(&settings.log.filter).map_err(anyhow::Error::msg)?;
    backend.set_signer(&settings.signer);
    backend.reload();
    engine.signer.store(Arc::new(settings.signer.clone()));
    worker.set_secrets(&settings).map_err(anyhow::Error::msg)
}
