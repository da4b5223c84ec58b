//! A tree of elements, texts and comments, as clients count them: text that is only white space does not exist.

use serde::ser::{Serialize, SerializeMap as _, Serializer};

/// HTML elements that have no end tag.
const VOID: [&str; 18] = [
    "area", "base", "basefont", "bgsound", "br", "col", "embed", "frame", "hr", "img", "input", "keygen", "link",
    "meta", "param", "source", "track", "wbr",
];

/// HTML elements whose text is no markup: escapes would stay in it. In SVG and MathML there are none.
const RAW: [&str; 8] = ["iframe", "noembed", "noframes", "noscript", "plaintext", "script", "style", "xmp"];
/// HTML elements whose first line break a parser drops.
const DROPS_LINE_BREAK: [&str; 3] = ["listing", "pre", "textarea"];
/// SVG elements whose content is HTML.
const SVG_WITH_HTML: [&str; 3] = ["desc", "foreignObject", "title"];
/// MathML elements whose content is HTML, but for [`MATH_IN_TEXT`].
const MATH_WITH_HTML: [&str; 5] = ["mi", "mn", "mo", "ms", "mtext"];
const MATH_IN_TEXT: [&str; 2] = ["malignmark", "mglyph"];

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// An element.
    Element(Element),
    /// Text with something to see.
    Text(String),
    /// A comment.
    Comment(String),
}

/// An element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Tag name.
    pub tag: String,
    /// Attributes in the order of the source.
    pub attributes: Vec<(String, String)>,
    /// Children.
    pub children: Vec<Node>,
}

impl Element {
    /// An attribute's value.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// What tells this element from its siblings: `diff:key`, else `key`.
    pub fn key(&self) -> Option<&str> {
        self.attribute("diff:key").or_else(|| self.attribute("key"))
    }
}

/// As patches carry it: `{t, a?, c?, k?}`, `{x}` or `{m}`.
impl Serialize for Node {
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

struct Attributes<'a>(&'a [(String, String)]);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// Where an element stands, as a parser of the printed HTML sees it: that decides what its tag means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Html,
    Svg,
    Math,
    /// In a MathML element whose text is HTML.
    MathText,
    /// In an `annotation-xml` whose content is MathML, or SVG by an element of its own.
    MathAnnotation,
}

/// The language that an element belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Html,
    Svg,
    Math,
}

impl Place {
    fn language(self, tag: &str) -> Language {
        match (self, tag) {
            (Self::Html | Self::MathText | Self::MathAnnotation, "svg") | (Self::Svg, _) => Language::Svg,
            (Self::Html | Self::MathText, "math") | (Self::Math | Self::MathAnnotation, _) => Language::Math,
            (Self::MathText, tag) if MATH_IN_TEXT.contains(&tag) => Language::Math,
            (Self::Html | Self::MathText, _) => Language::Html,
        }
    }
}

impl Language {
    /// Where the children of an element of this language stand.
    fn inside(self, element: &Element) -> Place {
        let tag = element.tag.as_str();
        match self {
            Self::Html => Place::Html,
            Self::Svg if SVG_WITH_HTML.contains(&tag) => Place::Html,
            Self::Svg => Place::Svg,
            Self::Math if MATH_WITH_HTML.contains(&tag) => Place::MathText,
            Self::Math if tag == "annotation-xml" => {
                let encoding = element.attribute("encoding").unwrap_or_default();
                let is_html =
                    ["text/html", "application/xhtml+xml"].iter().any(|html| encoding.eq_ignore_ascii_case(html));
                if is_html { Place::Html } else { Place::MathAnnotation }
            }
            Self::Math => Place::Math,
        }
    }
}

/// What is left to print.
enum Step<'a> {
    /// A node; the flag says that text is printed as it is.
    Node(&'a Node, Place, bool),
    End(&'a str),
}

impl Node {
    /// The HTML that parses to this node.
    pub fn to_html(&self) -> String {
        let mut out = String::new();
        // No recursion: the tree may be as deep as the stack is small.
        let mut steps = vec![Step::Node(self, Place::Html, false)];
        while let Some(step) = steps.pop() {
            match step {
                Step::Node(Self::Text(text), _, true) => out.push_str(text),
                Step::Node(Self::Text(text), _, false) => escape_html(text, &mut out),
                Step::Node(Self::Comment(text), ..) => {
                    out.push_str("<!--");
                    out.push_str(text);
                    out.push_str("-->");
                }
                Step::Node(Self::Element(element), place, _) => element.begin(&mut out, place, &mut steps),
                Step::End(tag) => {
                    out.push_str("</");
                    out.push_str(tag);
                    out.push('>');
                }
            }
        }
        out
    }
}

impl Element {
    /// Prints the start tag, and adds what comes after it to the steps.
    fn begin<'a>(&'a self, out: &mut String, place: Place, steps: &mut Vec<Step<'a>>) {
        let tag = self.tag.as_str();
        let language = place.language(tag);
        let is_one_of = |tags: &[&str]| language == Language::Html && tags.contains(&tag);
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
        let (place, raw) = (language.inside(self), is_one_of(&RAW));
        steps.push(Step::End(tag));
        steps.extend(self.children.iter().rev().map(|child| Step::Node(child, place, raw)));
    }
}

/// Nodes are dropped one after the other: a deep tree must not need a deep stack.
impl Drop for Element {
    fn drop(&mut self) {
        if self.children.is_empty() {
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

/// Text with what HTML would take for markup escaped, in attributes and outside.
pub fn escape_html(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#039;"),
            // A parser takes it for a line feed.
            '\r' => out.push_str("&#13;"),
            c => out.push(c),
        }
    }
}
