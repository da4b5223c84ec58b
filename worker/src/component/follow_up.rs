//! What follows the answer of a call: its async values, each as a change of the component that the page applies.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use diffyne_shared::signing::fingerprint;
use futures_util::FutureExt as _;
use futures_util::stream::StreamExt as _;
use serde_json::json;

use super::async_value::{MadeValue, OpenCall};
use super::engine::{Engine, Request};
use super::lifecycle::Action;
use crate::call::message::object;
use crate::call::{CallError, CallResult, FollowUp, Job};
use crate::vdom::Moves;

/// Runs a gateway's call. Values may come after the answer, where the client can be sent more.
pub(crate) async fn run(engine: &Arc<Engine>, job: Job) -> CallResult {
    let until = (job.pushes && job.client.is_websocket()).then_some(job.deadline);
    let parts = job.parts.clone();
    let id = &job.request_id;
    let request = Request { kind: job.kind, client: job.client, id, payload: &job.payload, until, parts: job.parts };
    let mut open = None;
    let (kind, transport) = (job.kind, request.client.transport);
    let result = tokio::select! {
        biased;
        result = engine.run_call(request, &mut open) => result,
        () = parts.left_midway() => return CallResult::refused(&CallError::ClientLeft, kind, transport),
    };
    CallResult { follow_up: open.map(|open| follow_up(open, Arc::clone(engine), job.request_id)), ..result }
}

/// A message for the page with each value, as it comes.
fn follow_up(mut call: OpenCall, engine: Arc<Engine>, request_id: String) -> FollowUp {
    let values = call.take_values();
    let pushes = futures_util::stream::unfold((call, values, engine, request_id), |state| async move {
        let (mut call, mut values, engine, request_id) = state;
        let value = values.next().await?;
        let push = AssertUnwindSafe(push(&engine, &mut call, value)).catch_unwind().await;
        let push = push.unwrap_or_else(|_panic| Err(CallError::Exception("it panicked".to_owned())));
        let data = push.unwrap_or_else(|error| {
            super::engine::log(&error, &call.class, "assign_async", &request_id);
            json!({"componentId": call.id, "lost": true}).to_string().into_bytes()
        });
        Some((data, (call, values, engine, request_id)))
    });
    FollowUp(pushes.boxed())
}

/// Puts a value into its component, from the state of the last answer.
async fn push(engine: &Engine, call: &mut OpenCall, value: MadeValue) -> Result<Vec<u8>, CallError> {
    let component = engine.registry.get(&call.class).ok_or_else(|| CallError::UnknownComponent(call.class.clone()))?;
    let mut context = engine.context(call.id.clone(), call.client.clone());
    // Whose script takes pushes takes changes of streams, and counts moves as paths do.
    context.accepts.streams = true;
    let base = fingerprint(&call.state);
    let head =
        json!({"componentId": call.id, "base": base, "property": value.property, "number": value.number}).to_string();
    let state = object(&call.state).unwrap_or_default().into_owned();
    let transition = component.call(&state, Action::Assign(value), &mut context).await?;
    let result = engine.respond(&**component, &call.id, &transition, Moves::Reorder, context, 0)?;
    call.state = transition.state;
    // Two objects become one.
    Ok([head.trim_end_matches('}').as_bytes(), b",", result.data.get(1..).unwrap_or(b"}")].concat())
}
