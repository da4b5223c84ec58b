//! The command line of `diffyne-worker`, and of any worker with components of its own.

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
use diffyne_shared::settings::{self, Layers, Spec};
use diffyne_shared::signals::{SignalAction, Signals};
use diffyne_shared::task;
use diffyne_shared::telemetry::Logs;
use serde_json::Value;

use crate::backend::Backend;
use crate::backend::native::NativeBackend;
use crate::backend::php::PhpBackend;
use crate::backend::upstream::UpstreamBackend;
use crate::component::engine::{Engine, PushSlots};
use crate::component::{App, Registry};
use crate::demo;
use crate::server::{self, Worker};
use crate::top;
use crate::upload::{self, UploadStore};

/// How long a reload may take: each process boots the application once.
const RELOAD_TIMEOUT: Duration = Duration::from_mins(10);
const RELOAD_CHECK_INTERVAL: Duration = Duration::from_millis(200);

const HELP: &str = "A Laravel application: diffyne-worker serve --app /var/www/app --redis-url redis://127.0.0.1
takes the keys from its .env and runs its Diffyne components in PHP processes that boot it once.

Every setting can be given as a flag, in the environment, in a .env file or in a TOML file; later ones
in this list lose.

Signals: SIGTERM finishes running calls, hands back the others and stops. SIGHUP reloads signing keys,
worker tokens and the log level, and replaces all PHP processes one by one (after a deploy);
`diffyne-worker reload` does the last and waits for it.";
const NO_COMPONENTS: &str = "there are no components to run: name a Laravel application (--app /var/www/app), or one \
that runs elsewhere (--fastcgi with --fastcgi-script, or --backend-url); --demo runs the demo's components";

/// What components the program itself has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OwnComponents {
    /// The demo's: they run only if an operator asks for them.
    Demo,
    /// Those of the program's author.
    Some,
}

/// The command line: what help, completions and manual pages are made from.
pub fn command() -> Command {
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
        .args(settings::client_arguments(&worker::specs()));
    let ready = Command::new("ready")
        .about("Tell whether a running worker is ready for calls: exit status 0, or 1 and why not (for health checks)")
        .after_help("Give it the settings of that worker: it is found at its admin address. No token is needed.")
        .args(settings::client_arguments(&worker::specs()));
    let top = top::command().args(settings::client_arguments(&worker::specs()));
    let ps = top::list_command().args(settings::client_arguments(&worker::specs()));
    Command::new("diffyne-worker")
        .about("Runs Diffyne components for the gateways")
        .after_help(HELP)
        .version(diffyne_shared::build())
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([serve, top, ps, ready, reload, check, list])
}

/// Runs `diffyne-worker`: the components of an application, or with `--demo` the demo's.
pub fn main() -> ExitCode {
    let register = |registry: &mut Registry, settings: &WorkerSettings| {
        demo::register(registry);
        demo::app(&settings.database)
    };
    run(OwnComponents::Demo, register, demo::serve)
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
    run(OwnComponents::Some, register, |engine, _settings| site(engine))
}

fn run<F: Future<Output = anyhow::Result<()>>>(
    own: OwnComponents,
    register: impl FnOnce(&mut Registry, &WorkerSettings) -> anyhow::Result<App>,
    site: impl FnOnce(Arc<Engine>, WorkerSettings) -> F,
) -> ExitCode {
    let matches = command().get_matches();
    let result = match matches.subcommand() {
        Some(("serve", matches)) => serve(matches, own, register, site),
        Some(("ready", matches)) => ask_ready(matches),
        Some(("reload", matches)) => request_reload(matches),
        Some(("top", matches)) => show_processes(matches, Show::Watched),
        Some(("ps", matches)) => show_processes(matches, Show::Listed),
        Some(("check-config", matches)) => check_config(matches, own),
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
    layers_of(matches, &worker::specs())
}

/// The values of these settings. What is in an application's `.env` counts where nothing else says it.
pub fn layers_of(matches: &ArgMatches, specs: &[&'static Spec]) -> anyhow::Result<Layers> {
    let (mut files, flags) = settings::from_matches(matches, specs);
    let environment = settings::environment()?;
    let layers = Layers::read(specs, &files, &environment, &flags)?;
    // The application's own settings, above all its key, where nothing else has them.
    let application = layers.text("DIFFYNE_APP").map(|app| Path::new(app).join(".env"));
    match application.filter(|file| file.is_file() && !files.env_files.contains(file)) {
        Some(file) => files.env_files.push(file),
        None => return Ok(layers),
    }
    Ok(Layers::read(specs, &files, &environment, &flags)?)
}

/// The settings of a worker that is to serve. Whatever its addresses can do, everything else has been checked.
fn settings_to_serve(layers: &Layers, own: OwnComponents) -> anyhow::Result<WorkerSettings> {
    let settings = WorkerSettings::read(layers, MissingKey::Refuse)?;
    let has_components = own == OwnComponents::Some || settings.demo || !runs_own_components(&settings);
    anyhow::ensure!(has_components, NO_COMPONENTS);
    server::check(&settings)?;
    Logs::check(&settings.log).map_err(anyhow::Error::msg)?;
    Ok(settings)
}

fn warnings(layers: &Layers, settings: &WorkerSettings) -> Vec<String> {
    [layers.warnings(), &settings.warnings()].concat()
}

/// Whether the components are the program's own, and not an application's.
fn runs_own_components(settings: &WorkerSettings) -> bool {
    matches!(settings.components, Components::Native)
}

fn check_config(matches: &ArgMatches, own: OwnComponents) -> anyhow::Result<()> {
    let layers = layers(matches)?;
    let settings = settings_to_serve(&layers, own)?;
    print!("{}", layers.table());
    for warning in warnings(&layers, &settings) {
        eprintln!("diffyne-worker: {warning}");
    }
    Ok(())
}

/// Asks a running worker to load the application's newest code, and waits until it has.
fn request_reload(matches: &ArgMatches) -> anyhow::Result<()> {
    let (address, token) = running_worker(matches)?;
    let token = token.context("DIFFYNE_ADMIN_TOKEN is not set; without it, send the worker a SIGHUP")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let ask = async |path| admin::ask(&address, &token, path, "{}").await.map_err(anyhow::Error::msg);
        let mut progress = ask("/api/reload").await?;
        let mut printed = None;
        let until = std::time::Instant::now() + RELOAD_TIMEOUT;
        loop {
            let left = progress["left"].as_u64().unwrap_or_default();
            if printed != Some(left) && left > 0 {
                println!("{left} PHP processes are to be replaced");
                printed = Some(left);
            }
            if is_reloaded(&progress)? {
                println!("done: all PHP processes run the newest code");
                return Ok(());
            }
            anyhow::ensure!(
                std::time::Instant::now() < until,
                "{left} PHP processes still run older code after {RELOAD_TIMEOUT:?}: see the worker's log"
            );
            tokio::time::sleep(RELOAD_CHECK_INTERVAL).await;
            progress = ask("/api/reload/left").await?;
        }
    })
}

/// Whether a reload is complete. The error says why it will not be.
fn is_reloaded(progress: &Value) -> anyhow::Result<bool> {
    let left = progress["left"].as_u64().unwrap_or_default();
    if let Some(error) = progress["error"].as_str() {
        let meanwhile = match left {
            0 => "no PHP process runs".to_owned(),
            left => format!("old code still serves, in {left} PHP processes"),
        };
        anyhow::bail!(
            "the application's newest code does not start: {error}\n{meanwhile}; mend the code and reload again"
        );
    }
    // Workers of older releases do not tell how many run the newest code.
    Ok(left == 0 && progress["renewed"].as_u64() != Some(0))
}

/// Asks a running worker whether it is ready.
fn ask_ready(matches: &ArgMatches) -> anyhow::Result<()> {
    let (address, _token) = running_worker(matches)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(admin::ready(&address)).map_err(anyhow::Error::msg)
}

/// The command by which PHP processes are shown.
#[derive(Debug, Clone, Copy)]
enum Show {
    /// `top`.
    Watched,
    /// `ps`.
    Listed,
}

/// Shows what the PHP processes of a running worker do.
fn show_processes(matches: &ArgMatches, show: Show) -> anyhow::Result<()> {
    let (address, token) = running_worker(matches)?;
    let token =
        token.context("DIFFYNE_ADMIN_TOKEN is not set: the worker says what its processes do to whom has its token. Set the same one for the worker and here")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match show {
        Show::Watched => runtime.block_on(top::run(matches, &address, &token)),
        Show::Listed => runtime.block_on(top::list(matches, &address, &token)),
    }
}

/// The admin address of the worker with these settings, and its token.
fn running_worker(matches: &ArgMatches) -> anyhow::Result<(Endpoint, Option<String>)> {
    // It takes no key to ask.
    let settings = WorkerSettings::read(&layers(matches)?, MissingKey::Random)?;
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
    task::spawn(upload::serve(listener, Arc::clone(store)));
    task::spawn(Arc::clone(store).keep_clean());
    Ok(())
}

fn serve<F: Future<Output = anyhow::Result<()>>>(
    matches: &ArgMatches,
    own: OwnComponents,
    register: impl FnOnce(&mut Registry, &WorkerSettings) -> anyhow::Result<App>,
    site: impl FnOnce(Arc<Engine>, WorkerSettings) -> F,
) -> anyhow::Result<()> {
    let layers = layers(matches)?;
    let settings = settings_to_serve(&layers, own)?;
    let logs = Logs::start(&settings.log, "diffyne-worker", &settings.name).map_err(anyhow::Error::msg)?;
    for warning in warnings(&layers, &settings) {
        tracing::warn!("{warning}");
    }
    let mut registry = Registry::default();
    let is_native = runs_own_components(&settings);
    let app: App = if is_native { register(&mut registry, &settings)? } else { Arc::new(()) };
    let uploads = if is_native { open_uploads(&settings)? } else { None };
    let engine = engine_with(&settings, registry, app, uploads.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(async {
        let mut signals = Signals::new().context("cannot take signals")?;
        let backend = backend(&settings, &engine)?;
        let worker = Worker::start(&settings, Arc::clone(&backend))?;
        if let Some(store) = &uploads {
            serve_uploads(&settings, store)?;
        }
        let apply = || reload(&self::layers(matches)?, &logs, &engine, &*backend, &worker);
        let mut site = std::pin::pin!(site(Arc::clone(&engine), settings.clone()));
        let mut ended = Ok(());
        loop {
            tokio::select! {
                site_ended = &mut site => {
                    ended = site_ended;
                    break;
                }
                action = signals.recv() => match action {
                    SignalAction::Stop => break,
                    SignalAction::Reload => match apply() {
                        Ok(()) => tracing::info!(backend = backend.name(), "keys and log level reloaded"),
                        Err(error) => tracing::error!(error = format!("{error:#}"), "nothing was reloaded"),
                    },
                },
            }
        }
        worker.stop().await;
        ended
    })
}

/// What runs the calls of a worker with these settings. It must be called within a runtime, on which its tasks run.
pub fn backend(settings: &WorkerSettings, engine: &Arc<Engine>) -> anyhow::Result<Arc<dyn Backend>> {
    let signer = || settings.signer.clone();
    let release = || settings.release.as_deref().map(Arc::from);
    Ok(match settings.components.clone() {
        Components::Native if settings.demo => Arc::new(NativeBackend::demo(Arc::clone(engine))),
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

/// Applies those of these settings that can change while a worker runs, and replaces PHP processes by such with the newest code.
fn reload(layers: &Layers, logs: &Logs, engine: &Engine, backend: &dyn Backend, worker: &Worker) -> anyhow::Result<()> {
    let settings = WorkerSettings::read(layers, MissingKey::Refuse)?;
    for warning in layers.warnings() {
        tracing::warn!("{warning}");
    }
    logs.set_filter(&settings.log.filter).map_err(anyhow::Error::msg)?;
    apply(&settings, engine, backend, worker)
}

/// Applies settings that have been read and checked, but for the logs'.
pub fn apply(settings: &WorkerSettings, engine: &Engine, backend: &dyn Backend, worker: &Worker) -> anyhow::Result<()> {
    worker.set_secrets(settings).map_err(anyhow::Error::msg)?;
    backend.set_signer(&settings.signer);
    backend.reload();
    engine.signer.store(Arc::new(settings.signer.clone()));
    Ok(())
}
