//! Reads what trusted proxies report about a request: the client's address, the scheme, and the host. No other module
//! reads `X-Forwarded-*`. `Forwarded` (RFC 7239) and all similar headers are neither read nor passed on.

use std::net::IpAddr;

use hyper::header::{self, HeaderMap};
use ipnet::IpNet;

use super::authority::{Authority, Scheme};

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_HOST: &str = "x-forwarded-host";
const FORWARDED_PROTO: &str = "x-forwarded-proto";
/// The address of a client behind a Unix socket whose proxy reports none.
const UNNAMED: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// The trusted proxies (`DIFFYNE_TRUSTED_PROXIES`).
#[derive(Debug)]
pub struct Proxies(Vec<IpNet>);

/// A request as the browser sent it.
#[derive(Debug, PartialEq, Eq)]
pub struct ForwardedRequest {
    /// The browser's address: seen from here, the first that is not a trusted proxy.
    pub address: IpAddr,
    /// The scheme that the nearest trusted proxy reports.
    pub scheme: Option<Scheme>,
    /// The requested host, unless it is invalid.
    pub host: Option<Authority>,
}

impl Proxies {
    /// Trusts these networks.
    pub fn new(trusted: &[IpNet]) -> Self {
        Self(trusted.to_vec())
    }

    /// Reads a request's headers. `peer` is `None` behind a Unix socket, which only a proxy can reach.
    pub fn route(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> ForwardedRequest {
        let peer = peer.map(|peer| peer.to_canonical());
        let host = last(headers, header::HOST.as_str()).and_then(Authority::parse);
        if let Some(address) = peer.filter(|peer| !self.trusts(*peer)) {
            return ForwardedRequest { address, scheme: None, host };
        }
        ForwardedRequest {
            address: self.client(headers, peer.unwrap_or(UNNAMED)),
            scheme: last(headers, FORWARDED_PROTO).and_then(Scheme::parse),
            host: last(headers, FORWARDED_HOST).and_then(Authority::parse).or(host),
        }
    }

    /// Whether this is the address of a trusted proxy.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Follows `X-Forwarded-For` from its end, where the nearest proxy has written, as long as the proxies are trusted.
    /// An entry that is not an address tells nothing about the hop before it, so the search ends there.
    fn client(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        let mut address = peer;
        for entry in entries(headers, FORWARDED_FOR) {
            let Some(hop) = hop(entry) else { break };
            address = hop;
            if !self.trusts(address) {
                break;
            }
        }
        address
    }
}

/// Returns the entries of a comma-separated list, from the end of the last header to the start of the first, without
/// empty ones.
fn entries<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().rev();
    let parts = values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
    // Bytes that are not text are an entry, too, but an invalid one.
    parts.map(|part| std::str::from_utf8(part).unwrap_or("?").trim_matches([' ', '\t'])).filter(|part| !part.is_empty())
}

/// Returns the nearest proxy's entry, whether the proxy appends to the header or replaces it.
fn last<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    entries(headers, name).next()
}

/// Parses an address with or without port, brackets and zone: `203.0.113.5`, `203.0.113.5:4711`, `2001:db8::1`,
/// `[2001:db8::1]`, `[2001:db8::1]:443`, `fe80::1%eth0`.
fn hop(entry: &str) -> Option<IpAddr> {
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let address = match entry.strip_prefix('[') {
        Some(rest) => {
            let (inside, after) = rest.split_once(']')?;
            let is_end = after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
            return if is_end { ipv6(inside) } else { None };
        }
        None => match entry.split_once(':') {
            Some((v4, port)) if v4.contains('.') && is_port(port) => v4,
            _ => entry,
        },
    };
    address.parse().ok().map(|address: IpAddr| address.to_canonical()).or_else(|| ipv6(address))
}

fn ipv6(text: &str) -> Option<IpAddr> {
    // A zone names a network interface of the proxy's host, which means nothing here.
    let address = text.split_once('%').map_or(text, |(address, _zone)| address);
    Some(IpAddr::V6(address.parse().ok()?).to_canonical())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    fn route(headers: &[(&str, &str)], peer: Option<&str>) -> ForwardedRequest {
        let proxies = Proxies::new(&["127.0.0.1/32".parse().unwrap(), "10.0.0.0/8".parse().unwrap()]);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        proxies.route(&map, peer.map(|peer| peer.parse().unwrap()))
    }

    #[test]
    fn a_client_is_found_in_every_notation_of_its_address() {
        for (forwarded, expected) in [
            ("1.2.3.4", "1.2.3.4"),
            ("203.0.113.5:4711", "203.0.113.5"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("2001:DB8:0::1", "2001:db8::1"),
            ("[fe80::1%eth0]:443", "fe80::1"),
            ("fe80::1%25eth0", "fe80::1"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
            ("[::ffff:1.2.3.4]:80", "1.2.3.4"),
            ("1.2.3.4,", "1.2.3.4"),
            (" , 1.2.3.4 ,\t, ", "1.2.3.4"),
            ("6.6.6.6, 1.2.3.4, 10.0.0.7", "1.2.3.4"),
            ("6.6.6.6, 1.2.3.4:80, 10.0.0.7:443", "1.2.3.4"),
            ("10.1.1.1, 10.0.0.7", "10.1.1.1"),
            // The hop before these is unknown.
            ("garbage", "127.0.0.1"),
            ("1.2.3.4, unknown", "127.0.0.1"),
            ("1.2.3.4, unix:", "127.0.0.1"),
            ("1.2.3.4, _hidden, 10.0.0.7", "10.0.0.7"),
            ("1.2.3.4, \u{a0}", "127.0.0.1"),
            ("[2001:db8::1", "127.0.0.1"),
            ("[2001:db8::1]x", "127.0.0.1"),
            ("[1.2.3.4]", "127.0.0.1"),
            ("1.2.3.4:x", "127.0.0.1"),
            ("01.2.3.4", "127.0.0.1"),
            ("", "127.0.0.1"),
        ] {
            let found = route(&[(FORWARDED_FOR, forwarded)], Some("127.0.0.1")).address.to_string();
            assert_eq!(found, expected, "{forwarded:?}");
        }
        let two = [(FORWARDED_FOR, "6.6.6.6"), (FORWARDED_FOR, "1.2.3.4")];
        assert_eq!(route(&two, Some("::ffff:127.0.0.1")).address.to_string(), "1.2.3.4");
        assert_eq!(route(&two, None).address.to_string(), "1.2.3.4", "behind a Unix socket");
    }

    #[test]
    fn only_a_trusted_proxy_reports_client_scheme_and_host() {
        let said = [
            (FORWARDED_FOR, "1.2.3.4"),
            (FORWARDED_HOST, "shop.test"),
            (FORWARDED_PROTO, "https"),
            ("host", "inner:6001"),
            ("forwarded", "for=6.6.6.6;host=evil.test;proto=https"),
            ("x-real-ip", "6.6.6.6"),
        ];
        let of = |route: ForwardedRequest| {
            (route.address.to_string(), route.scheme, route.host.map(|host| host.to_string()))
        };
        let stranger = ("9.9.9.9".to_owned(), None, Some("inner:6001".to_owned()));
        assert_eq!(of(route(&said, Some("9.9.9.9"))), stranger);
        let trusted = ("1.2.3.4".to_owned(), Some(Scheme::Https), Some("shop.test".to_owned()));
        assert_eq!(of(route(&said, Some("127.0.0.1"))), trusted);
        let silent = ("127.0.0.1".to_owned(), None, Some("inner:6001".to_owned()));
        assert_eq!(of(route(&said[3..], Some("127.0.0.1"))), silent, "no other header is read");
        // Of several entries, the nearest proxy's counts. An invalid host is ignored.
        let several =
            [(FORWARDED_PROTO, "https, http"), (FORWARDED_HOST, "a.test"), (FORWARDED_HOST, "ev/il"), said[3]];
        assert_eq!(of(route(&several, None)), ("127.0.0.1".to_owned(), Some(Scheme::Http), silent.2));
    }
}
