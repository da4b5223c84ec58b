//! What every command of the program needs: settings from their layers, the control runtime, and signals.

use anyhow::Context as _;
use clap::ArgMatches;
use diffyne_shared::settings::gateway::GatewaySettings;
use diffyne_shared::settings::{self, Layers, Spec};
use diffyne_shared::signals::{SignalAction, Signals};
use diffyne_shared::telemetry::Logs;
use tokio::time::Instant;

use crate::server::Gateway;

/// Reads the settings in `specs` from the command line, the environment and files.
pub fn layers(matches: &ArgMatches, specs: &[&'static Spec]) -> anyhow::Result<Layers> {
    let (files, flags) = settings::from_matches(matches, specs);
    Ok(Layers::read(specs, &files, &settings::environment()?, &flags)?)
}

/// Creates a runtime for everything that is not on the hot path.
pub fn control_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
}

/// Returns when the process has to stop: `DIFFYNE_SHUTDOWN_DELAY` after it was told to, or when it is told a second time
/// by a signal. On SIGHUP, it has `reload` apply the settings that can change. The signals are taken from before the
/// gateway's start on.
pub async fn wait_for_stop(gateway: &Gateway, mut signals: Signals, reload: impl Fn() -> anyhow::Result<()>) {
    let mut stop_at: Option<Instant> = None;
    loop {
        tokio::select! {
            action = signals.recv() => {
                if action == SignalAction::Reload {
                    match reload() {
                        Ok(()) => tracing::info!("keys and log level reloaded"),
                        Err(error) => tracing::error!(error = format!("{error:#}"), "nothing was reloaded"),
                    }
                    continue;
                }
            }
            // `diffyne-gateway drain` asks again and again.
            () = gateway.drain_requested(), if stop_at.is_none() => {}
            () = tokio::time::sleep_until(stop_at.unwrap_or_else(Instant::now)), if stop_at.is_some() => return,
        }
        let delay = gateway.leave_rotation();
        if stop_at.is_some() || delay.is_zero() {
            return;
        }
        stop_at = Some(Instant::now() + delay);
    }
}

/// Applies those of these settings that can change while a gateway runs.
pub fn reload(gateway: &Gateway, logs: &Logs, layers: &Layers) -> anyhow::Result<()> {
    let settings = GatewaySettings::read(layers)?;
    for warning in layers.warnings() {
        tracing::warn!("{warning}");
    }
    apply(gateway, logs, settings)
}

/// Applies settings that have been read and checked.
pub fn apply(gateway: &Gateway, logs: &Logs, settings: GatewaySettings) -> anyhow::Result<()> {
    logs.set_filter(&settings.log.filter).map_err(anyhow::Error::msg)?;
    gateway.set_secrets(settings.keys, &settings.worker_tokens, settings.lifecycle.secrets);
    Ok(())
}
