//! A tree of elements, texts and comments, as clients count them: text that is only white space does not exist.

use serde::ser::{Serialize, SerializeMap as _, Serializer};

/// Elements that have no end tag.
const VOID: [&str; 13] =
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"];

/// Elements whose text is no markup: escapes would stay in it.
const RAW: [&str; 7] = ["iframe", "noembed", "noframes", "noscript", "script", "style", "xmp"];
/// Elements whose first line break a parser drops.
const DROPS_LINE_BREAK: [&str; 3] = ["listing", "pre", "textarea"];

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

impl Node {
    /// The HTML that parses to this node.
    pub fn to_html(&self) -> String {
        let mut out = String::new();
        self.write_html(&mut out, false);
        out
    }

    fn write_html(&self, out: &mut String, raw: bool) {
        match self {
            Self::Text(text) if raw => out.push_str(text),
            Self::Text(text) => escape_html(text, out),
            Self::Comment(text) => {
                out.push_str("<!--");
                out.push_str(text);
                out.push_str("-->");
            }
            Self::Element(element) => {
                out.push('<');
                out.push_str(&element.tag);
                for (name, value) in &element.attributes {
                    out.push(' ');
                    out.push_str(name);
                    out.push_str("=\"");
                    escape_html(value, out);
                    out.push('"');
                }
                out.push('>');
                if VOID.contains(&element.tag.as_str()) {
                    return;
                }
                let raw = RAW.contains(&element.tag.as_str());
                if DROPS_LINE_BREAK.contains(&element.tag.as_str())
                    && matches!(element.children.first(), Some(Self::Text(text)) if text.starts_with('\n'))
                {
                    out.push('\n');
                }
                for child in &element.children {
                    child.write_html(out, raw);
                }
                out.push_str("</");
                out.push_str(&element.tag);
                out.push('>');
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
            c => out.push(c),
        }
    }
}
