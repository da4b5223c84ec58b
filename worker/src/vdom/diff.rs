//! Compares two trees and makes patches that are correct in the order in which clients apply them.
//!
//! diffyne.js applies removes first and then everything else, deepest path first (a stable sort). So the paths of the
//! second group are those after the removes and before the creates of the same list. Within one list of children,
//! changes of kept nodes come before creates; moves come last, as their path is the parent's. The client's order of
//! removes is not transitive for different depths. So all removes have one depth here, and a parent whose removes would
//! have another is replaced. So is one in which white space would have to go, as no path leads there.

use std::collections::{BTreeSet, HashMap};

use super::align::{Alignment, align, are_aligned};
use super::node::{Element, Node};
use super::patch::{Move, Moves, Patch, Path};
use super::space::{self, Gaps, SpacedChildren, are_alike};

/// The most indexes in all paths of a list of patches. Beyond it the root is replaced: the paths of a deep and wide tree
/// could be many times as large as the page.
const PATH_INDEXES_MAX: usize = 1_000_000;
/// The attribute of an element whose children are the items of a stream: the page alone has them.
pub const STREAM: &str = "diff:stream";
/// The attribute of an element whose children the page that shows the component has given it.
pub const SLOT: &str = "diff:slot";
/// Elements with more attributes compare them through a hash table.
const LINEAR_ATTRIBUTES_MAX: usize = 16;

/// The patches that turn one tree into the other, for clients that count the children of a reorder as paths do.
pub fn diff<'a>(old: &'a Node<'a>, new: &'a Node<'a>) -> Vec<Patch<'a>> {
    diff_content(old, new, Moves::Reorder, Content::Rendered).patches
}

/// The patches that turn one tree into the other.
pub fn diff_page<'a>(old: &'a Node<'a>, new: &'a Node<'a>, moves: Moves) -> Vec<Patch<'a>> {
    diff_content(old, new, moves, Content::Rendered).patches
}

/// The same as [`diff_page`] for an element at this path, of two trees that are the same but for it. `None` where the page
/// is to be replaced as a whole.
pub(crate) fn diff_within<'a>(
    old: &'a Node<'a>,
    new: &'a Node<'a>,
    moves: Moves,
    path: &Path,
    is_preformatted: bool,
) -> Option<Vec<Patch<'a>>> {
    let run =
        |remove_depth| Differ::new(moves, Content::Rendered, path.clone(), remove_depth).run(old, new, is_preformatted);
    run_within_one_depth(run).map(|difference| difference.patches)
}

/// The same as [`diff_page`] for a component with streams and slots, whose elements keep the children that the page has.
/// Other elements with `diff:stream` have the children that are rendered.
pub fn diff_streams<'a>(
    old: &'a Node<'a>,
    new: &'a Node<'a>,
    moves: Moves,
    is_stream: &'a dyn Fn(&str) -> bool,
) -> Difference<'a> {
    diff_content(old, new, moves, Content::OnPage(is_stream))
}

/// What turns one tree into another.
#[derive(Debug, Default)]
pub struct Difference<'a> {
    /// The patches.
    pub patches: Vec<Patch<'a>>,
    /// The elements of streams that stay, by the stream's name: their paths among the patches.
    pub streams: Vec<(&'a str, Path)>,
}

/// What the children of elements for streams and slots are.
#[derive(Clone, Copy)]
enum Content<'a> {
    /// As rendered.
    Rendered,
    /// What the page has. The function knows the names of streams.
    OnPage(&'a dyn Fn(&str) -> bool),
}

fn diff_content<'a>(old: &'a Node<'a>, new: &'a Node<'a>, moves: Moves, content: Content<'a>) -> Difference<'a> {
    let patches = |patches| Difference { patches, streams: Vec::new() };
    let whole = || patches(vec![Patch::Create(Vec::new(), new)]);
    match (old, new) {
        (Node::Element(a), Node::Element(b)) if a.tag == b.tag => {
            let run = |remove_depth| Differ::new(moves, content, Path::new(), remove_depth).run(old, new, false);
            run_within_one_depth(run).unwrap_or_else(whole)
        }
        (Node::Text(a), Node::Text(b)) | (Node::Comment(a), Node::Comment(b)) if a == b => patches(Vec::new()),
        _ => whole(),
    }
}

/// Compares, and where there are removes at several depths, compares again with those of one of them alone.
fn run_within_one_depth<'a>(run: impl Fn(Option<usize>) -> Option<Difference<'a>>) -> Option<Difference<'a>> {
    let first = run(None)?;
    let removes = first.patches.iter().filter(|patch| matches!(patch, Patch::Remove(_)));
    let depths: BTreeSet<usize> = removes.map(|patch| patch.path().len()).collect();
    if depths.len() <= 1 { Some(first) } else { run(depths.first().copied()) }
}

/// The rest of the comparison, as a stack: deep trees must not overflow the thread's.
enum Task<'a> {
    /// Compare a child before and after.
    Child { place: Place, old: &'a Node<'a>, new: &'a Node<'a>, is_preformatted: bool },
    /// Create and move children of a node at this depth.
    Arrange { depth: usize, arrangement: Arrangement, new: Vec<&'a Node<'a>>, spaces: Vec<(usize, &'a Node<'a>)> },
}

/// Where a child is: its depth, and its index on the page. The path above it is that of the node before it in the tree.
#[derive(Clone, Copy)]
struct Place {
    depth: usize,
    index: usize,
}

struct Differ<'a> {
    patches: Vec<Patch<'a>>,
    /// Indexes in all paths so far.
    path_indexes: usize,
    tasks: Vec<Task<'a>>,
    /// The path of the node that is compared now.
    path: Path,
    /// The only depth at which removes are allowed, where there would be several.
    remove_depth: Option<usize>,
    moves: Moves,
    content: Content<'a>,
    streams: Vec<(&'a str, Path)>,
}

impl<'a> Differ<'a> {
    /// Patches have paths below this one.
    fn new(moves: Moves, content: Content<'a>, path: Path, remove_depth: Option<usize>) -> Self {
        Self {
            patches: Vec::new(),
            path_indexes: 0,
            tasks: Vec::new(),
            path,
            remove_depth,
            moves,
            content,
            streams: Vec::new(),
        }
    }

    /// All patches; `None` when their paths have too many indexes.
    fn run(mut self, old: &'a Node<'a>, new: &'a Node<'a>, is_preformatted: bool) -> Option<Difference<'a>> {
        self.compare(old, new, is_preformatted);
        while let Some(task) = self.tasks.pop() {
            match task {
                Task::Child { place, old, new, is_preformatted } => {
                    self.path.truncate(place.depth);
                    self.path.push(place.index);
                    self.compare(old, new, is_preformatted);
                }
                Task::Arrange { depth, arrangement, new, spaces } => {
                    self.path.truncate(depth);
                    self.arrange(&arrangement, &new, &spaces);
                }
            }
            if self.path_indexes > PATH_INDEXES_MAX {
                return None;
            }
        }
        Some(Difference { patches: self.patches, streams: self.streams })
    }

    fn add(&mut self, patch: Patch<'a>) {
        self.path_indexes += patch.path().len() + 1;
        self.patches.push(patch);
    }

    fn compare(&mut self, old: &'a Node<'a>, new: &'a Node<'a>, is_preformatted: bool) {
        match (old, new) {
            (Node::Element(a), Node::Element(b)) if is_another_field(a, b) => {
                self.add(Patch::Replace(self.path.clone(), new));
            }
            (Node::Element(a), Node::Element(b)) => {
                self.compare_attributes(a, b);
                self.compare_children(a, b, new, is_preformatted || space::is_preformatted(&b.tag));
            }
            (Node::Text(a), Node::Text(b)) if a == b => {}
            (Node::Text(_), Node::Text(b)) => self.add(Patch::Text(self.path.clone(), b)),
            (Node::Comment(a), Node::Comment(b)) if a == b => {}
            _ => self.add(Patch::Replace(self.path.clone(), new)),
        }
    }

    fn compare_attributes(&mut self, old: &'a Element<'a>, new: &'a Element<'a>) {
        if old.attributes == new.attributes {
            return;
        }
        let (before, after) = (AttributeTable::of(old), AttributeTable::of(new));
        let all = |element: &'a Element<'a>| element.attributes.iter().map(|(name, value)| (&**name, &**value));
        let set: Vec<_> = all(new).filter(|(name, value)| before.get(name) != Some(*value)).collect();
        let remove: Vec<_> = all(old).map(|(name, _)| name).filter(|name| after.get(name).is_none()).collect();
        if !set.is_empty() || !remove.is_empty() {
            self.add(Patch::Attributes { path: self.path.clone(), set, remove });
        }
    }

    fn compare_children(
        &mut self,
        old: &'a Element<'a>,
        new: &'a Element<'a>,
        node: &'a Node<'a>,
        is_preformatted: bool,
    ) {
        if let Content::OnPage(is_stream) = self.content
            && let Some(stays) = stays(old, new, is_stream)
        {
            match (stays, new.attribute(STREAM)) {
                (false, _) => self.replace(node),
                (true, Some(stream)) => self.streams.push((stream, self.path.clone())),
                (true, None) => {}
            }
            return;
        }
        // What a template holds is no child of it for a browser, so no path leads there.
        if new.tag == "template" && old.children != new.children {
            return self.replace(node);
        }
        if are_aligned(&old.children, &new.children) {
            return self.compare_aligned(old, new, node, is_preformatted);
        }
        let (before, after) = (counted(&old.children), counted(&new.children));
        let is_spaced = before.len() < old.children.len() || after.len() < new.children.len();
        let Alignment { pairs, unmoved } = align(&before, &after, self.moves_where(is_spaced));
        let removes = before.len() > pairs.len();
        if removes && self.remove_depth.is_some_and(|allowed| allowed != self.path.len() + 1) {
            return self.replace(node);
        }
        let arrangement = Arrangement::of(&pairs, &unmoved, after.len());
        let mut spaces = Vec::new();
        if is_spaced {
            let (before, after_gaps) = (Gaps::of(&old.children), Gaps::of(&new.children));
            let children = SpacedChildren { parent: new, is_preformatted, new: &after, before, after: after_gaps };
            let Some(missing) = children.missing(&pairs, &arrangement.created) else { return self.replace(node) };
            spaces = missing;
        }
        let mut kept = pairs.iter().peekable();
        for index in 0..before.len() {
            if kept.next_if(|(at, _)| *at == index).is_none() {
                self.add(Patch::Remove(child_path(&self.path, index)));
            }
        }
        let arrange = self.tasks.len();
        for (index, (from, to)) in pairs.iter().enumerate().rev() {
            self.add_child(index, before[*from], after[*to], is_preformatted);
        }
        if !arrangement.is_empty() || !spaces.is_empty() {
            let depth = self.path.len();
            self.tasks.insert(arrange, Task::Arrange { depth, arrangement, new: after, spaces });
        }
    }

    /// Compares children that are all in their places, and white space as well.
    fn compare_aligned(
        &mut self,
        old: &'a Element<'a>,
        new: &'a Element<'a>,
        node: &'a Node<'a>,
        is_preformatted: bool,
    ) {
        let children = old.children.iter().zip(&new.children);
        let is_other_space = |(old, new): (&Node<'_>, &Node<'_>)| match (old.space(), new.space()) {
            (Some(old), Some(new)) => !are_alike(old, new, is_preformatted),
            _ => false,
        };
        if children.clone().any(is_other_space) {
            return self.replace(node);
        }
        let mut index = new.children.iter().filter(|child| child.is_counted()).count();
        for (old, new) in children.rev().filter(|(_, new)| new.is_counted()) {
            index -= 1;
            self.add_child(index, old, new, is_preformatted);
        }
    }

    fn moves_where(&self, is_spaced: bool) -> Moves {
        if is_spaced && self.moves == Moves::ReorderUnspaced { Moves::Recreate } else { self.moves }
    }

    /// Leaves a child to be compared, unless it is a text or comment that stays as it is.
    fn add_child(&mut self, index: usize, old: &'a Node<'a>, new: &'a Node<'a>, is_preformatted: bool) {
        match (old, new) {
            (Node::Text(a), Node::Text(b)) | (Node::Comment(a), Node::Comment(b)) if a == b => {}
            _ => {
                let place = Place { depth: self.path.len(), index };
                self.tasks.push(Task::Child { place, old, new, is_preformatted });
            }
        }
    }

    /// Replaces an element whose attributes have just been compared: the new one has them already.
    fn replace(&mut self, node: &'a Node<'a>) {
        if matches!(self.patches.last(), Some(Patch::Attributes { path: last, .. }) if *last == self.path) {
            self.patches.pop();
        }
        self.add(Patch::Replace(self.path.clone(), node));
    }

    /// Creates new children beside unmoved ones, then white space before children, and then moves the others.
    fn arrange(&mut self, arrangement: &Arrangement, new: &[&'a Node<'a>], spaces: &[(usize, &'a Node<'a>)]) {
        for (at, index) in &arrangement.created {
            self.add(Patch::Create(child_path(&self.path, *at), new[*index]));
        }
        for (at, space) in spaces {
            self.add(Patch::Create(child_path(&self.path, *at), space));
        }
        if !arrangement.moving.is_empty() {
            let moves = moves(arrangement.page.clone(), arrangement.moving.iter().copied());
            self.add(Patch::Reorder(self.path.clone(), moves));
        }
    }
}

/// The counted children of a node.
fn counted<'a>(children: &'a [Node<'a>]) -> Vec<&'a Node<'a>> {
    children.iter().filter(|child| child.is_counted()).collect()
}

/// What happens to the children of a node, besides changes within them.
struct Arrangement {
    /// Created children: the index on the page and that in the new list. Each is right with those before it in place.
    created: Vec<(usize, usize)>,
    /// The children in the page's order after that, each by its index in the new list; empty where none moves.
    page: Vec<usize>,
    /// New indexes of the children that move.
    moving: Vec<usize>,
}

impl Arrangement {
    fn of(pairs: &[(usize, usize)], unmoved: &[usize], new: usize) -> Self {
        let mut changes = vec![ChildChange::Created; new];
        for (place, (_, to)) in pairs.iter().enumerate() {
            changes[*to] = ChildChange::Moved(place);
        }
        for to in unmoved {
            if let ChildChange::Moved(place) = changes[*to] {
                changes[*to] = ChildChange::Unmoved(place);
            }
        }
        // The index after the last created or unmoved child; created ones shift the kept ones.
        let (mut at, mut created, mut moving) = (0, Vec::new(), Vec::new());
        for (index, change) in changes.iter().enumerate() {
            match change {
                ChildChange::Created => {
                    created.push((at, index));
                    at += 1;
                }
                ChildChange::Unmoved(place) => at = place + created.len() + 1,
                ChildChange::Moved(_) => moving.push(index),
            }
        }
        let page = if moving.is_empty() { Vec::new() } else { order_on_page(pairs, &created) };
        Self { created, page, moving }
    }

    fn is_empty(&self) -> bool {
        self.created.is_empty() && self.moving.is_empty()
    }
}

/// The children in the page's order after the creates, each by its index in the new list.
fn order_on_page(pairs: &[(usize, usize)], created: &[(usize, usize)]) -> Vec<usize> {
    let mut page = Vec::with_capacity(pairs.len() + created.len());
    let (mut kept, mut created) = (pairs.iter().map(|(_, to)| *to), created.iter().peekable());
    loop {
        let next = match created.next_if(|(at, _)| *at == page.len()) {
            Some((_, index)) => Some(*index),
            None => kept.next(),
        };
        match next {
            Some(index) => page.push(index),
            None => return page,
        }
    }
}

/// Moves each moving child behind its predecessor in the new list.
fn moves(mut page: Vec<usize>, moving: impl Iterator<Item = usize>) -> Vec<Move> {
    let place = |page: &[usize], child: usize| page.iter().position(|other| *other == child);
    let mut moves = Vec::new();
    for index in moving {
        let from = place(&page, index).unwrap_or_default();
        let before = index.checked_sub(1).and_then(|before| place(&page, before));
        let to = before.map_or(0, |before| before + 1);
        moves.push(Move { from, to });
        page.remove(from);
        page.insert(if to > from { to - 1 } else { to }, index);
    }
    moves
}

/// Whether an element for a stream or a slot is still that; `None` if it neither was nor is one.
fn stays(old: &Element<'_>, new: &Element<'_>, is_stream: &dyn Fn(&str) -> bool) -> Option<bool> {
    let named = |element: &Element<'_>, attribute| element.attribute(attribute).map(str::to_owned);
    let held = |element: &Element<'_>| [named(element, STREAM).filter(|name| is_stream(name)), named(element, SLOT)];
    let (before, after) = (held(old), held(new));
    (before.iter().chain(&after).any(Option::is_some)).then(|| before == after)
}

/// Whether a field has become one of another kind: what a browser keeps of the old one would show in the new one.
fn is_another_field(old: &Element<'_>, new: &Element<'_>) -> bool {
    match &*new.tag {
        "input" => old.attribute("type") != new.attribute("type"),
        "select" => old.attribute("multiple").is_some() != new.attribute("multiple").is_some(),
        _ => false,
    }
}

/// An element's attributes by name: in a hash table where they are many.
enum AttributeTable<'a> {
    Linear(&'a Element<'a>),
    Hashed(HashMap<&'a str, &'a str>),
}

impl<'a> AttributeTable<'a> {
    fn of(element: &'a Element<'a>) -> Self {
        if element.attributes.len() <= LINEAR_ATTRIBUTES_MAX {
            return Self::Linear(element);
        }
        Self::Hashed(element.attributes.iter().map(|(name, value)| (&**name, &**value)).collect())
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        match self {
            Self::Linear(element) => element.attribute(name),
            Self::Hashed(values) => values.get(name).copied(),
        }
    }
}

/// What happens to a child, and its index among the kept children.
#[derive(Clone, Copy)]
enum ChildChange {
    Created,
    Unmoved(usize),
    Moved(usize),
}

fn child_path(path: &Path, index: usize) -> Path {
    let mut child = Path::with_capacity(path.len() + 1);
    child.extend(path);
    child.push(index);
    child
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
