//! What a method can do besides changing its component's state: events, redirects, validation, a look at the client
//! and at the application.

use std::any::Any;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::client::ClientInfo;
use super::failure::Failure;
use super::validation::{self, Rules};

/// An event on its way to components.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Name.
    pub name: String,
    /// Positional parameters.
    pub params: Vec<Value>,
    /// Component ids; none: all that listen.
    pub to: Option<Vec<String>>,
    /// For the component itself.
    #[serde(rename = "self")]
    pub to_self: bool,
}

/// A redirect that ends the call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Redirect {
    /// Where to.
    pub url: String,
    /// Without a page load.
    pub spa: bool,
}

/// The state of the application that all components share.
pub type App = Arc<dyn Any + Send + Sync>;

/// The surroundings of one call.
pub struct Context {
    /// The component's id on the page.
    pub component_id: String,
    /// Who calls.
    pub client: ClientInfo,
    /// The parameters of a mount, by name; those that are properties are set already.
    pub params: Map<String, Value>,
    pub(super) events: Vec<Event>,
    pub(super) browser_events: Vec<Value>,
    pub(super) redirect: Option<Redirect>,
    pub(super) errors: Map<String, Value>,
    pub(super) set_cookie: Vec<String>,
    pub(super) rules: Arc<Rules>,
    app: App,
}

impl Context {
    /// Surroundings for a call.
    pub fn new(component_id: String, client: ClientInfo, app: App) -> Self {
        Self {
            component_id,
            client,
            params: Map::new(),
            events: Vec::new(),
            browser_events: Vec::new(),
            redirect: None,
            errors: Map::new(),
            set_cookie: Vec::new(),
            rules: Arc::default(),
            app,
        }
    }

    /// The application's shared state.
    ///
    /// An error when it is of another type than the one that was registered.
    pub fn app<T: Any + Send + Sync>(&self) -> Result<Arc<T>, Failure> {
        Arc::clone(&self.app)
            .downcast()
            .map_err(|_other| Failure::Exception(format!("the shared state is no {}", std::any::type_name::<T>())))
    }

    /// Runs what blocks (a query, a file) beside the serving thread.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        tokio::task::spawn_blocking(work).await.map_err(Failure::exception)?
    }

    /// Tells every listening component, in the whole cluster where the name is one of the broadcast events.
    pub fn dispatch(&mut self, name: &str, params: Vec<Value>) {
        self.events.push(Event { name: name.to_owned(), params, to: None, to_self: false });
    }

    /// Tells these components on the page.
    pub fn dispatch_to(&mut self, ids: &[&str], name: &str, params: Vec<Value>) {
        let to = Some(ids.iter().map(|id| (*id).to_owned()).collect());
        self.events.push(Event { name: name.to_owned(), params, to, to_self: false });
    }

    /// Tells this component itself.
    pub fn dispatch_self(&mut self, name: &str, params: Vec<Value>) {
        let to = Some(vec![self.component_id.clone()]);
        self.events.push(Event { name: name.to_owned(), params, to, to_self: true });
    }

    /// A browser event for the page's scripts: `window.addEventListener(name, ...)` finds the data in `detail`.
    pub fn browser_event(&mut self, name: &str, data: Value) {
        self.browser_events.push(json!({"name": name, "data": data}));
    }

    /// Sends the page elsewhere. Nothing is rendered any more: `return context.redirect(...)`.
    pub fn redirect(&mut self, url: &str) -> Result<(), Failure> {
        self.redirect = Some(Redirect { url: url.to_owned(), spa: true });
        Ok(())
    }

    /// Sends the browser elsewhere with a page load, to another site for example.
    pub fn redirect_with_load(&mut self, url: &str) -> Result<(), Failure> {
        self.redirect = Some(Redirect { url: url.to_owned(), spa: false });
        Ok(())
    }

    /// A `Set-Cookie` value for the browser, over HTTP; later calls of the same connection see the cookie.
    pub fn set_cookie(&mut self, value: impl Into<String>) {
        self.set_cookie.push(value.into());
    }

    /// Checks a component by the rules of its definition. A fault ends the call and is shown beside its field.
    pub fn validate(&mut self, component: &impl Serialize) -> Result<(), Failure> {
        let rules = Arc::clone(&self.rules);
        self.validate_by(component, &rules)
    }

    /// Checks a component by these rules.
    pub fn validate_by(&mut self, component: &impl Serialize, rules: &Rules) -> Result<(), Failure> {
        let errors = rules.check(&validation::values(component)?);
        if !errors.is_empty() {
            return Err(Failure::Validation(errors));
        }
        self.errors.clear();
        Ok(())
    }

    /// Checks one property by the rules of the definition, while the user still fills in the others: a fault goes
    /// into the error bag, and the call goes on.
    pub fn validate_only(&mut self, component: &impl Serialize, property: &str) -> Result<(), Failure> {
        let errors = self.rules.check_only(&validation::values(component)?, property);
        self.reset_validation(property);
        self.errors.extend(errors);
        Ok(())
    }

    /// Adds a fault to the error bag; it is shown beside the field.
    pub fn add_error(&mut self, property: &str, text: &str) {
        let texts = self.errors.entry(property.to_owned()).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(texts) = texts {
            texts.push(Value::from(text));
        }
    }

    /// Takes a property's faults out of the error bag.
    pub fn reset_validation(&mut self, property: &str) {
        self.errors.shift_remove(property);
    }

    /// The error bag: texts by field.
    pub fn errors(&self) -> &Map<String, Value> {
        &self.errors
    }
}
