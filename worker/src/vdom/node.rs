//! A tree of elements, texts and comments. Its strings are parts of the HTML where that is possible.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

/// HTML elements without an end tag.
const VOID: [&str; 18] = [
    "area", "base", "basefont", "bgsound", "br", "col", "embed", "frame", "hr", "img", "input", "keygen", "link",
    "meta", "param", "source", "track", "wbr",
];

/// HTML elements whose text is not parsed, so that escapes would stay in it. SVG and MathML have none.
const RAW: [&str; 8] = ["iframe", "noembed", "noframes", "noscript", "plaintext", "script", "style", "xmp"];
/// HTML elements whose leading line break a parser drops.
const DROPS_LINE_BREAK: [&str; 3] = ["listing", "pre", "textarea"];
/// SVG elements whose content is HTML.
const SVG_WITH_HTML: [&str; 3] = ["desc", "foreignObject", "title"];
/// MathML elements whose content is HTML, except [`MATH_IN_TEXT`].
const MATH_WITH_HTML: [&str; 5] = ["mi", "mn", "mo", "ms", "mtext"];
const MATH_IN_TEXT: [&str; 2] = ["malignmark", "mglyph"];

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node<'a> {
    /// An element.
    Element(Element<'a>),
    /// Text; clients do not count it where it is nothing but white space.
    Text(Cow<'a, str>),
    /// A comment.
    Comment(Cow<'a, str>),
}

/// A name and a value.
pub type Attribute<'a> = (Cow<'a, str>, Cow<'a, str>);

/// An element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element<'a> {
    /// Tag name.
    pub tag: Cow<'a, str>,
    /// Attributes in the order of the source.
    pub attributes: Vec<Attribute<'a>>,
    /// Children.
    pub children: Vec<Node<'a>>,
}

impl Element<'_> {
    /// An attribute's value.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// The key among its siblings: `diff:key`, otherwise `key`.
    pub fn key(&self) -> Option<&str> {
        self.attribute("diff:key").or_else(|| self.attribute("key"))
    }
}

/// The form in patches: `{t, a?, c?, k?}`, `{x}` or `{m}`.
impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Text(text) => map.serialize_entry("x", text)?,
            Self::Comment(text) => map.serialize_entry("m", text)?,
            Self::Element(element) => {
                map.serialize_entry("t", &element.tag)?;
                if !element.attributes.is_empty() {
                    map.serialize_entry("a", &Attributes(&element.attributes))?;
                }
                if !element.children.is_empty() {
                    map.serialize_entry("c", &element.children)?;
                }
                if let Some(key) = element.key() {
                    map.serialize_entry("k", key)?;
                }
            }
        }
        map.end()
    }
}

struct Attributes<'a>(&'a [Attribute<'a>]);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// The content that an element is part of, for a parser of the printed HTML. It decides what a tag means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ContentModel {
    Html,
    Svg,
    Math,
    /// A MathML element whose text is HTML.
    MathText,
    /// An `annotation-xml` whose content is MathML, or SVG in an `svg` element.
    MathAnnotation,
}

/// The namespace of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Namespace {
    Html,
    Svg,
    Math,
}

impl ContentModel {
    fn namespace(self, tag: &str) -> Namespace {
        match (self, tag) {
            (Self::Html | Self::MathText | Self::MathAnnotation, "svg") | (Self::Svg, _) => Namespace::Svg,
            (Self::Html | Self::MathText, "math") | (Self::Math | Self::MathAnnotation, _) => Namespace::Math,
            (Self::MathText, tag) if MATH_IN_TEXT.contains(&tag) => Namespace::Math,
            (Self::Html | Self::MathText, _) => Namespace::Html,
        }
    }
}

impl Namespace {
    /// The content model for the children of an element of this namespace.
    fn content(self, element: &Element<'_>) -> ContentModel {
        let tag = &*element.tag;
        match self {
            Self::Html => ContentModel::Html,
            Self::Svg if SVG_WITH_HTML.contains(&tag) => ContentModel::Html,
            Self::Svg => ContentModel::Svg,
            Self::Math if MATH_WITH_HTML.contains(&tag) => ContentModel::MathText,
            Self::Math if tag == "annotation-xml" => {
                let encoding = element.attribute("encoding").unwrap_or_default();
                let is_html =
                    ["text/html", "application/xhtml+xml"].iter().any(|html| encoding.eq_ignore_ascii_case(html));
                if is_html { ContentModel::Html } else { ContentModel::MathAnnotation }
            }
            Self::Math => ContentModel::Math,
        }
    }
}

/// A piece of HTML that is still to be printed.
enum PrintStep<'a> {
    /// A node; the flag says that its text is printed without escapes.
    Node(&'a Node<'a>, ContentModel, bool),
    End(&'a str),
}

impl Node<'_> {
    /// The one root, or a `div` around several, or around none or a text.
    pub(super) fn root(mut roots: Vec<Self>) -> Self {
        let mut counted = roots.iter().enumerate().filter(|(_, root)| root.is_counted());
        match (counted.next(), counted.next()) {
            (None, _) => roots.clear(),
            (Some((at, Node::Element(_))), None) => return roots.swap_remove(at),
            _ => {}
        }
        Node::Element(Element { tag: "div".into(), attributes: Vec::new(), children: roots })
    }

    /// The HTML that parses to this node.
    pub fn to_html(&self) -> String {
        let mut out = String::new();
        // Not recursive: the tree may be deeper than the stack allows.
        let mut steps = vec![PrintStep::Node(self, ContentModel::Html, false)];
        while let Some(step) = steps.pop() {
            match step {
                PrintStep::Node(Node::Text(text), _, true) => out.push_str(text),
                PrintStep::Node(Node::Text(text), _, false) => escape_html(text, &mut out),
                PrintStep::Node(Node::Comment(text), ..) => {
                    out.push_str("<!--");
                    out.push_str(text);
                    out.push_str("-->");
                }
                PrintStep::Node(Node::Element(element), parent, _) => element.print_start(&mut out, parent, &mut steps),
                PrintStep::End(tag) => {
                    out.push_str("</");
                    out.push_str(tag);
                    out.push('>');
                }
            }
        }
        out
    }
}

impl<'a> Element<'a> {
    /// Prints the start tag, and adds the children and the end tag to the steps.
    fn print_start(&'a self, out: &mut String, parent: ContentModel, steps: &mut Vec<PrintStep<'a>>) {
        let tag = &*self.tag;
        let namespace = parent.namespace(tag);
        let is_one_of = |tags: &[&str]| namespace == Namespace::Html && tags.contains(&tag);
        out.push('<');
        out.push_str(tag);
        for (name, value) in &self.attributes {
            out.push(' ');
            out.push_str(name);
            out.push_str("=\"");
            escape_html(value, out);
            out.push('"');
        }
        out.push('>');
        if is_one_of(&VOID) {
            return;
        }
        if is_one_of(&DROPS_LINE_BREAK)
            && matches!(self.children.first(), Some(Node::Text(text)) if text.starts_with('\n'))
        {
            out.push('\n');
        }
        let (content, raw) = (namespace.content(self), is_one_of(&RAW));
        steps.push(PrintStep::End(tag));
        steps.extend(self.children.iter().rev().map(|child| PrintStep::Node(child, content, raw)));
    }
}

/// Drops nodes one after the other: a deep tree must not overflow the stack.
impl Drop for Element<'_> {
    fn drop(&mut self) {
        let is_deep = |node: &Node<'_>| matches!(node, Node::Element(element) if !element.children.is_empty());
        if !self.children.iter().any(is_deep) {
            return;
        }
        let mut left = std::mem::take(&mut self.children);
        while let Some(mut node) = left.pop() {
            if let Node::Element(element) = &mut node {
                left.append(&mut element.children);
            }
        }
    }
}

/// Appends text, escaped for HTML and for attribute values.
pub(crate) fn escape_html(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some((at, escaped)) = rest.bytes().enumerate().find_map(|(at, byte)| Some((at, escaped(byte)?))) {
        out.push_str(&rest[..at]);
        out.push_str(escaped);
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

fn escaped(byte: u8) -> Option<&'static str> {
    match byte {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        b'>' => Some("&gt;"),
        b'"' => Some("&quot;"),
        b'\'' => Some("&#039;"),
        // A parser would read a line feed.
        b'\r' => Some("&#13;"),
        _ => None,
    }
}
