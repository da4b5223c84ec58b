//! A number and three buttons that change it.

use serde::{Deserialize, Serialize};

use crate::component::Definition;

/// The state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Counter {
    count: i64,
}

pub(super) const CLASS: &str = "App\\Diffyne\\Counter";
const VIEW: &str = r#"<div class="counter">
  <button type="button" diff:click="decrement" aria-label="one less">&minus;</button>
  <output>{{ count }}</output>
  <button type="button" diff:click="increment" aria-label="one more">+</button>
  <button type="button" class="quiet" diff:click="add(10)">+10</button>
</div>"#;

pub(super) fn definition() -> Definition<Counter> {
    Definition::<Counter>::new(CLASS)
        .template(VIEW)
        .method("increment", [], |counter, _context, ()| counter.count = counter.count.saturating_add(1))
        .method("decrement", [], |counter, _context, ()| counter.count = counter.count.saturating_sub(1))
        .method("add", ["n"], |counter, _context, (n,): (i64,)| counter.count = counter.count.saturating_add(n))
}
