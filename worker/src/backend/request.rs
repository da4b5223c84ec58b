//! A call as the application gets it: the headers, cookies and address of the handshake.

use diffyne_shared::rpc::{CallKind, Transport};
use serde_json::{Map, Value, json};

use super::Job;
use crate::component::ClientInfo;

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

/// The head of a call's frame.
pub(super) fn head(job: &Job) -> Value {
    let client = &job.client;
    let forwarded = |name: &str| client.header(name);
    let host = forwarded("x-forwarded-host").or_else(|| client.header("host")).unwrap_or("localhost");
    let of_origin = || client.header("origin").and_then(|origin| origin.split_once("://")).map(|(scheme, _)| scheme);
    let scheme = forwarded("x-forwarded-proto").or_else(of_origin).unwrap_or("http");
    let transport = match client.transport {
        Transport::Ws => "ws",
        Transport::Ajax => "ajax",
    };
    let mut headers: Vec<(&str, &str)> = PASSED.iter().filter_map(|name| Some((*name, client.header(name)?))).collect();
    headers.push(("x-diffyne-transport", if transport == "ws" { "websocket" } else { "ajax" }));
    if !client.id.is_empty() {
        headers.push(("x-diffyne-client-id", &client.id));
    }
    let trace = trace_parent(client);
    headers.extend([("x-request-id", job.request_id.as_str()), ("traceparent", trace.as_str())]);
    json!({
        "kind": match job.kind {
            CallKind::Call => "call",
            CallKind::Update => "update",
            CallKind::Mount => "mount",
            CallKind::Grant => "grant",
        },
        "transport": transport,
        "ip": client.ip,
        "host": host,
        "scheme": scheme,
        "headers": headers,
        "cookies": cookies(&client.headers),
    })
}

/// All cookies as one header, later ones instead of earlier ones of the same name.
pub(super) fn cookie_header(headers: &str) -> String {
    let pairs: Map<String, Value> = raw_cookies(headers).map(|(name, value)| (name.to_owned(), value.into())).collect();
    pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect::<Vec<_>>()
        .join("; ")
}

fn raw_cookies(headers: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.lines().filter_map(|line| line.strip_prefix("cookie: "));
    lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='))
}

/// All cookies by name, later ones first, decoded as PHP decodes them.
fn cookies(headers: &str) -> Map<String, Value> {
    raw_cookies(headers).map(|(name, value)| (name.to_owned(), Value::from(crate::page::decode(value)))).collect()
}

#[cfg(test)]
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
    fn cookies_are_decoded_and_newer_ones_win() {
        let cookies = cookies("host: x\ncookie: a=1; session=old%3D%2B\ncookie: session=new%20one\n");
        assert_eq!(Value::Object(cookies), json!({"a": "1", "session": "new one"}));
        assert_eq!(cookie_header("cookie: a=1; s=x%3D\ncookie: s=y=\n"), "a=1; s=y=");
    }
}
