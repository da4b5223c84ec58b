//! The command line of `diffyne-gateway`.

#[cfg(feature = "top")]
use std::io::IsTerminal as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command};
use diffyne_shared::admin;
use diffyne_shared::admin::overview::{OVERVIEW_PATH, Overview};
use diffyne_shared::admin::terminal;
use diffyne_shared::settings::gateway::{self, GatewaySettings};
use diffyne_shared::settings::{self, Layers};
use diffyne_shared::signals::Signals;
use diffyne_shared::telemetry::Logs;

use crate::http::pages::Pages;
use crate::scripts::ScriptPages;
use crate::server::{self, Gateway};
use crate::{bench, doctor, process};

/// How often a draining gateway is asked for its number of connections.
const DRAIN_STEP: Duration = Duration::from_millis(200);

const ABOUT: &str = "A WebSocket gateway for Diffyne, in place of `php artisan diffyne:websocket`";
const AFTER: &str = "Try it:       make run (the program diffyne-dev: gateway, worker and a demo page in one process)
In production: diffyne-gateway doctor --env-file /path/to/app/.env --redis-url redis://127.0.0.1
               diffyne-gateway serve --env-file /path/to/app/.env --redis-url redis://127.0.0.1 \\
               --listen 127.0.0.1:6001
Every setting can be given as a flag, in the environment, in a .env file or in a TOML file; later ones
in this list lose. Signals: SIGTERM stops gracefully, SIGHUP reloads keys and the log level.";

/// The command line: what help, completions and manual pages are made from.
pub fn command() -> Command {
    let serve = Command::new("serve").about("Run a gateway").args(settings::arguments(&gateway::specs()));
    let check = Command::new("check-config")
        .about("Check the settings and print each with its origin; secrets are masked")
        .args(settings::arguments(&gateway::specs()));
    let list = Command::new("settings").about("Print every setting as a Markdown table");
    let drain = Command::new("drain")
        .about("Have a running gateway send its clients away and stop, as SIGTERM does, and wait until it has")
        .after_help(
            "Give it the settings of that gateway: it is found at its admin address, and asks for DIFFYNE_ADMIN_TOKEN.",
        )
        .args(settings::client_arguments(&gateway::specs()));
    let top = Command::new("top")
        .about("Show what a running gateway and its cluster do: the admin page in a terminal")
        .after_help(
            "Give it the settings of that gateway, or --admin-listen with the address of any. On the gateway's own host no \
             token is needed, elsewhere DIFFYNE_ADMIN_TOKEN.\n\n\
             Keys: tab and the arrows go from panel to panel, up and down show other rows, enter enlarges a panel, s sorts it \
             by its next column, r turns the order round, space keeps everything as it is, q ends. NO_COLOR=1 leaves colours \
             out.\n\n\
             Examples: diffyne-gateway top --admin-listen 127.0.0.1:16001\n          \
             diffyne-gateway top --json | jq '.tables[] | select(.id == \"components\").rows'",
        )
        .arg(switch("once", "Print it once; also when the output is no terminal"))
        .arg(switch("json", "Print it once, as JSON"))
        .args(settings::client_arguments(&gateway::specs()));
    let ready = Command::new("ready")
        .about(
            "Tell whether a running gateway is ready for clients: exit status 0, or 1 and why not (for health checks)",
        )
        .after_help("Give it the settings of that gateway: it is found at its admin address. No token is needed.")
        .args(settings::client_arguments(&gateway::specs()));
    Command::new("diffyne-gateway")
        .about(ABOUT)
        .after_help(AFTER)
        .version(diffyne_shared::build())
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([serve, doctor::command(), bench::command(), top, ready, drain, check, list, moved_dev()])
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).help(help).action(ArgAction::SetTrue)
}

/// Accepts `dev`, which was a command until 0.1.0, to tell where it has moved.
fn moved_dev() -> Command {
    Command::new("dev").hide(true).arg(Arg::new("rest").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true))
}

/// Runs the program.
pub fn main() -> ExitCode {
    let matches = command().get_matches();
    let result = match matches.subcommand() {
        Some(("serve", matches)) => serve(matches),
        Some(("doctor", matches)) => doctor::run(matches),
        Some(("bench", matches)) => bench::run(matches),
        Some(("top", matches)) => top(matches),
        Some(("ready", matches)) => ready(matches),
        Some(("drain", matches)) => drain(matches),
        Some(("dev", _)) => Err(anyhow::anyhow!("dev is a program of its own now: run diffyne-dev, or make run")),
        Some(("check-config", matches)) => check_config(matches),
        _ => {
            print!("{}", settings::markdown(&gateway::specs()));
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("diffyne-gateway: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Shows what a running gateway does.
fn top(matches: &ArgMatches) -> anyhow::Result<()> {
    let settings = GatewaySettings::read(&process::layers(matches, &gateway::specs())?)?;
    let address = settings.admin_listen.context("the gateway has no admin address: set DIFFYNE_ADMIN_LISTEN")?;
    let token = settings.admin_token.unwrap_or_default();
    let runtime = process::control_runtime()?;
    let look = async || admin::look(&address, &token, OVERVIEW_PATH).await;
    let look_well = async || -> Result<Overview, String> {
        serde_json::from_value(look().await?).map_err(|error| format!("the program answers something else: {error}"))
    };
    let mut output = std::io::stdout();
    if matches.get_flag("json") {
        let found = runtime.block_on(look()).map_err(anyhow::Error::msg)?;
        return Ok(writeln!(output, "{found:#}")?);
    }
    #[cfg(feature = "top")]
    if !matches.get_flag("once") && output.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb") {
        return runtime.block_on(crate::top::watch(&address.to_string(), look_well)).map_err(anyhow::Error::msg);
    }
    let found = runtime.block_on(look_well()).map_err(anyhow::Error::msg)?;
    Ok(writeln!(output, "{}", terminal::text(&found))?)
}

/// Asks a running gateway whether it is ready.
fn ready(matches: &ArgMatches) -> anyhow::Result<()> {
    let settings = GatewaySettings::read(&process::layers(matches, &gateway::specs())?)?;
    let address = settings.admin_listen.context("the gateway has no admin address: set DIFFYNE_ADMIN_LISTEN")?;
    process::control_runtime()?.block_on(admin::ready(&address)).map_err(anyhow::Error::msg)
}

/// Asks a running gateway to stop, and waits until it has stopped.
fn drain(matches: &ArgMatches) -> anyhow::Result<()> {
    let settings = GatewaySettings::read(&process::layers(matches, &gateway::specs())?)?;
    let address = settings.admin_listen.context("the gateway has no admin address: set DIFFYNE_ADMIN_LISTEN")?;
    let token =
        settings.admin_token.context("DIFFYNE_ADMIN_TOKEN is not set; without it, send the gateway a SIGTERM")?;
    process::control_runtime()?.block_on(async {
        let mut last_left = None;
        loop {
            match admin::ask(&address, &token, "/api/drain", "{}").await {
                Ok(answer) => {
                    let left = answer["connections"].as_u64().unwrap_or_default();
                    if last_left.replace(left) != Some(left) {
                        println!("{left} connections are left");
                    }
                }
                Err(_gone) if last_left.is_some() => {
                    println!("done: the gateway has stopped");
                    return Ok(());
                }
                Err(error) => anyhow::bail!(error),
            }
            tokio::time::sleep(DRAIN_STEP).await;
        }
    })
}

fn check_config(matches: &ArgMatches) -> anyhow::Result<()> {
    let layers = process::layers(matches, &gateway::specs())?;
    let settings = settings_to_serve(&layers)?;
    print!("{}", layers.table());
    for warning in warnings(&layers, &settings) {
        eprintln!("diffyne-gateway: {warning}");
    }
    Ok(())
}

/// The settings of a gateway that is to serve. Whatever its addresses can do, everything else has been checked.
fn settings_to_serve(layers: &Layers) -> anyhow::Result<GatewaySettings> {
    let settings = GatewaySettings::read(layers)?;
    server::check(&settings)?;
    Logs::check(&settings.log).map_err(anyhow::Error::msg)?;
    Ok(settings)
}

fn warnings(layers: &Layers, settings: &GatewaySettings) -> Vec<String> {
    [layers.warnings(), &settings.warnings()].concat()
}

fn serve(matches: &ArgMatches) -> anyhow::Result<()> {
    let specs = gateway::specs();
    let layers = process::layers(matches, &specs)?;
    let settings = settings_to_serve(&layers)?;
    let logs = Logs::start(&settings.log, "diffyne-gateway", &settings.name).map_err(anyhow::Error::msg)?;
    for warning in warnings(&layers, &settings) {
        tracing::warn!("{warning}");
    }
    process::control_runtime()?.block_on(async {
        let signals = Signals::new().context("cannot take signals")?;
        let prefix = settings.route_prefix.clone();
        let release = settings.release.clone();
        let pages = Box::new(move |health| -> Arc<dyn Pages> {
            Arc::new(ScriptPages::new(health, &prefix, release.as_deref()))
        });
        let gateway = Gateway::start(settings, pages)?;
        let reload = || process::reload(&gateway, &logs, &process::layers(matches, &specs)?);
        process::wait_for_stop(&gateway, signals, reload).await;
        gateway.stop().await;
        Ok(())
    })
}
