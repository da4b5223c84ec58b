//! Checks handshakes: path, Origin, key, upgrade headers, in this order. A handshake that has not passed these checks
//! cannot become a session. The identity that workers see is built here, once per connection.

use std::net::IpAddr;

use arc_swap::ArcSwap;
use diffyne_shared::settings::gateway::GatewaySettings;
use diffyne_shared::telemetry::LogThrottle;
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::http::request::Parts;
use subtle::{Choice, ConstantTimeEq as _};

use super::authority::{Authority, Origin};
use super::cookie_header;
use super::origin::{ForeignReason, OriginPolicy, PageTrust};
use super::proxy::Proxies;
pub use super::refusal::Refusal;
use super::refusal_log::{RefusalLog, RefusedClient, RefusedRequest};

/// The client's headers that workers get unchanged.
const PASSED_ON: [HeaderName; 7] = [
    header::USER_AGENT,
    header::ACCEPT_LANGUAGE,
    header::ORIGIN,
    header::REFERER,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-request-id"),
];
/// The header that tells workers the scheme.
const SCHEME: &str = "x-forwarded-proto";

/// Decides who may connect. Keys can be replaced while the gateway runs.
pub struct Admission {
    path: String,
    keys: ArcSwap<Vec<String>>,
    origins: OriginPolicy,
    proxies: Proxies,
    guests: LogThrottle,
    refusals: RefusalLog,
}

/// The identity of a client.
#[derive(Debug)]
pub struct Identity {
    /// The browser's address.
    pub ip: IpAddr,
    /// The headers that workers get, as `name: value` lines.
    pub headers: Box<[u8]>,
    /// The page belongs to another site, so its cookies are not passed on.
    pub guest: bool,
}

impl Admission {
    /// Creates the rules from these settings.
    pub fn new(settings: &GatewaySettings) -> Self {
        Self {
            path: settings.path.clone(),
            keys: ArcSwap::from_pointee(settings.keys.clone()),
            origins: OriginPolicy::new(&settings.origins, settings.app_url.as_deref()),
            proxies: Proxies::new(&settings.trusted_proxies),
            guests: LogThrottle::default(),
            refusals: RefusalLog::new(settings),
        }
    }

    /// Replaces the keys.
    pub fn set_keys(&self, keys: Vec<String>) {
        self.keys.store(keys.into());
    }

    /// Whether the WebSocket is served at this path.
    pub fn is_socket_path(&self, path: &str) -> bool {
        path == "/" || path == self.path
    }

    /// Checks a request for an upgrade.
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

    /// Whether a page asks with its WebSocket's address why it was refused, and the reason is its key: a browser does not
    /// tell a page how a handshake was answered.
    pub fn refuses_key(&self, request: &Parts) -> bool {
        self.is_socket_path(request.uri.path()) && key_in_query(request).is_some() && !self.knows_key(request)
    }

    /// Checks the origin of the page that sent a request.
    pub fn check_origin(&self, request: &Parts) -> Result<(), Refusal> {
        let Some(origin) = request.headers.get(header::ORIGIN) else { return Ok(()) };
        let origin = origin.to_str().map_err(|_| Refusal::Origin)?;
        if self.origins.allows(origin) { Ok(()) } else { Err(Refusal::Origin) }
    }

    /// Whether the `Authorization` header carries a WebSocket key.
    fn is_key(&self, request: &Parts) -> bool {
        !self.keys.load().is_empty() && key_in_query(request).is_none()
    }

    fn knows_key(&self, request: &Parts) -> bool {
        self.is_good_key(key_of(request).as_deref())
    }

    /// Whether this is one of the WebSocket keys, or none is needed.
    pub fn is_good_key(&self, given: Option<&str>) -> bool {
        let keys = self.keys.load();
        if keys.is_empty() {
            return true;
        }
        let given = given.unwrap_or_default();
        // A page of the package prints its key as it is, and a `+` in a query means a space.
        let as_printed = given.replace(' ', "+");
        // Every key is compared, so that the duration reveals nothing.
        let mut known = Choice::from(0);
        for key in keys.iter() {
            known |= key.as_bytes().ct_eq(given.as_bytes()) | key.as_bytes().ct_eq(as_printed.as_bytes());
        }
        known.into()
    }

    /// Builds the client's identity. `peer` is `None` behind a Unix socket, which only a proxy can reach.
    pub fn identify(&self, request: &Parts, peer: Option<IpAddr>) -> Identity {
        let headers = &request.headers;
        let route = self.proxies.route(headers, peer);
        let ip = route.address;
        // An Origin that is not text was sent by a page, but names no host.
        let origin = headers.get(header::ORIGIN).map(|value| value.to_str().unwrap_or("null"));
        let trust = self.origins.trust(origin, &route);
        let (scheme, host) = self.origins.resolve(trust, origin, route);
        let guest = matches!(trust, PageTrust::Guest(_));
        let mut lines = Lines::default();
        if let Some(host) = &host {
            lines.add("host", host.to_string().as_bytes());
        }
        lines.add(SCHEME, scheme.as_str().as_bytes());
        for name in PASSED_ON {
            if let Some(value) = headers.get(&name) {
                lines.add(name.as_str(), value.as_bytes());
            }
        }
        if let PageTrust::Guest(foreign) = trust {
            self.log_guest(foreign, origin, host.as_ref());
        } else {
            if let Some(cookies) = cookie_header::line(headers) {
                lines.add("cookie", cookies.as_bytes());
            }
            // The header belongs to the user, unless it carries the page's WebSocket key.
            if let Some(value) = headers.get(header::AUTHORIZATION).filter(|_| !self.is_key(request)) {
                lines.add("authorization", value.as_bytes());
            }
        }
        Identity { ip, headers: lines.0.into_boxed_slice(), guest }
    }

    /// Logs why a request was refused.
    pub fn log_refusal(&self, what: RefusedRequest, refusal: Refusal, request: &Parts, peer: Option<IpAddr>) {
        let address = self.proxies.route(&request.headers, peer).address;
        self.refusals.log(what, refusal, request, RefusedClient { address, has_key: key_of(request).is_some() });
    }

    /// Whether a request comes from a trusted address, and not only through one.
    pub fn is_from_trusted(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> bool {
        self.is_trusted(self.proxies.route(headers, peer).address)
    }

    /// Whether this is the address of a trusted proxy.
    pub fn is_trusted(&self, address: IpAddr) -> bool {
        self.proxies.trusts(address.to_canonical())
    }

    /// Logs a guest. A page of the same host is most likely meant to act as its user, so the settings probably lack its
    /// origin.
    fn log_guest(&self, foreign: ForeignReason, origin: Option<&str>, host: Option<&Authority>) {
        // Logged as parsed, so that invalid input does not reach the log.
        let page = origin.and_then(Origin::parse).map(|page| page.to_string());
        let (host, reason) = (host.map(ToString::to_string), foreign.reason());
        if foreign == ForeignReason::Host {
            tracing::debug!(
                ?page,
                ?host,
                reason,
                "a page from elsewhere is served as a guest: set APP_URL, pass Host on in nginx, or list the Origin"
            );
        } else if let Some(unsaid) = self.guests.allow() {
            tracing::warn!(
                ?page,
                ?host,
                reason,
                unsaid,
                "a page is served as a guest, without its cookies: set APP_URL to this origin, or list it in \
                 DIFFYNE_WS_CORS_ORIGINS, and let the proxy set Host and X-Forwarded-Proto"
            );
        }
    }
}

/// Headers as `name: value` lines.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn add(&mut self, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), b": ", value, b"\n"] {
            self.0.extend_from_slice(part);
        }
    }
}

/// Whether a request asks for a WebSocket.
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

/// Returns the WebSocket key of a request.
pub fn key_of(request: &Parts) -> Option<String> {
    key_in_query(request).or_else(|| {
        let bearer = request.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        bearer.and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned)
    })
}

fn key_in_query(request: &Parts) -> Option<String> {
    let mut pairs = form_urlencoded::parse(request.uri.query()?.as_bytes());
    pairs.find(|(name, _)| name == "key").map(|(_, key)| key.into_owned())
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
    fn checks_run_in_the_documented_order() {
        let rules = admission(&[("DIFFYNE_WS_KEY", "k1,k2"), ("DIFFYNE_WS_CORS_ORIGINS", "https://a.test")]);
        let bad = ("origin", "https://b.test");
        assert_eq!(rules.check(&request("/other", &[bad])), Err(Refusal::NotFound));
        assert_eq!(rules.check(&request("/", &[bad])), Err(Refusal::Origin));
        assert_eq!(rules.check(&request("/?key=x", &[("sec-websocket-version", "8")])), Err(Refusal::Key));
        assert_eq!(rules.check(&request("/?key=k1", &[("sec-websocket-version", "8")])), Err(Refusal::Version));
        assert_eq!(rules.check(&request("/?key=k2", &[("sec-websocket-key", "short")])), Err(Refusal::Invalid));
        assert_eq!(rules.check(&request("/diffyne?key=k%32", &[("origin", "https://a.test")])), Ok(()));
        assert_eq!(rules.check(&request("/", &[("authorization", "Bearer k2")])), Ok(()));
        rules.set_keys(vec!["k3".to_owned()]);
        assert_eq!(rules.check(&request("/?key=k1", &[])), Err(Refusal::Key));
    }

    #[test]
    fn a_key_may_be_encoded_or_as_a_page_of_the_package_prints_it() {
        let rules = admission(&[("DIFFYNE_WS_KEY", "a+b/c==")]);
        for uri in ["/?key=a%2Bb%2Fc%3D%3D", "/?key=a+b/c==", "/diffyne?x=1&key=a%2bb/c=="] {
            assert_eq!(rules.check(&request(uri, &[])), Ok(()), "{uri}");
            assert!(!rules.refuses_key(&request(uri, &[])), "{uri}");
        }
        for uri in ["/?key=a%252Bb/c==", "/?key=", "/?key=ab/c=="] {
            assert_eq!(rules.check(&request(uri, &[])), Err(Refusal::Key), "{uri}");
            assert!(rules.refuses_key(&request(uri, &[])), "{uri}");
        }
        for uri in ["/", "/other?key=x"] {
            assert!(!rules.refuses_key(&request(uri, &[])), "{uri}: it asks for no WebSocket");
        }
    }

    #[test]
    fn only_trusted_pages_keep_their_cookies_and_forwarded_headers_of_clients_are_ignored() {
        let seen = |rules: &Admission, headers: &[(&str, &str)], peer: &str| {
            let common = [
                ("cookie", "a=b"),
                ("authorization", "Bearer user"),
                ("user-agent", "A"),
                ("forwarded", "for=6.6.6.6;host=evil.test;proto=https"),
                ("x-forwarded-port", "81"),
                ("x-forwarded-prefix", "/evil"),
                ("x-forwarded-server", "evil.test"),
                ("x-real-ip", "6.6.6.6"),
                ("x-other", "x"),
            ];
            let identity = rules.identify(&request("/", &[&common, headers].concat()), Some(peer.parse().unwrap()));
            let mut lines: Vec<String> =
                String::from_utf8_lossy(&identity.headers).lines().map(str::to_owned).collect();
            let secrets = ["cookie: a=b", "authorization: Bearer user"];
            let has = |line: &str| lines.iter().any(|other| other == line);
            assert!(secrets.iter().all(|secret| has(secret) != identity.guest), "{lines:?}");
            lines.retain(|line| !secrets.contains(&line.as_str()) && !line.starts_with("origin: "));
            (identity.guest, identity.ip.to_string(), lines.join(" | "))
        };
        let open = admission(&[("APP_URL", "https://shop.test/base")]);
        let is = |guest, ip: &str, host: &str, scheme: &str| {
            (guest, ip.to_owned(), format!("host: {host} | x-forwarded-proto: {scheme} | user-agent: A"))
        };
        let own = [("host", "a.test"), ("origin", "http://a.test")];
        assert_eq!(seen(&open, &own, "8.8.8.8"), is(false, "8.8.8.8", "a.test", "http"));
        let unnamed = [("host", "diffyne_websocket"), ("origin", "https://shop.test")];
        assert_eq!(seen(&open, &unnamed, "8.8.8.8"), is(false, "8.8.8.8", "shop.test", "https"));
        let foreign = [
            ("host", "a.test"),
            ("origin", "https://evil.test"),
            ("x-forwarded-host", "evil.test"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-for", "6.6.6.6, 1.2.3.4:80"),
        ];
        assert_eq!(seen(&open, &foreign[..2], "8.8.8.8"), is(true, "8.8.8.8", "a.test", "http"));
        assert_eq!(
            seen(&open, &foreign, "8.8.8.8"),
            is(true, "8.8.8.8", "a.test", "http"),
            "a stranger forwards nothing"
        );
        assert_eq!(seen(&open, &foreign, "127.0.0.1"), is(false, "1.2.3.4", "evil.test", "https"), "a proxy does");
        let named = admission(&[("DIFFYNE_WS_CORS_ORIGINS", "https://evil.test")]);
        let listed = is(false, "8.8.8.8", "evil.test", "https");
        assert_eq!(seen(&named, &foreign[..2], "8.8.8.8"), listed, "its address is the page's");
    }
}
