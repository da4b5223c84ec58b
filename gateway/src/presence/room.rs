//! One room: who is there at this gateway, and at each of the others.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use diffyne_shared::bus::RoomMember;

/// Changes are told after this time, and in large rooms after up to ten times as long.
pub(super) const WINDOW: Duration = Duration::from_millis(100);
/// For so many members, the window is once longer.
const WINDOW_MEMBERS: usize = 200;
const WINDOWS_MAX: usize = 10;

/// A connection: its shard, and its key there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Watcher {
    /// The number of the shard.
    pub shard: usize,
    /// The connection's key in the shard's hub.
    pub key: usize,
}

/// What is to be told of one room.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RoomNews {
    /// The room.
    pub room: Arc<str>,
    /// Members who have come, or of whom there is something else to know.
    pub joins: Vec<RoomMember>,
    /// Ids of those who have left.
    pub leaves: Vec<Arc<str>>,
    /// All members, and the connections that are to get the list.
    pub list: Option<(Vec<RoomMember>, Vec<Watcher>)>,
}

/// A member at this gateway.
#[derive(Debug)]
pub(super) struct OwnMember {
    pub(super) member: RoomMember,
    pub(super) connections: u32,
    /// Without a connection: when it leaves.
    pub(super) leaves_at: Option<Instant>,
}

/// The members at another gateway.
#[derive(Debug, Default)]
pub(super) struct PeerMembers {
    pub(super) members: HashMap<Arc<str>, RoomMember>,
    /// The number of the gateway's report that this was read after.
    pub(super) as_of: u64,
}

/// A room that clients of this gateway are in.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) own: HashMap<Arc<str>, OwnMember>,
    pub(super) peers: HashMap<Arc<str>, PeerMembers>,
    /// Everybody, each once.
    pub(super) members: BTreeMap<Arc<str>, RoomMember>,
    /// The bytes of all members.
    pub(super) bytes: usize,
    /// The connections of own members.
    pub(super) connections: usize,
    /// Members that have changed since connections were told, as they were then.
    pub(super) untold: HashMap<Arc<str>, Option<RoomMember>>,
    /// Own members that have changed since the others were told.
    pub(super) unreported: HashSet<Arc<str>>,
    /// Connections that wait for the list.
    pub(super) waiting: HashSet<Watcher>,
    /// What other gateways have reported is here.
    pub(super) is_read: bool,
    /// When connections are told next.
    due: Instant,
}

impl Room {
    pub(super) fn new(is_read: bool, now: Instant) -> Self {
        Self {
            own: HashMap::new(),
            peers: HashMap::new(),
            members: BTreeMap::new(),
            bytes: 0,
            connections: 0,
            untold: HashMap::new(),
            unreported: HashSet::new(),
            waiting: HashSet::new(),
            is_read,
            due: now,
        }
    }

    /// Works out what is known of a member: of several gateways, the one that was told last counts.
    pub(super) fn update(&mut self, own: &Arc<str>, id: &Arc<str>) {
        let here = self.own.get(id).map(|mine| (own, &mine.member));
        let there = self.peers.iter().filter_map(|(gateway, peer)| Some((gateway, peer.members.get(id)?)));
        let latest = here.into_iter().chain(there).max_by_key(|(gateway, member)| (member.at, Arc::clone(gateway)));
        let now = latest.map(|(_, member)| member.clone());
        let before = match &now {
            Some(member) => self.members.insert(Arc::clone(id), member.clone()),
            None => self.members.remove(id),
        };
        self.bytes += now.as_ref().map_or(0, RoomMember::bytes);
        self.bytes -= before.as_ref().map_or(0, RoomMember::bytes);
        if before.as_ref().map(|member| &member.info) != now.as_ref().map(|member| &member.info) {
            self.untold.entry(Arc::clone(id)).or_insert(before);
        }
    }

    /// Whether there is something to tell, now that its time has come.
    pub(super) fn has_news(&self, now: Instant) -> bool {
        let list = self.is_read && !self.waiting.is_empty();
        self.due <= now && (list || !self.untold.is_empty())
    }

    pub(super) fn take_news(&mut self, name: &Arc<str>, now: Instant) -> RoomNews {
        let mut news = RoomNews { room: Arc::clone(name), ..RoomNews::default() };
        for (id, before) in self.untold.drain() {
            match self.members.get(&id) {
                Some(member) if before.as_ref().is_none_or(|before| before.info != member.info) => {
                    news.joins.push(member.clone());
                }
                None if before.is_some() => news.leaves.push(id),
                // It is as it was when connections were told last.
                _ => {}
            }
        }
        if self.is_read && !self.waiting.is_empty() {
            news.list = Some((self.members.values().cloned().collect(), self.waiting.drain().collect()));
        }
        let windows = (1 + self.members.len() / WINDOW_MEMBERS).min(WINDOWS_MAX);
        self.due = now + WINDOW * u32::try_from(windows).unwrap_or(1);
        news
    }
}

/// Returns the members of a room at several gateways, each once, in the order of their ids.
pub fn merged(at_gateways: Vec<(Arc<str>, Vec<RoomMember>)>) -> Vec<RoomMember> {
    let mut latest: BTreeMap<Arc<str>, (Arc<str>, RoomMember)> = BTreeMap::new();
    for (gateway, members) in at_gateways {
        for member in members {
            let is_later = |(other, known): &(Arc<str>, RoomMember)| (member.at, &gateway) > (known.at, other);
            if latest.get(&member.id).is_none_or(is_later) {
                latest.insert(Arc::clone(&member.id), (Arc::clone(&gateway), member));
            }
        }
    }
    latest.into_values().map(|(_, member)| member).collect()
}
