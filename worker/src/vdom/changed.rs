//! The innermost element outside of which two plain HTMLs are the same. Only that one is read to a tree of each.
//!
//! What the parser does with the HTML behind a place depends on nothing but the elements that are open there. So where
//! one HTML is plain, and an element begins at the same place in the other one, is plain there, and ends where the
//! HTMLs begin to be the same again, the other one is plain as well, and all nodes outside are the same. Where its start
//! tag has changed, too, it has to be the same child for a comparison: of the same name and with the same key.

use std::borrow::Cow;

use super::align::is_same_child;
use super::node::{Attribute, Node};
use super::patch::Path;
use super::plain::{Builder, OpenElement, Parser, Tag, Tree, has_odd_bytes};
use super::space::is_blank;

/// Smaller HTML is read as a whole sooner than an element is found.
const BYTES_MIN: usize = 1024;

/// An element before and after, in trees that are the same but for it.
pub(crate) struct ChangedElement<'a> {
    /// Its path from the page's root.
    pub(crate) path: Path,
    /// Whether it stands in an element whose white space counts.
    pub(crate) is_preformatted: bool,
    pub(crate) old: Node<'a>,
    pub(crate) new: Node<'a>,
}

/// Finds the element. `None` where HTML is not plain, where nothing would be saved, or where the change is outside of the
/// page's root. `is_known` says that the old HTML is known to be plain.
pub(crate) fn changed_element<'a>(old: &'a str, new: &'a str, is_known: bool) -> Option<ChangedElement<'a>> {
    if old.len().min(new.len()) < BYTES_MIN || !is_known && has_odd_bytes(old) || has_odd_bytes(new) {
        return None;
    }
    let start = common_start(old.as_bytes(), new.as_bytes());
    let end = common_end(&old.as_bytes()[start..], &new.as_bytes()[start..]);
    // Most of it has changed.
    if (start + end) * 2 < old.len().max(new.len()) {
        return None;
    }
    let change = Change { start, end: old.len() - end };
    let (found, around) = find(old, is_known, change, TagChange::Allowed)?;
    let is_tag_changed = found.is_tag_changed;
    read(old, new, found, around).or_else(|| {
        // It is another child than before, or no longer there: what is around it may be the same.
        let (found, around) = is_tag_changed.then(|| find(old, is_known, change, TagChange::Refused)).flatten()?;
        read(old, new, found, around)
    })
}

/// Finds the element in the old HTML, with those that are open around it.
fn find(old: &str, is_known: bool, change: Change, tag_change: TagChange) -> Option<(Found, Vec<OpenElement<'_>>)> {
    let mut parser = Parser::new(old, Outline::around(change, tag_change));
    let mut found = None;
    while parser.at < old.len() {
        parser.step()?;
        if found.is_none()
            && let Some(element) = parser.builder.found.take()
        {
            // It was closed just now: what is open are the elements around it.
            found = Some((element, parser.open.clone()));
            if is_known {
                return found;
            }
        }
    }
    parser.open.is_empty().then_some(found).flatten()
}

/// Reads the element in both.
fn read<'a>(old: &'a str, new: &'a str, found: Found, around: Vec<OpenElement<'a>>) -> Option<ChangedElement<'a>> {
    let is_preformatted = around.last().is_some_and(|parent| parent.is_preformatted);
    // Both are the same behind it.
    let end_in_new = new.len() - (old.len() - found.end);
    let old = element(old, found.start, found.end, around.clone())?;
    let new = element(new, found.start, end_in_new, around)?;
    is_same_child(&old, &new).then_some(ChangedElement { path: found.path, is_preformatted, old, new })
}

/// Reads the element between two places to its tree; `None` where it is not plain or does not end there.
fn element<'a>(html: &'a str, start: usize, end: usize, around: Vec<OpenElement<'a>>) -> Option<Node<'a>> {
    let depth = around.len();
    let mut parser = Parser::within(html, Tree::default(), start, around);
    parser.step()?;
    while parser.open.len() > depth {
        if parser.at >= end {
            return None;
        }
        parser.step()?;
    }
    let mut nodes = parser.builder.into_nodes();
    (parser.at == end && nodes.len() == 1).then(|| nodes.pop()).flatten()
}

/// How many bytes two texts have in common at their start.
fn common_start(a: &[u8], b: &[u8]) -> usize {
    const STEP: usize = 64;
    let steps = a.chunks_exact(STEP).zip(b.chunks_exact(STEP)).take_while(|(a, b)| a == b).count();
    let start = steps * STEP;
    start + a[start..].iter().zip(&b[start..]).take_while(|(a, b)| a == b).count()
}

/// How many bytes two texts have in common at their end.
fn common_end(a: &[u8], b: &[u8]) -> usize {
    const STEP: usize = 64;
    let steps = a.rchunks_exact(STEP).zip(b.rchunks_exact(STEP)).take_while(|(a, b)| a == b).count();
    let end = steps * STEP;
    let (a, b) = (&a[..a.len() - end], &b[..b.len() - end]);
    end + a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count()
}

/// The part of the old HTML that is another one in the new HTML.
#[derive(Clone, Copy)]
struct Change {
    start: usize,
    end: usize,
}

/// Whether the start tag of the element may have changed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TagChange {
    Allowed,
    Refused,
}

/// An element in the HTML.
struct Found {
    path: Path,
    start: usize,
    end: usize,
    is_tag_changed: bool,
}

/// An open element.
struct OpenOutline {
    /// Its index among its siblings, as paths count.
    index: usize,
    /// Its children so far, as paths count.
    children: usize,
    tag: Tag,
}

/// The open elements of HTML that is read, and the innermost element around the change.
struct Outline {
    change: Change,
    tag_change: TagChange,
    open: Vec<OpenOutline>,
    /// Elements that were open with none around them, so far. The first one is the page's root.
    roots: usize,
    found: Option<Found>,
}

impl Outline {
    fn around(change: Change, tag_change: TagChange) -> Self {
        Self { change, tag_change, open: Vec::new(), roots: 0, found: None }
    }

    /// Whether the element that these tags belong to is around the change.
    fn is_around(&self, tag: Tag, end_tag: Tag) -> bool {
        let is_implied = tag.end == usize::MAX;
        let has_start = tag.end <= self.change.start
            || self.tag_change == TagChange::Allowed && !is_implied && tag.start < self.change.start;
        has_start && self.change.end <= end_tag.start
    }

    fn count_child(&mut self) -> usize {
        let Some(parent) = self.open.last_mut() else { return 0 };
        parent.children += 1;
        parent.children - 1
    }
}

impl<'a> Builder<'a> for Outline {
    fn text(&mut self, text: Cow<'a, str>) {
        if !is_blank(&text) {
            self.count_child();
        }
    }

    fn comment(&mut self, _: &'a str) {
        self.count_child();
    }

    fn void(&mut self, _: Cow<'a, str>, attributes: &mut Vec<Attribute<'a>>) {
        attributes.clear();
        self.roots += usize::from(self.open.is_empty());
        self.count_child();
    }

    fn open(&mut self, _: Cow<'a, str>, attributes: &mut Vec<Attribute<'a>>, tag: Tag) {
        attributes.clear();
        self.roots += usize::from(self.open.is_empty());
        let index = self.count_child();
        self.open.push(OpenOutline { index, children: 0, tag });
    }

    fn close(&mut self, end_tag: Tag) {
        let is_around = |open: &OpenOutline| self.is_around(open.tag, end_tag);
        // Elements close from the inside out.
        if self.found.is_none() && self.roots == 1 && self.open.last().is_some_and(is_around) {
            let path = self.open[1..].iter().map(|open| open.index).collect();
            if let Some(OpenOutline { tag, .. }) = self.open.last() {
                let is_tag_changed = tag.end > self.change.start;
                self.found = Some(Found { path, start: tag.start, end: end_tag.end, is_tag_changed });
            }
        }
        self.open.pop();
    }
}
