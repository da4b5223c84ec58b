//! The bridge's reply to a call, and the result that it becomes. Every backend that calls PHP ends here.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use diffyne_shared::rpc::{CallKind, Outcome, SessionChange, Transport};
use diffyne_shared::signing::Signer;
use diffyne_shared::telemetry::{self, Excerpt, LogThrottle};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::names::{self, CallNames, KnownNames};
use super::rendering::{RenderedComponent, Rendering, ShownHtml, ViewParts};
use crate::call::{BroadcastEvent, CallError, CallPhases, CallResult, UserEvent, redirect};

/// Limits log lines about failed calls: anybody can cause them.
static LINES: LogThrottle = LogThrottle::new(10, 50);
/// The same for those that were answered like a refusal, which must not hide the others.
static ANSWERED_LINES: LogThrottle = LogThrottle::new(10, 50);

/// The head of a reply: how a call ended, as the bridge reports it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct BridgeReply {
    outcome: String,
    error: String,
    /// The error's text for the log, where it is another one than that for developers: without values of users.
    logged: String,
    /// The class, method or property that an outcome is about.
    name: String,
    /// The class in the application's spelling.
    component: String,
    /// The method in the application's spelling.
    method: String,
    /// Texts by field. PHP encodes an empty array as a list.
    errors: Value,
    exception: String,
    file: String,
    line: u64,
    /// Status of a response that the framework gave instead of the bridge.
    status: u16,
    events: Vec<BridgeEvent>,
    user_events: Vec<BridgeUserEvent>,
    /// The user's id, empty for a guest.
    user: Option<String>,
    event_count: u32,
    set_cookie: Vec<String>,
    session: Option<SessionChange>,
    /// Length of the body in bytes, where the body does not come in a frame.
    length: Option<usize>,
    /// The parts of the body, where the worker has asked for them; otherwise the body is the client's JSON.
    view: Option<ViewParts>,
    /// How long PHP rendered, in microseconds.
    render_us: u64,
    /// What PHP has allocated after the call, in bytes; 0 where it does not say so.
    memory: u64,
    /// The method is marked `#[Shared]`: what its reply depends on beside its message, or nothing.
    shared: Option<String>,
}

/// An event that may go to the whole cluster.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct BridgeEvent {
    pub(super) index: u32,
    pub(super) name: String,
    /// The `params` list as JSON.
    pub(super) params: String,
}

/// An event for one user.
#[derive(Debug, Clone, Deserialize)]
struct BridgeUserEvent {
    user: String,
    name: String,
    /// The `params` list as JSON.
    params: String,
}

/// The call that a reply belongs to.
#[derive(Clone, Copy)]
pub(super) struct CallInfo<'a> {
    pub(super) kind: CallKind,
    pub(super) transport: Transport,
    /// The component's class as the client spelled it.
    pub(super) class: &'a str,
    /// The method as the client spelled it; `update` or `mount` for those.
    pub(super) method: &'a str,
    pub(super) request_id: &'a str,
    /// Whether clients may see exceptions.
    pub(super) debug: bool,
    pub(super) known_names: &'a KnownNames,
    pub(super) rendering: &'a Rendering,
    pub(super) signer: &'a Signer,
    pub(super) component_id: &'a str,
    /// Whether the page's script returns integers as it got them.
    pub(super) is_exact: bool,
    /// The HTML that the client shows, where PHP was not asked to render it.
    pub(super) shown: Option<&'a ShownHtml>,
}

impl BridgeReply {
    /// The program that was called failed without a reply of its own.
    pub(super) fn broken(error: String) -> Self {
        Self { outcome: "exception".to_owned(), error, ..Self::default() }
    }

    /// The application's framework responded instead of the component.
    pub(super) fn refused(status: u16) -> Self {
        Self { outcome: "refused".to_owned(), status, ..Self::default() }
    }

    /// The call ran until its deadline and was ended.
    pub(super) fn timed_out() -> Self {
        Self { outcome: "timed_out".to_owned(), ..Self::default() }
    }

    /// What PHP has allocated after the call, in bytes; 0 where it does not say so.
    pub(super) fn memory(&self) -> u64 {
        self.memory
    }

    /// The client has left before the answer was complete.
    pub(super) fn client_left() -> Self {
        Self { outcome: "client_left".to_owned(), ..Self::default() }
    }

    /// The call succeeded with these events.
    pub(super) fn succeeded(event_count: u32, events: Vec<BridgeEvent>) -> Self {
        Self { outcome: "ok".to_owned(), event_count, events, ..Self::default() }
    }

    /// The call failed with one of the bridge's outcomes.
    pub(super) fn failed(outcome: &str, error: String, errors: Value) -> Self {
        Self { outcome: outcome.to_owned(), error, errors, ..Self::default() }
    }

    /// Takes what PHP has printed to its error output for the reason of a failure that has no better one, and gives back
    /// what is not part of one.
    pub(super) fn explain(&mut self, printed: String) -> Option<String> {
        let is_unexplained = matches!(self.outcome.as_str(), "refused" | "exception") && self.exception.is_empty();
        if printed.is_empty() || !is_unexplained {
            return Some(printed).filter(|text| !text.is_empty());
        }
        self.logged = if self.error.is_empty() { printed } else { format!("{}: {printed}", self.error) };
        None
    }

    /// Takes the cookies from the response's headers.
    pub(super) fn set_cookies(&mut self, lines: Vec<String>) {
        self.set_cookie = lines;
    }

    /// Takes the cookies from the response's headers as well. Those of a call that has sent parts are in its reply.
    pub(super) fn add_cookies(&mut self, lines: Vec<String>) {
        self.set_cookie.extend(lines);
    }

    /// Names what the outcome is about, where the reply does not.
    pub(super) fn default_name(&mut self, class: &str, member: &str) {
        if self.name.is_empty() {
            self.name = if self.outcome == "unknown_component" { class } else { member }.to_owned();
        }
    }

    /// Takes the client's spelling of class and method after a successful call.
    ///
    /// The package's endpoint reports no names, but success shows that they exist in some spelling.
    pub(super) fn default_spelling(&mut self, class: &str, method: &str) {
        if self.is_ok() {
            self.component = class.trim_start_matches('\\').to_ascii_lowercase();
            self.method = method.to_ascii_lowercase();
        }
    }

    /// Why the call failed, if it did.
    pub(super) fn error(&self) -> Option<&str> {
        (!self.is_ok()).then_some(&self.error)
    }

    /// Whether the body is complete.
    pub(super) fn has_length_of(&self, body: &[u8]) -> bool {
        self.length.is_none_or(|length| length == body.len())
    }

    /// Whether the process exits after this reply.
    pub(super) fn is_last(&self) -> bool {
        self.outcome == "exit"
    }

    /// Whether the worker makes the client's response of what PHP rendered.
    pub(super) fn has_view(&self) -> bool {
        self.is_ok() && self.view.is_some()
    }

    /// What the reply of a method marked `#[Shared]` depends on beside its message; `None` for other methods.
    pub(super) fn shared(&self) -> Option<&str> {
        self.shared.as_deref()
    }

    /// Whether equal calls of other clients may get this reply.
    pub(super) fn is_shareable(&self) -> bool {
        self.has_view()
            && self.shared() == Some("")
            && self.event_count == 0
            && self.user_events.is_empty()
            && self.set_cookie.is_empty()
    }

    /// The same reply for the component with another id than the one that PHP got.
    pub(super) fn for_component(&self, body: &[u8], neutral_id: &str, id: &str) -> (Self, Vec<u8>) {
        let mut reply = self.clone();
        // That of the client whose call has run.
        reply.user = None;
        let Some(view) = &self.view else { return (reply, body.to_vec()) };
        let (view, body) = view.with_id(body, neutral_id, id);
        reply.view = Some(view);
        (reply, body)
    }

    fn is_ok(&self) -> bool {
        self.outcome == "ok"
    }

    /// The call's result. `body` is the client's JSON of a successful call, or the parts of it.
    pub(super) fn into_result(self, body: Vec<u8>, call: &CallInfo<'_>) -> CallResult {
        if !self.is_ok() {
            return self.into_failure(call);
        }
        let began = Instant::now();
        match self.client_json(body, call) {
            Ok(body) => {
                let phases = CallPhases::of_response(Duration::from_micros(self.render_us), began);
                CallResult { phases, ..self.into_success(body, call) }
            }
            Err(error) => {
                let Self { component, method, set_cookie, session, user, .. } = self;
                Self { component, method, user, set_cookie, session, ..Self::default() }.fail(&error, call)
            }
        }
    }

    fn client_json(&self, body: Vec<u8>, call: &CallInfo<'_>) -> Result<Vec<u8>, CallError> {
        let Some(parts) = &self.view else {
            return body_error(&body).map_or(Ok(body), |error| Err(CallError::Exception(error)));
        };
        let component = RenderedComponent {
            class: &self.component,
            id: call.component_id,
            is_exact: call.is_exact,
            shown: call.shown,
        };
        call.rendering.response(parts, &body, component, call.signer)
    }

    fn into_success(self, body: Vec<u8>, call: &CallInfo<'_>) -> CallResult {
        let CallNames { class, method } = self.names(call);
        let broadcast =
            |event: BridgeEvent| BroadcastEvent { index: event.index, name: event.name, params: event.params.into() };
        let user_event =
            |event: BridgeUserEvent| UserEvent { user: event.user, name: event.name, params: event.params.into() };
        CallResult {
            class,
            method,
            outcome: Outcome::Ok,
            status: 200,
            data: body,
            event_count: self.event_count,
            broadcasts: self.events.into_iter().map(broadcast).collect(),
            user_events: self.user_events.into_iter().map(user_event).collect(),
            user: self.user,
            set_cookie: self.set_cookie,
            session: self.session.unwrap_or_default(),
            ..CallResult::default()
        }
    }

    fn into_failure(self, call: &CallInfo<'_>) -> CallResult {
        let error = self.call_error();
        self.fail(&error, call)
    }

    fn fail(self, error: &CallError, call: &CallInfo<'_>) -> CallResult {
        let names = self.names(call);
        let place = self.place(&names);
        error.warn_if_unsigned(&names.class);
        if *error == CallError::TimedOut {
            log_timeout(&names, call);
        } else {
            self.log(error, &names, &place, call);
        }
        CallResult {
            class: names.class,
            method: names.method,
            outcome: error.outcome(),
            status: error.status(call.kind),
            data: error.response(call.kind, call.transport, call.debug, &place).to_string().into_bytes(),
            // The cookies of a session that has ended would replace newer ones.
            set_cookie: if *error == CallError::SessionEnded { Vec::new() } else { self.set_cookie },
            user: self.user,
            session: self.session.unwrap_or_default(),
            ..CallResult::default()
        }
    }

    fn call_error(&self) -> CallError {
        let (name, error) = (self.name.clone(), self.error.clone());
        match self.outcome.as_str() {
            "invalid" => CallError::Invalid(error),
            "validation" => CallError::Validation(match &self.errors {
                Value::Object(errors) => errors.clone(),
                _ => Map::new(),
            }),
            "unknown_method" => CallError::UnknownMethod(name),
            "method" => CallError::Method(error),
            "unknown_property" => CallError::UnknownProperty(name),
            "property" => CallError::Property(error),
            "unknown_component" => CallError::UnknownComponent(name),
            "unsigned" => CallError::Unsigned,
            "session_ended" => CallError::SessionEnded,
            "unreturnable" => CallError::Unreturnable(error),
            "not_lazy" => CallError::NotLazy(name),
            "refused" => CallError::Refused(self.status),
            "timed_out" => CallError::TimedOut,
            "client_left" => CallError::ClientLeft,
            _ => CallError::Exception(error),
        }
    }

    /// Logs errors of the application and refusals of its framework for operators.
    fn log(&self, error: &CallError, names: &CallNames, place: &str, call: &CallInfo<'_>) {
        let (text, lines) = match error {
            CallError::Exception(text) | CallError::Unreturnable(text) => (text, &LINES),
            // The package answers some exceptions of the application as if the client had erred: that of a missing view.
            CallError::Method(text) | CallError::Property(text) if !self.exception.is_empty() => {
                (text, &ANSWERED_LINES)
            }
            CallError::Refused(_) => (&self.error, &ANSWERED_LINES),
            _ => return,
        };
        let Some(left_out) = lines.allow() else { return };
        let (class, method) = shown_names(names, call);
        let request = telemetry::name(call.request_id);
        let text = if self.logged.is_empty() { text } else { &self.logged };
        let is_unexplained = text.is_empty();
        let (text, place) = (telemetry::error(text), telemetry::error(place));
        match error {
            CallError::Refused(status) if is_unexplained => {
                tracing::warn!(component = %class, %method, status, %request, left_out, "the application answered instead of the component");
            }
            CallError::Refused(status) => {
                tracing::warn!(component = %class, %method, status, error = %text, %place, %request, left_out, "the application answered instead of the component");
            }
            CallError::Method(_) | CallError::Property(_) => {
                tracing::warn!(component = %class, %method, error = %text, %place, %request, left_out, "a component failed");
            }
            _ => {
                tracing::error!(component = %class, %method, error = %text, %place, %request, left_out, "a component failed");
            }
        }
    }

    fn place(&self, names: &CallNames) -> String {
        let Self { exception, file, line, .. } = self;
        if exception.is_empty() && file.is_empty() {
            return if names.class.is_empty() { String::new() } else { format!("{}::{}", names.class, names.method) };
        }
        // A fatal error has no class.
        if exception.is_empty() { format!("{file}:{line}") } else { format!("{exception} in {file}:{line}") }
    }

    /// The class and method in the application's spelling, where they are known to exist.
    fn names(&self, call: &CallInfo<'_>) -> CallNames {
        if matches!(call.kind, CallKind::Grant | CallKind::Lifecycle) {
            // A grant request is about several classes, and the other about none.
            return CallNames { class: String::new(), method: call.method.to_owned() };
        }
        let class = names::valid_or_empty(&self.component);
        if class.is_empty() {
            return call.known_names.find(call.class, call.method);
        }
        // `update` and `mount` are no methods of the class.
        let method = if call.kind == CallKind::Call { names::valid_or_empty(&self.method) } else { call.method };
        let names = CallNames { class: class.to_owned(), method: method.to_owned() };
        call.known_names.learn(&names);
        names
    }
}

/// The part of a client's JSON that the worker checks.
#[derive(Deserialize)]
struct CheckedBody<'a> {
    #[serde(borrow, default)]
    redirect: Option<RedirectTarget<'a>>,
}

#[derive(Deserialize)]
struct RedirectTarget<'a> {
    #[serde(borrow, default)]
    url: Cow<'a, str>,
}

/// Why no page may get this body: it is not exactly one JSON object, or its redirect is refused.
fn body_error(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok().filter(|text| text.starts_with('{'));
    match text.map(serde_json::from_str::<CheckedBody<'_>>) {
        Some(Ok(CheckedBody { redirect: Some(target) })) => {
            redirect::check(&target.url).err().map(|error| error.to_string())
        }
        Some(Ok(_)) => None,
        // Invalid JSON would break the whole message for the page.
        Some(Err(_)) | None => Some("the answer is not a JSON object".to_owned()),
    }
}

/// Class and method for a log line. A call without an answer may be the first of its component, which then has no name of
/// the application's yet: the client's is better than none.
fn shown_names<'a>(names: &'a CallNames, call: &CallInfo<'a>) -> (Excerpt<'a>, Excerpt<'a>) {
    if names.class.is_empty() {
        (telemetry::name(call.class), telemetry::name(call.method))
    } else {
        (telemetry::name(&names.class), telemetry::name(&names.method))
    }
}

/// Logs a call that has run out of time.
fn log_timeout(names: &CallNames, call: &CallInfo<'_>) {
    let Some(left_out) = LINES.allow() else { return };
    let (class, method) = shown_names(names, call);
    let request = telemetry::name(call.request_id);
    tracing::error!(component = %class, %method, %request, left_out, "a call took too long and was ended (DIFFYNE_CALL_TIMEOUT)");
}
