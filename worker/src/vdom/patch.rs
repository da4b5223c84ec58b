//! Patches in the short form that diffyne.js reads.

use serde::Serialize;
use serde::ser::{SerializeMap as _, SerializeStruct as _, Serializer};

use super::node::Node;

/// Child indexes from the component's root. Text of white space only does not count.
pub type Path = Vec<usize>;

/// A child's move to another position among its siblings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Move {
    /// Its index.
    pub from: usize,
    /// The index of the sibling that it moves before; one past the last: to the end.
    pub to: usize,
}

/// How a client is told of children in another order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moves {
    /// By `reorder` patches.
    Reorder,
    /// By `reorder` patches where there is no white space among the children: diffyne.js by itself counts it there.
    ReorderUnspaced,
    /// Some are removed and created anew: pages that an application prints have white space that is in no tree.
    Recreate,
}

/// A change for a client to apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Patch<'a> {
    /// Insert the node at the last index of the path. A single patch with an empty path replaces everything.
    Create(Path, &'a Node<'a>),
    /// Remove the node.
    Remove(Path),
    /// Replace the node.
    Replace(Path, &'a Node<'a>),
    /// Move children of the node, one after the other. Indexes are those before the single move.
    Reorder(Path, Vec<Move>),
    /// Change the text.
    Text(Path, &'a str),
    /// Change attributes.
    Attributes {
        /// The element.
        path: Path,
        /// Attributes to set.
        set: Vec<(&'a str, &'a str)>,
        /// Names of attributes to remove.
        remove: Vec<&'a str>,
    },
}

impl Patch<'_> {
    /// The node that the patch is about.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Create(path, _)
            | Self::Remove(path)
            | Self::Replace(path, _)
            | Self::Reorder(path, _)
            | Self::Text(path, _)
            | Self::Attributes { path, .. } => path,
        }
    }
}

/// `{field: value}`.
struct SingleField<'a, T: ?Sized>(&'static str, &'a T);

impl<T: Serialize + ?Sized> Serialize for SingleField<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(self.0, self.1)])
    }
}

struct AttributeChange<'a>(&'a [(&'a str, &'a str)], &'a [&'a str]);

impl Serialize for AttributeChange<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Pairs<'a>(&'a [(&'a str, &'a str)]);
        impl Serialize for Pairs<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().copied())
            }
        }
        let mut map = serializer.serialize_map(None)?;
        if !self.0.is_empty() {
            map.serialize_entry("s", &Pairs(self.0))?;
        }
        if !self.1.is_empty() {
            map.serialize_entry("r", self.1)?;
        }
        map.end()
    }
}

impl Serialize for Patch<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (kind, fields) = match self {
            Self::Create(..) => ("c", 3),
            Self::Remove(..) => ("r", 2),
            Self::Replace(..) => ("R", 3),
            Self::Reorder(..) => ("o", 3),
            Self::Text(..) => ("t", 3),
            Self::Attributes { .. } => ("a", 3),
        };
        let mut out = serializer.serialize_struct("Patch", fields)?;
        out.serialize_field("t", kind)?;
        out.serialize_field("p", self.path())?;
        match self {
            Self::Create(_, node) | Self::Replace(_, node) => out.serialize_field("d", &SingleField("node", *node))?,
            Self::Reorder(_, moves) => out.serialize_field("d", &SingleField("moves", moves))?,
            Self::Text(_, text) => out.serialize_field("d", &SingleField("x", *text))?,
            Self::Attributes { set, remove, .. } => out.serialize_field("d", &AttributeChange(set, remove))?,
            Self::Remove(_) => {}
        }
        out.end()
    }
}
