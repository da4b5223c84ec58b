//! White space between elements. Clients do not count it, and people see it: `<b>Hello</b> <i>world</i>`. So it is part
//! of the tree where a browser may show it, and no path leads to it.
//!
//! Runs of it are one character, since a page shows no more; in preformatted text they stay as they are.

use super::node::{Element, Node};

/// HTML elements whose children have no space between them, whatever stands there.
const WITHOUT_SPACE: [&str; 9] =
    ["colgroup", "frameset", "optgroup", "select", "table", "tbody", "tfoot", "thead", "tr"];
/// SVG elements that contain text.
const SVG_WITH_SPACE: [&str; 10] =
    ["a", "desc", "foreignObject", "metadata", "script", "style", "text", "textPath", "title", "tspan"];
/// MathML elements that contain text.
const MATH_WITH_SPACE: [&str; 7] = ["annotation", "annotation-xml", "mi", "mn", "mo", "ms", "mtext"];
/// HTML elements whose white space counts.
const PREFORMATTED: [&str; 5] = ["listing", "plaintext", "pre", "textarea", "xmp"];
/// HTML elements beside which white space is not seen, unless a style says otherwise.
const BLOCKS: [&str; 47] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "br",
    "caption",
    "center",
    "dd",
    "details",
    "dialog",
    "dir",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hgroup",
    "hr",
    "legend",
    "li",
    "listing",
    "main",
    "menu",
    "nav",
    "ol",
    "optgroup",
    "option",
    "p",
    "pre",
    "search",
    "section",
    "summary",
    "table",
    "td",
    "th",
    "ul",
];
/// HTML elements that show nothing.
const HIDDEN: [&str; 6] = ["link", "meta", "noscript", "script", "style", "template"];

/// What becomes of white space in an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SpaceRule {
    /// A browser shows none.
    Drop,
    /// Its amount does not matter.
    Collapse,
    /// It stays as it is.
    Keep,
}

/// The namespace of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Markup {
    Html,
    Svg,
    Math,
}

impl SpaceRule {
    /// The rule for the children of an element.
    pub(super) fn of(markup: Markup, tag: &str, is_preformatted: bool) -> Self {
        let has_space = match markup {
            Markup::Html => !WITHOUT_SPACE.contains(&tag),
            Markup::Svg => SVG_WITH_SPACE.contains(&tag),
            Markup::Math => MATH_WITH_SPACE.contains(&tag),
        };
        match (has_space, is_preformatted) {
            (false, _) => Self::Drop,
            (true, false) => Self::Collapse,
            (true, true) => Self::Keep,
        }
    }

    /// What stays of a text of white space; nothing, if it is dropped.
    pub(super) fn apply(self, text: &str) -> &str {
        match self {
            Self::Drop => "",
            Self::Collapse if text.bytes().all(|byte| byte.is_ascii_whitespace()) => {
                // A line break says in the page's source that there was one.
                let at = text.find('\n').unwrap_or_default();
                text.get(at..=at).unwrap_or_default()
            }
            Self::Collapse | Self::Keep => text,
        }
    }
}

/// Whether white space counts in an HTML element, and in all that it contains.
pub(super) fn is_preformatted(tag: &str) -> bool {
    PREFORMATTED.contains(&tag)
}

/// Whether JavaScript's `trim()` would leave nothing of a text.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c == '\u{feff}' || c.is_whitespace() && c != '\u{85}')
}

impl Node<'_> {
    /// The text of a node that clients do not count.
    pub(super) fn space(&self) -> Option<&str> {
        match self {
            Self::Text(text) if is_blank(text) => Some(text),
            _ => None,
        }
    }

    /// Whether clients count the node.
    pub(super) fn is_counted(&self) -> bool {
        self.space().is_none()
    }
}

/// The white space before each counted child, and behind the last.
pub(super) struct Gaps<'a>(Vec<Option<&'a Node<'a>>>);

impl<'a> Gaps<'a> {
    pub(super) fn of(children: &'a [Node<'a>]) -> Self {
        let (mut gaps, mut gap) = (Vec::with_capacity(children.len() + 1), None);
        for child in children {
            if child.is_counted() {
                gaps.push(gap.take());
            } else {
                gap = Some(child);
            }
        }
        gaps.push(gap);
        Self(gaps)
    }

    fn text(&self, index: usize) -> &'a str {
        self.0[index].and_then(Node::space).unwrap_or_default()
    }

    fn joined(&self, indexes: std::ops::RangeInclusive<usize>) -> String {
        indexes.map(|index| self.text(index)).collect()
    }
}

/// An element whose children have been paired, and the white space that it has and is to have.
pub(super) struct SpacedChildren<'a, 'b> {
    pub(super) parent: &'a Element<'a>,
    pub(super) is_preformatted: bool,
    /// The counted children that it is to have.
    pub(super) new: &'b [&'a Node<'a>],
    pub(super) before: Gaps<'a>,
    pub(super) after: Gaps<'a>,
}

impl<'a> SpacedChildren<'a, '_> {
    /// The white space to create, each with the index of the child that it precedes. `None` where some would have to go:
    /// no path leads there.
    ///
    /// `pairs` are old and new indexes of kept children; `created` are new children, each with its index on the page. A
    /// created child stands right before another one, so it takes the white space before that; a child that moves takes
    /// along what is before it.
    pub(super) fn missing(
        &self,
        pairs: &[(usize, usize)],
        created: &[(usize, usize)],
    ) -> Option<Vec<(usize, &'a Node<'a>)>> {
        let mut missing = Vec::new();
        let mut created = created.iter().peekable();
        let (mut page_index, mut old_index) = (0, 0);
        let ends = pairs.iter().map(|(old, new)| (*old, Some(*new))).chain([(self.before.0.len() - 1, None)]);
        for (old, kept) in ends {
            // What was before the removed children is before the next one that is kept.
            let mut gap = self.before.joined(old_index..=old);
            old_index = old + 1;
            while let Some((_, index)) = created.next_if(|(at, _)| *at == page_index) {
                self.check(*index, &std::mem::take(&mut gap), page_index, &mut missing)?;
                page_index += 1;
            }
            self.check(kept.unwrap_or(self.new.len()), &gap, page_index, &mut missing)?;
            page_index += 1;
        }
        Some(missing)
    }

    /// Compares the white space before a child on the page with what is to be there.
    fn check(
        &self,
        child: usize,
        gap: &str,
        page_index: usize,
        missing: &mut Vec<(usize, &'a Node<'a>)>,
    ) -> Option<()> {
        match self.after.0[child] {
            Some(space) if gap.is_empty() => missing.push((page_index, space)),
            Some(_) => return self.is_like(gap, self.after.text(child)).then_some(()),
            None if gap.is_empty() => {}
            None => return (!self.is_seen(gap, child)).then_some(()),
        }
        Some(())
    }

    fn is_like(&self, gap: &str, wanted: &str) -> bool {
        are_alike(gap, wanted, self.is_preformatted)
    }

    /// Whether white space before a child would be seen.
    fn is_seen(&self, gap: &str, child: usize) -> bool {
        if self.is_preformatted || !gap.bytes().all(|byte| byte.is_ascii_whitespace()) {
            return true;
        }
        let is_inline = |edge: Option<bool>| edge.unwrap_or(!BLOCKS.contains(&&*self.parent.tag));
        let before = (0..child).rev().find_map(|index| {
            is_inline_edge(self.new[index], |text| text.ends_with(SPACES)).or_else(|| self.is_inline_gap(index))
        });
        let after = (child..self.new.len()).find_map(|index| {
            is_inline_edge(self.new[index], |text| text.starts_with(SPACES)).or_else(|| self.is_inline_gap(index + 1))
        });
        is_inline(before) && is_inline(after)
    }

    /// Whether white space beside a gap is seen; `None` where there is no gap.
    fn is_inline_gap(&self, index: usize) -> Option<bool> {
        let text = self.after.0[index].and_then(Node::space)?;
        Some(!text.bytes().all(|byte| byte.is_ascii_whitespace()))
    }
}

/// What a browser joins with white space beside it.
const SPACES: [char; 4] = [' ', '\n', '\t', '\r'];

/// Whether white space beside a node is seen; `None` for nodes that show nothing.
fn is_inline_edge(node: &Node<'_>, has_space: impl Fn(&str) -> bool) -> Option<bool> {
    match node {
        Node::Text(text) => Some(!has_space(text)),
        Node::Comment(_) => None,
        Node::Element(element) if HIDDEN.contains(&&*element.tag) => None,
        Node::Element(element) => Some(!BLOCKS.contains(&&*element.tag)),
    }
}

/// Whether two texts of white space look the same.
pub(super) fn are_alike(a: &str, b: &str, is_preformatted: bool) -> bool {
    if is_preformatted || a == b {
        return a == b;
    }
    let is_space = |byte: u8| byte.is_ascii_whitespace();
    if a.bytes().all(is_space) && b.bytes().all(is_space) {
        return a.is_empty() == b.is_empty();
    }
    // Some of it takes room of its own, as &nbsp; does.
    let words = |text: &str| text.split(|c: char| c.is_ascii_whitespace()).map(str::to_owned).collect::<Vec<_>>();
    words(a) == words(b)
}
