//! Runs calls of Rust components: reads and verifies the message, runs the component, and responds.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use diffyne_shared::rpc::{CallKind, Outcome};
use diffyne_shared::signing::{PARAMS_LOCK, SignatureParts, Signer, fingerprint};
use diffyne_shared::telemetry::{self, LogThrottle};
use futures_util::FutureExt as _;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use super::async_value::{self, HandedValue, MadeValue, OpenCall, made_of};
use super::context::{App, ComponentEvent, Context};
use super::lifecycle::{Action, Component, Transition};
use super::rendering::Trees;
use super::response::{CallResponse, ComponentUpdate};
use super::shown::{REST, Shown};
use super::streams::RenderedChange;
use super::{Registry, grant, locked_state, streams};
use crate::call::message::{CallMessage, invalid, object};
use crate::call::page_values;
use crate::call::verified::{LockCoverage, LockedProperties, VerifiedCall};
use crate::call::{BroadcastEvent, CallError, CallPhases, CallResult, ClientInfo, Parts, redirect};
use crate::upload::UploadStore;
use crate::vdom::{Moves, Node, Patch, Path, SLOT, STREAM, diff_streams, parse};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

/// Limits log lines about failed calls: anybody can cause them.
static LINES: LogThrottle = LogThrottle::new(10, 50);

/// Runs the components of a registry.
pub struct Engine {
    /// The components.
    pub registry: Registry,
    /// Signs and verifies states. Can be replaced while calls run.
    pub signer: ArcSwap<Signer>,
    /// The application's shared state.
    pub app: App,
    /// Whether clients may see exceptions.
    pub debug: bool,
    /// The files that users upload for components.
    pub uploads: Option<Arc<UploadStore>>,
    /// The name of this release (`DIFFYNE_RELEASE`); `None`: the hash of the components.
    pub release: Option<Arc<str>>,
    /// Room for calls whose values come after their answer.
    pub push_slots: PushSlots,
}

/// Room for calls whose values come after their answer.
#[derive(Debug)]
pub struct PushSlots(Arc<Semaphore>);

impl Default for PushSlots {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(async_value::OPEN_CALLS_MAX)))
    }
}

/// A call for the engine.
pub(super) struct Request<'a> {
    pub(super) kind: CallKind,
    pub(super) client: ClientInfo,
    /// The request's id, for the log.
    pub(super) id: &'a str,
    pub(super) payload: &'a [u8],
    /// Values may come after the answer, until then; `None`: the client cannot be sent more.
    pub(super) until: Option<Instant>,
    /// Where parts of the answer go.
    pub(super) parts: Parts,
}

/// A component that was mounted on a new page.
#[derive(Debug, Clone)]
pub(crate) struct MountedComponent {
    pub(crate) id: String,
    pub(crate) class: String,
    pub(crate) html: String,
    pub(crate) state: Value,
    /// md5 of the state.
    pub(crate) fingerprint: String,
    /// Signature of the state.
    pub(crate) signature: String,
    /// `{event: [methods]}`.
    pub(crate) listeners: Value,
}

/// The class and method of a call once the engine knows that they exist: only then may metrics and logs show them.
#[derive(Default)]
struct CallLabels {
    class: String,
    method: String,
    /// The release of the components, where the page names another one.
    release: Option<Arc<str>>,
}

impl Engine {
    /// Runs one call to its end; does not panic, whatever the component does.
    pub async fn run(&self, kind: CallKind, client: ClientInfo, payload: &[u8]) -> CallResult {
        let mut open = None;
        let request_id = client.request_id();
        let parts = Parts::default();
        self.run_call(Request { kind, client, id: &request_id, payload, until: None, parts }, &mut open).await
    }

    pub(super) async fn run_call(&self, request: Request<'_>, open: &mut Option<OpenCall>) -> CallResult {
        let mut labels = CallLabels::default();
        let (kind, transport, request_id) = (request.kind, request.client.transport, request.id);
        let work = AssertUnwindSafe(self.try_run(request, &mut labels, open)).catch_unwind();
        let result = match work.await {
            Ok(result) => result,
            Err(panic) => Err(CallError::Exception(format!("it panicked: {}", panic_text(&*panic)))),
        };
        let CallLabels { class, method, release } = labels;
        match result {
            Ok(result) => CallResult { class, method, release, ..result },
            Err(error) => {
                log(&error, &class, &method, request_id);
                let place = format!("{class}::{method}");
                CallResult {
                    class,
                    method,
                    release,
                    outcome: error.outcome(),
                    status: error.status(kind),
                    data: error.response(kind, transport, self.debug, &place).to_string().into_bytes(),
                    ..CallResult::default()
                }
            }
        }
    }

    async fn try_run(
        &self,
        Request { kind, client, payload, until, parts, .. }: Request<'_>,
        labels: &mut CallLabels,
        open: &mut Option<OpenCall>,
    ) -> Result<CallResult, CallError> {
        if kind == CallKind::Grant {
            labels.method = "grant".to_owned();
            return grant::decide(&self.registry, &self.app, &client, payload).await;
        }
        if kind == CallKind::Lifecycle {
            // Gateways ask workers with an application in PHP.
            return Err(CallError::Invalid("A lifecycle listener is a PHP class".to_owned()));
        }
        let message = CallMessage::read(payload)?;
        let class = message.component_class.get().unwrap_or_default();
        labels.release = message.release().filter(|page| !self.is_current(class, page)).map(|_page| self.release());
        // An unknown class is reported before any other error of the message.
        let class = message.component_class.get().ok_or_else(invalid)?;
        let component = self.registry.get(class).ok_or_else(|| CallError::UnknownComponent(class.to_owned()))?;
        labels.class = class.to_owned();
        let locked = LockedProperties::Known(component.locked());
        let verified = VerifiedCall::of(&message, kind, client.transport, &self.signer.load(), locked)?;
        let VerifiedCall { id, member, method, coverage, fingerprint, .. } = verified;
        if kind != CallKind::Call || component.has_method(&method) {
            labels.method = method.into_owned();
        }
        if kind == CallKind::Mount {
            let mut context = self.context(id.clone().into_owned(), client);
            self.accept(&mut context, &message, until);
            return self.mount_lazy(&**component, &message, &coverage, context, until, open).await;
        }
        let state = locked_state::verified_state(&self.registry, &**component, &message, &coverage)?;
        let action = match kind {
            CallKind::Call if member == async_value::METHOD => {
                labels.method = "assign_async".to_owned();
                self.handed_value(&**component, &id, &message)?
            }
            CallKind::Call => Action::Call { method: &member, params: message.positional()? },
            _ => Action::Update { property: &member, value: &message.value },
        };
        let mut context = self.context(id.clone().into_owned(), client);
        self.accept(&mut context, &message, until);
        context.shown = Shown::of(
            &message,
            &fingerprint,
            (class, &id),
            (&state, &|name| component.is_protected(name)),
            &self.signer.load(),
        );
        message.island.get().unwrap_or_default().clone_into(&mut context.island);
        if context.accepts.parts {
            context.parts = parts;
        }
        let transition = component.call(&state, action, &mut context).await?;
        page_values::check_state(component.class(), &transition.state, message.is_exact())?;
        let opened = until.and_then(|until| {
            OpenCall::of(&mut context.pending, (class, &id), &context.client, &transition.state, until)
        });
        let pending = opened.as_ref().map_or(0, OpenCall::len);
        let moves = if message.counts_moves() { Moves::Reorder } else { Moves::ReorderUnspaced };
        let result = self.respond(&**component, &id, &transition, moves, context, pending)?;
        *open = opened;
        Ok(result)
    }

    /// Notes what the client's script can do.
    fn accept(&self, context: &mut Context, message: &CallMessage<'_>, until: Option<Instant>) {
        context.accepts = message.accepts();
        context.pending.slots = until.filter(|_| context.accepts.push).map(|_until| Arc::clone(&self.push_slots.0));
    }

    /// What a page hands over that came for an older state. The server's signature has to cover it: the package's over
    /// the whole state, and the second one where the property is locked.
    fn handed_value(
        &self,
        component: &dyn Component,
        id: &str,
        message: &CallMessage<'_>,
    ) -> Result<Action<'static>, CallError> {
        let HandedValue::Value { property, number, state, signature } = HandedValue::read(message)? else {
            return Ok(Action::GiveUp);
        };
        let signer = self.signer.load();
        let lock = || SignatureParts::of(&signature).lock;
        let covers = |names: Vec<String>| names.contains(&property);
        let is_locked = component.locked().contains(&property.as_str());
        let is_covered = !is_locked
            || lock()
                .and_then(|lock| signer.locked_names(component.class(), id, |name| state.get(name), lock))
                .is_some_and(covers);
        let made = state.get(&property).cloned().unwrap_or_default();
        let state = Value::Object(state);
        if !is_covered || !signer.covers(&state, id, &signature) || (!is_locked && component.is_protected(&property)) {
            return Err(CallError::Security);
        }
        Ok(Action::Assign(MadeValue { property, number, made: made_of(made) }))
    }

    /// The release of all components.
    pub(crate) fn release(&self) -> Arc<str> {
        self.release.clone().unwrap_or_else(|| self.registry.release())
    }

    /// The release that a component carries on its page: the operator's name, or the hash of its class alone, so that
    /// only pages whose components have changed are of an older one.
    pub(crate) fn class_release(&self, class: &str) -> Arc<str> {
        self.release.clone().or_else(|| self.registry.class_release(class)).unwrap_or_else(|| self.release())
    }

    fn is_current(&self, class: &str, page: &str) -> bool {
        *page == *self.class_release(class) || *page == *self.release()
    }

    pub(super) fn respond(
        &self,
        component: &dyn Component,
        id: &str,
        transition: &Transition,
        moves: Moves,
        context: Context,
        pending: usize,
    ) -> Result<CallResult, CallError> {
        if let Some(redirect) = &context.redirect {
            redirect::check(&redirect.url)?;
        }
        let began = Instant::now();
        let is_stream = |name: &str| component.has_stream(name);
        let trees: Vec<_> = transition
            .regions
            .iter()
            .map(|region| region.trees(&is_stream, &transition.streams))
            .collect::<Result<_, _>>()?;
        let (mut patches, mut islands, mut kept) = (Vec::new(), BTreeMap::new(), Vec::new());
        for Trees { name, before, after } in trees.iter().flatten() {
            let Some(before) = before else {
                patches.push(Patch::Create(Path::new(), after));
                continue;
            };
            let difference = diff_streams(before, after, moves, &is_stream);
            if *name == REST {
                (patches, kept) = (difference.patches, difference.streams);
            } else if !difference.patches.is_empty() {
                islands.insert(*name, difference.patches);
            }
        }
        let knows_streams = context.accepts.streams;
        let inserts = if knows_streams { Vec::new() } else { inserts(&transition.streams, &kept)? };
        patches.extend(inserts.iter().map(|(path, item)| Patch::Create(path.clone(), item)));
        let note = &transition.note;
        let fingerprint = || fingerprint(&transition.state) + &note.signed(component.class(), id, &self.signer.load());
        let update = || ComponentUpdate {
            id,
            patches: &patches,
            islands: &islands,
            state: &transition.state,
            fingerprint: fingerprint(),
            signature: self.sign(component, id, &transition.state),
            streams: if knows_streams { &transition.streams } else { &[] },
            errors: &context.errors,
            query: &transition.query,
        };
        let response = CallResponse {
            success: true,
            update: if context.redirect.is_none() { Some(update()) } else { None },
            events: &context.events,
            browser_events: &context.browser_events,
            pending,
            redirect: context.redirect.as_ref(),
        };
        let data = serde_json::to_vec(&response)?;
        let phases = CallPhases::of_response(context.rendered, began);
        Ok(CallResult {
            outcome: Outcome::Ok,
            status: 200,
            data,
            phases,
            event_count: context.events.len() as u32,
            broadcasts: broadcasts(&context.events)?,
            user_events: context.user_events,
            user: context.user,
            set_cookie: context.set_cookie,
            ..CallResult::default()
        })
    }

    fn sign(&self, component: &dyn Component, id: &str, state: &Value) -> String {
        self.signer.load().sign_locked(component.class(), id, state, component.locked())
    }

    /// Mounts a lazy component that a page asks for, with the parameters that clients may choose or the page's server
    /// has signed.
    async fn mount_lazy(
        &self,
        component: &dyn Component,
        message: &CallMessage<'_>,
        coverage: &LockCoverage,
        mut context: Context,
        until: Option<Instant>,
        open: &mut Option<OpenCall>,
    ) -> Result<CallResult, CallError> {
        if component.placeholder().is_none() {
            return Err(CallError::NotLazy(component.class().to_owned()));
        }
        let mut params = match &message.params {
            Value::Null => Map::new(),
            params => object(params).ok_or_else(invalid)?.into_owned(),
        };
        params.remove(PARAMS_LOCK);
        params.retain(|name, _| !component.is_protected(name) || coverage.names().contains(name));
        let query = object(&message.query_params).unwrap_or_default().into_owned();
        context.params = params;
        let id = context.component_id.clone();
        let mounted = self.mount_component(component, &id, &query, &mut context, &[]).await?;
        page_values::check_state(component.class(), &mounted.state, message.is_exact())?;
        *open = until.and_then(|until| {
            OpenCall::of(&mut context.pending, (component.class(), &id), &context.client, &mounted.state, until)
        });
        let mut response = json!({
            "success": true,
            "id": mounted.id,
            "html": mounted.html,
            "state": mounted.state,
            "fingerprint": mounted.fingerprint,
            "signature": mounted.signature,
            "eventListeners": mounted.listeners,
        });
        if let Some(open) = open {
            response["async"] = open.len().into();
        }
        Ok(CallResult {
            outcome: Outcome::Ok,
            status: 200,
            data: response.to_string().into_bytes(),
            user_events: context.user_events,
            user: context.user,
            set_cookie: context.set_cookie,
            ..CallResult::default()
        })
    }

    /// Mounts a component on a new page: its first state, rendered and signed. `query` is the page's query string.
    pub(crate) async fn mount(
        &self,
        class: &str,
        params: Map<String, Value>,
        query: &Map<String, Value>,
        client: ClientInfo,
        slots: &[(&str, &str)],
    ) -> Result<MountedComponent, CallError> {
        let component = self.registry.get(class).ok_or_else(|| CallError::UnknownComponent(class.to_owned()))?;
        let id = new_component_id();
        let mut context = self.context(id.clone(), client);
        context.params = params;
        self.mount_component(&**component, &id, query, &mut context, slots).await
    }

    /// The parameters of a lazy component for its page, signed where clients must not choose them.
    pub(crate) fn signed_params(&self, class: &str, mut params: Map<String, Value>) -> Map<String, Value> {
        if let Some(component) = self.registry.get(class) {
            self.signer.load().lock_params(class, &mut params, |name| component.is_protected(name));
        }
        params
    }

    pub(super) fn context(&self, id: String, client: ClientInfo) -> Context {
        let mut context = Context::new(id, client, App::clone(&self.app));
        context.uploads.clone_from(&self.uploads);
        context.pending.debug = self.debug;
        context
    }

    async fn mount_component(
        &self,
        component: &dyn Component,
        id: &str,
        query: &Map<String, Value>,
        context: &mut Context,
        slots: &[(&str, &str)],
    ) -> Result<MountedComponent, CallError> {
        let Transition { state, regions, streams, .. } = component.mount(query, context).await?;
        // A page's script is not known yet. One that keeps no integers is told at its first call.
        page_values::check_state(component.class(), &state, true)?;
        let mut tree = parse(regions.first().map_or("", |region| &region.after))?;
        streams::fill(&mut tree, STREAM, &|name| {
            streams::items_of(&|name| component.has_stream(name), &streams, name)
        })?;
        let slot = |name: &str| slots.iter().find(|(slot, _)| *slot == name).map(|(_, html)| parse(html));
        streams::fill(&mut tree, SLOT, &|name| Ok(Some(slot(name).transpose()?.into_iter().collect())))?;
        Ok(MountedComponent {
            id: id.to_owned(),
            class: component.class().to_owned(),
            html: tree.to_html(),
            fingerprint: fingerprint(&state),
            signature: self.sign(component, id, &state),
            listeners: serde_json::to_value(component.listeners())?,
            state,
        })
    }
}

/// The inserts of streams as patches, for the elements of this page that hold them.
fn inserts<'a>(changes: &'a [RenderedChange], kept: &[(&'a str, Path)]) -> Result<Vec<(Path, Node<'a>)>, CallError> {
    let mut inserts = Vec::new();
    for (stream, container) in kept {
        for insert in streams::inserts(changes, stream) {
            let (index, item) = insert?;
            inserts.push((container.iter().copied().chain([index]).collect(), item));
        }
    }
    Ok(inserts)
}

/// The events that may go to the whole cluster.
fn broadcasts(events: &[ComponentEvent]) -> Result<Vec<BroadcastEvent>, CallError> {
    let broadcasts = events.iter().enumerate().filter(|(_, event)| event.to.is_none());
    broadcasts
        .map(|(index, event)| {
            let params = serde_json::to_vec(&event.params)?;
            Ok(BroadcastEvent { index: index as u32, name: event.name.clone(), params })
        })
        .collect()
}

pub(super) fn log(error: &CallError, class: &str, method: &str, request: &str) {
    error.warn_if_unsigned(class);
    if let CallError::Exception(text) | CallError::Unreturnable(text) = error
        && let Some(left_out) = LINES.allow()
    {
        let (error, request) = (telemetry::error(text), telemetry::name(request));
        tracing::error!(component = class, method, %error, %request, left_out, "a component failed");
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}

/// `diffyne-` and 16 letters or digits.
pub(crate) fn new_component_id() -> String {
    let tail: String = std::iter::repeat_with(fastrand::alphanumeric).take(16).collect();
    format!("diffyne-{tail}")
}
