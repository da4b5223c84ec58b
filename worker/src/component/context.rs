//! What a method can do besides changing its component's state: events, redirects, validation, a look at the client
//! and at the application.

use std::any::Any;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::validation;

/// Who calls.
#[derive(Debug, Clone, Default)]
pub struct ClientInfo {
    /// The client id of the connection.
    pub id: String,
    /// The browser's address.
    pub ip: String,
    /// Whether the call came over a WebSocket.
    pub is_websocket: bool,
    /// `name: value` lines of the handshake.
    pub headers: String,
}

impl ClientInfo {
    /// A header of the handshake, by lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().filter_map(|line| line.split_once(": ")).find(|(known, _)| *known == name).map(|(_, v)| v)
    }

    /// A cookie.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let pairs = self.header("cookie")?.split(';').map(str::trim);
        pairs.filter_map(|pair| pair.split_once('=')).find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

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
    pub(super) events: Vec<Event>,
    pub(super) browser_events: Vec<Value>,
    pub(super) redirect: Option<Redirect>,
    pub(super) errors: Map<String, Value>,
    app: App,
}

impl Context {
    /// Surroundings for a call.
    pub fn new(component_id: String, client: ClientInfo, app: App) -> Self {
        Self {
            component_id,
            client,
            events: Vec::new(),
            browser_events: Vec::new(),
            redirect: None,
            errors: Map::new(),
            app,
        }
    }

    /// The application's shared state, if it is of this type.
    pub fn app<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        Arc::clone(&self.app).downcast().ok()
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

    /// A browser event for the page's scripts.
    pub fn browser_event(&mut self, name: &str, data: Value) {
        self.browser_events.push(json!({"name": name, "data": data}));
    }

    /// Ends the call with a redirect.
    pub fn redirect(&mut self, url: &str, spa: bool) {
        self.redirect = Some(Redirect { url: url.to_owned(), spa });
    }

    /// Checks values against Laravel's rules; the error carries Laravel's words by field.
    ///
    /// Each entry is a field, its value and its rules: `("title", json!(""), "required|string|max:10")`.
    pub fn validate(&self, fields: &[(&str, Value, &str)]) -> Result<(), Failure> {
        let errors = validation::check(fields);
        if errors.is_empty() { Ok(()) } else { Err(Failure::Validation(errors)) }
    }
}
