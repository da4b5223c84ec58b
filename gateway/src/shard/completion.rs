//! Completes every call, by WebSocket or AJAX: counts the result, and publishes its broadcasts.

use std::time::Instant;

use diffyne_shared::bus::{Publication, is_event_name, is_user_id};
use diffyne_shared::rpc::{Outcome, Reply};

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
        let Some(depth) = allowed_depth(shard, context, event.name) else { continue };
        let except = (!context.client.is_empty()).then(|| context.client.to_owned());
        let published =
            publish(shard, context, event.name, event.params, |event| Publication { except, depth, ..event });
        if let Some(id) = published {
            ids.push((event.index, id));
        }
    }
    publish_to_users(shard, context, reply);
    ids
}

/// Publishes events that are for one user each. The caller gets those for its own user in the same way as that user's other
/// clients.
fn publish_to_users(shard: &Shard, context: &CallContext<'_>, reply: &Reply<'_>) {
    for event in reply.user_events.iter().filter(|event| is_event_name(event.name) && is_user_id(event.user)) {
        let Some(depth) = allowed_depth(shard, context, event.name) else { continue };
        let user = Some(event.user.to_owned());
        if publish(shard, context, event.name, event.params, |event| Publication { user, depth, ..event }).is_some() {
            shard.metrics.user_events.inc();
        }
    }
}

/// Returns the depth of an event that the call causes, or `None` if the event is held back.
fn allowed_depth(shard: &Shard, context: &CallContext<'_>, name: &str) -> Option<u32> {
    let depth = context.cause_depth.map_or(0, |depth| depth.saturating_add(1));
    if depth > shard.settings.broadcast_depth_max {
        shard.metrics.broadcasts_held.with_label_values(&["depth"]).inc();
        return None;
    }
    if !shard.quota.may_broadcast(name) {
        shard.metrics.broadcasts_held.with_label_values(&["rate"]).inc();
        return None;
    }
    Some(depth)
}

fn publish(
    shard: &Shard,
    context: &CallContext<'_>,
    name: &str,
    params: &[u8],
    complete: impl FnOnce(Publication) -> Publication,
) -> Option<String> {
    let params = std::str::from_utf8(params).ok()?.to_owned();
    let trace = context.trace.map(CallTrace::event);
    let event = Publication { name: name.to_owned(), params, except: None, depth: 0, user: None, trace };
    let id = shard.bus.publish(complete(event)).ok();
    if let Some((call, event)) = context.trace.zip(trace) {
        call.published(&shard.tracer, event, name, id.is_some());
    }
    match &id {
        Some(_) => shard.metrics.broadcasts_published.inc(),
        None => shard.metrics.broadcasts_held.with_label_values(&["queue_full"]).inc(),
    }
    id
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
