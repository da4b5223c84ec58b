//! Which children of an element are the same before and after.

use std::collections::HashMap;

use super::node::Node;

/// Beyond this product of lengths, the middle of two lists of children is matched without the table.
const LCS_CELLS_MAX: usize = 40_000;
/// Beyond this product of moves and children, what changed places is made anew.
const MOVE_STEPS_MAX: usize = 4_000_000;

/// What is kept of a list of children.
#[derive(Debug)]
pub(super) struct Alignment {
    /// Old and new indexes of what is kept, growing by the old ones.
    pub(super) pairs: Vec<(usize, usize)>,
    /// New indexes of what is kept and need not move, growing.
    pub(super) stays: Vec<usize>,
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

pub(super) fn align(old: &[Node], new: &[Node]) -> Alignment {
    let (a, b): (Vec<_>, Vec<_>) = (old.iter().map(identity).collect(), new.iter().map(identity).collect());
    let start = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let end = a[start..].iter().rev().zip(b[start..].iter().rev()).take_while(|(x, y)| x == y).count();
    let (middle_a, middle_b) = (&a[start..a.len() - end], &b[start..b.len() - end]);
    let middle = match_middle(middle_a, middle_b);
    let chain = longest_growing(&middle);
    let too_many = (middle.len() - chain.len()).saturating_mul(new.len()) > MOVE_STEPS_MAX;
    let middle = if too_many { &chain } else { &middle };

    let mut pairs: Vec<_> = (0..start).map(|index| (index, index)).collect();
    let mut stays: Vec<_> = (0..start).collect();
    pairs.extend(middle.iter().map(|(x, y)| (x + start, y + start)));
    stays.extend(chain.iter().map(|(_, y)| y + start));
    pairs.extend((0..end).rev().map(|back| (a.len() - 1 - back, b.len() - 1 - back)));
    stays.extend((0..end).rev().map(|back| b.len() - 1 - back));
    Alignment { pairs, stays }
}

/// Pairs by old index: what has a key of its own wherever it is now, the rest in its order.
fn match_middle(a: &[Identity<'_>], b: &[Identity<'_>]) -> Vec<(usize, usize)> {
    if a.is_empty() || b.is_empty() {
        return Vec::new();
    }
    let (keyed_a, keyed_b) = (only_ones(a), only_ones(b));
    let partner = |index: usize| match a[index] {
        Identity::Element(_, Some(_)) if keyed_a.get(&a[index]) == Some(&Some(index)) => {
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
        longest_growing(&nth_to_nth(&left, &right))
    };
    pairs.extend(rest.into_iter().map(|(x, y)| (rest_a[x], rest_b[y])));
    pairs.sort_unstable();
    pairs
}

/// Where each keyed identity is, unless it is there twice.
fn only_ones<'a>(list: &[Identity<'a>]) -> HashMap<Identity<'a>, Option<usize>> {
    let mut places = HashMap::new();
    for (index, identity) in list.iter().enumerate() {
        if matches!(identity, Identity::Element(_, Some(_))) {
            places.entry(*identity).and_modify(|place| *place = None).or_insert(Some(index));
        }
    }
    places
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

/// For long lists: the n-th of an identity pairs with the n-th of the same.
fn nth_to_nth(a: &[Identity<'_>], b: &[Identity<'_>]) -> Vec<(usize, usize)> {
    let mut places: HashMap<Identity<'_>, std::collections::VecDeque<usize>> = HashMap::new();
    for (index, identity) in b.iter().enumerate() {
        places.entry(*identity).or_default().push_back(index);
    }
    a.iter().enumerate().filter_map(|(index, identity)| Some((index, places.get_mut(identity)?.pop_front()?))).collect()
}

/// Of pairs that grow on the left, a longest chain that grows on the right as well (patience sorting).
fn longest_growing(candidates: &[(usize, usize)]) -> Vec<(usize, usize)> {
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
