//! What a bench tells: a line each second, and a summary.

use std::collections::BTreeMap;

use serde::Serialize;

use super::tally::{Second, Tally, Times};

/// Times of calls or deliveries, in milliseconds.
#[derive(Debug, Serialize)]
struct Latencies {
    count: u64,
    per_second: f64,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

impl Latencies {
    fn of(times: &Times, seconds: f64) -> Self {
        Self {
            count: times.count(),
            per_second: times.count() as f64 / seconds.max(0.001),
            p50_ms: times.quantile(0.5),
            p90_ms: times.quantile(0.9),
            p99_ms: times.quantile(0.99),
            max_ms: times.max(),
        }
    }

    fn line(&self, what: &str) -> String {
        let Self { count, per_second, p50_ms, p90_ms, p99_ms, max_ms } = self;
        format!(
            "{what:<12} {count:>9} {per_second:>10.1}/s   p50 {p50_ms:.1} ms, p90 {p90_ms:.1} ms, p99 {p99_ms:.1} ms, longest {max_ms:.1} ms"
        )
    }
}

/// The end of a bench.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    url: String,
    call: String,
    /// Seconds measured, once all had connected.
    seconds: f64,
    /// It was ended by Ctrl-C.
    pub(super) is_interrupted: bool,
    connections: u64,
    handshakes: Latencies,
    calls: Latencies,
    /// Calls without an answer at the end.
    unanswered: u64,
    broadcasts: u64,
    deliveries: Latencies,
    errors: BTreeMap<String, u64>,
    /// Cores that this program has used: near 1, the figures are its own limit.
    generator_cores: f64,
    pub(super) timeline: Vec<Second>,
}

/// What the measuring itself was like.
pub(super) struct Run {
    pub(super) url: String,
    pub(super) call: String,
    pub(super) seconds: f64,
    /// From the first handshake to the end.
    pub(super) all_seconds: f64,
    pub(super) is_interrupted: bool,
    pub(super) generator_cores: f64,
    pub(super) timeline: Vec<Second>,
}

impl Summary {
    pub(super) fn new(run: Run, tally: &Tally) -> Self {
        Self {
            connections: tally.connected.get(),
            handshakes: Latencies::of(&tally.handshakes(), run.all_seconds),
            calls: Latencies::of(&tally.calls(), run.seconds),
            unanswered: tally.under_way.get(),
            broadcasts: tally.broadcasts.get(),
            deliveries: Latencies::of(&tally.deliveries(), run.seconds),
            errors: tally.errors(),
            url: run.url,
            call: run.call,
            seconds: run.seconds,
            is_interrupted: run.is_interrupted,
            generator_cores: run.generator_cores,
            timeline: run.timeline,
        }
    }

    /// Whether anything was measured.
    pub(super) fn has_connected(&self) -> bool {
        self.handshakes.count > 0
    }

    /// The summary as text.
    pub(super) fn text(&self) -> String {
        let mut lines = vec![
            String::new(),
            format!(
                "{}, {:.1} s measured{}: {} connections, calls {}",
                self.url,
                self.seconds,
                if self.is_interrupted { " (interrupted)" } else { "" },
                self.connections,
                self.call
            ),
            self.handshakes.line("handshakes"),
        ];
        if self.calls.count + self.unanswered > 0 {
            lines.push(self.calls.line("calls"));
        }
        if self.unanswered > 0 {
            lines.push(format!("{:<12} {:>9}", "unanswered", self.unanswered));
        }
        if self.broadcasts > 0 {
            lines.push(format!("{:<12} {:>9}", "broadcasts", self.broadcasts));
            lines.push(self.deliveries.line("deliveries"));
        }
        lines.extend(self.errors.iter().map(|(kind, count)| format!("{:<12} {count:>9}   {kind}", "error")));
        if self.errors.is_empty() {
            lines.push("no errors".to_owned());
        }
        let limit = if self.generator_cores > 0.9 { ": the figures are its limit, not the gateway's" } else { "" };
        lines.push(format!("this program used {:.2} cores{limit}", self.generator_cores));
        lines.join("\n")
    }
}

/// A second as a line.
pub(super) fn progress(second: &Second, hears: bool) -> String {
    let Second { number, connections, calls, call_p50_ms, call_p99_ms, deliveries, delivery_p99_ms, errors } = second;
    let heard =
        if hears { format!("   {deliveries:>7} deliveries, p99 {delivery_p99_ms:>7.1} ms") } else { String::new() };
    format!(
        "{number:>5} s   {connections:>6} connections   {calls:>7} calls, p50 {call_p50_ms:>7.1} ms, p99 {call_p99_ms:>7.1} ms{heard}   {errors} errors"
    )
}
