//! What operators ask of all gateways at once: whose connections there are, and to end some.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use diffyne_shared::bus::Bus;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::connection::Connection;
use crate::reactor::{Command, ReactorHandle};

/// Connections that are listed at most, by each gateway.
const LISTED_MAX: usize = 1000;
/// How long the other gateways may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Whose connections are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Whom {
    /// The client with this id.
    Client(String),
    /// All from this address.
    Address(IpAddr),
}

impl Whom {
    /// Reads `{"client": id}` or `{"address": ip}`.
    pub fn read(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        match (text("client"), text("address")) {
            (Some(id), None) => Some(Self::Client(id.to_owned())),
            (None, Some(address)) => Some(Self::Address(address.parse::<IpAddr>().ok()?.to_canonical())),
            _ => None,
        }
    }

    /// Whether a connection is one of these.
    pub fn is(&self, connection: &Connection) -> bool {
        match self {
            Self::Client(id) => connection.caller.id == *id,
            Self::Address(address) => connection.caller.ip.parse() == Ok(*address),
        }
    }
}

/// A connection, for an operator.
pub fn describe(connection: &Rc<Connection>) -> Value {
    json!({
        "client": connection.caller.id,
        "address": connection.caller.ip,
        "events": *connection.subscriptions.borrow().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "calls": connection.lanes.borrow().len(),
        "waiting_bytes": connection.waiting_bytes(),
    })
}

/// What is asked of each gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// List these connections.
    Find(Whom),
    /// Close them.
    Disconnect(Whom),
}

/// This gateway's answer: its connections, or how many were closed.
async fn here(threads: &[ReactorHandle], order: &Order) -> (Vec<Value>, usize) {
    let (mut found, mut closed) = (Vec::new(), 0);
    for thread in threads {
        match order {
            Order::Find(whom) => {
                let (ask, answer) = oneshot::channel();
                // A thread that has ended has no connections.
                let _ = thread.commands.send(Command::Find(whom.clone(), ask)).await;
                found.extend(answer.await.unwrap_or_default());
            }
            Order::Disconnect(whom) => {
                let (ask, answer) = oneshot::channel();
                let _ = thread.commands.send(Command::Disconnect(whom.clone(), ask)).await;
                closed += answer.await.unwrap_or_default();
            }
        }
    }
    found.truncate(LISTED_MAX);
    (found, closed)
}

/// One gateway's part of an answer.
#[derive(Debug, Serialize, Deserialize)]
struct Part {
    gateway: String,
    #[serde(default)]
    connections: Vec<Value>,
    #[serde(default)]
    closed: usize,
}

/// Answers another gateway's operator; `None` when the question is from another release.
pub async fn answer(threads: &[ReactorHandle], gateway: &str, question: &str) -> Option<String> {
    let order: Order = serde_json::from_str(question).ok()?;
    let (connections, closed) = here(threads, &order).await;
    serde_json::to_string(&Part { gateway: gateway.to_owned(), connections, closed }).ok()
}

/// Has all gateways do it; their answers together, and who did not answer.
pub async fn everywhere(bus: &Bus, threads: &[ReactorHandle], order: &Order) -> Value {
    let question = serde_json::to_string(order).unwrap_or_default();
    let own = bus.gateway_id().to_owned();
    let (mine, others) = tokio::join!(here(threads, order), bus.query(&question, ANSWER_TIMEOUT));
    let mut parts = vec![Part { gateway: own, connections: mine.0, closed: mine.1 }];
    for part in others.iter().filter_map(|text| serde_json::from_str::<Part>(text).ok()) {
        // Each gateway has one answer.
        if !parts.iter().any(|known| known.gateway == part.gateway) {
            parts.push(part);
        }
    }
    let presence = bus.presence();
    let silent: Vec<&String> = presence.keys().filter(|id| !parts.iter().any(|part| part.gateway == **id)).collect();
    let connections: Vec<Value> = parts
        .iter()
        .flat_map(|part| {
            part.connections.iter().cloned().map(|mut connection| {
                connection["gateway"] = json!(part.gateway);
                connection
            })
        })
        .collect();
    match order {
        Order::Find(_) => json!({"connections": connections, "silent": silent}),
        Order::Disconnect(_) => {
            json!({"disconnected": parts.iter().map(|part| part.closed).sum::<usize>(), "silent": silent})
        }
    }
}
