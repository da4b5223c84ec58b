//! Which worker gets the next call: of two random ones, the less loaded.

use std::rc::Rc;

use super::peer::Peer;

/// The power of two choices among the workers that can take a call.
pub(super) fn choose(peers: &[Rc<Peer>], refused: impl Fn(&Rc<Peer>) -> bool) -> Option<&Rc<Peer>> {
    let takes = |peer: &&Rc<Peer>| peer.takes_calls() && !refused(peer);
    let count = peers.iter().filter(takes).count();
    let nth = |n: usize| peers.iter().filter(takes).nth(n);
    match count {
        0 => None,
        1 => nth(0),
        _ => {
            let first = fastrand::usize(..count);
            let second = (first + fastrand::usize(1..count)) % count;
            let (a, b) = (nth(first)?, nth(second)?);
            Some(if a.score() <= b.score() { a } else { b })
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use diffyne_shared::rpc::PeerAddress;

    #[test]
    fn the_less_loaded_of_two_is_chosen_and_refusals_are_heeded() {
        let peers: Vec<Rc<Peer>> = (0..2).map(|port| Peer::new(PeerAddress::tcp("h", port))).collect();
        assert!(choose(&peers, |_| false).is_none(), "nobody is connected");
        for peer in &peers {
            peer.connected(8, false);
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
