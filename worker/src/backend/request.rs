//! A call as the application gets it: the headers, cookies and address of the handshake.

use diffyne_shared::rpc::{CallKind, Transport};
use serde_json::{Map, Value, json};

use super::Job;

/// Headers that reach the application as they are.
const PASSED: [&str; 6] = ["user-agent", "accept-language", "authorization", "origin", "referer", "x-forwarded-for"];

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
    fn cookies_are_decoded_and_newer_ones_win() {
        let cookies = cookies("host: x\ncookie: a=1; session=old%3D%2B\ncookie: session=new%20one\n");
        assert_eq!(Value::Object(cookies), json!({"a": "1", "session": "new one"}));
        assert_eq!(cookie_header("cookie: a=1; s=x%3D\ncookie: s=y=\n"), "a=1; s=y=");
    }
}
