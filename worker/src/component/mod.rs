//! Components written in Rust.
//!
//! A component is a plain struct, its public state, and a [`Definition`] that names its methods, listeners and view:
//!
//! ```
//! use diffyne_worker::component::{Definition, Registry};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Counter {
//!     count: i64,
//! }
//!
//! let counter = Definition::<Counter>::new("App\\Diffyne\\Counter")
//!     .template(r#"<div><button diff:click="increment">+</button><b>{{ count }}</b></div>"#)
//!     .method("increment", [], |counter, _context, ()| {
//!         counter.count += 1;
//!         Ok(())
//!     })
//!     .method("add", ["n"], |counter, _context, (n,): (i64,)| {
//!         counter.count += n;
//!         Ok(())
//!     });
//! let mut registry = Registry::default();
//! registry.add(counter);
//! ```
//!
//! * [`definition`]: the builder
//! * [`engine`]: the life of a call, from the client's message to its answer
//! * [`context`]: what a method can do besides changing state
//! * [`params`]: positional parameters, typed as PHP would coerce them
//! * [`state`]: the state on its way in
//! * [`validation`]: rules and messages

pub mod context;
pub mod definition;
pub mod engine;
pub mod failure;
pub mod params;
pub mod state;
pub mod validation;

use std::collections::HashMap;
use std::sync::Arc;

pub use context::{ClientInfo, Context};
pub use definition::Definition;
pub use failure::Failure;

use definition::Component;

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

    /// The classes that are known.
    pub fn classes(&self) -> impl Iterator<Item = &str> {
        self.components.keys().map(String::as_str)
    }
}
