//! A component call by AJAX: read, relayed like a call by WebSocket, and answered by an HTTP response.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use diffyne_shared::envelope::DataHead;
use diffyne_shared::rpc::{CallKind, Outcome, Reply, Transport};
use http_body_util::{BodyExt as _, Either, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::ajax_response::{failed, refused, to_http};
use super::call_guard::CancelOnDrop;
use super::line_body;
use super::request_slot::RequestSlot;
use super::upload_body::HttpBody;
use crate::protocol;
use crate::relay::{CallRequest, Caller, ComponentKey, PartCount, RelayResult};
use crate::shard::call::{AjaxAnswer, AjaxResponse, CallOrigin, PendingRequest};
use crate::shard::completion::{self, CallContext};
use crate::shard::state::Shard;
use crate::traces::CallTrace;

type Refusal = Box<Response<Full<Bytes>>>;

/// The field that distinguishes a call from a property update.
#[derive(Deserialize, Default)]
struct TypeField<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a str>,
}

/// The way in which a call has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallWay {
    /// The path says that a lazy component is mounted.
    pub(super) is_lazy: bool,
    /// The page's script takes parts of the answer while the call runs.
    pub(super) takes_parts: bool,
}

/// Serves one call.
pub(super) async fn serve(
    shard: &Rc<Shard>,
    way: CallWay,
    caller: Caller,
    body: Incoming,
    slot: &Arc<RequestSlot>,
) -> Response<HttpBody> {
    run(shard, way, caller, body, slot).await.unwrap_or_else(|refusal| refusal.map(Either::Left))
}

async fn run(
    shard: &Rc<Shard>,
    way: CallWay,
    caller: Caller,
    body: Incoming,
    slot: &Arc<RequestSlot>,
) -> Result<Response<HttpBody>, Refusal> {
    let body = read_body(shard, body).await?;
    let text = std::str::from_utf8(&body).map_err(|_error| invalid())?;
    let head = DataHead::read(text);
    let kind = check(text, &head, way.is_lazy)?;
    let (mut request, pending, response) = pending_call(shard, caller, kind, head, text);
    if way.takes_parts {
        request.stream_max = shard.settings.stream_timeout;
    }
    shard.metrics.in_flight(1);
    shard.metrics.requests.with_label_values(&["accepted"]).inc();
    let cancel = CancelOnDrop::new(shard, pending.number);
    shard.relay.submit(request, CallOrigin::Ajax(pending));
    // The relay ends every call, unless the thread ends first.
    Ok(match response.await {
        Ok(AjaxAnswer::Whole(response)) => to_http(response).map(Either::Left),
        Ok(AjaxAnswer::Lines(lines)) => line_body::response(lines, cancel, Arc::clone(slot)),
        Err(_ended) => return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "The server stops.")),
    })
}

fn refuse(status: StatusCode, text: &str) -> Refusal {
    Box::new(refused(status, text))
}

fn invalid() -> Refusal {
    refuse(StatusCode::BAD_REQUEST, "Invalid request")
}

async fn read_body(shard: &Shard, body: Incoming) -> Result<Bytes, Refusal> {
    let body = Limited::new(body, shard.settings.request_bytes_max).collect();
    match tokio::time::timeout(shard.settings.header_timeout, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            shard.metrics.requests.with_label_values(&["too_large"]).inc();
            Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large."))
        }
        Ok(Err(_broken)) => Err(invalid()),
        Err(_elapsed) => Err(refuse(StatusCode::REQUEST_TIMEOUT, "The request did not arrive in time.")),
    }
}

/// Returns the kind of a call.
fn check(text: &str, head: &DataHead<'_>, is_lazy: bool) -> Result<CallKind, Refusal> {
    head.check_lengths().map_err(|text| refuse(StatusCode::BAD_REQUEST, &text))?;
    let field: TypeField<'_> = serde_json::from_str(text).unwrap_or_default();
    let kind = match (is_lazy, field.kind) {
        (true, _) => CallKind::Mount,
        (false, Some("call")) => CallKind::Call,
        (false, Some("update")) => CallKind::Update,
        _ if head.component_id.text().is_none_or(str::is_empty) => return Err(invalid()),
        _ => return Err(refuse(StatusCode::BAD_REQUEST, "Invalid request type")),
    };
    // The endpoint of the package has these words.
    match kind {
        _ if head.component_class.text().is_some_and(|class| !class.is_empty()) => Ok(kind),
        CallKind::Mount => Err(refuse(StatusCode::BAD_REQUEST, "Invalid component class")),
        _ if head.component_id.text().is_none_or(str::is_empty) => Err(invalid()),
        _ => Err(refuse(StatusCode::NOT_FOUND, "Component class not found")),
    }
}

fn pending_call(
    shard: &Shard,
    caller: Caller,
    kind: CallKind,
    head: DataHead<'_>,
    text: &str,
) -> (CallRequest, PendingRequest, oneshot::Receiver<AjaxAnswer>) {
    let started = Instant::now();
    let (response, receiver) = oneshot::channel();
    let caller = Rc::new(caller);
    let trace = CallTrace::begin(&shard.tracer, caller.headers());
    let relay_span = CallTrace::relayed(trace.as_deref(), &shard.tracer, caller.headers());
    let pending = PendingRequest {
        number: shard.next_request_number(),
        response: RefCell::new(Some(response)),
        lines: RefCell::default(),
        parts: PartCount::default(),
        component: head.component_id.json().unwrap_or("null").into(),
        caller: Rc::clone(&caller),
        cause_depth: head.cause.as_ref().map(|cause| cause.depth),
        scripts: shard.page_scripts(&head),
        trace,
        started,
    };
    let request = CallRequest {
        caller,
        transport: Transport::Ajax,
        kind,
        component: ComponentKey::of(&head),
        cause: head.cause,
        takes_pushes: false,
        wants_user: false,
        stream_max: Duration::ZERO,
        trace: relay_span,
        payload: text.into(),
        arrived: started,
        deadline: started + shard.settings.call_timeout,
    };
    (request, pending, receiver)
}

/// Hands the result of a call to its request.
pub fn complete(shard: &Shard, pending: &PendingRequest, result: &RelayResult<'_>) {
    let context = CallContext {
        client: pending.caller.id(),
        cause_depth: pending.cause_depth,
        trace: pending.trace.as_deref(),
        started: pending.started,
    };
    let ids = completion::complete(shard, &context, result);
    let response = match result {
        RelayResult::Reply(reply, _) => {
            let extra = protocol::event_ids_field(reply.event_count, &ids)
                + &shard.release_field(pending.scripts, reply.release);
            worker_response(reply, &extra)
        }
        RelayResult::Failed(failure, text) => failed(*failure, text),
    };
    if let Some(sender) = pending.response.take() {
        // The browser may be gone; then the response is dropped.
        let _ = sender.send(AjaxAnswer::Whole(response));
    } else {
        pending.send_line(last_line(shard, &response));
    }
}

/// Builds the last line of a response that has begun with parts. Its cookies come too late for its headers, so the page
/// fetches them, as over the WebSocket.
fn last_line(shard: &Shard, response: &AjaxResponse) -> String {
    let token = if response.set_cookie.is_empty() { None } else { shard.sealed_cookies.seal(&response.set_cookie) };
    match (token, response.body.strip_suffix(b"}")) {
        (Some(token), Some(body)) => {
            let session = protocol::session_field(&shard.settings.route_prefix, &token);
            protocol::response_line(&[body, session.as_bytes(), b"}"].concat())
        }
        _ => protocol::response_line(&response.body),
    }
}

fn worker_response(reply: &Reply<'_>, extra: &str) -> AjaxResponse {
    let by_outcome = if reply.outcome == Outcome::Ok { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    let status = StatusCode::from_u16(reply.status).unwrap_or(by_outcome);
    let (body, status) = match protocol::without_braces(reply.data) {
        Some(body) => (body, status),
        None => (protocol::UNUSABLE, StatusCode::BAD_GATEWAY),
    };
    AjaxResponse {
        status,
        body: [b"{", body, extra.as_bytes(), b"}"].concat().into(),
        set_cookie: reply.set_cookie.clone(),
    }
}
