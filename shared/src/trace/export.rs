//! Sends spans to the collector, in batches: `OTEL_EXPORTER_OTLP_*` say where to, `OTEL_BSP_*` how many at a time.

use std::time::Duration;

use opentelemetry::trace::{Event, SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use prometheus::IntCounterVec;
use tokio::sync::{mpsc, oneshot};

use super::client::Client;
use super::{IsRemote, Item, Span, SpanKind, variable};
use crate::telemetry::{self, LogThrottle};

const DEFAULT_ENDPOINT: &str = "http://localhost:4318";

/// How spans are collected into batches; the defaults are OpenTelemetry's.
struct BatchLimits {
    queue: usize,
    batch: usize,
    delay: Duration,
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

fn number(name: &str, default: usize) -> Result<usize, String> {
    let Some(text) = variable(name) else { return Ok(default) };
    let wrong = || format!("{name}={text}: it has to be a number from 1 to 1000000");
    text.parse().ok().filter(|number| (1..=1_000_000).contains(number)).ok_or_else(wrong)
}

/// The address that spans are posted to.
fn endpoint() -> Result<String, String> {
    let (name, text) = if let Some(text) = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", text)
    } else {
        let base = variable("OTEL_EXPORTER_OTLP_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{}/v1/traces", base.trim_end_matches('/')))
    };
    let uri = text.parse::<hyper::Uri>().ok();
    let is_address = |uri: &hyper::Uri| uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https"));
    let Some(uri) = uri.filter(is_address) else {
        // It may have a secret, which belongs into no log.
        return Err(format!("{name} is no address such as http://127.0.0.1:4318"));
    };
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(format!("{name} has a user or a password: say it in OTEL_EXPORTER_OTLP_HEADERS"));
    }
    Ok(text)
}

/// Who sends: the variables' words count before ours.
fn resource(service: &'static str) -> Resource {
    let has_name = variable("OTEL_SERVICE_NAME").is_some()
        || variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|text| text.contains("service.name="));
    let resource = Resource::builder().with_attribute(KeyValue::new("service.version", crate::VERSION));
    if has_name { resource.build() } else { resource.with_service_name(service).build() }
}

/// What sends spans to a collector.
pub(super) struct Exporter {
    otlp: opentelemetry_otlp::SpanExporter,
    endpoint: String,
    limits: BatchLimits,
    spans: IntCounterVec,
    lines: LogThrottle,
}

impl Exporter {
    /// Reads the variables.
    pub(super) fn read(service: &'static str, spans: IntCounterVec) -> Result<Self, String> {
        let protocol = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]
            .into_iter()
            .find_map(|name| Some((name, variable(name)?)));
        if let Some((name, protocol)) = protocol.filter(|(_, protocol)| protocol != "http/protobuf") {
            return Err(format!("{name}={protocol}: this program speaks http/protobuf (port 4318 of a collector)"));
        }
        let (endpoint, limits) = (endpoint()?, BatchLimits::read()?);
        let authority =
            variable("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE").or_else(|| variable("OTEL_EXPORTER_OTLP_CERTIFICATE"));
        let client = Client::new(&endpoint, authority.as_deref())?;
        let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().with_http_client(client);
        let exporter = exporter.with_endpoint(&endpoint).build();
        let mut exporter = exporter.map_err(|error| format!("OTEL_EXPORTER_OTLP_*: {error}"))?;
        exporter.set_resource(&resource(service));
        Ok(Self { otlp: exporter, endpoint, limits, spans, lines: LogThrottle::default() })
    }

    /// Starts to export what is sent to it.
    pub(super) fn start(self) -> mpsc::Sender<Item> {
        // Without a query, which may have a key.
        let address = self.endpoint.split('?').next().unwrap_or_default();
        tracing::info!(collector = %telemetry::name(address), "traces are sent");
        let (sender, queue) = mpsc::channel(self.limits.queue);
        tokio::spawn(self.run(queue));
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

    async fn export(&self, batch: Vec<SpanData>) {
        if batch.is_empty() {
            return;
        }
        let count = batch.len() as u64;
        let error = match tokio::time::timeout(self.limits.timeout, self.otlp.export(batch)).await {
            Ok(Ok(())) => return self.spans.with_label_values(&["exported"]).inc_by(count),
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("no answer within {:?}", self.limits.timeout),
        };
        self.spans.with_label_values(&["failed"]).inc_by(count);
        if let Some(left_out) = self.lines.allow() {
            tracing::warn!(error = %telemetry::error(&error), spans = count, left_out, "the collector of traces does not take spans");
        }
    }
}

/// Adds a span to a batch. Returns whom to tell when what came before has been exported.
fn take(item: Item, batch: &mut Vec<SpanData>) -> Option<oneshot::Sender<()>> {
    match item {
        Item::Span(span) => batch.push(span_data(*span)),
        Item::Flush(done) => return Some(done),
    }
    None
}

fn span_data(span: Span) -> SpanData {
    let context = SpanContext::new(
        TraceId::from_bytes(span.context.trace.to_be_bytes()),
        SpanId::from_bytes(span.context.span.to_be_bytes()),
        TraceFlags::SAMPLED,
        false,
        TraceState::default(),
    );
    let mut events = SpanEvents::default();
    events.events.extend(span.events.into_iter().map(|(name, time)| Event::new(name, time, Vec::new(), 0)));
    let (parent, is_remote) = span.parent.unwrap_or((0, IsRemote::No));
    SpanData {
        span_context: context,
        parent_span_id: SpanId::from_bytes(parent.to_be_bytes()),
        parent_span_is_remote: is_remote == IsRemote::Yes,
        span_kind: match span.kind {
            SpanKind::Server => opentelemetry::trace::SpanKind::Server,
            SpanKind::Client => opentelemetry::trace::SpanKind::Client,
            SpanKind::Producer => opentelemetry::trace::SpanKind::Producer,
            SpanKind::Consumer => opentelemetry::trace::SpanKind::Consumer,
            SpanKind::Internal => opentelemetry::trace::SpanKind::Internal,
        },
        name: span.name.into(),
        start_time: span.start,
        end_time: span.end,
        attributes: span.attributes.into_iter().map(|(name, value)| KeyValue::new(name, value)).collect(),
        dropped_attributes_count: 0,
        events,
        links: SpanLinks::default(),
        status: span.error.map_or(Status::Unset, Status::error),
        instrumentation_scope: InstrumentationScope::builder("diffyne").with_version(crate::VERSION).build(),
    }
}
