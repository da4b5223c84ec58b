//! Two trees to a list of patches that is right under the order in which clients apply it.
//!
//! diffyne.js applies removes first, then everything else deepest path first (stable). So paths of the second group
//! are written as they are after the removes and before the creates of the same list; within one list of children,
//! changes of kept nodes come before creates, and moves, whose path is the parent's, after both. The client's order of
//! removes is not transitive over mixed depths: all removes of a list have one depth here, and a parent whose removes
//! would have another is replaced.

use std::collections::{BTreeSet, HashMap};

use super::align::{Alignment, align};
use super::node::{Element, Node};
use super::patch::{Move, Patch, Path};

/// Indexes in the paths of a list of patches: beyond it the root is made anew, as the paths of deep and wide trees
/// would be many times as large as the page.
const PATH_STEPS_MAX: usize = 1_000_000;
/// Attributes beyond which they are compared through a table.
const ATTRIBUTES_FEW: usize = 16;

/// The patches that turn one tree into the other.
pub fn diff<'a>(old: &'a Node, new: &'a Node) -> Vec<Patch<'a>> {
    let whole = || vec![Patch::Create(Vec::new(), new)];
    match (old, new) {
        (Node::Element(a), Node::Element(b)) if a.tag == b.tag => {
            let Some(first) = Differ::run(old, new, None) else { return whole() };
            let removes = first.iter().filter(|patch| matches!(patch, Patch::Remove(_)));
            let depths: BTreeSet<usize> = removes.map(|patch| patch.path().len()).collect();
            if depths.len() <= 1 {
                return first;
            }
            Differ::run(old, new, depths.first().copied()).unwrap_or_else(whole)
        }
        (Node::Text(a), Node::Text(b)) | (Node::Comment(a), Node::Comment(b)) if a == b => Vec::new(),
        _ => whole(),
    }
}

/// What is left to do, the last first: a stack of our own, as trees may be deep.
enum Task<'a> {
    /// Compare two children; the first is at this place in the page.
    Child(usize, &'a Node, &'a Node),
    /// Leave the child.
    Up,
    /// Create and move children of the node.
    Arrange { pairs: Vec<(usize, usize)>, stays: Vec<usize>, new: &'a [Node] },
}

struct Differ<'a> {
    patches: Vec<Patch<'a>>,
    /// Indexes in all paths so far.
    steps: usize,
    tasks: Vec<Task<'a>>,
    /// Where we are.
    path: Path,
    /// The only depth at which removes are allowed, once it is known that several are wanted.
    remove_depth: Option<usize>,
}

impl<'a> Differ<'a> {
    /// All patches; `None` when their paths would be too many.
    fn run(old: &'a Node, new: &'a Node, remove_depth: Option<usize>) -> Option<Vec<Patch<'a>>> {
        let mut differ = Self { patches: Vec::new(), steps: 0, tasks: Vec::new(), path: Path::new(), remove_depth };
        differ.node(old, new);
        while let Some(task) = differ.tasks.pop() {
            match task {
                Task::Child(place, old, new) => {
                    differ.path.push(place);
                    differ.tasks.push(Task::Up);
                    differ.node(old, new);
                }
                Task::Up => drop(differ.path.pop()),
                Task::Arrange { pairs, stays, new } => differ.arrange(&pairs, &stays, new),
            }
            if differ.steps > PATH_STEPS_MAX {
                return None;
            }
        }
        Some(differ.patches)
    }

    fn add(&mut self, patch: Patch<'a>) {
        self.steps += patch.path().len() + 1;
        self.patches.push(patch);
    }

    fn node(&mut self, old: &'a Node, new: &'a Node) {
        match (old, new) {
            (Node::Element(a), Node::Element(b)) => {
                self.attributes(a, b);
                self.children(a, b, new);
            }
            (Node::Text(a), Node::Text(b)) if a == b => {}
            (Node::Text(_), Node::Text(b)) => self.add(Patch::Text(self.path.clone(), b)),
            (Node::Comment(a), Node::Comment(b)) if a == b => {}
            _ => self.add(Patch::Replace(self.path.clone(), new)),
        }
    }

    fn attributes(&mut self, old: &'a Element, new: &'a Element) {
        if old.attributes == new.attributes {
            return;
        }
        let (before, after) = (Values::of(old), Values::of(new));
        let all = |element: &'a Element| element.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let set: Vec<_> = all(new).filter(|(name, value)| before.get(name) != Some(*value)).collect();
        let remove: Vec<_> = all(old).map(|(name, _)| name).filter(|name| after.get(name).is_none()).collect();
        if !set.is_empty() || !remove.is_empty() {
            self.add(Patch::Attributes { path: self.path.clone(), set, remove });
        }
    }

    fn children(&mut self, old: &'a Element, new: &'a Element, node: &'a Node) {
        let Alignment { pairs, stays } = align(&old.children, &new.children);
        let removes = old.children.len() > pairs.len();
        if removes && self.remove_depth.is_some_and(|allowed| allowed != self.path.len() + 1) {
            // The attributes are part of the new node.
            if matches!(self.patches.last(), Some(Patch::Attributes { path: last, .. }) if *last == self.path) {
                self.patches.pop();
            }
            self.add(Patch::Replace(self.path.clone(), node));
            return;
        }
        let mut kept = pairs.iter().peekable();
        for index in 0..old.children.len() {
            if kept.next_if(|(at, _)| *at == index).is_none() {
                self.add(Patch::Remove(joined(&self.path, index)));
            }
        }
        let children = pairs.iter().enumerate().rev();
        let children: Vec<_> =
            children.map(|(at, (from, to))| Task::Child(at, &old.children[*from], &new.children[*to])).collect();
        if pairs.len() < new.children.len() || stays.len() < pairs.len() {
            self.tasks.push(Task::Arrange { pairs, stays, new: &new.children });
        }
        self.tasks.extend(children);
    }

    /// Creates what is new beside what stays, and then moves the rest to its place.
    fn arrange(&mut self, pairs: &[(usize, usize)], stays: &[usize], new: &'a [Node]) {
        let mut kinds = vec![Kind::New; new.len()];
        for (place, (_, to)) in pairs.iter().enumerate() {
            kinds[*to] = Kind::Moves(place);
        }
        for to in stays {
            if let Kind::Moves(place) = kinds[*to] {
                kinds[*to] = Kind::Stays(place);
            }
        }
        // Behind what was created last, or behind what stays: before that are as many more as were created.
        let (mut at, mut created) = (0, Vec::new());
        for (index, node) in new.iter().enumerate() {
            match kinds[index] {
                Kind::New => {
                    self.add(Patch::Create(joined(&self.path, at), node));
                    created.push((at, index));
                    at += 1;
                }
                Kind::Stays(place) => at = place + created.len() + 1,
                Kind::Moves(_) => {}
            }
        }
        if stays.len() < pairs.len() {
            let page = page(pairs, &created);
            let moves = moves(page, (0..new.len()).filter(|index| matches!(kinds[*index], Kind::Moves(_))));
            self.add(Patch::Reorder(self.path.clone(), moves));
        }
    }
}

/// The children in the order of the page, each by its place in the new list: what was kept, and what was created.
fn page(pairs: &[(usize, usize)], created: &[(usize, usize)]) -> Vec<usize> {
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

/// Each child that is to move goes behind the one before it.
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

/// An element's attributes by name: through a table where they are many.
enum Values<'a> {
    Few(&'a Element),
    Many(HashMap<&'a str, &'a str>),
}

impl<'a> Values<'a> {
    fn of(element: &'a Element) -> Self {
        if element.attributes.len() <= ATTRIBUTES_FEW {
            return Self::Few(element);
        }
        Self::Many(element.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect())
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        match self {
            Self::Few(element) => element.attribute(name),
            Self::Many(values) => values.get(name).copied(),
        }
    }
}

/// What becomes of a child; and its place among those that are kept.
#[derive(Clone, Copy)]
enum Kind {
    New,
    Stays(usize),
    Moves(usize),
}

fn joined(path: &Path, index: usize) -> Path {
    let mut joined = Path::with_capacity(path.len() + 1);
    joined.extend(path);
    joined.push(index);
    joined
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(html: &str) -> Node {
        crate::vdom::parse(html).unwrap()
    }

    fn patches(old: &str, new: &str) -> String {
        serde_json::to_string(&diff(&parse(old), &parse(new))).unwrap()
    }

    #[test]
    fn patches_are_small_and_in_upstreams_form() {
        assert_eq!(patches("<p>a</p>", "<p>a</p>"), "[]");
        assert_eq!(patches("<p>a</p>", "<p>b</p>"), r#"[{"t":"t","p":[0],"d":{"x":"b"}}]"#);
        assert_eq!(
            patches("<p class=a id=x>a</p>", "<p class=b>a</p>"),
            r#"[{"t":"a","p":[],"d":{"s":{"class":"b"},"r":["id"]}}]"#
        );
        assert_eq!(
            patches("<ul><li key=1>1</ul>", "<ul><li key=2>2<li key=1>1</ul>"),
            r#"[{"t":"c","p":[0],"d":{"node":{"t":"li","a":{"key":"2"},"c":[{"x":"2"}],"k":"2"}}}]"#
        );
        assert_eq!(patches("<ul><li key=1>1<li key=2>2</ul>", "<ul><li key=2>2</ul>"), r#"[{"t":"r","p":[0]}]"#);
        assert_eq!(patches("<p>a</p>", "<b>a</b>"), r#"[{"t":"c","p":[],"d":{"node":{"t":"b","c":[{"x":"a"}]}}}]"#);
    }

    /// Applies a list as the protocol page says clients do; independent of how it was made.
    mod client {
        use super::*;

        fn children(node: &mut Node) -> &mut Vec<Node> {
            match node {
                Node::Element(element) => &mut element.children,
                _ => panic!("no children here"),
            }
        }

        fn at<'a>(root: &'a mut Node, path: &[usize]) -> &'a mut Node {
            path.iter().fold(root, |node, index| &mut children(node)[*index])
        }

        fn removes_order(a: &[usize], b: &[usize]) -> std::cmp::Ordering {
            for index in (0..a.len().min(b.len())).rev() {
                if a[index] != b[index] {
                    return b[index].cmp(&a[index]);
                }
            }
            b.len().cmp(&a.len())
        }

        pub fn apply(root: &Node, list: &[Patch<'_>]) -> Node {
            if let [Patch::Create(path, node)] = list
                && path.is_empty()
            {
                return (*node).clone();
            }
            let mut root = root.clone();
            let mut removes: Vec<&[usize]> = list
                .iter()
                .filter_map(|patch| if let Patch::Remove(path) = patch { Some(path.as_slice()) } else { None })
                .collect();
            removes.sort_by(|a, b| removes_order(a, b));
            for path in removes {
                let (last, parent) = path.split_last().unwrap();
                children(at(&mut root, parent)).remove(*last);
            }
            let mut rest: Vec<&Patch<'_>> = list.iter().filter(|patch| !matches!(patch, Patch::Remove(_))).collect();
            rest.sort_by_key(|patch| std::cmp::Reverse(patch.path().len()));
            for patch in rest {
                match patch {
                    Patch::Remove(_) => {}
                    Patch::Reorder(path, moves) => {
                        let list = children(at(&mut root, path));
                        for Move { from, to } in moves {
                            // The sibling it goes before is looked up first.
                            let node = list.remove(*from);
                            list.insert(if to > from { to - 1 } else { *to }, node);
                        }
                    }
                    Patch::Create(path, node) => {
                        let (last, parent) = path.split_last().unwrap();
                        children(at(&mut root, parent)).insert(*last, (*node).clone());
                    }
                    Patch::Replace(path, node) => *at(&mut root, path) = (*node).clone(),
                    Patch::Text(path, text) => *at(&mut root, path) = Node::Text((*text).to_owned()),
                    Patch::Attributes { path, set, remove } => {
                        let Node::Element(element) = at(&mut root, path) else { panic!("no element") };
                        element.attributes.retain(|(name, _)| !remove.contains(&name.as_str()));
                        for (name, value) in set {
                            element.attributes.retain(|(known, _)| known != name);
                            element.attributes.push(((*name).to_owned(), (*value).to_owned()));
                        }
                    }
                }
            }
            root
        }
    }

    /// Attribute order means nothing.
    fn normal(node: &Node) -> Node {
        let mut node = node.clone();
        if let Node::Element(element) = &mut node {
            element.attributes.sort();
            element.children = element.children.iter().map(normal).collect();
        }
        node
    }

    fn tree() -> impl Strategy<Value = Node> {
        let leaf = prop_oneof![
            (0..4u8).prop_map(|n| Node::Text(format!("t{n}"))),
            (0..3u8).prop_map(|n| Node::Comment(n.to_string())),
        ];
        leaf.prop_recursive(4, 60, 7, |inner| {
            let tag = prop_oneof![Just("div"), Just("p"), Just("b")];
            let key = proptest::option::of(0..6u8);
            let class = proptest::option::of(0..3u8);
            (tag, key, class, proptest::collection::vec(inner, 0..7)).prop_map(|(tag, key, class, children)| {
                let named = |name: &str, value: Option<u8>| value.map(|value| (name.to_owned(), value.to_string()));
                let attributes = named("key", key).into_iter().chain(named("class", class)).collect();
                Node::Element(Element { tag: tag.to_owned(), attributes, children })
            })
        })
    }

    fn keyed_list(keys: &[usize]) -> Node {
        let items: String = keys.iter().map(|key| format!("<li key={key}>{key}</li>")).collect();
        parse(&format!("<ul>{items}</ul>"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn any_tree_becomes_any_other_under_the_clients_order(old in tree(), new in tree()) {
            let list = diff(&old, &new);
            prop_assert_eq!(normal(&client::apply(&old, &list)), normal(&new), "{:?}", list);
        }

        #[test]
        fn a_shuffled_list_is_moved_and_nothing_made_anew(
            (old, new) in Just((0..20usize).collect::<Vec<_>>()).prop_flat_map(|keys| (Just(keys.clone()), Just(keys).prop_shuffle()))
        ) {
            let (old, new) = (keyed_list(&old), keyed_list(&new));
            let list = diff(&old, &new);
            prop_assert!(list.iter().all(|patch| matches!(patch, Patch::Reorder(..))), "{:?}", list);
            prop_assert_eq!(client::apply(&old, &list), new);
        }
    }

    #[test]
    fn one_changed_cell_of_a_large_table_is_one_patch() {
        let table = |changed: &str| {
            let row = |n: usize| {
                let text = if n == 57 { changed } else { "same" };
                format!("<tr diff:key=r{n}><td>{n}</td><td>{text}</td><td><b>x</b></td></tr>")
            };
            parse(&format!("<table><tbody>{}</tbody></table>", (0..100).map(row).collect::<String>()))
        };
        let (old, new) = (table("same"), table("changed"));
        let list = diff(&old, &new);
        assert_eq!(serde_json::to_string(&list).unwrap(), r#"[{"t":"t","p":[0,57,1,0],"d":{"x":"changed"}}]"#);
    }

    #[test]
    fn one_moved_item_is_one_move() {
        let (old, new) = (keyed_list(&[1, 2, 3, 4, 5]), keyed_list(&[1, 5, 2, 3, 4]));
        let list = diff(&old, &new);
        assert_eq!(serde_json::to_string(&list).unwrap(), r#"[{"t":"o","p":[],"d":{"moves":[{"from":4,"to":1}]}}]"#);
        let (old, new) = (keyed_list(&[1, 2, 3]), keyed_list(&[2, 3, 1]));
        let list = diff(&old, &new);
        assert_eq!(serde_json::to_string(&list).unwrap(), r#"[{"t":"o","p":[],"d":{"moves":[{"from":0,"to":3}]}}]"#);
    }

    #[test]
    fn long_lists_are_matched_without_the_table() {
        let old: Vec<usize> = (0..1000).collect();
        let mut new: Vec<usize> = (1..1000).filter(|key| key % 7 != 3).collect();
        new.insert(10, 5000);
        let (old, new) = (keyed_list(&old), keyed_list(&new));
        let patches = diff(&old, &new);
        assert_eq!(normal(&client::apply(&old, &patches)), normal(&new));
        assert!(patches.len() < 150, "{}", patches.len());
        let turned: Vec<usize> = (0..5000).rev().collect();
        let (old, new) = (keyed_list(&(0..5000).collect::<Vec<_>>()), keyed_list(&turned));
        assert_eq!(client::apply(&old, &diff(&old, &new)), new, "too many moves: made anew");
    }
}
