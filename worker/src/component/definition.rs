//! The builder that makes a component of a struct: its properties, methods, listeners, hooks and view.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::context::Context;
use super::failure::Failure;
use super::grant::MayHear;
use super::hook::{BoxFuture, Hook, Rendered, Returned};
use super::params::FromParams;
use super::properties::{Properties, Query};
use super::validation::Rules;
use super::view::{Computed, View};

/// What stands on the page until a lazy component is loaded, unless it says otherwise.
const PLACEHOLDER: &str = r#"<div class="diffyne-lazy" aria-busy="true"></div>"#;

/// The property that is about to change, and its new value.
type Change = (String, Value);

/// A component class under construction, and then in use.
///
/// Methods take the component, the [`Context`] of the call and their parameters as a tuple. They return nothing, or a
/// `Result` whose error is a [`Failure`]; any other error becomes one by `?`.
pub struct Definition<T> {
    pub(super) class: String,
    pub(super) properties: Properties,
    pub(super) methods: HashMap<&'static str, Hook<T, Vec<Value>>>,
    pub(super) listeners: BTreeMap<&'static str, Vec<&'static str>>,
    pub(super) may_hear: Option<MayHear>,
    pub(super) rules: Arc<Rules>,
    pub(super) placeholder: Option<String>,
    pub(super) mount: Option<Hook<T, ()>>,
    pub(super) hydrate: Option<Hook<T, ()>>,
    pub(super) updating: Option<Hook<T, Change>>,
    pub(super) updated: Option<Hook<T, String>>,
    pub(super) dehydrate: Option<Hook<T, ()>>,
    pub(super) computed: Vec<Computed<T>>,
    pub(super) view: View<T>,
}

impl<T> Definition<T>
where
    T: Default + Serialize + DeserializeOwned + Send + 'static,
{
    /// A component of this class name, without methods and with an empty view. Its properties are the fields of `T`
    /// as serde names them; the default value of each tells its type.
    ///
    /// # Panics
    /// When `T` does not serialize as an object: it could not travel as a state.
    pub fn new(class: &str) -> Self {
        let defaults = match serde_json::to_value(T::default()) {
            Ok(Value::Object(map)) => map,
            other => panic!("the state of {class} must be a struct with named fields, not {other:?}"),
        };
        Self {
            class: class.to_owned(),
            properties: Properties { defaults, ..Properties::default() },
            methods: HashMap::new(),
            listeners: BTreeMap::new(),
            may_hear: None,
            rules: Arc::default(),
            placeholder: None,
            mount: None,
            hydrate: None,
            updating: None,
            updated: None,
            dehydrate: None,
            computed: Vec::new(),
            view: View::Empty,
        }
    }

    /// The view as a minijinja template, HTML-escaped. It sees the properties, the computed ones, `errors` (texts by
    /// field) and `id`, the component's id.
    ///
    /// # Panics
    /// When the template does not compile: the program cannot serve this component.
    #[must_use]
    pub fn template(mut self, source: &'static str) -> Self {
        self.view = View::template(&self.class, source);
        self
    }

    /// The view as a function that returns HTML, or a `Result` of it. It has to escape what it prints.
    #[must_use]
    pub fn render<R: Rendered>(mut self, render: impl Fn(&T) -> R + Send + Sync + 'static) -> Self {
        self.view = View::Function(Box::new(move |component| render(component).into_html()));
        self
    }

    /// Properties that clients see and may not set: their values are taken only where a signature covers them. One
    /// that is hidden as well stays hidden.
    #[must_use]
    pub fn locked<const N: usize>(mut self, names: [&'static str; N]) -> Self {
        self.known(&names);
        self.properties.locked.extend(names.into_iter().filter(|name| !self.properties.hidden.contains(name)));
        self
    }

    /// Properties that never leave the server; each call begins with their default.
    #[must_use]
    pub fn hidden<const N: usize>(mut self, names: [&'static str; N]) -> Self {
        self.known(&names);
        self.properties.locked.retain(|name| !names.contains(name));
        self.properties.hidden.extend(names);
        self
    }

    /// A value that the view sees and that follows from the others; no part of the state.
    #[must_use]
    pub fn computed<V: Serialize>(
        mut self,
        name: &'static str,
        compute: impl Fn(&T) -> V + Send + Sync + 'static,
    ) -> Self {
        self.properties.computed.push(name);
        let compute = move |component: &T| serde_json::to_value(compute(component)).unwrap_or_default();
        self.computed.push(Computed { name, compute: Box::new(compute) });
        self
    }

    /// A property that is also in the page's address; left out there while it is empty.
    #[must_use]
    pub fn query(self, property: &'static str) -> Self {
        self.query_as(property, property, false)
    }

    /// A property that is in the page's address under another name, even empty if `keep` says so.
    #[must_use]
    pub fn query_as(mut self, property: &'static str, name: &'static str, keep: bool) -> Self {
        self.known(&[property]);
        self.properties.query.push(Query { property, name, keep });
        self
    }

    /// What [`Context::validate`] and [`Context::validate_only`] check.
    #[must_use]
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = Arc::new(rules);
        self
    }

    /// A method that clients may call; `names` are those of its parameters, for errors.
    #[must_use]
    pub fn method<P: FromParams + 'static, R: Returned, const N: usize>(
        mut self,
        name: &'static str,
        names: [&'static str; N],
        run: impl Fn(&mut T, &mut Context, P) -> R + Send + Sync + 'static,
    ) -> Self {
        const { assert!(N == P::COUNT, "as many names as parameters") };
        let hook = Hook::now(move |component: &mut T, context, values: Vec<Value>| {
            run(component, context, P::from_params(name, &names, &values)?).into_result()
        });
        self.methods.insert(name, hook);
        self
    }

    /// A method that waits for something: a query, another service. `Box::pin(async move { .. })`.
    #[must_use]
    pub fn async_method<P: FromParams + Send + 'static, const N: usize>(
        mut self,
        name: &'static str,
        names: [&'static str; N],
        run: impl for<'a> Fn(&'a mut T, &'a mut Context, P) -> BoxFuture<'a, Result<(), Failure>> + Send + Sync + 'static,
    ) -> Self {
        const { assert!(N == P::COUNT, "as many names as parameters") };
        let hook =
            Hook::later(move |component, context, values: Vec<Value>| match P::from_params(name, &names, &values) {
                Ok(params) => run(component, context, params),
                Err(failure) => Box::pin(async move { Err(failure) }),
            });
        self.methods.insert(name, hook);
        self
    }

    /// Calls a method when an event arrives; its parameters are the event's.
    ///
    /// # Panics
    /// When there is no such method yet: define it first.
    #[must_use]
    pub fn listen(mut self, event: &'static str, method: &'static str) -> Self {
        assert!(self.methods.contains_key(method), "{} listens with {method}, which is no method of it", self.class);
        self.listeners.entry(event).or_default().push(method);
        self
    }

    /// Whether the user of this context may hear an event: its name, and the fields of its first parameter that the
    /// page subscribes by. Asked only where subscriptions are granted (`DIFFYNE_SUBSCRIBE=granted`).
    #[must_use]
    pub fn may_hear(
        mut self,
        decide: impl Fn(&mut Context, &str, &Map<String, Value>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.may_hear = Some(Box::new(move |context, event, fields| {
            Box::pin(std::future::ready(Ok(decide(context, &event, &fields))))
        }));
        self
    }

    /// The same, where it has to wait for something.
    #[must_use]
    pub fn async_may_hear(
        mut self,
        decide: impl for<'a> Fn(&'a mut Context, String, Map<String, Value>) -> BoxFuture<'a, Result<bool, Failure>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.may_hear = Some(Box::new(decide));
        self
    }

    /// What happens when the component comes to a page, after its parameters are set.
    #[must_use]
    pub fn mount<R: Returned>(mut self, run: impl Fn(&mut T, &mut Context) -> R + Send + Sync + 'static) -> Self {
        self.mount = Some(Hook::now(move |component, context, ()| run(component, context).into_result()));
        self
    }

    /// The same, where it has to wait for something.
    #[must_use]
    pub fn async_mount(
        mut self,
        run: impl for<'a> Fn(&'a mut T, &'a mut Context) -> BoxFuture<'a, Result<(), Failure>> + Send + Sync + 'static,
    ) -> Self {
        self.mount = Some(Hook::later(move |component, context, ()| run(component, context)));
        self
    }

    /// What happens in each call when the state has been restored, before anything is rendered.
    #[must_use]
    pub fn hydrate<R: Returned>(mut self, run: impl Fn(&mut T, &mut Context) -> R + Send + Sync + 'static) -> Self {
        self.hydrate = Some(Hook::now(move |component, context, ()| run(component, context).into_result()));
        self
    }

    /// The same, where it has to wait for something.
    #[must_use]
    pub fn async_hydrate(
        mut self,
        run: impl for<'a> Fn(&'a mut T, &'a mut Context) -> BoxFuture<'a, Result<(), Failure>> + Send + Sync + 'static,
    ) -> Self {
        self.hydrate = Some(Hook::later(move |component, context, ()| run(component, context)));
        self
    }

    /// What happens before a client's update of a property: its name and the new value as sent. An error refuses it.
    #[must_use]
    pub fn updating<R: Returned>(
        mut self,
        run: impl Fn(&mut T, &mut Context, &str, &Value) -> R + Send + Sync + 'static,
    ) -> Self {
        self.updating = Some(Hook::now(move |component, context, (property, value): Change| {
            run(component, context, &property, &value).into_result()
        }));
        self
    }

    /// What happens after a client's update of a property.
    #[must_use]
    pub fn updated<R: Returned>(
        mut self,
        run: impl Fn(&mut T, &mut Context, &str) -> R + Send + Sync + 'static,
    ) -> Self {
        self.updated = Some(Hook::now(move |component, context, property: String| {
            run(component, context, &property).into_result()
        }));
        self
    }

    /// The same, where it has to wait for something.
    #[must_use]
    pub fn async_updated(
        mut self,
        run: impl for<'a> Fn(&'a mut T, &'a mut Context, String) -> BoxFuture<'a, Result<(), Failure>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.updated = Some(Hook::later(run));
        self
    }

    /// What happens at the end of each call and mount, before the component is rendered and its state taken.
    #[must_use]
    pub fn dehydrate<R: Returned>(mut self, run: impl Fn(&mut T, &mut Context) -> R + Send + Sync + 'static) -> Self {
        self.dehydrate = Some(Hook::now(move |component, context, ()| run(component, context).into_result()));
        self
    }

    /// The page shows a placeholder first, and asks for the component when it is there. Only lazy components can be
    /// asked for by a page; their parameters then are a stranger's word, and those of locked, hidden and computed
    /// properties are dropped.
    #[must_use]
    pub fn lazy(self) -> Self {
        self.lazy_with(PLACEHOLDER)
    }

    /// The same, with a placeholder of your own.
    #[must_use]
    pub fn lazy_with(mut self, placeholder: &str) -> Self {
        self.placeholder = Some(placeholder.to_owned());
        self
    }

    fn known(&self, names: &[&str]) {
        for name in names {
            assert!(self.properties.defaults.contains_key(*name), "{} has no property {name}", self.class);
        }
    }

    pub(super) fn restore(&self, state: &Map<String, Value>) -> Result<T, Failure> {
        // The usual case: what the server itself has sent.
        if self.properties.fits(state)
            && let Ok(component) = T::deserialize(state)
        {
            return Ok(component);
        }
        let properties = self.properties.restore(state)?;
        serde_json::from_value(properties)
            .map_err(|error| Failure::Property(format!("The state does not fit: {error}")))
    }
}
