//! The command line of `diffyne-gateway`.

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{ArgMatches, Command};
use diffyne_shared::admin;
use diffyne_shared::settings::gateway::{self, GatewaySettings};
use diffyne_shared::settings::{self, Layers};
use diffyne_shared::telemetry::Logs;
use tokio::signal::unix::{SignalKind, signal};

use crate::http::Pages;
use crate::pages::ServePages;
use crate::server::{Extras, Gateway};
use crate::{dev, doctor};

/// Between two looks at how far a drain has come.
const DRAIN_STEP: Duration = Duration::from_millis(200);

const ABOUT: &str = "A WebSocket gateway for Diffyne, in place of `php artisan diffyne:websocket`";
const AFTER: &str = "Try it:       diffyne-gateway dev
In production: diffyne-gateway doctor --env-file /path/to/app/.env --redis-url redis://127.0.0.1
               diffyne-gateway serve --env-file /path/to/app/.env --redis-url redis://127.0.0.1 \\
               --listen 127.0.0.1:6001
Every setting can be given as a flag, in the environment, in a .env file or in a TOML file; later ones in
this list lose. Signals: SIGTERM stops gracefully, SIGHUP reloads keys and the log level.";

fn command() -> Command {
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
        .args(settings::arguments(&gateway::specs()));
    Command::new("diffyne-gateway")
        .about(ABOUT)
        .after_help(AFTER)
        .version(diffyne_shared::VERSION)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([serve, dev::command(), doctor::command(), drain, check, list])
}

/// Runs the program.
pub fn main() -> ExitCode {
    let matches = command().get_matches();
    let result = match matches.subcommand() {
        Some(("serve", matches)) => serve(matches),
        Some(("doctor", matches)) => doctor::run(matches),
        Some(("drain", matches)) => ask_to_drain(matches),
        Some(("dev", matches)) => dev::run(matches),
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

/// Asks a running gateway to stop, and waits until it has.
fn ask_to_drain(matches: &ArgMatches) -> anyhow::Result<()> {
    let settings = GatewaySettings::read(&layers(matches)?)?;
    let address = settings.admin_listen.context("the gateway has no admin address: set DIFFYNE_ADMIN_LISTEN")?;
    let token =
        settings.admin_token.context("DIFFYNE_ADMIN_TOKEN is not set; without it, send the gateway a SIGTERM")?;
    control_runtime()?.block_on(async {
        let mut asked = false;
        let mut told = None;
        loop {
            match admin::ask(&address, &token, "/api/drain", "{}").await {
                Ok(answer) => {
                    asked = true;
                    let left = answer["connections"].as_u64().unwrap_or_default();
                    if told != Some(left) {
                        println!("{left} connections are left");
                        told = Some(left);
                    }
                }
                Err(_gone) if asked => {
                    println!("done: the gateway has stopped");
                    return Ok(());
                }
                Err(error) => anyhow::bail!(error),
            }
            tokio::time::sleep(DRAIN_STEP).await;
        }
    })
}

/// The settings that a command line, the environment and files give.
pub fn layers(matches: &ArgMatches) -> anyhow::Result<Layers> {
    let specs = gateway::specs();
    let (files, flags) = settings::from_matches(matches, &specs);
    let environment: HashMap<String, String> = std::env::vars().collect();
    Ok(Layers::read(&specs, &files, &environment, &flags)?)
}

fn check_config(matches: &ArgMatches) -> anyhow::Result<()> {
    let layers = layers(matches)?;
    GatewaySettings::read(&layers)?;
    print!("{}", layers.table());
    Ok(())
}

/// A runtime for what is not on the hot path.
pub fn control_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
}

fn serve(matches: &ArgMatches) -> anyhow::Result<()> {
    let settings = GatewaySettings::read(&layers(matches)?)?;
    let logs = Logs::start(&settings.log, "diffyne-gateway").map_err(anyhow::Error::msg)?;
    control_runtime()?.block_on(async {
        let prefix = settings.route_prefix.clone();
        let pages = move |health| -> Arc<dyn Pages> { Arc::new(ServePages::new(health, &prefix)) };
        let extras = Extras { memory: None, pages: Box::new(pages) };
        let gateway = Gateway::start(settings, extras)?;
        wait_for_stop(&gateway, &logs, matches).await?;
        gateway.stop().await;
        Ok(())
    })
}

/// Returns when the process is to stop; reloads on SIGHUP.
pub async fn wait_for_stop(gateway: &Gateway, logs: &Logs, matches: &ArgMatches) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            () = gateway.drain_asked() => return Ok(()),
            _ = hang_up.recv() => match reload(gateway, logs, matches) {
                Ok(()) => tracing::info!("keys and log level reloaded"),
                Err(error) => tracing::error!(error = format!("{error:#}"), "nothing was reloaded"),
            },
        }
    }
}

fn reload(gateway: &Gateway, logs: &Logs, matches: &ArgMatches) -> anyhow::Result<()> {
    let settings = GatewaySettings::read(&layers(matches)?)?;
    logs.set_filter(&settings.log.filter).map_err(anyhow::Error::msg)?;
    gateway.set_secrets(settings.keys, &settings.worker_tokens);
    Ok(())
}
