//! What a worker makes itself of the HTML that an application renders.

use std::time::Duration;

use super::checks::{bytes, positive};
use super::declare::settings;
use super::error::SettingsError;
use super::layers::Layers;
use super::value::words;

settings! {
    /// Patches of an application's components.
    pub struct RenderingSettings {
        "Patches of an application's components" {
            /// worker: patches are made in Rust of the HTML that PHP renders, where the application has the bridge; application: the package makes them, several times slower
            DIFFYNE_PATCHES = "worker" => patches: PatchMaker;
            /// Bytes of HTML that a worker keeps, so that PHP renders once a call: what clients show; 0: none, PHP renders the old state as well
            DIFFYNE_TREE_CACHE = "64MiB" => tree_cache_bytes: usize, bytes;
            /// How long the worker keeps HTML that no call has used
            DIFFYNE_TREE_CACHE_AGE = "1h" => tree_cache_age: Duration, positive;
        }
    }
}

impl RenderingSettings {
    /// Reads and checks the settings.
    pub(super) fn read(layers: &Layers) -> Result<Self, SettingsError> {
        Self::from_layers(layers)
    }
}

/// Who compares a component's HTML before and after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchMaker {
    /// The worker.
    Worker,
    /// The package, in PHP.
    Application,
}
words!(PatchMaker { "worker" => Worker, "application" => Application });
