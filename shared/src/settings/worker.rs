//! The settings of `diffyne-worker`.

use std::path::PathBuf;
use std::time::Duration;

use super::application::{APPLICATION, ApplicationSettings};
use super::common::{self, LogSettings, RedisSettings, at_least_one, positive};
use super::gateway::{default_admin, default_name, is_plain_name};
use super::php::{PHP, PhpSettings};
use super::value::{ByteSize, List};
use super::{Layers, SettingsError, Spec};
use crate::rpc::PeerAddress;
use crate::rpc::proof::LegacyToken;
use crate::signing::{Signer, SigningKey};

static WORKER: [Spec; 14] = [
    Spec::new("DIFFYNE_WORKER_LISTEN", "127.0.0.1:7001", "host:port or unix:PATH that gateways connect to"),
    Spec::optional("DIFFYNE_WORKER_ADVERTISE", "Address announced in Redis; default: the listening one"),
    Spec::optional(
        "DIFFYNE_WORKER_TLS_CERT",
        "PEM file of this worker's certificate chain, for the address that it announces; set: gateways on TCP have to speak TLS",
    ),
    Spec::optional("DIFFYNE_WORKER_TLS_KEY", "PEM file of the certificate's private key"),
    Spec::new(
        "DIFFYNE_WORKER_TOKEN_LEGACY",
        "refuse",
        "accept: gateways of releases that show their token in the clear are let in; only while such gateways are being updated",
    ),
    Spec::optional("DIFFYNE_WORKER_NAME", "Name of this worker; default: host name and port"),
    Spec::optional(
        "DIFFYNE_WORKER_THREADS",
        "Threads that serve gateways; default: one per core, with DIFFYNE_APP one per 16 PHP processes",
    ),
    Spec::new(
        "DIFFYNE_WORKER_CONCURRENCY",
        "256",
        "Calls that run side by side; unless set, with DIFFYNE_APP twice as many as PHP processes at most (one runs, one is next), with DIFFYNE_FASTCGI as many as connections",
    ),
    Spec::new("DIFFYNE_WORKER_QUEUE", "16", "Calls that wait beyond those; the next is handed back"),
    Spec::new(
        "DIFFYNE_WORKER_MAX_ANSWER",
        "4MiB",
        "Largest answer of a call; a larger one fails its call. No more than the gateways' DIFFYNE_OUTBOX_BYTES",
    ),
    Spec::new("DIFFYNE_WORKER_DRAIN_TIMEOUT", "25s", "How long running calls may take after SIGTERM"),
    Spec::optional(
        "DIFFYNE_WORKER_ADMIN_LISTEN",
        "Where /metrics and /ready are served; default: loopback, own TCP port + 10000",
    ),
    Spec::new("DIFFYNE_DATABASE", "storage/diffyne-demo.sqlite", "SQLite file of the demo chat"),
    Spec::new(
        "DIFFYNE_VERIFY_STATE",
        "property-updates",
        "What must carry a valid signature: property-updates, strict (calls too) or none",
    ),
];
static LENIENT: Spec = Spec::new(
    "DIFFYNE_LENIENT_FORMS",
    "true",
    "In strict mode, accept a call whose state differs by filled-in fields only",
);
static LOCKED: Spec = Spec::new(
    "DIFFYNE_LOCKED",
    "signed",
    "signed: the value of a locked property is taken only where a signature covers it, in every mode of DIFFYNE_VERIFY_STATE; upstream: as the package takes it, anybody's in a call by default",
);

/// PHP processes that one thread serves.
const PROCESSES_PER_THREAD: usize = 16;

/// Every setting of a worker, in the order of `--help`.
pub fn specs() -> Vec<&'static Spec> {
    let mut specs: Vec<&'static Spec> = WORKER.iter().collect();
    specs.extend(PHP.iter().chain(&APPLICATION));
    specs.extend([&LENIENT, &LOCKED, &common::SIGNING_KEY, &common::APP_KEY, &common::WORKER_TOKEN]);
    specs.extend([&common::STATUS_TTL, &common::ADMIN_TOKEN, &common::MAX_MESSAGE, &common::DEBUG]);
    specs.extend(common::REDIS.iter().chain(&common::LOG));
    specs
}

/// Whose components are run.
#[derive(Debug, Clone)]
pub enum Components {
    /// Those in Rust, of the worker itself.
    Native,
    /// A PHP application's, in processes of the worker's own.
    Php(PhpSettings),
    /// An application's that somebody else runs.
    Application(ApplicationSettings),
}

/// A worker's settings, checked.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Where to listen.
    pub listen: PeerAddress,
    /// What is announced.
    pub advertise: Option<PeerAddress>,
    /// Certificate chain and key; none: no TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Name of this worker.
    pub name: String,
    /// Serving threads.
    pub threads: usize,
    /// Calls side by side.
    pub concurrency: usize,
    /// Calls waiting beyond.
    pub queue_max: usize,
    /// Time for running calls at a stop.
    pub drain_timeout: Duration,
    /// Admin listener.
    pub admin_listen: Option<PeerAddress>,
    /// Token for changes by the admin listener; none: no changes.
    pub admin_token: Option<String>,
    /// Whose components are run.
    pub components: Components,
    /// How long the connection's status stays in the application's cache.
    pub status_ttl: Duration,
    /// The demo chat's file.
    pub database: PathBuf,
    /// Signs and verifies states.
    pub signer: Signer,
    /// Tokens that gateways have to prove; none: no check.
    pub tokens: Vec<String>,
    /// What becomes of gateways that show theirs.
    pub legacy_token: LegacyToken,
    /// Largest message of a client.
    pub message_bytes_max: usize,
    /// Largest answer.
    pub answer_bytes_max: usize,
    /// Details to clients.
    pub debug: bool,
    /// Redis.
    pub redis: RedisSettings,
    /// Logs.
    pub log: LogSettings,
}

/// Whether a missing signing key stops the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingKey {
    /// It does: states that nobody can verify later are worthless.
    Refuse,
    /// `dev`: a random key for this run.
    Random,
}

impl WorkerSettings {
    /// Checks the layers.
    pub fn read(layers: &Layers, missing_key: MissingKey) -> Result<Self, SettingsError> {
        let listen: PeerAddress = layers.get("DIFFYNE_WORKER_LISTEN")?;
        let tokens = common::worker_tokens(layers)?;
        let advertise: Option<PeerAddress> = layers.optional("DIFFYNE_WORKER_ADVERTISE")?;
        for (what, address) in [("listens on", Some(&listen)), ("announces", advertise.as_ref())] {
            if let Some(address) = address.filter(|address| tokens.is_empty() && !address.is_local()) {
                let why = format!(
                    "the worker {what} {address}, beyond this machine; set the same long random text for gateways and workers"
                );
                return Err(SettingsError::Missing { name: "DIFFYNE_WORKER_TOKEN", why });
            }
        }
        let redis = RedisSettings::read(layers)?;
        if advertise.is_none() && redis.url.is_some() && listen.is_anywhere() {
            let why =
                format!("the worker listens on {listen}, which is no address that gateways on other hosts can reach");
            return Err(SettingsError::Missing { name: "DIFFYNE_WORKER_ADVERTISE", why });
        }
        let file = |name| layers.optional::<String>(name).map(|path| path.map(PathBuf::from));
        let tls = match (file("DIFFYNE_WORKER_TLS_CERT")?, file("DIFFYNE_WORKER_TLS_KEY")?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(layers.invalid("DIFFYNE_WORKER_TLS_CERT", "set together with DIFFYNE_WORKER_TLS_KEY")),
        };
        let name = match layers.optional::<String>("DIFFYNE_WORKER_NAME")? {
            Some(name) if is_plain_name(&name) => name,
            Some(_) => {
                return Err(
                    layers.invalid("DIFFYNE_WORKER_NAME", "letters, digits, dots, underscores and hyphens, at most 64")
                );
            }
            None => default_name(&listen),
        };
        let php = PhpSettings::read(layers)?;
        let key_name = if layers.is_set("DIFFYNE_SIGNING_KEY") { "DIFFYNE_SIGNING_KEY" } else { "APP_KEY" };
        let key = layers.optional::<List<String>>(key_name)?.and_then(|list| list.0.into_iter().next());
        let key = key.and_then(|key| SigningKey::bytes(&key).ok()).unwrap_or_default();
        let components = match (php, ApplicationSettings::read(layers, &key)?) {
            (Some(_), Some(_)) => {
                let other = ["DIFFYNE_BACKEND_URL", "DIFFYNE_FASTCGI"].into_iter().find(|name| layers.is_set(name));
                return Err(layers.invalid(other.unwrap_or("DIFFYNE_APP"), "left out when DIFFYNE_APP is set"));
            }
            (Some(php), None) => Components::Php(php),
            (None, Some(application)) => Components::Application(application),
            (None, None) => Components::Native,
        };
        // More would only wait, where other workers may have room.
        let sensible = match &components {
            // The next call is there when a process has answered.
            Components::Php(php) => Some(php.processes_max * 2),
            Components::Application(application) => application.concurrency(),
            Components::Native => None,
        };
        let threads = match &components {
            _ if layers.is_set("DIFFYNE_WORKER_THREADS") => at_least_one(layers, "DIFFYNE_WORKER_THREADS")?.min(256),
            // A process that goes from thread to thread costs more than it brings.
            Components::Php(php) => php.processes_max.div_ceil(PROCESSES_PER_THREAD),
            _ => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let concurrency = match sensible {
            Some(sensible) if !layers.is_set("DIFFYNE_WORKER_CONCURRENCY") => sensible,
            _ => at_least_one(layers, "DIFFYNE_WORKER_CONCURRENCY")?,
        };
        Ok(Self {
            admin_token: layers.optional("DIFFYNE_ADMIN_TOKEN")?,
            components,
            status_ttl: positive(layers, "DIFFYNE_STATUS_TTL")?,
            concurrency,
            advertise,
            tls,
            name,
            threads,
            queue_max: layers.get("DIFFYNE_WORKER_QUEUE")?,
            drain_timeout: layers.get("DIFFYNE_WORKER_DRAIN_TIMEOUT")?,
            admin_listen: match layers.optional("DIFFYNE_WORKER_ADMIN_LISTEN")? {
                Some(address) => Some(address),
                None => default_admin(&listen),
            },
            database: PathBuf::from(layers.get::<String>("DIFFYNE_DATABASE")?),
            signer: read_signer(layers, missing_key)?,
            tokens,
            legacy_token: layers.get("DIFFYNE_WORKER_TOKEN_LEGACY")?,
            message_bytes_max: layers.get::<ByteSize>("DIFFYNE_WS_MAX_MESSAGE_SIZE")?.0,
            answer_bytes_max: layers.get::<ByteSize>("DIFFYNE_WORKER_MAX_ANSWER")?.0.max(64 * 1024),
            debug: layers.get("DIFFYNE_DEBUG")?,
            redis,
            log: LogSettings::read(layers)?,
            listen,
        })
    }
}

fn read_signer(layers: &Layers, missing_key: MissingKey) -> Result<Signer, SettingsError> {
    let name = if layers.is_set("DIFFYNE_SIGNING_KEY") { "DIFFYNE_SIGNING_KEY" } else { "APP_KEY" };
    let mut keys = Vec::new();
    if let Some(list) = layers.optional::<List<String>>(name)? {
        for text in list.0 {
            keys.push(SigningKey::parse(&text).map_err(|error| layers.invalid(name, &format!("a key ({error})")))?);
        }
    } else if missing_key == MissingKey::Random {
        let mut bytes = [0; 32];
        // Without randomness nothing here can be trusted, so there is no key and the error below.
        if getrandom::fill(&mut bytes).is_ok() {
            keys.extend(SigningKey::parse(&hex::encode(bytes)));
        }
    }
    let (verify, lenient) = (layers.get("DIFFYNE_VERIFY_STATE")?, layers.get("DIFFYNE_LENIENT_FORMS")?);
    let locked = layers.get("DIFFYNE_LOCKED")?;
    Signer::new(keys, verify, lenient).map(|signer| signer.with_locked_values(locked)).ok_or_else(|| {
        SettingsError::Missing {
            name: "DIFFYNE_SIGNING_KEY",
            why: "states cannot be signed; set it, or give the application's APP_KEY (--env-file /path/to/app/.env)"
                .to_owned(),
        }
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
    fn beyond_loopback_a_token_is_needed() {
        let open = [("APP_KEY", "x"), ("DIFFYNE_WORKER_LISTEN", "0.0.0.0:7001")];
        assert!(read(&open).unwrap_err().contains("DIFFYNE_WORKER_TOKEN"));
        assert!(read(&[open[0], open[1], ("DIFFYNE_WORKER_TOKEN", "t")]).is_ok());
        let announced = [("APP_KEY", "x"), ("DIFFYNE_WORKER_ADVERTISE", "10.0.0.1:7001")];
        assert!(read(&announced).unwrap_err().contains("DIFFYNE_WORKER_TOKEN is not set"));
        assert!(read(&[open[0], ("DIFFYNE_WORKER_TOKEN", "a,b,c,d,e")]).unwrap_err().contains("at most 4"));
    }
}
