//! Hosts, schemes and origins as URLs and headers write them.

use std::fmt;

use hyper::Uri;
use hyper::http::uri;

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
    pub(super) host: String,
    pub(super) port: Option<u16>,
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

    pub(super) fn port_by(&self, scheme: Scheme) -> u16 {
        self.port.unwrap_or(scheme.port())
    }
}

/// Scheme, host and port of a page.
#[derive(Debug, Clone)]
pub struct Origin {
    pub(super) scheme: Scheme,
    pub(super) authority: Authority,
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

    pub(super) fn is_on(&self, host: &Authority) -> bool {
        self.authority.host == host.host
    }
}
