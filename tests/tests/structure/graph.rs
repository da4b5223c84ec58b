//! Circles in a graph.

use std::collections::{BTreeMap, BTreeSet};

/// Who uses whom.
pub type Edges = BTreeMap<String, BTreeSet<String>>;

/// The circles: sets of nodes that all lead to each other, each sorted.
pub fn circles(edges: &Edges) -> Vec<Vec<String>> {
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        edges.keys().map(|node| (node.as_str(), reachable(edges, node))).collect();
    let mut circles = BTreeSet::new();
    for (node, reached) in &reach {
        if reached.contains(node) {
            let circle = reached.iter().filter(|other| reach.get(*other).is_some_and(|back| back.contains(node)));
            circles.insert(circle.map(|other| (*other).to_owned()).collect::<Vec<_>>());
        }
    }
    circles.into_iter().collect()
}

/// Every node that a path of one edge or more leads to.
fn reachable<'e>(edges: &'e Edges, from: &str) -> BTreeSet<&'e str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(node) = open.pop() {
        for next in edges.get(node).into_iter().flatten() {
            if reached.insert(next.as_str()) {
                open.push(next);
            }
        }
    }
    reached
}

#[test]
fn circles_are_found_and_nothing_else() {
    let edges = |pairs: &[(&str, &str)]| {
        let mut edges = Edges::new();
        for (from, to) in pairs {
            edges.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        edges
    };
    assert!(circles(&edges(&[("a", "b"), ("b", "c"), ("a", "c")])).is_empty());
    assert_eq!(circles(&edges(&[("a", "b"), ("b", "a"), ("b", "c")])), [["a", "b"]]);
    let two = edges(&[("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "e"), ("e", "d")]);
    assert_eq!(circles(&two), [vec!["a", "b", "c"], vec!["d", "e"]]);
}
