//! The tree that html5ever builds, as a list of linked nodes, and its conversion to [`Node`].

use std::borrow::Cow;
use std::cell::{Cell, Ref, RefCell};

use html5ever::interface::{ElemName, ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::tendril::StrTendril;
use html5ever::{Attribute, LocalName, Namespace, QualName, local_name, ns};

use super::node::{self, Element, Node};
use super::space::{self, Markup, SpaceRule, is_blank};

/// The index of a node.
pub(super) type NodeId = usize;

/// A node, linked to its siblings: each step of the parser takes constant time, however long a list of children is.
struct LinkedNode {
    parent: Option<NodeId>,
    previous: Option<NodeId>,
    next: Option<NodeId>,
    first: Option<NodeId>,
    last: Option<NodeId>,
    content: NodeContent,
}

enum NodeContent {
    Document,
    Element {
        name: QualName,
        attributes: Vec<node::Attribute<'static>>,
        template: Option<NodeId>,
        /// A MathML `annotation-xml` whose content is HTML.
        has_html: bool,
    },
    Text(String),
    Comment(String),
}

/// The tree while html5ever builds it. Node 0 is the document; its only child is the fragment's root.
pub(super) struct LinkedTree {
    nodes: RefCell<Vec<LinkedNode>>,
    nodes_max: usize,
    pub(super) has_errors: Cell<bool>,
}

/// An element's name, borrowed from the tree.
#[derive(Debug)]
pub(super) struct NameRef<'a>(Ref<'a, QualName>);

impl ElemName for NameRef<'_> {
    fn ns(&self) -> &Namespace {
        &self.0.ns
    }
    fn local_name(&self) -> &LocalName {
        &self.0.local
    }
}

impl LinkedNode {
    fn new(content: NodeContent) -> Self {
        Self { parent: None, previous: None, next: None, first: None, last: None, content }
    }
}

impl LinkedTree {
    pub(super) fn new(nodes_max: usize) -> Self {
        let document = LinkedNode::new(NodeContent::Document);
        Self { nodes: RefCell::new(vec![document]), nodes_max, has_errors: Cell::new(false) }
    }

    /// Whether it has more nodes than allowed.
    pub(super) fn is_full(&self) -> bool {
        self.nodes.borrow().len() > self.nodes_max
    }

    fn add(&self, content: NodeContent) -> NodeId {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(LinkedNode::new(content));
        nodes.len() - 1
    }

    fn detach(&self, node: NodeId) {
        let mut nodes = self.nodes.borrow_mut();
        let Some(parent) = nodes[node].parent.take() else { return };
        let (previous, next) = (nodes[node].previous.take(), nodes[node].next.take());
        match previous {
            Some(previous) => nodes[previous].next = next,
            None => nodes[parent].first = next,
        }
        match next {
            Some(next) => nodes[next].previous = previous,
            None => nodes[parent].last = previous,
        }
    }

    /// Inserts a node or text before a child of a parent, or at its end. Adjacent texts are merged.
    fn insert(&self, parent: NodeId, before: Option<NodeId>, child: NodeOrText<NodeId>) {
        let node = match child {
            NodeOrText::AppendNode(node) => {
                self.detach(node);
                node
            }
            NodeOrText::AppendText(text) => {
                let mut nodes = self.nodes.borrow_mut();
                let previous = before.map_or(nodes[parent].last, |before| nodes[before].previous);
                if let Some(NodeContent::Text(known)) = previous.map(|previous| &mut nodes[previous].content) {
                    known.push_str(&text);
                    return;
                }
                drop(nodes);
                self.add(NodeContent::Text(text.to_string()))
            }
        };
        let mut nodes = self.nodes.borrow_mut();
        let previous = before.map_or(nodes[parent].last, |before| nodes[before].previous);
        (nodes[node].parent, nodes[node].previous, nodes[node].next) = (Some(parent), previous, before);
        match previous {
            Some(previous) => nodes[previous].next = Some(node),
            None => nodes[parent].first = Some(node),
        }
        match before {
            Some(before) => nodes[before].previous = Some(node),
            None => nodes[parent].last = Some(node),
        }
    }

    /// The parsed nodes: the children of the fragment's root.
    pub(super) fn into_nodes(self, depth_max: usize) -> Option<Vec<Node<'static>>> {
        let mut nodes = self.nodes.into_inner();
        nodes[0].first.map_or_else(|| Some(Vec::new()), |root| build(&mut nodes, root, depth_max))
    }
}

impl TreeSink for LinkedTree {
    type Handle = NodeId;
    type Output = Self;
    type ElemName<'a> = NameRef<'a>;

    fn finish(self) -> Self {
        self
    }

    fn parse_error(&self, _message: Cow<'static, str>) {
        self.has_errors.set(true);
    }

    fn get_document(&self) -> NodeId {
        0
    }

    fn elem_name<'a>(&'a self, target: &'a NodeId) -> NameRef<'a> {
        NameRef(Ref::map(self.nodes.borrow(), |nodes| match &nodes[*target].content {
            NodeContent::Element { name, .. } => name,
            // html5ever asks for the names of elements only.
            _ => unreachable!("not an element"),
        }))
    }

    fn create_element(&self, name: QualName, attributes: Vec<Attribute>, flags: ElementFlags) -> NodeId {
        let attributes =
            attributes.into_iter().map(|attribute| (full_name(&attribute.name), attribute.value.to_string().into()));
        let attributes = attributes.collect();
        let template = flags.template.then(|| self.add(NodeContent::Document));
        if name.local == local_name!("plaintext") {
            // No end tag closes it, not even its own.
            self.has_errors.set(true);
        }
        let has_html = flags.mathml_annotation_xml_integration_point;
        self.add(NodeContent::Element { name, attributes, template, has_html })
    }

    fn create_comment(&self, text: StrTendril) -> NodeId {
        self.add(NodeContent::Comment(text.to_string()))
    }

    fn create_pi(&self, _target: StrTendril, data: StrTendril) -> NodeId {
        self.add(NodeContent::Comment(data.to_string()))
    }

    fn append(&self, parent: &NodeId, child: NodeOrText<NodeId>) {
        self.insert(*parent, None, child);
    }

    fn append_based_on_parent_node(&self, element: &NodeId, previous: &NodeId, child: NodeOrText<NodeId>) {
        if self.nodes.borrow()[*element].parent.is_some() {
            self.append_before_sibling(element, child);
        } else {
            self.append(previous, child);
        }
    }

    fn append_doctype_to_document(&self, _name: StrTendril, _public: StrTendril, _system: StrTendril) {}

    fn get_template_contents(&self, target: &NodeId) -> NodeId {
        match &self.nodes.borrow()[*target].content {
            NodeContent::Element { template: Some(template), .. } => *template,
            _ => *target,
        }
    }

    fn same_node(&self, a: &NodeId, b: &NodeId) -> bool {
        a == b
    }

    fn set_quirks_mode(&self, _mode: QuirksMode) {}

    fn append_before_sibling(&self, sibling: &NodeId, child: NodeOrText<NodeId>) {
        let Some(parent) = self.nodes.borrow()[*sibling].parent else { return };
        self.insert(parent, Some(*sibling), child);
    }

    fn is_mathml_annotation_xml_integration_point(&self, handle: &NodeId) -> bool {
        matches!(self.nodes.borrow()[*handle].content, NodeContent::Element { has_html: true, .. })
    }

    fn add_attrs_if_missing(&self, target: &NodeId, more: Vec<Attribute>) {
        if let NodeContent::Element { attributes, .. } = &mut self.nodes.borrow_mut()[*target].content {
            for attribute in more {
                let name = full_name(&attribute.name);
                if !attributes.iter().any(|(known, _)| *known == name) {
                    attributes.push((name, attribute.value.to_string().into()));
                }
            }
        }
    }

    fn remove_from_parent(&self, target: &NodeId) {
        self.detach(*target);
    }

    fn reparent_children(&self, node: &NodeId, new_parent: &NodeId) {
        loop {
            let first = self.nodes.borrow()[*node].first;
            let Some(child) = first else { return };
            self.append(new_parent, NodeOrText::AppendNode(child));
        }
    }
}

fn full_name(name: &QualName) -> Cow<'static, str> {
    match &name.prefix {
        // That of `xmlns` is empty.
        Some(prefix) if !prefix.is_empty() => format!("{prefix}:{}", name.local).into(),
        _ => name.local.to_string().into(),
    }
}

/// An element whose children are being built.
struct OpenElement {
    element: Option<(Cow<'static, str>, Vec<node::Attribute<'static>>)>,
    children: Vec<Node<'static>>,
    next: Option<NodeId>,
    space: SpaceRule,
    is_preformatted: bool,
}

/// The nodes below a parent; `None` where they nest too deep. Not recursive.
fn build(nodes: &mut [LinkedNode], parent: NodeId, depth_max: usize) -> Option<Vec<Node<'static>>> {
    let mut above: Vec<OpenElement> = Vec::new();
    let mut current = OpenElement {
        element: None,
        children: Vec::new(),
        next: nodes[parent].first,
        space: SpaceRule::Collapse,
        is_preformatted: false,
    };
    loop {
        let Some(handle) = current.next else {
            let Some((tag, attributes)) = current.element else { return Some(current.children) };
            let node = Node::Element(Element { tag, attributes, children: current.children });
            match above.pop() {
                Some(parent) => current = parent,
                None => return Some(vec![node]),
            }
            current.children.push(node);
            continue;
        };
        current.next = nodes[handle].next;
        match &mut nodes[handle].content {
            NodeContent::Document => {}
            NodeContent::Text(text) if is_blank(text) => {
                let text = current.space.apply(text);
                if !text.is_empty() {
                    current.children.push(Node::Text(text.to_owned().into()));
                }
            }
            NodeContent::Text(text) => current.children.push(Node::Text(std::mem::take(text).into())),
            NodeContent::Comment(text) => current.children.push(Node::Comment(std::mem::take(text).into())),
            NodeContent::Element { name, attributes, template, .. } => {
                if above.len() >= depth_max {
                    return None;
                }
                let markup = match name.ns {
                    ns!(svg) => Markup::Svg,
                    ns!(mathml) => Markup::Math,
                    _ => Markup::Html,
                };
                let name = name.clone();
                let element = (name.local.to_string().into(), std::mem::take(attributes));
                let content = template.unwrap_or(handle);
                let is_preformatted =
                    current.is_preformatted || markup == Markup::Html && space::is_preformatted(&name.local);
                let space = SpaceRule::of(markup, &name.local, is_preformatted);
                let next = nodes[content].first;
                let inner = OpenElement { element: Some(element), children: Vec::new(), next, space, is_preformatted };
                above.push(std::mem::replace(&mut current, inner));
            }
        }
    }
}
