//! Who may connect, and as whom: path, Origin, key, upgrade headers, in this order. A handshake that has not passed
//! here cannot become a session.

use std::net::IpAddr;

use arc_swap::ArcSwap;
use diffyne_shared::settings::gateway::GatewaySettings;
use diffyne_shared::settings::value::Network;
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::http::request::Parts;
use subtle::{Choice, ConstantTimeEq as _};

/// Headers that workers are told of, cookies aside.
const TOLD: [HeaderName; 8] = [
    header::HOST,
    header::USER_AGENT,
    header::ACCEPT_LANGUAGE,
    header::ORIGIN,
    header::REFERER,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-request-id"),
];
const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_HOST: &str = "x-forwarded-host";
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// Why a handshake is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No WebSocket here.
    NotFound,
    /// A page from elsewhere.
    Origin,
    /// Wrong or missing key.
    Key,
    /// Not a WebSocket request.
    Invalid,
    /// Another version of the protocol.
    Version,
    /// No place left.
    Full,
    /// Too many at once.
    Rate,
    /// This address has as many connections as it may.
    Address,
    /// This key has as many connections as it may.
    KeyFull,
    /// Memory is short.
    Memory,
}

impl Refusal {
    /// The label of metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Origin => "origin",
            Self::Key => "key",
            Self::Invalid => "invalid",
            Self::Version => "version",
            Self::Full => "full",
            Self::Rate => "rate",
            Self::Address => "address",
            Self::KeyFull => "key_full",
            Self::Memory => "memory",
        }
    }
}

/// One configured origin.
#[derive(Debug, PartialEq, Eq)]
enum OriginPattern {
    Any,
    Exact(String),
    /// `https://*.example.com`: scheme and the end of the host.
    Subdomains(String, String),
}

impl OriginPattern {
    fn parse(text: &str) -> Self {
        let text = text.trim().trim_end_matches('/').to_ascii_lowercase();
        match text.split_once("://*.") {
            _ if text == "*" => Self::Any,
            Some((scheme, domain)) => Self::Subdomains(format!("{scheme}://"), format!(".{domain}")),
            None => Self::Exact(text),
        }
    }

    fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == origin,
            Self::Subdomains(scheme, domain) => {
                let host = origin.strip_prefix(scheme.as_str()).and_then(|rest| rest.strip_suffix(domain.as_str()));
                host.is_some_and(|name| !name.is_empty() && !name.contains('/'))
            }
        }
    }
}

/// The rules of the door. Keys can be exchanged while the gateway runs.
pub struct Admission {
    path: String,
    keys: ArcSwap<Vec<String>>,
    origins: Vec<OriginPattern>,
    trusted: Vec<Network>,
    app_host: Option<String>,
}

/// Who came in.
#[derive(Debug)]
pub struct Identity {
    /// The browser's address.
    pub ip: IpAddr,
    /// What workers are told: `name: value` lines.
    pub headers: Box<[u8]>,
    /// A page of another site: its cookies are not passed on.
    pub guest: bool,
}

impl Admission {
    /// The rules of these settings.
    pub fn new(settings: &GatewaySettings) -> Self {
        Self {
            path: settings.path.clone(),
            keys: ArcSwap::from_pointee(settings.keys.clone()),
            origins: settings.origins.iter().map(|text| OriginPattern::parse(text)).collect(),
            trusted: settings.trusted_proxies.clone(),
            app_host: settings.app_url.as_deref().and_then(host_of_url),
        }
    }

    /// Exchanges the keys.
    pub fn set_keys(&self, keys: Vec<String>) {
        self.keys.store(keys.into());
    }

    /// Whether a WebSocket lives at this path.
    pub fn is_socket_path(&self, path: &str) -> bool {
        path == "/" || path == self.path
    }

    /// Checks a request that asks for an upgrade.
    pub fn check(&self, request: &Parts) -> Result<(), Refusal> {
        if !self.is_socket_path(request.uri.path()) {
            return Err(Refusal::NotFound);
        }
        self.check_origin(request)?;
        if !self.knows_key(request) {
            return Err(Refusal::Key);
        }
        check_upgrade(request)
    }

    /// Checks which page a request comes from.
    pub fn check_origin(&self, request: &Parts) -> Result<(), Refusal> {
        let Some(origin) = request.headers.get(header::ORIGIN) else { return Ok(()) };
        let origin = origin.to_str().map_err(|_| Refusal::Origin)?.to_ascii_lowercase();
        let allowed = self.origins.iter().any(|pattern| pattern.matches(&origin));
        if allowed { Ok(()) } else { Err(Refusal::Origin) }
    }

    /// Whether the `Authorization` header carries a WebSocket key.
    fn is_key(&self, request: &Parts) -> bool {
        !self.keys.load().is_empty() && query_value(request.uri.query().unwrap_or_default(), "key").is_none()
    }

    fn knows_key(&self, request: &Parts) -> bool {
        let keys = self.keys.load();
        if keys.is_empty() {
            return true;
        }
        let given = key_of(request).unwrap_or_default();
        // Every key is compared, so that the time tells nothing.
        let mut known = Choice::from(0);
        for key in keys.iter() {
            known |= key.as_bytes().ct_eq(given.as_bytes());
        }
        known.into()
    }

    /// Who this is; `peer` is `None` behind a Unix socket, where only a proxy can be.
    pub fn identify(&self, request: &Parts, peer: Option<IpAddr>) -> Identity {
        let headers = &request.headers;
        let proxied = peer.is_none_or(|peer| self.is_trusted(peer));
        let guest = !self.is_own_page(headers, proxied);
        let mut lines = Vec::with_capacity(256);
        let mut line = |name: &str, value: &[u8]| {
            lines.extend_from_slice(name.as_bytes());
            lines.extend_from_slice(b": ");
            lines.extend_from_slice(value);
            lines.push(b'\n');
        };
        for name in TOLD {
            if let Some(value) = headers.get(&name) {
                line(name.as_str(), value.as_bytes());
            }
        }
        if !guest {
            for value in headers.get_all(header::COOKIE) {
                line("cookie", value.as_bytes());
            }
            // The user's, unless it is how the page itself was let in.
            if let Some(value) = headers.get(header::AUTHORIZATION).filter(|_| !self.is_key(request)) {
                line("authorization", value.as_bytes());
            }
        }
        if proxied {
            for name in [FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO] {
                if let Some(value) = headers.get(name) {
                    line(name, value.as_bytes());
                }
            }
        }
        Identity { ip: self.client_address(headers, peer), headers: lines.into_boxed_slice(), guest }
    }

    /// Whether this is a proxy that is believed.
    pub fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// The last address in `X-Forwarded-For` that is not a trusted proxy's.
    fn client_address(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> IpAddr {
        let mut address = peer.unwrap_or(IpAddr::from([127, 0, 0, 1])).to_canonical();
        if peer.is_some() && !self.is_trusted(address) {
            return address;
        }
        let forwarded = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<&str> = forwarded.flat_map(|value| value.split(',')).map(str::trim).collect();
        for hop in hops.iter().rev() {
            let Ok(hop) = hop.parse::<IpAddr>() else { break };
            address = hop.to_canonical();
            if !self.is_trusted(address) {
                break;
            }
        }
        address
    }

    /// Whether the page may act as its user: it is the application's own, or listed by name.
    fn is_own_page(&self, headers: &HeaderMap, proxied: bool) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        let Some(origin) = origin.to_str().ok().map(str::to_ascii_lowercase) else { return false };
        if self.origins.iter().any(|pattern| *pattern != OriginPattern::Any && pattern.matches(&origin)) {
            return true;
        }
        let Some(page) = host_of_url(&origin) else { return false };
        let host_in = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).and_then(host_without_port);
        host_in("host").as_ref() == Some(&page)
            || (proxied && host_in(FORWARDED_HOST).as_ref() == Some(&page))
            || self.app_host.as_ref() == Some(&page)
    }
}

/// Whether a request wants a WebSocket at all.
pub fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, header::UPGRADE, "websocket")
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
}

fn check_upgrade(request: &Parts) -> Result<(), Refusal> {
    let headers = &request.headers;
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(hyper::http::HeaderValue::as_bytes);
    // 16 bytes in base64.
    let key_fits = key.is_some_and(|key| {
        key.len() == 24
            && key.ends_with(b"==")
            && key[..22].iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
    });
    if request.method != hyper::Method::GET || !has_token(headers, header::CONNECTION, "upgrade") || !key_fits {
        return Err(Refusal::Invalid);
    }
    match headers.get(header::SEC_WEBSOCKET_VERSION) {
        None => Err(Refusal::Invalid),
        Some(version) if version == "13" => Ok(()),
        Some(_) => Err(Refusal::Version),
    }
}

/// The WebSocket key that a request shows.
pub fn key_of(request: &Parts) -> Option<String> {
    query_value(request.uri.query().unwrap_or_default(), "key").or_else(|| {
        let bearer = request.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        bearer.and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned)
    })
}

/// The value of a query parameter, percent-decoded.
fn query_value(query: &str, name: &str) -> Option<String> {
    let pair = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?;
    let mut bytes = Vec::with_capacity(pair.1.len());
    let mut rest = pair.1.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn host_of_url(url: &str) -> Option<String> {
    let rest = url.split_once("://")?.1;
    host_without_port(rest.split(['/', '?', '#']).next()?)
}

fn host_without_port(authority: &str) -> Option<String> {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None => authority.split(':').next()?,
    };
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use diffyne_shared::settings::{Files, Layers, gateway};
    use hyper::Request;
    use std::collections::HashMap;

    fn admission(pairs: &[(&str, &str)]) -> Admission {
        let flags: HashMap<String, String> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let layers = Layers::read(&gateway::specs(), &Files::default(), &HashMap::new(), &flags).unwrap();
        Admission::new(&GatewaySettings::read(&layers).unwrap())
    }

    fn request(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut builder = Request::builder().uri(uri);
        let usual = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
        ];
        for (name, value) in usual.iter().filter(|(name, _)| !headers.iter().any(|(other, _)| other == name)) {
            builder = builder.header(*name, *value);
        }
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    #[test]
    fn checks_come_in_the_order_of_the_protocol() {
        let door = admission(&[("DIFFYNE_WS_KEY", "k1,k2"), ("DIFFYNE_WS_CORS_ORIGINS", "https://a.test")]);
        let bad = ("origin", "https://b.test");
        assert_eq!(door.check(&request("/other", &[bad])), Err(Refusal::NotFound));
        assert_eq!(door.check(&request("/", &[bad])), Err(Refusal::Origin));
        assert_eq!(door.check(&request("/?key=x", &[("sec-websocket-version", "8")])), Err(Refusal::Key));
        assert_eq!(door.check(&request("/?key=k1", &[("sec-websocket-version", "8")])), Err(Refusal::Version));
        assert_eq!(door.check(&request("/?key=k2", &[("sec-websocket-key", "short")])), Err(Refusal::Invalid));
        assert_eq!(door.check(&request("/diffyne?key=k%32", &[("origin", "https://a.test")])), Ok(()));
        assert_eq!(door.check(&request("/", &[("authorization", "Bearer k2")])), Ok(()));
        door.set_keys(vec!["k3".to_owned()]);
        assert_eq!(door.check(&request("/?key=k1", &[])), Err(Refusal::Key));
    }

    #[test]
    fn origins_match_whatever_the_case_or_slash_of_the_setting() {
        let door = admission(&[("DIFFYNE_WS_CORS_ORIGINS", "HTTPS://App.Test/, https://*.example.com")]);
        let allowed = |origin: &str| door.check(&request("/", &[("origin", origin)])).is_ok();
        assert!(allowed("https://app.test") && allowed("https://x.example.com") && allowed("https://a.b.example.com"));
        assert!(!allowed("https://example.com") && !allowed("http://x.example.com") && !allowed("null"));
        assert!(!allowed("https://evil.com/.example.com"));
    }

    #[test]
    fn only_own_pages_bring_their_cookies() {
        let guest = |door: &Admission, headers: &[(&str, &str)], peer: &str| {
            let identity = door.identify(&request("/", headers), Some(peer.parse().unwrap()));
            let has_cookie = String::from_utf8_lossy(&identity.headers).contains("cookie: a=b");
            assert_eq!(has_cookie, !identity.guest);
            identity.guest
        };
        let cookie = ("cookie", "a=b");
        let open = admission(&[("APP_URL", "https://shop.test/base")]);
        assert!(!guest(&open, &[cookie, ("host", "a.test:8080"), ("origin", "http://a.test")], "8.8.8.8"));
        assert!(!guest(&open, &[cookie, ("host", "diffyne_websocket"), ("origin", "https://shop.test")], "8.8.8.8"));
        assert!(!guest(&open, &[cookie, ("host", "x")], "8.8.8.8"));
        let foreign = [cookie, ("host", "a.test"), ("origin", "https://evil.test")];
        assert!(guest(&open, &foreign, "8.8.8.8"));
        let forwarded = [foreign[0], foreign[1], foreign[2], ("x-forwarded-host", "evil.test")];
        assert!(guest(&open, &forwarded, "8.8.8.8"), "a stranger forwards nothing");
        assert!(!guest(&open, &forwarded, "127.0.0.1"));
        let named = admission(&[("DIFFYNE_WS_CORS_ORIGINS", "https://evil.test")]);
        assert!(!guest(&named, &foreign, "8.8.8.8"));
    }

    #[test]
    fn forwarded_addresses_count_only_from_trusted_proxies() {
        let door = admission(&[("DIFFYNE_TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8")]);
        let seen = |forwarded: &str, peer: Option<&str>| {
            let headers = [(FORWARDED_FOR, forwarded)];
            door.identify(&request("/", &headers), peer.map(|peer| peer.parse().unwrap())).ip.to_string()
        };
        assert_eq!(seen("1.2.3.4", Some("9.9.9.9")), "9.9.9.9");
        assert_eq!(seen("6.6.6.6, 1.2.3.4, 10.0.0.7", Some("127.0.0.1")), "1.2.3.4");
        assert_eq!(seen("garbage", Some("127.0.0.1")), "127.0.0.1");
        assert_eq!(seen("1.2.3.4", None), "1.2.3.4");
    }
}
