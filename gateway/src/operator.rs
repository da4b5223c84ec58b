//! Commands of operators to all gateways at once: list connections, or close them; list the events that somebody hears.

use std::collections::BTreeMap;
use std::time::Duration;

use diffyne_shared::bus::Bus;
use diffyne_shared::rpc::Endpoint;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::connection::selector::{ConnectionOrder, ConnectionPage, ConnectionSelector};
use crate::relay::Health;
use crate::shard::command::{Command, ShardHandle};

/// The most connections, or events, that each gateway lists.
const LISTED_MAX: usize = 1000;
/// The time limit for the other gateways' answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Time between two looks at what workers have told of their processes.
const PROCESSES_STEP: Duration = Duration::from_millis(10);
/// Looks at that.
const PROCESSES_LOOKS: u32 = 30;

/// A command to each gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterCommand {
    /// List the selected connections.
    Find(ConnectionSelector),
    /// List a page of all connections.
    List(ConnectionPage),
    /// Close the selected connections.
    Disconnect(ConnectionSelector),
    /// Count the subscribers of each event.
    Events,
}

/// One gateway's answer: the connections found, and the number of closed ones.
#[derive(Debug, Serialize, Deserialize)]
struct GatewayResult {
    gateway: String,
    #[serde(default)]
    connections: Vec<Value>,
    #[serde(default)]
    closed: usize,
    /// All connections found, of which some may not be listed.
    #[serde(default)]
    found: usize,
    /// Subscribers by event.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    events: BTreeMap<String, usize>,
}

/// Runs a command on this gateway.
async fn run_here(shards: &[ShardHandle], gateway: &str, command: &ClusterCommand) -> GatewayResult {
    let mut result = GatewayResult {
        gateway: gateway.to_owned(),
        connections: Vec::new(),
        closed: 0,
        found: 0,
        events: BTreeMap::new(),
    };
    for shard in shards {
        match command {
            ClusterCommand::Find(selector) => {
                let found = shard.ask(|reply| Command::Find(selector.clone(), reply)).await;
                result.connections.extend(found.unwrap_or_default());
            }
            ClusterCommand::List(page) => {
                let found = shard.ask(|reply| Command::List(page.clone(), reply)).await;
                result.connections.extend(found.unwrap_or_default());
            }
            ClusterCommand::Disconnect(selector) => {
                let closed = shard.ask(|reply| Command::Disconnect(selector.clone(), reply)).await;
                result.closed += closed.unwrap_or_default();
            }
            ClusterCommand::Events => add_events(&mut result.events, shard.ask(Command::Events).await),
        }
    }
    if let ClusterCommand::List(page) = command {
        merge(page, &mut result.connections);
    }
    result.found = result.connections.len();
    result.connections.truncate(LISTED_MAX);
    result.events = largest(std::mem::take(&mut result.events)).into_iter().collect();
    result
}

fn add_events(
    events: &mut BTreeMap<String, usize>,
    more: impl IntoIterator<Item = impl IntoIterator<Item = (String, usize)>>,
) {
    for (name, subscribers) in more.into_iter().flatten() {
        *events.entry(name).or_default() += subscribers;
    }
}

/// Returns the events with the most subscribers, as many as are listed.
fn largest(events: BTreeMap<String, usize>) -> Vec<(String, usize)> {
    let mut events: Vec<_> = events.into_iter().collect();
    // Stable: those with as many subscribers stay in the order of their names.
    events.sort_by_key(|(_, subscribers)| std::cmp::Reverse(*subscribers));
    events.truncate(LISTED_MAX);
    events
}

/// Runs another gateway's command, given as JSON. Returns `None` if that gateway runs another release, and this one
/// does not know the command.
pub async fn run_json(shards: &[ShardHandle], gateway: &str, command: &str) -> Option<String> {
    let command: ClusterCommand = serde_json::from_str(command).ok()?;
    serde_json::to_string(&run_here(shards, gateway, &command).await).ok()
}

/// Runs a command on all gateways. Returns their combined results, and the gateways that did not answer.
pub async fn run_everywhere(bus: &Bus, shards: &[ShardHandle], command: &ClusterCommand) -> Value {
    let json = serde_json::to_string(command).unwrap_or_default();
    let (own, others) = tokio::join!(run_here(shards, bus.gateway_id(), command), bus.query(&json, ANSWER_TIMEOUT));
    let mut results = vec![own];
    for result in others.iter().filter_map(|text| serde_json::from_str::<GatewayResult>(text).ok()) {
        // Only one answer of each gateway counts.
        if !results.iter().any(|known| known.gateway == result.gateway) {
            results.push(result);
        }
    }
    let presence = bus.presence();
    let answered = |id: &String| results.iter().any(|result| result.gateway == *id);
    let silent: Vec<String> = presence.keys().filter(|id| !answered(id)).cloned().collect();
    match command {
        ClusterCommand::Events => {
            let mut events = BTreeMap::new();
            add_events(&mut events, results.iter_mut().map(|result| std::mem::take(&mut result.events)));
            let listed: Vec<Value> = largest(events)
                .iter()
                .map(|(name, subscribers)| json!({"name": name, "subscribers": subscribers}))
                .collect();
            json!({"events": listed, "silent": silent})
        }
        ClusterCommand::Find(_) => {
            // Gateways of an older release do not count.
            let total = results.iter().map(|result| result.found.max(result.connections.len())).sum::<usize>();
            json!({"connections": with_gateway(&results), "total": total, "silent": silent})
        }
        ClusterCommand::List(page) => {
            let mut connections = with_gateway(&results);
            let more = connections.len() > page.limit || results.iter().any(|of| of.connections.len() >= page.limit);
            merge(page, &mut connections);
            let last = connections.last().map(|connection| connection["client"].clone());
            let next = last.filter(|_| more && page.order == ConnectionOrder::Client);
            json!({"connections": connections, "next": next, "total": presence.values().sum::<u64>(), "silent": silent})
        }
        ClusterCommand::Disconnect(_) => {
            json!({"disconnected": results.iter().map(|result| result.closed).sum::<usize>(), "silent": silent})
        }
    }
}

/// Makes one page of several.
fn merge(page: &ConnectionPage, connections: &mut Vec<Value>) {
    let client = |connection: &Value| connection["client"].as_str().unwrap_or_default().to_owned();
    let waiting = |connection: &Value| connection["waiting_bytes"].as_u64().unwrap_or_default();
    let mut keyed: Vec<(String, Value)> = connections.drain(..).map(|of| (client(&of), of)).collect();
    page.of(&mut keyed, |of| &of.0, |of| waiting(&of.1));
    connections.extend(keyed.into_iter().map(|(_, connection)| connection));
}

/// Returns all connections found, each with its gateway.
fn with_gateway(results: &[GatewayResult]) -> Vec<Value> {
    let connections = results.iter().flat_map(|result| {
        result.connections.iter().cloned().map(|mut connection| {
            connection["gateway"] = json!(result.gateway);
            connection
        })
    });
    connections.collect()
}

/// Returns the workers and their health. If shards disagree about a worker, the worst health counts. `None` if a shard has
/// ended.
pub async fn workers(shards: &[ShardHandle]) -> Option<BTreeMap<Endpoint, Health>> {
    let mut all: BTreeMap<Endpoint, Health> = BTreeMap::new();
    for shard in shards {
        for (address, health) in shard.ask(Command::Workers).await? {
            let worst = all.entry(address).or_insert(Health::Healthy);
            *worst = health.min(*worst);
        }
    }
    Some(all)
}

/// Returns what each process of each worker does, as JSON. A worker that does not answer at once is left out, and so is one
/// without processes.
pub async fn processes(shards: &[ShardHandle]) -> Vec<(Endpoint, Value)> {
    let Some(shard) = shards.first() else { return Vec::new() };
    shard.send(Command::AskProcesses).await;
    let mut told = Vec::new();
    for _ in 0..PROCESSES_LOOKS {
        tokio::time::sleep(PROCESSES_STEP).await;
        told = shard.ask(Command::Processes).await.unwrap_or_default();
        if told.iter().all(|(_, report)| report.is_some()) {
            break;
        }
    }
    let read = |report: Option<String>| serde_json::from_str(&report?).ok().filter(Value::is_object);
    told.into_iter().filter_map(|(address, report)| Some((address, read(report)?))).collect()
}
