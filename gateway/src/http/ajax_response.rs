//! Responses to AJAX calls.

use bytes::Bytes;
use diffyne_shared::envelope::{FailureKind, json_string};
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::response::{JSON, respond};
use crate::shard::call::AjaxResponse;

/// Builds the response to a call that the gateway itself fails.
pub(super) fn failed(failure: FailureKind, text: &str) -> AjaxResponse {
    let status = match failure {
        FailureKind::Invalid | FailureKind::Subscribe | FailureKind::GrantExpired => StatusCode::BAD_REQUEST,
        FailureKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        FailureKind::Overloaded | FailureKind::NoWorker => StatusCode::SERVICE_UNAVAILABLE,
        FailureKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        FailureKind::WorkerLost | FailureKind::AnswerTooLarge => StatusCode::BAD_GATEWAY,
        FailureKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
    };
    let body = format!(r#"{{"s":false,"error":{},"type":"{}"}}"#, json_string(text), failure.label());
    AjaxResponse { status, body: body.into(), set_cookie: Vec::new() }
}

/// Builds a refusal in the format of the package's own endpoint.
pub(super) fn refused(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    respond(status, JSON, json!({"success": false, "error": text}).to_string())
}

/// Converts a call's response to HTTP, with its cookies.
pub(super) fn to_http(response: AjaxResponse) -> Response<Full<Bytes>> {
    let mut http = respond(response.status, JSON, response.body);
    let headers = http.headers_mut();
    for cookie in response.set_cookie {
        if let Ok(value) = HeaderValue::from_str(&cookie) {
            headers.append(header::SET_COOKIE, value);
        } else {
            tracing::warn!("a worker's Set-Cookie cannot be sent");
        }
    }
    if response.status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    http
}
