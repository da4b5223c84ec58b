//! How a worker reaches an application behind an HTTP server.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::common::at_least_one;
use super::{Layers, SettingsError, Spec};

pub(super) static HTTP: [Spec; 3] = [
    Spec::optional(
        "DIFFYNE_BACKEND_URL",
        "Base URL of an application behind an HTTP server, http://127.0.0.1:8000 for example, whose components are run instead",
    ),
    Spec::new("DIFFYNE_BACKEND_PREFIX", "/_diffyne", "Where that application serves the package's AJAX endpoint"),
    Spec::new("DIFFYNE_BACKEND_CONNECTIONS", "32", "Connections to that application that stay open"),
];

/// What the bridge's secret is derived for.
const PURPOSE: &[u8] = b"diffyne bridge 1";

/// How a worker reaches an application behind an HTTP server.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Base URL, without a slash at the end.
    pub url: String,
    /// Where the package's endpoint is.
    pub prefix: String,
    /// Connections that stay open.
    pub connections_max: usize,
    /// What the bridge asks for: derived from the key that both sides have.
    pub bridge_secret: String,
}

impl HttpSettings {
    /// Checks the layers; `None` when there is no such application. `key` is the first signing key.
    pub(super) fn read(layers: &Layers, key: &[u8]) -> Result<Option<Self>, SettingsError> {
        let Some(url) = layers.optional::<String>("DIFFYNE_BACKEND_URL")? else { return Ok(None) };
        let rest = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        let Some(rest) = rest.filter(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace)) else {
            return Err(layers.invalid("DIFFYNE_BACKEND_URL", "an address that begins with http://"));
        };
        let prefix: String = layers.get("DIFFYNE_BACKEND_PREFIX")?;
        // HMAC takes a key of any length, so this does not fail.
        let secret = Hmac::<Sha256>::new_from_slice(key).map(|mut mac| {
            mac.update(PURPOSE);
            hex::encode(mac.finalize().into_bytes())
        });
        Ok(Some(Self {
            url: format!("http://{rest}"),
            prefix: format!("/{}", prefix.trim_matches('/')),
            connections_max: at_least_one(layers, "DIFFYNE_BACKEND_CONNECTIONS")?,
            bridge_secret: secret.unwrap_or_default(),
        }))
    }
}
