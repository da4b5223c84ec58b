//! Which page a request comes from, and whether that page may act as its user: one of the application's own, or one
//! that is listed by name. Hosts, ports and schemes are compared.

use std::fmt;

use hyper::Uri;
use hyper::http::uri;

use crate::proxy::Route;

/// The longest name of a host, as in DNS.
const HOST_BYTES_MAX: usize = 255;

/// How a page or request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `http` or `ws`.
    Http,
    /// `https` or `wss`.
    Https,
}

impl Scheme {
    /// Of a URL or `X-Forwarded-Proto`; some proxies write `wss` there.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "http" | "ws" => Some(Self::Http),
            "https" | "wss" => Some(Self::Https),
            _ => None,
        }
    }

    /// As URLs of pages have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A host in lower case, and its port if one is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    host: String,
    port: Option<u16>,
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl Authority {
    /// `shop.test`, `shop.test:8080`, `[::1]:8080`; `None` for what Laravel would not take as a host.
    pub fn parse(text: &str) -> Option<Self> {
        let authority: uri::Authority = text.parse().ok()?;
        let host = authority.host();
        let is_name = |name: &str| {
            let labels = name.strip_suffix('.').unwrap_or(name);
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            labels.split('.').all(|label| !label.is_empty() && label.bytes().all(fits))
        };
        let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => is_name(host),
        };
        // A port that is none, or somebody's name before the host.
        let rest = text.strip_prefix(host)?;
        let port = match rest.strip_prefix(':') {
            Some("") => None,
            Some(port) => Some(port.parse().ok()?),
            None if rest.is_empty() => None,
            None => return None,
        };
        (is_host && host.len() <= HOST_BYTES_MAX).then(|| Self { host: host.to_ascii_lowercase(), port })
    }

    fn port_by(&self, scheme: Scheme) -> u16 {
        self.port.unwrap_or(scheme.port())
    }
}

/// Scheme, host and port of a page.
#[derive(Debug, Clone)]
pub struct Origin {
    scheme: Scheme,
    authority: Authority,
}

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        let port = |origin: &Self| origin.authority.port_by(origin.scheme);
        self.scheme == other.scheme && self.authority.host == other.authority.host && port(self) == port(other)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority)
    }
}

impl Origin {
    /// Of an `Origin` header or a URL; `None` for `null` and for what is no page of the web.
    pub fn parse(url: &str) -> Option<Self> {
        let url: Uri = url.trim().parse().ok()?;
        let authority = Authority::parse(url.authority()?.as_str())?;
        Some(Self { scheme: Scheme::parse(url.scheme_str()?)?, authority })
    }

    fn is_on(&self, host: &Authority) -> bool {
        self.authority.host == host.host
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

/// What a page may do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No page, or one of the host that the request was for, or one that is listed: it acts as its user.
    Own,
    /// A page of the application at `APP_URL`: the same, and that is where it is.
    Application,
    /// It gets no cookies.
    Guest(Foreign),
}

/// In what a page is not the application's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// Another host, or none.
    Host,
    /// The same host by another scheme.
    Scheme,
    /// Another port of the same host.
    Port,
}

impl Foreign {
    /// For logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Host => "another host",
            Self::Scheme => "another scheme",
            Self::Port => "another port",
        }
    }
}

/// The pages that may come, and those that may act as their users.
#[derive(Debug)]
pub struct Origins {
    listed: Vec<OriginPattern>,
    application: Option<Origin>,
}

impl Origins {
    /// `DIFFYNE_WS_CORS_ORIGINS` and `APP_URL`.
    pub fn new(listed: &[String], app_url: Option<&str>) -> Self {
        Self {
            listed: listed.iter().map(|text| OriginPattern::parse(text)).collect(),
            application: app_url.and_then(Origin::parse),
        }
    }

    /// Whether pages of this origin may connect at all.
    pub fn allows(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        self.listed.iter().any(|pattern| pattern.matches(&origin))
    }

    /// What a page may do that asks for this host; `None` is no page.
    pub fn standing(&self, origin: Option<&str>, route: &Route) -> Standing {
        let Some(origin) = origin.map(str::to_ascii_lowercase) else { return Standing::Own };
        let page = Origin::parse(&origin);
        if page.is_some() && page == self.application {
            return Standing::Application;
        }
        if self.listed.iter().any(|pattern| *pattern != OriginPattern::Any && pattern.matches(&origin)) {
            return Standing::Own;
        }
        let (Some(page), Some(host)) = (page, &route.host) else { return Standing::Guest(Foreign::Host) };
        let known = route.scheme.or_else(|| self.scheme_of(host));
        if !page.is_on(host) {
            // `APP_URL` by another scheme or port, behind a proxy that names no host?
            let near =
                self.application.as_ref().filter(|application| application.authority.host == page.authority.host);
            return Standing::Guest(near.map_or(Foreign::Host, |application| {
                if application.scheme == page.scheme { Foreign::Port } else { Foreign::Scheme }
            }));
        }
        if known.is_some_and(|known| known != page.scheme) {
            return Standing::Guest(Foreign::Scheme);
        }
        let same_port = host.port_by(page.scheme) == page.authority.port_by(page.scheme);
        if same_port { Standing::Own } else { Standing::Guest(Foreign::Port) }
    }

    /// The scheme of a host, where it is that of `APP_URL`.
    pub fn scheme_of(&self, host: &Authority) -> Option<Scheme> {
        let application = self.application.as_ref().filter(|application| application.is_on(host))?;
        let port = application.authority.port_by(application.scheme);
        (host.port_by(application.scheme) == port).then_some(application.scheme)
    }

    /// Scheme and host as the application is to see them.
    pub fn resolve(&self, standing: Standing, origin: Option<&str>, route: Route) -> (Scheme, Option<Authority>) {
        if let (Standing::Application, Some(application)) = (standing, &self.application) {
            return (application.scheme, Some(application.authority.clone()));
        }
        let host = route.host.or_else(|| self.application.as_ref().map(|application| application.authority.clone()));
        let by_setting = || host.as_ref().and_then(|host| self.scheme_of(host));
        let by_page = || {
            let page = Origin::parse(origin?)?;
            (standing == Standing::Own && page.is_on(host.as_ref()?)).then_some(page.scheme)
        };
        let scheme = route.scheme.or_else(by_setting).or_else(by_page);
        (scheme.unwrap_or(Scheme::Http), host)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn origins(listed: &str, app_url: Option<&str>) -> Origins {
        Origins::new(&listed.split(',').map(str::to_owned).collect::<Vec<_>>(), app_url)
    }

    fn route(scheme: Option<Scheme>, host: &str) -> Route {
        Route { address: [127, 0, 0, 1].into(), scheme, host: Authority::parse(host) }
    }

    #[test]
    fn origins_match_whatever_the_case_or_slash_of_the_setting() {
        let listed = origins("HTTPS://App.Test/, https://*.example.com", None);
        assert!(
            ["https://app.test", "https://x.example.com", "https://a.b.example.com"].iter().all(|o| listed.allows(o))
        );
        for other in ["https://example.com", "http://x.example.com", "null", "https://evil.com/.example.com"] {
            assert!(!listed.allows(other), "{other}");
        }
    }

    #[test]
    fn a_host_is_what_laravel_takes_as_one() {
        let read = |text: &str| Authority::parse(text).map(|authority| authority.to_string());
        for (text, expected) in
            [("Shop.test:8080", "shop.test:8080"), ("a_b.test.", "a_b.test."), ("[::1]:81", "[::1]:81"), ("h:", "h")]
        {
            assert_eq!(read(text).as_deref(), Some(expected));
        }
        assert_eq!(read(&"a".repeat(256)), None, "too long");
        for text in [
            "",
            "a b",
            "ev/il",
            "user@shop.test",
            "shop.test:port",
            "shop.test:99999",
            "a..b",
            ".a",
            "[1.2.3.4]",
            "::1",
            "a,b",
            "ä.test",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_page_acts_as_its_user_by_scheme_host_and_port_or_by_name() {
        use Foreign::{Host, Port, Scheme as Other};
        use Standing::{Application, Guest, Own};
        let (http, https) = (Some(Scheme::Http), Some(Scheme::Https));
        let shop = Some("https://shop.test/base");
        for (listed, app_url, scheme, host, origin, expected) in [
            // The page's own host.
            ("*", None, None, "a.test", "http://a.test", Own),
            ("*", None, None, "a.test", "https://A.test", Own),
            ("*", None, None, "a.test:8080", "http://a.test:8080", Own),
            ("*", None, https, "a.test", "https://a.test", Own),
            ("*", None, https, "a.test:443", "https://a.test", Own),
            ("*", None, None, "[::1]:8080", "http://[::1]:8080", Own),
            // Another scheme, where it is known.
            ("*", None, https, "shop.test", "http://shop.test", Guest(Other)),
            ("*", None, http, "shop.test", "https://shop.test", Guest(Other)),
            ("*", shop, None, "shop.test", "http://shop.test", Guest(Other)),
            ("*", shop, None, "shop.test:443", "http://shop.test", Guest(Other)),
            ("*", shop, https, "shop.test:8443", "http://shop.test:8443", Guest(Other)),
            // Another port.
            ("*", None, None, "a.test:6001", "http://a.test:8000", Guest(Port)),
            ("*", None, None, "a.test:8080", "http://a.test", Guest(Port)),
            ("*", None, https, "a.test", "https://a.test:8443", Guest(Port)),
            ("*", shop, https, "shop.test", "https://shop.test:8443", Guest(Port)),
            ("*", Some("http://localhost"), None, "localhost:6001", "http://localhost:8000", Guest(Port)),
            // By `APP_URL`, whatever the host that the proxy names.
            ("*", Some("http://a.test:8000"), None, "a.test:6001", "http://a.test:8000", Application),
            ("*", shop, None, "diffyne_websocket", "https://shop.test", Application),
            ("*", shop, http, "inner", "https://shop.test:443", Application),
            ("*", shop, None, "diffyne_websocket", "http://shop.test", Guest(Other)),
            ("*", shop, None, "diffyne_websocket", "https://shop.test:8443", Guest(Port)),
            // By the list; not by its star.
            ("http://a.test:8000", None, None, "a.test:6001", "http://a.test:8000", Own),
            ("https://*.a.test", None, None, "b.test", "https://x.a.test", Own),
            ("*,https://b.test", None, None, "a.test", "https://b.test", Own),
            ("*", None, None, "a.test", "https://evil.test", Guest(Host)),
            ("*", shop, None, "a.test", "https://shop.test.evil.test", Guest(Host)),
            ("*", shop, None, "shop.test", "null", Guest(Host)),
            ("*", shop, None, "shop.test", "chrome-extension://shop.test", Guest(Host)),
            ("*", None, None, "", "https://a.test", Guest(Host)),
        ] {
            let found = origins(listed, app_url).standing(Some(origin), &route(scheme, host));
            assert_eq!(found, expected, "{listed} {app_url:?} {scheme:?} {host} {origin}");
        }
        assert_eq!(origins("*", None).standing(None, &route(None, "a.test")), Own, "no page");
    }

    #[test]
    fn the_application_sees_its_users_scheme_and_host() {
        let seen = |app_url: Option<&str>, scheme, host: &str, origin: Option<&str>| {
            let (origins, route) = (origins("*", app_url), route(scheme, host));
            let standing = origins.standing(origin, &route);
            let (scheme, host) = origins.resolve(standing, origin, route);
            format!("{}://{}", scheme.as_str(), host.map_or("-".to_owned(), |host| host.to_string()))
        };
        let shop = Some("https://shop.test");
        assert_eq!(seen(None, Some(Scheme::Https), "a.test", Some("https://a.test")), "https://a.test");
        assert_eq!(seen(None, None, "a.test:81", None), "http://a.test:81");
        assert_eq!(seen(None, None, "a.test", Some("https://a.test")), "https://a.test", "as its own page came");
        assert_eq!(
            seen(None, None, "a.test", Some("https://evil.test")),
            "http://a.test",
            "a foreign page says nothing"
        );
        assert_eq!(seen(shop, None, "diffyne_websocket", Some("https://shop.test")), "https://shop.test");
        assert_eq!(seen(shop, None, "shop.test", None), "https://shop.test");
        assert_eq!(seen(shop, None, "", None), "https://shop.test");
        assert_eq!(
            seen(Some("http://a.test:8000"), None, "a.test:6001", Some("http://a.test:8000")),
            "http://a.test:8000"
        );
        assert_eq!(seen(None, None, "", None), "http://-");
    }
}
