//! Parses plain HTML in one pass: HTML that the HTML standard's algorithm reads as it is written. Each element is closed by
//! its own end tag, stands where it may, and no tag has errors. Anything else is left to html5ever.
//!
//! * `builder`: the tree that is made of it
//! * `elements`, `svg`: the elements that are plain, and where; `names`: tables of their names
//! * `references`: character references

mod builder;
mod elements;
mod names;
mod references;
mod svg;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::borrow::Cow;

use memchr::{memchr, memchr2};

pub(super) use self::builder::{Builder, Tag, Tree};
use self::elements::{Content, Kind, Scope};
use self::references::{Place, decode};
use super::node::{Attribute, Node};
use super::space::{self, Markup, SpaceRule, is_blank};

/// Elements within elements. html5ever refuses twice as many, and counts formatting elements twice.
const DEPTH_MAX: usize = 256;
/// The longest tag and the longest comment: too short for the separators that html5ever refuses.
const MARKUP_BYTES_MAX: usize = 8 * 1024;
/// The most attributes of a tag, each of which is compared with all others.
const ATTRIBUTES_MAX: usize = 64;

/// The tree of plain HTML; `None` when the HTML is not plain.
pub fn parse(html: &str) -> Option<Node<'_>> {
    parse_roots(html).map(Node::root)
}

/// The same, without a root of its own around several.
pub(super) fn parse_roots(html: &str) -> Option<Vec<Node<'_>>> {
    if has_odd_bytes(html) {
        return None;
    }
    let mut parser = Parser::new(html, Tree::default());
    while parser.at < html.len() {
        parser.step()?;
    }
    parser.open.is_empty().then(|| parser.builder.into_nodes())
}

/// Whether there is a byte that a tokenizer would replace or drop.
pub(super) fn has_odd_bytes(html: &str) -> bool {
    let is_odd = |byte: u8| byte < b' ' && byte != b'\n' && byte != b'\t' || byte == 0x7f;
    html.bytes().fold(false, |odd, byte| odd | is_odd(byte))
}

/// An element without its end tag.
#[derive(Clone)]
pub(super) struct OpenElement<'a> {
    tag: Cow<'a, str>,
    content: Content,
    scope: Scope,
    /// No tag stands for it.
    is_implied: bool,
    space: SpaceRule,
    pub(super) is_preformatted: bool,
}

pub(super) struct Parser<'a, B> {
    html: &'a str,
    /// How far it has read.
    pub(super) at: usize,
    pub(super) builder: B,
    /// The attributes of the current tag.
    attributes: Vec<Attribute<'a>>,
    /// The elements without an end tag so far.
    pub(super) open: Vec<OpenElement<'a>>,
}

impl<'a, B: Builder<'a>> Parser<'a, B> {
    pub(super) fn new(html: &'a str, builder: B) -> Self {
        Self::within(html, builder, 0, Vec::new())
    }

    /// Reads on at a place where these elements are open.
    pub(super) fn within(html: &'a str, builder: B, at: usize, open: Vec<OpenElement<'a>>) -> Self {
        Self { html, at, builder, attributes: Vec::new(), open }
    }

    /// Reads a text, comment or tag.
    pub(super) fn step(&mut self) -> Option<()> {
        if self.peek() != Some(b'<') {
            return self.text(LeadingLineBreak::Kept);
        }
        match *self.html.as_bytes().get(self.at + 1)? {
            b'/' => self.end_tag(),
            b'!' => self.comment(),
            byte if byte.is_ascii_alphabetic() => self.start_tag(),
            _ => None,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.html.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        &self.html.as_bytes()[self.at..]
    }

    /// Takes the next bytes, which end where a character ends.
    fn take(&mut self, bytes: usize) -> &'a str {
        let taken = &self.html[self.at..self.at + bytes];
        self.at += bytes;
        taken
    }

    fn content(&self) -> Content {
        self.open.last().map_or(Content::Flow, |parent| parent.content)
    }

    fn scope(&self) -> Scope {
        self.open.last().map_or_else(Scope::default, |parent| parent.scope)
    }

    /// Reads text up to the next `<`.
    fn text(&mut self, line_break: LeadingLineBreak) -> Option<()> {
        let rest = self.rest();
        let text = match memchr2(b'<', b'&', rest) {
            Some(at) if rest[at] == b'&' => {
                let length = memchr(b'<', rest).unwrap_or(rest.len());
                decode(self.take(length), Place::Text)?
            }
            end => Cow::Borrowed(self.take(end.unwrap_or(rest.len()))),
        };
        if !self.content().has_text() {
            return text.bytes().all(|byte| byte.is_ascii_whitespace()).then_some(());
        }
        self.add_text(text, line_break);
        Some(())
    }

    fn add_text(&mut self, mut text: Cow<'a, str>, line_break: LeadingLineBreak) {
        if line_break == LeadingLineBreak::Dropped && text.starts_with('\n') {
            text = match text {
                Cow::Borrowed(text) => Cow::Borrowed(&text[1..]),
                Cow::Owned(text) => Cow::Owned(text[1..].to_owned()),
            };
        }
        if is_blank(&text) {
            let rule = self.open.last().map_or(SpaceRule::Collapse, |parent| parent.space);
            text = match text {
                Cow::Borrowed(text) => Cow::Borrowed(rule.apply(text)),
                Cow::Owned(text) => Cow::Owned(rule.apply(&text).to_owned()),
            };
        }
        if !text.is_empty() {
            self.builder.text(text);
        }
    }

    /// Reads `<!-- -->`.
    fn comment(&mut self) -> Option<()> {
        let inner = self.rest().strip_prefix(b"<!--")?;
        let length = memchr::memmem::find(inner, b"--")?;
        let is_odd = inner.get(length + 2) != Some(&b'>')
            || matches!(inner[0], b'>' | b'-') && length > 0
            // The end of one comment within another.
            || memchr::memmem::find(&inner[..length], b"<!-").is_some()
            || inner[..length].ends_with(b"<")
            || inner[..length].ends_with(b"<!");
        if is_odd || length > MARKUP_BYTES_MAX {
            return None;
        }
        self.at += "<!--".len();
        let text = self.take(length);
        self.at += "-->".len();
        self.builder.comment(text);
        Some(())
    }

    fn start_tag(&mut self) -> Option<()> {
        let start = self.at;
        self.at += 1;
        let length = self.rest().iter().take_while(|byte| is_name_byte(**byte)).count();
        let name = self.take(length);
        let content = self.content();
        if content == Content::Svg {
            let (tag, content) = svg::element(name)?;
            return self.svg_element(start, tag, content);
        }
        let (tag, kind) = match elements::element(name) {
            Some((tag, kind)) => (Cow::Borrowed(tag), kind),
            None if name.contains('-') => (in_lower_case(name), Kind::Phrasing),
            None => return None,
        };
        if kind == Kind::Row && content == Content::Table {
            // No tag of its own ends here.
            let tag = Tag { start, end: usize::MAX };
            self.open(tag, "tbody".into(), Content::TableSection, self.scope())?;
            self.open.last_mut()?.is_implied = true;
        } else if !kind.may_stand_in(content) {
            return None;
        }
        let scope = self.scope();
        if !scope.allows(kind) {
            return None;
        }
        if kind == Kind::Svg {
            return self.svg_element(start, "svg", Content::Svg);
        }
        let is_closed = self.attributes(start, AttributeNames::Html)?;
        if kind.is_void() {
            self.builder.void(tag, &mut self.attributes);
            return Some(());
        }
        if is_closed {
            return None;
        }
        self.open(Tag { start, end: self.at }, tag, kind.content(), scope.within(kind))?;
        match kind {
            Kind::Preformatted if self.peek().is_some_and(|byte| byte != b'<') => self.text(LeadingLineBreak::Dropped),
            Kind::RawText => self.raw_text(),
            Kind::Textarea => self.textarea(),
            _ => Some(()),
        }
    }

    fn svg_element(&mut self, start: usize, tag: &'static str, content: Content) -> Option<()> {
        let is_closed = self.attributes(start, AttributeNames::Svg)?;
        self.open(Tag { start, end: self.at }, Cow::Borrowed(tag), content, self.scope())?;
        if is_closed { self.close(start) } else { Some(()) }
    }

    /// Opens an element with the attributes that were read.
    fn open(&mut self, at: Tag, tag: Cow<'a, str>, content: Content, scope: Scope) -> Option<()> {
        let markup = if content == Content::Svg || self.content() == Content::Svg { Markup::Svg } else { Markup::Html };
        let is_preformatted =
            self.open.last().is_some_and(|parent| parent.is_preformatted) || space::is_preformatted(&tag);
        let space = SpaceRule::of(markup, &tag, is_preformatted);
        self.builder.open(tag.clone(), &mut self.attributes, at);
        self.open.push(OpenElement { tag, content, scope, is_implied: false, space, is_preformatted });
        (self.open.len() <= DEPTH_MAX).then_some(())
    }

    /// Closes the element that was opened last. Its end tag began there, and ends here.
    fn close(&mut self, start: usize) -> Option<()> {
        self.open.pop()?;
        self.builder.close(Tag { start, end: self.at });
        Some(())
    }

    /// Reads the end tag of the element that was opened last, and no other.
    fn end_tag(&mut self) -> Option<()> {
        let (start, name) = (self.at, self.rest().get("</".len()..)?);
        if self.open.last()?.is_implied {
            if !starts_with_name(name, b"table") {
                return None;
            }
            self.close(start)?;
        }
        let tag = self.open.last()?.tag.as_bytes();
        if !starts_with_name(name, tag) {
            return None;
        }
        let name_bytes = tag.len();
        self.at += "</".len() + name_bytes;
        self.skip_white_space();
        if self.peek() != Some(b'>') {
            return None;
        }
        self.at += 1;
        self.close(start)
    }

    /// Reads the text of `<style>` and the like, and the end tag.
    fn raw_text(&mut self) -> Option<()> {
        let mut length = 0;
        loop {
            length += memchr(b'<', &self.rest()[length..])?;
            match *self.rest().get(length + 1)? {
                b'/' => break,
                // A script may begin a comment, within which another script may be.
                b'!' => return None,
                _ => length += 1,
            }
        }
        let text = self.take(length);
        self.add_text(Cow::Borrowed(text), LeadingLineBreak::Kept);
        self.end_tag()
    }

    /// Reads the text of `<textarea>`, and the end tag.
    fn textarea(&mut self) -> Option<()> {
        let length = memchr(b'<', self.rest())?;
        let text = decode(self.take(length), Place::Text)?;
        self.add_text(text, LeadingLineBreak::Dropped);
        if self.rest().starts_with(b"</") { self.end_tag() } else { None }
    }

    /// Reads the rest of a start tag: its attributes; whether it ends with `/>`.
    fn attributes(&mut self, start: usize, names: AttributeNames) -> Option<bool> {
        if self.peek() == Some(b'>') {
            self.at += 1;
            return Some(false);
        }
        loop {
            let is_separated = self.skip_white_space();
            match self.peek()? {
                b'>' => {
                    self.at += 1;
                    return (self.at - start <= MARKUP_BYTES_MAX).then_some(false);
                }
                b'/' if self.rest().get(1) == Some(&b'>') => {
                    self.at += 2;
                    return (self.at - start <= MARKUP_BYTES_MAX).then_some(true);
                }
                _ if is_separated => self.attribute(names)?,
                _ => return None,
            }
        }
    }

    fn attribute(&mut self, names: AttributeNames) -> Option<()> {
        let length = self.rest().iter().take_while(|byte| is_attribute_name_byte(**byte)).count();
        if length == 0 {
            return None;
        }
        let name = self.take(length);
        let name = match names {
            AttributeNames::Html => in_lower_case(name),
            AttributeNames::Svg => svg::attribute(name).map_or_else(|| in_lower_case(name), Cow::Borrowed),
        };
        let end = self.at;
        self.skip_white_space();
        let value = if self.peek() == Some(b'=') {
            self.at += 1;
            self.skip_white_space();
            self.attribute_value()?
        } else {
            // The white space separates the next attribute.
            self.at = end;
            Cow::Borrowed("")
        };
        if self.attributes.len() == ATTRIBUTES_MAX || self.attributes.iter().any(|(known, _)| *known == name) {
            return None;
        }
        self.attributes.push((name, value));
        Some(())
    }

    fn attribute_value(&mut self) -> Option<Cow<'a, str>> {
        let quote = self.peek()?;
        if !matches!(quote, b'"' | b'\'') {
            let length = self.rest().iter().take_while(|byte| is_unquoted_byte(**byte)).count();
            return (length > 0).then(|| Cow::Borrowed(self.take(length)));
        }
        self.at += 1;
        let rest = self.rest();
        let end = memchr2(quote, b'&', rest)?;
        let value = if rest[end] == quote {
            Cow::Borrowed(self.take(end))
        } else {
            let length = memchr(quote, rest)?;
            decode(self.take(length), Place::AttributeValue)?
        };
        self.at += 1;
        Some(value)
    }

    /// Tells whether there was any.
    fn skip_white_space(&mut self) -> bool {
        let length = self.rest().iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.at += length;
        length > 0
    }
}

/// What happens to a line break at the start of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LeadingLineBreak {
    Kept,
    Dropped,
}

/// Whose attributes: SVG spells some with capital letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AttributeNames {
    Html,
    Svg,
}

/// A name as tokenizers hand it on.
fn in_lower_case(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(name.to_ascii_lowercase());
    }
    Cow::Borrowed(name)
}

/// Whether a text begins with a name, in any case.
fn starts_with_name(text: &[u8], name: &[u8]) -> bool {
    text.get(..name.len()).is_some_and(|start| start == name || start.eq_ignore_ascii_case(name))
}

/// Classes of bytes.
const NAME: u8 = 1;
const ATTRIBUTE_NAME: u8 = 2;
const UNQUOTED: u8 = 4;

static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = b'!';
    while byte < 0x7f {
        classes[byte as usize] = match byte {
            b'"' | b'\'' | b'<' | b'>' | b'=' | b'&' | b'`' => 0,
            b'/' => UNQUOTED,
            b'-' | b'_' | b'.' => NAME | ATTRIBUTE_NAME | UNQUOTED,
            _ if byte.is_ascii_alphanumeric() => NAME | ATTRIBUTE_NAME | UNQUOTED,
            _ => ATTRIBUTE_NAME | UNQUOTED,
        };
        byte += 1;
    }
    classes
};

fn is_name_byte(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & NAME != 0
}

fn is_attribute_name_byte(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & ATTRIBUTE_NAME != 0
}

fn is_unquoted_byte(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & UNQUOTED != 0
}
