//! A component's HTML as a tree of nodes, and the patches that turn one tree into another.
//!
//! * `node`: the tree, its JSON and its HTML
//! * `parse`: parses HTML as a browser parses a fragment, into the nodes of `tree_sink`
//! * `diff`: compares two trees; `align`: pairs the children of two elements
//! * `patch`: the patches and their JSON

mod align;
mod diff;
mod node;
mod parse;
mod patch;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod tree_sink;

pub use diff::{diff, diff_page};
pub(crate) use node::escape_html;
pub use node::{Element, Node};
pub use parse::{ParseError, parse, parse_page};
pub use patch::{Move, Moves, Patch, Path};
