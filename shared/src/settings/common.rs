//! Settings that gateways and workers share: Redis, logs, the token between them.

use std::path::PathBuf;
use std::time::Duration;

use super::value::{ByteSize, FromSetting, List, LogFormat};
use super::{Layers, SettingsError, Spec};
use crate::rpc::PeerAddress;
use crate::token::TOKENS_MAX;

pub(super) static WORKER_TOKEN: Spec = Spec::secret(
    "DIFFYNE_WORKER_TOKEN",
    "Shared by gateways and workers, which prove it to each other and never send it; needed for whatever is beyond loopback; two in force during a rotation (comma list)",
);
pub(super) static MAX_MESSAGE: Spec = Spec::new(
    "DIFFYNE_WS_MAX_MESSAGE_SIZE",
    "1048576",
    "Largest message from a browser in bytes; one of exactly this size is accepted",
);
pub(super) static APP_KEY: Spec = Spec::secret(
    "APP_KEY",
    "Laravel's key: signs states when DIFFYNE_SIGNING_KEY is not set; gateways tell sessions apart by it (grants)",
);
pub(super) static SIGNING_KEY: Spec =
    Spec::secret("DIFFYNE_SIGNING_KEY", "Signs states; the first of a comma list signs, all verify");
pub(super) static DEBUG: Spec =
    Spec::new("DIFFYNE_DEBUG", "false", "Tell clients the exception, file and line of a failure; never in production");
pub(super) static ADMIN_LISTEN: Spec = Spec::optional(
    "DIFFYNE_ADMIN_LISTEN",
    "Where /metrics and /ready are served; default: loopback, own TCP port + 10000",
);

pub(super) static ADMIN_TOKEN: Spec = Spec::secret(
    "DIFFYNE_ADMIN_TOKEN",
    "Bearer token for admin requests that change something; not set: they are refused",
);
pub(super) static STATUS_TTL: Spec = Spec::new(
    "DIFFYNE_STATUS_TTL",
    "30s",
    "How long cache()->get('diffyne:websocket:status') stays when every gateway or worker dies",
);

pub(super) static REDIS: [Spec; 9] = [
    Spec::optional(
        "DIFFYNE_REDIS_URL",
        "redis://[user:password@]host:port[/db], rediss:// for TLS, redis+sentinel://host:26379,host2/name[/db], redis+cluster://host:port,host2; not set: no cluster, an in-memory bus",
    ),
    Spec::optional(
        "DIFFYNE_REDIS_CA",
        "PEM file of the authority that signed Redis's certificate; default: the system's",
    ),
    Spec::secret("DIFFYNE_REDIS_SENTINEL_PASSWORD", "Password of the Sentinels themselves, if they ask for one"),
    Spec::optional(
        "DIFFYNE_REDIS_PREFIX",
        "Put before every Redis key and channel; set it to Laravel's to share a server",
    ),
    Spec::new("DIFFYNE_REDIS_TIMEOUT", "1s", "How long one Redis command or connect may take"),
    Spec::new(
        "DIFFYNE_REDIS_QUEUE",
        "10000",
        "Broadcasts that wait while Redis is away; beyond it clients are told of a gap",
    ),
    Spec::new(
        "DIFFYNE_HISTORY_LENGTH",
        "10000",
        "Broadcasts kept, in Redis and in each gateway, to close gaps and for clients that come back",
    ),
    Spec::new("DIFFYNE_HISTORY_AGE", "5m", "How old a kept broadcast may be"),
    Spec::new("DIFFYNE_HISTORY_BYTES", "64MiB", "How large all kept broadcasts may be together"),
];

pub(super) static LOG: [Spec; 3] = [
    Spec::new("DIFFYNE_LOG", "info", "Log level, or tracing directives such as info,diffyne_gateway=debug"),
    Spec::new("DIFFYNE_LOG_FORMAT", "text", "text or json"),
    Spec::optional("DIFFYNE_LOG_DIR", "Directory for daily log files; not set: standard error"),
];

/// How to reach Redis and what to keep there.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// `redis://...`; `None`: memory bus.
    pub url: Option<String>,
    /// The authority of its certificate, beside the system's.
    pub ca: Option<PathBuf>,
    /// What Sentinels ask for.
    pub sentinel_password: Option<String>,
    /// Before every key and channel.
    pub prefix: String,
    /// Limit of one command.
    pub timeout: Duration,
    /// Broadcasts that wait while Redis is away.
    pub queue_max: usize,
    /// Broadcasts kept.
    pub history_length: usize,
    /// Age of a kept broadcast.
    pub history_age: Duration,
    /// Bytes of all kept broadcasts.
    pub history_bytes: usize,
    /// Only this machine can reach it, or it is not used.
    pub is_local: bool,
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
            .any(|text| text.parse::<PeerAddress>().is_ok_and(|address| address.is_local()))
    })
}

/// The tokens of gateways and workers.
pub(super) fn worker_tokens(layers: &Layers) -> Result<Vec<String>, SettingsError> {
    let tokens = layers.optional::<List<String>>("DIFFYNE_WORKER_TOKEN")?.map(|list| list.0).unwrap_or_default();
    if tokens.len() > TOKENS_MAX {
        return Err(layers.invalid("DIFFYNE_WORKER_TOKEN", &format!("a comma list of at most {TOKENS_MAX}")));
    }
    Ok(tokens)
}

impl RedisSettings {
    pub(super) fn read(layers: &Layers) -> Result<Self, SettingsError> {
        let url: Option<String> = layers.optional("DIFFYNE_REDIS_URL")?;
        let known = [
            "redis://",
            "rediss://",
            "redis+unix://",
            "unix://",
            "redis+sentinel://",
            "rediss+sentinel://",
            "redis+cluster://",
            "rediss+cluster://",
        ];
        if url.as_ref().is_some_and(|url| !known.iter().any(|scheme| url.starts_with(scheme))) {
            return Err(layers.invalid(
                "DIFFYNE_REDIS_URL",
                "a URL that starts with redis://, rediss://, redis+unix://, redis+sentinel:// or redis+cluster://",
            ));
        }
        Ok(Self {
            is_local: url.as_deref().is_none_or(is_local),
            url,
            ca: layers.optional::<String>("DIFFYNE_REDIS_CA")?.map(PathBuf::from),
            sentinel_password: layers.optional("DIFFYNE_REDIS_SENTINEL_PASSWORD")?,
            prefix: layers.optional("DIFFYNE_REDIS_PREFIX")?.unwrap_or_default(),
            timeout: positive(layers, "DIFFYNE_REDIS_TIMEOUT")?,
            queue_max: at_least_one(layers, "DIFFYNE_REDIS_QUEUE")?,
            history_length: at_least_one(layers, "DIFFYNE_HISTORY_LENGTH")?,
            history_age: positive(layers, "DIFFYNE_HISTORY_AGE")?,
            history_bytes: layers.get::<ByteSize>("DIFFYNE_HISTORY_BYTES")?.0,
        })
    }
}

/// Where log lines go.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// Level or directives.
    pub filter: String,
    /// Text or JSON.
    pub format: LogFormat,
    /// Daily files here instead of standard error.
    pub directory: Option<PathBuf>,
}

impl LogSettings {
    pub(super) fn read(layers: &Layers) -> Result<Self, SettingsError> {
        let filter: String = layers.get("DIFFYNE_LOG")?;
        if tracing_subscriber::EnvFilter::try_new(&filter).is_err() {
            return Err(
                layers.invalid("DIFFYNE_LOG", "a level (error, warn, info, debug, trace) or tracing directives")
            );
        }
        Ok(Self {
            filter,
            format: layers.get("DIFFYNE_LOG_FORMAT")?,
            directory: layers.optional::<String>("DIFFYNE_LOG_DIR")?.map(PathBuf::from),
        })
    }
}

/// A duration that is not zero.
pub(super) fn positive(layers: &Layers, name: &'static str) -> Result<Duration, SettingsError> {
    let value: Duration = layers.get(name)?;
    if value.is_zero() {
        return Err(layers.invalid(name, &format!("{}, longer than nothing", Duration::allowed())));
    }
    Ok(value)
}

/// A number that is not zero.
pub(super) fn at_least_one(layers: &Layers, name: &'static str) -> Result<usize, SettingsError> {
    let value: usize = layers.get(name)?;
    if value == 0 { Err(layers.invalid(name, "a whole number, 1 or more")) } else { Ok(value) }
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
