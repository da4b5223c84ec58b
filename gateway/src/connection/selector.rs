//! Selects connections for an operator, and lists them in pages.

use std::net::IpAddr;

use diffyne_shared::bus::is_user_id;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Connection;

/// Selects connections by client id, address or user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionSelector {
    /// The client with this id.
    Client(String),
    /// All clients at this address.
    Address(IpAddr),
    /// All clients of this user.
    User(UserSelector),
}

/// Selects the connections of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSelector {
    /// The user's id.
    pub id: String,
    /// Whether clients that are disconnected may come back by themselves.
    #[serde(default)]
    pub reconnect: bool,
}

impl ConnectionSelector {
    /// Selects the connections of a user.
    pub fn user(id: &str, reconnect: bool) -> Self {
        Self::User(UserSelector { id: id.to_owned(), reconnect })
    }

    /// Reads `{"client": id}`, `{"address": ip}` or `{"user": id, "reconnect"?: bool}`. Returns `None` for anything else.
    pub fn read(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        // Applications have numbers.
        let user = value
            .get("user")
            .map(|id| id.as_i64().map_or_else(|| text("user").unwrap_or_default().to_owned(), |id| id.to_string()));
        match (text("client"), text("address"), user) {
            (Some(id), None, None) => Some(Self::Client(id.to_owned())),
            (None, Some(address), None) => Some(Self::Address(address.parse::<IpAddr>().ok()?.to_canonical())),
            (None, None, Some(id)) if is_user_id(&id) => {
                let reconnect = value.get("reconnect").map_or(Some(false), Value::as_bool)?;
                Some(Self::User(UserSelector { id, reconnect }))
            }
            _ => None,
        }
    }

    /// Whether the selector matches this connection.
    pub fn matches(&self, connection: &Connection) -> bool {
        match self {
            Self::Client(id) => connection.caller.id() == id,
            Self::Address(address) => connection.caller.ip().parse() == Ok(*address),
            Self::User(user) => connection.user.is(&user.id),
        }
    }
}

/// Connections of a page, unless the operator names a number.
const PAGE_DEFAULT: usize = 100;
/// The most connections of a page.
pub const PAGE_MAX: usize = 1000;

/// The order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionOrder {
    /// By client id, so that pages follow each other.
    #[default]
    Client,
    /// Those first for which most bytes wait: slow clients.
    Waiting,
}

/// A page of all connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionPage {
    /// The last client of the page before.
    #[serde(default)]
    pub after: Option<String>,
    /// How many connections it has.
    pub limit: usize,
    /// Their order.
    #[serde(default)]
    pub order: ConnectionOrder,
}

impl ConnectionPage {
    /// The connections for which most bytes wait.
    pub fn slowest(limit: usize) -> Self {
        Self { after: None, limit, order: ConnectionOrder::Waiting }
    }

    /// Reads `limit`, `after` and `order`, all optional. The error says what is wrong.
    pub fn read(query: &Value) -> Result<Self, String> {
        let text = |name: &str| query.get(name).and_then(Value::as_str);
        let known = ["limit", "after", "order"];
        if let Some(name) =
            query.as_object().and_then(|query| query.keys().find(|name| !known.contains(&name.as_str())))
        {
            let name = diffyne_shared::telemetry::name(name);
            return Err(format!(
                "There is no parameter {name}: client, address or user select; limit, after and order list."
            ));
        }
        let limit = match text("limit").map(str::parse) {
            None => PAGE_DEFAULT,
            Some(Ok(limit)) if (1..=PAGE_MAX).contains(&limit) => limit,
            Some(_) => return Err(format!("limit must be a number from 1 to {PAGE_MAX}.")),
        };
        let order = match text("order") {
            None | Some("client") => ConnectionOrder::Client,
            Some("waiting") => ConnectionOrder::Waiting,
            Some(_) => return Err("order must be client or waiting.".to_owned()),
        };
        let after = text("after").map(str::to_owned);
        if after.is_some() && order == ConnectionOrder::Waiting {
            return Err("after is for lists in the order of clients.".to_owned());
        }
        Ok(Self { after, limit, order })
    }

    /// The page of these connections.
    pub fn of<T>(&self, connections: &mut Vec<T>, client: impl Fn(&T) -> &str, waiting: impl Fn(&T) -> u64) {
        match self.order {
            ConnectionOrder::Client => {
                let after = self.after.as_deref().unwrap_or_default();
                connections.retain(|connection| client(connection) > after);
                connections.sort_unstable_by(|a, b| client(a).cmp(client(b)));
            }
            ConnectionOrder::Waiting => connections.sort_by_key(|connection| std::cmp::Reverse(waiting(connection))),
        }
        connections.truncate(self.limit);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pages_follow_each_other_until_all_were_listed() {
        let all: Vec<String> = (0..25).map(|n| format!("{:02}", n * 7 % 25)).collect();
        let mut page = ConnectionPage { after: None, limit: 10, order: ConnectionOrder::Client };
        let mut listed = Vec::new();
        loop {
            let mut part = all.clone();
            page.of(&mut part, |client| client, |_| 0);
            let Some(last) = part.last().cloned() else { break };
            listed.extend(part);
            page.after = Some(last);
        }
        assert_eq!(listed, (0..25).map(|n| format!("{n:02}")).collect::<Vec<_>>());
        let mut slowest = vec![("a", 1), ("b", 3), ("c", 2)];
        ConnectionPage::slowest(2).of(&mut slowest, |of| of.0, |of| of.1);
        assert_eq!(slowest, [("b", 3), ("c", 2)]);
    }

    #[test]
    fn a_wrong_query_is_told_what_is_wrong() {
        for wrong in [
            json!({"limit": "0"}),
            json!({"limit": "many"}),
            json!({"limit": "1001"}),
            json!({"order": "age"}),
            json!({"name": "7"}),
            json!({"order": "waiting", "after": "x"}),
        ] {
            assert!(ConnectionPage::read(&wrong).is_err(), "{wrong}");
        }
        let page = ConnectionPage::read(&json!({"limit": "5", "after": "x"}));
        assert_eq!(page, Ok(ConnectionPage { after: Some("x".to_owned()), limit: 5, order: ConnectionOrder::Client }));
    }
}
