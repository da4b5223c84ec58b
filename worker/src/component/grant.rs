//! Decides which events a user may hear: the class has to listen to the event, and may have a policy.

use std::sync::Arc;

use diffyne_shared::rpc::Outcome;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Registry;
use super::context::{App, Context};
use crate::call::message::invalid;
use crate::call::{BoxFuture, CallError, CallResult, ClientInfo};

/// Whether a user may hear an event whose first parameter has these fields.
pub(super) type EventPolicy = Box<
    dyn for<'a> Fn(&'a mut Context, String, Map<String, Value>) -> BoxFuture<'a, Result<bool, CallError>> + Send + Sync,
>;

#[derive(Deserialize)]
struct GrantRequest {
    events: Vec<RequestedEvent>,
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
    let data = json!({"granted": granted}).to_string().into_bytes();
    Ok(CallResult { outcome: Outcome::Ok, status: 200, data, user, ..CallResult::default() })
}
