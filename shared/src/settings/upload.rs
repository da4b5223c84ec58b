//! Where a gateway sends file uploads and what they may cost; and where a worker keeps those for components in Rust.

use std::path::PathBuf;
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::checks::{at_least_one, bytes, positive};
use super::common::key_setting;
use super::declare::settings;
use super::error::SettingsError;
use super::layers::Layers;
use super::spec::Spec;
use crate::rpc::Endpoint;
use crate::signing::SigningKey;

/// The label from which the keys of handles are derived.
const PURPOSE: &[u8] = b"diffyne upload 1";

settings! {
    /// File uploads.
    pub struct UploadSettings {
        "File uploads" {
            /// Web server that takes file uploads and shows previews, the application's own as a rule: http://127.0.0.1:8000, https://HOST or unix:PATH; not set: they are refused with 501
            DIFFYNE_UPLOAD_URL = none => server: Option<UploadServer>, upload_server;
            /// PEM file of the authority that signed that server's certificate, /etc/ssl/certs/ca-certificates.crt for public ones; needed for https://
            DIFFYNE_UPLOAD_CA = none => ca: Option<PathBuf>;
            /// Largest body of an upload: the file and the fields beside it; larger ones are refused with 413. The application has limits of its own
            DIFFYNE_UPLOAD_BYTES = "16MiB" => bytes_max: usize, upload_bytes;
            /// Uploads of this gateway at once; more are refused with 503
            DIFFYNE_MAX_UPLOADS = "128" => uploads_max: usize, at_least_one;
            /// Uploads of one client address (of IPv6: one /64) at once; more are refused with 429; 0: no limit
            DIFFYNE_MAX_UPLOADS_PER_ADDRESS = "16" => per_address_max: usize;
            /// How long an upload or a preview may take in all
            DIFFYNE_UPLOAD_TIMEOUT = "10m" => timeout: Duration, positive;
            /// How long an upload or a preview may stand still
            DIFFYNE_UPLOAD_IDLE_TIMEOUT = "20s" => idle_timeout: Duration, positive;
        }
    }
}

settings! {
    /// Where a worker keeps file uploads for its components in Rust.
    pub struct UploadStoreSettings {
        "File uploads for components in Rust" {
            /// host:port or unix:PATH where this worker takes file uploads for its components in Rust: what DIFFYNE_UPLOAD_URL of the gateways names; not set: it takes none
            DIFFYNE_UPLOAD_LISTEN = none => listen: Option<Endpoint>;
            /// Directory in which uploaded files wait for their components; several workers share one
            DIFFYNE_UPLOAD_DIR = none => directory: PathBuf, directory;
            /// Largest body of an upload.
            DIFFYNE_UPLOAD_BYTES => bytes_max: usize, upload_bytes;
            /// Bytes that all files in that directory may have together, about; more are refused with 507
            DIFFYNE_UPLOAD_DISK_BYTES = "1GiB" => disk_bytes_max: usize, upload_bytes;
            /// How long a file waits for its component; then it is removed
            DIFFYNE_UPLOAD_AGE = "24h" => age_max: Duration, positive;
        }
    }
    computed {
        /// The keys that sign handles, derived from the signing keys.
        keys: Vec<Vec<u8>> = handle_keys;
    }
}

/// A web server, as `DIFFYNE_UPLOAD_URL` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadServer {
    /// Where it listens.
    pub address: Endpoint,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// What stands before each path, without a slash at the end.
    pub base_path: String,
}

type Read<T> = Result<T, SettingsError>;

impl UploadSettings {
    pub(super) fn read(layers: &Layers) -> Read<Self> {
        let settings = Self::from_layers(layers)?;
        if settings.server.as_ref().is_some_and(|server| server.tls) && settings.ca.is_none() {
            let why =
                "DIFFYNE_UPLOAD_URL begins with https://, and nothing says whose certificates to trust".to_owned();
            return Err(SettingsError::Missing { name: DIFFYNE_UPLOAD_CA.name, why });
        }
        Ok(settings)
    }
}

impl UploadStoreSettings {
    /// Reads the settings; `None` when the worker takes no uploads.
    pub(super) fn read(layers: &Layers) -> Read<Option<Self>> {
        if layers.is_set(&DIFFYNE_UPLOAD_LISTEN) { Self::from_layers(layers).map(Some) } else { Ok(None) }
    }
}

fn directory(layers: &Layers, spec: &'static Spec) -> Read<PathBuf> {
    layers.get::<Option<PathBuf>>(spec)?.ok_or_else(|| SettingsError::Missing {
        name: spec.name,
        why: "DIFFYNE_UPLOAD_LISTEN is set, and uploaded files need a place".to_owned(),
    })
}

/// Derives the keys of handles. The signer reports a key that cannot be read.
fn handle_keys(layers: &Layers) -> Read<Vec<Vec<u8>>> {
    let texts: Vec<String> = layers.get(key_setting(layers))?;
    let keys = texts.iter().filter_map(|text| SigningKey::bytes(text).ok());
    // HMAC takes a key of any length, so this does not fail.
    let derived = keys.filter_map(|key| Hmac::<Sha256>::new_from_slice(&key).ok()).map(|mut mac| {
        mac.update(PURPOSE);
        mac.finalize().into_bytes().to_vec()
    });
    Ok(derived.collect())
}

fn upload_server(layers: &Layers, spec: &'static Spec) -> Read<Option<UploadServer>> {
    let Some(text) = layers.get::<Option<String>>(spec)? else { return Ok(None) };
    parse(text.trim())
        .map(Some)
        .ok_or_else(|| layers.invalid(spec, "http://HOST[:PORT][/PATH], https://HOST[:PORT][/PATH] or unix:PATH"))
}

fn parse(text: &str) -> Option<UploadServer> {
    if text.starts_with("unix:") {
        let address = text.parse().ok()?;
        return Some(UploadServer { address, tls: false, base_path: String::new() });
    }
    let (rest, tls, port) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
        (Some(rest), _) => (rest, false, 80),
        (_, Some(rest)) => (rest, true, 443),
        _ => return None,
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._~-".contains(c);
    let has_port = authority.rsplit(']').next().is_some_and(|end| end.contains(':'));
    let address = if has_port { authority.parse() } else { format!("{authority}:{port}").parse() };
    let base_path = path.trim_end_matches('/').to_owned();
    base_path.chars().all(plain).then_some(UploadServer { address: address.ok()?, tls, base_path })
}

/// The size of an upload, which streams through and is never held as a whole.
fn upload_bytes(layers: &Layers, spec: &'static Spec) -> Read<usize> {
    let size = bytes(layers, spec)?;
    if size == 0 { Err(layers.invalid(spec, "a size above zero")) } else { Ok(size) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::settings::{Files, gateway};
    use std::collections::HashMap;

    fn read(pairs: &[(&str, &str)]) -> Result<UploadSettings, String> {
        let flags: HashMap<String, String> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let layers = Layers::read(&gateway::specs(), &Files::default(), &HashMap::new(), &flags).unwrap();
        UploadSettings::read(&layers).map_err(|error| error.to_string())
    }

    #[test]
    fn a_server_is_named_by_a_url_or_a_socket() {
        let server = |text: &str| parse(text).map(|s| (s.address.to_string(), s.tls, s.base_path));
        let is = |address: &str, tls, path: &str| Some((address.to_owned(), tls, path.to_owned()));
        assert_eq!(server("http://127.0.0.1:8000"), is("127.0.0.1:8000", false, ""));
        assert_eq!(server("http://app/"), is("app:80", false, ""));
        assert_eq!(server("https://app/base/"), is("app:443", true, "/base"));
        assert_eq!(server("http://[::1]"), is("[::1]:80", false, ""));
        assert_eq!(server("http://[::1]:81/x"), is("[::1]:81", false, "/x"));
        assert_eq!(server("unix:/run/app.sock"), is("unix:/run/app.sock", false, ""));
        for wrong in ["app:80", "ftp://app", "http://", "http://a b", "http://user@app", "http://app/?q", "unix:"] {
            assert_eq!(server(wrong), None, "{wrong}");
            let error = read(&[("DIFFYNE_UPLOAD_URL", wrong)]).unwrap_err();
            assert!(error.contains("DIFFYNE_UPLOAD_URL") && error.contains("must be"), "{error}");
        }
    }

    #[test]
    fn https_wants_an_authority_and_limits_are_above_zero() {
        let error = read(&[("DIFFYNE_UPLOAD_URL", "https://app")]).unwrap_err();
        assert!(error.contains("DIFFYNE_UPLOAD_CA is not set"), "{error}");
        assert!(read(&[("DIFFYNE_UPLOAD_URL", "https://app"), ("DIFFYNE_UPLOAD_CA", "/ca.pem")]).is_ok());
        for name in
            ["DIFFYNE_UPLOAD_BYTES", "DIFFYNE_MAX_UPLOADS", "DIFFYNE_UPLOAD_TIMEOUT", "DIFFYNE_UPLOAD_IDLE_TIMEOUT"]
        {
            let zero = if name.ends_with("TIMEOUT") { "0s" } else { "0" };
            let error = read(&[(name, zero)]).unwrap_err();
            assert!(error.contains(name) && error.contains("must be"), "{error}");
        }
    }
}
