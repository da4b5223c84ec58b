//! Patches applied as a client applies them.

use super::*;
use proptest::prelude::*;

fn parse(html: &str) -> Node<'_> {
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

/// Applies patches as the protocol says clients do, independent of how they were made.
mod client {
    use super::*;

    fn children<'t, 'a>(node: &'t mut Node<'a>) -> &'t mut Vec<Node<'a>> {
        match node {
            Node::Element(element) => &mut element.children,
            _ => panic!("no children here"),
        }
    }

    fn at<'t, 'a>(root: &'t mut Node<'a>, path: &[usize]) -> &'t mut Node<'a> {
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

    pub fn apply<'a>(root: &Node<'a>, list: &[Patch<'a>]) -> Node<'a> {
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
                Patch::Text(path, text) => *at(&mut root, path) = Node::Text((*text).into()),
                Patch::Attributes { path, set, remove } => {
                    let Node::Element(element) = at(&mut root, path) else { panic!("no element") };
                    element.attributes.retain(|(name, _)| !remove.contains(&&**name));
                    for (name, value) in set {
                        element.attributes.retain(|(known, _)| known != name);
                        element.attributes.push(((*name).into(), (*value).into()));
                    }
                }
            }
        }
        root
    }
}

/// Attribute order means nothing.
fn normal<'a>(node: &Node<'a>) -> Node<'a> {
    let mut node = node.clone();
    if let Node::Element(element) = &mut node {
        element.attributes.sort();
        element.children = element.children.iter().map(normal).collect();
    }
    node
}

fn tree() -> impl Strategy<Value = Node<'static>> {
    let leaf = prop_oneof![
        (0..4u8).prop_map(|n| Node::Text(format!("t{n}").into())),
        (0..3u8).prop_map(|n| Node::Comment(n.to_string().into())),
    ];
    leaf.prop_recursive(4, 60, 7, |inner| {
        let tag = prop_oneof![Just("div"), Just("p"), Just("b")];
        let key = proptest::option::of(0..6u8);
        let class = proptest::option::of(0..3u8);
        (tag, key, class, proptest::collection::vec(inner, 0..7)).prop_map(|(tag, key, class, children)| {
            let named =
                |name: &'static str, value: Option<u8>| value.map(|value| (name.into(), value.to_string().into()));
            let attributes = named("key", key).into_iter().chain(named("class", class)).collect();
            Node::Element(Element { tag: tag.into(), attributes, children })
        })
    })
}

fn keyed_list(keys: &[usize]) -> String {
    let items: String = keys.iter().map(|key| format!("<li key={key}>{key}</li>")).collect();
    format!("<ul>{items}</ul>")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    #[test]
    fn any_tree_becomes_any_other_under_the_clients_order(old in tree(), new in tree()) {
        let list = diff(&old, &new);
        prop_assert_eq!(normal(&client::apply(&old, &list)), normal(&new), "{:?}", list);
    }

    #[test]
    fn a_shuffled_list_is_moved_and_nothing_is_created(
        (old, new) in Just((0..20usize).collect::<Vec<_>>()).prop_flat_map(|keys| (Just(keys.clone()), Just(keys).prop_shuffle()))
    ) {
        let (old, new) = (keyed_list(&old), keyed_list(&new));
        let (old, new) = (parse(&old), parse(&new));
        let list = diff(&old, &new);
        prop_assert!(list.iter().all(|patch| matches!(patch, Patch::Reorder(..))), "{:?}", list);
        prop_assert_eq!(&client::apply(&old, &list), &new);
    }
}

#[test]
fn one_changed_cell_of_a_large_table_is_one_patch() {
    let table = |changed: &str| {
        let row = |n: usize| {
            let text = if n == 57 { changed } else { "same" };
            format!("<tr diff:key=r{n}><td>{n}</td><td>{text}</td><td><b>x</b></td></tr>")
        };
        format!("<table><tbody>{}</tbody></table>", (0..100).map(row).collect::<String>())
    };
    let (old, new) = (table("same"), table("changed"));
    let (old, new) = (parse(&old), parse(&new));
    let list = diff(&old, &new);
    assert_eq!(serde_json::to_string(&list).unwrap(), r#"[{"t":"t","p":[0,57,1,0],"d":{"x":"changed"}}]"#);
}

#[test]
fn one_moved_item_is_one_move() {
    let moved = |old: &[usize], new: &[usize]| patches(&keyed_list(old), &keyed_list(new));
    assert_eq!(moved(&[1, 2, 3, 4, 5], &[1, 5, 2, 3, 4]), r#"[{"t":"o","p":[],"d":{"moves":[{"from":4,"to":1}]}}]"#);
    assert_eq!(moved(&[1, 2, 3], &[2, 3, 1]), r#"[{"t":"o","p":[],"d":{"moves":[{"from":0,"to":3}]}}]"#);
}

#[test]
fn long_lists_are_matched_without_the_table() {
    let old: Vec<usize> = (0..1000).collect();
    let mut new: Vec<usize> = (1..1000).filter(|key| key % 7 != 3).collect();
    new.insert(10, 5000);
    let (old, new) = (keyed_list(&old), keyed_list(&new));
    let (old, new) = (parse(&old), parse(&new));
    let patches = diff(&old, &new);
    assert_eq!(normal(&client::apply(&old, &patches)), normal(&new));
    assert!(patches.len() < 150, "{}", patches.len());
    let turned: Vec<usize> = (0..5000).rev().collect();
    let (old, new) = (keyed_list(&(0..5000).collect::<Vec<_>>()), keyed_list(&turned));
    let (old, new) = (parse(&old), parse(&new));
    assert_eq!(client::apply(&old, &diff(&old, &new)), new, "too many moves: created anew");
}
