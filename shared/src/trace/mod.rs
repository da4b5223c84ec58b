//! Traces: a span for each hop of a call and of a broadcast, sent to a collector by OTLP.
//!
//! * `sampler`: which traces are recorded
//! * `collector`: what is known of the collector
//! * `export`, `client` and `message`: batches of spans, how they reach the collector, and as what
//!
//! Off unless `OTEL_*` variables name a collector. Then a call costs the comparison that finds out.

mod client;
mod collector;
mod export;
mod message;
mod sampler;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use prometheus::IntCounterVec;
use tokio::sync::{mpsc, oneshot};

use sampler::Sampler;

use crate::metrics::Table;
use crate::trace_context::TraceContext;

/// The role of a hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// It takes a request.
    Server,
    /// It sends a request, and waits for the answer.
    Client,
    /// It publishes.
    Producer,
    /// It gets what was published.
    Consumer,
    /// It is a part of another hop.
    Internal,
}

/// A hop that has ended.
#[derive(Debug)]
pub struct Span {
    /// Its place in the trace.
    pub context: TraceContext,
    /// The span before it, and whether that is another process's.
    pub parent: Option<(u64, IsRemote)>,
    /// Its role.
    pub kind: SpanKind,
    /// Its name: few different ones.
    pub name: String,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// What is known of it.
    pub attributes: Vec<(&'static str, String)>,
    /// What happened in it.
    pub events: Vec<(&'static str, SystemTime)>,
    /// Why it failed.
    pub error: Option<&'static str>,
}

/// Whether a span's parent is in another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsRemote {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// The time of day at a moment of the past.
pub fn time_of(moment: Instant) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(moment.elapsed()).unwrap_or(now)
}

/// What is sent to the task that exports.
enum Item {
    Span(Box<Span>),
    /// Everything before it is to be exported.
    Flush(oneshot::Sender<()>),
}

/// Takes spans; clones share it.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Active>>);

struct Active {
    queue: mpsc::Sender<Item>,
    sampler: Sampler,
    spans: IntCounterVec,
}

/// The metric of a program's spans, by what became of them.
pub fn counter(table: &Table) -> IntCounterVec {
    let spans = table.counters("spans_total", "Spans for the collector of traces, by result", &["result"]);
    for result in ["exported", "dropped", "failed"] {
        spans.with_label_values(&[result]);
    }
    spans
}

/// A metric that nobody reads.
fn unregistered() -> IntCounterVec {
    counter(&Table::new("unused"))
}

/// Reads a variable of the process's environment; an empty one is as good as none.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// A variable that is a number.
fn number(name: &str, default: usize) -> Result<usize, String> {
    let Some(text) = variable(name) else { return Ok(default) };
    let wrong = || format!("{name}={text}: it has to be a number from 1 to 1000000");
    text.parse().ok().filter(|number| (1..=1_000_000).contains(number)).ok_or_else(wrong)
}

/// Whether `OTEL_*` variables ask for traces.
fn is_wanted() -> bool {
    let is = |name: &str, value: &str| variable(name).is_some_and(|text| text.eq_ignore_ascii_case(value));
    let has_collector = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
        .iter()
        .any(|name| variable(name).is_some());
    !is("OTEL_SDK_DISABLED", "true")
        && !is("OTEL_TRACES_EXPORTER", "none")
        && (has_collector || is("OTEL_TRACES_EXPORTER", "otlp"))
}

impl Tracer {
    /// Starts what the `OTEL_*` variables ask for, on the current runtime. The service is called so, unless they name it.
    /// The error names the variable.
    pub fn start(service: &'static str, spans: &IntCounterVec) -> Result<Self, String> {
        if !is_wanted() {
            return Ok(Self::default());
        }
        let sampler = Sampler::read()?;
        let queue = export::Exporter::read(service, spans.clone())?.start();
        Ok(Self(Some(Arc::new(Active { queue, sampler, spans: spans.clone() }))))
    }

    /// Checks the `OTEL_*` variables as a start does.
    pub fn check() -> Result<(), String> {
        if !is_wanted() {
            return Ok(());
        }
        export::Exporter::read("", unregistered())?;
        Sampler::read().map(|_| ())
    }

    /// Whether spans are recorded.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether a hop of a trace that another program records is recorded here.
    pub fn goes_on(&self, parent: TraceContext) -> bool {
        parent.is_sampled && self.0.as_ref().is_some_and(|active| !active.sampler.is_off())
    }

    /// A span for a request that came with this context or without one; `None` if it is not recorded.
    pub fn enter(&self, parent: Option<TraceContext>) -> Option<TraceContext> {
        let active = self.0.as_ref()?;
        let context = parent.map_or_else(TraceContext::root, TraceContext::child);
        active.sampler.takes(parent).then_some(TraceContext { is_sampled: true, ..context })
    }

    /// Records a span. It never waits: with a full queue the span is dropped, and counted.
    pub fn record(&self, span: Span) {
        let Some(active) = &self.0 else { return };
        if active.queue.try_send(Item::Span(Box::new(span))).is_err() {
            active.spans.with_label_values(&["dropped"]).inc();
        }
    }

    /// Sends what is recorded, for so long at most.
    pub async fn flush(&self, limit: Duration) {
        let Some(active) = &self.0 else { return };
        let (done, is_done) = oneshot::channel();
        let flush = async {
            if active.queue.send(Item::Flush(done)).await.is_ok() {
                // An error means that the task has ended.
                let _ = is_done.await;
            }
        };
        let _ = tokio::time::timeout(limit, flush).await;
    }
}
