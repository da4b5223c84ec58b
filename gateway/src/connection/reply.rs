//! A call's answer on its way back: broadcasts leave, the response gets its request id, the next call of the
//! component its turn.

use std::rc::Rc;

use bytes::Bytes;
use diffyne_shared::envelope::{self, FailureKind};
use diffyne_shared::rpc::{CallKind, Outcome, Reply, SessionChange};
use serde::Deserialize;

use super::account::Held;
use super::lanes::Pending;
use super::{Connection, session};
use crate::answer::{self, Asked};
use crate::hub::Comeback;
use crate::reactor::Reactor;
use crate::relay::Answer;
use crate::socket::frame;

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Connection").field(&self.caller.id).finish()
    }
}

/// Handles one answer.
pub fn finish(reactor: &Rc<Reactor>, connection: &Rc<Connection>, pending: &Pending, answer: &Answer<'_>) {
    let asked = Asked { client: &connection.caller.id, cause_depth: pending.cause_depth, started: pending.started };
    let ids = answer::settle(reactor, &asked, answer);
    if let Answer::Reply(reply) = answer {
        connection.caller.jar.keep(&reply.set_cookie);
        connection.account.set(Held::Cookies, connection.caller.jar.with(<[u8]>::len));
    }
    session::release(connection, pending);
    let frame = match answer {
        Answer::Reply(reply) => {
            response(pending, reply, &(answer::event_ids(reply.event_count, &ids) + &handover(reactor, reply)))
        }
        Answer::Failed(failure, text) if pending.kind == CallKind::Mount => {
            failed_with_error(failure.label(), text, pending.request_id())
        }
        Answer::Failed(failure, text) => frame::text(&envelope::failure(*failure, text, pending.request_id())),
    };
    let frame = if frame.len() > reactor.settings.outbox_bytes_max { too_large(pending) } else { frame };
    reactor.hub.push(connection, frame);
    if let Answer::Reply(reply) = answer
        && reply.session == SessionChange::Gone
    {
        // It ended elsewhere, in another tab perhaps: the browser's cookies know more than this connection.
        reactor.hub.say_goodbye(connection, "the session has ended", Comeback::AfterMs(0));
        connection.drain();
    }
    let next = connection.lanes.borrow_mut().leave(pending.component());
    match next {
        Some((request, pending)) => reactor.submit(connection, request, pending),
        None => reactor.hub.close_if_drained(connection),
    }
}

#[derive(Deserialize)]
struct FailureData {
    #[serde(default)]
    error: String,
    #[serde(default, rename = "type")]
    kind: String,
}

/// A login or logout over the socket: where the page fetches the cookies for the browser.
fn handover(reactor: &Reactor, reply: &Reply<'_>) -> String {
    if reply.session != SessionChange::Changed {
        return String::new();
    }
    let token = reactor.handover.seal(&reply.set_cookie);
    token.map_or_else(String::new, |token| {
        format!(r#","session":{{"url":"{}/session","token":"{token}"}}"#, reactor.settings.route_prefix)
    })
}

/// The frame for the client. A worker's object is taken as it is: only the ids go in before its last brace.
fn response(pending: &Pending, reply: &Reply<'_>, extra: &str) -> Bytes {
    // A call whose requestId cannot be told, and a failed mount, are answered by an error message.
    if (pending.request_id().is_none() || pending.kind == CallKind::Mount)
        && reply.outcome != Outcome::Ok
        && let Ok(failure) = serde_json::from_slice::<FailureData>(reply.data)
    {
        return failed_with_error(&failure.kind, &failure.error, pending.request_id());
    }
    assemble(reply, extra, pending.request_id())
}

/// An answer that no connection may be sent is a failure of its own call, not the end of the connection.
fn too_large(pending: &Pending) -> Bytes {
    tracing::error!("an answer is larger than DIFFYNE_OUTBOX_BYTES");
    let text = "The answer is larger than one connection may be sent. The call was run.";
    match pending.kind {
        CallKind::Mount => failed_with_error(FailureKind::AnswerTooLarge.label(), text, pending.request_id()),
        _ => frame::text(&envelope::failure(FailureKind::AnswerTooLarge, text, pending.request_id())),
    }
}

fn failed_with_error(kind: &str, error: &str, request_id: Option<&str>) -> Bytes {
    frame::text(&envelope::diffyne_error(kind, error, request_id))
}

fn assemble(reply: &Reply<'_>, extra: &str, request_id: Option<&str>) -> Bytes {
    let (key, id) = request_id.map_or(("", ""), |id| (r#","requestId":"#, id));
    frame::text_from_parts(&[
        br#"{"event":"diffyne.response","data":{"#,
        answer::inner(reply.data).unwrap_or(answer::UNUSABLE),
        extra.as_bytes(),
        key.as_bytes(),
        id.as_bytes(),
        b"}}",
    ])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn reply(data: &[u8], event_count: u32) -> Reply<'_> {
        Reply { event_count, ..Reply::new(1, Outcome::Ok, 200, data) }
    }

    fn text(frame: &Bytes) -> &str {
        let start = frame.iter().position(|byte| *byte == b'{').unwrap();
        std::str::from_utf8(&frame[start..]).unwrap()
    }

    #[test]
    fn ids_go_in_before_the_last_brace() {
        let frame = assemble(
            &reply(br#"{"s":true}"#, 3),
            &answer::event_ids(3, &vec![(1, "g-7".to_owned())]),
            Some(r#"{"x":[]}"#),
        );
        assert_eq!(
            text(&frame),
            r#"{"event":"diffyne.response","data":{"s":true,"eventIds":[null,"g-7",null],"requestId":{"x":[]}}}"#
        );
    }

    #[test]
    fn a_workers_nonsense_does_not_reach_the_client() {
        for data in [&b""[..], b"[]", b"{", b"{\xff}"] {
            let frame = assemble(&reply(data, 0), "", Some("1"));
            assert!(text(&frame).contains("cannot be used") && text(&frame).ends_with(r#""requestId":1}}"#));
        }
    }
}
