//! What operators see of PHP processes.

use serde_json::{Value, json};

use super::overview::{Table, Unit};

/// The processes of workers, from their reports; with their addresses where there are several.
pub fn table<'a>(reports: impl IntoIterator<Item = (Option<String>, &'a Value)>) -> Table {
    let mut columns = vec![
        ("process", "Process", Unit::Plain),
        ("state", "State", Unit::Plain),
        ("state_ms", "For", Unit::Milliseconds),
        ("call", "Call", Unit::Plain),
        ("request", "Request", Unit::Plain),
        ("age_ms", "Since", Unit::Milliseconds),
        ("calls", "Calls", Unit::Plain),
        ("memory_bytes", "Memory", Unit::Bytes),
        ("generation", "Code", Unit::Plain),
        ("is_outdated", "Old code", Unit::Plain),
    ];
    let mut rows = Vec::new();
    for (worker, report) in reports {
        if worker.is_some() && columns[0].0 != "worker" {
            columns.insert(0, ("worker", "Worker", Unit::Plain));
        }
        let processes = report["processes"].as_array().into_iter().flatten().filter(|process| process.is_object());
        rows.extend(processes.map(|process| row(process.clone(), worker.as_deref())));
    }
    Table::new("processes", "PHP processes", "No PHP process runs.", &columns).with(rows)
}

fn row(mut row: Value, worker: Option<&str>) -> Value {
    let call = row["call"].take();
    let text = |name: &str| call[name].as_str().unwrap_or_default();
    row["call"] = match (text("component"), text("method")) {
        ("", method) => json!(method),
        (component, method) => json!(format!("{component}::{method}")),
    };
    row["request"] = call["request"].clone();
    row["age_ms"] = call["age_ms"].clone();
    row["worker"] = json!(worker);
    row
}
