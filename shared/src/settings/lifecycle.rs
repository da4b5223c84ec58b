//! Whom a gateway tells that clients connect, disconnect and subscribe, and of what.

use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;

use super::checks::{buffer_bytes, positive};
use super::declare::settings;
use super::error::SettingsError;
use super::layers::Layers;
use super::spec::Spec;
use super::value::FromSetting;
use crate::rpc::Endpoint;

/// The longest name of a PHP class, in bytes.
const CLASS_BYTES_MAX: usize = 255;

settings! {
    /// Whom a gateway tells of its connections.
    pub struct LifecycleSettings {
        "Events of connections" {
            /// Address to which this gateway posts what happens to connections, http://HOST[:PORT][/PATH] or https://; not set: it tells nobody. docs/webhooks.md has the events and an example
            DIFFYNE_WEBHOOK_URL = none => url: Option<WebhookUrl>, webhook_url;
            /// Secret that these requests are signed with, required with DIFFYNE_WEBHOOK_URL; for a rotation a comma list, each of which signs
            DIFFYNE_WEBHOOK_SECRET = secret, reload => secrets: Vec<String>;
            /// PEM file of the authority that signed that server's certificate; not set: those that the system trusts
            DIFFYNE_WEBHOOK_CA = none => ca: Option<PathBuf>;
            /// How long such a request may take; then it is repeated
            DIFFYNE_WEBHOOK_TIMEOUT = "10s" => timeout: Duration, positive;
            /// PHP class that gets the events instead, in a worker's PHP process, such as App\Lifecycle\Presence; it implements Diffyne\Cluster\LifecycleListener
            DIFFYNE_LIFECYCLE_LISTENER = none => listener: Option<String>, listener;
            /// Events that are told, by webhook or to the listener: a comma list
            DIFFYNE_WEBHOOK_EVENTS = "connected,disconnected,identified,subscribed,unsubscribed,occupied,vacated,gateway_lost" => kinds: LifecycleKinds;
            /// Event names whose subscriptions are told of (subscribed, unsubscribed, occupied, vacated): a comma list, * at the end allowed, such as presence:*
            DIFFYNE_WEBHOOK_ROOMS = "*" => rooms: Vec<String>;
            /// Memory for events that have not been delivered yet; what is more is dropped and counted
            DIFFYNE_WEBHOOK_QUEUE = "32MiB" => queue_bytes_max: usize, buffer_bytes;
            /// How long the delivery of the same events is tried; then they are dropped and counted
            DIFFYNE_WEBHOOK_RETRY = "30m" => retry: Duration, positive;
            /// How long nobody may subscribe to a room before it is told as vacated: longer than a page takes to load anew
            DIFFYNE_VACATED_AFTER = "5s" => vacated_after: Duration;
        }
    }
}

/// Something that happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifecycleKind {
    /// A client has connected.
    Connected,
    /// A connection has ended.
    Disconnected,
    /// It has become known who the user of a connection is, or is no longer.
    Identified,
    /// A connection subscribes to an event.
    Subscribed,
    /// It no longer does.
    Unsubscribed,
    /// A room has its first subscriber in the cluster.
    Occupied,
    /// Its last one has gone.
    Vacated,
    /// A gateway has ended without saying so, with its connections.
    GatewayLost,
}

/// All kinds.
const KINDS: [LifecycleKind; 8] = [
    LifecycleKind::Connected,
    LifecycleKind::Disconnected,
    LifecycleKind::Identified,
    LifecycleKind::Subscribed,
    LifecycleKind::Unsubscribed,
    LifecycleKind::Occupied,
    LifecycleKind::Vacated,
    LifecycleKind::GatewayLost,
];

impl LifecycleKind {
    /// The name of the event.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Identified => "identified",
            Self::Subscribed => "subscribed",
            Self::Unsubscribed => "unsubscribed",
            Self::Occupied => "occupied",
            Self::Vacated => "vacated",
            Self::GatewayLost => "gateway_lost",
        }
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LifecycleKinds(u8);

impl LifecycleKinds {
    /// All kinds.
    pub const ALL: Self = Self(u8::MAX);

    /// Whether a kind is in the set.
    pub fn has(self, kind: LifecycleKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    /// Whether rooms have to be counted.
    pub fn has_rooms(self) -> bool {
        self.has(LifecycleKind::Occupied) || self.has(LifecycleKind::Vacated)
    }
}

impl FromSetting for LifecycleKinds {
    fn allowed() -> String {
        format!("a comma list of {}", KINDS.map(LifecycleKind::name).join(", "))
    }
    fn from_setting(text: &str) -> Option<Self> {
        let bit = |name: &str| KINDS.iter().find(|kind| kind.name() == name.trim()).map(|kind| 1 << *kind as u8);
        text.split(',').map(bit).try_fold(0, |all, bit| Some(all | bit?)).map(Self)
    }
}

/// Where webhooks go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    /// Where the server listens.
    pub address: Endpoint,
    /// Whether it speaks TLS.
    pub is_secure: bool,
    /// The `Host` header.
    pub authority: String,
    /// The path with its query.
    pub path: String,
}

impl WebhookUrl {
    fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let is_secure = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?.as_str();
        // Who may post is told by the signature. A password would be in every log of the receiver's proxies.
        if authority.contains('@') {
            return None;
        }
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let address = Endpoint::tcp(uri.host()?.trim_matches(['[', ']']), port);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Some(Self { address, is_secure, authority: authority.to_owned(), path: path.to_owned() })
    }

    /// The URL for people: without its query, which may have a key.
    pub fn shown(&self) -> String {
        let scheme = if self.is_secure { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority, self.path.split('?').next().unwrap_or_default())
    }
}

type Read<T> = Result<T, SettingsError>;

impl LifecycleSettings {
    pub(super) fn read(layers: &Layers) -> Read<Self> {
        let settings = Self::from_layers(layers)?;
        if settings.url.is_some() && settings.secrets.is_empty() {
            let why = "DIFFYNE_WEBHOOK_URL is set, and the application could not tell these requests from forged ones; set the same long random text for gateways and the application";
            return Err(SettingsError::Missing { name: DIFFYNE_WEBHOOK_SECRET.name, why: why.to_owned() });
        }
        if settings.url.is_some() && settings.listener.is_some() {
            return Err(layers.invalid(&DIFFYNE_LIFECYCLE_LISTENER, "left out where DIFFYNE_WEBHOOK_URL is set"));
        }
        Ok(settings)
    }

    /// Whether anybody is told anything.
    pub fn is_on(&self) -> bool {
        self.url.is_some() || self.listener.is_some()
    }

    /// What an operator should know although the settings can be used.
    pub(super) fn warning(&self) -> Option<String> {
        let url = self.url.as_ref().filter(|url| !url.is_secure && !url.address.is_local())?;
        let shown = url.shown();
        Some(format!(
            "DIFFYNE_WEBHOOK_URL = `{shown}` is another machine without TLS: whoever is between reads users' ids and addresses"
        ))
    }
}

fn webhook_url(layers: &Layers, spec: &'static Spec) -> Read<Option<WebhookUrl>> {
    let Some(text) = layers.get::<Option<String>>(spec)? else { return Ok(None) };
    let allowed = "http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH], without a password";
    WebhookUrl::parse(text.trim()).map(Some).ok_or_else(|| layers.invalid(spec, allowed))
}

fn listener(layers: &Layers, spec: &'static Spec) -> Read<Option<String>> {
    let Some(text) = layers.get::<Option<String>>(spec)? else { return Ok(None) };
    let class = text.trim_start_matches('\\');
    let is_word = |word: &str| {
        word.bytes().enumerate().all(|(at, byte)| {
            byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80 || (at > 0 && byte.is_ascii_digit())
        }) && !word.is_empty()
    };
    if class.len() <= CLASS_BYTES_MAX && class.split('\\').all(is_word) {
        return Ok(Some(class.to_owned()));
    }
    Err(layers.invalid(spec, "the full name of a PHP class, such as App\\Lifecycle\\Presence"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::settings::Files;
    use std::collections::HashMap;

    fn read(pairs: &[(&str, &str)]) -> Result<LifecycleSettings, String> {
        let flags: HashMap<String, String> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let layers = Layers::read(LifecycleSettings::SPECS, &Files::default(), &HashMap::new(), &flags).unwrap();
        LifecycleSettings::read(&layers).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_told_by_default_and_nothing_without_a_signature() {
        let off = read(&[]).unwrap();
        assert!(!off.is_on() && KINDS.iter().all(|kind| off.kinds.has(*kind)));
        let url = ("DIFFYNE_WEBHOOK_URL", "https://[::1]:8443/hooks/diffyne?key=1");
        assert!(read(&[url]).unwrap_err().contains("DIFFYNE_WEBHOOK_SECRET is not set"));
        let settings = read(&[url, ("DIFFYNE_WEBHOOK_SECRET", "old,new")]).unwrap();
        assert_eq!(settings.secrets, ["old", "new"]);
        let url = settings.url.unwrap();
        assert_eq!((url.address.to_string().as_str(), url.authority.as_str()), ("[::1]:8443", "[::1]:8443"));
        assert_eq!(
            (url.path.as_str(), url.shown().as_str()),
            ("/hooks/diffyne?key=1", "https://[::1]:8443/hooks/diffyne")
        );
    }

    #[test]
    fn wrong_values_are_told_by_name() {
        for (name, value) in [
            ("DIFFYNE_WEBHOOK_URL", "shop.example/hooks"),
            ("DIFFYNE_WEBHOOK_URL", "ftp://shop.example"),
            ("DIFFYNE_WEBHOOK_URL", "https://me:secret@shop.example"),
            ("DIFFYNE_WEBHOOK_EVENTS", "connected,opened"),
            ("DIFFYNE_WEBHOOK_EVENTS", ","),
            ("DIFFYNE_LIFECYCLE_LISTENER", "App\\Lifecycle\\"),
            ("DIFFYNE_LIFECYCLE_LISTENER", "App\\1st"),
            ("DIFFYNE_LIFECYCLE_LISTENER", "system('id')"),
        ] {
            let error = read(&[("DIFFYNE_WEBHOOK_SECRET", "s"), (name, value)]).unwrap_err();
            assert!(error.contains(name) && error.contains("must be"), "{error}");
        }
        let kinds = read(&[("DIFFYNE_WEBHOOK_EVENTS", "connected, vacated")]).unwrap().kinds;
        assert!(kinds.has(LifecycleKind::Connected) && kinds.has_rooms() && !kinds.has(LifecycleKind::Subscribed));
    }

    #[test]
    fn another_machine_without_tls_is_worth_a_warning() {
        let warning =
            |url: &str| read(&[("DIFFYNE_WEBHOOK_URL", url), ("DIFFYNE_WEBHOOK_SECRET", "s")]).unwrap().warning();
        assert!(warning("http://shop.example/hooks?key=1").unwrap().contains("http://shop.example/hooks`"));
        for fine in ["http://127.0.0.1:8000/hooks", "http://localhost/", "https://shop.example/"] {
            assert_eq!(warning(fine), None, "{fine}");
        }
    }
}
