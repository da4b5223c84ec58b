//! Two trees to a list of patches that is right under the order in which clients apply it.
//!
//! diffyne.js applies removes first, then everything else deepest path first (stable). So paths of the second group
//! are written as they are after the removes and before the creates of the same list; within one list of children,
//! changes of kept nodes come before creates, and moves, whose path is the parent's, after both. The client's order of
//! removes is not transitive over mixed depths: all removes of a list have one depth here, and a parent whose removes
//! would have another is replaced.

use std::collections::BTreeSet;

use super::align::{Alignment, align};
use super::node::{Element, Node};
use super::patch::{Move, Patch, Path};

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
        let Alignment { pairs, stays } = align(&old.children, &new.children);
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
        if pairs.len() < new.children.len() || stays.len() < pairs.len() {
            self.arrange(path, &pairs, &stays, &new.children);
        }
    }

    /// Creates what is new beside what stays, and then moves the rest to its place.
    fn arrange(&mut self, path: &Path, pairs: &[(usize, usize)], stays: &[usize], new: &[Node]) {
        // Each child by its place in the new list, in the order of the page.
        let mut page: Vec<usize> = pairs.iter().map(|(_, to)| *to).collect();
        let mut kinds = vec![Kind::New; new.len()];
        for (_, to) in pairs {
            kinds[*to] = Kind::Moves;
        }
        for to in stays {
            kinds[*to] = Kind::Stays;
        }
        let after = |page: &[usize], previous: Option<usize>| {
            let at = previous.and_then(|previous| page.iter().position(|child| *child == previous));
            at.map_or(0, |at| at + 1)
        };
        let mut previous = None;
        for (index, node) in new.iter().enumerate() {
            if kinds[index] == Kind::New {
                // Without moves what is before it is in its place already.
                let at = if stays.len() == pairs.len() { index } else { after(&page, previous) };
                page.insert(at, index);
                self.patches.push(Patch::Create(joined(path, at), node.clone()));
            }
            if kinds[index] != Kind::Moves {
                previous = Some(index);
            }
        }
        let mut moves = Vec::new();
        for index in (0..new.len()).filter(|index| kinds[*index] == Kind::Moves) {
            let from = page.iter().position(|child| *child == index).unwrap_or_default();
            let to = after(&page, index.checked_sub(1));
            moves.push(Move { from, to });
            page.remove(from);
            page.insert(if to > from { to - 1 } else { to }, index);
        }
        if !moves.is_empty() {
            self.patches.push(Patch::Reorder(path.clone(), moves));
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

/// What becomes of a child.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    New,
    Stays,
    Moves,
}

fn joined(path: &Path, index: usize) -> Path {
    let mut path = path.clone();
    path.push(index);
    path
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::vdom::parse;
    use proptest::prelude::*;

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
        let list = diff(&table("same"), &table("changed"));
        assert_eq!(serde_json::to_string(&list).unwrap(), r#"[{"t":"t","p":[0,57,1,0],"d":{"x":"changed"}}]"#);
    }

    #[test]
    fn one_moved_item_is_one_move() {
        let list = diff(&keyed_list(&[1, 2, 3, 4, 5]), &keyed_list(&[1, 5, 2, 3, 4]));
        assert_eq!(serde_json::to_string(&list).unwrap(), r#"[{"t":"o","p":[],"d":{"moves":[{"from":4,"to":1}]}}]"#);
        let list = diff(&keyed_list(&[1, 2, 3]), &keyed_list(&[2, 3, 1]));
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
