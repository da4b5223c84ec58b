//! OTLP's messages, as far as spans need them: the wire of `opentelemetry/proto/trace/v1/trace.proto` and what it imports.

use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use super::{IsRemote, Span, SpanKind};

/// A span says whether its parent is remote.
const KNOWS_IS_REMOTE: u32 = 0x100;
/// The parent is remote.
const IS_REMOTE: u32 = 0x200;
/// The trace is recorded.
const IS_SAMPLED: u32 = 1;
/// `STATUS_CODE_ERROR`.
const ERROR: i32 = 2;

/// `ExportTraceServiceRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

/// `ExportTraceServiceResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Response {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

/// Who sends.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<SpanMessage>,
}

/// `InstrumentationScope`.
#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

/// `Span`.
#[derive(Clone, PartialEq, Message)]
struct SpanMessage {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "11")]
    events: Vec<Event>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(fixed64, tag = "1")]
    time_unix_nano: u64,
    #[prost(string, tag = "2")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

/// A text; the other kinds of values do not occur here.
#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    string_value: Option<String>,
}

fn attribute(key: impl Into<String>, value: String) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { string_value: Some(value) }) }
}

fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

impl Resource {
    pub(super) fn new(attributes: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { attributes: attributes.into_iter().map(|(key, value)| attribute(key, value)).collect() }
    }
}

impl Request {
    /// Spans of this process.
    pub(super) fn new(resource: &Resource, spans: Vec<Span>) -> Self {
        let scope = Scope { name: "diffyne".to_owned(), version: crate::VERSION.to_owned() };
        let spans = spans.into_iter().map(SpanMessage::from).collect();
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
        Self { resource_spans: vec![ResourceSpans { resource: Some(resource.clone()), scope_spans }] }
    }
}

impl Response {
    /// How many spans the collector has refused, and why.
    pub(super) fn refused(self) -> Option<(u64, String)> {
        let partial = self.partial_success?;
        let count = u64::try_from(partial.rejected_spans).ok().filter(|count| *count > 0)?;
        Some((count, partial.error_message))
    }
}

impl From<Span> for SpanMessage {
    fn from(span: Span) -> Self {
        let (parent, is_remote) = span.parent.map_or((Vec::new(), false), |(parent, is_remote)| {
            (parent.to_be_bytes().to_vec(), is_remote == IsRemote::Yes)
        });
        let event = |(name, time): (&str, SystemTime)| Event { name: name.to_owned(), time_unix_nano: nanos(time) };
        Self {
            trace_id: span.context.trace.to_be_bytes().to_vec(),
            span_id: span.context.span.to_be_bytes().to_vec(),
            parent_span_id: parent,
            name: span.name,
            kind: match span.kind {
                SpanKind::Internal => 1,
                SpanKind::Server => 2,
                SpanKind::Client => 3,
                SpanKind::Producer => 4,
                SpanKind::Consumer => 5,
            },
            start_time_unix_nano: nanos(span.start),
            end_time_unix_nano: nanos(span.end),
            attributes: span.attributes.into_iter().map(|(key, value)| attribute(key, value)).collect(),
            events: span.events.into_iter().map(event).collect(),
            status: span.error.map(|error| Status { message: error.to_owned(), code: ERROR }),
            flags: IS_SAMPLED | KNOWS_IS_REMOTE | if is_remote { IS_REMOTE } else { 0 },
        }
    }
}
