//! The HTTP twin: component calls as requests, where a WebSocket does not work or is not wanted. A call takes the
//! same way to a worker as one of a socket, and its broadcasts leave for the cluster as well.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use diffyne_shared::envelope::{DataHead, FailureKind, json_string};
use diffyne_shared::rpc::{CallKind, Outcome, Transport};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;

use super::{JSON, cors, not_found, respond};
use crate::answer::{self, Asked};
use crate::handover;
use crate::jar::Jar;
use crate::quota::HttpTicket;
use crate::reactor::{Origin, Reactor};
use crate::relay::{self, Answer, Caller};

/// The header by which a page names its WebSocket connection, so that its own broadcasts leave that one out.
const CLIENT_ID: &str = "x-diffyne-client-id";

/// What is served below the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `update`: calls and property updates.
    Update,
    /// `update/lazy`, and `lazy` as diffyne.js asks: a lazy component.
    Lazy,
    /// `session`: the cookies of a login over the socket.
    Session,
    /// `health`.
    Health,
}

/// The route of a path, if it is one of the twin's.
pub fn route(prefix: &str, path: &str) -> Option<Route> {
    match path.strip_prefix(prefix)?.strip_prefix('/')? {
        "update" => Some(Route::Update),
        "update/lazy" | "lazy" => Some(Route::Lazy),
        "session" => Some(Route::Session),
        "health" => Some(Route::Health),
        _ => None,
    }
}

/// An answer on its way to its request.
#[derive(Debug)]
struct Answered {
    status: StatusCode,
    body: Bytes,
    set_cookie: Vec<String>,
}

/// A request whose call is under way.
pub struct Waiting {
    number: u64,
    answer: oneshot::Sender<Answered>,
    caller: Rc<Caller>,
    cause_depth: Option<u32>,
    started: Instant,
}

impl Waiting {
    /// Hands the answer to the request.
    pub fn finish(self, reactor: &Reactor, answer: &Answer<'_>) {
        let asked = Asked { client: &self.caller.id, cause_depth: self.cause_depth, started: self.started };
        let ids = answer::settle(reactor, &asked, answer);
        let answered = match answer {
            Answer::Reply(reply) => {
                let extra = answer::event_ids(reply.event_count, &ids);
                let (body, usable) = match answer::inner(reply.data) {
                    Some(inner) => (inner, true),
                    None => (answer::UNUSABLE, false),
                };
                let status = StatusCode::from_u16(reply.status).unwrap_or(match reply.outcome {
                    Outcome::Ok => StatusCode::OK,
                    _ => StatusCode::INTERNAL_SERVER_ERROR,
                });
                Answered {
                    status: if usable { status } else { StatusCode::BAD_GATEWAY },
                    body: [b"{", body, extra.as_bytes(), b"}"].concat().into(),
                    set_cookie: reply.set_cookie.clone(),
                }
            }
            Answer::Failed(failure, text) => failed(*failure, text),
        };
        // The browser may have gone; then nobody is told.
        let _ = self.answer.send(answered);
    }
}

fn failed(failure: FailureKind, text: &str) -> Answered {
    let status = match failure {
        FailureKind::Invalid | FailureKind::Subscribe | FailureKind::GrantExpired => StatusCode::BAD_REQUEST,
        FailureKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        FailureKind::Overloaded | FailureKind::NoWorker => StatusCode::SERVICE_UNAVAILABLE,
        FailureKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        FailureKind::WorkerLost | FailureKind::AnswerTooLarge => StatusCode::BAD_GATEWAY,
        FailureKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
    };
    let body = format!(r#"{{"s":false,"error":{},"type":"{}"}}"#, json_string(text), failure.label());
    Answered { status, body: body.into(), set_cookie: Vec::new() }
}

/// The shape in which upstream's twin refuses a request.
fn refused(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    respond(status, JSON, json!({"success": false, "error": text}).to_string())
}

/// Serves a request below the prefix.
pub(super) async fn answer(
    reactor: &Rc<Reactor>,
    route: Route,
    request: Request<Incoming>,
    peer: Option<IpAddr>,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    if reactor.admission.check_origin(&parts).is_err() {
        reactor.metrics.requests.with_label_values(&["origin"]).inc();
        return respond(StatusCode::FORBIDDEN, "text/plain; charset=utf-8", "Origin not allowed");
    }
    let identity = reactor.admission.identify(&parts, peer);
    let guest = identity.guest;
    let expected = if route == Route::Health { Method::GET } else { Method::POST };
    let mut response = match &parts.method {
        &Method::OPTIONS => {
            let mut response = respond(StatusCode::NO_CONTENT, JSON, Bytes::new());
            response.headers_mut().remove(header::CONTENT_TYPE);
            cors::preflight(response.headers_mut(), &reactor.settings);
            response
        }
        method if *method != expected => {
            let mut response = not_found();
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, POST, OPTIONS"));
            response
        }
        _ if route == Route::Health => {
            let health = json!({"status": "ok", "version": diffyne_shared::VERSION, "transport": "websocket"});
            respond(StatusCode::OK, JSON, health.to_string())
        }
        _ if route == Route::Session => with_slot(reactor, identity.ip, hand_over(reactor, body, guest)).await,
        _ => {
            let caller = Caller {
                id: client_id(&parts.headers).unwrap_or_default().to_owned(),
                ip: identity.ip.to_string(),
                headers: identity.headers,
                jar: Jar::default(),
            };
            with_slot(reactor, identity.ip, call(reactor, route, caller, body)).await
        }
    };
    cors::allow(response.headers_mut(), parts.headers.get(header::ORIGIN), guest);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

/// Sets the cookies of a sealed token, once.
async fn hand_over(reactor: &Reactor, body: Incoming, guest: bool) -> Response<Full<Bytes>> {
    let body = Limited::new(body, reactor.settings.request_bytes_max).collect();
    let body = tokio::time::timeout(reactor.settings.header_timeout, body).await;
    let body = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let token = serde_json::from_slice::<Token>(&body).ok().filter(|_| !guest);
    let cookies = token.and_then(|token| reactor.handover.open(&token.token));
    match cookies {
        Some(cookies) if reactor.bus.once(&cookies.id, handover::MARK_LIFE).await => {
            reply(Answered { status: StatusCode::OK, body: r#"{"success":true}"#.into(), set_cookie: cookies.lines })
        }
        _ => refused(StatusCode::GONE, "The token is not good, or not any more."),
    }
}

/// A client id of ours, if the page names one.
fn client_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(CLIENT_ID)?.to_str().ok()?;
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
}

/// A place among the calls by HTTP, given back when the answer has been written.
pub(super) struct Slot {
    _all: Counted,
    _address: Option<HttpTicket>,
}

/// One of all calls by HTTP.
struct Counted(Arc<AtomicUsize>);

impl Slot {
    /// A place for a call from this address, or why there is none.
    fn take(reactor: &Reactor, address: IpAddr) -> Result<Arc<Self>, Answered> {
        let refused = |label: &str, failure, text| {
            reactor.metrics.requests.with_label_values(&[label]).inc();
            failed(failure, text)
        };
        if reactor.quota.shedding.load(Ordering::Relaxed) {
            return Err(refused(
                "memory",
                FailureKind::Overloaded,
                "The server is short of memory. The call was not run.",
            ));
        }
        let most = reactor.settings.requests_max;
        let taken =
            reactor.requests.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now < most).then_some(now + 1));
        if taken.is_err() {
            let text = "Too many requests are waiting. The call was not run.";
            return Err(refused("full", FailureKind::Overloaded, text));
        }
        // From here on it is given back by dropping it.
        let all = Counted(Arc::clone(&reactor.requests));
        // Behind a proxy that does not tell whom it speaks for, all would share one address.
        let of_address = if reactor.admission.is_trusted(address) {
            None
        } else {
            reactor.quota.enter_request(address).map_err(|_| {
                let text = "Too many requests of this address are waiting. The call was not run.";
                refused("address", FailureKind::RateLimited, text)
            })?
        };
        Ok(Arc::new(Self { _all: all, _address: of_address }))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tells the relay when a request goes away before its answer.
struct Interest<'a> {
    reactor: &'a Reactor,
    number: u64,
}

impl Drop for Interest<'_> {
    fn drop(&mut self) {
        let is_it = |origin: &Origin| matches!(origin, Origin::Request(waiting) if waiting.number == self.number);
        let unsent = self.reactor.relay.cancel(is_it);
        self.reactor.metrics.in_flight(-(unsent as i64));
    }
}

/// What the twin itself looks at beside the head.
#[derive(Deserialize, Default)]
struct Kind<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a str>,
}

/// Serves a request in a place of its own, which is given back when the answer has been written.
async fn with_slot(
    reactor: &Reactor,
    address: IpAddr,
    serve: impl Future<Output = Response<Full<Bytes>>>,
) -> Response<Full<Bytes>> {
    match Slot::take(reactor, address) {
        Ok(slot) => {
            let mut response = serve.await;
            response.extensions_mut().insert(slot);
            response
        }
        Err(refused) => reply(refused),
    }
}

async fn call(reactor: &Rc<Reactor>, route: Route, caller: Caller, body: Incoming) -> Response<Full<Bytes>> {
    let body = Limited::new(body, reactor.settings.request_bytes_max).collect();
    let text = match tokio::time::timeout(reactor.settings.header_timeout, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            reactor.metrics.requests.with_label_values(&["too_large"]).inc();
            return refused(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large.");
        }
        Ok(Err(_broken)) => return refused(StatusCode::BAD_REQUEST, "Invalid request"),
        Err(_elapsed) => return refused(StatusCode::REQUEST_TIMEOUT, "The request did not arrive in time."),
    };
    let Ok(text) = std::str::from_utf8(&text) else { return refused(StatusCode::BAD_REQUEST, "Invalid request") };
    let head = DataHead::read(text);
    if let Err(text) = head.check_lengths() {
        return refused(StatusCode::BAD_REQUEST, &text);
    }
    let kind: Kind<'_> = serde_json::from_str(text).unwrap_or_default();
    let kind = match (route, kind.kind) {
        (Route::Lazy, _) => CallKind::Mount,
        (_, Some("call")) => CallKind::Call,
        (_, Some("update")) => CallKind::Update,
        _ => return refused(StatusCode::BAD_REQUEST, "Invalid request"),
    };
    if head.component_class.text().is_none_or(str::is_empty) {
        return refused(StatusCode::BAD_REQUEST, "Invalid request");
    }
    let started = Instant::now();
    let (answer, answered) = oneshot::channel();
    let number = reactor.next_number();
    let caller = Rc::new(caller);
    let waiting = Waiting {
        number,
        answer,
        caller: Rc::clone(&caller),
        cause_depth: head.cause.as_ref().map(|cause| cause.depth),
        started,
    };
    let request = relay::Request {
        caller,
        transport: Transport::Ajax,
        kind,
        cause: head.cause.clone(),
        payload: text.into(),
        arrived: started,
        deadline: started + reactor.settings.call_timeout,
    };
    reactor.metrics.in_flight(1);
    reactor.metrics.requests.with_label_values(&["accepted"]).inc();
    let interest = Interest { reactor, number };
    reactor.relay.submit(request, Origin::Request(waiting));
    let answered = answered.await;
    drop(interest);
    // The relay answers every call, unless the thread ends.
    answered.map_or_else(|_| refused(StatusCode::SERVICE_UNAVAILABLE, "The server stops."), reply)
}

fn reply(answered: Answered) -> Response<Full<Bytes>> {
    let mut response = respond(answered.status, JSON, answered.body);
    let headers = response.headers_mut();
    for cookie in answered.set_cookie {
        if let Ok(value) = HeaderValue::from_str(&cookie) {
            headers.append(header::SET_COOKIE, value);
        } else {
            tracing::warn!("a worker's Set-Cookie cannot be sent");
        }
    }
    if answered.status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_the_prefix_are_the_twins() {
        assert_eq!(route("/_diffyne", "/_diffyne/update"), Some(Route::Update));
        assert_eq!(route("/_diffyne", "/_diffyne/update/lazy"), Some(Route::Lazy));
        assert_eq!(route("/_diffyne", "/_diffyne/lazy"), Some(Route::Lazy));
        assert_eq!(route("/a/b", "/a/b/health"), Some(Route::Health));
        for path in ["/_diffyne", "/_diffyne/", "/_diffynex/update", "/update", "/_diffyne/update/"] {
            assert_eq!(route("/_diffyne", path), None, "{path}");
        }
    }

    #[test]
    fn only_ids_of_ours_are_taken_from_a_request() {
        let headers = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CLIENT_ID, HeaderValue::from_static(value));
            headers
        };
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(client_id(&headers(id)), Some(id));
        assert_eq!(client_id(&headers("0123")), None);
        assert_eq!(client_id(&headers("0123456789abcdef0123456789abcde\"")), None);
    }
}
