//! Decides which events a user may hear: the class has to listen to the event, and may have a policy. And which rooms a user
//! may enter: there the class has to have a policy.

use std::sync::Arc;

use diffyne_shared::rpc::Outcome;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Registry;
use super::context::{App, Context};
use super::member::Member;
use crate::call::message::invalid;
use crate::call::{BoxFuture, CallError, CallResult, ClientInfo};

/// Whether a user may hear an event whose first parameter has these fields.
pub(super) type EventPolicy = Box<
    dyn for<'a> Fn(&'a mut Context, String, Map<String, Value>) -> BoxFuture<'a, Result<bool, CallError>> + Send + Sync,
>;

/// What others in the room of an event with these fields may know of a user; `None`: the user may not enter.
pub(super) type RoomPolicy = Box<
    dyn for<'a> Fn(&'a mut Context, String, Map<String, Value>) -> BoxFuture<'a, Result<Option<Member>, CallError>>
        + Send
        + Sync,
>;

#[derive(Deserialize)]
struct GrantRequest {
    events: Vec<RequestedEvent>,
    /// Of an event's room, where a page wants to enter it.
    #[serde(default)]
    rooms: Vec<RequestedEvent>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestedEvent {
    name: String,
    #[serde(default)]
    r#match: Map<String, Value>,
    #[serde(default)]
    component_class: String,
}

/// Decides for each requested event in turn.
pub(super) async fn decide(
    registry: &Registry,
    app: &App,
    client: &ClientInfo,
    payload: &[u8],
) -> Result<CallResult, CallError> {
    let request: GrantRequest = serde_json::from_slice(payload).map_err(|_| invalid())?;
    let (mut granted, mut user) = (Vec::new(), None);
    for RequestedEvent { name, r#match, component_class } in request.events {
        let component = registry.get(&component_class).ok_or(CallError::UnknownComponent(component_class))?;
        let listens = component.listeners().contains_key(name.as_str());
        let mut context = Context::new(String::new(), client.clone(), Arc::clone(app));
        granted.push(listens && component.may_hear(name, r#match, &mut context).await?);
        user = context.user.or(user);
    }
    let mut here = Vec::new();
    for RequestedEvent { name, r#match, component_class } in request.rooms {
        let Some(component) = registry.get(&component_class) else {
            // One that does not exist must not keep the page out of other rooms.
            here.push(None);
            continue;
        };
        let mut context = Context::new(String::new(), client.clone(), Arc::clone(app));
        // Whoever may not hear the event is not in its room either.
        let hears = component.listeners().contains_key(name.as_str())
            && component.may_hear(name.clone(), r#match.clone(), &mut context).await?;
        here.push(if hears { component.here(name, r#match, &mut context).await? } else { None });
        user = context.user.or(user);
    }
    let mut answer = json!({"granted": granted});
    if !here.is_empty() {
        answer["here"] = json!(here);
    }
    let data = answer.to_string().into_bytes();
    Ok(CallResult { outcome: Outcome::Ok, status: 200, data, user, ..CallResult::default() })
}
