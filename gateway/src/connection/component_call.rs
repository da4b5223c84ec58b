//! Handles the messages `diffyne.call`, `diffyne.update` and `diffyne.mount`: checks them, counts them, and hands them
//! to the relay.

use std::rc::Rc;
use std::time::{Duration, Instant};

use diffyne_shared::envelope::{self, DataHead, FailureKind, TextField};
use diffyne_shared::rpc::{CallKind, PARTS_AHEAD_BYTES_MAX, Transport};

use super::Connection;
use super::account::HeldKind;
use super::component_queues::{CALL_BYTES, PendingCall, PushResult, Span};
use crate::protocol;
use crate::relay::{CallRequest, ComponentKey, PartCount};
use crate::shard::state::Shard;
use crate::traces::CallTrace;

/// Calls of a connection that may send parts of their answers, at most. Further ones are answered as a whole.
const STREAMS_OF_CONNECTION_MAX: usize = 16;

/// How many calls of a connection may send parts. Each may be ahead by what the worker may send and a part more, of the same
/// size: all of them take half of the outbox.
fn streams_max(outbox_bytes_max: usize) -> usize {
    STREAMS_OF_CONNECTION_MAX.min(outbox_bytes_max / (4 * PARTS_AHEAD_BYTES_MAX as usize))
}

/// Receives one call. A client whose call is refused is told why.
pub(super) fn receive(
    shard: &Rc<Shard>,
    connection: &Rc<Connection>,
    kind: CallKind,
    data: &str,
    head: DataHead<'_>,
    started: Instant,
) {
    let component = match check_fields(kind, &head) {
        Ok(component) => component,
        Err(message) => {
            shard.metrics.call(None, FailureKind::Invalid.label());
            return shard.hub.send(connection, &message);
        }
    };
    if let Err((failure, text)) = check_limits(shard, connection, data, started) {
        shard.metrics.call(None, failure.label());
        return shard.hub.send(connection, &protocol::failure(failure, text, head.request_id()));
    }
    let whole: Rc<str> = data.into();
    let trace = CallTrace::begin(&shard.tracer, connection.caller.headers());
    let pending = PendingCall {
        component: Span::of(data, component),
        background: head.background,
        request_id: head.request_id().map(|id| Span::of(data, id)),
        data: Rc::clone(&whole),
        kind,
        cause_depth: head.cause.as_ref().map(|cause| cause.depth),
        scripts: shard.page_scripts(&head),
        parts: PartCount::default(),
        user_changes: connection.user.changes(),
        trace,
        started,
    };
    let running = connection.component_queues.borrow().len();
    let request = CallRequest {
        caller: Rc::clone(&connection.caller),
        transport: Transport::Ws,
        kind,
        component: ComponentKey::of(&head),
        cause: head.cause,
        wants_user: connection.user.ask(),
        takes_pushes: shard.hub.open_calls.has_room(connection),
        stream_max: if running < streams_max(shard.settings.outbox_bytes_max) {
            shard.settings.stream_timeout
        } else {
            Duration::ZERO
        },
        trace: CallTrace::relayed(pending.trace.as_deref(), &shard.tracer, connection.caller.headers()),
        payload: whole,
        arrived: started,
        deadline: started + shard.settings.call_timeout,
    };
    shard.metrics.in_flight(1);
    connection.account.hold(HeldKind::Calls, pending.held_bytes());
    let pushed = connection.component_queues.borrow_mut().push(request, pending);
    if let PushResult::Ready(request, pending) = pushed {
        shard.submit(connection, request, pending);
    }
}

/// Returns the component's id as JSON, or the error message that refuses the call.
fn check_fields<'a>(kind: CallKind, head: &DataHead<'a>) -> Result<&'a str, String> {
    let member = match kind {
        CallKind::Call => ("method", &head.method),
        CallKind::Update => ("property", &head.property),
        // These need no further field.
        CallKind::Mount | CallKind::Grant | CallKind::Lifecycle => ("componentId", &head.component_id),
    };
    let fields = [("componentId", &head.component_id), ("componentClass", &head.component_class), member];
    let request_id = head.request_id();
    let invalid = |text: &str| Err(protocol::failure(FailureKind::Invalid, text, request_id));
    if let Err(text) = head.check_lengths() {
        return invalid(&text);
    }
    // As PHP sees it, an empty class or method is a missing one.
    if fields.iter().any(|(_, field)| **field == TextField::Missing || field.text() == Some("")) {
        return invalid(envelope::MISSING_PARAMETERS);
    }
    if let Some((name, _)) = fields.iter().find(|(_, field)| **field == TextField::WrongType) {
        return match request_id {
            Some(_) => invalid(&format!("{name} must be a string")),
            None => Err(protocol::error(envelope::INTERNAL_ERROR)),
        };
    }
    head.component_id.json().ok_or_else(|| protocol::error(envelope::INTERNAL_ERROR))
}

/// Returns the limit of the connection that a call exceeds, if any.
fn check_limits(
    shard: &Shard,
    connection: &Connection,
    data: &str,
    now: Instant,
) -> Result<(), (FailureKind, &'static str)> {
    let limited = |what: &str| shard.metrics.limited.with_label_values(&[what]).inc();
    if connection.component_queues.borrow().len() >= shard.settings.calls_per_connection_max {
        let text = "Too many calls of this connection are waiting. The call was not run.";
        return Err((FailureKind::Overloaded, text));
    }
    if !connection.has_room_for(data.len() + CALL_BYTES) {
        limited("held");
        let text = "Too much is held for this connection already. The call was not run.";
        return Err((FailureKind::Overloaded, text));
    }
    if !connection.account.may_call(&shard.rates, now) {
        limited("calls");
        return Err((FailureKind::RateLimited, "Too many calls in a short time. The call was not run."));
    }
    Ok(())
}
