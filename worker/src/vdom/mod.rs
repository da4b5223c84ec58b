//! What a component's HTML means: a tree of nodes, and the patches that turn one tree into another.
//!
//! * [`node`]: the tree, and its JSON and HTML
//! * [`mod@parse`]: HTML to a tree, as a browser parses a fragment
//! * [`mod@diff`]: two trees to patches; `align`: which children are the same before and after
//! * [`patch`]: the patches and their JSON

mod align;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod bounds;
pub mod diff;
pub mod node;
pub mod parse;
pub mod patch;

pub use diff::diff;
pub use node::Node;
pub use parse::{ParseError, parse};
pub use patch::{Move, Patch};
