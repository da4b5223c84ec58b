//! A call as the application gets it: headers and cookies of the handshake, and the address, scheme and host that the
//! gateway has resolved.

use std::borrow::Cow;

use diffyne_shared::rpc::{CallKind, Transport};
use diffyne_shared::signing::SignatureParts;
use serde::Serialize;

use super::Job;
use crate::component::ClientInfo;
use crate::component::message::Trust;
use crate::cookies;

/// Headers that reach the application as they are. None of them says who or where the client is.
const PASSED: [&str; 6] = ["user-agent", "accept-language", "authorization", "origin", "referer", "tracestate"];

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
    /// The value of the `Cookie` header; PHP reads it as its own server would. Over HTTP it is a header.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) cookie: String,
}

/// The head of a call.
pub(super) fn head<'a>(job: &'a Job, trust: &'a Trust) -> Head<'a> {
    let client = &job.client;
    let (mut host, mut scheme) = (None, None);
    let mut headers: Vec<(&'static str, Cow<'_, str>)> = Vec::with_capacity(PASSED.len() + 4);
    for (name, value) in client.headers.lines().filter_map(|line| line.split_once(": ")) {
        match name {
            "host" => _ = host.get_or_insert(value),
            // The gateway's own word.
            "x-forwarded-proto" => _ = scheme.get_or_insert(value),
            _ => {
                let Some(passed) = PASSED.iter().find(|passed| **passed == name) else { continue };
                if headers.iter().all(|(other, _)| other != passed) {
                    headers.push((passed, value.into()));
                }
            }
        }
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
        host: host.unwrap_or("localhost"),
        scheme: scheme.unwrap_or("http"),
        headers,
        cookie: cookies::header(&client.headers),
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
        let headers = "host: shop.test\nx-forwarded-proto: https\norigin: https://a.test\nuser-agent: A\nuser-agent: B\nx-other: x\n\
             host: other\nx-forwarded-host: evil.test\nx-forwarded-for: 6.6.6.6\nforwarded: for=6.6.6.6\ncookie: a=1; a=2\n";
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
        assert_eq!((head.host, head.scheme, head.cookie.as_str()), ("shop.test", "https", "a=1; a=2"));
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
}
