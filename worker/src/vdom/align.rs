//! Pairs the children of an element before and after a call.

use std::collections::HashMap;

use super::node::{Element, Node};
use super::patch::Moves;

/// Beyond this product of lengths, the middle of two lists is matched without the quadratic table.
const LCS_CELLS_MAX: usize = 40_000;
/// Beyond this product of moves and children, moved children are created anew.
const MOVE_STEPS_MAX: usize = 4_000_000;

/// The children that are kept.
#[derive(Debug)]
pub(super) struct Alignment {
    /// Old and new indexes of kept children, sorted by the old ones.
    pub(super) pairs: Vec<(usize, usize)>,
    /// Sorted new indexes of kept children that need not move.
    pub(super) unmoved: Vec<usize>,
}

/// What two nodes must have in common to be paired.
#[derive(PartialEq, Eq, Hash, Clone, Copy)]
enum NodeIdentity<'a> {
    Element(&'a str, Option<&'a str>),
    Text,
    Comment,
    Space,
}

fn identity<'a>(node: &'a Node<'_>) -> NodeIdentity<'a> {
    match node {
        Node::Element(element) => NodeIdentity::Element(&element.tag, element.key().or_else(|| option_value(element))),
        Node::Text(_) if !node.is_counted() => NodeIdentity::Space,
        Node::Text(_) => NodeIdentity::Text,
        Node::Comment(_) => NodeIdentity::Comment,
    }
}

/// What an option stands for. A browser keeps the element that was chosen: it is to go on standing for the same.
fn option_value<'a>(element: &'a Element<'_>) -> Option<&'a str> {
    if element.tag == "option" { element.attribute("value") } else { None }
}

fn identities<'a>(nodes: &[&'a Node<'_>]) -> Vec<NodeIdentity<'a>> {
    nodes.iter().map(|node| identity(node)).collect()
}

/// Whether a comparison pairs two children that are at the same place, with the same siblings around them.
pub(super) fn is_same_child(old: &Node<'_>, new: &Node<'_>) -> bool {
    identity(old) == identity(new)
}

/// Whether each child is the other list's child at the same place: the usual case, in which nothing need be paired.
pub(super) fn are_aligned(old: &[Node<'_>], new: &[Node<'_>]) -> bool {
    old.len() == new.len() && old.iter().zip(new).all(|(old, new)| is_same_child(old, new))
}

/// Pairs two lists of counted children: first their common start and end, then the middle.
pub(super) fn align(old: &[&Node<'_>], new: &[&Node<'_>], moves: Moves) -> Alignment {
    let (a, b) = (identities(old), identities(new));
    let start = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let end = a[start..].iter().rev().zip(b[start..].iter().rev()).take_while(|(x, y)| x == y).count();
    let (middle_a, middle_b) = (&a[start..a.len() - end], &b[start..b.len() - end]);
    let middle = match_middle(middle_a, middle_b);
    let chain = longest_increasing(&middle);
    let recreates = moves == Moves::Recreate || (middle.len() - chain.len()).saturating_mul(new.len()) > MOVE_STEPS_MAX;
    let middle = if recreates { &chain } else { &middle };

    let mut pairs: Vec<_> = (0..start).map(|index| (index, index)).collect();
    let mut unmoved: Vec<_> = (0..start).collect();
    pairs.extend(middle.iter().map(|(x, y)| (x + start, y + start)));
    unmoved.extend(chain.iter().map(|(_, y)| y + start));
    pairs.extend((0..end).rev().map(|back| (a.len() - 1 - back, b.len() - 1 - back)));
    unmoved.extend((0..end).rev().map(|back| b.len() - 1 - back));
    Alignment { pairs, unmoved }
}

/// Pairs sorted by old index: children with a unique key wherever they are now, the others in order.
fn match_middle(a: &[NodeIdentity<'_>], b: &[NodeIdentity<'_>]) -> Vec<(usize, usize)> {
    if a.is_empty() || b.is_empty() {
        return Vec::new();
    }
    let (keyed_a, keyed_b) = (unique_keys(a), unique_keys(b));
    let partner = |index: usize| match a[index] {
        NodeIdentity::Element(_, Some(_)) if keyed_a.get(&a[index]) == Some(&Some(index)) => {
            keyed_b.get(&a[index]).copied().flatten()
        }
        _ => None,
    };
    let mut pairs: Vec<_> = (0..a.len()).filter_map(|index| Some((index, partner(index)?))).collect();
    let mut taken = vec![false; b.len()];
    for (_, to) in &pairs {
        taken[*to] = true;
    }
    let rest_a: Vec<usize> = (0..a.len()).filter(|index| partner(*index).is_none()).collect();
    let rest_b: Vec<usize> = (0..b.len()).filter(|index| !taken[*index]).collect();
    let (left, right): (Vec<_>, Vec<_>) =
        (rest_a.iter().map(|at| a[*at]).collect(), rest_b.iter().map(|at| b[*at]).collect());
    let rest = if left.len() * right.len() <= LCS_CELLS_MAX {
        longest_common(&left, &right)
    } else {
        longest_increasing(&nth_to_nth(&left, &right))
    };
    pairs.extend(rest.into_iter().map(|(x, y)| (rest_a[x], rest_b[y])));
    pairs.sort_unstable();
    pairs
}

/// The index of each keyed identity; `None` where it occurs twice.
fn unique_keys<'a>(list: &[NodeIdentity<'a>]) -> HashMap<NodeIdentity<'a>, Option<usize>> {
    let mut indexes = HashMap::new();
    for (index, identity) in list.iter().enumerate() {
        if matches!(identity, NodeIdentity::Element(_, Some(_))) {
            indexes.entry(*identity).and_modify(|index| *index = None).or_insert(Some(index));
        }
    }
    indexes
}

/// A longest common subsequence, by the quadratic table.
fn longest_common(a: &[NodeIdentity<'_>], b: &[NodeIdentity<'_>]) -> Vec<(usize, usize)> {
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

/// For long lists: pairs the n-th node of an identity with the n-th of the same identity.
fn nth_to_nth(a: &[NodeIdentity<'_>], b: &[NodeIdentity<'_>]) -> Vec<(usize, usize)> {
    let mut indexes: HashMap<NodeIdentity<'_>, std::collections::VecDeque<usize>> = HashMap::new();
    for (index, identity) in b.iter().enumerate() {
        indexes.entry(*identity).or_default().push_back(index);
    }
    a.iter()
        .enumerate()
        .filter_map(|(index, identity)| Some((index, indexes.get_mut(identity)?.pop_front()?)))
        .collect()
}

/// A longest chain of pairs that increase on both sides; the candidates increase on the left (patience sorting).
fn longest_increasing(candidates: &[(usize, usize)]) -> Vec<(usize, usize)> {
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
