//! Parses HTML as a browser parses a fragment (html5ever): entities, void elements, implied tags, tables, the case of
//! SVG. White space that no browser shows is dropped. Plain HTML has a faster parser.
//!
//! HTML that costs more than its length allows is refused: deep nesting, formatting elements that a parser reopens again
//! and again, too many attributes. HTML that would become another tree when a browser parses it once more is printed
//! and parsed until it does not change: then the page holds exactly the tree that patches are made for.

use std::cell::Cell;

use html5ever::buffer_queue::BufferQueue;
use html5ever::interface::Tracer;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};
use html5ever::tree_builder::{TreeBuilder, TreeBuilderOpts};
use html5ever::{QualName, TokenizerResult, local_name, ns};
use thiserror::Error;

use super::node::Node;
use super::plain;
use super::tree_sink::{LinkedTree, NodeId};

/// The most elements within elements: Chromium's own limit (`kMaximumHTMLParserDOMTreeDepth`).
pub(super) const DEPTH_MAX: usize = 512;
/// The most open elements and formatting elements to reopen (`<b>`, `<a>`), which a parser searches at every tag. Each
/// of the two may be as many as elements may be deep.
const OPEN_ELEMENTS_MAX: usize = 2 * DEPTH_MAX;
/// Tokens between two checks of the cost.
const CHECK_INTERVAL_TOKENS: usize = 32;
/// Nodes beyond one a byte: a short tag can imply several elements.
const EXTRA_NODES: usize = 1024;
/// The most white space, slashes and quotes in one tag. They separate attributes, and html5ever compares each attribute
/// with all others of its tag.
const SEPARATORS_MAX: usize = 8 * 1024;
/// HTML is parsed in pieces of this size. Separators are counted between two pieces.
const PIECE_BYTES: usize = 16 * 1024;
/// How often HTML is printed and parsed again before it has to be stable.
const REPARSES_MAX: usize = 4;

/// Why a component's HTML is refused.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum ParseError {
    /// Elements nest too deep.
    #[error("the component's HTML nests more than {DEPTH_MAX} elements, or leaves that many formatting elements open")]
    TooDeep,
    /// Formatting elements are reopened again and again.
    #[error("the component's HTML opens formatting elements (<b>, <a>) again and again: close them")]
    TooManyNodes,
    /// A tag has too many attributes.
    #[error("a tag of the component's HTML has more than {SEPARATORS_MAX} attributes or words")]
    TagTooLong,
    /// The HTML changes each time that a browser parses it.
    #[error("the component's HTML is another one each time that a browser reads it: close its elements")]
    Unstable,
}

/// Parses HTML to its one root element, to which the paths of patches refer. Several roots are wrapped in a `div`.
/// Plain HTML is parsed in one pass, other HTML by html5ever, to the same tree.
pub fn parse(html: &str) -> Result<Node<'_>, ParseError> {
    plain::parse(html).map_or_else(|| parse_as_browser(html), Ok)
}

/// Parses one item of a list to its element, also where a browser reads it only in a table or a select.
pub fn parse_item(html: &str) -> Result<Node<'_>, ParseError> {
    let parents = parents_of_item(html);
    if parents.is_empty() {
        return parse(html);
    }
    let start: String = parents.iter().map(|tag| format!("<{tag}>")).collect();
    let mut node = parse_as_browser(&(start + html))?;
    for _ in parents {
        let Node::Element(element) = &mut node else { break };
        let mut children = std::mem::take(&mut element.children).into_iter();
        node = children.find(|child| matches!(child, Node::Element(_))).unwrap_or_else(|| Node::root(Vec::new()));
    }
    Ok(node)
}

/// The elements in which an item has to stand to be read as it is.
fn parents_of_item(html: &str) -> &'static [&'static str] {
    let tag = html.trim_start().trim_start_matches('<');
    let end = tag.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(tag.len());
    match tag[..end].to_ascii_lowercase().as_str() {
        "tr" => &["table", "tbody"],
        "td" | "th" => &["table", "tbody", "tr"],
        "tbody" | "thead" | "tfoot" | "caption" | "colgroup" => &["table"],
        "col" => &["table", "colgroup"],
        "option" | "optgroup" => &["select"],
        "circle" | "clippath" | "defs" | "ellipse" | "filter" | "g" | "line" | "lineargradient" | "marker" | "mask"
        | "path" | "pattern" | "polygon" | "polyline" | "radialgradient" | "rect" | "stop" | "symbol" | "text"
        | "tspan" | "use" => &["svg"],
        _ => &[],
    }
}

/// Parses any HTML by html5ever.
pub fn parse_as_browser(html: &str) -> Result<Node<'static>, ParseError> {
    let (tree, has_errors) = parse_once(html)?;
    if !has_errors {
        return Ok(tree);
    }
    // Invalid HTML can parse to a tree that no HTML stands for: a link in a link, for example.
    let mut printed = tree.to_html();
    for _ in 0..REPARSES_MAX {
        let (tree, _) = parse_once(&printed)?;
        let again = tree.to_html();
        if again == printed {
            return Ok(tree);
        }
        printed = again;
    }
    Err(ParseError::Unstable)
}

/// Parses HTML that an application has printed into its page, as the browser that shows it has parsed it: once. The root
/// is the first element, as it is for clients; they cannot change what stands beside it.
pub fn parse_page(html: &str) -> Result<Node<'_>, ParseError> {
    parse_known_page(html).map(|(root, _)| root)
}

/// The same, and tells whether the HTML is plain.
pub(crate) fn parse_known_page(html: &str) -> Result<(Node<'_>, bool), ParseError> {
    let (mut roots, is_plain) = match plain::parse_roots(html) {
        Some(roots) => (roots, true),
        None => (parse_roots(html)?.0, false),
    };
    let root = match roots.iter().position(|root| matches!(root, Node::Element(_))) {
        Some(first) => roots.swap_remove(first),
        None => Node::root(roots),
    };
    Ok((root, is_plain))
}

/// Parses HTML once, and tells whether it had errors.
fn parse_once(html: &str) -> Result<(Node<'static>, bool), ParseError> {
    let (roots, has_errors) = parse_roots(html)?;
    Ok((Node::root(roots), has_errors))
}

/// Parses HTML to its nodes, and tells whether it had errors.
fn parse_roots(html: &str) -> Result<(Vec<Node<'static>>, bool), ParseError> {
    let tree = LinkedTree::new(html.len() + EXTRA_NODES);
    let context =
        html5ever::tree_builder::create_element(&tree, QualName::new(None, ns!(html), local_name!("div")), Vec::new());
    let builder = TreeBuilder::new_for_fragment(tree, context, None, TreeBuilderOpts::default());
    let guard = CostGuard { builder, tokens: Cell::new(0), refused: Cell::new(None) };
    // Its reader drops a byte order mark at the start of each piece. In a page's text, it is a character like others.
    let options = TokenizerOpts { discard_bom: false, ..TokenizerOpts::default() };
    let tokenizer = Tokenizer::new(guard, options);
    feed(&tokenizer, html)?;
    tokenizer.end();
    let CostGuard { builder, refused, .. } = tokenizer.sink;
    if let Some(refused) = refused.get() {
        return Err(refused);
    }
    let has_errors = builder.sink.has_errors.get();
    Ok((builder.sink.into_nodes(DEPTH_MAX).ok_or(ParseError::TooDeep)?, has_errors))
}

/// Feeds HTML to the tokenizer, in pieces.
fn feed(tokenizer: &Tokenizer<CostGuard>, html: &str) -> Result<(), ParseError> {
    let input = BufferQueue::default();
    let (mut rest, mut separators) = (html, 0);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
        rest = after;
        let before = tokenizer.sink.tokens.get();
        input.push_back(StrTendril::from(piece));
        // The tokenizer pauses after each script, for it to be run.
        while !matches!(tokenizer.feed(&input), TokenizerResult::Done) {}
        if tokenizer.sink.refused.get().is_some() {
            return Ok(());
        }
        // A piece without a token is part of one long tag, comment or the like.
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

/// Between tokenizer and tree builder: stops building when the HTML costs too much.
struct CostGuard {
    builder: TreeBuilder<NodeId, LinkedTree>,
    tokens: Cell<usize>,
    refused: Cell<Option<ParseError>>,
}

impl CostGuard {
    fn check_cost(&self) {
        let open = OpenElementCount(Cell::new(0));
        self.builder.trace_handles(&open);
        if open.0.get() > OPEN_ELEMENTS_MAX {
            self.refused.set(Some(ParseError::TooDeep));
        } else if self.builder.sink.is_full() {
            self.refused.set(Some(ParseError::TooManyNodes));
        }
    }
}

/// Counts the open elements and formatting elements of a tree builder.
struct OpenElementCount(Cell<usize>);

impl Tracer for OpenElementCount {
    type Handle = NodeId;

    fn trace_handle(&self, _node: &NodeId) {
        self.0.set(self.0.get() + 1);
    }
}

impl TokenSink for CostGuard {
    type Handle = NodeId;

    fn process_token(&self, token: Token, line: u64) -> TokenSinkResult<NodeId> {
        if self.refused.get().is_some() {
            return TokenSinkResult::Continue;
        }
        if !matches!(token, Token::ParseError(_)) {
            let tokens = self.tokens.get() + 1;
            self.tokens.set(tokens);
            if tokens.is_multiple_of(CHECK_INTERVAL_TOKENS) {
                self.check_cost();
            }
        }
        self.builder.process_token(token, line)
    }

    fn end(&self) {
        self.check_cost();
        self.builder.end();
    }

    fn adjusted_current_node_present_but_not_in_html_namespace(&self) -> bool {
        self.builder.adjusted_current_node_present_but_not_in_html_namespace()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn json(html: &str) -> String {
        let tree = parse_as_browser(html).unwrap();
        assert_eq!(parse(html).as_ref(), Ok(&tree), "{html}");
        serde_json::to_string(&tree).unwrap()
    }

    #[test]
    fn html_is_parsed_as_a_browser_parses_it() {
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
                r#"{"t":"div","c":[{"x":"\n"},{"m":" c "},{"x":"\n"},{"t":"b","a":{"diff:key":"k"},"c":[{"x":" x"}],"k":"k"}]}"#,
            ),
            (
                "<p><b>Hello</b>  <i>world</i>&nbsp;\n<u>!</u></p>",
                "{\"t\":\"p\",\"c\":[{\"t\":\"b\",\"c\":[{\"x\":\"Hello\"}]},{\"x\":\" \"},{\"t\":\"i\",\"c\":[{\"x\":\"world\"}]},{\"x\":\"\u{a0}\\n\"},{\"t\":\"u\",\"c\":[{\"x\":\"!\"}]}]}",
            ),
            (
                "<table> <tr> <td> <b>x</b> </td> </tr> </table>",
                r#"{"t":"table","c":[{"t":"tbody","c":[{"t":"tr","c":[{"t":"td","c":[{"x":" "},{"t":"b","c":[{"x":"x"}]},{"x":" "}]}]}]}]}"#,
            ),
            (
                "<pre><code> \n\n <b>x</b>\n\n</code></pre>",
                r#"{"t":"pre","c":[{"t":"code","c":[{"x":" \n\n "},{"t":"b","c":[{"x":"x"}]},{"x":"\n\n"}]}]}"#,
            ),
            (
                "<svg> <text> <tspan>x</tspan> <tspan>y</tspan></text> </svg>",
                r#"{"t":"svg","c":[{"t":"text","c":[{"x":" "},{"t":"tspan","c":[{"x":"x"}]},{"x":" "},{"t":"tspan","c":[{"x":"y"}]}]}]}"#,
            ),
            (
                "<svg xmlns='http://www.w3.org/2000/svg' xmlns:xlink='x'><use xlink:href='#a'/>",
                r##"{"t":"svg","a":{"xmlns":"http://www.w3.org/2000/svg","xmlns:xlink":"x"},"c":[{"t":"use","a":{"xlink:href":"#a"}}]}"##,
            ),
            ("\u{feff}a", "{\"t\":\"div\",\"c\":[{\"x\":\"\u{feff}a\"}]}"),
            ("a<i>b</i>", r#"{"t":"div","c":[{"x":"a"},{"t":"i","c":[{"x":"b"}]}]}"#),
            ("", r#"{"t":"div"}"#),
            ("<template><p>x</template>", r#"{"t":"template","c":[{"t":"p","c":[{"x":"x"}]}]}"#),
        ];
        for (html, expected) in cases {
            assert_eq!(json(html), expected, "{html}");
        }
    }

    #[test]
    fn an_item_is_read_as_it_is_where_it_stands() {
        for html in [
            "<tr><td>1</td></tr>",
            "<td>1</td>",
            "<option>a</option>",
            "<li>x</li>",
            "<TBODY><tr></tr></TBODY>",
            "<col>",
        ] {
            assert_eq!(parse_item(html).unwrap().to_html(), html.to_ascii_lowercase(), "{html}");
        }
        assert_eq!(parse_item("a<b>c</b>").unwrap().to_html(), "<div>a<b>c</b></div>");
    }

    #[test]
    fn usual_html_is_parsed_once() {
        let usual = [
            "<div class=counter>\n  <p>Label: <b>x</b></p>\n<!-- c --><br/><input diff:model.live.debounce.300=\"label\" value=\"a\" /></div>",
            "<ul><li diff:key=1>1<li key='2'>2</ul><table><tr><td>1<td>2</table><select><option selected>a<option>b</select>",
            "<svg viewBox='0 0 1 1'><path d='M0 0'/><g><title>x</title></g></svg><style>a > b {}</style><pre>\n\nx</pre>",
            "<button diff:click=\"add(1, 'x', true)\" diff:loading.class.busy disabled>+</button> &amp; &copy; &#10;",
            "<template><p>x</p></template><textarea>a</textarea><p>a<p>b<h1>c</h1>text<script>if (a < b) {}</script>",
        ];
        for html in usual {
            assert!(!parse_once(html).unwrap().1, "{html}");
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
