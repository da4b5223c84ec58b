//! Spans of a gateway's hops: handshakes, calls and their relay to a worker, publications and deliveries.

use std::time::{Duration, Instant, SystemTime};

use diffyne_shared::trace::{IsRemote, Span, SpanKind, Tracer, time_of};
use diffyne_shared::trace_context::TraceContext;

/// The line of a client's headers that names the page's span.
const TRACEPARENT: &[u8] = b"traceparent: ";

/// The spans of a call that is under way.
#[derive(Debug, Clone, Copy)]
pub struct CallTrace {
    /// The page's span.
    parent: Option<TraceContext>,
    /// From the call's arrival to its answer.
    call: TraceContext,
    /// From when it was sent to a worker.
    relay: TraceContext,
}

/// How a call ended.
pub struct TracedEnd<'a> {
    /// When the call arrived.
    pub started: Instant,
    /// How long a worker had it; `None` if none has answered.
    pub with_worker: Option<Duration>,
    /// The component, if the worker has told it.
    pub component: Option<&'a str>,
    /// The outcome, as in the metrics.
    pub outcome: &'static str,
    /// Whether it is a failure that operators want to know of.
    pub is_failure: bool,
}

impl CallTrace {
    /// The spans of a call of a client with these headers; `None` if they are not recorded.
    pub fn begin(tracer: &Tracer, headers: &[u8]) -> Option<Box<Self>> {
        if !tracer.is_on() {
            return None;
        }
        let parent = parent_in(headers);
        let call = tracer.enter(parent)?;
        Some(Box::new(Self { parent, call, relay: call.child() }))
    }

    /// What a worker is told of the trace of a call of a client with these headers. An application records nothing either of
    /// a trace that is left out here, whatever the client asks for.
    pub fn relayed(trace: Option<&Self>, tracer: &Tracer, headers: &[u8]) -> Option<Box<TraceContext>> {
        match trace {
            Some(trace) => Some(Box::new(trace.relay())),
            None if !tracer.is_on() => None,
            None => parent_in(headers).map(|parent| Box::new(TraceContext { is_sampled: false, ..parent.child() })),
        }
    }

    /// The span that the worker's is a part of.
    fn relay(&self) -> TraceContext {
        self.relay
    }

    /// Records a call that has ended.
    pub fn end(&self, tracer: &Tracer, call: &TracedEnd<'_>) {
        let end = SystemTime::now();
        let component = call.component.unwrap_or("unknown");
        let attributes =
            vec![("diffyne.component", component.to_owned()), ("diffyne.outcome", call.outcome.to_owned())];
        let error = call.is_failure.then_some(call.outcome);
        tracer.record(Span {
            context: self.call,
            parent: self.parent.map(|parent| (parent.span, IsRemote::Yes)),
            kind: SpanKind::Server,
            name: format!("call {component}"),
            start: time_of(call.started),
            end,
            attributes: attributes.clone(),
            events: Vec::new(),
            error,
        });
        let Some(took) = call.with_worker else { return };
        tracer.record(Span {
            context: self.relay,
            parent: Some((self.call.span, IsRemote::No)),
            kind: SpanKind::Client,
            name: "relay".to_owned(),
            start: end.checked_sub(took).unwrap_or(end),
            end,
            attributes,
            events: Vec::new(),
            error,
        });
    }

    /// The span of an event that the call publishes: deliveries are parts of it.
    pub fn event(&self) -> TraceContext {
        self.call.child()
    }

    /// Records what became of an event that the call publishes.
    pub fn published(&self, tracer: &Tracer, event: TraceContext, name: &str, is_published: bool) {
        let now = SystemTime::now();
        tracer.record(Span {
            context: event,
            parent: Some((self.call.span, IsRemote::No)),
            kind: SpanKind::Producer,
            name: format!("publish {name}"),
            start: now,
            end: now,
            attributes: vec![("messaging.destination.name", name.to_owned())],
            events: Vec::new(),
            error: (!is_published).then_some("queue_full"),
        });
    }
}

/// Records a handshake of a client with these headers that was accepted just now.
pub fn handshake(tracer: &Tracer, headers: &[u8]) {
    if !tracer.is_on() {
        return;
    }
    let parent = parent_in(headers);
    let Some(context) = tracer.enter(parent) else { return };
    let now = SystemTime::now();
    tracer.record(Span {
        context,
        parent: parent.map(|parent| (parent.span, IsRemote::Yes)),
        kind: SpanKind::Server,
        name: "handshake".to_owned(),
        start: now,
        end: now,
        attributes: Vec::new(),
        events: Vec::new(),
        error: None,
    });
}

/// A broadcast on its way to the connections of this gateway.
pub struct Delivering {
    context: TraceContext,
    event: String,
    start: SystemTime,
}

impl Delivering {
    /// A broadcast that this span has published; `None` if it is not recorded.
    pub fn begin(tracer: &Tracer, parent: Option<TraceContext>, event: &str) -> Option<Self> {
        let context = parent.filter(|parent| tracer.goes_on(*parent))?;
        Some(Self { context, event: event.to_owned(), start: SystemTime::now() })
    }

    /// Records that every thread has it.
    pub fn end(self, tracer: &Tracer) {
        tracer.record(Span {
            context: self.context.child(),
            parent: Some((self.context.span, IsRemote::Yes)),
            kind: SpanKind::Consumer,
            name: format!("deliver {}", self.event),
            start: self.start,
            end: SystemTime::now(),
            attributes: vec![("messaging.destination.name", self.event)],
            events: Vec::new(),
            error: None,
        });
    }
}

fn parent_in(headers: &[u8]) -> Option<TraceContext> {
    let line = headers.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(TRACEPARENT))?;
    TraceContext::parse(std::str::from_utf8(line).ok()?.trim_end())
}
