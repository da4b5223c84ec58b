//! Ranks: who has which share of the components, and what moves when workers come and go.

use std::rc::Rc;

use diffyne_shared::rpc::{Endpoint, Hello};

use super::*;

const COMPONENTS: usize = 8_000;

fn worker(port: u16, capacity: u32) -> Rc<Upstream> {
    let worker = Upstream::new(Endpoint::tcp("10.0.0.7", port));
    worker.connected(&Hello::worker("w", capacity), 1000);
    worker
}

fn component(number: usize) -> ComponentKey {
    ComponentKey::new("App\\Diffyne\\Counter", &format!("diffyne-{number:016}"))
}

/// The port of the worker that each component ranks first.
fn first_choices(workers: &[Rc<Upstream>]) -> Vec<u16> {
    let first = |component: ComponentKey| {
        let ranked = workers.iter().map(|worker| (Rank::of(component, worker), worker));
        ranked.reduce(|best, next| if next.0.is_above(best.0) { next } else { best }).unwrap().1
    };
    let port = |worker: &Rc<Upstream>| worker.address.host_port().unwrap().1;
    (0..COMPONENTS).map(|number| port(first(component(number)))).collect()
}

fn share(choices: &[u16], port: u16) -> f64 {
    choices.iter().filter(|choice| **choice == port).count() as f64 / choices.len() as f64
}

#[test]
fn a_worker_that_leaves_or_joins_moves_only_its_share() {
    let five: Vec<_> = (7001..7006).map(|port| worker(port, 8)).collect();
    let four: Vec<_> = five[..4].to_vec();
    let (with, without) = (first_choices(&five), first_choices(&four));
    for (before, after) in with.iter().zip(&without) {
        assert!(before == after || *before == 7005, "{before} became {after}, and it has not left");
    }
    for port in 7001..7006 {
        assert!((0.18..0.22).contains(&share(&with, port)), "{port}: {}", share(&with, port));
    }
    for port in 7001..7005 {
        assert!((0.23..0.27).contains(&share(&without, port)), "{port}: {}", share(&without, port));
    }
}

#[test]
fn the_order_in_which_a_gateway_knows_its_workers_does_not_matter() {
    let workers: Vec<_> = (7001..7006).map(|port| worker(port, port.into())).collect();
    let reversed: Vec<_> = workers.iter().rev().cloned().collect();
    assert_eq!(first_choices(&workers), first_choices(&reversed));
}

#[test]
fn a_workers_share_is_in_proportion_to_its_capacity() {
    let workers = [worker(7001, 2), worker(7002, 2), worker(7003, 12)];
    let choices = first_choices(&workers);
    for (port, expected) in [(7001, 0.125), (7002, 0.125), (7003, 0.75)] {
        assert!((share(&choices, port) - expected).abs() < 0.02, "{port}: {}", share(&choices, port));
    }
    // One of them starts again with more processes: it takes components from the others, and they exchange none.
    let grown = first_choices(&[worker(7001, 8), worker(7002, 2), worker(7003, 12)]);
    assert!(choices.iter().zip(&grown).all(|(before, after)| before == after || *after == 7001));
}

#[test]
fn a_preferred_worker_may_be_a_little_ahead_but_calls_do_not_wait_there_for_nothing() {
    // The calls of the preferred worker, those of the other one, and the capacity of both.
    let cases = [
        (0, 0, 1, true),
        (1, 0, 1, false),
        (1, 1, 1, true),
        (2, 1, 1, true),
        (3, 1, 1, false),
        // One PHP process: one call runs, one is next.
        (1, 0, 2, false),
        (1, 1, 2, true),
        (1, 0, 8, true),
        (2, 0, 8, true),
        (3, 0, 8, false),
        (3, 2, 8, true),
        // Four PHP processes: the fifth call would wait.
        (4, 3, 8, false),
        (5, 4, 8, true),
        (8, 7, 8, false),
        (9, 8, 8, true),
        (16, 0, 256, true),
        (17, 0, 256, false),
    ];
    for (own, other, capacity, expected) in cases {
        let (preferred, rival) = (worker(7001, capacity), worker(7002, capacity));
        preferred.set_load(own, None);
        rival.set_load(other, None);
        assert_eq!(is_kept(&preferred, &rival), expected, "{own} and {other} of {capacity}");
    }
}

#[test]
fn a_slow_worker_loses_its_components_until_it_is_as_quick_as_others() {
    let (slow, other) = (worker(7001, 8), worker(7002, 8));
    let observe = |times: usize, relative: f64| (0..times).for_each(|_| slow.slowness.observe(relative));
    assert!(is_kept(&slow, &other));
    observe(5, 10.0);
    assert!(is_kept(&slow, &other), "a few slow calls mean nothing");
    observe(20, 10.0);
    assert!(!is_kept(&slow, &other));
    observe(40, 1.0);
    assert!(is_kept(&slow, &other));
}
