//! Parses hosts, schemes and origins, as URLs and headers contain them.

use std::fmt;

use hyper::Uri;
use hyper::http::uri;

/// The longest host name that DNS allows, in bytes.
const HOST_BYTES_MAX: usize = 255;

/// The scheme of a page or request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `http` or `ws`.
    Http,
    /// `https` or `wss`.
    Https,
}

impl Scheme {
    /// Parses the scheme of a URL or of `X-Forwarded-Proto`. Some proxies write `wss` there.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "http" | "ws" => Some(Self::Http),
            "https" | "wss" => Some(Self::Https),
            _ => None,
        }
    }

    /// Returns the scheme as page URLs contain it.
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

/// A host in lower case, and its port if one is given.
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
    /// Parses `shop.test`, `shop.test:8080` or `[::1]:8080`. Returns `None` for hosts that Laravel rejects.
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
        // The rest may be an invalid port, or user information before the host.
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

/// The scheme, host and port of a page.
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
    /// Parses an `Origin` header or a URL. Returns `None` for `null` and for URLs other than HTTP.
    pub fn parse(url: &str) -> Option<Self> {
        let url: Uri = url.trim().parse().ok()?;
        let authority = Authority::parse(url.authority()?.as_str())?;
        Some(Self { scheme: Scheme::parse(url.scheme_str()?)?, authority })
    }

    pub(super) fn is_on(&self, host: &Authority) -> bool {
        self.authority.host == host.host
    }
}
