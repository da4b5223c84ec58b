//! A call's answer on its way back: broadcasts leave, the response gets its request id, the next call of the
//! component its turn.

use std::rc::Rc;

use bytes::Bytes;
use diffyne_shared::bus::Outgoing;
use diffyne_shared::envelope;
use diffyne_shared::rpc::{EventOut, Outcome, Reply};
use serde::Deserialize;

use super::Connection;
use super::lanes::Pending;
use crate::reactor::Reactor;
use crate::relay::Answer;
use crate::socket::frame;

/// Whose call it was.
#[derive(Debug)]
pub struct Origin {
    /// The connection that called.
    pub connection: Rc<Connection>,
    /// The call.
    pub pending: Pending,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Connection").field(&self.caller.id).finish()
    }
}

/// Handles one answer.
pub fn finish(reactor: &Rc<Reactor>, origin: Origin, answer: Answer<'_>) {
    let Origin { connection, pending } = origin;
    reactor.metrics.in_flight(-1);
    reactor.metrics.call_duration.observe(pending.started.elapsed().as_secs_f64());
    let frame = match answer {
        Answer::Reply(reply) => {
            if reply.outcome == Outcome::UnknownComponent {
                reactor.metrics.unrecognised(reply.outcome.label());
            } else {
                reactor.metrics.recognised(pending.class(), reply.outcome.label());
            }
            let ids = broadcast(reactor, &connection, &pending, &reply);
            response(&pending, &reply, &ids)
        }
        Answer::Failed(failure, text) => {
            reactor.metrics.unrecognised(failure.kind());
            frame::text(&envelope::failure(failure, text, pending.request_id()))
        }
    };
    reactor.hub.push(&connection, frame);
    let next = connection.lanes.borrow_mut().leave(pending.component());
    match next {
        Some((request, pending)) => reactor.submit(&connection, request, pending),
        None => reactor.hub.close_if_drained(&connection),
    }
}

/// Publishes what may leave; the ids by place in the response's events.
fn broadcast(reactor: &Reactor, connection: &Connection, pending: &Pending, reply: &Reply<'_>) -> Vec<(u32, String)> {
    let mut ids = Vec::new();
    if reply.outcome != Outcome::Ok {
        return ids;
    }
    for event in reply.broadcasts.iter().filter(|event| reactor.broadcasts(event.name)) {
        let depth = pending.cause_depth.map_or(0, |depth| depth.saturating_add(1));
        if depth > reactor.settings.broadcast_depth_max {
            reactor.metrics.broadcasts_held.with_label_values(&["depth"]).inc();
            continue;
        }
        match publish(reactor, connection, event, depth) {
            Some(id) => {
                reactor.metrics.broadcasts_published.inc();
                ids.push((event.index, id));
            }
            None => reactor.metrics.broadcasts_held.with_label_values(&["queue_full"]).inc(),
        }
    }
    ids
}

fn publish(reactor: &Reactor, connection: &Connection, event: &EventOut<'_>, depth: u32) -> Option<String> {
    let params = std::str::from_utf8(event.params).ok()?.to_owned();
    let except = Some(connection.caller.id.clone());
    reactor.bus.publish(Outgoing { name: event.name.to_owned(), params, except, depth }).ok()
}

#[derive(Deserialize)]
struct FailureData {
    #[serde(default)]
    error: String,
    #[serde(default, rename = "type")]
    kind: String,
}

/// The frame for the client. A worker's object is taken as it is: only the ids go in before its last brace.
fn response(pending: &Pending, reply: &Reply<'_>, ids: &[(u32, String)]) -> Bytes {
    let Some(request_id) = pending.request_id() else {
        if reply.outcome != Outcome::Ok
            && let Ok(failure) = serde_json::from_slice::<FailureData>(reply.data)
        {
            let (error, kind) = (envelope::json_string(&failure.error), envelope::json_string(&failure.kind));
            let text = format!(r#"{{"event":"diffyne.error","data":{{"error":{error},"type":{kind}}}}}"#);
            return frame::text(&text);
        }
        return assemble(reply, ids, None);
    };
    assemble(reply, ids, Some(request_id))
}

fn assemble(reply: &Reply<'_>, ids: &[(u32, String)], request_id: Option<&str>) -> Bytes {
    let body = match reply.data {
        [b'{', body @ .., b'}'] if std::str::from_utf8(body).is_ok() => body,
        _ => {
            tracing::error!("a worker's answer is no JSON object; the client gets an error");
            br#""s":false,"error":"The worker's answer cannot be used.","type":"server_error""#
        }
    };
    let mut extra = String::new();
    if !ids.is_empty() {
        extra.push_str(r#","eventIds":["#);
        for index in 0..reply.event_count {
            if index > 0 {
                extra.push(',');
            }
            match ids.iter().find(|(at, _)| *at == index) {
                Some((_, id)) => {
                    extra.push('"');
                    extra.push_str(id);
                    extra.push('"');
                }
                None => extra.push_str("null"),
            }
        }
        extra.push(']');
    }
    let (key, id) = request_id.map_or(("", ""), |id| (r#","requestId":"#, id));
    frame::text_from_parts(&[
        br#"{"event":"diffyne.response","data":{"#,
        body,
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
    use diffyne_shared::rpc::SessionFate;

    fn reply(data: &[u8], event_count: u32) -> Reply<'_> {
        Reply {
            id: 1,
            outcome: Outcome::Ok,
            status: 200,
            data,
            event_count,
            broadcasts: Vec::new(),
            set_cookie: Vec::new(),
            session: SessionFate::Same,
            listeners: None,
            load: 0,
        }
    }

    fn text(frame: &Bytes) -> &str {
        let start = frame.iter().position(|byte| *byte == b'{').unwrap();
        std::str::from_utf8(&frame[start..]).unwrap()
    }

    #[test]
    fn ids_go_in_before_the_last_brace() {
        let frame = assemble(&reply(br#"{"s":true}"#, 3), &[(1, "g-7".to_owned())], Some(r#"{"x":[]}"#));
        assert_eq!(
            text(&frame),
            r#"{"event":"diffyne.response","data":{"s":true,"eventIds":[null,"g-7",null],"requestId":{"x":[]}}}"#
        );
    }

    #[test]
    fn a_workers_nonsense_does_not_reach_the_client() {
        for data in [&b""[..], b"[]", b"{", b"{\xff}"] {
            let frame = assemble(&reply(data, 0), &[], Some("1"));
            assert!(text(&frame).contains("cannot be used") && text(&frame).ends_with(r#""requestId":1}}"#));
        }
    }
}
