//! The head of a call for the bridge: headers and cookies of the handshake, and the address, scheme and host that the
//! gateway resolved.

use std::borrow::Cow;

use diffyne_shared::rpc::{CallKind, SESSION_HEADER, Transport};
use diffyne_shared::trace_context::TraceContext;
use serde::Serialize;

use super::rendering::RenderRequest;
use crate::call::verified::LockCoverage;
use crate::call::{ClientInfo, Job, Parts, cookies};

/// Headers that reach the application unchanged. None of them claims who or where the client is.
const FORWARDED: [&str; 6] = ["user-agent", "accept-language", "authorization", "origin", "referer", "tracestate"];

/// W3C trace context: the span that the application is called from (the method's where the worker records traces, else the
/// caller's), or a new one that nobody records.
fn trace_parent(client: &ClientInfo) -> String {
    let known = client.header("traceparent").and_then(TraceContext::parse);
    known.unwrap_or_else(|| TraceContext { is_sampled: false, ..TraceContext::root() }).to_string()
}

/// What precedes a call's payload.
#[derive(Serialize)]
pub(super) struct BridgeRequest<'a> {
    kind: &'static str,
    /// Which locked values the bridge may accept.
    #[serde(rename = "trust")]
    coverage: &'a LockCoverage,
    transport: &'static str,
    ip: &'a str,
    /// The host in the page's address.
    pub(super) host: &'a str,
    /// The scheme of the page's address.
    pub(super) scheme: &'a str,
    pub(super) headers: Vec<(&'static str, Cow<'a, str>)>,
    /// The value of the `Cookie` header, for PHP to parse as its own server would. Over HTTP it is a header instead.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) cookie: String,
    /// `required`: the call must not run without the session that its connection has brought.
    #[serde(skip_serializing_if = "str::is_empty")]
    session: &'a str,
    /// What the worker makes itself of what PHP renders.
    #[serde(skip_serializing_if = "RenderRequest::is_default")]
    render: RenderRequest,
    /// PHP may send parts of the answer while the call runs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    parts: bool,
    /// The reply is to tell who the user is.
    #[serde(rename = "user", skip_serializing_if = "std::ops::Not::not")]
    wants_user: bool,
}

impl BridgeRequest<'_> {
    /// What equal calls have in common here: who calls is no part of it, nor the addresses and names of one call.
    pub(super) fn common(&self) -> impl Serialize {
        let language = self.headers.iter().find(|(name, _)| *name == "accept-language").map(|(_, value)| value);
        (self.kind, self.coverage, self.transport, self.host, self.scheme, self.render, language)
    }
}

/// The head of a call.
pub(super) fn head<'a>(
    job: &'a Job,
    coverage: &'a LockCoverage,
    render: RenderRequest,
    parts: &Parts,
) -> BridgeRequest<'a> {
    let client = &job.client;
    let (mut host, mut scheme, mut session) = (None, None, "");
    let mut headers: Vec<(&'static str, Cow<'_, str>)> = Vec::with_capacity(FORWARDED.len() + 4);
    for (name, value) in client.headers.lines().filter_map(|line| line.split_once(": ")) {
        match name {
            "host" => _ = host.get_or_insert(value),
            // Set by the gateway, never by the client.
            "x-forwarded-proto" => _ = scheme.get_or_insert(value),
            SESSION_HEADER => session = value,
            _ => {
                let Some(forwarded) = FORWARDED.iter().find(|forwarded| **forwarded == name) else { continue };
                if headers.iter().all(|(other, _)| other != forwarded) {
                    headers.push((forwarded, value.into()));
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
    BridgeRequest {
        coverage,
        kind: match job.kind {
            CallKind::Call => "call",
            CallKind::Update => "update",
            CallKind::Mount => "mount",
            CallKind::Grant => "grant",
            CallKind::Lifecycle => "lifecycle",
        },
        transport: if is_socket { "ws" } else { "ajax" },
        ip: &client.ip,
        host: host.unwrap_or("localhost"),
        scheme: scheme.unwrap_or("http"),
        headers,
        cookie: cookies::header(&client.headers),
        session,
        render,
        parts: parts.are_taken(),
        wants_user: job.wants_user,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_goes_on_from_the_span_that_is_told() {
        let client = |headers: &str| ClientInfo { headers: headers.to_owned(), ..ClientInfo::default() };
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        for flags in ["00", "01"] {
            let theirs = format!("00-{trace}-00f067aa0ba902b7-{flags}");
            assert_eq!(trace_parent(&client(&format!("traceparent: {theirs}\n"))), theirs);
        }
        for nonsense in ["", "traceparent: 00-x-y-z\n", "traceparent: 00-00000000000000000000000000000000-1-01\n"] {
            let made = trace_parent(&client(nonsense));
            assert_eq!((made.len(), &made[52..]), (55, "-00"), "{made}");
        }
    }

    #[test]
    fn a_head_takes_the_first_of_each_header() {
        let headers = "host: shop.test\nx-forwarded-proto: https\norigin: https://a.test\nuser-agent: A\nuser-agent: B\nx-other: x\n\
             host: other\nx-forwarded-host: evil.test\nx-forwarded-for: 6.6.6.6\nforwarded: for=6.6.6.6\ncookie: a=1; a=2\n";
        let client = ClientInfo { headers: headers.to_owned(), id: "7".to_owned(), ..ClientInfo::default() };
        let job = Job {
            pushes: false,
            wants_user: false,
            parts: Parts::default(),
            kind: CallKind::Call,
            client,
            cause: None,
            payload: Vec::new(),
            deadline: std::time::Instant::now(),
            request_id: "r-1".to_owned(),
        };
        let head = head(&job, &LockCoverage::Nothing, RenderRequest::default(), &Parts::default());
        assert_eq!((head.host, head.scheme, head.cookie.as_str()), ("shop.test", "https", "a=1; a=2"));
        let names: Vec<&str> = head.headers.iter().map(|(name, _)| *name).collect();
        let ours = ["x-diffyne-transport", "x-diffyne-client-id", "x-request-id", "traceparent"];
        assert_eq!(names, [["origin", "user-agent"].as_slice(), &ours].concat());
        assert_eq!(head.headers[1].1, "A");
    }
}
