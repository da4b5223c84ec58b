//! Uploads that get no response of the application, and what their browsers are told instead.

use http_body_util::Either;
use hyper::{Response, StatusCode};

use super::ajax_response::refused;
use super::response::retry_later;
use super::upload_body::HttpBody;
use super::upload_route::UploadRoute;
use crate::shard::state::Shard;

/// A response that refuses an upload.
pub(super) type Refusal = Box<Response<HttpBody>>;

/// Why a request gets no response of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// `DIFFYNE_UPLOAD_URL` is not set.
    Off,
    /// The body is larger than `DIFFYNE_UPLOAD_BYTES`.
    TooLarge,
    /// The gateway has as many uploads as it may.
    Full,
    /// This address has as many uploads as it may.
    Address,
    /// The body has stood still, or has taken too long.
    Late,
    /// The browser has gone.
    Aborted,
    /// Nothing answers at `DIFFYNE_UPLOAD_URL`.
    Unreachable,
    /// The application ended the connection.
    Broken,
    /// The application gives no response in time.
    NoResponse,
}

impl Failure {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::TooLarge => "too_large",
            Self::Full => "full",
            Self::Address => "address",
            Self::Late => "late",
            Self::Aborted => "aborted",
            Self::Unreachable => "unreachable",
            Self::Broken => "broken",
            Self::NoResponse => "no_response",
        }
    }

    /// Returns the status and the text for the browser.
    fn words(self) -> (StatusCode, &'static str) {
        match self {
            Self::Off => (
                StatusCode::NOT_IMPLEMENTED,
                "This gateway takes no file uploads: DIFFYNE_UPLOAD_URL has to name the application's web server.",
            ),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The file is too large."),
            Self::Full => (StatusCode::SERVICE_UNAVAILABLE, "Too many uploads are under way. Try again later."),
            Self::Address => {
                (StatusCode::TOO_MANY_REQUESTS, "Too many uploads of this address are under way. Try again later.")
            }
            Self::Late => (StatusCode::REQUEST_TIMEOUT, "The file did not arrive in time."),
            Self::Aborted => (StatusCode::BAD_REQUEST, "The file did not arrive."),
            Self::Unreachable => {
                (StatusCode::BAD_GATEWAY, "The application cannot be reached. The file was not stored.")
            }
            Self::Broken => {
                (StatusCode::BAD_GATEWAY, "The application broke off. The file may or may not have been stored.")
            }
            Self::NoResponse => (
                StatusCode::GATEWAY_TIMEOUT,
                "The application did not answer in time. The file may or may not have been stored.",
            ),
        }
    }
}

/// Counts an upload or a preview by its result.
pub(super) fn count(shard: &Shard, route: UploadRoute, result: &str) {
    shard.metrics.uploads.with_label_values(&[route.label(), result]).inc();
}

/// Counts a failure and builds the response to it.
pub(super) fn refuse(shard: &Shard, route: UploadRoute, failure: Failure) -> Refusal {
    count(shard, route, failure.label());
    let (status, words) = failure.words();
    let response = refused(status, words);
    let is_short = matches!(failure, Failure::Full | Failure::Address);
    let response = if is_short { retry_later(response) } else { response };
    Box::new(response.map(Either::Left))
}
