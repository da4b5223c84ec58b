//! What operators see of a worker: its calls and its PHP processes.

use diffyne_shared::admin::history::{History, Series, SeriesValue, Window};
use diffyne_shared::admin::overview::{Action, Overview, Table, Unit};
use diffyne_shared::admin::processes;
use serde_json::{Value, json};

use super::state::WorkerState;

const CALLS: &str = "diffyne_worker_calls_total";
const DURATION: &str = "diffyne_worker_call_duration_seconds";
const PHP_WAIT: &str = "diffyne_worker_php_queue_wait_seconds";
/// Rows of a table of methods: those with most calls.
const ROWS_MAX: usize = 50;

/// The figures of a worker.
pub(super) const SERIES: [Series; 9] = [
    series("calls", "Calls", Unit::PerSecond, SeriesValue::Rate(CALLS)),
    series("p50", "Call, p50", Unit::Milliseconds, SeriesValue::Percentile(0.5, DURATION)),
    series("p99", "Call, p99", Unit::Milliseconds, SeriesValue::Percentile(0.99, DURATION)),
    series("running", "Calls that run", Unit::Plain, SeriesValue::Gauge("diffyne_worker_calls_running")),
    series("queued", "Calls that wait", Unit::Plain, SeriesValue::Gauge("diffyne_worker_calls_queued")),
    series("php_wait", "Wait for PHP, p95", Unit::Milliseconds, SeriesValue::Percentile(0.95, PHP_WAIT)),
    series("gateways", "Gateway threads", Unit::Plain, SeriesValue::Gauge("diffyne_worker_gateway_connections")),
    series("memory", "Memory", Unit::Bytes, SeriesValue::Gauge("process_resident_memory_bytes")),
    series("cpu", "CPU seconds", Unit::PerSecond, SeriesValue::Rate("process_cpu_seconds_total")),
];

const fn series(id: &'static str, title: &'static str, unit: Unit, value: SeriesValue) -> Series {
    Series { id, title, unit, value }
}

/// What operators see now.
pub(super) fn of(worker: &WorkerState, history: &History) -> Overview {
    let window = history.window(&worker.metrics.registry);
    let report = worker.backend.processes();
    let mut tables = vec![methods(&window)];
    if let Some(report) = &report {
        tables.insert(0, processes::table([(None, report)]));
    }
    let problems = [worker.backend.ready().err(), worker.backend.outdated()];
    Overview {
        program: "diffyne-worker".to_owned(),
        name: format!("{} ({})", worker.id, worker.backend.name()),
        version: diffyne_shared::build(),
        uptime_seconds: worker.started.elapsed().as_secs(),
        problems: problems.into_iter().flatten().collect(),
        figures: window.figures(&SERIES),
        tables,
        actions: report.iter().map(|_| reload()).collect(),
    }
}

fn reload() -> Action {
    Action {
        name: "reload".to_owned(),
        title: "Reload the application".to_owned(),
        explanation: "The PHP processes are replaced one by one by such with the newest code: the admin page"
            .to_owned(),
        field: None,
    }
}

fn methods(window: &Window<'_>) -> Table {
    let columns = [
        ("component", "Component", Unit::Plain),
        ("method", "Method", Unit::Plain),
        ("outcome", "Outcome", Unit::Plain),
        ("calls_per_second", "Calls", Unit::PerSecond),
        ("calls", "Since the start", Unit::Plain),
    ];
    let mut rows: Vec<(f64, Value)> = window
        .labels(CALLS)
        .into_iter()
        .map(|labels| {
            let is_it = |other: &[String]| other == labels;
            let (rate, total) = (window.rate(CALLS, &is_it), window.total(CALLS, &is_it));
            let [component, method, outcome] = [0, 1, 2].map(|at| labels.get(at).cloned().unwrap_or_default());
            let row = json!({"component": component, "method": method, "outcome": outcome, "calls_per_second": rate, "calls": total});
            (total, row)
        })
        .collect();
    rows.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    rows.truncate(ROWS_MAX);
    Table::new("methods", "Methods", "No call yet.", &columns).with(rows.into_iter().map(|(_, row)| row))
}
