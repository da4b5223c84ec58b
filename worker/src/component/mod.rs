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
//! * [`definition`]: the builder
//! * [`lifecycle`]: what a definition does in a call
//! * [`engine`]: the life of a call, from the client's message to its answer
//! * [`context`], [`client`]: what a method can do besides changing state, and who calls
//! * [`params`]: positional parameters, typed as PHP would coerce them
//! * [`validation`]: rules and messages
//! * [`failure`]: how a call can fail
//! * `trust`: which values of a client's state are believed
//! * `properties`, `state`, `view`, `hook`, `message`: what these are made of

pub mod client;
pub mod context;
pub mod definition;
pub mod engine;
pub mod failure;
mod grant;
pub mod hook;
pub mod lifecycle;
pub(crate) mod message;
pub mod params;
mod properties;
mod state;
mod trust;
pub mod validation;
mod view;

use std::collections::HashMap;
use std::sync::Arc;

pub use client::ClientInfo;
pub use context::{App, Context};
pub use definition::Definition;
pub use failure::Failure;
pub use validation::Rules;

use lifecycle::Component;

/// The components that a worker runs, by class.
#[derive(Default, Clone)]
pub struct Registry {
    components: HashMap<String, Arc<dyn Component>>,
}

impl Registry {
    /// Adds a component; a second one of the same class takes the place of the first.
    pub fn add(&mut self, component: impl Component + 'static) {
        self.components.insert(component.class().to_owned(), Arc::new(component));
    }

    /// The component of a class.
    pub fn get(&self, class: &str) -> Option<&Arc<dyn Component>> {
        self.components.get(class)
    }

    /// All components.
    pub(crate) fn all(&self) -> impl Iterator<Item = &dyn Component> {
        self.components.values().map(|component| &**component)
    }

    /// The classes that are known.
    pub fn classes(&self) -> impl Iterator<Item = &str> {
        self.components.keys().map(String::as_str)
    }
}
