//! Responses that several routes share.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

pub(super) const JSON: &str = "application/json";

pub(super) fn not_found() -> Response<Full<Bytes>> {
    respond(StatusCode::NOT_FOUND, JSON, r#"{"error":"Not Found"}"#)
}

pub(super) fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Tells the client to try again in a second.
pub(super) fn retry_later(response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    retry_in(response, 1)
}

/// Tells the client to try again after this time.
pub(super) fn retry_in(mut response: Response<Full<Bytes>>, seconds: u32) -> Response<Full<Bytes>> {
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}
