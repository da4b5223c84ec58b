//! Checks what pages do over HTTP through the front: whether they act as their users, and whether events reach those
//! that have no WebSocket.

use bytes::Bytes;
use diffyne_shared::tls::ClientTls;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, ACCESS_CONTROL_ALLOW_CREDENTIALS, CONTENT_TYPE, HOST, ORIGIN};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;

use super::{Report, Target};
use crate::front_client::{Front, limited};

/// What is wrong when events do not arrive.
const HELD_BACK: &str = "the front holds responses back, so pages without a WebSocket hear late: in nginx, proxy_buffering \
                         off for /_diffyne/events";

/// Runs the checks, for a page of this origin.
pub(super) async fn check(front: &Front, tls: Option<&ClientTls>, target: &Target, origin: &str, report: &mut Report) {
    cookies(front, tls, target, origin, report).await;
    events(front, tls, target, origin, report).await;
}

async fn ask(
    front: &Front,
    tls: Option<&ClientTls>,
    method: Method,
    path: &str,
    headers: &[(hyper::header::HeaderName, &str)],
    body: String,
) -> Result<Response<Incoming>, String> {
    let stream = front.connect(tls).await?;
    let words = |error: hyper::Error| format!("the front ended the request: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(words)?;
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header(HOST, front.authority());
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(|error| error.to_string())?;
    sender.send_request(request).await.map_err(words)
}

/// Whether pages are served with their cookies. A gateway says so in the answer that a browser asks for before a call.
async fn cookies(front: &Front, tls: Option<&ClientTls>, target: &Target, origin: &str, report: &mut Report) {
    let path = format!("{}/update", target.settings.route_prefix);
    let headers = [(ORIGIN, origin)];
    match limited(ask(front, tls, Method::OPTIONS, &path, &headers, String::new())).await {
        Ok(response) if response.headers().contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS) => {
            report.ok("cookies", format!("pages of {origin} act as their users"));
        }
        Ok(response) if response.status() == StatusCode::NO_CONTENT => report.fail(
            "cookies",
            format!(
                "pages of {origin} are served as guests, without cookies: have the front pass Host on (in nginx, \
                 proxy_set_header Host $http_host), or set APP_URL={origin} for the gateways"
            ),
        ),
        Ok(response) => report.warn(
            "cookies",
            format!(
                "not tried: {} from {path}. Where the front does not pass it on to gateways, AJAX calls go to the \
                 application alone: in nginx, location /_diffyne/ as in nginx/locations.conf",
                response.status()
            ),
        ),
        Err(error) => report.warn("cookies", format!("not tried: {error}")),
    }
}

/// Whether events reach a page at once that has no WebSocket.
async fn events(front: &Front, tls: Option<&ClientTls>, target: &Target, origin: &str, report: &mut Report) {
    let path = format!("{}/events", target.settings.route_prefix);
    let body = json!({"key": target.settings.keys.first(), "events": []}).to_string();
    let headers = [(ORIGIN, origin), (ACCEPT, "text/event-stream"), (CONTENT_TYPE, "application/json")];
    let response = match limited(ask(front, tls, Method::POST, &path, &headers, body)).await {
        Ok(response) if response.status() == StatusCode::OK => response,
        Ok(response) => {
            return report.warn(
                "events",
                format!("{} from {path}: pages whose WebSocket does not get through hear nothing", response.status()),
            );
        }
        // Everything else has been answered by this front.
        Err(error) => return report.fail("events", format!("{error}: {HELD_BACK}")),
    };
    let mut body = response.into_body();
    let first = async { body.frame().await.ok_or_else(|| "it ended".to_owned()) };
    match limited(first).await {
        Ok(Ok(_)) => report.ok("events", "server-sent events arrive at once"),
        Ok(Err(error)) => report.warn("events", format!("server-sent events broke off: {error}")),
        Err(_) => report.fail("events", HELD_BACK),
    }
}
