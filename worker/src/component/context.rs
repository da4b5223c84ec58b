//! The context of a call: what a method can do besides changing its component's state.
//!
//! It sends events, redirects, sets cookies and validates, and it knows the client and the application.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::async_value::PendingValues;
use super::shown::Shown;
use super::streams::{Stream, StreamChanges};
use super::validation::{self, Rules};
use crate::call::page_script::Accepted;
use crate::call::parts::{Part, PartError};
use crate::call::{CallError, ClientInfo, Parts, UserEvent};
use crate::upload::{TemporaryFile, UploadStore};

/// An event for components.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ComponentEvent {
    pub(super) name: String,
    /// Positional parameters.
    pub(super) params: Vec<Value>,
    /// Component ids; `None`: all that listen.
    pub(super) to: Option<Vec<String>>,
    /// For the component itself.
    #[serde(rename = "self")]
    pub(super) to_self: bool,
}

/// A redirect that ends the call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Redirect {
    pub(super) url: String,
    /// Without a page load.
    pub(super) spa: bool,
}

/// The state of the application that all components share.
pub type App = Arc<dyn Any + Send + Sync>;

/// The context of one call.
pub struct Context {
    /// The component's id on the page.
    pub component_id: String,
    /// Who calls.
    pub client: ClientInfo,
    /// The parameters of a mount, by name. Those that are properties have been set already.
    pub params: Map<String, Value>,
    pub(super) events: Vec<ComponentEvent>,
    pub(super) user_events: Vec<UserEvent>,
    /// Empty for a guest; `None`: no method has told it.
    pub(super) user: Option<String>,
    pub(super) browser_events: Vec<Value>,
    pub(super) redirect: Option<Redirect>,
    pub(super) errors: Map<String, Value>,
    pub(super) set_cookie: Vec<String>,
    pub(super) rules: Arc<Rules>,
    pub(super) uploads: Option<Arc<UploadStore>>,
    pub(super) streams: StreamChanges,
    pub(super) pending: PendingValues,
    /// What the client's script can do.
    pub(super) accepts: Accepted,
    /// What the page shows, where that is not the state of the call.
    pub(super) shown: Shown,
    /// The island that the call asks for.
    pub(super) island: String,
    /// The islands that the method has named; `None`: the whole view is rendered.
    pub(super) islands: Option<Vec<String>>,
    /// How long its HTML was rendered.
    pub(super) rendered: Duration,
    /// Where parts of the answer go.
    pub(super) parts: Parts,
    app: App,
}

impl Context {
    pub(super) fn new(component_id: String, client: ClientInfo, app: App) -> Self {
        Self {
            component_id,
            client,
            params: Map::new(),
            events: Vec::new(),
            user_events: Vec::new(),
            user: None,
            browser_events: Vec::new(),
            redirect: None,
            errors: Map::new(),
            set_cookie: Vec::new(),
            rules: Arc::default(),
            uploads: None,
            streams: StreamChanges::default(),
            pending: PendingValues::default(),
            accepts: Accepted::default(),
            shown: Shown::default(),
            island: String::new(),
            islands: Some(Vec::new()),
            rendered: Duration::ZERO,
            parts: Parts::default(),
            app,
        }
    }

    /// A context for rendering what a page shows: what is done to it counts for nothing.
    pub(super) fn for_rendering(&self) -> Self {
        let mut context = Self::new(self.component_id.clone(), self.client.clone(), App::clone(&self.app));
        (context.rules, context.uploads) = (Arc::clone(&self.rules), self.uploads.clone());
        context
    }

    /// The application's shared state. Fails when it was registered with another type.
    pub fn app<T: Any + Send + Sync>(&self) -> Result<Arc<T>, CallError> {
        Arc::clone(&self.app)
            .downcast()
            .map_err(|_other| CallError::Exception(format!("the shared state is not a {}", std::any::type_name::<T>())))
    }

    /// The file that a user has uploaded for this component, by the handle that a property has got. `None` when it was
    /// uploaded for another component, has been moved, or was too old.
    pub fn file(&self, handle: &str) -> Option<TemporaryFile> {
        self.uploads.as_ref()?.find(handle, &self.component_id)
    }

    /// Runs blocking work (a query, a file) on another thread.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, CallError> {
        tokio::task::spawn_blocking(work).await.map_err(CallError::exception)?
    }

    /// A stream of the component, to change it: a list whose items are on the page alone.
    pub fn stream<'a>(&'a mut self, name: &'a str) -> Stream<'a> {
        self.streams.stream(name)
    }

    /// Sends a part of the answer while the method runs. The page shows the text at the end of the component's element
    /// with `diff:stream="name"`, until the answer is there: what the component renders then takes its place.
    ///
    /// Waits while the client reads more slowly than the method writes. Fails when the client has left, and the method is
    /// dropped at its next `await`. Each part gives the call its time anew (`DIFFYNE_STREAM_TIMEOUT` bounds it). Where
    /// parts cannot be sent, as with a page's first rendering and an unmodified diffyne.js over AJAX, they are left out. A
    /// part may have 64 KiB.
    ///
    /// ```
    /// # use diffyne_worker::component::Definition;
    /// # use serde::{Deserialize, Serialize};
    /// #[derive(Default, Serialize, Deserialize)]
    /// struct Assistant {
    ///     answer: String,
    /// }
    ///
    /// let definition = Definition::<Assistant>::new("App\\Assistant")
    ///     .template(r#"<p diff:stream="answer">{{ answer }}</p>"#)
    ///     .async_method("ask", ["question"], |assistant, context, (question,): (String,)| {
    ///         Box::pin(async move {
    ///             for word in question.split(' ').rev() {
    ///                 context.stream_part("answer", word).await?;
    ///                 assistant.answer.push_str(word);
    ///             }
    ///             Ok(())
    ///         })
    ///     });
    /// ```
    pub async fn stream_part(&mut self, name: &str, text: impl Into<String>) -> Result<(), CallError> {
        self.send_part(name, text.into(), false).await
    }

    /// As [`stream_part`](Self::stream_part), and the text takes the place of what the element shows.
    pub async fn replace_part(&mut self, name: &str, text: impl Into<String>) -> Result<(), CallError> {
        self.send_part(name, text.into(), true).await
    }

    async fn send_part(&mut self, name: &str, content: String, replace: bool) -> Result<(), CallError> {
        let part = Part { to: name.to_owned(), content, replace };
        self.parts.send(&part).await.map_err(|error| match error {
            PartError::ClientLeft => CallError::ClientLeft,
            PartError::Invalid(text) => CallError::Exception(text),
        })
    }

    /// Renders an island alone: the answer changes nothing else of the component on the page, and nothing else is
    /// rendered. Named several times, or in a call from within an island, all of these are rendered.
    ///
    /// The call fails where the view has no such island. Clients that know nothing of islands get the whole view.
    ///
    /// ```
    /// # use diffyne_worker::component::Definition;
    /// # use serde::{Deserialize, Serialize};
    /// #[derive(Default, Serialize, Deserialize)]
    /// struct Shop {
    ///     sold: u32,
    /// }
    ///
    /// let definition = Definition::<Shop>::new("App\\Shop")
    ///     .template(
    ///         r#"<main>
    ///             <p diff:island="sales">{% block sales %}{{ sold }} sold{% endblock %}</p>
    ///             <button diff:click="sell">Sell</button>
    ///         </main>"#,
    ///     )
    ///     .method("sell", [], |shop, context, ()| {
    ///         shop.sold += 1;
    ///         context.render_island("sales");
    ///     });
    /// ```
    pub fn render_island(&mut self, name: &str) {
        self.islands.get_or_insert_default().push(name.to_owned());
    }

    /// Renders the whole component, also in a call from within an island.
    pub fn render_whole(&mut self) {
        self.islands = None;
    }

    /// Gives a property of the type [`Async`](super::Async) its value later: the answer has a placeholder, and the page
    /// gets the value when the future has made it.
    ///
    /// A call over AJAX, the first rendering of a page, and a script that takes no pushes wait for the value instead. The
    /// future is dropped when the client leaves, and fails when the time of the call is over. A call assigns 16 values at
    /// most.
    pub fn assign_async<T: Serialize>(
        &mut self,
        property: &str,
        future: impl Future<Output = Result<T, CallError>> + Send + 'static,
    ) {
        self.pending.add(property, future);
    }

    /// Sends an event to all listening components: on the page, and in the whole cluster if it is a broadcast event.
    pub fn dispatch(&mut self, name: &str, params: Vec<Value>) {
        self.events.push(ComponentEvent { name: name.to_owned(), params, to: None, to_self: false });
    }

    /// Sends an event to one user: to all pages of that user that listen to it, on whatever gateway, the caller's own
    /// included. It is not in the answer, and follows when the call has succeeded. An id has 1 to 255 bytes.
    ///
    /// ```
    /// # use diffyne_worker::component::Definition;
    /// # use serde::{Deserialize, Serialize};
    /// #[derive(Default, Serialize, Deserialize)]
    /// struct Order {
    ///     buyer: i64,
    /// }
    ///
    /// let definition = Definition::<Order>::new("App\\Order")
    ///     .template("<button diff:click=\"ship\">Ship</button>")
    ///     .method("ship", [], |order, context, (): ()| {
    ///         context.dispatch_to_user(order.buyer, "order-shipped", vec![]);
    ///         Ok(())
    ///     });
    /// ```
    pub fn dispatch_to_user(&mut self, user: impl ToString, name: &str, params: Vec<Value>) {
        let params = Value::from(params).to_string().into_bytes();
        self.user_events.push(UserEvent { user: user.to_string(), name: name.to_owned(), params });
    }

    /// Tells gateways who the user of this connection is, as the application knows it from the client's cookies or after
    /// a login: so the user can be sent events and be disconnected. `None`: a guest. Also for `may_hear` policies.
    pub fn set_user(&mut self, id: Option<&str>) {
        self.user = Some(id.unwrap_or_default().to_owned());
    }

    /// Sends an event to these components on the page.
    pub fn dispatch_to(&mut self, ids: &[&str], name: &str, params: Vec<Value>) {
        let to = Some(ids.iter().map(|id| (*id).to_owned()).collect());
        self.events.push(ComponentEvent { name: name.to_owned(), params, to, to_self: false });
    }

    /// Sends an event to this component itself.
    pub fn dispatch_self(&mut self, name: &str, params: Vec<Value>) {
        let to = Some(vec![self.component_id.clone()]);
        self.events.push(ComponentEvent { name: name.to_owned(), params, to, to_self: true });
    }

    /// Sends a browser event to the page's scripts: `window.addEventListener(name, ...)` gets the data in `detail`.
    pub fn browser_event(&mut self, name: &str, data: Value) {
        self.browser_events.push(json!({"name": name, "data": data}));
    }

    /// Redirects the page. Nothing more is rendered: `return context.redirect(...)`.
    pub fn redirect(&mut self, url: &str) -> Result<(), CallError> {
        self.redirect = Some(Redirect { url: url.to_owned(), spa: true });
        Ok(())
    }

    /// Redirects the browser with a page load, to another site for example.
    pub fn redirect_with_load(&mut self, url: &str) -> Result<(), CallError> {
        self.redirect = Some(Redirect { url: url.to_owned(), spa: false });
        Ok(())
    }

    /// Sets a cookie in the browser by a `Set-Cookie` value. Later calls of the same connection see the cookie.
    pub fn set_cookie(&mut self, value: impl Into<String>) {
        self.set_cookie.push(value.into());
    }

    /// Validates a component by the rules of its definition. An error ends the call and is shown beside its field.
    pub fn validate(&mut self, component: &impl Serialize) -> Result<(), CallError> {
        let rules = Arc::clone(&self.rules);
        self.validate_by(component, &rules)
    }

    /// Validates a component by these rules.
    pub fn validate_by(&mut self, component: &impl Serialize, rules: &Rules) -> Result<(), CallError> {
        let errors = rules.check_files(&validation::values(component)?, &|handle| self.file(handle));
        if !errors.is_empty() {
            return Err(CallError::Validation(errors));
        }
        self.errors.clear();
        Ok(())
    }

    /// Validates one property by the rules of the definition, while the user still fills in the others. An error goes
    /// into the error bag, and the call goes on.
    pub fn validate_only(&mut self, component: &impl Serialize, property: &str) -> Result<(), CallError> {
        let file = |handle: &str| self.file(handle);
        let errors = self.rules.check_only_files(&validation::values(component)?, property, &file);
        self.reset_validation(property);
        self.errors.extend(errors);
        Ok(())
    }

    /// Adds an error to the error bag; it is shown beside the field.
    pub fn add_error(&mut self, property: &str, text: &str) {
        let texts = self.errors.entry(property.to_owned()).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(texts) = texts {
            texts.push(Value::from(text));
        }
    }

    /// Removes a property's errors from the error bag.
    pub fn reset_validation(&mut self, property: &str) {
        self.errors.shift_remove(property);
    }

    /// The error bag: texts by field.
    pub fn errors(&self) -> &Map<String, Value> {
        &self.errors
    }
}
