//! A component call by AJAX: read, relayed like a call by WebSocket, and answered by an HTTP response.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use diffyne_shared::envelope::DataHead;
use diffyne_shared::rpc::{CallKind, Outcome, Reply, Transport};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::ajax_response::{failed, refused, to_http};
use crate::protocol;
use crate::relay::{CallRequest, Caller, ComponentKey, RelayResult};
use crate::shard::call::{AjaxResponse, CallOrigin, PendingRequest};
use crate::shard::completion::{self, CallContext};
use crate::shard::state::Shard;

type Refusal = Box<Response<Full<Bytes>>>;

/// The field that distinguishes a call from a property update.
#[derive(Deserialize, Default)]
struct TypeField<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a str>,
}

/// Cancels a call when its request is dropped before the result is available.
struct CancelOnDrop<'a> {
    shard: &'a Shard,
    number: u64,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        let is_own = |origin: &CallOrigin| matches!(origin, CallOrigin::Ajax(pending) if pending.number == self.number);
        let unsent = self.shard.relay.cancel(is_own);
        self.shard.metrics.in_flight(-(unsent as i64));
    }
}

/// Serves one call. `is_lazy` is set if the path says that a lazy component is mounted.
pub(super) async fn serve(shard: &Rc<Shard>, is_lazy: bool, caller: Caller, body: Incoming) -> Response<Full<Bytes>> {
    let body = match read_body(shard, body).await {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let Ok(text) = std::str::from_utf8(&body) else { return *invalid() };
    let head = DataHead::read(text);
    let kind = match check(text, &head, is_lazy) {
        Ok(kind) => kind,
        Err(refusal) => return *refusal,
    };
    let (request, pending, response) = pending_call(shard, caller, kind, head, text);
    shard.metrics.in_flight(1);
    shard.metrics.requests.with_label_values(&["accepted"]).inc();
    let cancel = CancelOnDrop { shard, number: pending.number };
    shard.relay.submit(request, CallOrigin::Ajax(pending));
    let response = response.await;
    drop(cancel);
    // The relay ends every call, unless the thread ends first.
    response.map_or_else(|_| refused(StatusCode::SERVICE_UNAVAILABLE, "The server stops."), to_http)
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
) -> (CallRequest, PendingRequest, oneshot::Receiver<AjaxResponse>) {
    let started = Instant::now();
    let (response, receiver) = oneshot::channel();
    let caller = Rc::new(caller);
    let pending = PendingRequest {
        number: shard.next_request_number(),
        response,
        caller: Rc::clone(&caller),
        cause_depth: head.cause.as_ref().map(|cause| cause.depth),
        scripts: shard.page_scripts(&head),
        started,
    };
    let request = CallRequest {
        caller,
        transport: Transport::Ajax,
        kind,
        component: ComponentKey::of(&head),
        cause: head.cause,
        takes_pushes: false,
        payload: text.into(),
        arrived: started,
        deadline: started + shard.settings.call_timeout,
    };
    (request, pending, receiver)
}

/// Hands the result of a call to its request.
pub fn complete(shard: &Shard, pending: PendingRequest, result: &RelayResult<'_>) {
    let context =
        CallContext { client: pending.caller.id(), cause_depth: pending.cause_depth, started: pending.started };
    let ids = completion::complete(shard, &context, result);
    let response = match result {
        RelayResult::Reply(reply, _) => {
            let extra = protocol::event_ids_field(reply.event_count, &ids)
                + &shard.release_field(pending.scripts, reply.release);
            worker_response(reply, &extra)
        }
        RelayResult::Failed(failure, text) => failed(*failure, text),
    };
    // The browser may be gone; then the response is dropped.
    let _ = pending.response.send(response);
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
