//! What a gateway says to a page: over the socket, or as the body of an AJAX response.

use std::fmt;
use std::ops::Index;

use anyhow::Context as _;
use serde_json::{Value, json};

/// A message of a gateway: the name of its event, and its `data`. The body of an AJAX response is `data` without an event.
///
/// Indexing gives a field of `data`.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerMessage {
    event: String,
    data: Value,
}

impl ServerMessage {
    /// Reads a message of the socket.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut message: Value = serde_json::from_str(text).with_context(|| text.to_owned())?;
        let event = message["event"].as_str().with_context(|| format!("no event: {text}"))?.to_owned();
        Ok(Self { event, data: message["data"].take() })
    }

    /// Reads the body of an AJAX response.
    pub fn from_body(body: &str) -> anyhow::Result<Self> {
        Ok(Self { event: String::new(), data: serde_json::from_str(body).with_context(|| body.to_owned())? })
    }

    /// The name of the event, such as `diffyne.response`.
    pub fn event(&self) -> &str {
        &self.event
    }

    /// All that the message says.
    pub fn data(&self) -> &Value {
        &self.data
    }

    /// The same, to be changed.
    pub fn data_mut(&mut self) -> &mut Value {
        &mut self.data
    }

    /// A field, if the message has it.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.data.get(field)
    }

    /// Whether the call, the update or the mount ran without an error.
    pub fn is_ok(&self) -> bool {
        self.data["s"] == true || self.data["success"] == true
    }

    /// The text of the error; empty without one.
    pub fn error(&self) -> &str {
        self.data["error"].as_str().unwrap_or_default()
    }

    /// The type of the error, such as `timeout`; empty without one.
    pub fn error_type(&self) -> &str {
        self.data["type"].as_str().unwrap_or_default()
    }

    /// The id with which the page asked; null without one.
    pub fn request_id(&self) -> &Value {
        &self.data["requestId"]
    }

    /// The state of the component after a call, an update or a mount.
    pub fn state(&self) -> &Value {
        self.data.get("state").unwrap_or(&self.data["c"]["st"])
    }

    /// The signature of [`Self::state`].
    pub fn signature(&self) -> &Value {
        self.data.get("signature").unwrap_or(&self.data["c"]["sig"])
    }

    /// The fingerprint of [`Self::state`].
    pub fn fingerprint(&self) -> &Value {
        self.data.get("fingerprint").unwrap_or(&self.data["c"]["f"])
    }

    /// The patches of the page.
    pub fn patches(&self) -> &Value {
        &self.data["c"]["p"]
    }

    /// The events that a call has dispatched, that a push brings, or that a subscription holds.
    pub fn events(&self) -> &[Value] {
        self.data["events"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The parameters of the first of [`Self::events`]; null without one.
    pub fn params(&self) -> &Value {
        &self.data["events"][0]["params"]
    }

    /// The number with which the tests' probe announces: `n` in the first parameter.
    pub fn number(&self) -> Option<i64> {
        self.params()[0]["n"].as_i64()
    }

    /// The id of the first event that was broadcast, if any was.
    pub fn event_id(&self) -> Option<&str> {
        self.data["eventIds"][0].as_str()
    }

    /// The place in the history that the message tells: what a page resumes from.
    pub fn place(&self) -> Value {
        json!({"epoch": self.data["epoch"], "offset": self.data["offset"]})
    }
}

impl Index<&str> for ServerMessage {
    type Output = Value;

    fn index(&self, field: &str) -> &Value {
        &self.data[field]
    }
}

impl fmt::Display for ServerMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.event, self.data)
    }
}
