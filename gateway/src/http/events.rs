//! `GET {prefix}/events`: what clients hear that cannot have a WebSocket, as server-sent events, or by polling.
//!
//! The connection is one as any other (see [`crate::connection`]): admitted by the same checks, on the same terms, and
//! subscribed by the same messages. Only the encoding of what it is sent differs, and that its client says once, with its
//! request, what it wants to hear.

use std::net::IpAddr;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value};

use super::ajax::{client_id, method_not_allowed, preflight};
use super::ajax_response::{refused, to_http};
use super::cors;
use super::request_slot::RequestSlot;
use super::takeover::Takeover;
use super::upgrade::{self, NewConnection};
use crate::auth::admission::{Identity, Refusal, key_of};
use crate::auth::refusal_log::RefusedRequest;
use crate::connection::session;
use crate::connection::transport::{ClientTransport, read_place_id};
use crate::quota::Ticket;
use crate::shard::state::Shard;

/// The limit of a request's body, in bytes: 64 KiB of events, and a grant for them.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// The longest poll, in seconds: many proxies wait a minute for a response.
const POLL_SECONDS_MAX: u8 = 55;
/// The header with the id of the last event that a client has got.
const LAST_EVENT_ID: &str = "last-event-id";

/// Whether this is the path of the events.
pub(super) fn is_path(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix) == Some("/events")
}

/// What a client says with its request.
#[derive(Debug, Default, PartialEq, Eq)]
struct EventsRequest {
    /// Seconds, if the client polls.
    poll: Option<u8>,
    /// The WebSocket key, if the body has it: proxies write the query into their logs.
    key: Option<String>,
    /// What a subscribe or resume message has as its `data`.
    subscription: Map<String, Value>,
}

/// Serves one request. A response is returned only where it is refused.
pub(super) async fn serve(
    shard: &Rc<Shard>,
    request: Request<Incoming>,
    peer: Option<IpAddr>,
    takeover: &Takeover,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    if let Err(refusal) = shard.admission.check_origin(&parts) {
        shard.admission.log_refusal(RefusedRequest::Handshake, refusal, &parts, peer);
        return readable(upgrade::refuse(shard, refusal), &parts, true);
    }
    let identity = shard.admission.identify(&parts, peer);
    let guest = identity.guest;
    let refusal = match parts.method {
        Method::OPTIONS => preflight(shard),
        Method::GET | Method::POST => match admit(shard, &parts, body, &identity, peer).await {
            Ok((request, ticket)) => {
                let connection =
                    NewConnection { identity, ticket, client_id: client_id(&parts.headers).map(str::to_owned) };
                connection.count(shard);
                let head = head(&parts, guest);
                let shard = Rc::clone(shard);
                let start = move |io| {
                    let transport = request.poll.map_or(ClientTransport::Events, ClientTransport::Poll);
                    let connection = connection.open(&shard, io, transport);
                    connection.begin_response(head);
                    session::start_listening(shard, connection, &request.subscription);
                };
                return takeover.take(start).await;
            }
            Err(refusal) => *refusal,
        },
        _ => method_not_allowed(),
    };
    readable(refusal, &parts, guest)
}

/// Lets the requesting page read a refusal.
fn readable(mut response: Response<Full<Bytes>>, request: &Parts, guest: bool) -> Response<Full<Bytes>> {
    cors::allow(response.headers_mut(), request.headers.get(header::ORIGIN), guest);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Reads a request, and finds a place for its client.
async fn admit(
    shard: &Rc<Shard>,
    parts: &Parts,
    body: Incoming,
    identity: &Identity,
    peer: Option<IpAddr>,
) -> Result<(EventsRequest, Ticket), Box<Response<Full<Bytes>>>> {
    let invalid = |text: &str| Box::new(refused(StatusCode::BAD_REQUEST, text));
    // Bodies are bounded as those of calls are.
    let slot = RequestSlot::take(shard, identity.ip).map_err(|refused| Box::new(to_http(refused)))?;
    let body = Limited::new(body, BODY_BYTES_MAX).collect();
    let body = match tokio::time::timeout(shard.settings.header_timeout, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return Err(invalid("The request is too large, or was cut.")),
        Err(_elapsed) => return Err(invalid("The request did not arrive in time.")),
    };
    drop(slot);
    let request = read(parts.uri.query().unwrap_or_default(), &parts.headers, &body).map_err(invalid)?;
    let key = request.key.clone().or_else(|| key_of(parts));
    if !shard.admission.is_good_key(key.as_deref()) {
        shard.admission.log_refusal(RefusedRequest::Handshake, Refusal::Key, parts, peer);
        return Err(Box::new(upgrade::refuse(shard, Refusal::Key)));
    }
    let ticket = shard.quota.enter(identity.ip, key.as_deref());
    let ticket = ticket.map_err(|refusal| Box::new(upgrade::refuse(shard, refusal)))?;
    Ok((request, ticket))
}

/// Reads what a client says: in its body, in the query, and in the header that browsers send by themselves when they
/// come back. The later ones count.
fn read(query: &str, headers: &HeaderMap, body: &[u8]) -> Result<EventsRequest, &'static str> {
    let mut request = EventsRequest::default();
    if !body.is_empty() {
        request.subscription = serde_json::from_slice(body).map_err(|_| "The body has to be a JSON object.")?;
        if let Some(Value::String(key)) = request.subscription.remove("key") {
            request.key = Some(key);
        }
    }
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "poll" => {
                let seconds = value.parse::<u8>().ok().filter(|seconds| (1..=POLL_SECONDS_MAX).contains(seconds));
                request.poll = Some(seconds.ok_or("poll has to be a number of seconds, 1 to 55.")?);
            }
            "events" => {
                let events =
                    events(&value).ok_or("events has to be a JSON list, or names with commas between them.")?;
                request.subscription.insert("events".to_owned(), events);
            }
            "grant" => {
                request.subscription.insert("grant".to_owned(), value.into());
            }
            "lastEventId" => request.resume(&value),
            _ => {}
        }
    }
    if let Some(id) = headers.get(LAST_EVENT_ID) {
        request.resume(&String::from_utf8_lossy(id.as_bytes()));
    }
    Ok(request)
}

/// Reads the events of a query: as on the socket, or names alone.
fn events(text: &str) -> Option<Value> {
    if text.starts_with('[') {
        return serde_json::from_str(text).ok();
    }
    let named = |name: &str| serde_json::json!({"name": name.trim()});
    Some(text.split(',').map(named).collect())
}

impl EventsRequest {
    /// Has the client go on behind the event with this id.
    fn resume(&mut self, id: &str) {
        if id.is_empty() {
            return;
        }
        let place = read_place_id(id);
        self.subscription.insert("epoch".to_owned(), Value::from(&*place.epoch));
        self.subscription.insert("offset".to_owned(), place.offset.into());
    }
}

/// Builds the head of a response without a length: it ends with its connection.
fn head(request: &Parts, guest: bool) -> Bytes {
    let mut headers = HeaderMap::new();
    let fixed = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store, no-transform"),
        (header::CONNECTION, "close"),
        // nginx passes on what comes at once, whatever its files say.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    cors::allow(&mut headers, request.headers.get(header::ORIGIN), guest);
    let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
    for (name, value) in &headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(query: &str, last_id: Option<&'static str>, body: &str) -> Result<(Option<u8>, Value), &'static str> {
        let mut headers = HeaderMap::new();
        if let Some(id) = last_id {
            headers.insert(LAST_EVENT_ID, HeaderValue::from_static(id));
        }
        read(query, &headers, body.as_bytes()).map(|request| (request.poll, request.subscription.into()))
    }

    #[test]
    fn what_a_client_wants_to_hear_is_read_from_body_query_and_header() {
        let list = json!([{"name": "a", "match": {"room": 1}}]);
        let query: String = form_urlencoded::Serializer::new(String::new())
            .append_pair("events", &list.to_string())
            .append_pair("grant", "g.h")
            .append_pair("lastEventId", "e:3")
            .finish();
        let resumed = |offset| json!({"events": list, "grant": "g.h", "epoch": "e", "offset": offset});
        assert_eq!(said(&query, None, ""), Ok((None, resumed(3))));
        assert_eq!(said(&query, Some("e:9"), ""), Ok((None, resumed(9))), "a browser that comes back is further");
        let body = json!({"events": list, "epoch": "e", "offset": 4, "grant": "g.h", "key": "k"}).to_string();
        assert_eq!(said("poll=25", None, &body), Ok((Some(25), resumed(4))));
        assert_eq!(
            said("events=a,%20b&key=k", None, ""),
            Ok((None, json!({"events": [{"name": "a"}, {"name": "b"}]})))
        );
        assert_eq!(said("", None, ""), Ok((None, json!({}))));
        assert_eq!(said("", Some("nonsense"), ""), Ok((None, json!({"epoch": "nonsense", "offset": 0}))));
        for (query, body) in [("poll=0", ""), ("poll=56", ""), ("poll=x", ""), ("events=[", ""), ("", "[]"), ("", "{")]
        {
            assert!(said(query, None, body).is_err(), "{query} {body}");
        }
    }
}
