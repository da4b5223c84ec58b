//! The admin listener of both programs: `GET /metrics` for Prometheus, `GET /ready` for whoever routes traffic.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Registry, TextEncoder};
use tokio::sync::Semaphore;

use crate::listener::Listener;

/// Requests at once; a scraper needs one.
const CONNECTIONS_MAX: usize = 64;
/// A connection lives no longer.
const CONNECTION_LIFE: Duration = Duration::from_mins(1);
/// How long the headers of a request may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// What the listener tells about its program.
pub trait AdminSource: Send + Sync + 'static {
    /// The metrics.
    fn registry(&self) -> &Registry;
    /// Brings gauges up to date before a scrape.
    fn refresh(&self) {}
    /// Ready for traffic, or why not.
    fn ready(&self) -> Result<(), String>;
}

/// Serves until the future is dropped.
pub async fn serve(listener: Listener, source: Arc<dyn AdminSource>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The semaphore is never closed, and an error of the listener ends the admin pages, not the program.
        let (Ok(place), Ok(accepted)) = (Arc::clone(&places).acquire_owned().await, listener.accept().await) else {
            tracing::error!("the admin listener ended");
            return;
        };
        let Ok(stream) = accepted.into_stream() else { continue };
        let source = Arc::clone(&source);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(&request, &*source);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            // A scraper that goes away is no event.
            let _ = tokio::time::timeout(CONNECTION_LIFE, connection).await;
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, source: &dyn AdminSource) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => {
            source.refresh();
            match TextEncoder::new().encode_to_string(&source.registry().gather()) {
                Ok(text) => respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text),
                Err(error) => respond(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
            }
        }
        (&Method::GET, "/ready") => match source.ready() {
            Ok(()) => respond(StatusCode::OK, "application/json", r#"{"ready":true}"#.to_owned()),
            Err(why) => {
                let body = serde_json::json!({"ready": false, "reason": why}).to_string();
                respond(StatusCode::SERVICE_UNAVAILABLE, "application/json", body)
            }
        },
        (_, "/metrics" | "/ready") => {
            respond(StatusCode::METHOD_NOT_ALLOWED, "application/json", r#"{"error":"Method Not Allowed"}"#.to_owned())
        }
        _ => respond(StatusCode::NOT_FOUND, "application/json", r#"{"error":"Not Found"}"#.to_owned()),
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}
