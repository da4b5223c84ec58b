//! The admin listener of both programs: `GET /metrics` for Prometheus, `GET /ready` for whoever routes traffic, `GET
//! /health` of gateways for people, and
//! requests below `/api/`, which need a token.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::http::request::Builder;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prometheus::{Registry, TextEncoder};
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use crate::BoxFuture;
use crate::http_server::{self, ServerLimits};
use crate::listener::{Listener, Stream};
use crate::rpc::Endpoint;

/// A scraper needs one connection; the others are for applications that publish.
const LIMITS: ServerLimits =
    ServerLimits { connections: 256, header_timeout: Duration::from_secs(5), connection_life: Duration::from_mins(1) };
/// The largest body of a change.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// The largest answer that the command line takes: a worker tells of at most a thousand processes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How long a running program may take to answer its command line.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// What the listener serves of its program.
pub trait AdminSource: Send + Sync + 'static {
    /// The metrics.
    fn registry(&self) -> &Registry;
    /// Brings gauges up to date before a scrape.
    fn refresh(&self) {}
    /// Ready for traffic, or why not.
    fn ready(&self) -> Result<(), String>;
    /// The state of the program for operators, at `GET /health`; none: nothing is there.
    fn health(&self) -> Option<Value> {
        None
    }
    /// What is wrong although the program is ready.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
    /// The token that requests below `/api/` need; none: they are refused.
    fn token(&self) -> Option<&str> {
        None
    }
    /// Answers a request below `/api/` with the right token; `None` when there is nothing at this path.
    fn api<'a>(&'a self, _request: ApiRequest<'a>) -> ApiFuture<'a> {
        Box::pin(std::future::ready(None))
    }
}

/// A request below `/api/`.
#[derive(Debug, Clone, Copy)]
pub struct ApiRequest<'a> {
    /// `GET` to look, `POST` to change.
    pub method: &'a Method,
    /// From `/api/` on.
    pub path: &'a str,
    /// What stands behind the question mark.
    pub query: &'a str,
    /// The body.
    pub body: &'a str,
}

/// The answer to such a request.
pub type ApiFuture<'a> = BoxFuture<'a, Option<(StatusCode, Value)>>;

/// Has a running program change something, at its admin address, as its own command line does. Returns the answer, or the
/// reason why there is none.
pub async fn ask(address: &Endpoint, token: &str, path: &str, body: &str) -> Result<Value, String> {
    exchange(address, token, Request::post(path), body).await
}

/// Asks a running program for what it does, as [`ask`] does.
pub async fn look(address: &Endpoint, token: &str, path: &str) -> Result<Value, String> {
    exchange(address, token, Request::get(path), "").await
}

/// Asks a running program whether it is ready for traffic. The error says why not.
pub async fn ready(address: &Endpoint) -> Result<(), String> {
    exchange(address, "", Request::get("/ready"), "").await.map(drop)
}

async fn exchange(address: &Endpoint, token: &str, request: Builder, body: &str) -> Result<Value, String> {
    fn text(error: impl std::fmt::Display) -> String {
        error.to_string()
    }
    let exchange = async {
        let stream =
            Stream::connect(address).await.map_err(|error| format!("nothing answers at {address}: {error}"))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
        let driver = tokio::spawn(connection);
        let request = request
            .header(hyper::header::HOST, "localhost")
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .map_err(text)?;
        let response = sender.send_request(request).await.map_err(text)?;
        let status = response.status();
        let bytes = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(text);
        driver.abort();
        let answer: Value = serde_json::from_slice(&bytes?.to_bytes()).unwrap_or_default();
        if status.is_success() {
            Ok(answer)
        } else {
            let words = answer["error"].as_str().or(answer["reason"].as_str());
            Err(format!("{status}: {}", words.unwrap_or("no reason given")))
        }
    };
    tokio::time::timeout(ASK_TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {ASK_TIMEOUT:?}")))
}

/// Serves until the future is dropped.
pub async fn serve(listener: Listener, source: Arc<dyn AdminSource>) {
    http_server::serve(listener, "admin pages", LIMITS, move |request| {
        let source = Arc::clone(&source);
        async move { route(request, &*source).await }
    })
    .await;
}

async fn route(request: Request<Incoming>, source: &dyn AdminSource) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => {
            source.refresh();
            match TextEncoder::new().encode_to_string(&source.registry().gather()) {
                Ok(text) => respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text),
                Err(error) => respond(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
            }
        }
        (&Method::GET, "/ready") => match source.ready() {
            Ok(()) => match source.warnings() {
                none if none.is_empty() => json_response(StatusCode::OK, &json!({"ready": true})),
                warnings => json_response(StatusCode::OK, &json!({"ready": true, "warnings": warnings})),
            },
            Err(why) => json_response(StatusCode::SERVICE_UNAVAILABLE, &json!({"ready": false, "reason": why})),
        },
        (&Method::GET, "/health") => match source.health() {
            Some(health) => json_response(StatusCode::OK, &health),
            None => json_response(StatusCode::NOT_FOUND, &json!({"error": "Not Found"})),
        },
        (&Method::POST | &Method::GET, path) if path.starts_with("/api/") => api(request, source).await,
        (_, "/metrics" | "/ready") => {
            json_response(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": "Method Not Allowed"}))
        }
        _ => json_response(StatusCode::NOT_FOUND, &json!({"error": "Not Found"})),
    }
}

async fn api(request: Request<Incoming>, source: &dyn AdminSource) -> Response<Full<Bytes>> {
    let refused = |text: &str| json_response(StatusCode::UNAUTHORIZED, &json!({"error": text}));
    let Some(token) = source.token() else {
        return refused("Requests to /api/ are refused: DIFFYNE_ADMIN_TOKEN is not set.");
    };
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let given = given.strip_prefix("Bearer ").unwrap_or_default();
    if !bool::from(token.as_bytes().ct_eq(given.as_bytes())) {
        return refused("The token is missing or wrong.");
    }
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return json_response(StatusCode::PAYLOAD_TOO_LARGE, &json!({"error": "The body is too large."})),
    };
    let answer = match std::str::from_utf8(&body) {
        Ok(body) => {
            let (method, path) = (&parts.method, parts.uri.path());
            source.api(ApiRequest { method, path, query: parts.uri.query().unwrap_or_default(), body }).await
        }
        Err(_) => None,
    };
    let (status, answer) = answer.unwrap_or((StatusCode::NOT_FOUND, json!({"error": "Not Found"})));
    json_response(status, &answer)
}

fn json_response(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    respond(status, "application/json", body.to_string())
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}
