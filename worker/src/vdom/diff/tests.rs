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
        path.iter().fold(root, |node, index| {
            let list = children(node);
            let index = place(list, *index);
            &mut list[index]
        })
    }

    /// The place of a child by its index among those that clients count; the end, where there is none.
    fn place(list: &[Node<'_>], index: usize) -> usize {
        list.iter().enumerate().filter(|(_, node)| node.is_counted()).map(|(at, _)| at).nth(index).unwrap_or(list.len())
    }

    /// Moves a child with the white space before it.
    fn move_child(list: &mut Vec<Node<'_>>, from: usize, to: usize) {
        let with_space =
            |list: &[Node<'_>], at: usize| at - list[..at].iter().rev().take_while(|node| !node.is_counted()).count();
        let last = place(list, from);
        let (first, place) = (with_space(list, last), with_space(list, place(list, to)));
        let moved: Vec<_> = list.drain(first..=last).collect();
        let place = if place > first { place - moved.len() } else { place };
        list.splice(place..place, moved);
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
            let list = children(at(&mut root, parent));
            list.remove(place(list, *last));
        }
        let mut rest: Vec<&Patch<'_>> = list.iter().filter(|patch| !matches!(patch, Patch::Remove(_))).collect();
        rest.sort_by_key(|patch| std::cmp::Reverse(patch.path().len()));
        for patch in rest {
            match patch {
                Patch::Remove(_) => {}
                Patch::Reorder(path, moves) => {
                    let list = children(at(&mut root, path));
                    for Move { from, to } in moves {
                        move_child(list, *from, *to);
                    }
                }
                Patch::Create(path, node) => {
                    let (last, parent) = path.split_last().unwrap();
                    let list = children(at(&mut root, parent));
                    list.insert(place(list, *last), (*node).clone());
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

/// Attribute order means nothing, and clients do not count white space.
fn normal<'a>(node: &Node<'a>) -> Node<'a> {
    let mut node = node.clone();
    if let Node::Element(element) = &mut node {
        element.attributes.sort();
        element.children = element.children.iter().filter(|child| child.is_counted()).map(normal).collect();
    }
    node
}

/// What a person reads: white space once, and none at the edges of blocks. Each inline element is marked, also an empty
/// one.
fn reading(node: &Node<'_>) -> String {
    fn print(node: &Node<'_>, is_preformatted: bool, out: &mut String) {
        match node {
            // In preformatted text each character counts.
            Node::Text(text) if is_preformatted => out.push_str(&text.replace(' ', "_").replace('\n', "/")),
            Node::Text(text) => out.push_str(text),
            Node::Comment(_) => {}
            Node::Element(element) => {
                let is_block = element.tag != "b";
                out.push_str(if is_block { "\r" } else { "<" });
                for child in &element.children {
                    print(child, is_preformatted || element.tag == "pre", out);
                }
                out.push_str(if is_block { "\r" } else { ">" });
            }
        }
    }
    let mut out = String::new();
    print(node, false, &mut out);
    let words = |line: &str| line.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    out.split('\r').map(words).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Children as a parser leaves them: texts are joined, so white space is between elements and comments only.
fn as_parsed(children: Vec<Node<'static>>) -> Vec<Node<'static>> {
    let mut parsed: Vec<Node<'static>> = Vec::new();
    for child in children {
        let is_text = |node: &Node<'_>| matches!(node, Node::Text(_));
        if !(is_text(&child) && parsed.last().is_some_and(is_text)) {
            parsed.push(child);
        }
    }
    parsed
}

fn tree() -> impl Strategy<Value = Node<'static>> {
    let text = |text: &'static str| Just(Node::Text(text.into()));
    let leaf = prop_oneof![
        2 => (0..4u8).prop_map(|n| Node::Text(format!("t{n}").into())),
        1 => (0..3u8).prop_map(|n| Node::Comment(n.to_string().into())),
        1 => prop_oneof![text("a "), text(" a"), text(" a ")],
        3 => prop_oneof![4 => text(" "), 2 => text("\n"), 1 => text("\u{a0}")],
    ];
    leaf.prop_recursive(4, 60, 7, |inner| {
        let tag = prop_oneof![3 => Just("div"), 3 => Just("p"), 6 => Just("b"), 1 => Just("pre")];
        let key = proptest::option::of(0..6u8);
        let class = proptest::option::of(0..3u8);
        (tag, key, class, proptest::collection::vec(inner, 0..7)).prop_map(|(tag, key, class, children)| {
            let named =
                |name: &'static str, value: Option<u8>| value.map(|value| (name.into(), value.to_string().into()));
            let attributes = named("key", key).into_iter().chain(named("class", class)).collect();
            Node::Element(Element { tag: tag.into(), attributes, children: as_parsed(children) })
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
    fn white_space_that_one_sees_is_where_it_should_be(old in tree(), new in tree()) {
        for moves in [Moves::Reorder, Moves::ReorderUnspaced, Moves::Recreate] {
            let list = diff_page(&old, &new, moves);
            let page = client::apply(&old, &list);
            prop_assert_eq!(reading(&page), reading(&new), "{:?}: {:?}", moves, list);
        }
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
fn an_option_is_the_one_of_its_value() {
    let select = |values: &str| {
        let options: String = values.chars().map(|value| format!("<option value={value}>{value}</option>")).collect();
        format!("<select>{options}</select>")
    };
    let created = r#"[{"t":"c","p":[0],"d":{"node":{"t":"option","a":{"value":"n"},"c":[{"x":"n"}]}}}]"#;
    assert_eq!(patches(&select("ab"), &select("nab")), created);
    assert_eq!(patches(&select("abc"), &select("ac")), r#"[{"t":"r","p":[1]}]"#);
    assert_eq!(
        patches("<select><option value=1>one</select>", "<select><option value=1>One</select>"),
        r#"[{"t":"t","p":[0,0],"d":{"x":"One"}}]"#
    );
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
