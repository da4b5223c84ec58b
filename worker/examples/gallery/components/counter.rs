//! The smallest useful component.

use diffyne_worker::component::Definition;
use serde::{Deserialize, Serialize};

pub const CLASS: &str = "Gallery\\Counter";

#[derive(Default, Serialize, Deserialize)]
pub struct Counter {
    count: i64,
}

const VIEW: &str = r#"<div class="row">
  <button diff:click="add(-1)" aria-label="one less">&minus;</button>
  <output>{{ count }}</output>
  <button diff:click="add(1)" aria-label="one more">+</button>
  <button class="quiet" diff:click="reset">Reset</button>
</div>"#;

pub fn definition() -> Definition<Counter> {
    Definition::<Counter>::new(CLASS)
        .template(VIEW)
        .method("add", ["n"], |counter, _context, (n,): (i64,)| counter.count = counter.count.saturating_add(n))
        .method("reset", [], |counter, _context, ()| counter.count = 0)
}
