//! Spans of a worker's hops: the call, and the method that it runs.

use std::time::{Duration, SystemTime};

use diffyne_shared::rpc::{Call, Outcome};
use diffyne_shared::trace::{IsRemote, Span, SpanKind, Tracer};
use diffyne_shared::trace_context::TraceContext;

use crate::call::CallResult;

/// The header that tells the application its span.
const TRACEPARENT: &str = "traceparent";

/// The spans of a call that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallTrace {
    /// The gateway's span.
    parent: TraceContext,
    /// From the call's arrival to its result.
    call: TraceContext,
    /// The method.
    method: TraceContext,
}

impl CallTrace {
    /// The spans of a call; `None` if they are not recorded.
    pub(super) fn begin(tracer: &Tracer, call: &Call<'_>) -> Option<Self> {
        let parent = call.trace.filter(|parent| tracer.goes_on(*parent))?;
        let child = parent.child();
        Some(Self { parent, call: child, method: child.child() })
    }

    /// Records a call that has ended just now. It waited so long for its slot, and then took so long.
    pub(super) fn end(&self, tracer: &Tracer, result: &CallResult, waited: Duration, took: Duration) {
        let end = SystemTime::now();
        let start = end.checked_sub(waited + took).unwrap_or(end);
        let after = |micros: u32| start + Duration::from_micros(micros.into());
        let phases = &result.phases;
        let (run, render) = (phases.queue, phases.queue.saturating_add(phases.run));
        let diff = render.saturating_add(phases.render);
        let is_failure = matches!(result.outcome, Outcome::ServerError | Outcome::Exception | Outcome::Timeout);
        let error = is_failure.then(|| result.outcome.label());
        let class = if result.class.is_empty() { "unknown" } else { &result.class };
        let attributes = vec![
            ("diffyne.component", result.class.clone()),
            ("diffyne.method", result.method.clone()),
            ("diffyne.outcome", result.outcome.label().to_owned()),
            ("diffyne.request", result.request_id.to_string()),
        ];
        tracer.record(Span {
            context: self.call,
            parent: Some((self.parent.span, IsRemote::Yes)),
            kind: SpanKind::Server,
            name: format!("worker {class}"),
            start,
            end,
            attributes: attributes.clone(),
            events: vec![("queue", start)],
            error,
        });
        tracer.record(Span {
            context: self.method,
            parent: Some((self.call.span, IsRemote::No)),
            kind: SpanKind::Internal,
            name: format!("{class}::{}", result.method),
            start: after(run).min(end),
            end,
            attributes,
            events: vec![("run", after(run)), ("render", after(render)), ("diff", after(diff))],
            error,
        });
    }
}

/// The headers of a call's client in which the application finds the span that it is called from.
pub(super) fn headers(headers: String, call: &Call<'_>, trace: Option<CallTrace>) -> String {
    let Some(context) = trace.map(|trace| trace.method).or(call.trace) else { return headers };
    let mut lines: String = headers
        .split_inclusive('\n')
        .filter(|line| !line.split(':').next().is_some_and(|name| name.eq_ignore_ascii_case(TRACEPARENT)))
        .collect();
    lines.extend([TRACEPARENT, ": ", context.to_string().as_str(), "\n"]);
    lines
}
