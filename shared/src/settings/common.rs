//! Settings that gateways and workers share: Redis, logs, keys and tokens.

use std::path::PathBuf;
use std::time::Duration;

use super::checks::{MESSAGE_BYTES, at_least_one, bytes, message_bytes, optional_bytes, positive};
use super::declare::settings;
use super::error::SettingsError;
use super::layers::Layers;
use super::spec::Spec;
use super::value::LogFormat;
use crate::admin_tokens::AdminTokens;
use crate::rpc::Endpoint;
use crate::token::TOKENS_MAX;

settings! {
    "Keys and tokens" {
        /// Signs states; the first of a comma list signs, all verify
        DIFFYNE_SIGNING_KEY = secret, worker_reload;
        /// Laravel's key: signs states when DIFFYNE_SIGNING_KEY is not set; gateways tell sessions apart by it (grants)
        APP_KEY = secret, worker_reload;
        /// Shared by gateways and workers, which prove it to each other and never send it; needed for every address beyond loopback; a comma list holds the old and the new one during a rotation
        DIFFYNE_WORKER_TOKEN = secret, reload;
        /// Bearer token for admin requests that change something; not set: they are refused
        DIFFYNE_ADMIN_TOKEN = secret;
        /// More such tokens, with names for the log: a comma list of NAME:TOKEN, or NAME:read:TOKEN for one that may look and change nothing; at least 16 characters each
        DIFFYNE_ADMIN_TOKENS = secret;
    }
    "Messages and failures" {
        /// Largest message from a browser in bytes; one of exactly this size is accepted
        DIFFYNE_WS_MAX_MESSAGE_SIZE = "1048576";
        /// Largest body of an AJAX call, never less than DIFFYNE_WS_MAX_MESSAGE_SIZE: what is too large for the WebSocket goes by AJAX; default: twice that
        DIFFYNE_MAX_REQUEST_SIZE = none;
        /// Tell clients the exception, file and line of a failure; never in production
        DIFFYNE_DEBUG = "false";
    }
    "Deploys" {
        /// Name of this release, the same for everything that is deployed together (a commit, a date): pages of another one are told to load again. 1 to 64 letters, digits and ._+-; default: the hash of what is served
        DIFFYNE_RELEASE = none;
    }
    "Connection status" {
        /// How long cache()->get('diffyne:websocket:status') remains after the last gateway or worker has died
        DIFFYNE_STATUS_TTL = "30s";
    }
}

/// A size that the body of an AJAX call may have: what is too large for the WebSocket goes by AJAX.
pub(super) fn request_bytes(layers: &Layers, spec: &'static Spec) -> Result<usize, SettingsError> {
    let (message, most) = (message_bytes(layers, &DIFFYNE_WS_MAX_MESSAGE_SIZE)?, *MESSAGE_BYTES.end());
    match optional_bytes(layers, spec)? {
        None => Ok((2 * message).min(most)),
        Some(size) if (message..=most).contains(&size) => Ok(size),
        Some(_) => Err(layers.invalid(spec, &format!("from DIFFYNE_WS_MAX_MESSAGE_SIZE ({message}) to 64MiB"))),
    }
}

/// The name of a release. It goes into pages and messages, so it is short and plain.
pub(super) fn release(layers: &Layers, spec: &'static Spec) -> Result<Option<String>, SettingsError> {
    const CHARS_MAX: usize = 64;
    let is_plain = |text: &String| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b));
    match layers.get::<Option<String>>(spec)? {
        Some(name) if name.len() > CHARS_MAX || !is_plain(&name) => {
            Err(layers.invalid(spec, "1 to 64 letters, digits and ._+-"))
        }
        name => Ok(name.filter(|name| !name.is_empty())),
    }
}

/// The tokens of those who may ask the admin listener.
pub(super) fn admin_tokens(layers: &Layers) -> Result<AdminTokens, SettingsError> {
    let named: AdminTokens = layers.get(&DIFFYNE_ADMIN_TOKENS)?;
    let admin: Option<String> = layers.get(&DIFFYNE_ADMIN_TOKEN)?;
    Ok(named.with_admin(admin.as_deref()))
}

/// Tokens of gateways and workers.
pub(super) fn worker_tokens(layers: &Layers, spec: &'static Spec) -> Result<Vec<String>, SettingsError> {
    let tokens: Vec<String> = layers.get(spec)?;
    if tokens.len() > TOKENS_MAX {
        return Err(layers.invalid(spec, &format!("a comma list of at most {TOKENS_MAX}")));
    }
    Ok(tokens)
}

/// The setting that holds the signing keys: `DIFFYNE_SIGNING_KEY` if it is set, else `APP_KEY`.
pub(super) fn key_setting(layers: &Layers) -> &'static Spec {
    if layers.is_set(&DIFFYNE_SIGNING_KEY) { &DIFFYNE_SIGNING_KEY } else { &APP_KEY }
}

settings! {
    /// How to reach Redis and what to keep there.
    pub struct RedisSettings {
        "Redis" {
            /// redis://[user:password@]host:port[/db], rediss:// for TLS, redis+sentinel://host:26379,host2/name[/db], redis+cluster://host:port,host2; not set: no cluster, an in-memory bus
            DIFFYNE_REDIS_URL = none => url: Option<String>, redis_url;
            /// PEM file of the authority that signed Redis's certificate; default: the system's
            DIFFYNE_REDIS_CA = none => ca: Option<PathBuf>;
            /// Password of the Sentinels themselves, if they ask for one
            DIFFYNE_REDIS_SENTINEL_PASSWORD = secret => sentinel_password: Option<String>;
            /// Put before every Redis key and channel; set it to Laravel's to share a server
            DIFFYNE_REDIS_PREFIX = none => prefix: String, prefix;
            /// How long one Redis command or connect may take
            DIFFYNE_REDIS_TIMEOUT = "1s" => timeout: Duration, positive;
            /// How many broadcasts may wait while Redis is away; beyond it clients are told of a gap
            DIFFYNE_REDIS_QUEUE = "10000" => queue_max: usize, at_least_one;
            /// Events of applications that may wait in the list {diffyne}:ingress; beyond it gateways drop the oldest
            DIFFYNE_INGRESS_MAX = "100000" => ingress_max: usize, at_least_one;
        }
        "History" {
            /// How many broadcasts are kept, in Redis and in each gateway, to close gaps and for clients that come back
            DIFFYNE_HISTORY_LENGTH = "10000" => history_length: usize, at_least_one;
            /// How old a kept broadcast may be
            DIFFYNE_HISTORY_AGE = "5m" => history_age: Duration, positive;
            /// How large all kept broadcasts may be together
            DIFFYNE_HISTORY_BYTES = "64MiB" => history_bytes: usize, bytes;
        }
    }
    computed {
        /// Whether only this machine can reach Redis, or Redis is not used.
        is_local: bool = is_local_redis;
    }
}

impl RedisSettings {
    pub(super) fn read(layers: &Layers) -> Result<Self, SettingsError> {
        Self::from_layers(layers)
    }
}

const REDIS_SCHEMES: [&str; 8] = [
    "redis://",
    "rediss://",
    "redis+unix://",
    "unix://",
    "redis+sentinel://",
    "rediss+sentinel://",
    "redis+cluster://",
    "rediss+cluster://",
];

fn redis_url(layers: &Layers, spec: &'static Spec) -> Result<Option<String>, SettingsError> {
    let url: Option<String> = layers.get(spec)?;
    if url.as_ref().is_some_and(|url| !REDIS_SCHEMES.iter().any(|scheme| url.starts_with(scheme))) {
        let allowed =
            "a URL that starts with redis://, rediss://, redis+unix://, redis+sentinel:// or redis+cluster://";
        return Err(layers.invalid(spec, allowed));
    }
    Ok(url)
}

fn prefix(layers: &Layers, spec: &'static Spec) -> Result<String, SettingsError> {
    Ok(layers.get::<Option<String>>(spec)?.unwrap_or_default())
}

fn is_local_redis(layers: &Layers) -> Result<bool, SettingsError> {
    Ok(layers.get::<Option<String>>(&DIFFYNE_REDIS_URL)?.is_none_or(|url| is_local(&url)))
}

/// Whether a Redis URL names this machine alone.
fn is_local(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    if scheme.ends_with("unix") {
        return true;
    }
    let hosts = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let hosts = hosts.rsplit_once('@').map_or(hosts, |(_user, hosts)| hosts);
    hosts.split(',').all(|host| {
        // Without a port as well.
        [host.to_owned(), format!("{host}:0")]
            .iter()
            .any(|text| text.parse::<Endpoint>().is_ok_and(|address| address.is_local()))
    })
}

settings! {
    /// Where log lines go.
    pub struct LogSettings {
        "Logs" {
            /// Log level, or tracing directives such as info,diffyne_gateway=debug
            DIFFYNE_LOG = "info", reload => filter: String, log_filter;
            /// text or json
            DIFFYNE_LOG_FORMAT = "text" => format: LogFormat;
            /// Directory for daily log files, whose names have the name of the gateway or worker; not set: standard error
            DIFFYNE_LOG_DIR = none => directory: Option<PathBuf>;
        }
    }
}

impl LogSettings {
    pub(super) fn read(layers: &Layers) -> Result<Self, SettingsError> {
        Self::from_layers(layers)
    }
}

fn log_filter(layers: &Layers, spec: &'static Spec) -> Result<String, SettingsError> {
    let filter: String = layers.get(spec)?;
    if tracing_subscriber::EnvFilter::try_new(&filter).is_err() || filter.split(',').any(is_no_level) {
        let allowed = "a level (error, warn, info, debug, trace, off) or tracing directives such as info,redis=debug";
        return Err(layers.invalid(spec, allowed));
    }
    Ok(filter)
}

/// Whether this is a word that somebody has taken for a level: as a directive it would name a target, and nothing else
/// would be logged.
fn is_no_level(directive: &str) -> bool {
    let word = directive.trim();
    !word.is_empty()
        && word.chars().all(|c| c.is_ascii_alphabetic())
        && word.parse::<tracing_subscriber::filter::LevelFilter>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_of_this_machine_is_told_from_others() {
        for (url, local) in [
            ("redis://127.0.0.1", true),
            ("redis://127.0.0.1:6379/2", true),
            ("rediss://user:p%40ss@localhost:6379/0", true),
            ("redis://[::1]:6379", true),
            ("redis+unix:///run/redis.sock", true),
            ("unix:///run/redis.sock", true),
            ("redis+cluster://127.0.0.1:1,127.0.0.1:2", true),
            ("redis+cluster://127.0.0.1:1,10.0.0.1:2", false),
            ("redis+sentinel://10.0.0.1:26379/main", false),
            ("redis://redis:6379", false),
            ("redis://127.0.0.1@10.0.0.1", false),
            ("redis://10.0.0.1/127.0.0.1", false),
            ("redis://", false),
        ] {
            assert_eq!(is_local(url), local, "{url}");
        }
    }
}
