//! What PHP said, as the client's answer: one place for every backend that asks another program.

use std::borrow::Cow;

use diffyne_shared::rpc::{CallKind, Outcome, SessionChange, Transport};
use diffyne_shared::telemetry::{self, LogThrottle};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::names::{self, KnownNames, Names};
use super::{Broadcastable, Finished};
use crate::component::Failure;
use crate::redirect;

/// Log lines about calls that failed or were refused, which anybody can cause.
static LINES: LogThrottle = LogThrottle::new(10, 50);

/// The head of an answer: how a call ended, in the bridge's words.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Told {
    outcome: String,
    error: String,
    /// The class, method or property that an outcome is about.
    name: String,
    /// The class that was found, as the application spells it,
    component: String,
    /// and its method.
    method: String,
    /// Laravel prints no errors as a list.
    errors: Value,
    exception: String,
    file: String,
    line: u64,
    /// Of an answer that the framework gave instead of the bridge.
    status: u16,
    events: Vec<ToldEvent>,
    event_count: u32,
    set_cookie: Vec<String>,
    session: Option<SessionChange>,
    listeners: Option<String>,
    /// Bytes of the body, where it does not come in a frame.
    length: Option<usize>,
}

/// An event that may leave for the whole cluster.
#[derive(Debug, Deserialize)]
struct ToldEvent {
    index: u32,
    name: String,
    params: String,
}

/// The package's own endpoint as this reads it: `{s, c, events, ..}`, or one of its shapes of refusal.
#[derive(Deserialize)]
struct Endpoint {
    #[serde(default)]
    s: bool,
    #[serde(default)]
    success: bool,
    #[serde(default)]
    error: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    errors: Value,
    #[serde(default)]
    events: Vec<EndpointEvent>,
}

#[derive(Deserialize)]
struct EndpointEvent {
    name: String,
    #[serde(default)]
    params: Value,
    #[serde(default)]
    to: Value,
}

/// Reads an answer of the package's own endpoint: row by row of the protocol's table.
pub fn from_endpoint(status: u16, body: &[u8]) -> (Told, Vec<u8>) {
    let refused = || (Told::refused(status), Vec::new());
    let Ok(mut whole) = serde_json::from_slice::<Value>(body) else { return refused() };
    let Ok(answer) = serde_json::from_slice::<Endpoint>(body) else { return refused() };
    if answer.s || answer.success {
        // Patches that were filtered print as an object, which diffyne.js cannot read.
        if let Some(patches) = whole.pointer_mut("/c/p").filter(|patches| patches.is_object()) {
            let mut pairs: Vec<(i64, Value)> = match patches.take() {
                Value::Object(map) => map.into_iter().map(|(key, value)| (key.parse().unwrap_or(0), value)).collect(),
                _ => Vec::new(),
            };
            pairs.sort_by_key(|(key, _)| *key);
            *patches = pairs.into_iter().map(|(_, value)| value).collect();
        }
        let events = answer.events.iter().enumerate().filter(|(_, event)| event.to.is_null());
        let told = Told {
            outcome: "ok".to_owned(),
            event_count: answer.events.len() as u32,
            events: events
                .map(|(index, event)| {
                    let params = if event.params.is_null() { "[]".to_owned() } else { event.params.to_string() };
                    ToldEvent { index: index as u32, name: event.name.clone(), params }
                })
                .collect(),
            ..Told::default()
        };
        return (told, whole.to_string().into_bytes());
    }
    let outcome = match (answer.kind.as_str(), status) {
        ("validation_error", _) => "validation",
        ("method_error", _) => "method",
        ("property_error", _) => "property",
        ("exception" | "server_error", _) => "exception",
        (_, 400) if !answer.error.is_empty() => "invalid",
        (_, 404) if !answer.error.is_empty() => "unknown_component",
        _ => return refused(),
    };
    let told = Told { outcome: outcome.to_owned(), error: answer.error, errors: answer.errors, ..Told::default() };
    (told, Vec::new())
}

/// What is looked at of an answer that went well.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    redirect: Option<Redirect<'a>>,
}

#[derive(Deserialize)]
struct Redirect<'a> {
    #[serde(borrow, default)]
    url: Cow<'a, str>,
}

/// Why this is no answer for a page: it is not one JSON object and nothing else, or sends the page where none goes.
fn fault(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok().filter(|text| text.starts_with('{'));
    match text.map(serde_json::from_str::<Answer<'_>>) {
        Some(Ok(Answer { redirect: Some(redirect) })) => {
            redirect::check(&redirect.url).err().map(|refused| refused.to_string())
        }
        Some(Ok(_)) => None,
        // It would spoil the whole message for the page.
        Some(Err(_)) | None => Some("the answer is no JSON object".to_owned()),
    }
}

/// Whose call it was.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What was asked for.
    pub kind: CallKind,
    /// How it came.
    pub transport: Transport,
    /// The component's class, in the client's words.
    pub class: &'a str,
    /// The method; `update` or `mount` for those.
    pub method: &'a str,
    /// What logs call this request by.
    pub request_id: &'a str,
    /// Tell clients of exceptions.
    pub debug: bool,
    /// What is known of the application's names.
    pub known: &'a KnownNames,
}

impl Told {
    /// An error of our own about the program that was asked.
    pub fn broken(error: String) -> Self {
        Self { outcome: "exception".to_owned(), error, ..Self::default() }
    }

    /// The application's framework answered instead of the component.
    pub fn refused(status: u16) -> Self {
        Self { outcome: "refused".to_owned(), status, ..Self::default() }
    }

    /// Cookies for the browser, as the server sent them.
    pub fn set_cookies(&mut self, lines: Vec<String>) {
        self.set_cookie = lines;
    }

    /// What an outcome is about, where the other side does not say.
    pub fn about(&mut self, class: &str, member: &str) {
        if self.name.is_empty() {
            self.name = if self.outcome == "unknown_component" { class } else { member }.to_owned();
        }
    }

    /// The package's endpoint does not tell names: a call that went well has shown that they exist, in some spelling.
    pub fn ran(&mut self, class: &str, method: &str) {
        if self.outcome == "ok" {
            self.component = class.trim_start_matches('\\').to_ascii_lowercase();
            self.method = method.to_ascii_lowercase();
        }
    }

    /// The call was ended, as nobody waits for it any more.
    pub fn late() -> Self {
        Self { outcome: "late".to_owned(), ..Self::default() }
    }

    /// Why it did not go well.
    pub fn error(&self) -> Option<&str> {
        (self.outcome != "ok").then_some(&self.error)
    }

    /// Whether the body is there to its end.
    pub fn is_whole(&self, body: &[u8]) -> bool {
        self.length.is_none_or(|length| length == body.len())
    }

    /// Whether the program ended with this answer.
    pub fn is_last(&self) -> bool {
        self.outcome == "exit"
    }

    fn failure(&self) -> Failure {
        let (name, error) = (self.name.clone(), self.error.clone());
        match self.outcome.as_str() {
            "invalid" => Failure::Invalid(error),
            "validation" => Failure::Validation(match &self.errors {
                Value::Object(errors) => errors.clone(),
                _ => Map::new(),
            }),
            "unknown_method" => Failure::UnknownMethod(name),
            "method" => Failure::Method(error),
            "unknown_property" => Failure::UnknownProperty(name),
            "property" => Failure::Property(error),
            "unknown_component" => Failure::UnknownComponent(name),
            "unsigned" => Failure::Unsigned,
            "not_lazy" => Failure::NotLazy(name),
            "refused" => Failure::Refused(self.status),
            "late" => Failure::Late,
            _ => Failure::Exception(error),
        }
    }

    fn place(&self, names: &Names) -> String {
        let Self { exception, file, line, .. } = self;
        if exception.is_empty() && file.is_empty() {
            return format!("{}::{}", names.class, names.method);
        }
        format!("{exception} in {file}:{line}")
    }

    /// What the application calls the class and the method, if it has them.
    fn names(&self, asked: &Asked<'_>) -> Names {
        if asked.kind == CallKind::Grant {
            // It is about several classes.
            return Names { class: String::new(), method: asked.method.to_owned() };
        }
        let class = names::told(&self.component);
        if class.is_empty() {
            return asked.known.find(asked.class, asked.method);
        }
        // Ours are no methods: `update` and `mount`.
        let method = if asked.kind == CallKind::Call { names::told(&self.method) } else { asked.method };
        let names = Names { class: class.to_owned(), method: method.to_owned() };
        asked.known.learn(&names);
        names
    }

    /// The finished call. `body` is the client's JSON where the call went well.
    pub fn finish(self, body: Vec<u8>, asked: &Asked<'_>) -> Finished {
        let fault = if self.outcome == "ok" { fault(&body) } else { None };
        if let Some(fault) = fault {
            let Self { component, method, .. } = self;
            return Self { component, method, ..Self::broken(fault) }.finish(Vec::new(), asked);
        }
        let names = self.names(asked);
        let session = self.session.unwrap_or_default();
        if self.outcome == "ok" {
            let events = self.events.into_iter();
            return Finished {
                class: names.class,
                method: names.method,
                outcome: Outcome::Ok,
                status: 200,
                data: body,
                event_count: self.event_count,
                broadcasts: events
                    .map(|event| Broadcastable {
                        index: event.index,
                        name: event.name,
                        params: event.params.into_bytes(),
                    })
                    .collect(),
                set_cookie: self.set_cookie,
                listeners: self.listeners.map(String::into_bytes),
                session,
            };
        }
        let (failure, place) = (self.failure(), self.place(&names));
        failure.warn_of_unsigned(&names.class);
        log(&failure, &names, &place, asked.request_id);
        let answer = match asked.kind {
            CallKind::Mount => failure.mount_json(asked.transport, asked.debug, &place),
            _ => failure.json(asked.transport, asked.debug, &place),
        };
        Finished {
            class: names.class,
            method: names.method,
            outcome: failure.outcome(),
            status: failure.status(),
            data: answer.to_string().into_bytes(),
            set_cookie: self.set_cookie,
            session,
            ..Finished::default()
        }
    }
}

/// Operators hear of errors of the application, and of its framework's refusals.
fn log(failure: &Failure, Names { class, method }: &Names, place: &str, request: &str) {
    if !matches!(failure, Failure::Exception(_) | Failure::Refused(_)) {
        return;
    }
    let Some(left_out) = LINES.allow() else { return };
    if let Failure::Exception(error) = failure {
        let (error, place) = (telemetry::error(error), telemetry::error(place));
        tracing::error!(component = class, method, %error, %place, request, left_out, "a component failed");
    } else if let Failure::Refused(status) = failure {
        tracing::warn!(
            component = class,
            method,
            status,
            request,
            left_out,
            "the application answered instead of the component"
        );
    }
}
