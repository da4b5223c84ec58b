//! The life of a call: read, verify, restore, render, act, render again, diff, sign, answer.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;

use arc_swap::ArcSwap;
use diffyne_shared::rpc::{CallKind, Outcome};
use diffyne_shared::signing::{Purpose, Signer, fingerprint};
use futures_util::FutureExt as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::Registry;
use super::context::{App, ClientInfo, Context, Event};
use super::definition::{Action, Ran};
use super::failure::Failure;
use crate::backend::{Broadcastable, Finished};
use crate::vdom::{Patch, diff, parse};

/// Runs components of a registry.
pub struct Engine {
    /// The components.
    pub registry: Registry,
    /// Signs and verifies; can be exchanged while calls run.
    pub signer: ArcSwap<Signer>,
    /// The application's shared state.
    pub app: App,
    /// Tell clients of exceptions.
    pub debug: bool,
}

/// The client's `data`, as far as a component needs it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    #[serde(borrow, default)]
    component_id: Text<'a>,
    #[serde(borrow, default)]
    component_class: Text<'a>,
    #[serde(borrow, default)]
    method: Text<'a>,
    #[serde(default)]
    params: Value,
    #[serde(borrow, default)]
    property: Text<'a>,
    #[serde(default)]
    value: Value,
    #[serde(default)]
    state: Value,
    #[serde(borrow, default)]
    signature: Text<'a>,
}

/// A field that should be a string, borrowed where it can be; nothing where it is something else.
#[derive(Default)]
struct Text<'a>(Option<Cow<'a, str>>);

impl Text<'_> {
    fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The JSON as it stands: a string without escapes needs no copy.
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let Some(inner) = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
            return Ok(Self(None));
        };
        if inner.contains('\\') {
            return Ok(Self(serde_json::from_str(raw).ok().map(Cow::Owned)));
        }
        Ok(Self(Some(Cow::Borrowed(inner))))
    }
}

/// `c` of a response.
#[derive(Serialize)]
struct Changed<'a> {
    i: &'a str,
    p: &'a [Patch],
    st: &'a Value,
    f: String,
    sig: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    e: &'a Map<String, Value>,
}

/// A whole response.
#[derive(Serialize)]
struct Response<'a> {
    s: bool,
    c: Changed<'a>,
    #[serde(skip_serializing_if = "<[Event]>::is_empty")]
    events: &'a [Event],
    #[serde(skip_serializing_if = "<[Value]>::is_empty", rename = "browserEvents")]
    browser_events: &'a [Value],
}

/// A component's place on a new page.
#[derive(Debug, Clone, Serialize)]
pub struct Mounted {
    /// Component id.
    pub id: String,
    /// Class.
    pub class: String,
    /// Its HTML.
    pub html: String,
    /// Its state.
    pub state: Value,
    /// md5 of the state.
    pub fingerprint: String,
    /// Signature of the state.
    pub signature: String,
    /// `{event: [methods]}`.
    pub listeners: Value,
}

impl Engine {
    /// Runs one call to its end; never panics, whatever the component does.
    pub async fn run(&self, kind: CallKind, client: ClientInfo, payload: &[u8]) -> Finished {
        let mut labels = Labels::default();
        let work = AssertUnwindSafe(self.attempt(kind, client, payload, &mut labels)).catch_unwind();
        let result = match work.await {
            Ok(result) => result,
            Err(_panic) => Err(Failure::Exception("the component panicked".to_owned())),
        };
        let (class, method) = (labels.class, labels.method);
        match result {
            Ok(finished) => Finished { class, method, ..finished },
            Err(failure) => {
                if let Failure::Exception(error) = &failure {
                    tracing::error!(component = class, method, error, "a component failed");
                }
                Finished {
                    class,
                    method,
                    outcome: failure.outcome(),
                    status: failure.status(),
                    data: failure.json(self.debug).to_string().into_bytes(),
                    event_count: 0,
                    broadcasts: Vec::new(),
                }
            }
        }
    }

    async fn attempt(
        &self,
        kind: CallKind,
        client: ClientInfo,
        payload: &[u8],
        labels: &mut Labels,
    ) -> Result<Finished, Failure> {
        let invalid = || Failure::Invalid("Invalid request".to_owned());
        let data: Data<'_> = serde_json::from_slice(payload).map_err(|_| invalid())?;
        let id = data.component_id.get().ok_or_else(invalid)?;
        let class = data.component_class.get().ok_or_else(invalid)?;
        let component = self.registry.get(class).ok_or_else(|| Failure::UnknownComponent(class.to_owned()))?;
        labels.class = class.to_owned();
        let empty = Map::new();
        let state = match &data.state {
            Value::Object(state) => state,
            // PHP prints an empty state as a list.
            Value::Array(items) if items.is_empty() => &empty,
            _ => return Err(Failure::Invalid("state must be an object".to_owned())),
        };
        let (purpose, action) = match kind {
            CallKind::Call => {
                let method = data.method.get().ok_or_else(invalid)?;
                if component.has_method(method) {
                    labels.method = method.to_owned();
                }
                (Purpose::Call, Action::Call { method, params: positional(&data.params)? })
            }
            CallKind::Update => {
                let property = data.property.get().ok_or_else(invalid)?;
                labels.method = "update".to_owned();
                (Purpose::Update, Action::Update { property, value: &data.value })
            }
            CallKind::Mount | CallKind::Grant => {
                return Err(Failure::Invalid("This worker does not do that.".to_owned()));
            }
        };
        if !self.signer.load().accepts(purpose, &data.state, id, data.signature.get()) {
            return Err(Failure::Security);
        }
        let mut context = Context::new(id.to_owned(), client, App::clone(&self.app));
        let ran = component.run(state, action, &mut context).await?;
        self.respond(id, &ran, &context)
    }

    fn respond(&self, id: &str, ran: &Ran, context: &Context) -> Result<Finished, Failure> {
        let done = |data: Vec<u8>, events: &[Event]| {
            let broadcasts = events.iter().enumerate().filter(|(_, event)| event.to.is_none());
            let broadcasts = broadcasts
                .map(|(index, event)| {
                    let params = serde_json::to_vec(&event.params).map_err(Failure::exception)?;
                    Ok(Broadcastable { index: index as u32, name: event.name.clone(), params })
                })
                .collect::<Result<_, Failure>>()?;
            Ok(Finished {
                class: String::new(),
                method: String::new(),
                outcome: Outcome::Ok,
                status: 200,
                data,
                event_count: events.len() as u32,
                broadcasts,
            })
        };
        if let Some(redirect) = &context.redirect {
            return done(json!({"s": true, "redirect": redirect}).to_string().into_bytes(), &[]);
        }
        let patches = match (&ran.before, &ran.after) {
            (Some(before), Some(after)) if before != after => diff(&parse(before), &parse(after)),
            _ => Vec::new(),
        };
        let response = Response {
            s: true,
            c: Changed {
                i: id,
                p: &patches,
                st: &ran.state,
                f: fingerprint(&ran.state),
                sig: self.signer.load().sign(&ran.state, id),
                e: &context.errors,
            },
            events: &context.events,
            browser_events: &context.browser_events,
        };
        done(serde_json::to_vec(&response).map_err(Failure::exception)?, &context.events)
    }

    /// Brings a component to a page: its first state, rendered and signed.
    pub async fn mount(&self, class: &str, params: Map<String, Value>, client: ClientInfo) -> Result<Mounted, Failure> {
        let component = self.registry.get(class).ok_or_else(|| Failure::UnknownComponent(class.to_owned()))?;
        let id = new_component_id();
        let mut context = Context::new(id.clone(), client, App::clone(&self.app));
        let ran = component.run(&Map::new(), Action::Mount { params }, &mut context).await?;
        let html = parse(ran.after.as_deref().unwrap_or_default()).to_html();
        let (fingerprint, signature) = (fingerprint(&ran.state), self.signer.load().sign(&ran.state, &id));
        let listeners = serde_json::to_value(component.listeners()).map_err(Failure::exception)?;
        Ok(Mounted { id, class: class.to_owned(), html, state: ran.state, fingerprint, signature, listeners })
    }
}

/// What a worker has recognised of a call: fit for metrics.
#[derive(Default)]
struct Labels {
    class: String,
    method: String,
}

/// Positional parameters; an object's values count in order, as PHP's named ones must not.
fn positional(params: &Value) -> Result<Vec<Value>, Failure> {
    match params {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => Ok(items.clone()),
        Value::Object(map) => Ok(map.values().cloned().collect()),
        _ => Err(Failure::Invalid("params must be an array".to_owned())),
    }
}

/// `diffyne-` and 16 letters or digits.
fn new_component_id() -> String {
    let tail: String = std::iter::repeat_with(fastrand::alphanumeric).take(16).collect();
    format!("diffyne-{tail}")
}
