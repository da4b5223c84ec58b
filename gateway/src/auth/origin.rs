//! Decides which pages may connect, and which of them may act as their user: the application's own pages and those of
//! origins listed by name. Hosts, ports and schemes are compared.

use super::authority::{Authority, Origin, Scheme};
use super::proxy::ForwardedRequest;

/// A configured origin.
#[derive(Debug, PartialEq, Eq)]
enum OriginPattern {
    Any,
    Exact(String),
    /// `https://*.example.com`: a scheme and a host suffix.
    Subdomains(String, String),
}

impl OriginPattern {
    fn parse(text: &str) -> Self {
        let text = text.trim().trim_end_matches('/').to_ascii_lowercase();
        // A browser leaves out the port that its scheme has by itself.
        let text = match text.split_once("://") {
            Some(("https", rest)) => format!("https://{}", rest.strip_suffix(":443").unwrap_or(rest)),
            Some(("http", rest)) => format!("http://{}", rest.strip_suffix(":80").unwrap_or(rest)),
            _ => text,
        };
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

/// How far a page is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageTrust {
    /// The request comes from no page, from a page of the requested host, or from a listed origin. It acts as its user.
    Own,
    /// The page belongs to the application at `APP_URL`. It acts as its user, and `APP_URL` is its address.
    Application,
    /// The page is foreign. Its requests carry no cookies.
    Guest(ForeignReason),
}

/// How a foreign page's origin differs from the application's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignReason {
    /// The host differs, or the origin has none.
    Host,
    /// The host is the same, but the scheme differs.
    Scheme,
    /// The host is the same, but the port differs.
    Port,
}

impl ForeignReason {
    /// Returns the reason for logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Host => "another host",
            Self::Scheme => "another scheme",
            Self::Port => "another port",
        }
    }
}

/// Decides which origins may connect, and which of them may act as their users.
#[derive(Debug)]
pub struct OriginPolicy {
    listed: Vec<OriginPattern>,
    application: Option<Origin>,
}

impl OriginPolicy {
    /// Creates the policy from `DIFFYNE_WS_CORS_ORIGINS` and `APP_URL`.
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

    /// Returns the trust in a page that sends a request to this host. An `origin` of `None` means that no page sent it.
    pub fn trust(&self, origin: Option<&str>, route: &ForwardedRequest) -> PageTrust {
        let Some(origin) = origin.map(str::to_ascii_lowercase) else { return PageTrust::Own };
        let page = Origin::parse(&origin);
        if page.is_some() && page == self.application {
            return PageTrust::Application;
        }
        if self.listed.iter().any(|pattern| *pattern != OriginPattern::Any && pattern.matches(&origin)) {
            return PageTrust::Own;
        }
        let (Some(page), Some(host)) = (page, &route.host) else { return PageTrust::Guest(ForeignReason::Host) };
        let known = route.scheme.or_else(|| self.scheme_of(host));
        if !page.is_on(host) {
            // The page may be on the host of `APP_URL` with another scheme or port, behind a proxy that names no host.
            let near =
                self.application.as_ref().filter(|application| application.authority.host == page.authority.host);
            return PageTrust::Guest(near.map_or(ForeignReason::Host, |application| {
                if application.scheme == page.scheme { ForeignReason::Port } else { ForeignReason::Scheme }
            }));
        }
        if known.is_some_and(|known| known != page.scheme) {
            return PageTrust::Guest(ForeignReason::Scheme);
        }
        let same_port = host.port_by(page.scheme) == page.authority.port_by(page.scheme);
        if same_port { PageTrust::Own } else { PageTrust::Guest(ForeignReason::Port) }
    }

    /// Returns the scheme of a host if `APP_URL` is on that host.
    pub fn scheme_of(&self, host: &Authority) -> Option<Scheme> {
        let application = self.application.as_ref().filter(|application| application.is_on(host))?;
        let port = application.authority.port_by(application.scheme);
        (host.port_by(application.scheme) == port).then_some(application.scheme)
    }

    /// Returns scheme and host as the application shall see them.
    pub fn resolve(
        &self,
        trust: PageTrust,
        origin: Option<&str>,
        route: ForwardedRequest,
    ) -> (Scheme, Option<Authority>) {
        let page = match trust {
            PageTrust::Application => self.application.clone(),
            // Addresses that the application makes are for the page, which may be on another host or port than the socket.
            PageTrust::Own => origin.and_then(Origin::parse),
            PageTrust::Guest(_) => None,
        };
        if let Some(page) = page {
            return (page.scheme, Some(page.authority));
        }
        let host = route.host.or_else(|| self.application.as_ref().map(|application| application.authority.clone()));
        let scheme = route.scheme.or_else(|| host.as_ref().and_then(|host| self.scheme_of(host)));
        (scheme.unwrap_or(Scheme::Http), host)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn origins(listed: &str, app_url: Option<&str>) -> OriginPolicy {
        OriginPolicy::new(&listed.split(',').map(str::to_owned).collect::<Vec<_>>(), app_url)
    }

    fn route(scheme: Option<Scheme>, host: &str) -> ForwardedRequest {
        ForwardedRequest { address: [127, 0, 0, 1].into(), scheme, host: Authority::parse(host) }
    }

    #[test]
    fn origins_match_regardless_of_case_trailing_slash_and_the_schemes_own_port() {
        let listed = origins("HTTPS://App.Test:443/, https://*.example.com, http://b.test:80, http://c.test:443", None);
        assert!(["http://b.test", "http://c.test:443"].iter().all(|origin| listed.allows(origin)));
        assert!(
            ["https://app.test", "https://x.example.com", "https://a.b.example.com"].iter().all(|o| listed.allows(o))
        );
        for other in ["https://example.com", "http://x.example.com", "null", "https://evil.com/.example.com"] {
            assert!(!listed.allows(other), "{other}");
        }
    }

    #[test]
    fn hosts_are_accepted_as_laravel_accepts_them() {
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
    fn a_page_acts_as_its_user_if_its_origin_matches_or_is_listed() {
        use ForeignReason::{Host, Port, Scheme as Other};
        use PageTrust::{Application, Guest, Own};
        let (http, https) = (Some(Scheme::Http), Some(Scheme::Https));
        let shop = Some("https://shop.test/base");
        for (listed, app_url, scheme, host, origin, expected) in [
            // The page is on the requested host.
            ("*", None, None, "a.test", "http://a.test", Own),
            ("*", None, None, "a.test", "https://A.test", Own),
            ("*", None, None, "a.test:8080", "http://a.test:8080", Own),
            ("*", None, https, "a.test", "https://a.test", Own),
            ("*", None, https, "a.test:443", "https://a.test", Own),
            ("*", None, None, "[::1]:8080", "http://[::1]:8080", Own),
            // The scheme is known, and differs.
            ("*", None, https, "shop.test", "http://shop.test", Guest(Other)),
            ("*", None, http, "shop.test", "https://shop.test", Guest(Other)),
            ("*", shop, None, "shop.test", "http://shop.test", Guest(Other)),
            ("*", shop, None, "shop.test:443", "http://shop.test", Guest(Other)),
            ("*", shop, https, "shop.test:8443", "http://shop.test:8443", Guest(Other)),
            // The port differs.
            ("*", None, None, "a.test:6001", "http://a.test:8000", Guest(Port)),
            ("*", None, None, "a.test:8080", "http://a.test", Guest(Port)),
            ("*", None, https, "a.test", "https://a.test:8443", Guest(Port)),
            ("*", shop, https, "shop.test", "https://shop.test:8443", Guest(Port)),
            ("*", Some("http://localhost"), None, "localhost:6001", "http://localhost:8000", Guest(Port)),
            // `APP_URL` counts, whatever host the proxy names.
            ("*", Some("http://a.test:8000"), None, "a.test:6001", "http://a.test:8000", Application),
            ("*", shop, None, "diffyne_websocket", "https://shop.test", Application),
            ("*", shop, http, "inner", "https://shop.test:443", Application),
            ("*", shop, None, "diffyne_websocket", "http://shop.test", Guest(Other)),
            ("*", shop, None, "diffyne_websocket", "https://shop.test:8443", Guest(Port)),
            // Listed origins count; `*` does not.
            ("http://a.test:8000", None, None, "a.test:6001", "http://a.test:8000", Own),
            ("https://*.a.test", None, None, "b.test", "https://x.a.test", Own),
            ("*,https://b.test", None, None, "a.test", "https://b.test", Own),
            ("*", None, None, "a.test", "https://evil.test", Guest(Host)),
            ("*", shop, None, "a.test", "https://shop.test.evil.test", Guest(Host)),
            ("*", shop, None, "shop.test", "null", Guest(Host)),
            ("*", shop, None, "shop.test", "chrome-extension://shop.test", Guest(Host)),
            ("*", None, None, "", "https://a.test", Guest(Host)),
        ] {
            let found = origins(listed, app_url).trust(Some(origin), &route(scheme, host));
            assert_eq!(found, expected, "{listed} {app_url:?} {scheme:?} {host} {origin}");
        }
        assert_eq!(origins("*", None).trust(None, &route(None, "a.test")), Own, "no page");
    }

    #[test]
    fn the_application_sees_the_browsers_scheme_and_host() {
        let seen = |app_url: Option<&str>, scheme, host: &str, origin: Option<&str>| {
            let (origins, route) = (origins("*", app_url), route(scheme, host));
            let trust = origins.trust(origin, &route);
            let (scheme, host) = origins.resolve(trust, origin, route);
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
        // A page elsewhere that acts as its user: the address is the page's.
        let listed = |origin: &str| {
            let origins = origins("*, http://shop.test:8000, https://*.pages.test, app://phone", None);
            let route = route(Some(Scheme::Http), "socket.test:6001");
            let trust = origins.trust(Some(origin), &route);
            let (scheme, host) = origins.resolve(trust, Some(origin), route);
            format!("{}://{}", scheme.as_str(), host.map_or("-".to_owned(), |host| host.to_string()))
        };
        assert_eq!(listed("http://shop.test:8000"), "http://shop.test:8000");
        assert_eq!(listed("https://a.pages.test"), "https://a.pages.test");
        for elsewhere in ["app://phone", "http://shop.test:8001", "http://a.pages.test", "null"] {
            assert_eq!(listed(elsewhere), "http://socket.test:6001", "{elsewhere}");
        }
    }
}
