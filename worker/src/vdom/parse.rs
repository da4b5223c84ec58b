//! HTML to a tree, by the rules of a browser that parses a fragment (html5ever): entities, void elements, implied
//! tags, tables, the case of SVG. White-space-only text is left out, as clients do not count it.

use std::borrow::Cow;
use std::cell::{Ref, RefCell};

use html5ever::interface::{ElemName, ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::tendril::{StrTendril, TendrilSink as _};
use html5ever::{Attribute, LocalName, Namespace, ParseOpts, QualName, local_name, ns};

use super::node::{Element, Node};

/// The root of all paths: the one element that the HTML consists of. Several roots are put into a `div`.
pub fn parse(html: &str) -> Node {
    let context = QualName::new(None, ns!(html), local_name!("div"));
    let parser = html5ever::parse_fragment(Sink::default(), ParseOpts::default(), context, Vec::new(), false);
    let mut roots = parser.one(StrTendril::from(html));
    let elements = roots.iter().filter(|node| matches!(node, Node::Element(_))).count();
    if elements == 1 && roots.len() == 1 {
        return roots.remove(0);
    }
    Node::Element(Element { tag: "div".to_owned(), attributes: Vec::new(), children: roots })
}

type Handle = usize;

struct RawNode {
    parent: Option<Handle>,
    children: Vec<Handle>,
    content: Content,
}

enum Content {
    Document,
    Element { name: QualName, attributes: Vec<(String, String)>, template: Option<Handle> },
    Text(String),
    Comment(String),
}

/// The tree while it is built. Handle 0 is the document, whose only child the fragment's root is.
struct Sink {
    nodes: RefCell<Vec<RawNode>>,
}

impl Default for Sink {
    fn default() -> Self {
        Self { nodes: RefCell::new(vec![RawNode { parent: None, children: Vec::new(), content: Content::Document }]) }
    }
}

/// An element's name, borrowed from the tree.
#[derive(Debug)]
struct NameRef<'a>(Ref<'a, QualName>);

impl ElemName for NameRef<'_> {
    fn ns(&self) -> &Namespace {
        &self.0.ns
    }
    fn local_name(&self) -> &LocalName {
        &self.0.local
    }
}

impl Sink {
    fn add(&self, content: Content) -> Handle {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(RawNode { parent: None, children: Vec::new(), content });
        nodes.len() - 1
    }

    fn detach(&self, node: Handle) {
        let mut nodes = self.nodes.borrow_mut();
        if let Some(parent) = nodes[node].parent.take() {
            nodes[parent].children.retain(|child| *child != node);
        }
    }

    /// Puts a node or text at a place among a parent's children; adjoining texts become one.
    fn insert(&self, parent: Handle, at: usize, child: NodeOrText<Handle>) {
        let node = match child {
            NodeOrText::AppendNode(node) => {
                self.detach(node);
                node
            }
            NodeOrText::AppendText(text) => {
                let mut nodes = self.nodes.borrow_mut();
                let before = at.checked_sub(1).and_then(|before| nodes[parent].children.get(before).copied());
                if let Some(Content::Text(known)) = before.map(|before| &mut nodes[before].content) {
                    known.push_str(&text);
                    return;
                }
                drop(nodes);
                self.add(Content::Text(text.to_string()))
            }
        };
        let mut nodes = self.nodes.borrow_mut();
        nodes[node].parent = Some(parent);
        let at = at.min(nodes[parent].children.len());
        nodes[parent].children.insert(at, node);
    }

    fn child_count(&self, node: Handle) -> usize {
        self.nodes.borrow()[node].children.len()
    }
}

impl TreeSink for Sink {
    type Handle = Handle;
    type Output = Vec<Node>;
    type ElemName<'a> = NameRef<'a>;

    fn finish(self) -> Vec<Node> {
        let nodes = self.nodes.into_inner();
        // The fragment's root element stands between the document and what was parsed.
        let Some(root) = nodes[0].children.first() else { return Vec::new() };
        build_children(&nodes, *root)
    }

    fn parse_error(&self, _message: Cow<'static, str>) {}

    fn get_document(&self) -> Handle {
        0
    }

    fn elem_name<'a>(&'a self, target: &'a Handle) -> NameRef<'a> {
        NameRef(Ref::map(self.nodes.borrow(), |nodes| match &nodes[*target].content {
            Content::Element { name, .. } => name,
            // html5ever asks for the names of elements only.
            _ => unreachable!("not an element"),
        }))
    }

    fn create_element(&self, name: QualName, attributes: Vec<Attribute>, flags: ElementFlags) -> Handle {
        let attributes =
            attributes.into_iter().map(|attribute| (full_name(&attribute.name), attribute.value.to_string()));
        let attributes = attributes.collect();
        let template = flags.template.then(|| self.add(Content::Document));
        self.add(Content::Element { name, attributes, template })
    }

    fn create_comment(&self, text: StrTendril) -> Handle {
        self.add(Content::Comment(text.to_string()))
    }

    fn create_pi(&self, _target: StrTendril, data: StrTendril) -> Handle {
        self.add(Content::Comment(data.to_string()))
    }

    fn append(&self, parent: &Handle, child: NodeOrText<Handle>) {
        self.insert(*parent, self.child_count(*parent), child);
    }

    fn append_based_on_parent_node(&self, element: &Handle, previous: &Handle, child: NodeOrText<Handle>) {
        if self.nodes.borrow()[*element].parent.is_some() {
            self.append_before_sibling(element, child);
        } else {
            self.append(previous, child);
        }
    }

    fn append_doctype_to_document(&self, _name: StrTendril, _public: StrTendril, _system: StrTendril) {}

    fn get_template_contents(&self, target: &Handle) -> Handle {
        match &self.nodes.borrow()[*target].content {
            Content::Element { template: Some(template), .. } => *template,
            _ => *target,
        }
    }

    fn same_node(&self, a: &Handle, b: &Handle) -> bool {
        a == b
    }

    fn set_quirks_mode(&self, _mode: QuirksMode) {}

    fn append_before_sibling(&self, sibling: &Handle, child: NodeOrText<Handle>) {
        let Some(parent) = self.nodes.borrow()[*sibling].parent else { return };
        if let NodeOrText::AppendNode(node) = &child {
            self.detach(*node);
        }
        let at = self.nodes.borrow()[parent].children.iter().position(|other| other == sibling).unwrap_or(0);
        self.insert(parent, at, child);
    }

    fn add_attrs_if_missing(&self, target: &Handle, more: Vec<Attribute>) {
        if let Content::Element { attributes, .. } = &mut self.nodes.borrow_mut()[*target].content {
            for attribute in more {
                let name = full_name(&attribute.name);
                if !attributes.iter().any(|(known, _)| *known == name) {
                    attributes.push((name, attribute.value.to_string()));
                }
            }
        }
    }

    fn remove_from_parent(&self, target: &Handle) {
        self.detach(*target);
    }

    fn reparent_children(&self, node: &Handle, new_parent: &Handle) {
        let children = std::mem::take(&mut self.nodes.borrow_mut()[*node].children);
        for child in children {
            self.nodes.borrow_mut()[child].parent = None;
            self.append(new_parent, NodeOrText::AppendNode(child));
        }
    }
}

fn full_name(name: &QualName) -> String {
    match &name.prefix {
        Some(prefix) => format!("{prefix}:{}", name.local),
        None => name.local.to_string(),
    }
}

fn build_children(nodes: &[RawNode], parent: Handle) -> Vec<Node> {
    nodes[parent].children.iter().filter_map(|child| build(nodes, *child)).collect()
}

fn build(nodes: &[RawNode], handle: Handle) -> Option<Node> {
    match &nodes[handle].content {
        Content::Document => None,
        Content::Text(text) => (!is_blank(text)).then(|| Node::Text(text.clone())),
        Content::Comment(text) => Some(Node::Comment(text.clone())),
        Content::Element { name, attributes, template } => {
            let children = build_children(nodes, template.unwrap_or(handle));
            let tag = name.local.to_string();
            Some(Node::Element(Element { tag, attributes: attributes.clone(), children }))
        }
    }
}

/// What JavaScript's `trim()` leaves nothing of.
fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c == '\u{feff}' || c.is_whitespace() && c != '\u{85}')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn json(html: &str) -> String {
        serde_json::to_string(&parse(html)).unwrap()
    }

    #[test]
    fn html_is_read_as_a_browser_reads_it() {
        let cases = [
            ("<p>a &amp; b<br>c", r#"{"t":"p","c":[{"x":"a & b"},{"t":"br"},{"x":"c"}]}"#),
            ("<ul><li>1<li>2</ul>", r#"{"t":"ul","c":[{"t":"li","c":[{"x":"1"}]},{"t":"li","c":[{"x":"2"}]}]}"#),
            (
                "<table><tr><td>1</table>",
                r#"{"t":"table","c":[{"t":"tbody","c":[{"t":"tr","c":[{"t":"td","c":[{"x":"1"}]}]}]}]}"#,
            ),
            (
                "<svg viewBox='0 0 1 1'><linearGradient/></svg>",
                r#"{"t":"svg","a":{"viewBox":"0 0 1 1"},"c":[{"t":"linearGradient"}]}"#,
            ),
            (
                "  <div>\n <!-- c --> \n<b diff:key=\"k\"> x</b></div> ",
                r#"{"t":"div","c":[{"m":" c "},{"t":"b","a":{"diff:key":"k"},"c":[{"x":" x"}],"k":"k"}]}"#,
            ),
            ("a<i>b</i>", r#"{"t":"div","c":[{"x":"a"},{"t":"i","c":[{"x":"b"}]}]}"#),
            ("", r#"{"t":"div"}"#),
            ("<template><p>x</template>", r#"{"t":"template","c":[{"t":"p","c":[{"x":"x"}]}]}"#),
        ];
        for (html, expected) in cases {
            assert_eq!(json(html), expected, "{html}");
        }
    }

    #[test]
    fn a_trees_html_parses_to_the_same_tree() {
        let html = r#"<div class="a &quot;b&quot;"><p>x &lt; y</p><input value="1"><!--c--><style>a>b{}</style></div>"#;
        let more =
            ["<pre>\n\nx</pre>", "<textarea>\n\n a</textarea>", "<noscript><p>a&amp;b</noscript>", "<p>&nbsp;x</p>"];
        for html in [html].iter().chain(&more) {
            let tree = parse(html);
            assert_eq!(parse(&tree.to_html()), tree, "{html}");
        }
    }
}
