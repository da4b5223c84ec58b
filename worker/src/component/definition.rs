//! The builder that makes a component of a struct: its methods, listeners and view.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;

use minijinja::{AutoEscape, Environment};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::context::Context;
use super::failure::Failure;
use super::params::FromParams;
use super::state;

/// A future that a method returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

type Sync<T> = dyn Fn(&mut T, &mut Context, &[Value]) -> Result<(), Failure> + Send + std::marker::Sync;
type Async<T> = dyn for<'a> Fn(&'a mut T, &'a mut Context, Vec<Value>) -> BoxFuture<'a, Result<(), Failure>>
    + Send
    + std::marker::Sync;
type Mount<T> = dyn for<'a> Fn(&'a mut T, &'a mut Context, Map<String, Value>) -> BoxFuture<'a, Result<(), Failure>>
    + Send
    + std::marker::Sync;
type Render<T> = dyn Fn(&T) -> Result<String, Failure> + Send + std::marker::Sync;

enum Handler<T> {
    Sync(Box<Sync<T>>),
    Async(Box<Async<T>>),
}

/// A component class under construction, and then in use.
pub struct Definition<T> {
    class: String,
    defaults: Map<String, Value>,
    locked: Vec<String>,
    methods: HashMap<&'static str, Handler<T>>,
    listeners: BTreeMap<&'static str, Vec<&'static str>>,
    mount: Option<Box<Mount<T>>>,
    render: Box<Render<T>>,
}

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
    /// The first state.
    Mount {
        /// Parameters by name.
        params: Map<String, Value>,
    },
}

/// A component after a call: its state, and its view before and after.
#[derive(Debug)]
pub struct Ran {
    /// The state.
    pub state: Value,
    /// HTML before the call; none at a mount.
    pub before: Option<String>,
    /// HTML after it; none when a redirect ended the call.
    pub after: Option<String>,
}

/// A component class, whatever its state's type.
pub trait Component: Send + std::marker::Sync {
    /// The class's name on the wire.
    fn class(&self) -> &str;
    /// Whether clients may call this method.
    fn has_method(&self, name: &str) -> bool;
    /// `{event: [methods]}`.
    fn listeners(&self) -> &BTreeMap<&'static str, Vec<&'static str>>;
    /// Restores, acts, renders.
    fn run<'a>(
        &'a self,
        state: &'a Map<String, Value>,
        action: Action<'a>,
        context: &'a mut Context,
    ) -> BoxFuture<'a, Result<Ran, Failure>>;
}

impl<T> Definition<T>
where
    T: Default + Serialize + DeserializeOwned + Send + 'static,
{
    /// A component of this class name, without methods and with an empty view.
    pub fn new(class: &str) -> Self {
        let defaults = match serde_json::to_value(T::default()) {
            Ok(Value::Object(map)) => map,
            _ => Map::new(),
        };
        Self {
            class: class.to_owned(),
            defaults,
            locked: Vec::new(),
            methods: HashMap::new(),
            listeners: BTreeMap::new(),
            mount: None,
            render: Box::new(|_| Ok(String::new())),
        }
    }

    /// The view as a minijinja template over the state, HTML-escaped.
    ///
    /// # Panics
    /// When the template does not compile: the program cannot serve this component.
    #[must_use]
    pub fn template(self, source: &'static str) -> Self {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        if let Err(error) = environment.add_template("view", source) {
            panic!("the template of {} does not compile: {error:#}", self.class);
        }
        self.render(move |state| {
            let view = environment.get_template("view").map_err(Failure::exception)?;
            view.render(minijinja::value::Serde(state)).map_err(|error| Failure::Exception(format!("{error:#}")))
        })
    }

    /// The view as a function that returns HTML.
    #[must_use]
    pub fn render(
        mut self,
        render: impl Fn(&T) -> Result<String, Failure> + Send + std::marker::Sync + 'static,
    ) -> Self {
        self.render = Box::new(render);
        self
    }

    /// Properties that clients may not update.
    #[must_use]
    pub fn locked<const N: usize>(mut self, names: [&str; N]) -> Self {
        self.locked.extend(names.map(str::to_owned));
        self
    }

    /// A method that clients may call; `names` are those of its parameters, for errors.
    #[must_use]
    pub fn method<P: FromParams + 'static, const N: usize>(
        mut self,
        name: &'static str,
        names: [&'static str; N],
        run: impl Fn(&mut T, &mut Context, P) -> Result<(), Failure> + Send + std::marker::Sync + 'static,
    ) -> Self {
        const { assert!(N == P::COUNT, "as many names as parameters") };
        let handler = move |component: &mut T, context: &mut Context, values: &[Value]| {
            run(component, context, P::from_params(name, &names, values)?)
        };
        self.methods.insert(name, Handler::Sync(Box::new(handler)));
        self
    }

    /// A method that waits for something: a query, another service.
    #[must_use]
    pub fn async_method<P: FromParams + Send + 'static, const N: usize>(
        mut self,
        name: &'static str,
        names: [&'static str; N],
        run: impl for<'a> Fn(&'a mut T, &'a mut Context, P) -> BoxFuture<'a, Result<(), Failure>>
        + Send
        + std::marker::Sync
        + 'static,
    ) -> Self {
        const { assert!(N == P::COUNT, "as many names as parameters") };
        let handler = make_async(move |component, context, values| match P::from_params(name, &names, &values) {
            Ok(params) => run(component, context, params),
            Err(failure) => Box::pin(async move { Err(failure) }),
        });
        self.methods.insert(name, Handler::Async(handler));
        self
    }

    /// Calls a method when an event arrives; the method becomes callable as it has to be anyway.
    #[must_use]
    pub fn listen(mut self, event: &'static str, method: &'static str) -> Self {
        self.listeners.entry(event).or_default().push(method);
        self
    }

    /// What happens when the component comes to a page.
    #[must_use]
    pub fn mount(
        mut self,
        run: impl for<'a> Fn(&'a mut T, &'a mut Context, Map<String, Value>) -> BoxFuture<'a, Result<(), Failure>>
        + Send
        + std::marker::Sync
        + 'static,
    ) -> Self {
        self.mount = Some(Box::new(run));
        self
    }

    fn restore(&self, state: &Map<String, Value>) -> Result<T, Failure> {
        // The usual case: what the server itself has sent.
        if state::fits(&self.defaults, state)
            && let Ok(component) = T::deserialize(state)
        {
            return Ok(component);
        }
        let properties = state::restore(self.defaults.clone(), state)?;
        serde_json::from_value(properties)
            .map_err(|error| Failure::Property(format!("The state does not fit: {error}")))
    }

    fn to_state(component: &T) -> Result<Value, Failure> {
        serde_json::to_value(component).map_err(Failure::exception)
    }

    fn update(&self, component: &T, property: &str, value: &Value) -> Result<T, Failure> {
        if !self.defaults.contains_key(property) {
            return Err(Failure::Property(format!("Property {property} does not exist")));
        }
        if self.locked.iter().any(|locked| locked == property) {
            let text = format!("Property [{property}] is locked and cannot be updated from client.");
            return Err(Failure::Property(text));
        }
        let Value::Object(mut properties) = Self::to_state(component)? else {
            return Err(Failure::Property(format!("Property {property} does not exist")));
        };
        state::set(&mut properties, &self.defaults, property, value)?;
        serde_json::from_value(Value::Object(properties))
            .map_err(|error| Failure::Property(format!("Property [{property}] does not take this value: {error}")))
    }
}

/// Names the closure's lifetimes for the compiler.
fn make_async<T, F>(handler: F) -> Box<Async<T>>
where
    F: for<'a> Fn(&'a mut T, &'a mut Context, Vec<Value>) -> BoxFuture<'a, Result<(), Failure>>
        + Send
        + std::marker::Sync
        + 'static,
{
    Box::new(handler)
}

impl<T> Component for Definition<T>
where
    T: Default + Serialize + DeserializeOwned + Send + 'static,
{
    fn class(&self) -> &str {
        &self.class
    }

    fn has_method(&self, name: &str) -> bool {
        self.methods.contains_key(name)
    }

    fn listeners(&self) -> &BTreeMap<&'static str, Vec<&'static str>> {
        &self.listeners
    }

    fn run<'a>(
        &'a self,
        state: &'a Map<String, Value>,
        action: Action<'a>,
        context: &'a mut Context,
    ) -> BoxFuture<'a, Result<Ran, Failure>> {
        Box::pin(async move {
            let mut component = self.restore(state)?;
            let before = match action {
                Action::Mount { .. } => None,
                _ => Some((self.render)(&component)?),
            };
            match action {
                Action::Call { method, params } => match self.methods.get(method) {
                    Some(Handler::Sync(run)) => run(&mut component, context, &params)?,
                    Some(Handler::Async(run)) => run(&mut component, context, params).await?,
                    None => return Err(Failure::Method(format!("Method {method} does not exist"))),
                },
                Action::Update { property, value } => component = self.update(&component, property, value)?,
                Action::Mount { params } => {
                    if let Some(mount) = &self.mount {
                        mount(&mut component, context, params).await?;
                    }
                }
            }
            let after = if context.redirect.is_some() { None } else { Some((self.render)(&component)?) };
            Ok(Ran { state: Self::to_state(&component)?, before, after })
        })
    }
}
