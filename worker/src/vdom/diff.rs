//! Two trees to a list of patches that is right under the order in which clients apply it.
//!
//! diffyne.js applies removes first, then everything else deepest path first (stable). So paths of the second group
//! are written as they are after the removes and before the creates of the same list; within one list of children,
//! changes of kept nodes come before creates. The client's order of removes is not transitive over mixed depths:
//! all removes of a list have one depth here, and a parent whose removes would have another is replaced.

use std::collections::{BTreeSet, HashMap};

use super::node::{Element, Node};
use super::patch::{Patch, Path};

/// Beyond this product of lengths, the middle of two lists of children is matched by position only.
const LCS_CELLS_MAX: usize = 40_000;

/// The patches that turn one tree into the other.
pub fn diff(old: &Node, new: &Node) -> Vec<Patch> {
    match (old, new) {
        (Node::Element(a), Node::Element(b)) if a.tag == b.tag => {
            let mut depths = BTreeSet::new();
            let mut first = Differ { patches: Vec::new(), remove_depth: None };
            first.element(&mut Vec::new(), a, b);
            for patch in &first.patches {
                if let Patch::Remove(path) = patch {
                    depths.insert(path.len());
                }
            }
            if depths.len() <= 1 {
                return first.patches;
            }
            let mut second = Differ { patches: Vec::new(), remove_depth: depths.first().copied() };
            second.element(&mut Vec::new(), a, b);
            second.patches
        }
        _ if old == new => Vec::new(),
        _ => vec![Patch::Create(Vec::new(), new.clone())],
    }
}

struct Differ {
    patches: Vec<Patch>,
    /// The only depth at which removes are allowed, once it is known that several are wanted.
    remove_depth: Option<usize>,
}

impl Differ {
    fn element(&mut self, path: &mut Path, old: &Element, new: &Element) {
        self.attributes(path, old, new);
        self.children(path, old, new);
    }

    fn attributes(&mut self, path: &Path, old: &Element, new: &Element) {
        if old.attributes == new.attributes {
            return;
        }
        let changed = |(name, value): &&(String, String)| old.attribute(name) != Some(value);
        let set: Vec<_> = new.attributes.iter().filter(changed).cloned().collect();
        let gone = |(name, _): &&(String, String)| new.attribute(name).is_none();
        let remove: Vec<_> = old.attributes.iter().filter(gone).map(|(name, _)| name.clone()).collect();
        if !set.is_empty() || !remove.is_empty() {
            self.patches.push(Patch::Attributes { path: path.clone(), set, remove });
        }
    }

    fn children(&mut self, path: &mut Path, old: &Element, new: &Element) {
        let pairs = align(&old.children, &new.children);
        let removes = old.children.len() > pairs.len();
        if removes && self.remove_depth.is_some_and(|allowed| allowed != path.len() + 1) {
            // The attributes are part of the new node.
            if matches!(self.patches.last(), Some(Patch::Attributes { path: last, .. }) if last == path) {
                self.patches.pop();
            }
            self.patches.push(Patch::Replace(path.clone(), Node::Element(new.clone())));
            return;
        }
        let mut kept = pairs.iter().peekable();
        for index in 0..old.children.len() {
            if kept.next_if(|(at, _)| *at == index).is_none() {
                self.patches.push(Patch::Remove(joined(path, index)));
            }
        }
        for (place, (from, to)) in pairs.iter().enumerate() {
            path.push(place);
            self.node(path, &old.children[*from], &new.children[*to]);
            path.pop();
        }
        let mut kept = pairs.iter().peekable();
        for (index, node) in new.children.iter().enumerate() {
            if kept.next_if(|(_, at)| *at == index).is_none() {
                self.patches.push(Patch::Create(joined(path, index), node.clone()));
            }
        }
    }

    fn node(&mut self, path: &mut Path, old: &Node, new: &Node) {
        match (old, new) {
            (Node::Element(a), Node::Element(b)) => self.element(path, a, b),
            (Node::Text(a), Node::Text(b)) if a == b => {}
            (Node::Text(_), Node::Text(b)) => self.patches.push(Patch::Text(path.clone(), b.clone())),
            _ if old == new => {}
            _ => self.patches.push(Patch::Replace(path.clone(), new.clone())),
        }
    }
}

fn joined(path: &Path, index: usize) -> Path {
    let mut path = path.clone();
    path.push(index);
    path
}

/// What two nodes have to share to count as the same one.
#[derive(PartialEq, Eq, Hash, Clone, Copy)]
enum Identity<'a> {
    Element(&'a str, Option<&'a str>),
    Text,
    Comment,
}

fn identity(node: &Node) -> Identity<'_> {
    match node {
        Node::Element(element) => Identity::Element(&element.tag, element.key()),
        Node::Text(_) => Identity::Text,
        Node::Comment(_) => Identity::Comment,
    }
}

/// Pairs of indexes, growing on both sides: what is kept.
fn align(old: &[Node], new: &[Node]) -> Vec<(usize, usize)> {
    let (a, b): (Vec<_>, Vec<_>) = (old.iter().map(identity).collect(), new.iter().map(identity).collect());
    let start = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let end = a[start..].iter().rev().zip(b[start..].iter().rev()).take_while(|(x, y)| x == y).count();
    let mut pairs: Vec<_> = (0..start).map(|index| (index, index)).collect();
    let (middle_a, middle_b) = (&a[start..a.len() - end], &b[start..b.len() - end]);
    let middle = if middle_a.len() * middle_b.len() <= LCS_CELLS_MAX {
        longest_common(middle_a, middle_b)
    } else {
        increasing_by_identity(middle_a, middle_b)
    };
    pairs.extend(middle.into_iter().map(|(x, y)| (x + start, y + start)));
    pairs.extend((0..end).rev().map(|back| (a.len() - 1 - back, b.len() - 1 - back)));
    pairs
}

/// A longest common subsequence, by the table.
fn longest_common(a: &[Identity<'_>], b: &[Identity<'_>]) -> Vec<(usize, usize)> {
    let width = b.len() + 1;
    let mut lengths = vec![0u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            lengths[i * width + j] = if a[i] == b[j] {
                lengths[(i + 1) * width + j + 1] + 1
            } else {
                lengths[(i + 1) * width + j].max(lengths[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            pairs.push((i, j));
            i += 1;
            j += 1;
        } else if lengths[(i + 1) * width + j] >= lengths[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

/// For long lists: the n-th of an identity pairs with the n-th of the same, and of these pairs a longest growing
/// chain is kept (patience sorting).
fn increasing_by_identity(a: &[Identity<'_>], b: &[Identity<'_>]) -> Vec<(usize, usize)> {
    let mut places: HashMap<Identity<'_>, std::collections::VecDeque<usize>> = HashMap::new();
    for (index, identity) in b.iter().enumerate() {
        places.entry(*identity).or_default().push_back(index);
    }
    let candidates: Vec<(usize, usize)> = a
        .iter()
        .enumerate()
        .filter_map(|(index, identity)| Some((index, places.get_mut(identity)?.pop_front()?)))
        .collect();
    let mut tails: Vec<usize> = Vec::new();
    let mut previous = vec![None; candidates.len()];
    for (index, (_, to)) in candidates.iter().enumerate() {
        let at = tails.partition_point(|tail| candidates[*tail].1 < *to);
        previous[index] = at.checked_sub(1).map(|before| tails[before]);
        if at == tails.len() {
            tails.push(index);
        } else {
            tails[at] = index;
        }
    }
    let mut chain = Vec::new();
    let mut next = tails.last().copied();
    while let Some(index) = next {
        chain.push(candidates[index]);
        next = previous[index];
    }
    chain.reverse();
    chain
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::vdom::parse;

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

        pub fn apply(root: &Node, list: &[Patch]) -> Node {
            if let [Patch::Create(path, node)] = list
                && path.is_empty()
            {
                return node.clone();
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
            let mut rest: Vec<&Patch> = list.iter().filter(|patch| !matches!(patch, Patch::Remove(_))).collect();
            rest.sort_by_key(|patch| std::cmp::Reverse(patch.path().len()));
            for patch in rest {
                match patch {
                    Patch::Remove(_) => {}
                    Patch::Create(path, node) => {
                        let (last, parent) = path.split_last().unwrap();
                        children(at(&mut root, parent)).insert(*last, node.clone());
                    }
                    Patch::Replace(path, node) => *at(&mut root, path) = node.clone(),
                    Patch::Text(path, text) => *at(&mut root, path) = Node::Text(text.clone()),
                    Patch::Attributes { path, set, remove } => {
                        let Node::Element(element) = at(&mut root, path) else { panic!("no element") };
                        element.attributes.retain(|(name, _)| !remove.contains(name));
                        for (name, value) in set {
                            element.attributes.retain(|(known, _)| known != name);
                            element.attributes.push((name.clone(), value.clone()));
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

    fn random_tree(rng: &mut fastrand::Rng, depth: usize) -> Node {
        if depth == 0 || rng.u8(..5) == 0 {
            return match rng.u8(..4) {
                0 => Node::Comment(rng.u8(..3).to_string()),
                _ => Node::Text(format!("t{}", rng.u8(..4))),
            };
        }
        let mut attributes = Vec::new();
        if rng.bool() {
            attributes.push(("key".to_owned(), rng.u8(..4).to_string()));
        }
        if rng.bool() {
            attributes.push(("class".to_owned(), rng.u8(..3).to_string()));
        }
        let children = (0..rng.usize(..6)).map(|_| random_tree(rng, depth - 1)).collect();
        let tag = ["div", "p", "b"][rng.usize(..3)].to_owned();
        Node::Element(Element { tag, attributes, children })
    }

    #[test]
    fn any_tree_becomes_any_other_under_the_clients_order() {
        for seed in 0..20_000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (old, new) = (random_tree(&mut rng, 4), random_tree(&mut rng, 4));
            let list = diff(&old, &new);
            assert_eq!(normal(&client::apply(&old, &list)), normal(&new), "seed {seed}: {list:?}");
        }
    }

    #[test]
    fn long_lists_are_matched_without_the_table() {
        let list = |keys: &[usize]| {
            let items: String = keys.iter().map(|key| format!("<li key={key}>{key}</li>")).collect();
            parse(&format!("<ul>{items}</ul>"))
        };
        let old: Vec<usize> = (0..1000).collect();
        let mut new: Vec<usize> = (1..1000).filter(|key| key % 7 != 3).collect();
        new.insert(10, 5000);
        let (old, new) = (list(&old), list(&new));
        let patches = diff(&old, &new);
        assert_eq!(normal(&client::apply(&old, &patches)), normal(&new));
        assert!(patches.len() < 150, "{}", patches.len());
    }
}
