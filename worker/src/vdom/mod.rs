//! A component's HTML as a tree of nodes, and the patches that turn one tree into another.
//!
//! * `node`: the tree, its JSON and its HTML
//! * `parse`: parses HTML as a browser parses a fragment, into the nodes of `tree_sink`; `plain`: the same for plain
//!   HTML, several times faster; `changed`: the one element in which two plain HTMLs differ
//! * `diff`: compares two trees; `align`: pairs the children of two elements
//! * `space`: white space between elements, which is in the tree and which no path leads to
//! * `patch`: the patches and their JSON

mod align;
mod changed;
mod diff;
mod node;
mod parse;
mod patch;
mod plain;
mod space;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod tree_sink;

pub(crate) use changed::{ChangedElement, changed_element};
pub(crate) use diff::diff_within;
pub use diff::{Difference, SLOT, STREAM, diff, diff_page, diff_streams};
pub(crate) use node::escape_html;
pub use node::{Attribute, Element, Node};
pub(crate) use parse::parse_known_page;
pub use parse::{ParseError, parse, parse_as_browser, parse_item, parse_page};
pub use patch::{Move, Moves, Patch, Path};
pub use plain::parse as parse_plain;
