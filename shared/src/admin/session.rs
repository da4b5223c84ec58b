//! Who looks at the admin page: somebody with a token, by a cookie of this page alone, or somebody on this machine.

use hmac::{Hmac, Mac as _};
use hyper::header::{COOKIE, HOST, HeaderMap};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::admin_tokens::{Access, AdminTokens, Operator};
use crate::clock;
use crate::http_server::Peer;

/// How long a cookie is good for.
pub(super) const LIFE_SECONDS: u64 = 12 * 3_600;
/// What distinguishes these MACs from others that are made with the same token.
const PURPOSE: &[u8] = b"diffyne admin session 1";
/// Names of this machine, as a browser on it spells them.
const LOCAL_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
/// What a proxy adds: who comes through one is elsewhere.
const PROXY_HEADERS: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

/// Who looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Viewer {
    /// Somebody who has signed in; with the value of the cookie.
    Operator(Operator, String),
    /// Somebody on this machine, who may look.
    Local,
}

impl Viewer {
    /// Who sends a request; none: a stranger.
    pub(super) fn of(headers: &HeaderMap, peer: Peer, tokens: &AdminTokens) -> Option<Self> {
        let session = cookie(headers).and_then(|value| Some((verify(tokens, value)?, value.to_owned())));
        match session {
            Some((operator, value)) => Some(Self::Operator(operator, value)),
            None => is_local(headers, peer).then_some(Self::Local),
        }
    }

    /// Whether they may change something.
    pub(super) fn may_change(&self) -> bool {
        matches!(self, Self::Operator(operator, _) if operator.access == Access::Change)
    }

    /// The proof that a form came from this page, for this viewer.
    pub(super) fn form_proof(&self, tokens: &AdminTokens) -> Option<String> {
        let Self::Operator(operator, value) = self else { return None };
        Some(mac(tokens.token_of(&operator.name)?, &format!("form {value}")))
    }

    /// Whether a form has that proof.
    pub(super) fn proves(&self, tokens: &AdminTokens, given: &str) -> bool {
        self.form_proof(tokens).is_some_and(|proof| bool::from(proof.as_bytes().ct_eq(given.as_bytes())))
    }
}

/// Whether a request comes from this machine, and not through a proxy or by a name that somebody else has pointed here.
fn is_local(headers: &HeaderMap, peer: Peer) -> bool {
    let is_near = match peer {
        Peer::Local => true,
        Peer::Address(address) => address.is_loopback(),
    };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    is_near && LOCAL_HOSTS.contains(&name) && !PROXY_HEADERS.iter().any(|header| headers.contains_key(*header))
}

/// The cookie's name. Cookies know no ports, and several gateways may be on one host.
pub(super) fn cookie_name(headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
    let port: String = port.chars().filter(char::is_ascii_digit).collect();
    format!("diffyne_admin_{port}")
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let name = cookie_name(headers);
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// The value of the cookie of an operator who has shown a token.
pub(super) fn begin(operator: &Operator, token: &str) -> String {
    let payload = format!("{}~{}", operator.name, clock::unix_seconds() + LIFE_SECONDS);
    let mac = mac(token, &payload);
    format!("{payload}~{mac}")
}

fn verify(tokens: &AdminTokens, value: &str) -> Option<Operator> {
    let (payload, given) = value.rsplit_once('~')?;
    let (name, until) = payload.split_once('~')?;
    let operator = tokens.named(name)?;
    let expected = mac(tokens.token_of(name)?, payload);
    let is_it = bool::from(expected.as_bytes().ct_eq(given.as_bytes()));
    (is_it && until.parse::<u64>().ok()? > clock::unix_seconds()).then(|| operator.clone())
}

fn mac(token: &str, text: &str) -> String {
    // A key of any length is taken.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(token.as_bytes()) else { return String::new() };
    mac.update(PURPOSE);
    mac.update(text.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn peer(address: &str) -> Peer {
        Peer::Address(address.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn this_machine_may_look_and_nobody_who_only_seems_to_be_on_it() {
        let tokens = AdminTokens::default();
        let look = |lines: &[(&'static str, &str)], from: &str| Viewer::of(&headers(lines), peer(from), &tokens);
        for host in ["127.0.0.1:16001", "localhost:16001", "[::1]:16001", "localhost"] {
            assert_eq!(look(&[("host", host)], "127.0.0.1"), Some(Viewer::Local), "{host}");
        }
        assert_eq!(look(&[("host", "localhost:16001")], "10.0.0.7"), None);
        // A name of somebody else's that leads here, as in DNS rebinding.
        assert_eq!(look(&[("host", "evil.test:16001")], "127.0.0.1"), None);
        assert_eq!(look(&[], "127.0.0.1"), None);
        for header in PROXY_HEADERS {
            assert_eq!(look(&[("host", "localhost"), (header, "x")], "127.0.0.1"), None, "{header}");
        }
        assert!(!Viewer::Local.may_change() && !Viewer::Local.proves(&tokens, ""));
    }

    #[test]
    fn a_cookie_is_its_operators_until_its_time_or_its_token_is_over() {
        let tokens = AdminTokens::read(&format!("ada:{TOKEN},bob:read:fedcba9876543210")).unwrap();
        let ada = tokens.named("ada").unwrap().clone();
        let value = begin(&ada, TOKEN);
        let with = |value: &str, tokens: &AdminTokens| {
            let cookie = format!("a=b; diffyne_admin_16001={value}");
            Viewer::of(&headers(&[("host", "10.0.0.1:16001"), ("cookie", &cookie)]), peer("10.0.0.7"), tokens)
        };
        let viewer = with(&value, &tokens).unwrap();
        assert!(viewer.may_change() && viewer.proves(&tokens, &viewer.form_proof(&tokens).unwrap()));
        assert!(!viewer.proves(&tokens, "") && !viewer.proves(&tokens, &value));
        for forged in [value.replace("ada", "bob"), value.replace("ada~1", "ada~9"), format!("{value}0"), String::new()]
        {
            assert_eq!(with(&forged, &tokens), None, "{forged}");
        }
        let changed = AdminTokens::read("ada:another-token-entirely").unwrap();
        assert_eq!(with(&value, &changed), None);
        let payload = format!("ada~{}", clock::unix_seconds() - 1);
        assert_eq!(with(&format!("{payload}~{}", mac(TOKEN, &payload)), &tokens), None);
    }
}
