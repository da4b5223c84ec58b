//! What a definition does in a call: restore, hydrate, render, act, dehydrate, render again.

use std::collections::BTreeMap;
use std::hash::{Hash as _, Hasher};
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::async_value::MadeValue;
use super::context::Context;
use super::definition::Definition;
use super::member::Member;
use super::rendering::{Previous, Region};
use super::shown::{Note, REST};
use super::streams::RenderedChange;
use super::{async_value, state, validation, view};
use crate::call::{BoxFuture, CallError};

/// What a call does to a component.
#[derive(Debug)]
pub enum Action<'a> {
    /// Run a method.
    Call {
        /// Its name.
        method: &'a str,
        /// Positional parameters.
        params: Vec<Value>,
    },
    /// Set a property.
    Update {
        /// Its name.
        property: &'a str,
        /// Its new value.
        value: &'a Value,
    },
    /// Give a property the value that it waits for.
    Assign(MadeValue),
    /// Give up all values that properties wait for.
    GiveUp,
}

/// A component's state after a call, and its view before and after.
#[derive(Debug)]
pub struct Transition {
    /// The state after the call.
    pub state: Value,
    /// What was rendered; nothing when a redirect ended the call.
    pub(super) regions: Vec<Region>,
    /// What the page shows of the rest.
    pub(super) note: Note,
    /// The page's query string.
    pub query: BTreeMap<&'static str, Value>,
    /// The changes of streams.
    pub(super) streams: Vec<RenderedChange>,
}

/// A component class, whatever its state's type.
pub trait Component: Send + Sync {
    /// The class's name on the wire.
    fn class(&self) -> &str;
    /// Adds what pages notice of the class to a hash: its view, properties, methods and listeners.
    fn hash(&self, hasher: &mut dyn Hasher);
    /// Whether the page alone has the content of the elements for this stream: it is a list.
    fn has_stream(&self, name: &str) -> bool;
    /// Whether clients may call this method.
    fn has_method(&self, name: &str) -> bool;
    /// `{event: [methods]}`.
    fn listeners(&self) -> &BTreeMap<&'static str, Vec<&'static str>>;
    /// Whether this user may hear an event of these fields.
    fn may_hear<'a>(
        &'a self,
        event: String,
        fields: Map<String, Value>,
        context: &'a mut Context,
    ) -> BoxFuture<'a, Result<bool, CallError>>;
    /// What others in an event's room may know of this user; `None`: the user may not enter.
    fn here<'a>(
        &'a self,
        event: String,
        fields: Map<String, Value>,
        context: &'a mut Context,
    ) -> BoxFuture<'a, Result<Option<Member>, CallError>>;
    /// The placeholder of a lazy component; `None`: it is not lazy.
    fn placeholder(&self) -> Option<&str>;
    /// Properties that clients see and may not change.
    fn locked(&self) -> &[&str];
    /// Every property that clients see.
    fn visible(&self) -> Vec<&str>;
    /// Whether clients may not choose the property's value: it is locked, hidden or computed.
    fn is_protected(&self, name: &str) -> bool;
    /// Restores the component from a state, runs the action and renders.
    fn call<'a>(
        &'a self,
        state: &'a Map<String, Value>,
        action: Action<'a>,
        context: &'a mut Context,
    ) -> BoxFuture<'a, Result<Transition, CallError>>;
    /// Makes a new component and renders it; its parameters are in the context.
    fn mount<'a>(
        &'a self,
        query: &'a Map<String, Value>,
        context: &'a mut Context,
    ) -> BoxFuture<'a, Result<Transition, CallError>>;
}

impl<T> Definition<T>
where
    T: Default + Serialize + DeserializeOwned + Send + 'static,
{
    /// Renders the whole view, or an island of it.
    pub(super) fn html(&self, region: &str, component: &T, context: &mut Context) -> Result<String, CallError> {
        let began = Instant::now();
        let islands = self.view.islands();
        let html = match islands.get(region) {
            Some(island) => view::island_html(islands, island, (component, &self.computed), context),
            None => self.view.html(component, &self.computed, context),
        };
        context.rendered += began.elapsed();
        html
    }

    async fn update(
        &self,
        component: &mut T,
        context: &mut Context,
        property: &str,
        value: &Value,
    ) -> Result<(), CallError> {
        self.properties.check_writable(property)?;
        if let Some(hook) = &self.updating {
            hook.run(component, context, (property.to_owned(), value.clone())).await?;
        }
        let mut properties = validation::values(component)?;
        state::set(&mut properties, &self.properties.types, property, value)?;
        *component = serde_json::from_value(Value::Object(properties))
            .map_err(|error| CallError::Property(format!("Property [{property}] does not take this value: {error}")))?;
        match &self.updated {
            Some(hook) => hook.run(component, context, property.to_owned()).await,
            None => Ok(()),
        }
    }

    async fn finish(
        &self,
        mut component: T,
        previous: Option<Previous<'_>>,
        context: &mut Context,
    ) -> Result<Transition, CallError> {
        if context.redirect.is_some() {
            context.pending.clear();
        }
        if !context.pending.is_empty() {
            let mut values = validation::values(&component)?;
            async_value::place(&self.class, &mut values, &mut context.pending).await?;
            component = from_values(values)?;
        }
        if let Some(hook) = &self.dehydrate {
            hook.run(&mut component, context, ()).await?;
        }
        let mut state = validation::values(&component)?;
        self.properties.hide(&mut state);
        let state = Value::Object(state);
        let old = previous.as_ref().map(|previous| previous.state);
        let query = self.properties.query_string(old.unwrap_or(&Map::new()), &state);
        let (regions, note) = match previous {
            _ if context.redirect.is_some() => Default::default(),
            Some(previous) => {
                let (rendered, note) = self.answer(&component, &state, &previous, context)?;
                // The rest may wait, and the component need not be shared between threads.
                drop(component);
                (self.with_before(rendered, &previous, context).await?, note)
            }
            None => (vec![Region::of_page(self.html(REST, &component, context)?)], Note::default()),
        };
        let streams = self.streams.render(&mut context.streams)?;
        Ok(Transition { state, regions, note, query, streams })
    }
}

fn from_values<T: DeserializeOwned>(values: Map<String, Value>) -> Result<T, CallError> {
    serde_json::from_value(Value::Object(values))
        .map_err(|error| CallError::Property(format!("The value does not fit: {error}")))
}

/// Changes the properties of a component.
fn change<T: Serialize + DeserializeOwned>(
    component: &mut T,
    work: impl FnOnce(&mut Map<String, Value>),
) -> Result<(), CallError> {
    let mut values = validation::values(component)?;
    work(&mut values);
    *component = from_values(values)?;
    Ok(())
}

impl<T> Component for Definition<T>
where
    T: Default + Serialize + DeserializeOwned + Send + 'static,
{
    fn class(&self) -> &str {
        &self.class
    }

    fn hash(&self, mut hasher: &mut dyn Hasher) {
        self.class.hash(&mut hasher);
        self.view.hash(hasher);
        self.streams.sources().hash(&mut hasher);
        self.placeholder.hash(&mut hasher);
        self.listeners.hash(&mut hasher);
        let mut methods: Vec<_> = self.methods.keys().collect();
        methods.sort_unstable();
        methods.hash(&mut hasher);
        self.properties.hash(hasher);
    }

    fn has_stream(&self, name: &str) -> bool {
        self.streams.has(name)
    }

    fn has_method(&self, name: &str) -> bool {
        self.methods.contains_key(name)
    }

    fn listeners(&self) -> &BTreeMap<&'static str, Vec<&'static str>> {
        &self.listeners
    }

    fn may_hear<'a>(
        &'a self,
        event: String,
        fields: Map<String, Value>,
        context: &'a mut Context,
    ) -> BoxFuture<'a, Result<bool, CallError>> {
        match &self.may_hear {
            Some(may_hear) => may_hear(context, event, fields),
            None => Box::pin(std::future::ready(Ok(true))),
        }
    }

    fn here<'a>(
        &'a self,
        event: String,
        fields: Map<String, Value>,
        context: &'a mut Context,
    ) -> BoxFuture<'a, Result<Option<Member>, CallError>> {
        match &self.here {
            Some(here) => here(context, event, fields),
            None => Box::pin(std::future::ready(Ok(None))),
        }
    }

    fn placeholder(&self) -> Option<&str> {
        self.placeholder.as_deref()
    }

    fn locked(&self) -> &[&str] {
        &self.properties.locked
    }

    fn visible(&self) -> Vec<&str> {
        self.properties.visible()
    }

    fn is_protected(&self, name: &str) -> bool {
        self.properties.is_protected(name)
    }

    fn call<'a>(
        &'a self,
        state: &'a Map<String, Value>,
        action: Action<'a>,
        context: &'a mut Context,
    ) -> BoxFuture<'a, Result<Transition, CallError>> {
        Box::pin(async move {
            context.rules = std::sync::Arc::clone(&self.rules);
            let mut component = self.restore(state)?;
            if let Some(hook) = &self.hydrate {
                hook.run(&mut component, context, ()).await?;
            }
            let (shown, asked) = (std::mem::take(&mut context.shown), self.asked_region(context));
            let is_at_hand = !shown.is_unknown && shown.state(&asked, state).is_none();
            let html = is_at_hand.then(|| self.html(&asked, &component, context)).transpose()?;
            match action {
                Action::Call { method, params } => match self.methods.get(method) {
                    Some(hook) => hook.run(&mut component, context, params).await?,
                    None => return Err(CallError::UnknownMethod(method.to_owned())),
                },
                Action::Update { property, value } => self.update(&mut component, context, property, value).await?,
                Action::Assign(MadeValue { property, number, made }) => {
                    change(&mut component, |values| async_value::settle(values, &property, number, made))?;
                }
                Action::GiveUp => change(&mut component, async_value::give_up)?,
            }
            self.finish(component, Some(Previous { state, shown, asked: (asked, html) }), context).await
        })
    }

    fn mount<'a>(
        &'a self,
        query: &'a Map<String, Value>,
        context: &'a mut Context,
    ) -> BoxFuture<'a, Result<Transition, CallError>> {
        Box::pin(async move {
            context.rules = std::sync::Arc::clone(&self.rules);
            let properties = self.properties.mount(query, &context.params)?;
            let mut component: T = serde_json::from_value(Value::Object(properties))
                .map_err(|error| CallError::Property(format!("The parameters do not fit: {error}")))?;
            if let Some(hook) = &self.mount {
                hook.run(&mut component, context, ()).await?;
            }
            self.finish(component, None, context).await
        })
    }
}
