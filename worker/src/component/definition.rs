//! The builder that makes a component of a struct: its properties, methods, listeners, hooks and view.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::context::Context;
use super::grant::{EventPolicy, RoomPolicy};
use super::hook::{Hook, IntoHtml, IntoResult};
use super::member::Member;
use super::params::FromParams;
use super::properties::{Properties, QueryProperty};
use super::property_type::property_types;
use super::streams::StreamViews;
use super::validation::Rules;
use super::view::{Computed, View};
use crate::call::{BoxFuture, CallError};

/// The default placeholder of lazy components.
const PLACEHOLDER: &str = r#"<div class="diffyne-lazy" aria-busy="true"></div>"#;

/// A property's name and the new value that a client sent.
type PropertyUpdate = (String, Value);

/// A component class under construction, and then in use.
///
/// Methods take the component, the [`Context`] of the call and their parameters as a tuple. They return nothing, or a
/// `Result` whose error is a [`CallError`]; any other error becomes one by `?`.
pub struct Definition<T> {
    pub(super) class: String,
    pub(super) properties: Properties,
    pub(super) methods: HashMap<&'static str, Hook<T, Vec<Value>>>,
    pub(super) listeners: BTreeMap<&'static str, Vec<&'static str>>,
    pub(super) may_hear: Option<EventPolicy>,
    pub(super) here: Option<RoomPolicy>,
    pub(super) rules: Arc<Rules>,
    pub(super) placeholder: Option<String>,
    pub(super) mount: Option<Hook<T, ()>>,
    pub(super) hydrate: Option<Hook<T, ()>>,
    pub(super) updating: Option<Hook<T, PropertyUpdate>>,
    pub(super) updated: Option<Hook<T, String>>,
    pub(super) dehydrate: Option<Hook<T, ()>>,
    pub(super) computed: Vec<Computed<T>>,
    pub(super) view: View<T>,
    pub(super) streams: StreamViews,
}

impl<T> Definition<T>
where
    T: Default + Serialize + DeserializeOwned + Send + 'static,
{
    /// A component of this class name, without methods and with an empty view.
    ///
    /// Its properties are the fields of `T` as serde names them. The type of each is that of its default value, or is
    /// found by trying values where it may be null.
    ///
    /// # Panics
    /// When `T` does not serialize as an object, so that it cannot be a state.
    pub fn new(class: &str) -> Self {
        let defaults = match serde_json::to_value(T::default()) {
            Ok(Value::Object(map)) => map,
            other => panic!("the state of {class} must be a struct with named fields, not {other:?}"),
        };
        Self {
            class: class.to_owned(),
            properties: Properties { types: property_types::<T>(&defaults), defaults, ..Properties::default() },
            methods: HashMap::new(),
            listeners: BTreeMap::new(),
            may_hear: None,
            here: None,
            rules: Arc::default(),
            placeholder: None,
            mount: None,
            hydrate: None,
            updating: None,
            updated: None,
            dehydrate: None,
            computed: Vec::new(),
            view: View::Empty,
            streams: StreamViews::default(),
        }
    }

    /// Sets the view as a minijinja template, HTML-escaped.
    ///
    /// Its variables are the properties, the computed values, `errors` (texts by field) and `id`, the component's id.
    ///
    /// # Panics
    /// When the template does not compile.
    #[must_use]
    pub fn template(mut self, source: &'static str) -> Self {
        self.view = View::template(&self.class, source);
        self
    }

    /// Sets the view as a function that returns HTML or a `Result` of it. The function has to escape texts itself.
    #[must_use]
    pub fn render<R: IntoHtml>(mut self, render: impl Fn(&T) -> R + Send + Sync + 'static) -> Self {
        self.view = View::Function(Box::new(move |component| render(component).into_html()));
        self
    }

    /// Adds a stream: a list whose items are on the page alone. The template renders one item, as one element; its
    /// variables are `item` and `key`. The view shows the stream in an empty element, `<ul diff:stream="posts"></ul>`,
    /// which [`Context::stream`] fills.
    ///
    /// # Panics
    /// When the template does not compile.
    #[must_use]
    pub fn stream(mut self, name: &'static str, template: &'static str) -> Self {
        self.streams.add(&self.class, name, template);
        self
    }

    /// Locks properties: clients see them and may not set them, so a signature has to cover their values.
    ///
    /// A property that is also hidden stays hidden.
    #[must_use]
    pub fn locked<const N: usize>(mut self, names: [&'static str; N]) -> Self {
        self.assert_properties(&names);
        self.properties.locked.extend(names.into_iter().filter(|name| !self.properties.hidden.contains(name)));
        self
    }

    /// Hides properties: they never leave the server, and each call begins with their default.
    #[must_use]
    pub fn hidden<const N: usize>(mut self, names: [&'static str; N]) -> Self {
        self.assert_properties(&names);
        self.properties.locked.retain(|name| !names.contains(name));
        self.properties.hidden.extend(names);
        self
    }

    /// Adds a computed value for the view. It is not part of the state.
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

    /// Keeps a property in the page's query string while it is not empty.
    #[must_use]
    pub fn query(self, property: &'static str) -> Self {
        self.query_as(property, property)
    }

    /// Keeps a property in the page's query string by another name, while it is not empty.
    #[must_use]
    pub fn query_as(self, property: &'static str, name: &'static str) -> Self {
        self.add_query(QueryProperty { property, name, keep_empty: false })
    }

    /// Keeps a property in the page's query string by another name, even while it is empty.
    #[must_use]
    pub fn query_always_as(self, property: &'static str, name: &'static str) -> Self {
        self.add_query(QueryProperty { property, name, keep_empty: true })
    }

    fn add_query(mut self, query: QueryProperty) -> Self {
        self.assert_properties(&[query.property]);
        self.properties.query.push(query);
        self
    }

    /// Sets the rules for [`Context::validate`] and [`Context::validate_only`].
    #[must_use]
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = Arc::new(rules);
        self
    }

    /// Adds a method that clients may call. `names` are those of its parameters, for error texts.
    #[must_use]
    pub fn method<P: FromParams + 'static, R: IntoResult, const N: usize>(
        mut self,
        name: &'static str,
        names: [&'static str; N],
        run: impl Fn(&mut T, &mut Context, P) -> R + Send + Sync + 'static,
    ) -> Self {
        const { assert!(N == P::COUNT, "as many names as parameters") };
        let hook = Hook::new(move |component: &mut T, context, values: Vec<Value>| {
            run(component, context, P::from_params(name, &names, &values)?).into_result()
        });
        self.methods.insert(name, hook);
        self
    }

    /// Adds an asynchronous method, for queries or other services: `Box::pin(async move { .. })`.
    #[must_use]
    pub fn async_method<P: FromParams + Send + 'static, const N: usize>(
        mut self,
        name: &'static str,
        names: [&'static str; N],
        run: impl for<'a> Fn(&'a mut T, &'a mut Context, P) -> BoxFuture<'a, Result<(), CallError>> + Send + Sync + 'static,
    ) -> Self {
        const { assert!(N == P::COUNT, "as many names as parameters") };
        let hook = Hook::new_async(move |component, context, values: Vec<Value>| {
            match P::from_params(name, &names, &values) {
                Ok(params) => run(component, context, params),
                Err(error) => Box::pin(std::future::ready(Err(error))),
            }
        });
        self.methods.insert(name, hook);
        self
    }

    /// Calls a method when an event arrives; its parameters are the event's.
    ///
    /// # Panics
    /// When the method has not been added before.
    #[must_use]
    pub fn listen(mut self, event: &'static str, method: &'static str) -> Self {
        assert!(self.methods.contains_key(method), "{} has no method {method} to listen with", self.class);
        self.listeners.entry(event).or_default().push(method);
        self
    }

    /// Decides whether the context's user may hear an event, by its name and the fields of its first parameter that the
    /// page subscribes to.
    ///
    /// Called where subscriptions need grants (`DIFFYNE_SUBSCRIBE=granted`), and for rooms.
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

    /// As [`Self::may_hear`], asynchronous.
    #[must_use]
    pub fn async_may_hear(
        mut self,
        decide: impl for<'a> Fn(&'a mut Context, String, Map<String, Value>) -> BoxFuture<'a, Result<bool, CallError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.may_hear = Some(Box::new(decide));
        self
    }

    /// Lets users into the room of an event, by its name and the fields that make the room, and says what the others there
    /// may know of them. `None`: the user may not enter. Without it, the class has no rooms.
    ///
    /// ```
    /// use diffyne_worker::component::{Definition, Member};
    /// use serde_json::json;
    ///
    /// # #[derive(Default, serde::Serialize, serde::Deserialize)] struct Chat {}
    /// Definition::<Chat>::new("App\\Diffyne\\Chat").here(|context, _event, fields| {
    ///     let user = context.client.cookie("user")?;
    ///     (fields.get("room") == Some(&json!(7))).then(|| Member::new(user, json!({"name": user})))
    /// });
    /// ```
    #[must_use]
    pub fn here(
        mut self,
        decide: impl Fn(&mut Context, &str, &Map<String, Value>) -> Option<Member> + Send + Sync + 'static,
    ) -> Self {
        self.here = Some(Box::new(move |context, event, fields| {
            Box::pin(std::future::ready(Ok(decide(context, &event, &fields))))
        }));
        self
    }

    /// As [`Self::here`], asynchronous.
    #[must_use]
    pub fn async_here(
        mut self,
        decide: impl for<'a> Fn(
            &'a mut Context,
            String,
            Map<String, Value>,
        ) -> BoxFuture<'a, Result<Option<Member>, CallError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.here = Some(Box::new(decide));
        self
    }

    /// Runs when the component is mounted on a page, after its parameters were set.
    #[must_use]
    pub fn mount<R: IntoResult>(mut self, run: impl Fn(&mut T, &mut Context) -> R + Send + Sync + 'static) -> Self {
        self.mount = Some(Hook::new(move |component, context, ()| run(component, context).into_result()));
        self
    }

    /// As [`Self::mount`], asynchronous.
    #[must_use]
    pub fn async_mount(
        mut self,
        run: impl for<'a> Fn(&'a mut T, &'a mut Context) -> BoxFuture<'a, Result<(), CallError>> + Send + Sync + 'static,
    ) -> Self {
        self.mount = Some(Hook::new_async(move |component, context, ()| run(component, context)));
        self
    }

    /// Runs in each call after the state was restored, before anything is rendered.
    #[must_use]
    pub fn hydrate<R: IntoResult>(mut self, run: impl Fn(&mut T, &mut Context) -> R + Send + Sync + 'static) -> Self {
        self.hydrate = Some(Hook::new(move |component, context, ()| run(component, context).into_result()));
        self
    }

    /// As [`Self::hydrate`], asynchronous.
    #[must_use]
    pub fn async_hydrate(
        mut self,
        run: impl for<'a> Fn(&'a mut T, &'a mut Context) -> BoxFuture<'a, Result<(), CallError>> + Send + Sync + 'static,
    ) -> Self {
        self.hydrate = Some(Hook::new_async(move |component, context, ()| run(component, context)));
        self
    }

    /// Runs before a client's update of a property, with its name and the new value as sent. An error refuses the update.
    #[must_use]
    pub fn updating<R: IntoResult>(
        mut self,
        run: impl Fn(&mut T, &mut Context, &str, &Value) -> R + Send + Sync + 'static,
    ) -> Self {
        self.updating = Some(Hook::new(move |component, context, (property, value): PropertyUpdate| {
            run(component, context, &property, &value).into_result()
        }));
        self
    }

    /// Runs after a client's update of a property.
    #[must_use]
    pub fn updated<R: IntoResult>(
        mut self,
        run: impl Fn(&mut T, &mut Context, &str) -> R + Send + Sync + 'static,
    ) -> Self {
        self.updated = Some(Hook::new(move |component, context, property: String| {
            run(component, context, &property).into_result()
        }));
        self
    }

    /// As [`Self::updated`], asynchronous.
    #[must_use]
    pub fn async_updated(
        mut self,
        run: impl for<'a> Fn(&'a mut T, &'a mut Context, String) -> BoxFuture<'a, Result<(), CallError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.updated = Some(Hook::new_async(run));
        self
    }

    /// Runs at the end of each call and mount, before the component is rendered and its state is read.
    #[must_use]
    pub fn dehydrate<R: IntoResult>(mut self, run: impl Fn(&mut T, &mut Context) -> R + Send + Sync + 'static) -> Self {
        self.dehydrate = Some(Hook::new(move |component, context, ()| run(component, context).into_result()));
        self
    }

    /// Makes the component lazy: the page shows a placeholder first, and mounts the component by itself.
    ///
    /// Anybody can choose the parameters of such a mount, so those of locked, hidden and computed properties are
    /// dropped.
    #[must_use]
    pub fn lazy(self) -> Self {
        self.lazy_with(PLACEHOLDER)
    }

    /// As [`Self::lazy`], with a placeholder of your own.
    #[must_use]
    pub fn lazy_with(mut self, placeholder: &str) -> Self {
        self.placeholder = Some(placeholder.to_owned());
        self
    }

    fn assert_properties(&self, names: &[&str]) {
        for name in names {
            assert!(self.properties.defaults.contains_key(*name), "{} has no property {name}", self.class);
        }
    }

    pub(super) fn restore(&self, state: &Map<String, Value>) -> Result<T, CallError> {
        // The usual case: a state as the server sent it.
        if self.properties.fits(state)
            && let Ok(component) = T::deserialize(state)
        {
            return Ok(component);
        }
        let properties = self.properties.restore(state)?;
        serde_json::from_value(properties)
            .map_err(|error| CallError::Property(format!("The state does not fit: {error}")))
    }
}
