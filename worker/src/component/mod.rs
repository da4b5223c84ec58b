//! Components written in Rust.
//!
//! A component is a plain struct, its public state, and a [`Definition`] that names its methods, listeners and view:
//!
//! ```
//! use diffyne_worker::component::{Definition, Registry, Rules};
//! use serde::{Deserialize, Serialize};
//! use serde_json::json;
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Guestbook {
//!     entries: Vec<String>,
//!     draft: String,
//! }
//!
//! let guestbook = Definition::<Guestbook>::new("App\\Diffyne\\Guestbook")
//!     .template(
//!         r#"<section>
//!           <ul>{% for entry in entries %}<li diff:key="{{ loop.index }}">{{ entry }}</li>{% endfor %}</ul>
//!           <form diff:submit="sign"><input diff:model="draft" value="{{ draft }}"><em diff:error="draft"></em></form>
//!         </section>"#,
//!     )
//!     .rules(Rules::new([("draft", "required|string|max:100")]))
//!     .locked(["entries"])
//!     .method("sign", [], |book, context, ()| {
//!         context.validate(book)?;
//!         book.entries.push(std::mem::take(&mut book.draft));
//!         context.dispatch("message-sent", vec![json!({"entries": book.entries.len()})]);
//!         Ok(())
//!     })
//!     .method("keep", ["most"], |book, _context, (most,): (i64,)| {
//!         book.entries.truncate(usize::try_from(most).unwrap_or(0));
//!     });
//! let mut registry = Registry::default();
//! registry.add(guestbook);
//! ```
//!
//! * `definition`: the builder, and `lifecycle`: what a definition does in a call
//! * [`engine`]: runs calls, from the client's message to the response (`response`)
//! * `context`: what a method can do besides changing state
//! * `params`: positional parameters, typed as PHP would coerce them
//! * `validation`: rules and their texts
//! * `locked_state`: accepts the values of locked properties only where a signature covers them
//! * `grant`: which events a user may hear
//! * `async_value`, `follow_up`: values that come after the answer, and how they come
//! * `streams`: lists whose items are on the page alone
//! * `islands`: parts of a view that are rendered alone; `shown`: the states that a page shows after that; `rendering`:
//!   what an answer renders
//! * `properties`, `state`, `view`, `hook`: parts of a definition

mod async_value;
mod context;
mod definition;
pub mod engine;
pub(crate) mod follow_up;
mod grant;
mod hook;
mod islands;
mod lifecycle;
mod locked_state;
mod member;
mod params;
mod properties;
mod property_type;
mod rendering;
mod response;
mod shown;
mod state;
mod streams;
mod validation;
mod view;

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

pub use crate::call::{BoxFuture, CallError, ClientInfo};
pub use async_value::Async;
pub use context::{App, Context};
pub use definition::Definition;
pub use hook::{IntoHtml, IntoResult};
pub use lifecycle::Component;
pub use member::Member;
pub use params::{FromParam, FromParams};
pub use streams::Stream;
pub use validation::Rules;

/// The components that a worker runs, by class.
#[derive(Default, Clone)]
pub struct Registry {
    components: HashMap<String, Arc<dyn Component>>,
    /// The hash of each class, by name: in the same order in every process.
    releases: BTreeMap<String, Arc<str>>,
    /// Who the user of a client is.
    identify: Option<Arc<Identify>>,
}

type Identify = dyn Fn(&ClientInfo) -> Option<String> + Send + Sync;

impl Registry {
    /// Adds a component. It replaces an earlier one of the same class.
    pub fn add(&mut self, component: impl Component + 'static) {
        let class = component.class().to_owned();
        let mut hasher = DefaultHasher::new();
        component.hash(&mut hasher);
        self.releases.insert(class.clone(), release(&hasher));
        self.components.insert(class, Arc::new(component));
    }

    /// Tells who the user of a client is, by its cookies: gateways ask it once for each connection. `None`: a guest. A method
    /// that logs its user in or out says so with [`Context::set_user`].
    pub fn identify(&mut self, identify: impl Fn(&ClientInfo) -> Option<String> + Send + Sync + 'static) {
        self.identify = Some(Arc::new(identify));
    }

    /// The user of a client, empty for a guest; `None` if the application does not tell it.
    pub(crate) fn user_of(&self, client: &ClientInfo) -> Option<String> {
        self.identify.as_ref().map(|identify| identify(client).unwrap_or_default())
    }

    /// The component of a class.
    pub(crate) fn get(&self, class: &str) -> Option<&Arc<dyn Component>> {
        self.components.get(class)
    }

    /// The hash of a class.
    pub(crate) fn class_release(&self, class: &str) -> Option<Arc<str>> {
        self.releases.get(class).cloned()
    }

    /// The hash of all classes.
    pub(crate) fn release(&self) -> Arc<str> {
        let mut hasher = DefaultHasher::new();
        self.releases.hash(&mut hasher);
        release(&hasher)
    }

    /// All components.
    fn all(&self) -> impl Iterator<Item = &dyn Component> {
        self.components.values().map(|component| &**component)
    }
}

fn release(hasher: &DefaultHasher) -> Arc<str> {
    format!("{:016x}", hasher.finish()).into()
}
