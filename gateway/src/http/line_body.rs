//! The body of a response whose call still runs: a line with each part of the answer, and at last one with the answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Either;
use hyper::body::{Body, Frame};
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

use super::call_guard::CancelOnDrop;
use super::request_slot::RequestSlot;
use super::upload_body::{BodyError, HttpBody};
use crate::shard::response_lines::ReceivedLines;

/// The media type of such a response, which a page asks for in `Accept`.
pub(super) const JSON_LINES: &str = "application/x-ndjson";

/// The lines of one call. When the browser leaves, the call is cancelled.
struct LineBody {
    lines: ReceivedLines,
    _call: CancelOnDrop,
    _slot: Arc<RequestSlot>,
}

impl Body for LineBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.lines.poll_next(cx).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

/// Builds the response to a call that has sent a part of its answer.
pub(super) fn response(lines: ReceivedLines, call: CancelOnDrop, slot: Arc<RequestSlot>) -> Response<HttpBody> {
    let body = LineBody { lines, _call: call, _slot: slot };
    let mut response = Response::new(Either::Right(Box::pin(body) as _));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON_LINES));
    // Proxies such as nginx would otherwise collect the parts.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
