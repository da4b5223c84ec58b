//! The call that a bench repeats.

use anyhow::Context as _;
use clap::ArgMatches;
use serde_json::{Value, json};

use super::CALL_ID;

/// A component that nobody has: its call goes to a worker and back, and runs nothing.
const NOBODY: &str = "Diffyne\\Bench\\Nobody";

/// What is called.
pub(super) struct BenchCall {
    /// The message.
    pub(super) frame: String,
    /// Nothing is run: the answer says that there is no such component.
    is_empty: bool,
    /// What is told of it.
    pub(super) name: String,
}

impl BenchCall {
    pub(super) fn read(matches: &ArgMatches) -> anyhow::Result<Self> {
        let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
        let json = |name: &str| -> anyhow::Result<Value> {
            let text = text(name).unwrap_or_default();
            serde_json::from_str(text).with_context(|| format!("--{name} {text}: this is no JSON"))
        };
        let class = text("component");
        let (component, method) = (class.unwrap_or(NOBODY), text("method").unwrap_or("increment"));
        let data = json!({
            "type": "call", "componentId": "diffyne-bench", "componentClass": component, "method": method,
            "params": json("params")?, "state": json("state")?, "requestId": CALL_ID,
        });
        Ok(Self {
            frame: json!({"event": "diffyne.call", "data": data}).to_string(),
            is_empty: class.is_none(),
            name: class.map_or("to a worker and back".to_owned(), |class| format!("{class}::{method}")),
        })
    }

    /// Why an answer is none that was wanted.
    pub(super) fn failure(&self, data: &Value) -> Option<String> {
        let error = data["error"].as_str().unwrap_or_default();
        if data["s"] == true || self.is_empty && error.ends_with("does not exist.") {
            return None;
        }
        Some(format!("a call failed: {}", data["type"].as_str().unwrap_or("error")))
    }
}
