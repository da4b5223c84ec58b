//! HTML to a tree, by the rules of a browser that parses a fragment (html5ever): entities, void elements, implied
//! tags, tables, the case of SVG. White-space-only text is left out, as clients do not count it.
//!
//! What costs more than its length allows is refused: deep nesting, formatting elements that a parser opens again and
//! again, attributes without end. And what would become another tree on its next way through a parser is read again
//! until it does not: the page then holds the very tree that patches are made for.

use std::borrow::Cow;
use std::cell::{Cell, Ref, RefCell};

use html5ever::buffer_queue::BufferQueue;
use html5ever::interface::{ElemName, ElementFlags, NodeOrText, QuirksMode, Tracer, TreeSink};
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};
use html5ever::tree_builder::{TreeBuilder, TreeBuilderOpts};
use html5ever::{Attribute, LocalName, Namespace, QualName, TokenizerResult, local_name, ns};
use thiserror::Error;

use super::node::{Element, Node};

/// Elements within elements: Chromium's own bound (`kMaximumHTMLParserDOMTreeDepth`).
pub const DEPTH_MAX: usize = 512;
/// Elements that are open, and formatting elements (`<b>`, `<a>`) that are to be opened again: a parser looks at them
/// with every tag. Each of the two may be as many as elements may be deep.
const OPEN_MAX: usize = 2 * DEPTH_MAX;
/// After so many tokens it is counted what is open.
const COUNT_EVERY: usize = 32;
/// Nodes beyond one a byte: a few characters can imply several elements.
const NODES_EXTRA: usize = 1024;
/// White space, slashes and quotes in one tag, at least one of which stands between two attributes: html5ever compares
/// each attribute with all others of its tag.
const SEPARATORS_MAX: usize = 8 * 1024;
/// HTML is read in pieces of so many bytes, between which the attributes are counted.
const PIECE_BYTES: usize = 16 * 1024;
/// Times that HTML is printed and read again, until nothing changes.
const READINGS_MAX: usize = 4;

/// HTML that a component must not have.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum ParseError {
    /// Nested too deep.
    #[error("the component's HTML nests more than {DEPTH_MAX} elements, or leaves that many formatting elements open")]
    TooDeep,
    /// Formatting elements opened again and again.
    #[error("the component's HTML opens formatting elements (<b>, <a>) again and again: close them")]
    TooManyNodes,
    /// Attributes without end.
    #[error("a tag of the component's HTML has more than {SEPARATORS_MAX} attributes or words")]
    TagTooLong,
    /// It becomes another page each time that it is read.
    #[error("the component's HTML is another one each time that a browser reads it: close its elements")]
    Unstable,
}

/// The root of all paths: the one element that the HTML consists of. Several roots are put into a `div`.
pub fn parse(html: &str) -> Result<Node, ParseError> {
    let (tree, has_errors) = read(html)?;
    if !has_errors {
        return Ok(tree);
    }
    // HTML with faults may be read as a tree that no HTML stands for: a link in a link, say.
    let mut printed = tree.to_html();
    for _ in 0..READINGS_MAX {
        let (tree, _) = read(&printed)?;
        let again = tree.to_html();
        if again == printed {
            return Ok(tree);
        }
        printed = again;
    }
    Err(ParseError::Unstable)
}

/// Reads HTML once; and whether it had faults.
fn read(html: &str) -> Result<(Node, bool), ParseError> {
    let sink = Sink::new(html.len() + NODES_EXTRA);
    let context =
        html5ever::tree_builder::create_element(&sink, QualName::new(None, ns!(html), local_name!("div")), Vec::new());
    let builder = TreeBuilder::new_for_fragment(sink, context, None, TreeBuilderOpts::default());
    let guard = Guard { builder, tokens: Cell::new(0), refused: Cell::new(None) };
    let tokenizer = Tokenizer::new(guard, TokenizerOpts::default());
    feed(&tokenizer, html)?;
    tokenizer.end();
    let Guard { builder, refused, .. } = tokenizer.sink;
    if let Some(refused) = refused.get() {
        return Err(refused);
    }
    let has_errors = builder.sink.has_errors.get();
    let mut roots = builder.sink.finish()?;
    if roots.len() == 1 && matches!(roots[0], Node::Element(_)) {
        return Ok((roots.remove(0), has_errors));
    }
    Ok((Node::Element(Element { tag: "div".to_owned(), attributes: Vec::new(), children: roots }), has_errors))
}

fn feed(tokenizer: &Tokenizer<Guard>, html: &str) -> Result<(), ParseError> {
    let input = BufferQueue::default();
    let (mut rest, mut separators) = (html, 0);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
        rest = after;
        let before = tokenizer.sink.tokens.get();
        input.push_back(StrTendril::from(piece));
        // A script that has ended asks to be run; nobody does.
        while !matches!(tokenizer.feed(&input), TokenizerResult::Done) {}
        if tokenizer.sink.refused.get().is_some() {
            return Ok(());
        }
        // Without a token it is all one tag, comment or the like.
        let is_separator = |byte: &u8| byte.is_ascii_whitespace() || b"/\"'".contains(byte);
        if tokenizer.sink.tokens.get() == before {
            separators += piece.bytes().filter(is_separator).count();
        } else {
            separators = 0;
        }
        if separators > SEPARATORS_MAX {
            return Err(ParseError::TagTooLong);
        }
    }
    Ok(())
}

/// Stands between tokenizer and tree builder: ends the work when it costs too much.
struct Guard {
    builder: TreeBuilder<Handle, Sink>,
    tokens: Cell<usize>,
    refused: Cell<Option<ParseError>>,
}

impl Guard {
    fn look(&self) {
        let open = Open(Cell::new(0));
        self.builder.trace_handles(&open);
        if open.0.get() > OPEN_MAX {
            self.refused.set(Some(ParseError::TooDeep));
        } else if self.builder.sink.is_full() {
            self.refused.set(Some(ParseError::TooManyNodes));
        }
    }
}

/// Counts what a tree builder holds: open elements, and formatting elements.
struct Open(Cell<usize>);

impl Tracer for Open {
    type Handle = Handle;

    fn trace_handle(&self, _node: &Handle) {
        self.0.set(self.0.get() + 1);
    }
}

impl TokenSink for Guard {
    type Handle = Handle;

    fn process_token(&self, token: Token, line: u64) -> TokenSinkResult<Handle> {
        if self.refused.get().is_some() {
            return TokenSinkResult::Continue;
        }
        if !matches!(token, Token::ParseError(_)) {
            let tokens = self.tokens.get() + 1;
            self.tokens.set(tokens);
            if tokens.is_multiple_of(COUNT_EVERY) {
                self.look();
            }
        }
        self.builder.process_token(token, line)
    }

    fn end(&self) {
        self.look();
        self.builder.end();
    }

    fn adjusted_current_node_present_but_not_in_html_namespace(&self) -> bool {
        self.builder.adjusted_current_node_present_but_not_in_html_namespace()
    }
}

type Handle = usize;

/// A node among its siblings: each step of the parser, wherever in a long list of children, takes the same time.
struct RawNode {
    parent: Option<Handle>,
    previous: Option<Handle>,
    next: Option<Handle>,
    first: Option<Handle>,
    last: Option<Handle>,
    content: Content,
}

enum Content {
    Document,
    Element {
        name: QualName,
        attributes: Vec<(String, String)>,
        template: Option<Handle>,
        /// A MathML `annotation-xml` whose content is HTML.
        has_html: bool,
    },
    Text(String),
    Comment(String),
}

/// The tree while it is built. Handle 0 is the document, whose only child the fragment's root is.
struct Sink {
    nodes: RefCell<Vec<RawNode>>,
    nodes_max: usize,
    has_errors: Cell<bool>,
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

impl RawNode {
    fn new(content: Content) -> Self {
        Self { parent: None, previous: None, next: None, first: None, last: None, content }
    }
}

impl Sink {
    fn new(nodes_max: usize) -> Self {
        let document = RawNode::new(Content::Document);
        Self { nodes: RefCell::new(vec![document]), nodes_max, has_errors: Cell::new(false) }
    }

    fn is_full(&self) -> bool {
        self.nodes.borrow().len() > self.nodes_max
    }

    fn add(&self, content: Content) -> Handle {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(RawNode::new(content));
        nodes.len() - 1
    }

    fn detach(&self, node: Handle) {
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

    /// Puts a node or text before a child of a parent, or at its end; adjoining texts become one.
    fn insert(&self, parent: Handle, before: Option<Handle>, child: NodeOrText<Handle>) {
        let node = match child {
            NodeOrText::AppendNode(node) => {
                self.detach(node);
                node
            }
            NodeOrText::AppendText(text) => {
                let mut nodes = self.nodes.borrow_mut();
                let previous = before.map_or(nodes[parent].last, |before| nodes[before].previous);
                if let Some(Content::Text(known)) = previous.map(|previous| &mut nodes[previous].content) {
                    known.push_str(&text);
                    return;
                }
                drop(nodes);
                self.add(Content::Text(text.to_string()))
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

    /// What was parsed: the children of the fragment's root, which stands between the document and them.
    fn finish(self) -> Result<Vec<Node>, ParseError> {
        let mut nodes = self.nodes.into_inner();
        nodes[0].first.map_or_else(|| Ok(Vec::new()), |root| build(&mut nodes, root))
    }
}

impl TreeSink for Sink {
    type Handle = Handle;
    type Output = Self;
    type ElemName<'a> = NameRef<'a>;

    fn finish(self) -> Self {
        self
    }

    fn parse_error(&self, _message: Cow<'static, str>) {
        self.has_errors.set(true);
    }

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
        if name.local == local_name!("plaintext") {
            // No end tag ends it, not even its own.
            self.has_errors.set(true);
        }
        let has_html = flags.mathml_annotation_xml_integration_point;
        self.add(Content::Element { name, attributes, template, has_html })
    }

    fn create_comment(&self, text: StrTendril) -> Handle {
        self.add(Content::Comment(text.to_string()))
    }

    fn create_pi(&self, _target: StrTendril, data: StrTendril) -> Handle {
        self.add(Content::Comment(data.to_string()))
    }

    fn append(&self, parent: &Handle, child: NodeOrText<Handle>) {
        self.insert(*parent, None, child);
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
        self.insert(parent, Some(*sibling), child);
    }

    fn is_mathml_annotation_xml_integration_point(&self, handle: &Handle) -> bool {
        matches!(self.nodes.borrow()[*handle].content, Content::Element { has_html: true, .. })
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
        loop {
            let first = self.nodes.borrow()[*node].first;
            let Some(child) = first else { return };
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

/// An element whose children are being built.
struct Frame {
    element: Option<(String, Vec<(String, String)>)>,
    children: Vec<Node>,
    next: Option<Handle>,
}

/// The nodes below a parent, without recursion.
fn build(nodes: &mut [RawNode], parent: Handle) -> Result<Vec<Node>, ParseError> {
    let mut above: Vec<Frame> = Vec::new();
    let mut frame = Frame { element: None, children: Vec::new(), next: nodes[parent].first };
    loop {
        let Some(handle) = frame.next else {
            let Some((tag, attributes)) = frame.element else { return Ok(frame.children) };
            let node = Node::Element(Element { tag, attributes, children: frame.children });
            match above.pop() {
                Some(parent) => frame = parent,
                None => return Ok(vec![node]),
            }
            frame.children.push(node);
            continue;
        };
        frame.next = nodes[handle].next;
        match &mut nodes[handle].content {
            Content::Document => {}
            Content::Text(text) if is_blank(text) => {}
            Content::Text(text) => frame.children.push(Node::Text(std::mem::take(text))),
            Content::Comment(text) => frame.children.push(Node::Comment(std::mem::take(text))),
            Content::Element { name, attributes, template, .. } => {
                if above.len() >= DEPTH_MAX {
                    return Err(ParseError::TooDeep);
                }
                let element = (name.local.to_string(), std::mem::take(attributes));
                let content = template.unwrap_or(handle);
                let inside = Frame { element: Some(element), children: Vec::new(), next: nodes[content].first };
                above.push(std::mem::replace(&mut frame, inside));
            }
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
        serde_json::to_string(&parse(html).unwrap()).unwrap()
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
    fn usual_html_is_read_once() {
        let usual = [
            "<div class=counter>\n  <p>Label: <b>x</b></p>\n<!-- c --><br/><input diff:model.live.debounce.300=\"label\" value=\"a\" /></div>",
            "<ul><li diff:key=1>1<li key='2'>2</ul><table><tr><td>1<td>2</table><select><option selected>a<option>b</select>",
            "<svg viewBox='0 0 1 1'><path d='M0 0'/><g><title>x</title></g></svg><style>a > b {}</style><pre>\n\nx</pre>",
            "<button diff:click=\"add(1, 'x', true)\" diff:loading.class.busy disabled>+</button> &amp; &copy; &#10;",
            "<template><p>x</p></template><textarea>a</textarea><p>a<p>b<h1>c</h1>text<script>if (a < b) {}</script>",
        ];
        for html in usual {
            assert!(!read(html).unwrap().1, "{html}");
        }
    }

    #[test]
    fn a_trees_html_parses_to_the_same_tree() {
        let html = r#"<div class="a &quot;b&quot;"><p>x &lt; y</p><input value="1"><!--c--><style>a>b{}</style></div>"#;
        let more =
            ["<pre>\n\nx</pre>", "<textarea>\n\n a</textarea>", "<noscript><p>a&amp;b</noscript>", "<p>&nbsp;x</p>"];
        for html in [html].iter().chain(&more) {
            let tree = parse(html).unwrap();
            assert_eq!(parse(&tree.to_html()).unwrap(), tree, "{html}");
        }
    }
}
