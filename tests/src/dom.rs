//! Patches applied as the protocol says that clients do, to a tree: independent of whoever made them.

use std::cmp::Ordering;

use anyhow::{Context as _, bail};
use diffyne_worker::vdom::{Element, Node};
use serde_json::Value;

/// The tree after a list of patches in upstream's short form.
pub fn apply<'a>(root: &Node<'a>, patches: &[Value]) -> anyhow::Result<Node<'a>> {
    if let [only] = patches
        && only["t"] == "c"
        && only["p"].as_array().is_some_and(Vec::is_empty)
    {
        return node(&only["d"]["node"]);
    }
    let mut root = root.clone();
    let mut removes: Vec<Vec<usize>> = Vec::new();
    let mut others: Vec<(Vec<usize>, &Value)> = Vec::new();
    for patch in patches {
        let path = path(patch)?;
        if patch["t"] == "r" { removes.push(path) } else { others.push((path, patch)) }
    }
    removes.sort_by(|a, b| removes_order(a, b));
    for path in removes {
        let (last, parent) = path.split_last().context("the root cannot be removed")?;
        let list = children(at(&mut root, parent)?)?;
        list.remove(counted(list, *last));
    }
    others.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
    for (path, patch) in others {
        let data = &patch["d"];
        match patch["t"].as_str() {
            Some("c") => {
                let (last, parent) = path.split_last().context("a create needs a place")?;
                let list = children(at(&mut root, parent)?)?;
                list.insert(counted(list, *last), node(&data["node"])?);
            }
            Some("R") => *at(&mut root, &path)? = node(&data["node"])?,
            Some("t") => *at(&mut root, &path)? = Node::Text(text(&data["x"])?.into()),
            Some("a") => attributes(at(&mut root, &path)?, data)?,
            Some("o") => {
                for step in data["moves"].as_array().context("moves")? {
                    let list = children(at(&mut root, &path)?)?;
                    let (from, to) = (index(&step["from"])?, index(&step["to"])?);
                    move_child(list, from, to);
                }
            }
            _ => bail!("{patch} is no patch"),
        }
    }
    Ok(root)
}

fn removes_order(a: &[usize], b: &[usize]) -> Ordering {
    let shared = a.len().min(b.len());
    let differ = (0..shared).rev().find(|index| a[*index] != b[*index]);
    differ.map_or_else(|| b.len().cmp(&a.len()), |index| b[index].cmp(&a[index]))
}

fn index(value: &Value) -> anyhow::Result<usize> {
    Ok(usize::try_from(value.as_u64().context("an index")?)?)
}

fn path(patch: &Value) -> anyhow::Result<Vec<usize>> {
    patch["p"].as_array().context("a path")?.iter().map(index).collect()
}

fn text(value: &Value) -> anyhow::Result<String> {
    Ok(value.as_str().context("a text")?.to_owned())
}

fn children<'t, 'a>(node: &'t mut Node<'a>) -> anyhow::Result<&'t mut Vec<Node<'a>>> {
    match node {
        Node::Element(element) => Ok(&mut element.children),
        other => bail!("{other:?} has no children"),
    }
}

fn at<'t, 'a>(root: &'t mut Node<'a>, path: &[usize]) -> anyhow::Result<&'t mut Node<'a>> {
    path.iter().try_fold(root, |node, index| {
        let list = children(node)?;
        let index = counted(list, *index);
        list.get_mut(index).context("no node at this path")
    })
}

fn is_space(node: &Node<'_>) -> bool {
    matches!(node, Node::Text(text) if text.trim().is_empty())
}

/// The place of a child by its index among those that clients count; the end, where there is none.
fn counted(list: &[Node<'_>], index: usize) -> usize {
    list.iter().enumerate().filter(|(_, node)| !is_space(node)).map(|(at, _)| at).nth(index).unwrap_or(list.len())
}

/// Moves a child with the white space before it.
fn move_child(list: &mut Vec<Node<'_>>, from: usize, to: usize) {
    let with_space =
        |list: &[Node<'_>], at: usize| at - list[..at].iter().rev().take_while(|node| is_space(node)).count();
    let (last, place) = (counted(list, from), counted(list, to));
    let (first, place) = (with_space(list, last), with_space(list, place));
    let moved: Vec<_> = list.drain(first..=last).collect();
    let place = if place > first { place - moved.len() } else { place };
    list.splice(place..place, moved);
}

fn attributes(node: &mut Node<'_>, data: &Value) -> anyhow::Result<()> {
    let Node::Element(element) = node else { bail!("only elements have attributes") };
    let gone = data["r"].as_array().cloned().unwrap_or_default();
    element.attributes.retain(|(name, _)| !gone.iter().any(|other| other.as_str() == Some(name)));
    for (name, value) in data["s"].as_object().into_iter().flatten() {
        element.attributes.retain(|(known, _)| known != name);
        element.attributes.push((name.clone().into(), text(value)?.into()));
    }
    Ok(())
}

fn node(json: &Value) -> anyhow::Result<Node<'static>> {
    if let Some(text) = json["x"].as_str() {
        return Ok(Node::Text(text.to_owned().into()));
    }
    if let Some(text) = json["m"].as_str() {
        return Ok(Node::Comment(text.to_owned().into()));
    }
    let mut attributes = Vec::new();
    for (name, value) in json["a"].as_object().into_iter().flatten() {
        attributes.push((name.clone().into(), text(value)?.into()));
    }
    let children = json["c"].as_array().into_iter().flatten().map(node).collect::<anyhow::Result<_>>()?;
    Ok(Node::Element(Element { tag: text(&json["t"])?.into(), attributes, children }))
}

/// The tree as clients count it, with its attributes in one order, which means nothing.
pub fn sorted<'a>(node: &Node<'a>) -> Node<'a> {
    let mut node = node.clone();
    if let Node::Element(element) = &mut node {
        element.attributes.sort();
        element.children = element.children.iter().filter(|child| !is_space(child)).map(sorted).collect();
    }
    node
}

/// Elements within elements.
pub fn depth(node: &Node<'_>) -> usize {
    let (mut deepest, mut left) = (0, vec![(1, node)]);
    while let Some((depth, node)) = left.pop() {
        if let Node::Element(element) = node {
            deepest = deepest.max(depth);
            left.extend(element.children.iter().map(|child| (depth + 1, child)));
        }
    }
    deepest
}
