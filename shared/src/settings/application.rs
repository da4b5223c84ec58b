//! How a worker reaches an application that somebody else runs: an HTTP server, or php-fpm.

use std::path::PathBuf;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::common::at_least_one;
use super::{Layers, SettingsError, Spec};
use crate::rpc::PeerAddress;

pub(super) static APPLICATION: [Spec; 8] = [
    Spec::optional(
        "DIFFYNE_BACKEND_URL",
        "Base URL of an application behind an HTTP server, http://127.0.0.1:8000 for example, whose components are run instead",
    ),
    Spec::optional("DIFFYNE_BACKEND_SOCKET", "Unix socket of that HTTP server; the URL then says host and path only"),
    Spec::new("DIFFYNE_BACKEND_CONNECTIONS", "32", "Connections to that HTTP server that stay open"),
    Spec::optional(
        "DIFFYNE_FASTCGI",
        "host:port or unix:PATH of php-fpm, whose application's components are run instead",
    ),
    Spec::optional(
        "DIFFYNE_FASTCGI_SCRIPT",
        "The application's front controller as php-fpm sees it, /var/www/app/public/index.php for example; its folder is the document root",
    ),
    Spec::new("DIFFYNE_FASTCGI_CONNECTIONS", "16", "Connections to php-fpm at once, no more than its pm.max_children"),
    Spec::new(
        "DIFFYNE_FASTCGI_KEEP_ALIVE",
        "false",
        "Keep connections to php-fpm open: each then holds one of its children for this worker alone",
    ),
    Spec::new("DIFFYNE_BACKEND_PREFIX", "/_diffyne", "Where that application serves the package's AJAX endpoint"),
];

/// What the bridge's secret is derived for.
const PURPOSE: &[u8] = b"diffyne bridge 1";

/// An application that somebody else runs.
#[derive(Debug, Clone)]
pub struct ApplicationSettings {
    /// How it is reached.
    pub server: ServerSettings,
    /// Where the package's endpoint is.
    pub prefix: String,
    /// What the bridge asks for: derived from the key that both sides have.
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

/// An HTTP server.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Base URL, without a slash at the end.
    pub url: String,
    /// A Unix socket to connect to instead of the URL's host.
    pub socket: Option<PathBuf>,
    /// Connections that stay open.
    pub connections_max: usize,
}

/// php-fpm.
#[derive(Debug, Clone)]
pub struct FastCgiSettings {
    /// Where it listens.
    pub address: PeerAddress,
    /// The front controller, as php-fpm sees it.
    pub script: String,
    /// Connections at once.
    pub connections_max: usize,
    /// Whether they stay open.
    pub keep_alive: bool,
}

impl ApplicationSettings {
    /// Checks the layers; `None` when there is no such application. `key` is the first signing key.
    pub(super) fn read(layers: &Layers, key: &[u8]) -> Result<Option<Self>, SettingsError> {
        let server = match (http(layers)?, fast_cgi(layers)?) {
            (Some(_), Some(_)) => {
                return Err(layers.invalid("DIFFYNE_FASTCGI", "left out when DIFFYNE_BACKEND_URL is set"));
            }
            (Some(http), None) => ServerSettings::Http(http),
            (None, Some(fast_cgi)) => ServerSettings::FastCgi(fast_cgi),
            (None, None) => return Ok(None),
        };
        let prefix: String = layers.get("DIFFYNE_BACKEND_PREFIX")?;
        // HMAC takes a key of any length, so this does not fail.
        let secret = Hmac::<Sha256>::new_from_slice(key).map(|mut mac| {
            mac.update(PURPOSE);
            hex::encode(mac.finalize().into_bytes())
        });
        Ok(Some(Self {
            server,
            prefix: format!("/{}", prefix.trim_matches('/')),
            bridge_secret: secret.unwrap_or_default(),
        }))
    }

    /// Calls that make sense at once, where the server sets a limit.
    pub fn concurrency(&self) -> Option<usize> {
        match &self.server {
            ServerSettings::Http(_) => None,
            ServerSettings::FastCgi(settings) => Some(settings.connections_max),
        }
    }
}

fn http(layers: &Layers) -> Result<Option<HttpSettings>, SettingsError> {
    let socket = layers.optional::<String>("DIFFYNE_BACKEND_SOCKET")?.map(PathBuf::from);
    let Some(url) = layers.optional::<String>("DIFFYNE_BACKEND_URL")? else {
        return match socket {
            Some(_) => Err(layers.invalid("DIFFYNE_BACKEND_SOCKET", "given together with DIFFYNE_BACKEND_URL")),
            None => Ok(None),
        };
    };
    let rest = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    let Some(rest) = rest.filter(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace)) else {
        return Err(layers.invalid("DIFFYNE_BACKEND_URL", "an address that begins with http://"));
    };
    let connections_max = at_least_one(layers, "DIFFYNE_BACKEND_CONNECTIONS")?;
    Ok(Some(HttpSettings { url: format!("http://{rest}"), socket, connections_max }))
}

fn fast_cgi(layers: &Layers) -> Result<Option<FastCgiSettings>, SettingsError> {
    let Some(address) = layers.optional::<PeerAddress>("DIFFYNE_FASTCGI")? else { return Ok(None) };
    let Some(script) = layers.optional::<String>("DIFFYNE_FASTCGI_SCRIPT")? else {
        let why = "php-fpm has to be told which file to run, /var/www/app/public/index.php for example".to_owned();
        return Err(SettingsError::Missing { name: "DIFFYNE_FASTCGI_SCRIPT", why });
    };
    if !script.starts_with('/') || script.ends_with('/') {
        return Err(layers.invalid("DIFFYNE_FASTCGI_SCRIPT", "the whole path of a file"));
    }
    Ok(Some(FastCgiSettings {
        address,
        script,
        connections_max: at_least_one(layers, "DIFFYNE_FASTCGI_CONNECTIONS")?,
        keep_alive: layers.get("DIFFYNE_FASTCGI_KEEP_ALIVE")?,
    }))
}
