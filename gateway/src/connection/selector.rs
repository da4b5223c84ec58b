//! Selects connections for an operator.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Connection;

/// Selects connections by client id or address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionSelector {
    /// The client with this id.
    Client(String),
    /// All clients at this address.
    Address(IpAddr),
}

impl ConnectionSelector {
    /// Reads `{"client": id}` or `{"address": ip}`. Returns `None` for anything else.
    pub fn read(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        match (text("client"), text("address")) {
            (Some(id), None) => Some(Self::Client(id.to_owned())),
            (None, Some(address)) => Some(Self::Address(address.parse::<IpAddr>().ok()?.to_canonical())),
            _ => None,
        }
    }

    /// Whether the selector matches this connection.
    pub fn matches(&self, connection: &Connection) -> bool {
        match self {
            Self::Client(id) => connection.caller.id() == id,
            Self::Address(address) => connection.caller.ip().parse() == Ok(*address),
        }
    }
}
