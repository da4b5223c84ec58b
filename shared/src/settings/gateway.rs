//! The settings of `diffyne-gateway`.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::checks::{
    self, at_least_one, at_least_one_u32, bytes, message_bytes, optional_bytes, outbox_bytes, positive,
};
use super::common::{
    self, APP_KEY, DIFFYNE_ADMIN_TOKEN, DIFFYNE_ADMIN_TOKENS, DIFFYNE_DEBUG, DIFFYNE_MAX_REQUEST_SIZE, DIFFYNE_RELEASE,
    DIFFYNE_SIGNING_KEY, DIFFYNE_STATUS_TTL, DIFFYNE_WORKER_TOKEN, DIFFYNE_WS_MAX_MESSAGE_SIZE, LogSettings,
    RedisSettings, request_bytes, worker_tokens,
};
use super::declare::settings;
use super::error::SettingsError;
use super::layers::Layers;
use super::lifecycle::LifecycleSettings;
use super::origins::origins;
use super::spec::Spec;
use super::upload::UploadSettings;
use super::value::{ByteRate, CompressionMode, Identify, Subscribe, TrustedProxies};
use crate::admin_tokens::AdminTokens;
use crate::rate::Rate;
use crate::rpc::Endpoint;
use crate::signing::SigningKey;

/// Every setting of a gateway, in the order of `--help`.
pub fn specs() -> Vec<&'static Spec> {
    [GatewaySettings::SPECS, UploadSettings::SPECS, LifecycleSettings::SPECS, RedisSettings::SPECS, LogSettings::SPECS]
        .concat()
}

settings! {
    /// A gateway's settings, checked.
    pub struct GatewaySettings {
        "Addresses and pages" {
            /// Host to listen on
            DIFFYNE_WS_HOST = "127.0.0.1";
            /// Port to listen on
            DIFFYNE_WS_PORT = "6001";
            /// host:port or unix:PATH to listen on; wins over DIFFYNE_WS_HOST and DIFFYNE_WS_PORT, which in an application's .env say what the page connects to
            DIFFYNE_LISTEN = none;
            /// Path of the WebSocket, beside /
            DIFFYNE_WS_PATH = "/diffyne" => path: String, path;
            /// Key that pages connect with; a comma list allows a rotation; not set: no check
            DIFFYNE_WS_KEY = secret, reload => keys: Vec<String>;
            /// Origins that may connect: a comma list, https://*.example.com allowed, * for all
            DIFFYNE_WS_CORS_ORIGINS = "*" => origins: Vec<String>, origins;
            /// Methods that preflight requests of other origins are told
            DIFFYNE_WS_CORS_METHODS = "GET,POST,OPTIONS" => cors_methods: Vec<String>, http_tokens;
            /// Headers that preflight requests of other origins are told
            DIFFYNE_WS_CORS_HEADERS = "Content-Type,Authorization,Accept,X-Requested-With,X-CSRF-TOKEN,X-Diffyne-Client-Id" => cors_headers: Vec<String>, http_tokens;
            /// Where AJAX calls and the client scripts are served
            DIFFYNE_ROUTE_PREFIX = "/_diffyne" => route_prefix: String, route_prefix;
            /// Largest message.
            DIFFYNE_WS_MAX_MESSAGE_SIZE => message_bytes_max: usize, message_bytes;
            /// Compression of WebSocket messages from 1 KiB on: off, or auto (for clients that offer it, as browsers do). true and false, as the package spells them, mean auto and off. docs/performance.md says what it saves and costs, docs/security.md what it may give away
            DIFFYNE_COMPRESSION = "off" => compression: CompressionMode;
            /// Largest body of an AJAX call.
            DIFFYNE_MAX_REQUEST_SIZE => request_bytes_max: usize, request_bytes;
            /// Name of this release; `None`: the hash of the scripts.
            DIFFYNE_RELEASE => release: Option<String>, common::release;
        }
        "Process" {
            /// Name of this gateway in the cluster; default: host name and port
            DIFFYNE_GATEWAY_NAME = none => name: String, name;
            /// Threads that serve connections; default: one per core
            DIFFYNE_THREADS = none => threads: usize, threads;
        }
        "Limits" {
            /// Connections of this gateway; more are refused with 503
            DIFFYNE_MAX_CONNECTIONS = "20000" => connections_max: usize, at_least_one;
            /// Connections of one client address (of IPv6: one /64); more are refused with 429; 0: no limit. Behind a proxy, set DIFFYNE_TRUSTED_PROXIES first
            DIFFYNE_MAX_CONNECTIONS_PER_ADDRESS = "0" => connections_per_address_max: usize;
            /// Connections with one WebSocket key; more are refused with 429; 0: no limit
            DIFFYNE_MAX_CONNECTIONS_PER_KEY = "0" => connections_per_key_max: usize;
            /// New WebSocket connections of this gateway; more are refused with 429; off: no fixed limit. Each thread takes in as many as leave calls their latency in any case
            DIFFYNE_HANDSHAKE_RATE = "off" => handshake_rate: Rate;
            /// New connections of this gateway that wait until a thread has time for their handshake; more are refused with 503
            DIFFYNE_HANDSHAKE_QUEUE = "20000" => handshake_queue_max: usize, at_least_one;
            /// Messages of one connection; one that sends more is closed with 1008; off: no limit
            DIFFYNE_MESSAGE_RATE = "200/s:1000" => message_rate: Rate;
            /// Calls of one connection; more are answered with rate_limited and do not run; off: no limit
            DIFFYNE_CALL_RATE = "100/s:500" => call_rate: Rate;
            /// WebSocket frames of one connection, pings and fragments included; one that sends more is closed with 1008; off: no limit
            DIFFYNE_FRAME_RATE = "1000/s:5000" => frame_rate: Rate;
            /// Work that one connection may cause, in bytes a second: what it sends, what is replayed to it, and 16 for each filter that a replay looks at; the gateway reads more slowly from one that causes more; off: no limit
            DIFFYNE_CONNECTION_RATE = "4MiB/s:16MiB" => connection_rate: Rate, byte_rate;
            /// Memory that may be held for one connection: outbox, subscriptions, unfinished message, calls that run or wait; what would exceed it is refused. Never less than DIFFYNE_OUTBOX_BYTES
            DIFFYNE_CONNECTION_BYTES = "8MiB" => connection_bytes_max: usize, connection_bytes;
            /// How long a message may take to arrive, from its first byte on; then its connection is closed with 1008
            DIFFYNE_MESSAGE_TIMEOUT = "60s" => message_timeout: Duration, positive;
            /// A connection that sends nothing and has no subscription is closed after this time; 0s: never
            DIFFYNE_IDLE_TIMEOUT = "0s" => idle_timeout: Duration;
            /// A connection is asked to reconnect after this time, give or take a tenth; 0s: never
            DIFFYNE_MAX_CONNECTION_AGE = "0s" => connection_age_max: Duration;
            /// How long a client may read nothing while bytes wait for it; then it is closed as a slow consumer
            DIFFYNE_OUTBOX_TIMEOUT = "30s" => outbox_timeout: Duration, positive;
            /// Memory above which this gateway takes no new connections and ends those for which it holds most; default: four fifths of what it has and of what its host, container or systemd unit still has
            DIFFYNE_MEMORY_MAX = none => memory_max: Option<usize>, optional_bytes;
            /// AJAX calls of this gateway that run or wait; more are refused with 503
            DIFFYNE_MAX_REQUESTS = "1024" => requests_max: usize, at_least_one;
            /// AJAX calls of one client address (of IPv6: one /64) that arrive, run or wait; more are refused with 429; 0: no limit
            DIFFYNE_MAX_REQUESTS_PER_ADDRESS = "256" => requests_per_address_max: usize;
            /// Connections of one address (of IPv6: one /64) that are no WebSocket yet; more are closed; 0: no limit. Trusted proxies are not counted
            DIFFYNE_MAX_HTTP_CONNECTIONS_PER_ADDRESS = "512" => http_connections_per_address_max: usize;
            /// How long a handshake, or the body of an AJAX call, may take to arrive
            DIFFYNE_HEADER_TIMEOUT = "10s" => header_timeout: Duration, positive;
            /// How often a silent client is pinged; one that misses a whole interval is dropped
            DIFFYNE_PING_INTERVAL = "25s" => ping_interval: Duration, ping_interval;
            /// Bytes that may wait to be written to one connection; a client for which more would wait is closed as a slow consumer. At most 1GiB
            DIFFYNE_OUTBOX_BYTES = "4MiB" => outbox_bytes_max: usize, outbox_bytes;
            /// Calls of one connection that run or wait; more are answered with overloaded
            DIFFYNE_MAX_CALLS_PER_CONNECTION = "64" => calls_per_connection_max: usize, at_least_one;
            /// Event names that one connection may subscribe to
            DIFFYNE_MAX_SUBSCRIPTIONS = "100" => subscriptions_max: usize, at_least_one;
        }
        "Calls and workers" {
            /// How long a call may take in all (diffyne.js gives up after 30 s)
            DIFFYNE_CALL_TIMEOUT = "28s" => call_timeout: Duration, positive;
            /// A call that takes longer is logged with component, method, request id and where the time went; 0s: none is
            DIFFYNE_SLOW_CALL = "1s" => slow_call: Duration;
            /// How long a call may take in all while it sends parts of its answer; each part gives it DIFFYNE_CALL_TIMEOUT anew; 0s: answers come as a whole
            DIFFYNE_STREAM_TIMEOUT = "10m" => stream_timeout: Duration;
            /// Calls of this gateway that wait for a worker; more are answered with overloaded
            DIFFYNE_CALL_QUEUE = "4096" => call_queue_max: usize, at_least_one;
            /// How long a call waits while there is no worker at all
            DIFFYNE_WORKER_WAIT = "5s" => worker_wait: Duration, positive;
            /// A worker that is asked and does not answer for this time gets no calls until it speaks
            DIFFYNE_WORKER_HEALTH = "600ms" => worker_health: Duration, positive;
            /// Workers as a comma list of host:port or unix:PATH, beside those found in Redis
            DIFFYNE_WORKERS = none => workers: Vec<Endpoint>;
            /// PEM file of the authority that signed the workers' certificates; set: the gateway speaks TLS to workers on TCP
            DIFFYNE_WORKER_TLS_CA = none => worker_ca: Option<PathBuf>;
        }
        "Stopping" {
            /// How long a gateway goes on after SIGTERM, with /ready at 503, before it sends its clients away: longer than a load balancer takes to see that
            DIFFYNE_SHUTDOWN_DELAY = "0s" => shutdown_delay: Duration;
            /// How long running calls may take after SIGTERM
            DIFFYNE_DRAIN_TIMEOUT = "25s" => drain_timeout: Duration;
            /// Clients a second that a stopping gateway sends away, so that the other gateways are not overrun
            DIFFYNE_DRAIN_RATE = "1000" => drain_rate: u32, at_least_one_u32;
        }
        "Broadcasts" {
            /// Who may subscribe to broadcasts: open (whoever may connect) or granted (whom the component's class and its mayHear() let)
            DIFFYNE_SUBSCRIBE = "open" => subscribe: Subscribe;
            /// When a gateway learns who the user of a WebSocket is, with DIFFYNE_SUBSCRIBE=open: with the first call (call), or already when the page subscribes, for which a worker is asked (subscribe)
            DIFFYNE_IDENTIFY = "call" => identify: Identify;
            /// How long a grant to subscribe is valid; a client that comes back after half of it gets a new one
            DIFFYNE_GRANT_LIFE = "1h" => grant_life: Duration, positive;
            /// Events that are broadcast to the whole cluster: a comma list, * allowed
            DIFFYNE_BROADCAST_EVENTS = "message-sent" => broadcast_events: Vec<String>;
            /// Broadcasts of one event name by this gateway; more stay in their response; off: no limit
            DIFFYNE_BROADCAST_RATE = "1000/s:5000" => broadcast_rate: Rate;
            /// How long POST /api/broadcast waits for room when the queue of broadcasts is full; then it answers 503
            DIFFYNE_PUBLISH_WAIT = "2s" => publish_wait: Duration;
            /// How many broadcasts may cause one another in a chain
            DIFFYNE_BROADCAST_DEPTH = "2" => broadcast_depth_max: u32;
            /// Calls a second with which pages should react to one broadcast, over the whole cluster: with more connections they spread over some seconds; 0: at once
            DIFFYNE_REACTION_RATE = "2000" => reactions_per_second: u64;
        }
        "Rooms" {
            /// Rooms that one connection may be in
            DIFFYNE_PRESENCE_MAX_ROOMS = "20" => presence_rooms_max: usize, at_least_one;
            /// Users in one room, each counted once; more are refused
            DIFFYNE_PRESENCE_MAX_MEMBERS = "1000" => presence_members_max: usize, at_least_one;
            /// Bytes of all ids and infos in one room, which every page in it gets; more are refused
            DIFFYNE_PRESENCE_MAX_BYTES = "256KiB" => presence_bytes_max: usize, bytes;
            /// How long a user whose connection has ended stays in its rooms: longer than a page takes to come back after a reload or a deploy; 0s: not at all
            DIFFYNE_PRESENCE_GRACE = "2s" => presence_grace: Duration;
            /// Whispers of one connection; more are answered with rate_limited; off: no limit
            DIFFYNE_WHISPER_RATE = "10/s:20" => whisper_rate: Rate;
            /// Bytes of the data of a whisper; a larger one is refused
            DIFFYNE_WHISPER_BYTES = "4KiB" => whisper_bytes_max: usize, bytes;
        }
        "Proxies and application" {
            /// Addresses whose X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host count; they have to overwrite what clients send of these; none: nobody's
            DIFFYNE_TRUSTED_PROXIES = "127.0.0.1,::1" => trusted_proxies: Vec<IpNet>, proxies;
            /// The application's address, with scheme and port: pages from there may act as their user
            APP_URL = none => app_url: Option<String>;
        }
        "Connection status" {
            /// The whole Redis key of cache()->get('diffyne:websocket:status'), with Laravel's prefixes; not set: not written
            DIFFYNE_STATUS_KEY = none => status_key: Option<StatusKey>, status_key;
            /// Redis database of Laravel's cache connection
            DIFFYNE_STATUS_DB = "1";
            /// Life of the status key.
            DIFFYNE_STATUS_TTL;
        }
        "Keys and tokens" {
            /// Signing keys.
            DIFFYNE_SIGNING_KEY;
            /// The application's keys: it encrypts its cookies with them.
            APP_KEY => cookie_keys: Vec<Vec<u8>>, cookie_keys;
            /// Tokens that the gateway and its workers prove to each other.
            DIFFYNE_WORKER_TOKEN => worker_tokens: Vec<String>, worker_tokens;
            /// Token for admin requests that change something; none: they are refused.
            DIFFYNE_ADMIN_TOKEN => admin_token: Option<String>;
            /// More such tokens, with names.
            DIFFYNE_ADMIN_TOKENS;
        }
        "Admin listener" {
            /// Where /metrics and /ready are served; default: loopback, own TCP port + 10000
            DIFFYNE_ADMIN_LISTEN = none => admin_listen: Option<Endpoint>, admin_listen;
        }
        "Messages and failures" {
            /// Whether clients get details of failures.
            DIFFYNE_DEBUG => debug: bool;
        }
    }
    computed {
        /// Who may ask the admin listener.
        admin_tokens: AdminTokens = common::admin_tokens;
        /// Where to listen.
        listen: Endpoint = listen;
        /// Signing keys. Cookies of a login over the socket are sealed with a key derived from them.
        signing_keys: Vec<Vec<u8>> = signing_keys;
        /// File uploads.
        upload: UploadSettings = UploadSettings::read;
        /// Whom the gateway tells of its connections.
        lifecycle: LifecycleSettings = LifecycleSettings::read;
        /// Redis.
        redis: RedisSettings = RedisSettings::read;
        /// Logs.
        log: LogSettings = LogSettings::read;
    }
}

/// Laravel's cache key for the connection status.
#[derive(Debug, Clone)]
pub struct StatusKey {
    /// The whole key.
    pub key: String,
    /// Redis database.
    pub database: u32,
    /// Time to live.
    pub ttl: Duration,
}

type Read<T> = Result<T, SettingsError>;

impl GatewaySettings {
    /// Reads and checks the settings.
    pub fn read(layers: &Layers) -> Result<Self, SettingsError> {
        let settings = Self::from_layers(layers)?;
        settings.check_grants()?;
        settings.check_workers()?;
        settings.check_status(layers)?;
        Ok(settings)
    }

    /// What an operator should know about these settings although they can be used.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.admin_listen.is_none() {
            warnings.push(checks::no_admin_address(&DIFFYNE_ADMIN_LISTEN, &self.listen));
        }
        if self.workers.is_empty() && self.redis.url.is_none() {
            warnings.push(
                "no worker can be found: name them in DIFFYNE_WORKERS, or give workers and gateways the same DIFFYNE_REDIS_URL"
                    .to_owned(),
            );
        }
        if let Some(url) = self.app_url.as_deref().filter(|url| !url.contains("://")) {
            warnings.push(format!(
                "APP_URL = `{url}` is not the address of a page: write it with its scheme, as in https://{url}"
            ));
        }
        warnings.extend(self.lifecycle.warning());
        warnings
    }

    fn check_grants(&self) -> Read<()> {
        if self.subscribe == Subscribe::Granted && self.signing_keys.is_empty() {
            let why =
                "grants cannot be signed; set it, or give the application's APP_KEY (--env-file /path/to/app/.env)";
            return Err(SettingsError::Missing { name: DIFFYNE_SIGNING_KEY.name, why: why.to_owned() });
        }
        Ok(())
    }

    fn check_workers(&self) -> Read<()> {
        if !self.worker_tokens.is_empty() {
            return Ok(());
        }
        let Some(far) = self.workers.iter().find(|address| !address.is_local()) else { return Ok(()) };
        let why = format!(
            "DIFFYNE_WORKERS names {far}, beyond this machine; set the same long random text for gateways and workers"
        );
        Err(SettingsError::Missing { name: DIFFYNE_WORKER_TOKEN.name, why })
    }

    fn check_status(&self, layers: &Layers) -> Read<()> {
        if self.status_key.is_some() && self.redis.url.is_none() {
            return Err(layers.invalid(&DIFFYNE_STATUS_KEY, "left out unless DIFFYNE_REDIS_URL is set"));
        }
        Ok(())
    }
}

fn listen(layers: &Layers) -> Read<Endpoint> {
    match layers.get(&DIFFYNE_LISTEN)? {
        Some(address) => Ok(address),
        None => Ok(Endpoint::tcp(layers.get::<String>(&DIFFYNE_WS_HOST)?, layers.get(&DIFFYNE_WS_PORT)?)),
    }
}

fn name(layers: &Layers, spec: &'static Spec) -> Read<String> {
    checks::program_name(layers, spec, &listen(layers)?)
}

fn admin_listen(layers: &Layers, spec: &'static Spec) -> Read<Option<Endpoint>> {
    checks::admin_address(layers, spec, &listen(layers)?)
}

fn threads(layers: &Layers, spec: &'static Spec) -> Read<usize> {
    if layers.is_set(spec) { Ok(at_least_one(layers, spec)?.min(checks::THREADS_MAX)) } else { Ok(checks::cores()) }
}

fn path(layers: &Layers, spec: &'static Spec) -> Read<String> {
    let path: String = layers.get(spec)?;
    Ok(if path.starts_with('/') { path } else { format!("/{path}") })
}

/// A path that begins with a slash and ends without one.
fn route_prefix(layers: &Layers, spec: &'static Spec) -> Read<String> {
    let prefix = format!("/{}", layers.get::<String>(spec)?.trim_matches('/'));
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if prefix == "/" || !prefix.chars().all(plain) {
        return Err(layers.invalid(spec, "a path of letters, digits, dots, underscores and hyphens"));
    }
    Ok(prefix)
}

/// Methods or names of headers.
fn http_tokens(layers: &Layers, spec: &'static Spec) -> Read<Vec<String>> {
    let list: Vec<String> = layers.get(spec)?;
    let plain = |text: &String| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_*".contains(&b));
    if list.iter().all(plain) { Ok(list) } else { Err(layers.invalid(spec, "a comma list of HTTP tokens")) }
}

fn byte_rate(layers: &Layers, spec: &'static Spec) -> Read<Rate> {
    layers.get::<ByteRate>(spec).map(|rate| rate.0)
}

fn connection_bytes(layers: &Layers, spec: &'static Spec) -> Read<usize> {
    Ok(bytes(layers, spec)?.max(outbox_bytes(layers, &DIFFYNE_OUTBOX_BYTES)?))
}

fn ping_interval(layers: &Layers, spec: &'static Spec) -> Read<Duration> {
    let interval = positive(layers, spec)?;
    if interval < Duration::from_secs(1) { Err(layers.invalid(spec, "1s or more")) } else { Ok(interval) }
}

fn proxies(layers: &Layers, spec: &'static Spec) -> Read<Vec<IpNet>> {
    layers.get::<TrustedProxies>(spec).map(|proxies| proxies.0)
}

fn status_key(layers: &Layers, spec: &'static Spec) -> Read<Option<StatusKey>> {
    let database = layers.get(&DIFFYNE_STATUS_DB)?;
    let ttl = positive(layers, &DIFFYNE_STATUS_TTL)?;
    Ok(layers.get::<Option<String>>(spec)?.map(|key| StatusKey { key, database, ttl }))
}

/// A gateway can run without signing keys.
fn signing_keys(layers: &Layers) -> Read<Vec<Vec<u8>>> {
    keys(layers, common::key_setting(layers))
}

/// With a signing key of its own, a gateway ignores an application key that it cannot read.
fn cookie_keys(layers: &Layers, spec: &'static Spec) -> Read<Vec<Vec<u8>>> {
    let keys = keys(layers, spec);
    if layers.is_set(&DIFFYNE_SIGNING_KEY) { Ok(keys.unwrap_or_default()) } else { keys }
}

fn keys(layers: &Layers, spec: &'static Spec) -> Read<Vec<Vec<u8>>> {
    let texts: Vec<String> = layers.get(spec)?;
    let key =
        |text: &String| SigningKey::bytes(text).map_err(|error| layers.invalid(spec, &format!("a key ({error})")));
    texts.iter().map(key).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::settings::Files;
    use std::collections::HashMap;

    fn read(pairs: &[(&str, &str)]) -> Result<GatewaySettings, String> {
        let flags: HashMap<String, String> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let layers = Layers::read(&specs(), &Files::default(), &HashMap::new(), &flags).unwrap();
        GatewaySettings::read(&layers).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_safe_and_documented() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:6001");
        assert_eq!(settings.admin_listen.unwrap().to_string(), "127.0.0.1:16001");
        assert_eq!((settings.message_bytes_max, settings.path.as_str()), (1_048_576, "/diffyne"));
        assert_eq!(settings.broadcast_events, ["message-sent"]);
        assert!(settings.redis.url.is_none() && settings.keys.is_empty());
    }

    #[test]
    fn workers_beyond_loopback_want_a_token() {
        for far in ["10.0.0.1:7001", "worker.internal:7001", "127.0.0.1:7001,10.0.0.1:7001", "0.0.0.0:7001"] {
            let error = read(&[("DIFFYNE_WORKERS", far)]).unwrap_err();
            assert!(error.contains("DIFFYNE_WORKER_TOKEN is not set"), "{far}: {error}");
            assert!(read(&[("DIFFYNE_WORKERS", far), ("DIFFYNE_WORKER_TOKEN", "t")]).is_ok());
        }
        assert!(read(&[("DIFFYNE_WORKERS", "127.0.0.1:7001,unix:/run/w.sock,[::1]:7001")]).is_ok());
    }

    #[test]
    fn an_own_address_wins_over_what_the_page_connects_to() {
        let settings = read(&[("DIFFYNE_WS_HOST", "example.com"), ("DIFFYNE_LISTEN", "unix:/run/g.sock")]).unwrap();
        assert_eq!(settings.listen.to_string(), "unix:/run/g.sock");
        assert!(settings.admin_listen.is_none());
    }

    #[test]
    fn an_ajax_call_may_be_as_large_as_a_message_of_the_socket() {
        let limit = |pairs: &[(&str, &str)]| read(pairs).map(|settings| settings.request_bytes_max);
        assert_eq!(limit(&[]), Ok(2 << 20));
        assert_eq!(limit(&[("DIFFYNE_WS_MAX_MESSAGE_SIZE", "3MiB")]), Ok(6 << 20));
        assert_eq!(limit(&[("DIFFYNE_WS_MAX_MESSAGE_SIZE", "64MiB")]), Ok(64 << 20));
        assert_eq!(limit(&[("DIFFYNE_MAX_REQUEST_SIZE", "1MiB")]), Ok(1 << 20));
        let error = limit(&[("DIFFYNE_MAX_REQUEST_SIZE", "512KiB")]).unwrap_err();
        assert!(error.contains("DIFFYNE_WS_MAX_MESSAGE_SIZE (1048576)"), "{error}");
    }

    #[test]
    fn every_default_passes_its_own_check_and_wrong_values_do_not() {
        let wrong = [
            ("DIFFYNE_WS_PORT", "70000"),
            ("DIFFYNE_LISTEN", "nowhere"),
            ("DIFFYNE_WS_MAX_MESSAGE_SIZE", "0"),
            ("DIFFYNE_CALL_TIMEOUT", "28"),
            ("DIFFYNE_MAX_CONNECTIONS", "0"),
            ("DIFFYNE_WORKERS", "127.0.0.1"),
            ("DIFFYNE_TRUSTED_PROXIES", "nginx"),
            ("DIFFYNE_SUBSCRIBE", "closed"),
            ("DIFFYNE_CALL_RATE", "many"),
            ("DIFFYNE_DRAIN_RATE", "0"),
            ("DIFFYNE_REDIS_URL", "http://x"),
            ("DIFFYNE_LOG", "loud=very=much"),
            ("DIFFYNE_LOG_FORMAT", "xml"),
            ("DIFFYNE_GATEWAY_NAME", "a b"),
            ("DIFFYNE_STATUS_KEY", "x"),
            ("DIFFYNE_PING_INTERVAL", "1ms"),
            ("DIFFYNE_ROUTE_PREFIX", "/"),
            ("DIFFYNE_MAX_REQUEST_SIZE", "1GiB"),
            ("DIFFYNE_WS_CORS_HEADERS", "a b"),
            ("DIFFYNE_RELEASE", "a<b"),
        ];
        for (name, value) in wrong {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.contains(name) && error.contains(value) && error.contains("must be"), "{error}");
        }
    }
}
