//! Handles the result of a connection's call: sends the response, and starts the component's next call.

use std::rc::Rc;

use bytes::Bytes;
use diffyne_shared::envelope::FailureKind;
use diffyne_shared::rpc::{CallKind, Outcome, Reply, SessionChange};

use super::Connection;
use super::account::HeldKind;
use super::component_queues::PendingCall;
use super::{grant_request, identification};
use crate::protocol::{self, WorkerError};
use crate::relay::RelayResult;
use crate::shard::completion::{self, CallContext};
use crate::shard::departures::ReconnectPolicy;
use crate::shard::state::Shard;
use crate::socket::frame;

/// Handles the result of a call.
pub fn complete(shard: &Rc<Shard>, connection: &Rc<Connection>, pending: &PendingCall, result: &RelayResult<'_>) {
    let context = CallContext {
        client: connection.caller.id(),
        cause_depth: pending.cause_depth,
        trace: pending.trace.as_deref(),
        started: pending.started,
    };
    let ids = completion::complete(shard, &context, result);
    // By the cookies with which the call was made.
    let lost_session = matches!(result, RelayResult::Reply(reply, _) if reply.session == SessionChange::Gone)
        .then(|| shard.grants.session(&connection.caller));
    connection.account.release(HeldKind::Calls, pending.held_bytes());
    let mut user_change = None;
    if let RelayResult::Reply(reply, _) = result {
        connection.caller.cookies.store(&reply.set_cookie);
        connection.account.set(HeldKind::Cookies, connection.caller.cookies.with(<[u8]>::len));
        // Before anything else is sent: what follows is for this user.
        user_change = identification::told(shard, connection, reply, pending.user_changes);
    }
    let frame = match result {
        RelayResult::Reply(reply, _) => {
            if reply.open && connection.takes_messages() {
                shard.hub.open_calls.insert(reply.id, connection, pending.component());
            }
            let extra = protocol::event_ids_field(reply.event_count, &ids)
                + &session_field(shard, reply)
                + &shard.release_field(pending.scripts, reply.release);
            response(pending, reply, &extra)
        }
        RelayResult::Failed(failure, text) => failed(pending, *failure, text),
    };
    let frame = if frame.len() > shard.settings.outbox_bytes_max { too_large(pending) } else { frame };
    shard.hub.push(connection, frame);
    if let Some(change) = user_change {
        grant_request::renew(shard, connection, change);
    }
    if let Some(session) = lost_session {
        // The session ended elsewhere, in another tab for example. The browser's cookies are newer than this
        // connection's.
        shard.ended_sessions.lost(connection.caller.headers(), session);
        shard.hub.send_disconnect(connection, "the session has ended", ReconnectPolicy::AfterMs(0));
        connection.drain();
    }
    let next = connection.component_queues.borrow_mut().complete(pending.queue());
    match next {
        Some((request, pending)) => shard.submit(connection, request, pending),
        None => shard.hub.close_if_drained(connection),
    }
}

/// Returns the field that tells the page where to fetch the cookies of a login or logout over the socket.
fn session_field(shard: &Shard, reply: &Reply<'_>) -> String {
    if reply.session != SessionChange::Changed {
        return String::new();
    }
    let token = shard.sealed_cookies.seal(&reply.set_cookie);
    token.map_or_else(String::new, |token| protocol::session_field(&shard.settings.route_prefix, &token))
}

fn response(pending: &PendingCall, reply: &Reply<'_>, extra: &str) -> Bytes {
    // A failed call without a requestId, and a failed mount, are answered by an error message.
    if (pending.request_id().is_none() || pending.kind == CallKind::Mount)
        && reply.outcome != Outcome::Ok
        && let Ok(worker) = serde_json::from_slice::<WorkerError>(reply.data)
    {
        return frame::text(&protocol::diffyne_error(&worker.kind, &worker.error, pending.request_id()));
    }
    protocol::response(reply.data, extra, pending.request_id())
}

fn failed(pending: &PendingCall, failure: FailureKind, text: &str) -> Bytes {
    let message = match pending.kind {
        CallKind::Mount => protocol::diffyne_error(failure.label(), text, pending.request_id()),
        _ => protocol::failure(failure, text, pending.request_id()),
    };
    frame::text(&message)
}

/// Fails a call whose response exceeds the outbox limit; the connection stays open.
fn too_large(pending: &PendingCall) -> Bytes {
    tracing::error!("an answer is larger than DIFFYNE_OUTBOX_BYTES");
    let text = "The answer is larger than one connection may be sent. The call was run.";
    failed(pending, FailureKind::AnswerTooLarge, text)
}
