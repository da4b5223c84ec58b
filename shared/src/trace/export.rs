//! Collects spans into batches and sends them; `OTEL_BSP_*` say how many at a time, and how long a batch is tried.

use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus::IntCounterVec;
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};

use super::client::{Client, Refusal};
use super::collector::{self, Collector};
use super::message::{Request, Resource, Response};
use super::{Item, Span, number};
use crate::http_client::within;
use crate::task;
use crate::telemetry::{self, LogThrottle};

/// The wait before the second try of a batch; each next one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// How spans are collected into batches; the defaults are OpenTelemetry's.
struct BatchLimits {
    queue: usize,
    batch: usize,
    delay: Duration,
    /// For a batch with all of its tries.
    timeout: Duration,
}

impl BatchLimits {
    fn read() -> Result<Self, String> {
        let millis = |name, default| number(name, default).map(|millis| Duration::from_millis(millis as u64));
        Ok(Self {
            queue: number("OTEL_BSP_MAX_QUEUE_SIZE", 2048)?,
            batch: number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)?,
            delay: millis("OTEL_BSP_SCHEDULE_DELAY", 5000)?,
            timeout: millis("OTEL_BSP_EXPORT_TIMEOUT", 30_000)?,
        })
    }
}

/// What sends spans to a collector.
pub(super) struct Exporter {
    client: Client,
    resource: Resource,
    limits: BatchLimits,
    spans: IntCounterVec,
    lines: LogThrottle,
}

impl Exporter {
    /// Reads the variables.
    pub(super) fn read(service: &str, spans: IntCounterVec) -> Result<Self, String> {
        let (collector, limits) = (Collector::read()?, BatchLimits::read()?);
        let (client, resource) = (Client::new(collector)?, collector::resource(service)?);
        Ok(Self { client, resource, limits, spans, lines: LogThrottle::default() })
    }

    /// Starts to export what is sent to it.
    pub(super) fn start(self) -> mpsc::Sender<Item> {
        tracing::info!(collector = %telemetry::name(&self.client.address()), "traces are sent");
        let (sender, queue) = mpsc::channel(self.limits.queue);
        task::spawn(self.run(queue));
        sender
    }

    /// Exports until no program part can record any more.
    async fn run(self, mut queue: mpsc::Receiver<Item>) {
        while let Some(first) = queue.recv().await {
            let mut batch = Vec::new();
            let mut flushed = take(first, &mut batch);
            let deadline = tokio::time::Instant::now() + self.limits.delay;
            while flushed.is_none() && batch.len() < self.limits.batch {
                match tokio::time::timeout_at(deadline, queue.recv()).await {
                    Ok(Some(item)) => flushed = take(item, &mut batch),
                    Ok(None) | Err(_) => break,
                }
            }
            self.export(batch).await;
            if let Some(done) = flushed {
                // Whoever asked may have stopped waiting.
                let _ = done.send(());
            }
        }
    }

    async fn export(&self, batch: Vec<Span>) {
        if batch.is_empty() {
            return;
        }
        let count = batch.len() as u64;
        let message = Request::new(&self.resource, batch).encode_to_vec().into();
        let (refused, reason) = match self.send(message).await {
            Ok(answer) => answer.refused().unwrap_or_default(),
            Err(refusal) => (count, refusal.reason),
        };
        let refused = refused.min(count);
        self.spans.with_label_values(&["exported"]).inc_by(count - refused);
        self.spans.with_label_values(&["failed"]).inc_by(refused);
        if refused > 0 {
            self.warn(&reason, refused);
        }
    }

    /// Sends a batch, again and again while that may help and there is time.
    async fn send(&self, message: Bytes) -> Result<Response, Refusal> {
        let (until, mut wait) = (Instant::now() + self.limits.timeout, FIRST_WAIT);
        loop {
            let limit = self.client.timeout().min(until.saturating_duration_since(Instant::now()));
            let refusal = match within(limit, self.client.send(message.clone())).await {
                Ok(answer) => return Ok(answer),
                Err(refusal) => refusal,
            };
            // Not all programs at the same moment.
            let pause = refusal.after.unwrap_or_else(|| wait.mul_f64(0.5 + fastrand::f64() / 2.0));
            if !refusal.is_retried || until.saturating_duration_since(Instant::now()) <= pause {
                return Err(refusal);
            }
            self.warn(&refusal.reason, 0);
            tokio::time::sleep(pause).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    fn warn(&self, error: &str, lost: u64) {
        if let Some(left_out) = self.lines.allow() {
            tracing::warn!(error = %telemetry::error(error), lost, left_out, "the collector of traces does not take spans");
        }
    }
}

/// Adds a span to a batch. Returns whom to tell when what came before has been exported.
fn take(item: Item, batch: &mut Vec<Span>) -> Option<oneshot::Sender<()>> {
    match item {
        Item::Span(span) => batch.push(*span),
        Item::Flush(done) => return Some(done),
    }
    None
}
