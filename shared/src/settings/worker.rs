//! The settings of `diffyne-worker`.

use std::path::PathBuf;
use std::time::Duration;

use super::application::{
    ApplicationSettings, DIFFYNE_BACKEND_PREFIX, DIFFYNE_BACKEND_URL, DIFFYNE_FASTCGI, FastCgiSettings, HttpSettings,
};
use super::checks::{self, at_least_one, buffer_bytes, message_bytes, positive};
use super::common::{
    self, APP_KEY, DIFFYNE_ADMIN_TOKEN, DIFFYNE_ADMIN_TOKENS, DIFFYNE_DEBUG, DIFFYNE_MAX_REQUEST_SIZE, DIFFYNE_RELEASE,
    DIFFYNE_SIGNING_KEY, DIFFYNE_STATUS_TTL, DIFFYNE_WORKER_TOKEN, DIFFYNE_WS_MAX_MESSAGE_SIZE, LogSettings,
    RedisSettings, request_bytes, worker_tokens,
};
use super::declare::settings;
use super::error::SettingsError;
use super::layers::Layers;
use super::php::{DIFFYNE_APP, PhpSettings};
use super::rendering::RenderingSettings;
use super::spec::Spec;
use super::upload::UploadStoreSettings;
use crate::admin_tokens::AdminTokens;
use crate::rpc::Endpoint;
use crate::rpc::handshake::LegacyToken;
use crate::signing::{Signer, SigningKey};

/// PHP processes that one thread serves.
const PROCESSES_PER_THREAD: usize = 16;

/// Every setting of a worker, in the order of `--help`.
pub fn specs() -> Vec<&'static Spec> {
    let parts = [
        WorkerSettings::SPECS,
        UploadStoreSettings::SPECS,
        PhpSettings::SPECS,
        HttpSettings::SPECS,
        FastCgiSettings::SPECS,
        &[&DIFFYNE_BACKEND_PREFIX],
        RenderingSettings::SPECS,
        RedisSettings::SPECS,
        LogSettings::SPECS,
    ];
    parts.concat()
}

settings! {
    /// A worker's settings, checked.
    pub struct WorkerSettings {
        "Addresses" {
            /// host:port or unix:PATH that gateways connect to
            DIFFYNE_WORKER_LISTEN = "127.0.0.1:7001" => listen: Endpoint;
            /// Address announced in Redis; default: the listening one
            DIFFYNE_WORKER_ADVERTISE = none => advertise: Option<Endpoint>;
            /// PEM file of this worker's certificate chain, for the address that it announces; set: gateways on TCP have to speak TLS
            DIFFYNE_WORKER_TLS_CERT = none, reload;
            /// PEM file of the certificate's private key
            DIFFYNE_WORKER_TLS_KEY = none, reload;
            /// refuse or accept: whether gateways of older releases, which send their token in the clear, may connect; accept only while such gateways are being updated
            DIFFYNE_WORKER_TOKEN_LEGACY = "refuse", reload => legacy_token: LegacyToken;
        }
        "Process" {
            /// Name of this worker; default: host name and port
            DIFFYNE_WORKER_NAME = none => name: String, name;
            /// Threads that serve gateways; default: one per core, with DIFFYNE_APP one per 16 PHP processes
            DIFFYNE_WORKER_THREADS = none => threads: usize, threads;
            /// Run the demo's components, a counter and a chat: only where the worker has no application
            DIFFYNE_DEMO = "false" => demo: bool;
            /// host:port on loopback where a worker with DIFFYNE_DEMO serves the demo's page; not set: nowhere
            DIFFYNE_DEMO_LISTEN = none => demo_listen: Option<Endpoint>;
            /// Directory with the ids of the gateways and workers that visitors of the demo's page may kill (deploy/cluster.sh); not set: none
            DIFFYNE_DEMO_CONTROL = none => demo_control: Option<PathBuf>;
            /// SQLite file of the demo chat
            DIFFYNE_DATABASE = "storage/diffyne-demo.sqlite" => database: PathBuf;
            /// Name of this release; `None`: the hash of the components, or of the application's views and classes.
            DIFFYNE_RELEASE => release: Option<String>, common::release;
        }
        "Calls" {
            /// Calls that run side by side; unless set, with DIFFYNE_APP twice as many as PHP processes at most (one runs, one is next), with DIFFYNE_FASTCGI as many as connections
            DIFFYNE_WORKER_CONCURRENCY = "256" => concurrency: usize, concurrency;
            /// Calls that may always wait beyond those; more are handed back to their gateways
            DIFFYNE_WORKER_QUEUE = "16" => queue_max: usize;
            /// More may wait, up to 256, while calls are so quick that none waits longer than this; 0: no more
            DIFFYNE_WORKER_QUEUE_TIME = "20ms" => queue_time: Duration;
            /// Largest answer of a call; a larger one fails its call. No more than the gateways' DIFFYNE_OUTBOX_BYTES
            DIFFYNE_WORKER_MAX_ANSWER = "4MiB" => answer_bytes_max: usize, buffer_bytes;
            /// How long running calls may take after SIGTERM
            DIFFYNE_WORKER_DRAIN_TIMEOUT = "25s" => drain_timeout: Duration;
        }
        "Signatures" {
            /// What must carry a valid signature: property-updates, strict (calls too) or none
            DIFFYNE_VERIFY_STATE = "property-updates", reload;
            /// In strict mode, accept a call whose state differs by filled-in fields only
            DIFFYNE_LENIENT_FORMS = "true", reload;
            /// signed: the value of a locked property is taken only where a signature covers it, in every mode of DIFFYNE_VERIFY_STATE; upstream: as the package takes it, from anybody in a call by default
            DIFFYNE_LOCKED = "signed", reload;
        }
        "Keys and tokens" {
            /// Signing keys.
            DIFFYNE_SIGNING_KEY;
            /// The application's key.
            APP_KEY;
            /// Tokens that gateways have to prove; none: no check.
            DIFFYNE_WORKER_TOKEN => tokens: Vec<String>, worker_tokens;
            /// Token for admin requests that change something; none: they are refused.
            DIFFYNE_ADMIN_TOKEN => admin_token: Option<String>;
            /// More such tokens, with names.
            DIFFYNE_ADMIN_TOKENS;
        }
        "Admin listener" {
            /// Where /metrics and /ready are served; default: loopback, own TCP port + 10000
            DIFFYNE_WORKER_ADMIN_LISTEN = none => admin_listen: Option<Endpoint>, admin_listen;
        }
        "Connection status" {
            /// How long the connection's status stays in the application's cache.
            DIFFYNE_STATUS_TTL => status_ttl: Duration, positive;
        }
        "Messages and failures" {
            /// Largest message of a client.
            DIFFYNE_WS_MAX_MESSAGE_SIZE => message_bytes_max: usize, message_bytes;
            /// Largest body of an AJAX call.
            DIFFYNE_MAX_REQUEST_SIZE => request_bytes_max: usize, request_bytes;
            /// Whether clients get details of failures.
            DIFFYNE_DEBUG => debug: bool;
        }
    }
    computed {
        /// Who may ask the admin listener.
        admin_tokens: AdminTokens = common::admin_tokens;
        /// Certificate chain and key; none: no TLS.
        tls: Option<(PathBuf, PathBuf)> = tls;
        /// Which components the worker runs.
        components: Components = components;
        /// Signs and verifies states.
        signer: Signer = signer;
        /// File uploads for components in Rust; none: the worker takes none.
        uploads: Option<UploadStoreSettings> = UploadStoreSettings::read;
        /// Patches of an application's components.
        rendering: RenderingSettings = RenderingSettings::read;
        /// Redis.
        redis: RedisSettings = RedisSettings::read;
        /// Logs.
        log: LogSettings = LogSettings::read;
    }
}

/// Which components the worker runs.
#[derive(Debug, Clone)]
pub enum Components {
    /// The worker's own, in Rust.
    Native,
    /// Those of a PHP application, in the worker's own processes.
    Php(PhpSettings),
    /// Those of an application that another program runs.
    Application(ApplicationSettings),
}

/// Whether a missing signing key stops the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingKey {
    /// It does: nobody could verify the states later.
    Refuse,
    /// `dev`: a random key for this run.
    Random,
}

type Read<T> = Result<T, SettingsError>;

impl WorkerSettings {
    /// Reads and checks the settings.
    pub fn read(layers: &Layers, missing_key: MissingKey) -> Result<Self, SettingsError> {
        let settings = match missing_key {
            MissingKey::Random => Self::from_layers(&with_random_key(layers))?,
            MissingKey::Refuse => Self::from_layers(layers)?,
        };
        settings.check_token()?;
        settings.check_address()?;
        settings.check_demo(layers)?;
        Ok(settings)
    }

    /// What an operator should know about these settings although they can be used.
    pub fn warnings(&self) -> Vec<String> {
        let missing = self.admin_listen.is_none();
        missing.then(|| checks::no_admin_address(&DIFFYNE_WORKER_ADMIN_LISTEN, &self.listen)).into_iter().collect()
    }

    fn check_demo(&self, layers: &Layers) -> Read<()> {
        for (is_set, spec) in
            [(self.demo_listen.is_some(), &DIFFYNE_DEMO_LISTEN), (self.demo_control.is_some(), &DIFFYNE_DEMO_CONTROL)]
        {
            if is_set && !self.demo {
                return Err(layers.invalid(spec, "left out unless DIFFYNE_DEMO is true"));
            }
        }
        if self.demo && !matches!(self.components, Components::Native) {
            let allowed = "left out when DIFFYNE_APP, DIFFYNE_FASTCGI or DIFFYNE_BACKEND_URL is set";
            return Err(layers.invalid(&DIFFYNE_DEMO, allowed));
        }
        Ok(())
    }

    fn check_token(&self) -> Read<()> {
        for (what, address) in [("listens on", Some(&self.listen)), ("announces", self.advertise.as_ref())] {
            if let Some(address) = address.filter(|address| self.tokens.is_empty() && !address.is_local()) {
                let why = format!(
                    "the worker {what} {address}, beyond this machine; set the same long random text for gateways and workers"
                );
                return Err(SettingsError::Missing { name: DIFFYNE_WORKER_TOKEN.name, why });
            }
        }
        Ok(())
    }

    fn check_address(&self) -> Read<()> {
        if self.advertise.is_some() || self.redis.url.is_none() || !self.listen.is_anywhere() {
            return Ok(());
        }
        let listen = &self.listen;
        let why = format!("the worker listens on {listen}, an address that gateways on other hosts cannot reach");
        Err(SettingsError::Missing { name: DIFFYNE_WORKER_ADVERTISE.name, why })
    }
}

/// The layers with a random signing key, unless an operator set one.
fn with_random_key(layers: &Layers) -> Layers {
    let mut bytes = [0; 32];
    // Without randomness there is no key, and the start fails for want of one.
    if layers.is_set(&APP_KEY) || getrandom::fill(&mut bytes).is_err() {
        return layers.clone();
    }
    layers.with_default(&APP_KEY, hex::encode(bytes))
}

fn name(layers: &Layers, spec: &'static Spec) -> Read<String> {
    checks::program_name(layers, spec, &layers.get(&DIFFYNE_WORKER_LISTEN)?)
}

fn admin_listen(layers: &Layers, spec: &'static Spec) -> Read<Option<Endpoint>> {
    checks::admin_address(layers, spec, &layers.get(&DIFFYNE_WORKER_LISTEN)?)
}

fn threads(layers: &Layers, spec: &'static Spec) -> Read<usize> {
    if layers.is_set(spec) {
        return Ok(at_least_one(layers, spec)?.min(checks::THREADS_MAX));
    }
    Ok(match components(layers)? {
        // More threads would pass processes to each other, which costs more than it brings.
        Components::Php(php) => php.processes_max.div_ceil(PROCESSES_PER_THREAD),
        Components::Native | Components::Application(_) => checks::cores(),
    })
}

fn concurrency(layers: &Layers, spec: &'static Spec) -> Read<usize> {
    if layers.is_set(spec) {
        return at_least_one(layers, spec);
    }
    // More would only wait, while other workers may be free.
    let sensible = match components(layers)? {
        // One call runs, and the next one is there when it ends.
        Components::Php(php) => Some(php.processes_max * 2),
        Components::Application(application) => application.concurrency(),
        Components::Native => None,
    };
    sensible.map_or_else(|| at_least_one(layers, spec), Ok)
}

fn tls(layers: &Layers) -> Read<Option<(PathBuf, PathBuf)>> {
    match (layers.get(&DIFFYNE_WORKER_TLS_CERT)?, layers.get(&DIFFYNE_WORKER_TLS_KEY)?) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (None, None) => Ok(None),
        _ => Err(layers.invalid(&DIFFYNE_WORKER_TLS_CERT, "set together with DIFFYNE_WORKER_TLS_KEY")),
    }
}

fn components(layers: &Layers) -> Read<Components> {
    match (PhpSettings::read(layers)?, ApplicationSettings::read(layers)?) {
        (Some(_), Some(_)) => {
            let other = [&DIFFYNE_BACKEND_URL, &DIFFYNE_FASTCGI].into_iter().find(|spec| layers.is_set(spec));
            Err(layers.invalid(other.unwrap_or(&DIFFYNE_APP), "left out when DIFFYNE_APP is set"))
        }
        (Some(php), None) => Ok(Components::Php(php)),
        (None, Some(application)) => Ok(Components::Application(application)),
        (None, None) => Ok(Components::Native),
    }
}

fn signer(layers: &Layers) -> Read<Signer> {
    let spec = common::key_setting(layers);
    let key =
        |text: String| SigningKey::parse(&text).map_err(|error| layers.invalid(spec, &format!("a key ({error})")));
    let keys = layers.get::<Vec<String>>(spec)?.into_iter().map(key).collect::<Read<_>>()?;
    let signer = Signer::new(keys, layers.get(&DIFFYNE_VERIFY_STATE)?, layers.get(&DIFFYNE_LENIENT_FORMS)?);
    let locked = layers.get(&DIFFYNE_LOCKED)?;
    signer.map(|signer| signer.with_locked_values(locked)).ok_or_else(|| SettingsError::Missing {
        name: DIFFYNE_SIGNING_KEY.name,
        why: "states cannot be signed; set it, or give the application's APP_KEY (--env-file /path/to/app/.env)"
            .to_owned(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::settings::Files;
    use std::collections::HashMap;

    fn read(pairs: &[(&str, &str)]) -> Result<WorkerSettings, String> {
        let flags: HashMap<String, String> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let layers = Layers::read(&specs(), &Files::default(), &HashMap::new(), &flags).unwrap();
        WorkerSettings::read(&layers, MissingKey::Refuse).map_err(|error| error.to_string())
    }

    #[test]
    fn a_worker_without_a_key_does_not_start() {
        assert!(read(&[]).unwrap_err().contains("DIFFYNE_SIGNING_KEY is not set"));
        assert!(read(&[("APP_KEY", "base64:!!")]).unwrap_err().contains("APP_KEY"));
        let settings = read(&[("APP_KEY", "x")]).unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:7001");
        assert_eq!(settings.admin_listen.unwrap().to_string(), "127.0.0.1:17001");
    }

    #[test]
    fn a_limit_of_php_processes_is_kept_with_and_without_a_number() {
        let processes = |pairs: &[(&str, &str)]| {
            let settings = read(&[&[("APP_KEY", "x"), ("DIFFYNE_APP", "/x")], pairs].concat())?;
            let Components::Php(php) = settings.components else { return Err("no PHP".to_owned()) };
            Ok((php.processes_min, php.processes_max))
        };
        let (number, limit) = ("DIFFYNE_PHP_PROCESSES", "DIFFYNE_PHP_PROCESSES_MAX");
        assert_eq!(processes(&[(limit, "1")]), Ok((1, 1)));
        assert_eq!(processes(&[(number, "3")]), Ok((3, 3)));
        assert_eq!(processes(&[(number, "3"), (limit, "5")]), Ok((3, 5)));
        assert!(processes(&[(number, "3"), (limit, "2")]).unwrap_err().contains(limit));
        assert!(processes(&[(limit, "0")]).unwrap_err().contains(limit));
    }

    #[test]
    fn beyond_loopback_a_token_is_needed() {
        let open = [("APP_KEY", "x"), ("DIFFYNE_WORKER_LISTEN", "0.0.0.0:7001")];
        assert!(read(&open).unwrap_err().contains("DIFFYNE_WORKER_TOKEN"));
        assert!(read(&[open[0], open[1], ("DIFFYNE_WORKER_TOKEN", "t")]).is_ok());
        let announced = [("APP_KEY", "x"), ("DIFFYNE_WORKER_ADVERTISE", "10.0.0.1:7001")];
        assert!(read(&announced).unwrap_err().contains("DIFFYNE_WORKER_TOKEN is not set"));
        assert!(read(&[open[0], ("DIFFYNE_WORKER_TOKEN", "a,b,c,d,e")]).unwrap_err().contains("at most 4"));
    }
}
