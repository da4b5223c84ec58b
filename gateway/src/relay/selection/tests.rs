//! The choice of a worker, alone and in a simulation of workers under load.

mod simulation;

use super::*;
use crate::relay::slowness::ClassLatencies;
use crate::relay::upstream::SendResult;
use diffyne_shared::rpc::{Endpoint, Frame, Hello, Ping};

/// The choice for a component that does not matter: the test's claim holds for all of them.
fn choose(upstreams: &[Rc<Upstream>], refused: impl Fn(&Rc<Upstream>) -> bool) -> Option<&Rc<Upstream>> {
    let component = ComponentKey::new("C", &fastrand::u64(..).to_string());
    select(upstreams, component, Instant::now(), refused).map(|selected| selected.upstream)
}

fn hello() -> Hello {
    Hello::worker("w", 8)
}

#[test]
fn a_faulty_worker_gets_calls_only_if_all_are_faulty() {
    let upstreams: Vec<Rc<Upstream>> = (0..2).map(|port| Upstream::new(Endpoint::tcp("h", port))).collect();
    for upstream in &upstreams {
        upstream.connected(&hello(), 1000);
    }
    upstreams[0].set_faulty(true);
    upstreams[1].set_load(7, None);
    for _ in 0..20 {
        assert!(Rc::ptr_eq(choose(&upstreams, |_| false).unwrap(), &upstreams[1]));
    }
    upstreams[1].set_busy();
    assert!(choose(&upstreams, |_| false).is_none(), "it waits for the one that works");
    upstreams[1].set_faulty(true);
    assert!(choose(&upstreams, |_| false).is_some(), "nobody works: somebody has to say so");
    upstreams[0].set_faulty(false);
    assert!(Rc::ptr_eq(choose(&upstreams, |_| false).unwrap(), &upstreams[0]));
}

#[test]
fn a_worker_gets_no_more_calls_than_it_has_room_for() {
    let upstream = Upstream::new(Endpoint::tcp("h", 1));
    upstream.connected(&Hello { capacity: 2, queue: Some(1), ..hello() }, 1000);
    let upstreams = [upstream];
    let mut sent = 0;
    while let Some(upstream) = choose(&upstreams, |_| false) {
        sent += 1;
        assert_eq!(upstream.send_call(sent, &Frame::Ping(Ping::default())), SendResult::Queued);
    }
    assert_eq!(sent, 3);
    upstreams[0].set_load(2, None);
    assert!(choose(&upstreams, |_| false).is_some(), "one has left");
    upstreams[0].set_load(3, None);
    assert!(choose(&upstreams, |_| false).is_none());
    upstreams[0].assume_room();
    assert!(choose(&upstreams, |_| false).is_some(), "it may be that others have left");
    upstreams[0].send_call(4, &Frame::Ping(Ping::default()));
    assert!(choose(&upstreams, |_| false).is_none(), "one is enough to find out");
    upstreams[0].set_load(4, Some(5));
    assert!(choose(&upstreams, |_| false).is_some(), "its calls are quick: more may wait");
    upstreams[0].set_load(4, None);
    assert!(choose(&upstreams, |_| false).is_none(), "they are no more");
}

#[test]
fn a_slow_worker_gets_the_smaller_share() {
    use std::time::Duration;
    let upstreams: Vec<Rc<Upstream>> = (0..2).map(|port| Upstream::new(Endpoint::tcp("h", port))).collect();
    for upstream in &upstreams {
        upstream.connected(&hello(), 1000);
    }
    let classes = ClassLatencies::default();
    for _ in 0..100 {
        for (upstream, ms) in upstreams.iter().zip([20, 2]) {
            let took = Duration::from_millis(ms);
            upstream.latency.observe(took, Instant::now());
            upstream.slowness.observe(classes.observe(ComponentKey::new("C", ""), took));
        }
    }
    // Both answer at once. Only latency distinguishes them, until the fast one has ten times the load.
    for _ in 0..20 {
        assert!(Rc::ptr_eq(choose(&upstreams, |_| false).unwrap(), &upstreams[1]));
    }
    upstreams[1].set_load(20, None);
    assert!(Rc::ptr_eq(choose(&upstreams, |_| false).unwrap(), &upstreams[0]));
}

#[test]
fn the_less_loaded_of_two_is_selected_and_refusals_are_respected() {
    let upstreams: Vec<Rc<Upstream>> = (0..2).map(|port| Upstream::new(Endpoint::tcp("h", port))).collect();
    assert!(choose(&upstreams, |_| false).is_none(), "nobody is connected");
    for upstream in &upstreams {
        upstream.connected(&hello(), 1000);
    }
    upstreams[0].set_load(5, None);
    for _ in 0..20 {
        assert!(Rc::ptr_eq(choose(&upstreams, |_| false).unwrap(), &upstreams[1]));
    }
    let refused = |upstream: &Rc<Upstream>| Rc::ptr_eq(upstream, &upstreams[1]);
    assert!(Rc::ptr_eq(choose(&upstreams, refused).unwrap(), &upstreams[0]));
    upstreams[0].set_busy();
    assert!(choose(&upstreams, refused).is_none());
}
