//! The listener: who asks for what.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use prometheus::TextEncoder;
use serde_json::json;

use super::history::History;
use super::response::{json_response, respond};
use super::source::AdminSource;
use super::{api, web};
use crate::http_server::{self, ServerLimits};
use crate::listener::Listener;

/// A scraper needs one connection; the others are for applications that publish.
const LIMITS: ServerLimits =
    ServerLimits { connections: 256, header_timeout: Duration::from_secs(5), connection_life: Duration::from_mins(1) };

/// Serves until the future is dropped.
pub async fn serve(listener: Listener, source: Arc<dyn AdminSource>) {
    let history = Arc::new(History::default());
    let (kept, sampled) = (Arc::clone(&history), Arc::clone(&source));
    let serving = http_server::serve(listener, "admin pages", LIMITS, move |request| {
        let (source, history) = (Arc::clone(&source), Arc::clone(&history));
        async move { route(request, &*source, &history).await }
    });
    tokio::select! {
        () = serving => {}
        () = kept.run(sampled.registry(), sampled.series(), || sampled.refresh()) => {}
    }
}

async fn route(request: Request<Incoming>, source: &dyn AdminSource, history: &History) -> Response<Full<Bytes>> {
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
        (&Method::POST | &Method::GET, path) if path.starts_with("/api/") => {
            api::answer(request, source, history).await
        }
        (_, "/metrics" | "/ready") => {
            json_response(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": "Method Not Allowed"}))
        }
        _ => match web::route(request, source, history).await {
            Some(page) => page,
            None => json_response(StatusCode::NOT_FOUND, &json!({"error": "Not Found"})),
        },
    }
}
