//! A call as the application gets it: the headers, cookies and address of the handshake.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use diffyne_shared::rpc::{CallKind, Transport};
use diffyne_shared::signing::SignatureParts;
use serde::{Serialize, Serializer};

use super::Job;
use crate::component::ClientInfo;
use crate::component::message::Trust;

/// Headers that reach the application as they are.
const PASSED: [&str; 7] =
    ["user-agent", "accept-language", "authorization", "origin", "referer", "x-forwarded-for", "tracestate"];

/// The id of a request: its own, where a proxy has given it one, and else a new one.
pub(crate) fn id(client: &ClientInfo) -> String {
    // A connection's would be the same for all its calls.
    let own = client.header("x-request-id").filter(|_| client.transport == Transport::Ajax);
    let fits = |id: &&str| id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_graphic());
    own.filter(fits).map_or_else(|| format!("{:016x}", fastrand::u64(..)), str::to_owned)
}

/// W3C trace context: the caller's trace, or a new one, with a span of our own.
fn trace_parent(client: &ClientInfo) -> String {
    let part = |text: &str, length: usize| {
        let is_hex = text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex && text.bytes().any(|byte| byte != b'0')
    };
    let known = client.header("traceparent").and_then(|header| {
        let mut parts = header.split('-').skip(1);
        let (trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?);
        (part(trace, 32) && part(span, 16) && flags.len() == 2).then(|| (trace.to_owned(), flags.to_owned()))
    });
    let (trace, flags) = known.unwrap_or_else(|| (format!("{:032x}", fastrand::u128(1..)), "00".to_owned()));
    format!("00-{trace}-{:016x}-{flags}", fastrand::u64(1..))
}

/// What is told of a call before its payload.
#[derive(Serialize)]
pub(super) struct Head<'a> {
    kind: &'static str,
    /// What the bridge may take of locked values.
    trust: &'a Trust,
    transport: &'static str,
    ip: &'a str,
    /// The host that the page named,
    pub(super) host: &'a str,
    /// and how it came there.
    pub(super) scheme: &'a str,
    pub(super) headers: Vec<(&'static str, Cow<'a, str>)>,
    #[serde(serialize_with = "decoded")]
    cookies: &'a str,
}

/// The head of a call.
pub(super) fn head<'a>(job: &'a Job, trust: &'a Trust) -> Head<'a> {
    let client = &job.client;
    let (mut host, mut forwarded_host, mut scheme, mut origin_scheme) = (None, None, None, None);
    let mut headers: Vec<(&'static str, Cow<'_, str>)> = Vec::with_capacity(PASSED.len() + 4);
    for (name, value) in client.headers.lines().filter_map(|line| line.split_once(": ")) {
        let known = match name {
            "host" => &mut host,
            "x-forwarded-host" => &mut forwarded_host,
            "x-forwarded-proto" => &mut scheme,
            _ => {
                let Some(passed) = PASSED.iter().find(|passed| **passed == name) else { continue };
                if headers.iter().all(|(other, _)| other != passed) {
                    if name == "origin" {
                        origin_scheme = value.split_once("://").map(|(scheme, _)| scheme);
                    }
                    headers.push((passed, value.into()));
                }
                continue;
            }
        };
        known.get_or_insert(value);
    }
    let is_socket = client.transport == Transport::Ws;
    headers.push(("x-diffyne-transport", if is_socket { "websocket" } else { "ajax" }.into()));
    if !client.id.is_empty() {
        headers.push(("x-diffyne-client-id", client.id.as_str().into()));
    }
    headers.push(("x-request-id", job.request_id.as_str().into()));
    headers.push(("traceparent", trace_parent(client).into()));
    Head {
        trust,
        kind: match job.kind {
            CallKind::Call => "call",
            CallKind::Update => "update",
            CallKind::Mount => "mount",
            CallKind::Grant => "grant",
        },
        transport: if is_socket { "ws" } else { "ajax" },
        ip: &client.ip,
        host: forwarded_host.or(host).unwrap_or("localhost"),
        scheme: scheme.or(origin_scheme).unwrap_or("http"),
        headers,
        cookies: &client.headers,
    }
}

/// A message as the package's own endpoint takes it: with the package's part of the signature alone. A page has the
/// other part from a worker that had the bridge.
pub(super) fn for_endpoint(payload: Vec<u8>) -> Vec<u8> {
    #[derive(serde::Deserialize)]
    struct Signed<'a> {
        #[serde(borrow, default)]
        signature: Option<std::borrow::Cow<'a, str>>,
    }
    let signature = serde_json::from_slice::<Signed<'_>>(&payload).ok().and_then(|signed| signed.signature);
    let Some(parts) = signature.as_deref().map(SignatureParts::of).filter(|parts| parts.lock.is_some()) else {
        return payload;
    };
    let Ok(mut message) = serde_json::from_slice::<serde_json::Value>(&payload) else { return payload };
    message["signature"] = parts.state.into();
    message.to_string().into_bytes()
}

/// All cookies as one header, later ones instead of earlier ones of the same name.
pub(super) fn cookie_header(headers: &str) -> String {
    let newest: HashMap<&str, &str> = raw_cookies(headers).collect();
    let mut written = HashSet::new();
    let names = raw_cookies(headers).map(|(name, _)| name).filter(|name| written.insert(*name));
    names.map(|name| format!("{name}={}", newest[name])).collect::<Vec<_>>().join("; ")
}

fn raw_cookies(headers: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.lines().filter_map(|line| line.strip_prefix("cookie: "));
    lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='))
}

/// All cookies by name, decoded as PHP decodes them. Of two of one name PHP keeps the later one.
fn decoded<S: Serializer>(headers: &&str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(raw_cookies(headers).map(|(name, value)| (name, crate::page::decode(value))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_goes_on_and_a_request_keeps_its_id() {
        let client = |headers: &str| ClientInfo { headers: headers.to_owned(), ..ClientInfo::default() };
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let theirs = client(&format!("traceparent: 00-{trace}-00f067aa0ba902b7-01\nx-request-id: r-1\n"));
        let ours = trace_parent(&theirs);
        assert!(ours.starts_with(&format!("00-{trace}-")) && ours.ends_with("-01"), "{ours}");
        assert!(!ours.contains("00f067aa0ba902b7"), "a span of its own: {ours}");
        assert_eq!(id(&theirs), "r-1");
        for nonsense in ["", "traceparent: 00-x-y-z\n", "traceparent: 00-00000000000000000000000000000000-1-01\n"] {
            let made = trace_parent(&client(nonsense));
            assert_eq!((made.len(), &made[52..]), (55, "-00"), "{made}");
        }
        let socket = ClientInfo { transport: Transport::Ws, ..theirs };
        assert_ne!(id(&socket), id(&socket), "each call of a connection has its own");
    }

    #[test]
    fn a_head_takes_the_first_of_each_header() {
        let headers = "host: inner\norigin: https://a.test\nuser-agent: A\nuser-agent: B\nx-other: x\nx-forwarded-host: shop.test\n";
        let client = ClientInfo { headers: headers.to_owned(), id: "7".to_owned(), ..ClientInfo::default() };
        let job = Job {
            kind: CallKind::Call,
            client,
            cause: None,
            payload: Vec::new(),
            deadline: std::time::Instant::now(),
            request_id: "r-1".to_owned(),
        };
        let head = head(&job, &Trust::Nothing);
        assert_eq!((head.host, head.scheme), ("shop.test", "https"));
        let names: Vec<&str> = head.headers.iter().map(|(name, _)| *name).collect();
        let ours = ["x-diffyne-transport", "x-diffyne-client-id", "x-request-id", "traceparent"];
        assert_eq!(names, [["origin", "user-agent"].as_slice(), &ours].concat());
        assert_eq!(head.headers[1].1, "A");
    }

    #[test]
    fn the_packages_endpoint_gets_the_packages_signature() {
        let sent = |text: &str| String::from_utf8(for_endpoint(text.as_bytes().to_vec())).unwrap();
        let message = r#"{"signature":"ab.cd.ef","state":{"b":1.0,"a":"x"}}"#;
        assert_eq!(sent(message), r#"{"signature":"ab","state":{"b":1.0,"a":"x"}}"#);
        for as_it_is in [r#"{ "signature": "ab" }"#, r#"{ "signature": 7 }"#, "{}", "no JSON"] {
            assert_eq!(sent(as_it_is), as_it_is);
        }
    }

    #[test]
    fn cookies_are_decoded_and_newer_ones_win() {
        let headers = "host: x\ncookie: a=1; session=old%3D%2B\ncookie: session=new%20one\n";
        let mut text = Vec::new();
        decoded(&headers, &mut serde_json::Serializer::new(&mut text)).unwrap();
        let cookies: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(cookies, serde_json::json!({"a": "1", "session": "new one"}));
        assert_eq!(cookie_header("cookie: a=1; s=x%3D\ncookie: s=y=\n"), "a=1; s=y=");
    }
}
