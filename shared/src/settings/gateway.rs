//! The settings of `diffyne-gateway`.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::common::{self, LogSettings, RedisSettings, at_least_one, positive};
use super::value::{ByteRate, ByteSize, List, Proxies, Subscribe};
use super::{Layers, SettingsError, Spec};
use crate::rate::Rate;
use crate::rpc::PeerAddress;
use crate::signing::SigningKey;

static SOCKET: [Spec; 9] = [
    Spec::new("DIFFYNE_WS_HOST", "127.0.0.1", "Host to listen on"),
    Spec::new("DIFFYNE_WS_PORT", "6001", "Port to listen on"),
    Spec::optional(
        "DIFFYNE_LISTEN",
        "host:port or unix:PATH to listen on; wins over DIFFYNE_WS_HOST and DIFFYNE_WS_PORT, which in an application's .env say what the page connects to",
    ),
    Spec::new("DIFFYNE_WS_PATH", "/diffyne", "Path of the WebSocket, beside /"),
    Spec::secret("DIFFYNE_WS_KEY", "Key that pages connect with; a comma list allows a rotation; not set: no check"),
    Spec::new(
        "DIFFYNE_WS_CORS_ORIGINS",
        "*",
        "Origins that may connect: a comma list, https://*.example.com allowed, * for all",
    ),
    Spec::new("DIFFYNE_WS_CORS_METHODS", "GET,POST,OPTIONS", "Methods that a preflight of another origin is told"),
    Spec::new(
        "DIFFYNE_WS_CORS_HEADERS",
        "Content-Type,Authorization,Accept,X-Requested-With,X-CSRF-TOKEN,X-Diffyne-Client-Id",
        "Headers that a preflight of another origin is told",
    ),
    Spec::new("DIFFYNE_ROUTE_PREFIX", "/_diffyne", "Where AJAX calls and the client scripts are served"),
];

static GATEWAY: [Spec; 43] = [
    Spec::optional("DIFFYNE_GATEWAY_NAME", "Name of this gateway in the cluster; default: host name and port"),
    Spec::optional("DIFFYNE_THREADS", "Threads that serve connections; default: one per core"),
    Spec::new("DIFFYNE_MAX_CONNECTIONS", "20000", "Connections of this gateway; 503 beyond"),
    Spec::new(
        "DIFFYNE_MAX_CONNECTIONS_PER_ADDRESS",
        "0",
        "Connections of one client address (of IPv6: one /64); 429 beyond; 0: no limit. Behind a proxy, set DIFFYNE_TRUSTED_PROXIES first",
    ),
    Spec::new("DIFFYNE_MAX_CONNECTIONS_PER_KEY", "0", "Connections with one WebSocket key; 429 beyond; 0: no limit"),
    Spec::new(
        "DIFFYNE_HANDSHAKE_RATE",
        "1000/s:2000",
        "New connections of this gateway, so that a storm of reconnects leaves room for calls; 429 beyond; off: no limit",
    ),
    Spec::new(
        "DIFFYNE_MESSAGE_RATE",
        "200/s:1000",
        "Messages of one connection; one that sends more is closed with 1008; off: no limit",
    ),
    Spec::new(
        "DIFFYNE_CALL_RATE",
        "100/s:500",
        "Calls of one connection; those beyond are answered rate_limited and not run; off: no limit",
    ),
    Spec::new(
        "DIFFYNE_FRAME_RATE",
        "1000/s:5000",
        "WebSocket frames of one connection, pings and fragments included; one that sends more is closed with 1008; off: no limit",
    ),
    Spec::new(
        "DIFFYNE_CONNECTION_RATE",
        "4MiB/s:16MiB",
        "Work that one connection may cause, in bytes a second: what it sends, what is replayed to it, and 16 for each filter that a replay looks at; beyond it is read from more slowly; off: no limit",
    ),
    Spec::new(
        "DIFFYNE_CONNECTION_BYTES",
        "8MiB",
        "Memory that may be held for one connection: outbox, subscriptions, unfinished message, calls that run or wait; what would exceed it is refused. Never less than DIFFYNE_OUTBOX_BYTES",
    ),
    Spec::new(
        "DIFFYNE_MESSAGE_TIMEOUT",
        "60s",
        "How long a message may take to arrive from its first byte on; then its connection is closed with 1008",
    ),
    Spec::new(
        "DIFFYNE_IDLE_TIMEOUT",
        "0s",
        "A connection that sends nothing and listens to nothing is closed after this; 0s: never",
    ),
    Spec::new(
        "DIFFYNE_MAX_CONNECTION_AGE",
        "0s",
        "A connection is asked to reconnect after this, give or take a tenth; 0s: never",
    ),
    Spec::new(
        "DIFFYNE_OUTBOX_TIMEOUT",
        "30s",
        "How long a client may read nothing of what waits for it; then it is closed as a slow consumer",
    ),
    Spec::optional(
        "DIFFYNE_MEMORY_MAX",
        "Memory above which this gateway takes no new connections and ends those for which most is held; default: four fifths of what the host or container has",
    ),
    Spec::new("DIFFYNE_MAX_REQUESTS", "1024", "AJAX calls of this gateway that run or wait; 503 beyond"),
    Spec::new(
        "DIFFYNE_MAX_REQUESTS_PER_ADDRESS",
        "256",
        "AJAX calls of one client address (of IPv6: one /64) that arrive, run or wait; 429 beyond; 0: no limit",
    ),
    Spec::new(
        "DIFFYNE_MAX_HTTP_CONNECTIONS_PER_ADDRESS",
        "512",
        "Connections of one address (of IPv6: one /64) that are no WebSocket yet; those beyond are closed; 0: no limit. Trusted proxies are not counted",
    ),
    Spec::new("DIFFYNE_MAX_REQUEST_SIZE", "512KiB", "Largest body of an AJAX call"),
    Spec::new("DIFFYNE_HEADER_TIMEOUT", "10s", "How long a handshake, or an AJAX call's body, may take to arrive"),
    Spec::new(
        "DIFFYNE_PING_INTERVAL",
        "25s",
        "How often a silent client is pinged; one that misses a whole interval is dropped",
    ),
    Spec::new(
        "DIFFYNE_OUTBOX_BYTES",
        "4MiB",
        "What may wait to be written to one connection; beyond it the client is closed as a slow consumer",
    ),
    Spec::new(
        "DIFFYNE_MAX_CALLS_PER_CONNECTION",
        "64",
        "Calls of one connection that run or wait; beyond it they are answered overloaded",
    ),
    Spec::new("DIFFYNE_MAX_SUBSCRIPTIONS", "100", "Event names that one connection may subscribe to"),
    Spec::new("DIFFYNE_CALL_TIMEOUT", "28s", "How long a call may take in all (diffyne.js gives up after 30 s)"),
    Spec::new(
        "DIFFYNE_CALL_QUEUE",
        "4096",
        "Calls of this gateway that wait for a worker; beyond it they are answered overloaded",
    ),
    Spec::new("DIFFYNE_WORKER_WAIT", "5s", "How long a call waits when no worker is there at all"),
    Spec::new(
        "DIFFYNE_WORKER_HEALTH",
        "600ms",
        "A worker that says nothing for so long, though it is asked, is left out until it speaks",
    ),
    Spec::optional("DIFFYNE_WORKERS", "Workers as a comma list of host:port or unix:PATH, beside those found in Redis"),
    Spec::optional(
        "DIFFYNE_WORKER_TLS_CA",
        "PEM file of the authority that signed the workers' certificates; set: workers on TCP are spoken to by TLS",
    ),
    Spec::new("DIFFYNE_DRAIN_TIMEOUT", "25s", "How long running calls may take after SIGTERM"),
    Spec::new(
        "DIFFYNE_DRAIN_RATE",
        "1000",
        "Clients a second that a stopping gateway sends away, so that the others are not overrun",
    ),
    Spec::new(
        "DIFFYNE_SUBSCRIBE",
        "open",
        "Who may subscribe to broadcasts: open (whoever may connect) or granted (whom the component's class and its mayHear() let)",
    ),
    Spec::new(
        "DIFFYNE_GRANT_LIFE",
        "1h",
        "How long a grant to subscribe is good; renewed past half when a client comes back",
    ),
    Spec::new(
        "DIFFYNE_BROADCAST_EVENTS",
        "message-sent",
        "Events that leave for the whole cluster: a comma list, * allowed",
    ),
    Spec::new(
        "DIFFYNE_BROADCAST_RATE",
        "1000/s:5000",
        "Broadcasts of one event name by this gateway; those beyond stay in their response; off: no limit",
    ),
    Spec::new("DIFFYNE_BROADCAST_DEPTH", "2", "How deep a broadcast may cause broadcasts"),
    Spec::new(
        "DIFFYNE_REACTION_RATE",
        "2000",
        "Calls a second by which pages are meant to react to one broadcast, over the whole cluster: with more connections they spread over some seconds; 0: at once",
    ),
    Spec::new(
        "DIFFYNE_TRUSTED_PROXIES",
        "127.0.0.1,::1",
        "Addresses whose X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host count; they have to overwrite what clients send of these; none: nobody's",
    ),
    Spec::optional(
        "APP_URL",
        "The application's address, with scheme and port: pages from there may act as their user",
    ),
    Spec::optional(
        "DIFFYNE_STATUS_KEY",
        "The whole Redis key of cache()->get('diffyne:websocket:status'), with Laravel's prefixes; not set: not written",
    ),
    Spec::new("DIFFYNE_STATUS_DB", "1", "Redis database of Laravel's cache connection"),
];

/// Every setting of a gateway, in the order of `--help`.
pub fn specs() -> Vec<&'static Spec> {
    let mut specs: Vec<&'static Spec> = SOCKET.iter().collect();
    specs.push(&common::MAX_MESSAGE);
    specs.extend(&GATEWAY);
    specs.extend([&common::SIGNING_KEY, &common::APP_KEY]);
    specs.extend([&common::STATUS_TTL, &common::WORKER_TOKEN, &common::ADMIN_LISTEN]);
    specs.extend([&common::ADMIN_TOKEN, &common::DEBUG]);
    specs.extend(common::REDIS.iter().chain(&common::LOG));
    specs
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

/// A gateway's settings, checked.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// Where to listen.
    pub listen: PeerAddress,
    /// The WebSocket's path beside `/`.
    pub path: String,
    /// Accepted keys; none: no check.
    pub keys: Vec<String>,
    /// Accepted origins.
    pub origins: Vec<String>,
    /// Methods that preflights are told.
    pub cors_methods: Vec<String>,
    /// Headers that preflights are told.
    pub cors_headers: Vec<String>,
    /// Where the HTTP twin and the scripts are: begins with a slash, ends without.
    pub route_prefix: String,
    /// Calls by HTTP at once.
    pub requests_max: usize,
    /// Largest body of a call by HTTP.
    pub request_bytes_max: usize,
    /// Largest message.
    pub message_bytes_max: usize,
    /// Name in the cluster.
    pub name: String,
    /// Serving threads.
    pub threads: usize,
    /// Connections at once.
    pub connections_max: usize,
    /// Connections of one address; 0: no limit.
    pub connections_per_address_max: usize,
    /// Connections with one key; 0: no limit.
    pub connections_per_key_max: usize,
    /// New connections.
    pub handshake_rate: Rate,
    /// Messages of one connection.
    pub message_rate: Rate,
    /// Calls of one connection.
    pub call_rate: Rate,
    /// Frames of one connection.
    pub frame_rate: Rate,
    /// Work of one connection, in bytes.
    pub connection_rate: Rate,
    /// Bytes held for one connection.
    pub connection_bytes_max: usize,
    /// How long a message may take to arrive.
    pub message_timeout: Duration,
    /// Calls by HTTP of one address at once; 0: no limit.
    pub requests_per_address_max: usize,
    /// HTTP connections of one address; 0: no limit.
    pub http_connections_per_address_max: usize,
    /// When a connection that does nothing is closed; zero: never.
    pub idle_timeout: Duration,
    /// How old a connection becomes; zero: as old as it likes.
    pub connection_age_max: Duration,
    /// How long a client may read nothing.
    pub outbox_timeout: Duration,
    /// Memory from which on load is shed; none: four fifths of what there is.
    pub memory_max: Option<usize>,
    /// Clients a second that are sent away at a stop.
    pub drain_rate: u32,
    /// Who may subscribe.
    pub subscribe: Subscribe,
    /// How long a grant is good.
    pub grant_life: Duration,
    /// Broadcasts of one event name.
    pub broadcast_rate: Rate,
    /// Limit of a handshake.
    pub header_timeout: Duration,
    /// Between pings.
    pub ping_interval: Duration,
    /// Bytes that may wait for one connection.
    pub outbox_bytes_max: usize,
    /// Running and waiting calls of one connection.
    pub calls_per_connection_max: usize,
    /// Event names of one connection.
    pub subscriptions_max: usize,
    /// Time for a call.
    pub call_timeout: Duration,
    /// Calls that wait for a worker.
    pub call_queue_max: usize,
    /// How long a call waits without any worker.
    pub worker_wait: Duration,
    /// Between health checks.
    pub worker_health: Duration,
    /// Workers by address.
    pub workers: Vec<PeerAddress>,
    /// The authority of workers' certificates; none: no TLS.
    pub worker_ca: Option<PathBuf>,
    /// Tokens that are proved to workers, and they to us.
    pub worker_tokens: Vec<String>,
    /// Time for running calls at a stop.
    pub drain_timeout: Duration,
    /// Admin listener.
    pub admin_listen: Option<PeerAddress>,
    /// Token for admin changes.
    pub admin_token: Option<String>,
    /// Patterns of events to broadcast.
    pub broadcast_events: Vec<String>,
    /// Deepest broadcast.
    pub broadcast_depth_max: u32,
    /// Reactions of pages to a broadcast, a second; 0: unlimited.
    pub reactions_per_second: u64,
    /// Proxies that are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The application's address.
    pub app_url: Option<String>,
    /// The status key, if it is to be written.
    pub status_key: Option<StatusKey>,
    /// Signing keys; cookies of a login over the socket are sealed with one derived from them.
    pub signing_keys: Vec<Vec<u8>>,
    /// The application's keys: with them it encrypts its cookies.
    pub cookie_keys: Vec<Vec<u8>>,
    /// Details to clients.
    pub debug: bool,
    /// Redis.
    pub redis: RedisSettings,
    /// Logs.
    pub log: LogSettings,
}

impl GatewaySettings {
    /// Checks the layers.
    pub fn read(layers: &Layers) -> Result<Self, SettingsError> {
        let listen = match layers.optional("DIFFYNE_LISTEN")? {
            Some(address) => address,
            None => PeerAddress::tcp(layers.get::<String>("DIFFYNE_WS_HOST")?, layers.get("DIFFYNE_WS_PORT")?),
        };
        let path: String = layers.get("DIFFYNE_WS_PATH")?;
        let path = if path.starts_with('/') { path } else { format!("/{path}") };
        let subscribe = layers.get::<Subscribe>("DIFFYNE_SUBSCRIBE")?;
        let signing_keys = signing_keys(layers)?;
        if subscribe == Subscribe::Granted && signing_keys.is_empty() {
            let why =
                "grants cannot be signed; set it, or give the application's APP_KEY (--env-file /path/to/app/.env)";
            return Err(SettingsError::Missing { name: "DIFFYNE_SIGNING_KEY", why: why.to_owned() });
        }
        let name = match layers.optional::<String>("DIFFYNE_GATEWAY_NAME")? {
            Some(name) if is_plain_name(&name) => name,
            Some(_) => {
                return Err(layers
                    .invalid("DIFFYNE_GATEWAY_NAME", "letters, digits, dots, underscores and hyphens, at most 64"));
            }
            None => default_name(&listen),
        };
        let message_bytes_max = layers.get::<ByteSize>("DIFFYNE_WS_MAX_MESSAGE_SIZE")?.0;
        if !(1..=64 << 20).contains(&message_bytes_max) {
            return Err(layers.invalid("DIFFYNE_WS_MAX_MESSAGE_SIZE", "from 1 byte to 64MiB"));
        }
        let request_bytes_max = layers.get::<ByteSize>("DIFFYNE_MAX_REQUEST_SIZE")?.0;
        if !(1..=64 << 20).contains(&request_bytes_max) {
            return Err(layers.invalid("DIFFYNE_MAX_REQUEST_SIZE", "from 1 byte to 64MiB"));
        }
        let route_prefix: String = layers.get("DIFFYNE_ROUTE_PREFIX")?;
        let route_prefix = format!("/{}", route_prefix.trim_matches('/'));
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        if route_prefix == "/" || !route_prefix.chars().all(plain) {
            return Err(
                layers.invalid("DIFFYNE_ROUTE_PREFIX", "a path of letters, digits, dots, underscores and hyphens")
            );
        }
        let outbox_bytes_max = layers.get::<ByteSize>("DIFFYNE_OUTBOX_BYTES")?.0.max(64 * 1024);
        let ping_interval = positive(layers, "DIFFYNE_PING_INTERVAL")?;
        if ping_interval < Duration::from_secs(1) {
            return Err(layers.invalid("DIFFYNE_PING_INTERVAL", "1s or more"));
        }
        let worker_tokens = common::worker_tokens(layers)?;
        let workers = layers.optional::<List<PeerAddress>>("DIFFYNE_WORKERS")?.map(|list| list.0).unwrap_or_default();
        if let Some(far) = workers.iter().find(|address| worker_tokens.is_empty() && !address.is_local()) {
            let why = format!(
                "DIFFYNE_WORKERS names {far}, beyond this machine; set the same long random text for gateways and workers"
            );
            return Err(SettingsError::Missing { name: "DIFFYNE_WORKER_TOKEN", why });
        }
        let database = layers.get("DIFFYNE_STATUS_DB")?;
        let ttl = positive(layers, "DIFFYNE_STATUS_TTL")?;
        let redis = RedisSettings::read(layers)?;
        let status_key = layers.optional("DIFFYNE_STATUS_KEY")?.map(|key| StatusKey { key, database, ttl });
        if status_key.is_some() && redis.url.is_none() {
            return Err(layers.invalid("DIFFYNE_STATUS_KEY", "left out unless DIFFYNE_REDIS_URL is set"));
        }
        Ok(Self {
            path,
            keys: layers.optional::<List<String>>("DIFFYNE_WS_KEY")?.map(|list| list.0).unwrap_or_default(),
            origins: layers.get::<List<String>>("DIFFYNE_WS_CORS_ORIGINS")?.0,
            cors_methods: tokens(layers, "DIFFYNE_WS_CORS_METHODS")?,
            cors_headers: tokens(layers, "DIFFYNE_WS_CORS_HEADERS")?,
            route_prefix,
            requests_max: at_least_one(layers, "DIFFYNE_MAX_REQUESTS")?,
            request_bytes_max,
            message_bytes_max,
            name,
            threads: if layers.is_set("DIFFYNE_THREADS") {
                at_least_one(layers, "DIFFYNE_THREADS")?.min(256)
            } else {
                std::thread::available_parallelism().map_or(1, usize::from)
            },
            connections_max: at_least_one(layers, "DIFFYNE_MAX_CONNECTIONS")?,
            connections_per_address_max: layers.get("DIFFYNE_MAX_CONNECTIONS_PER_ADDRESS")?,
            connections_per_key_max: layers.get("DIFFYNE_MAX_CONNECTIONS_PER_KEY")?,
            handshake_rate: layers.get("DIFFYNE_HANDSHAKE_RATE")?,
            message_rate: layers.get("DIFFYNE_MESSAGE_RATE")?,
            call_rate: layers.get("DIFFYNE_CALL_RATE")?,
            frame_rate: layers.get("DIFFYNE_FRAME_RATE")?,
            connection_rate: layers.get::<ByteRate>("DIFFYNE_CONNECTION_RATE")?.0,
            connection_bytes_max: layers.get::<ByteSize>("DIFFYNE_CONNECTION_BYTES")?.0.max(outbox_bytes_max),
            message_timeout: positive(layers, "DIFFYNE_MESSAGE_TIMEOUT")?,
            requests_per_address_max: layers.get("DIFFYNE_MAX_REQUESTS_PER_ADDRESS")?,
            http_connections_per_address_max: layers.get("DIFFYNE_MAX_HTTP_CONNECTIONS_PER_ADDRESS")?,
            idle_timeout: layers.get("DIFFYNE_IDLE_TIMEOUT")?,
            connection_age_max: layers.get("DIFFYNE_MAX_CONNECTION_AGE")?,
            outbox_timeout: positive(layers, "DIFFYNE_OUTBOX_TIMEOUT")?,
            memory_max: layers.optional::<ByteSize>("DIFFYNE_MEMORY_MAX")?.map(|size| size.0),
            drain_rate: u32::try_from(at_least_one(layers, "DIFFYNE_DRAIN_RATE")?).unwrap_or(u32::MAX),
            subscribe,
            grant_life: positive(layers, "DIFFYNE_GRANT_LIFE")?,
            broadcast_rate: layers.get("DIFFYNE_BROADCAST_RATE")?,
            header_timeout: positive(layers, "DIFFYNE_HEADER_TIMEOUT")?,
            ping_interval,
            outbox_bytes_max,
            calls_per_connection_max: at_least_one(layers, "DIFFYNE_MAX_CALLS_PER_CONNECTION")?,
            subscriptions_max: at_least_one(layers, "DIFFYNE_MAX_SUBSCRIPTIONS")?,
            call_timeout: positive(layers, "DIFFYNE_CALL_TIMEOUT")?,
            call_queue_max: at_least_one(layers, "DIFFYNE_CALL_QUEUE")?,
            worker_wait: positive(layers, "DIFFYNE_WORKER_WAIT")?,
            worker_health: positive(layers, "DIFFYNE_WORKER_HEALTH")?,
            workers,
            worker_ca: layers.optional::<String>("DIFFYNE_WORKER_TLS_CA")?.map(PathBuf::from),
            worker_tokens,
            drain_timeout: layers.get("DIFFYNE_DRAIN_TIMEOUT")?,
            admin_listen: match layers.optional("DIFFYNE_ADMIN_LISTEN")? {
                Some(address) => Some(address),
                None => default_admin(&listen),
            },
            admin_token: layers.optional("DIFFYNE_ADMIN_TOKEN")?,
            broadcast_events: layers.get::<List<String>>("DIFFYNE_BROADCAST_EVENTS")?.0,
            broadcast_depth_max: layers.get("DIFFYNE_BROADCAST_DEPTH")?,
            reactions_per_second: layers.get("DIFFYNE_REACTION_RATE")?,
            trusted_proxies: layers.get::<Proxies>("DIFFYNE_TRUSTED_PROXIES")?.0,
            app_url: layers.optional("APP_URL")?,
            status_key,
            signing_keys,
            // With a signing key of its own, a gateway does without.
            cookie_keys: keys_of(layers, "APP_KEY").unwrap_or_default(),
            debug: layers.get("DIFFYNE_DEBUG")?,
            redis,
            log: LogSettings::read(layers)?,
            listen,
        })
    }
}

/// The keys of `DIFFYNE_SIGNING_KEY`, else `APP_KEY`; none is fine for a gateway.
fn signing_keys(layers: &Layers) -> Result<Vec<Vec<u8>>, SettingsError> {
    keys_of(layers, if layers.is_set("DIFFYNE_SIGNING_KEY") { "DIFFYNE_SIGNING_KEY" } else { "APP_KEY" })
}

fn keys_of(layers: &Layers, name: &'static str) -> Result<Vec<Vec<u8>>, SettingsError> {
    let list = layers.optional::<List<String>>(name)?.map(|list| list.0).unwrap_or_default();
    let read =
        |text: &String| SigningKey::bytes(text).map_err(|error| layers.invalid(name, &format!("a key ({error})")));
    list.iter().map(read).collect()
}

/// A list of HTTP tokens: methods or header names.
fn tokens(layers: &Layers, name: &'static str) -> Result<Vec<String>, SettingsError> {
    let list = layers.get::<List<String>>(name)?.0;
    let plain = |text: &String| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_*".contains(&b));
    if list.iter().all(plain) { Ok(list) } else { Err(layers.invalid(name, "a comma list of HTTP tokens")) }
}

/// Loopback, own port + 10000; `None` for a Unix socket or a port too high.
pub(super) fn default_admin(listen: &PeerAddress) -> Option<PeerAddress> {
    let (_, port) = listen.host_port()?;
    Some(PeerAddress::tcp("127.0.0.1", if port == 0 { 0 } else { port.checked_add(10_000)? }))
}

pub(super) fn is_plain_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// The host's name and the end of the address, in plain characters.
pub(super) fn default_name(listen: &PeerAddress) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let place = match listen {
        PeerAddress::Tcp { port, .. } => port.to_string(),
        PeerAddress::Unix(path) => path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
        PeerAddress::Memory(name) => name.clone(),
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let host: String = host.trim().chars().map(plain).take(40).collect();
    let place: String = place.chars().map(plain).take(20).collect();
    format!("{}-{place}", if host.is_empty() { "localhost" } else { &host })
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
        ];
        for (name, value) in wrong {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.contains(name) && error.contains(value) && error.contains("must be"), "{error}");
        }
    }
}
