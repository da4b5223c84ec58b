//! What every command of the program needs: settings from their layers, the control runtime, and signals.

use std::collections::HashMap;

use anyhow::Context as _;
use clap::ArgMatches;
use diffyne_shared::settings::gateway::GatewaySettings;
use diffyne_shared::settings::{self, Layers, Spec};
use diffyne_shared::telemetry::Logs;
use tokio::signal::unix::{SignalKind, signal};

use crate::server::Gateway;

/// Reads the settings in `specs` from the command line, the environment and files.
pub fn layers(matches: &ArgMatches, specs: &[&'static Spec]) -> anyhow::Result<Layers> {
    let (files, flags) = settings::from_matches(matches, specs);
    let environment: HashMap<String, String> = std::env::vars().collect();
    Ok(Layers::read(specs, &files, &environment, &flags)?)
}

/// Creates a runtime for everything that is not on the hot path.
pub fn control_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
}

/// Returns when the process has to stop. On SIGHUP, it reads the settings again and applies those that can change.
pub async fn wait_for_stop(
    gateway: &Gateway,
    logs: &Logs,
    matches: &ArgMatches,
    specs: &[&'static Spec],
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            () = gateway.drain_requested() => return Ok(()),
            _ = hang_up.recv() => match reload(gateway, logs, matches, specs) {
                Ok(()) => tracing::info!("keys and log level reloaded"),
                Err(error) => tracing::error!(error = format!("{error:#}"), "nothing was reloaded"),
            },
        }
    }
}

fn reload(gateway: &Gateway, logs: &Logs, matches: &ArgMatches, specs: &[&'static Spec]) -> anyhow::Result<()> {
    let settings = GatewaySettings::read(&layers(matches, specs)?)?;
    logs.set_filter(&settings.log.filter).map_err(anyhow::Error::msg)?;
    gateway.set_secrets(settings.keys, &settings.worker_tokens);
    Ok(())
}
