//! Completes every call, by WebSocket or AJAX: counts the result, and publishes its broadcasts.

use std::time::Instant;

use diffyne_shared::bus::Publication;
use diffyne_shared::rpc::{Outcome, Reply, ResponseEvent};

use super::state::Shard;
use crate::call_log::{self, EndedCall};
use crate::relay::RelayResult;
use crate::traces::{CallTrace, TracedEnd};

/// The context of a call that has ended.
#[derive(Debug, Clone, Copy)]
pub struct CallContext<'a> {
    /// The id of the client that gets the response, and therefore not its broadcasts; empty if there is none.
    pub client: &'a str,
    /// The depth of the push that the call reacts to.
    pub cause_depth: Option<u32>,
    /// Its spans, if they are recorded.
    pub trace: Option<&'a CallTrace>,
    /// The time of the call's arrival.
    pub started: Instant,
}

/// The ids of a reply's broadcasts, by their index among its events.
pub type EventIds = Vec<(u32, String)>;

/// Counts a call that has ended, and publishes the events that may leave.
pub fn complete(shard: &Shard, context: &CallContext<'_>, result: &RelayResult<'_>) -> EventIds {
    shard.metrics.in_flight(-1);
    let took = context.started.elapsed();
    match result {
        RelayResult::Reply(reply, with_worker) => {
            let call = EndedCall { took, with_worker: *with_worker, reply };
            shard.metrics.call(reply.component, reply.outcome.label());
            shard.metrics.call_times(reply.component, took, call.waited());
            shard.call_log.ended(&call);
            if let Some(trace) = context.trace {
                let end = TracedEnd {
                    started: context.started,
                    with_worker: Some(*with_worker),
                    component: reply.component,
                    outcome: reply.outcome.label(),
                    is_failure: call_log::is_failure(reply.outcome),
                };
                trace.end(&shard.tracer, &end);
            }
            broadcast(shard, context, reply)
        }
        RelayResult::Failed(failure, _) => {
            shard.metrics.call(None, failure.label());
            shard.metrics.call_times(None, took, took);
            shard.call_log.failed(*failure);
            if let Some(trace) = context.trace {
                let (started, outcome) = (context.started, failure.label());
                let end = TracedEnd { started, with_worker: None, component: None, outcome, is_failure: true };
                trace.end(&shard.tracer, &end);
            }
            EventIds::new()
        }
    }
}

fn broadcast(shard: &Shard, context: &CallContext<'_>, reply: &Reply<'_>) -> EventIds {
    let mut ids = EventIds::new();
    if reply.outcome != Outcome::Ok {
        return ids;
    }
    for event in reply.broadcasts.iter().filter(|event| is_broadcast(shard, event.name)) {
        let depth = context.cause_depth.map_or(0, |depth| depth.saturating_add(1));
        if depth > shard.settings.broadcast_depth_max {
            shard.metrics.broadcasts_held.with_label_values(&["depth"]).inc();
            continue;
        }
        if !shard.quota.may_broadcast(event.name) {
            shard.metrics.broadcasts_held.with_label_values(&["rate"]).inc();
            continue;
        }
        match publish(shard, context, event, depth) {
            Some(id) => {
                shard.metrics.broadcasts_published.inc();
                ids.push((event.index, id));
            }
            None => shard.metrics.broadcasts_held.with_label_values(&["queue_full"]).inc(),
        }
    }
    ids
}

fn publish(shard: &Shard, context: &CallContext<'_>, event: &ResponseEvent<'_>, depth: u32) -> Option<String> {
    let params = std::str::from_utf8(event.params).ok()?.to_owned();
    let except = (!context.client.is_empty()).then(|| context.client.to_owned());
    let trace = context.trace.map(|trace| trace.publish(&shard.tracer, event.name));
    shard.bus.publish(Publication { name: event.name.to_owned(), params, except, depth, trace }).ok()
}

/// Whether events of this name are broadcast to the whole cluster.
fn is_broadcast(shard: &Shard, name: &str) -> bool {
    shard.settings.broadcast_events.iter().any(|pattern| matches_pattern(pattern, name))
}

/// Compares a name with a pattern in which `*` stands for any text.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => {
            let Some(name) = name.strip_prefix(start) else { return false };
            (0..=name.len()).filter(|at| name.is_char_boundary(*at)).any(|at| matches_pattern(rest, &name[at..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches_pattern;

    #[test]
    fn a_star_stands_for_any_text() {
        assert!(matches_pattern("message-sent", "message-sent"));
        assert!(!matches_pattern("message-sent", "message-sent-2"));
        assert!(matches_pattern("*", "") && matches_pattern("*", "x"));
        assert!(matches_pattern("chat.*.sent", "chat.7.sent") && !matches_pattern("chat.*.sent", "chat.7.read"));
    }
}
