//! How a worker reaches an application that another program runs: an HTTP server or php-fpm.

use std::path::PathBuf;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::checks::at_least_one;
use super::common::key_setting;
use super::declare::settings;
use super::error::SettingsError;
use super::layers::Layers;
use super::spec::Spec;
use crate::rpc::Endpoint;
use crate::signing::SigningKey;

/// The label from which the bridge's secret is derived.
const PURPOSE: &[u8] = b"diffyne bridge 1";

/// An application that another program runs.
#[derive(Debug, Clone)]
pub struct ApplicationSettings {
    /// How it is reached.
    pub server: ServerSettings,
    /// Where the package's endpoint is.
    pub prefix: String,
    /// The secret that the bridge asks for, derived from the key that both sides have.
    pub bridge_secret: String,
}

/// How an application is reached.
#[derive(Debug, Clone)]
pub enum ServerSettings {
    /// By HTTP/1.1.
    Http(HttpSettings),
    /// By FastCGI.
    FastCgi(FastCgiSettings),
}

settings! {
    /// An HTTP server.
    pub struct HttpSettings {
        "Application behind an HTTP server" {
            /// Base URL of an application behind an HTTP server, http://127.0.0.1:8000 for example, whose components are run instead
            DIFFYNE_BACKEND_URL = none => url: String, url;
            /// Unix socket of that HTTP server; the URL then gives host and path only
            DIFFYNE_BACKEND_SOCKET = none => socket: Option<PathBuf>;
            /// Connections to that HTTP server that stay open
            DIFFYNE_BACKEND_CONNECTIONS = "32" => connections_max: usize, at_least_one;
        }
    }
}

settings! {
    /// php-fpm.
    pub struct FastCgiSettings {
        "Application in php-fpm" {
            /// host:port or unix:PATH of php-fpm, whose application's components are run instead
            DIFFYNE_FASTCGI = none => address: Endpoint;
            /// The application's front controller as php-fpm sees it, /var/www/app/public/index.php for example; its folder is the document root
            DIFFYNE_FASTCGI_SCRIPT = none => script: String, script;
            /// Connections to php-fpm at once, no more than its pm.max_children
            DIFFYNE_FASTCGI_CONNECTIONS = "16" => connections_max: usize, at_least_one;
            /// Keep connections to php-fpm open: each then holds one of its children for this worker alone
            DIFFYNE_FASTCGI_KEEP_ALIVE = "false" => keep_alive: bool;
        }
    }
}

settings! {
    "Application behind an HTTP server or in php-fpm" {
        /// Where that application serves the package's AJAX endpoint
        DIFFYNE_BACKEND_PREFIX = "/_diffyne";
    }
}

impl ApplicationSettings {
    /// Reads and checks the settings; `None` when there is no such application.
    pub(super) fn read(layers: &Layers) -> Result<Option<Self>, SettingsError> {
        let server = match (HttpSettings::read(layers)?, FastCgiSettings::read(layers)?) {
            (Some(_), Some(_)) => {
                return Err(layers.invalid(&DIFFYNE_FASTCGI, "left out when DIFFYNE_BACKEND_URL is set"));
            }
            (Some(http), None) => ServerSettings::Http(http),
            (None, Some(fast_cgi)) => ServerSettings::FastCgi(fast_cgi),
            (None, None) => return Ok(None),
        };
        let prefix: String = layers.get(&DIFFYNE_BACKEND_PREFIX)?;
        let prefix = format!("/{}", prefix.trim_matches('/'));
        Ok(Some(Self { server, prefix, bridge_secret: bridge_secret(layers)? }))
    }

    /// Calls that make sense at once, where the server sets a limit.
    pub fn concurrency(&self) -> Option<usize> {
        match &self.server {
            ServerSettings::Http(_) => None,
            ServerSettings::FastCgi(settings) => Some(settings.connections_max),
        }
    }
}

/// Derives the secret from the first signing key. The signer reports a key that cannot be read.
fn bridge_secret(layers: &Layers) -> Result<String, SettingsError> {
    let keys: Vec<String> = layers.get(key_setting(layers))?;
    let key = keys.first().and_then(|key| SigningKey::bytes(key).ok()).unwrap_or_default();
    // HMAC takes a key of any length, so this does not fail.
    let secret = Hmac::<Sha256>::new_from_slice(&key).map(|mut mac| {
        mac.update(PURPOSE);
        hex::encode(mac.finalize().into_bytes())
    });
    Ok(secret.unwrap_or_default())
}

impl HttpSettings {
    fn read(layers: &Layers) -> Result<Option<Self>, SettingsError> {
        if layers.is_set(&DIFFYNE_BACKEND_URL) {
            return Self::from_layers(layers).map(Some);
        }
        if layers.is_set(&DIFFYNE_BACKEND_SOCKET) {
            return Err(layers.invalid(&DIFFYNE_BACKEND_SOCKET, "given together with DIFFYNE_BACKEND_URL"));
        }
        Ok(None)
    }
}

/// A base URL, without a slash at the end.
fn url(layers: &Layers, spec: &'static Spec) -> Result<String, SettingsError> {
    let url: String = layers.get(spec)?;
    match url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/')) {
        Some(rest) if !rest.is_empty() && !rest.contains(char::is_whitespace) => Ok(format!("http://{rest}")),
        _ => Err(layers.invalid(spec, "an address that begins with http://")),
    }
}

impl FastCgiSettings {
    fn read(layers: &Layers) -> Result<Option<Self>, SettingsError> {
        if layers.is_set(&DIFFYNE_FASTCGI) { Self::from_layers(layers).map(Some) } else { Ok(None) }
    }
}

fn script(layers: &Layers, spec: &'static Spec) -> Result<String, SettingsError> {
    let Some(script) = layers.get::<Option<String>>(spec)? else {
        let why = "php-fpm has to be told which file to run, /var/www/app/public/index.php for example".to_owned();
        return Err(SettingsError::Missing { name: spec.name, why });
    };
    if !script.starts_with('/') || script.ends_with('/') {
        return Err(layers.invalid(spec, "the whole path of a file"));
    }
    Ok(script)
}
