//! Calls of the components in `tests/data/laravel/app/Diffyne`: the probe, which does all that applications do, and the
//! plain one, which needs nothing of the bridge.

use serde_json::{Value, json};

use crate::client::{Client, call};
use crate::message::ServerMessage;

/// The class of the probe.
pub const PROBE: &str = "App\\Diffyne\\Probe";
/// The class of the plain component.
pub const PLAIN: &str = "App\\Diffyne\\Plain";

/// The state with which pages mount the probe.
pub fn probe_state() -> Value {
    json!({"text": "", "user": null, "seen": []})
}

/// The `data` of a call of the probe.
pub fn probe_call(component: &str, method: &str, params: Value) -> Value {
    call(PROBE, component, method, params, probe_state(), "r")
}

/// Calls a method of the probe.
pub async fn call_probe(client: &mut Client, method: &str, params: Value) -> anyhow::Result<ServerMessage> {
    client.call(probe_call("diffyne-probe", method, params)).await
}

/// Calls a method of the probe that answers with a text.
pub async fn call_for_text(client: &mut Client, method: &str, params: Value) -> anyhow::Result<String> {
    let reply = call_probe(client, method, params).await?;
    Ok(reply.state()["text"].as_str().unwrap_or_else(|| panic!("{method}: {reply}")).to_owned())
}

/// Calls a method of the plain component.
pub async fn call_plain(client: &mut Client, method: &str, params: Value) -> anyhow::Result<ServerMessage> {
    client.call(call(PLAIN, "diffyne-plain", method, params, json!({"text": "x"}), "r")).await
}

/// Checks that a call failed, and that its page is told no more than that.
pub fn assert_server_error(reply: &ServerMessage) {
    let text = "An error occurred while processing your request.";
    assert_eq!((reply.is_ok(), reply.error(), reply.error_type()), (false, text, "server_error"), "{reply}");
}
