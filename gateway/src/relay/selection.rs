//! Which worker gets the next call: of two random ones, the one that will have done with it sooner.

use std::rc::Rc;
use std::time::Instant;

use super::peer::{Peer, Wellness};

/// The power of two choices among the workers that can take a call. One whose backend fails answers faster than those
/// that work: it gets calls only while nobody else is there, so that somebody tells the client.
pub(super) fn choose(peers: &[Rc<Peer>], refused: impl Fn(&Rc<Peer>) -> bool) -> Option<&Rc<Peer>> {
    let all_faulty = peers.iter().all(|peer| peer.wellness() != Wellness::Well);
    let takes = |peer: &&Rc<Peer>| peer.takes_calls() && (all_faulty || !peer.is_faulty()) && !refused(peer);
    let count = peers.iter().filter(takes).count();
    let nth = |n: usize| peers.iter().filter(takes).nth(n);
    match count {
        0 => None,
        1 => nth(0),
        _ => {
            let first = fastrand::usize(..count);
            let second = (first + fastrand::usize(1..count)) % count;
            let (a, b) = (nth(first)?, nth(second)?);
            let now = Instant::now();
            Some(if a.score(now) <= b.score(now) { a } else { b })
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::peer::Handed;
    use super::*;
    use diffyne_shared::rpc::{Empty, Endpoint, Frame, Hello};

    fn hello() -> Hello {
        Hello::worker("w", 8)
    }

    #[test]
    fn a_worker_that_cannot_run_calls_gets_them_only_when_it_is_the_last() {
        let peers: Vec<Rc<Peer>> = (0..2).map(|port| Peer::new(Endpoint::tcp("h", port))).collect();
        for peer in &peers {
            peer.connected(&hello(), 1000);
        }
        peers[0].told_fault(true);
        peers[1].told_load(7);
        for _ in 0..20 {
            assert!(Rc::ptr_eq(choose(&peers, |_| false).unwrap(), &peers[1]));
        }
        peers[1].is_busy();
        assert!(choose(&peers, |_| false).is_none(), "it waits for the one that works");
        peers[1].told_fault(true);
        assert!(choose(&peers, |_| false).is_some(), "nobody works: somebody has to say so");
        peers[0].told_fault(false);
        assert!(Rc::ptr_eq(choose(&peers, |_| false).unwrap(), &peers[0]));
    }

    #[test]
    fn a_worker_gets_no_more_calls_than_it_takes() {
        let peer = Peer::new(Endpoint::tcp("h", 1));
        peer.connected(&Hello { capacity: 2, queue: Some(1), ..hello() }, 1000);
        let peers = [peer];
        let mut sent = 0;
        while let Some(peer) = choose(&peers, |_| false) {
            sent += 1;
            assert_eq!(peer.send_call(sent, &Frame::Ping(Empty {})), Handed::Over);
        }
        assert_eq!(sent, 3);
        peers[0].told_load(2);
        assert!(choose(&peers, |_| false).is_some(), "one has left");
        peers[0].told_load(3);
        assert!(choose(&peers, |_| false).is_none());
        peers[0].try_again();
        assert!(choose(&peers, |_| false).is_some(), "it may be that others have left");
        peers[0].send_call(4, &Frame::Ping(Empty {}));
        assert!(choose(&peers, |_| false).is_none(), "one is enough to find out");
    }

    #[test]
    fn a_slow_worker_gets_the_smaller_share() {
        use std::time::Duration;
        let peers: Vec<Rc<Peer>> = (0..2).map(|port| Peer::new(Endpoint::tcp("h", port))).collect();
        for peer in &peers {
            peer.connected(&hello(), 1000);
        }
        for _ in 0..100 {
            peers[0].latency.observe(Duration::from_millis(20), Instant::now());
            peers[1].latency.observe(Duration::from_millis(2), Instant::now());
        }
        // Each answers at once: nothing but its latency tells them apart, until the fast one has ten times as many.
        assert!(Rc::ptr_eq(choose(&peers, |_| false).unwrap(), &peers[1]));
        peers[1].told_load(20);
        assert!(Rc::ptr_eq(choose(&peers, |_| false).unwrap(), &peers[0]));
    }

    #[test]
    fn the_less_loaded_of_two_is_chosen_and_refusals_are_heeded() {
        let peers: Vec<Rc<Peer>> = (0..2).map(|port| Peer::new(Endpoint::tcp("h", port))).collect();
        assert!(choose(&peers, |_| false).is_none(), "nobody is connected");
        for peer in &peers {
            peer.connected(&hello(), 1000);
        }
        peers[0].told_load(5);
        for _ in 0..20 {
            assert!(Rc::ptr_eq(choose(&peers, |_| false).unwrap(), &peers[1]));
        }
        let refused = |peer: &Rc<Peer>| Rc::ptr_eq(peer, &peers[1]);
        assert!(Rc::ptr_eq(choose(&peers, refused).unwrap(), &peers[0]));
        peers[0].is_busy();
        assert!(choose(&peers, refused).is_none());
    }
}
