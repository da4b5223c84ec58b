//! What operators see of a gateway: its part of the cluster, and what its calls and broadcasts do.

use diffyne_shared::admin;
use diffyne_shared::admin::history::{History, Series, SeriesValue, Window};
use diffyne_shared::admin::overview::{Action, Overview, Table, Unit};
use diffyne_shared::bus::Bus;
use serde_json::{Value, json};

use crate::call_log::CallLog;
use crate::connection::selector::ConnectionPage;
use crate::http::health::HealthSource;
use crate::metrics::Metrics;
use crate::operator::{self, ClusterCommand};
use crate::relay::Health;
use crate::shard::command::ShardHandle;

const CALLS: &str = "diffyne_gateway_calls_total";
const DURATION: &str = "diffyne_gateway_call_duration_seconds";
const QUEUE_WAIT: &str = "diffyne_gateway_queue_wait_seconds";
const BROADCASTS: &str = "diffyne_gateway_broadcasts_received_total";
const EVENT_BYTES: &str = "diffyne_gateway_broadcast_bytes_total";
/// Rows of a table of components or events: those with most calls or bytes.
const ROWS_MAX: usize = 50;
/// Connections that are shown: those for which most bytes wait.
const CONNECTIONS_SHOWN: usize = 10;
/// Outcomes of calls that are somebody's fault, and not a user's.
const FAILING: [&str; 7] =
    ["server_error", "exception", "worker_lost", "timeout", "overloaded", "unknown_component", "other"];
/// What counts what was over a limit: the metric, what it counts, and its labels that mean no limit.
const LIMITS: [(&str, &str, &[&str]); 8] = [
    ("diffyne_gateway_handshakes_total", "handshake refused", &["accepted"]),
    ("diffyne_gateway_limited_total", "over a connection's limit", &[]),
    ("diffyne_gateway_broadcasts_held_total", "broadcast kept in its response", &[]),
    ("diffyne_gateway_http_calls_total", "AJAX call refused", &["accepted"]),
    ("diffyne_gateway_slow_consumers_total", "client did not read", &[]),
    ("diffyne_gateway_shed_total", "connection ended as memory was short", &[]),
    ("diffyne_gateway_broadcasts_overflowed_total", "broadcast lost as the queue was full", &[]),
    ("diffyne_gateway_gaps_total", "gap in the broadcasts", &["closed"]),
];

/// The figures of a gateway.
pub const SERIES: [Series; 12] = [
    series("connections", "Connections", Unit::Plain, SeriesValue::Gauge("diffyne_gateway_connections")),
    series("calls", "Calls", Unit::PerSecond, SeriesValue::Rate(CALLS)),
    series("p50", "Call, p50", Unit::Milliseconds, SeriesValue::Percentile(0.5, DURATION)),
    series("p99", "Call, p99", Unit::Milliseconds, SeriesValue::Percentile(0.99, DURATION)),
    series("in_flight", "Calls under way", Unit::Plain, SeriesValue::Gauge("diffyne_gateway_calls_in_flight")),
    series("waiting", "Calls that wait", Unit::Plain, SeriesValue::Gauge("diffyne_gateway_calls_waiting")),
    series("broadcasts", "Broadcasts", Unit::PerSecond, SeriesValue::Rate(BROADCASTS)),
    series("deliveries", "Deliveries", Unit::PerSecond, SeriesValue::Rate("diffyne_gateway_deliveries_total")),
    series("redis_queue", "Wait for Redis", Unit::Plain, SeriesValue::Gauge("diffyne_gateway_broadcasts_waiting")),
    series("bytes", "In and out", Unit::BytesPerSecond, SeriesValue::Rate("diffyne_gateway_bytes_total")),
    series("memory", "Memory", Unit::Bytes, SeriesValue::Gauge("process_resident_memory_bytes")),
    series("cpu", "CPU seconds", Unit::PerSecond, SeriesValue::Rate("process_cpu_seconds_total")),
];

const fn series(id: &'static str, title: &'static str, unit: Unit, value: SeriesValue) -> Series {
    Series { id, title, unit, value }
}

/// Where it comes from.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The metrics.
    pub metrics: &'a Metrics,
    /// The bus.
    pub bus: &'a Bus,
    /// The state of the gateway.
    pub health: &'a HealthSource,
    /// Calls that have failed.
    pub call_log: &'a CallLog,
    /// The serving threads.
    pub shards: &'a [ShardHandle],
}

/// What operators see now.
pub async fn of(sources: Sources<'_>, history: &History) -> Overview {
    let details = sources.health.details();
    let (figures, [components, events, limits]) = {
        let window = history.window(&sources.metrics.registry);
        (window.figures(&SERIES), [components(&window), events(&window), limits(&window)])
    };
    let problems = details["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Overview {
        program: "diffyne-gateway".to_owned(),
        name: sources.bus.gateway_id().to_owned(),
        version: diffyne_shared::build(),
        uptime_seconds: details["uptime_seconds"].as_u64().unwrap_or_default(),
        problems: problems.map(str::to_owned).collect(),
        figures,
        tables: vec![
            gateways(sources, &details),
            workers(sources).await,
            processes(sources).await,
            components,
            failures(sources),
            events,
            slowest(sources).await,
            limits,
        ],
        actions: actions(),
    }
}

fn actions() -> Vec<Action> {
    let action = |name: &str, title: &str, explanation: &str, field: Option<&str>| Action {
        name: name.to_owned(),
        title: title.to_owned(),
        explanation: explanation.to_owned(),
        field: field.map(str::to_owned),
    };
    vec![
        action(
            "disconnect",
            "Disconnect a client",
            "It is told not to come back by itself, on whichever gateway it is, asked through the admin page",
            Some("client"),
        ),
        action(
            "drain",
            "Drain and stop",
            "Its clients are sent to other gateways, and then it stops: the admin page",
            None,
        ),
    ]
}

fn gateways(sources: Sources<'_>, details: &Value) -> Table {
    let presence = sources.bus.presence();
    let here = sources.bus.gateway_id();
    let redis = details["redis"].as_str().unwrap_or_default();
    let rows =
        presence.iter().map(|(id, connections)| json!({"gateway": id, "connections": connections, "here": id == here}));
    let title = format!("Gateways (Redis: {redis})");
    let columns = [
        ("gateway", "Gateway", Unit::Plain),
        ("connections", "Connections", Unit::Plain),
        ("here", "This one", Unit::Plain),
    ];
    Table::new("gateways", &title, "No gateway is known.", &columns).with(rows)
}

async fn workers(sources: Sources<'_>) -> Table {
    let state = |health| match health {
        Health::Healthy => "runs calls",
        Health::Outdated => "runs old code",
        Health::Degraded => "faulty",
        Health::Unreachable => "unreachable",
    };
    let workers = operator::workers(sources.shards).await.unwrap_or_default();
    let rows = workers.iter().map(|(address, health)| json!({"worker": address.to_string(), "state": state(*health)}));
    let empty = "No worker is known: name them in DIFFYNE_WORKERS, or let them announce themselves in Redis.";
    Table::new("workers", "Workers", empty, &[("worker", "Worker", Unit::Plain), ("state", "State", Unit::Plain)])
        .with(rows)
}

/// The PHP processes of the workers that have any.
async fn processes(sources: Sources<'_>) -> Table {
    let reports = operator::processes(sources.shards).await;
    admin::processes::table(reports.iter().map(|(address, report)| (Some(address.to_string()), report)))
}

fn components(window: &Window<'_>) -> Table {
    let columns = [
        ("component", "Component", Unit::Plain),
        ("calls_per_second", "Calls", Unit::PerSecond),
        ("failing_per_second", "Failing", Unit::PerSecond),
        ("p50_ms", "p50", Unit::Milliseconds),
        ("p99_ms", "p99", Unit::Milliseconds),
        ("wait_p95_ms", "Wait, p95", Unit::Milliseconds),
    ];
    let rows = window.labels(DURATION).into_iter().filter_map(|labels| {
        let component = labels.into_iter().next()?;
        let is_it = |labels: &[String]| labels.first() == Some(&component);
        let fails =
            |labels: &[String]| is_it(labels) && labels.get(1).is_some_and(|outcome| FAILING.contains(&&**outcome));
        Some(json!({
            "calls_per_second": window.rate(DURATION, &is_it),
            "failing_per_second": window.rate(CALLS, &fails),
            "p50_ms": window.percentile(0.5, DURATION, &is_it),
            "p99_ms": window.percentile(0.99, DURATION, &is_it),
            "wait_p95_ms": window.percentile(0.95, QUEUE_WAIT, &is_it),
            "component": component,
        }))
    });
    let rows = most(rows, "calls_per_second");
    Table::new("components", "Components, in the last minute", "No call yet.", &columns).with(rows)
}

fn events(window: &Window<'_>) -> Table {
    let columns = [
        ("event", "Event", Unit::Plain),
        ("broadcasts_per_second", "Broadcasts", Unit::PerSecond),
        ("bytes_per_second", "To connections", Unit::BytesPerSecond),
        ("broadcasts", "Since the start", Unit::Plain),
    ];
    let rows = window.labels(BROADCASTS).into_iter().filter_map(|labels| {
        let event = labels.into_iter().next()?;
        let is_it = |labels: &[String]| labels.first() == Some(&event);
        let total = window.total(BROADCASTS, &is_it);
        (total > 0.0).then(|| {
            json!({
                "broadcasts_per_second": window.rate(BROADCASTS, &is_it),
                "bytes_per_second": window.rate(EVENT_BYTES, &is_it),
                "broadcasts": total,
                "event": event,
            })
        })
    });
    let rows = most(rows, "bytes_per_second");
    Table::new("events", "Broadcasts by event", "No broadcast yet.", &columns).with(rows)
}

/// The rows with the largest numbers.
fn most(rows: impl Iterator<Item = Value>, key: &str) -> Vec<Value> {
    let mut rows: Vec<Value> = rows.collect();
    let number = |row: &Value| row[key].as_f64().unwrap_or_default();
    rows.sort_by(|a, b| number(b).total_cmp(&number(a)));
    rows.truncate(ROWS_MAX);
    rows
}

fn failures(sources: Sources<'_>) -> Table {
    let columns = [
        ("at_ms", "When", Unit::Time),
        ("outcome", "Outcome", Unit::Plain),
        ("component", "Component", Unit::Plain),
        ("method", "Method", Unit::Plain),
        ("request", "Request", Unit::Plain),
    ];
    let rows = sources.call_log.failures().into_iter().filter_map(|call| serde_json::to_value(call).ok());
    Table::new("failures", "Calls that failed last", "No call has failed.", &columns).with(rows)
}

async fn slowest(sources: Sources<'_>) -> Table {
    let command = ClusterCommand::List(ConnectionPage::slowest(CONNECTIONS_SHOWN));
    let mut found = operator::run_everywhere(sources.bus, sources.shards, &command).await;
    let now = diffyne_shared::clock::unix_seconds();
    let rows = found["connections"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let rows = rows.into_iter().map(|mut row| {
        row["subscriptions"] = json!(row["events"].as_array().map_or(0, Vec::len));
        row["age_seconds"] = json!(now.saturating_sub(row["since"].as_u64().unwrap_or(now)));
        row
    });
    let columns = [
        ("client", "Client", Unit::Plain),
        ("address", "Address", Unit::Plain),
        ("waiting_bytes", "Waits to be read", Unit::Bytes),
        ("age_seconds", "Connected", Unit::Seconds),
        ("bytes_in", "In", Unit::Bytes),
        ("bytes_out", "Out", Unit::Bytes),
        ("subscriptions", "Subscriptions", Unit::Plain),
        ("calls", "Calls", Unit::Plain),
        ("gateway", "Gateway", Unit::Plain),
    ];
    Table::new("connections", "Slowest connections", "Nobody is connected.", &columns).with(rows)
}

fn limits(window: &Window<'_>) -> Table {
    let columns = [
        ("limit", "What", Unit::Plain),
        ("per_second", "Last minute", Unit::PerSecond),
        ("total", "Since the start", Unit::Plain),
    ];
    let mut rows = Vec::new();
    for (metric, what, none) in LIMITS {
        for labels in window.labels(metric).into_iter().filter(|labels| !labels.iter().any(|of| none.contains(&&**of)))
        {
            let is_it = |other: &[String]| other == labels;
            let total = window.total(metric, &is_it);
            if total > 0.0 {
                let limit = if labels.is_empty() { what.to_owned() } else { format!("{what}: {}", labels.join(" ")) };
                rows.push(json!({"limit": limit, "per_second": window.rate(metric, &is_it), "total": total}));
            }
        }
    }
    Table::new("limits", "Limits that are reached", "None was reached.", &columns).with(rows)
}
