//! Who may hear an event: its class has to listen to it, and may have a say.

use std::sync::Arc;

use diffyne_shared::rpc::Outcome;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Registry;
use super::client::ClientInfo;
use super::context::{App, Context};
use super::failure::Failure;
use super::hook::BoxFuture;
use crate::backend::Finished;

/// Whether a user may hear an event whose first parameter has these fields.
pub(super) type MayHear = Box<
    dyn for<'a> Fn(&'a mut Context, String, Map<String, Value>) -> BoxFuture<'a, Result<bool, Failure>> + Send + Sync,
>;

/// What is asked.
#[derive(Deserialize)]
struct Question {
    events: Vec<Wish>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wish {
    name: String,
    #[serde(default)]
    r#match: Map<String, Value>,
    #[serde(default)]
    component_class: String,
}

/// Answers for each event in turn.
pub(super) async fn answer(
    registry: &Registry,
    app: &App,
    client: &ClientInfo,
    payload: &[u8],
) -> Result<Finished, Failure> {
    let question: Question =
        serde_json::from_slice(payload).map_err(|_| Failure::Invalid("Invalid request".to_owned()))?;
    let mut granted = Vec::new();
    for Wish { name, r#match, component_class } in question.events {
        let component = registry.get(&component_class).ok_or(Failure::UnknownComponent(component_class))?;
        let listens = component.listeners().contains_key(name.as_str());
        let mut context = Context::new(String::new(), client.clone(), Arc::clone(app));
        granted.push(listens && component.may_hear(name, r#match, &mut context).await?);
    }
    let data = json!({"granted": granted}).to_string().into_bytes();
    Ok(Finished { outcome: Outcome::Ok, status: 200, data, ..Finished::default() })
}
