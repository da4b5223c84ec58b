//! File uploads and their previews. The gateway relays both to the application as HTTP, as the bytes arrive: only the
//! application knows where files go and who may see them.
//!
//! The application gets the identity that workers get with a call: a page of another site brings no cookies, and what
//! clients say in `X-Forwarded-*` themselves is replaced.

use std::net::IpAddr;
use std::rc::Rc;

use http_body_util::Either;
use hyper::body::{Body as _, Incoming};
use hyper::header;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::Instant;

use super::ajax::{method_not_allowed, preflight};
use super::application_server::{ApplicationServer, ConnectionTask};
use super::response::{not_found, respond};
use super::upload_body::{HttpBody, Progress, RequestBody, ResponseBody};
use super::upload_failure::{Failure, Refusal, count, refuse};
use super::upload_route::{UploadRoute, leaves_its_folder};
use super::upload_slot::UploadSlot;
use super::{cors, upload_headers};
use crate::auth::admission::Identity;
use crate::shard::state::Shard;

/// Serves a request below the prefix.
pub(super) async fn serve(
    shard: &Rc<Shard>,
    route: UploadRoute,
    request: Request<Incoming>,
    peer: Option<IpAddr>,
) -> Response<HttpBody> {
    let (parts, body) = request.into_parts();
    if shard.admission.check_origin(&parts).is_err() {
        count(shard, route, "origin");
        let refused = respond(StatusCode::FORBIDDEN, "text/plain; charset=utf-8", "Origin not allowed");
        return refused.map(Either::Left);
    }
    let identity = shard.admission.identify(&parts, peer);
    let mut response = match &parts.method {
        &Method::OPTIONS => preflight(shard).map(Either::Left),
        method if !route.allows(method) => method_not_allowed().map(Either::Left),
        _ if leaves_its_folder(parts.uri.query().unwrap_or_default()) => not_found().map(Either::Left),
        _ => relay(shard, route, &parts, body, &identity).await.unwrap_or_else(|refused| *refused),
    };
    upload_headers::finish(response.headers_mut(), route, &identity);
    cors::allow(response.headers_mut(), parts.headers.get(header::ORIGIN), identity.guest);
    response
}

/// Relays one request to the application.
async fn relay(
    shard: &Rc<Shard>,
    route: UploadRoute,
    parts: &Parts,
    body: Incoming,
    identity: &Identity,
) -> Result<Response<HttpBody>, Refusal> {
    let refuse = |failure| refuse(shard, route, failure);
    let limits = &shard.settings.upload;
    let server = shard.application_server.as_ref().ok_or_else(|| refuse(Failure::Off))?;
    let slot = UploadSlot::take(shard, route, identity.ip)?;
    if body.size_hint().lower() > limits.bytes_max as u64 {
        return Err(refuse(Failure::TooLarge));
    }
    let deadline = Instant::now() + limits.timeout;
    let body = (route == UploadRoute::Upload).then_some(body);
    let (body, progress) = RequestBody::new(body, limits.bytes_max, shard.metrics.upload_bytes.clone());
    let request = upstream_request(server, parts, identity, body).ok_or_else(|| refuse(Failure::Unreachable))?;
    let (response, connection) = match exchange(shard, server, request, &progress, deadline).await {
        Ok(answered) => answered,
        Err(failure) => return Err(refuse(failure)),
    };
    count(shard, route, "relayed");
    let (mut head, body) = response.into_parts();
    upload_headers::strip(&mut head.headers);
    let request = slot.request();
    let body = ResponseBody::new(body, limits.idle_timeout, deadline, connection, slot);
    let mut response = Response::new(Either::Right(Box::pin(body) as _));
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    // Until the last byte has left.
    response.extensions_mut().insert(request);
    Ok(response)
}

fn upstream_request(
    server: &ApplicationServer,
    parts: &Parts,
    identity: &Identity,
    body: RequestBody,
) -> Option<Request<RequestBody>> {
    let path = parts.uri.path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str);
    let mut request = Request::builder().method(parts.method.clone()).uri(server.path(path)).body(body).ok()?;
    *request.headers_mut() = upload_headers::upstream(&parts.headers, identity);
    Some(request)
}

type Answered = (Response<Incoming>, ConnectionTask);

/// Sends a request and waits for the head of its response.
async fn exchange(
    shard: &Shard,
    server: &ApplicationServer,
    request: Request<RequestBody>,
    progress: &Progress,
    deadline: Instant,
) -> Result<Answered, Failure> {
    let (mut sender, connection) = server.connect().await.map_err(|_logged| Failure::Unreachable)?;
    tokio::select! {
        response = sender.send_request(request) => match response {
            Ok(response) => Ok((response, connection)),
            Err(_) if progress.is_too_large() => Err(Failure::TooLarge),
            Err(_) if progress.is_broken() => Err(Failure::Aborted),
            Err(error) => {
                tracing::debug!(%error, "uploads: the application ended the connection");
                Err(Failure::Broken)
            }
        },
        failure = overdue(shard, progress, deadline) => Err(failure),
    }
}

/// Returns when a request has waited for too long: for its browser, or for the application.
async fn overdue(shard: &Shard, progress: &Progress, deadline: Instant) -> Failure {
    let sent_without_response = async {
        progress.sent().await;
        tokio::time::sleep(shard.settings.call_timeout).await;
    };
    tokio::select! {
        () = sent_without_response => Failure::NoResponse,
        () = progress.stalled(shard.settings.upload.idle_timeout) => waiting_for(progress),
        () = tokio::time::sleep_until(deadline) => waiting_for(progress),
    }
}

/// Returns whose fault it is that a body does not move.
fn waiting_for(progress: &Progress) -> Failure {
    if !progress.is_sent() && progress.waits_for_client() { Failure::Late } else { Failure::NoResponse }
}
