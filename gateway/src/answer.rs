//! What every answered call goes through, however it came: it is counted, and its broadcasts leave.

use std::fmt::Write as _;
use std::time::Instant;

use diffyne_shared::bus::Publication;
use diffyne_shared::rpc::{Outcome, Reply, ResponseEvent};

use crate::reactor::Reactor;
use crate::relay::Answer;

/// What is known of an answered call.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The client that has the answer already; empty: nobody in particular.
    pub client: &'a str,
    /// Depth of the push that the call reacts to.
    pub cause_depth: Option<u32>,
    /// When it arrived.
    pub started: Instant,
}

/// The ids of an answer's broadcasts, by place among its events.
pub type EventIds = Vec<(u32, String)>;

/// Counts a call that has ended, and publishes what may leave.
pub fn settle(reactor: &Reactor, asked: &Asked<'_>, answer: &Answer<'_>) -> EventIds {
    reactor.metrics.in_flight(-1);
    reactor.metrics.call_duration.observe(asked.started.elapsed().as_secs_f64());
    match answer {
        Answer::Reply(reply) => {
            reactor.metrics.call(reply.component, reply.outcome.label());
            broadcast(reactor, asked, reply)
        }
        Answer::Failed(failure, _) => {
            reactor.metrics.call(None, failure.label());
            EventIds::new()
        }
    }
}

fn broadcast(reactor: &Reactor, asked: &Asked<'_>, reply: &Reply<'_>) -> EventIds {
    let mut ids = EventIds::new();
    if reply.outcome != Outcome::Ok {
        return ids;
    }
    for event in reply.broadcasts.iter().filter(|event| reactor.broadcasts(event.name)) {
        let depth = asked.cause_depth.map_or(0, |depth| depth.saturating_add(1));
        if depth > reactor.settings.broadcast_depth_max {
            reactor.metrics.broadcasts_held.with_label_values(&["depth"]).inc();
            continue;
        }
        if !reactor.quota.may_broadcast(event.name) {
            reactor.metrics.broadcasts_held.with_label_values(&["rate"]).inc();
            continue;
        }
        match publish(reactor, asked.client, event, depth) {
            Some(id) => {
                reactor.metrics.broadcasts_published.inc();
                ids.push((event.index, id));
            }
            None => reactor.metrics.broadcasts_held.with_label_values(&["queue_full"]).inc(),
        }
    }
    ids
}

fn publish(reactor: &Reactor, client: &str, event: &ResponseEvent<'_>, depth: u32) -> Option<String> {
    let params = std::str::from_utf8(event.params).ok()?.to_owned();
    let except = (!client.is_empty()).then(|| client.to_owned());
    reactor.bus.publish(Publication { name: event.name.to_owned(), params, except, depth }).ok()
}

/// A worker's object without its braces; `None` when it is none.
pub fn inner(data: &[u8]) -> Option<&[u8]> {
    match data {
        [b'{', body @ .., b'}'] if std::str::from_utf8(body).is_ok() => Some(body),
        _ => {
            tracing::error!("a worker's answer is no JSON object; the client gets an error");
            None
        }
    }
}

/// What takes the place of an answer that cannot be used.
pub const UNUSABLE: &[u8] = br#""s":false,"error":"The worker's answer cannot be used.","type":"server_error""#;

/// `,"eventIds":[...]`, parallel to the answer's events; nothing when none was broadcast.
pub fn event_ids(event_count: u32, ids: &EventIds) -> String {
    let mut out = String::new();
    if ids.is_empty() {
        return out;
    }
    out.push_str(r#","eventIds":["#);
    for index in 0..event_count {
        if index > 0 {
            out.push(',');
        }
        // Writing into a String cannot fail.
        let _ = match ids.iter().find(|(at, _)| *at == index) {
            Some((_, id)) => write!(out, "\"{id}\""),
            None => write!(out, "null"),
        };
    }
    out.push(']');
    out
}
