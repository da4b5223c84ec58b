//! What becomes of plain HTML that is read.

use std::borrow::Cow;

use crate::vdom::node::{Attribute, Element, Node};

/// Where a tag is in the HTML.
#[derive(Debug, Clone, Copy)]
pub(in crate::vdom) struct Tag {
    pub(in crate::vdom) start: usize,
    pub(in crate::vdom) end: usize,
}

/// Takes the parts of plain HTML in their order. Attributes are taken out of their list.
pub(in crate::vdom) trait Builder<'a> {
    fn text(&mut self, text: Cow<'a, str>);
    fn comment(&mut self, text: &'a str);
    /// An element without an end tag.
    fn void(&mut self, tag: Cow<'a, str>, attributes: &mut Vec<Attribute<'a>>);
    /// A start tag. One that is implied has no end.
    fn open(&mut self, tag: Cow<'a, str>, attributes: &mut Vec<Attribute<'a>>, at: Tag);
    /// The end tag of the element that was opened last.
    fn close(&mut self, at: Tag);
}

/// A tree of nodes.
pub(in crate::vdom) struct Tree<'a> {
    /// The open elements, each followed by its finished children.
    nodes: Vec<Node<'a>>,
    /// The indexes of the open elements.
    open: Vec<usize>,
}

impl Default for Tree<'_> {
    fn default() -> Self {
        Self { nodes: Vec::with_capacity(64), open: Vec::new() }
    }
}

impl<'a> Tree<'a> {
    pub(in crate::vdom) fn into_nodes(self) -> Vec<Node<'a>> {
        self.nodes
    }

    fn element(tag: Cow<'a, str>, taken: &mut Vec<Attribute<'a>>) -> Node<'a> {
        let mut attributes = Vec::with_capacity(taken.len());
        attributes.append(taken);
        Node::Element(Element { tag, attributes, children: Vec::new() })
    }
}

impl<'a> Builder<'a> for Tree<'a> {
    fn text(&mut self, text: Cow<'a, str>) {
        self.nodes.push(Node::Text(text));
    }

    fn comment(&mut self, text: &'a str) {
        self.nodes.push(Node::Comment(Cow::Borrowed(text)));
    }

    fn void(&mut self, tag: Cow<'a, str>, attributes: &mut Vec<Attribute<'a>>) {
        self.nodes.push(Self::element(tag, attributes));
    }

    fn open(&mut self, tag: Cow<'a, str>, attributes: &mut Vec<Attribute<'a>>, _: Tag) {
        self.open.push(self.nodes.len());
        self.nodes.push(Self::element(tag, attributes));
    }

    fn close(&mut self, _: Tag) {
        let Some(node) = self.open.pop() else { return };
        if node + 1 < self.nodes.len() {
            let children = self.nodes.split_off(node + 1);
            if let Some(Node::Element(element)) = self.nodes.last_mut() {
                element.children = children;
            }
        }
    }
}
