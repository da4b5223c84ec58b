//! The AJAX endpoint: component calls as HTTP requests, for clients without a WebSocket.
//!
//! A call reaches a worker in the same way as a call by WebSocket, and its broadcasts go to the whole cluster as well.

use std::net::IpAddr;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::ajax_call::CallWay;
use super::ajax_response::{refused, to_http};
use super::line_body::JSON_LINES;
use super::request_slot::with_slot;
use super::response::{JSON, not_found, respond};
use super::upload_body::HttpBody;
use super::{ajax_call, cors};
use crate::auth::cookie_store::CookieStore;
use crate::auth::refusal_log::RefusedRequest;
use crate::auth::sealed_cookies;
use crate::relay::Caller;
use crate::shard::call::AjaxResponse;
use crate::shard::state::Shard;

/// The header in which a page names its WebSocket connection, which does not get the broadcasts of the call.
const CLIENT_ID: &str = "x-diffyne-client-id";

/// A route below the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AjaxRoute {
    /// `update`: calls and property updates.
    Update,
    /// `update/lazy`, and `lazy` as diffyne.js requests it: lazy components.
    Lazy,
    /// `session`: the cookies of a login over the socket.
    Session,
    /// `health`.
    Health,
}

/// Returns the route of a path below the prefix.
pub fn route(prefix: &str, path: &str) -> Option<AjaxRoute> {
    match path.strip_prefix(prefix)?.strip_prefix('/')? {
        "update" => Some(AjaxRoute::Update),
        "update/lazy" | "lazy" => Some(AjaxRoute::Lazy),
        "session" => Some(AjaxRoute::Session),
        "health" => Some(AjaxRoute::Health),
        _ => None,
    }
}

/// Serves a request below the prefix.
pub(super) async fn serve(
    shard: &Rc<Shard>,
    route: AjaxRoute,
    request: Request<Incoming>,
    peer: Option<IpAddr>,
) -> Response<HttpBody> {
    let (parts, body) = request.into_parts();
    if let Err(refusal) = shard.admission.check_origin(&parts) {
        shard.admission.log_refusal(RefusedRequest::Ajax, refusal, &parts, peer);
        shard.metrics.requests.with_label_values(&["origin"]).inc();
        return respond(StatusCode::FORBIDDEN, "text/plain; charset=utf-8", "Origin not allowed").map(Either::Left);
    }
    let identity = shard.admission.identify(&parts, peer);
    let (guest, address) = (identity.guest, identity.ip);
    let expected = if route == AjaxRoute::Health { Method::GET } else { Method::POST };
    let mut response = match (&parts.method, route) {
        (&Method::OPTIONS, _) => preflight(shard).map(Either::Left),
        (method, _) if *method != expected => method_not_allowed().map(Either::Left),
        (_, AjaxRoute::Health) => health().map(Either::Left),
        (_, AjaxRoute::Session) => {
            with_slot(shard, address, async |_slot| set_cookies(shard, body, guest).await.map(Either::Left)).await
        }
        (_, AjaxRoute::Update | AjaxRoute::Lazy) => {
            let id = client_id(&parts.headers).unwrap_or_default();
            let caller = Caller::new(id, &address.to_string(), &identity.headers, CookieStore::default());
            let way = CallWay { is_lazy: route == AjaxRoute::Lazy, takes_parts: takes_lines(&parts.headers) };
            with_slot(shard, address, async |slot| ajax_call::serve(shard, way, caller, body, slot).await).await
        }
    };
    if guest {
        // A form of another site could otherwise give its visitor another session.
        response.headers_mut().remove(header::SET_COOKIE);
    }
    cors::allow(response.headers_mut(), parts.headers.get(header::ORIGIN), guest);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether a page's script takes an answer in lines, and so its parts as they come.
fn takes_lines(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .any(|kind| kind.split(';').next().unwrap_or_default().trim() == JSON_LINES)
}

/// Answers a browser that asks what a page of another origin may do.
pub(super) fn preflight(shard: &Shard) -> Response<Full<Bytes>> {
    let mut response = respond(StatusCode::NO_CONTENT, JSON, Bytes::new());
    response.headers_mut().remove(header::CONTENT_TYPE);
    cors::preflight(response.headers_mut(), &shard.settings);
    response
}

/// Answers a method that a path does not have.
pub(super) fn method_not_allowed() -> Response<Full<Bytes>> {
    let mut response = not_found();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, POST, OPTIONS"));
    response
}

fn health() -> Response<Full<Bytes>> {
    let health = json!({"status": "ok", "version": diffyne_shared::VERSION, "transport": "websocket"});
    respond(StatusCode::OK, JSON, health.to_string())
}

#[derive(Deserialize)]
struct SessionToken {
    token: String,
}

/// Sets the cookies of a sealed token, which is valid once.
async fn set_cookies(shard: &Shard, body: Incoming, guest: bool) -> Response<Full<Bytes>> {
    let body = Limited::new(body, shard.settings.request_bytes_max).collect();
    let body = tokio::time::timeout(shard.settings.header_timeout, body).await;
    let body = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let token = serde_json::from_slice::<SessionToken>(&body).ok().filter(|_| !guest);
    let cookies = token.and_then(|token| shard.sealed_cookies.open(&token.token));
    match cookies {
        Some(cookies) if shard.bus.once(&cookies.id, sealed_cookies::MARK_LIFE).await => {
            let body = r#"{"success":true}"#.into();
            to_http(AjaxResponse { status: StatusCode::OK, body, set_cookie: cookies.lines })
        }
        _ => refused(StatusCode::GONE, "The token is not good, or not any more."),
    }
}

/// Returns the client id that a page names, if it has the format of our ids.
pub(super) fn client_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(CLIENT_ID)?.to_str().ok()?;
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_the_prefix_have_routes() {
        assert_eq!(route("/_diffyne", "/_diffyne/update"), Some(AjaxRoute::Update));
        assert_eq!(route("/_diffyne", "/_diffyne/update/lazy"), Some(AjaxRoute::Lazy));
        assert_eq!(route("/_diffyne", "/_diffyne/lazy"), Some(AjaxRoute::Lazy));
        assert_eq!(route("/a/b", "/a/b/health"), Some(AjaxRoute::Health));
        for path in ["/_diffyne", "/_diffyne/", "/_diffynex/update", "/update", "/_diffyne/update/"] {
            assert_eq!(route("/_diffyne", path), None, "{path}");
        }
    }

    #[test]
    fn only_ids_in_our_format_are_accepted() {
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
