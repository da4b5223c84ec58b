//! Rooms of three gateways against a model of Redis that loses messages, fails and forgets.

use std::collections::{BTreeMap, BTreeSet};

use diffyne_shared::bus::ReportKind;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A user opens a page at a gateway, with this much to know.
    Enter(usize, usize, usize, usize),
    /// The last page that was opened at a gateway goes.
    Leave(usize, bool),
    /// Time passes.
    Wait(u64),
    /// A gateway reports.
    Report(usize, Fate),
    /// A gateway gets the next message, or loses it.
    Deliver(usize, bool),
    /// A gateway's heartbeat.
    Beat(usize),
    /// A gateway reads what it misses.
    Read(usize),
    /// Connections are told.
    Tell(usize),
    /// A gateway is killed, and another one begins.
    Kill(usize),
    /// Redis loses everything.
    Flush,
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Answered,
    /// Redis took it, and its answer was lost.
    AnswerLost,
    Unheard,
}

fn step() -> impl Strategy<Value = Step> {
    let gateway = || 0..3usize;
    let fate = prop_oneof![6 => Just(Fate::Answered), 1 => Just(Fate::AnswerLost), 1 => Just(Fate::Unheard)];
    prop_oneof![
        8 => (gateway(), 0..2usize, 0..3usize, 0..2usize).prop_map(|(g, room, user, info)| Step::Enter(g, room, user, info)),
        6 => (gateway(), any::<bool>()).prop_map(|(g, now)| Step::Leave(g, now)),
        3 => (1..3000u64).prop_map(Step::Wait),
        8 => (gateway(), fate).prop_map(|(g, fate)| Step::Report(g, fate)),
        10 => (gateway(), prop_oneof![8 => Just(true), 1 => Just(false)]).prop_map(|(g, comes)| Step::Deliver(g, comes)),
        4 => gateway().prop_map(Step::Beat),
        4 => gateway().prop_map(Step::Read),
        4 => gateway().prop_map(Step::Tell),
        1 => gateway().prop_map(Step::Kill),
        1 => Just(Step::Flush),
    ]
}

type Stored = HashMap<Arc<str>, HashMap<Arc<str>, RoomMember>>;

/// What the scripts do.
#[derive(Default)]
struct Redis {
    /// By gateway: the number of its last report, whether everything is there, when it ends, its members by room.
    gateways: BTreeMap<Arc<str>, (u64, bool, Instant, Stored)>,
}

impl Redis {
    fn report(&mut self, report: &RoomReport, kind: ReportKind, now: Instant) -> bool {
        let Some((number, complete, until, stored)) = self.gateways.get_mut(&report.gateway) else { return false };
        let becomes = kind != ReportKind::Part;
        if *number == report.number && *complete == becomes {
            return true;
        }
        if *number + 1 != report.number || *complete != (kind == ReportKind::Change) {
            return false;
        }
        for change in &report.changes {
            let room = stored.entry(Arc::clone(&change.room)).or_default();
            if change.is_whole {
                room.clear();
            }
            for id in &change.leaves {
                room.remove(id);
            }
            room.extend(change.joins.iter().map(|member| (Arc::clone(&member.id), member.clone())));
        }
        (*number, *complete, *until) = (report.number, becomes, now + PEER_LIFE);
        true
    }

    fn peers(&self, now: Instant) -> Vec<RoomsPeer> {
        let live = self.gateways.iter().filter(|(_, (_, _, until, _))| *until > now);
        live.map(|(gateway, (number, is_complete, until, _))| RoomsPeer {
            gateway: Arc::clone(gateway),
            number: *number,
            is_complete: *is_complete,
            life: *until - now,
        })
        .collect()
    }
}

/// A gateway, its pages, and what one page in each room has been told.
struct Gateway {
    rooms: Rooms,
    began: bool,
    unsent: Option<RoomReport>,
    whole: Option<Vec<Arc<str>>>,
    inbox: VecDeque<RoomReport>,
    pages: Vec<(usize, Arc<str>, Arc<str>)>,
    told: HashMap<Arc<str>, BTreeMap<Arc<str>, Arc<str>>>,
    keys: usize,
}

struct World {
    redis: Redis,
    gateways: Vec<Gateway>,
    now: Instant,
    at: u64,
    started: usize,
}

impl World {
    fn new() -> Self {
        let mut world = Self { redis: Redis::default(), gateways: Vec::new(), now: Instant::now(), at: 0, started: 0 };
        for _ in 0..3 {
            let gateway = world.start();
            world.gateways.push(gateway);
        }
        world
    }

    fn start(&mut self) -> Gateway {
        self.started += 1;
        let limits = RoomLimits { members_max: 100, bytes_max: 10_000, grace: GRACE };
        Gateway {
            rooms: Rooms::new(&format!("g{}", self.started), true, limits),
            began: false,
            unsent: None,
            whole: None,
            inbox: VecDeque::new(),
            pages: Vec::new(),
            told: HashMap::new(),
            keys: 0,
        }
    }

    fn run(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Enter(g, room, user, info) => {
                self.at += 1;
                let gateway = &mut self.gateways[g];
                gateway.keys += 1;
                let (room, id): (Arc<str>, Arc<str>) = (format!("r{room}").into(), format!("u{user}").into());
                let member = member(&id, &info.to_string(), self.at);
                gateway.rooms.join(&room, watcher(gateway.keys), member, now).unwrap();
                gateway.pages.push((gateway.keys, room, id));
            }
            Step::Leave(g, at_once) => {
                let gateway = &mut self.gateways[g];
                if let Some((key, room, id)) = gateway.pages.pop() {
                    let departure = if at_once { Departure::Now } else { Departure::AfterGrace };
                    gateway.rooms.leave(&room, watcher(key), &id, departure, now);
                    if !gateway.pages.iter().any(|(_, other, _)| *other == room) {
                        gateway.told.remove(&room);
                    }
                }
            }
            Step::Wait(ms) => self.now += Duration::from_millis(ms),
            Step::Report(g, fate) => self.report(g, fate),
            Step::Deliver(g, comes) => {
                let gateway = &mut self.gateways[g];
                if let Some(report) = gateway.inbox.pop_front()
                    && comes
                {
                    gateway.rooms.apply_report(report, now);
                }
            }
            Step::Beat(g) => self.beat(g),
            Step::Read(g) => self.read(g),
            Step::Tell(g) => self.tell(g),
            Step::Kill(g) => self.gateways[g] = self.start(),
            Step::Flush => self.redis = Redis::default(),
        }
    }

    fn publish(&mut self, report: &RoomReport) {
        for gateway in &mut self.gateways {
            if gateway.rooms.own != report.gateway {
                gateway.inbox.push_back(report.clone());
            }
        }
    }

    /// As `Sync` does.
    fn report(&mut self, g: usize, fate: Fate) {
        let (now, gateway) = (self.now, &mut self.gateways[g]);
        if !gateway.began {
            return;
        }
        if let Some(lost) = gateway.whole.take() {
            let mut whole = WholeReport::new(lost);
            let number = gateway.rooms.number();
            let own = Arc::clone(&gateway.rooms.own);
            self.redis.gateways.insert(own, (number, false, now + PEER_LIFE, Stored::new()));
            loop {
                let part = self.gateways[g].rooms.take_part(&mut whole);
                let kind = if whole.is_complete() { ReportKind::LastPart } else { ReportKind::Part };
                if matches!(fate, Fate::Unheard) || !self.redis.report(&part, kind, now) {
                    self.gateways[g].whole = Some(whole.into_named());
                    return;
                }
                self.publish(&part);
                if matches!(fate, Fate::AnswerLost) {
                    self.gateways[g].whole = Some(whole.into_named());
                    return;
                }
                if whole.is_complete() {
                    return;
                }
            }
        }
        let Some(report) = gateway.unsent.take().or_else(|| gateway.rooms.take_report()) else { return };
        if matches!(fate, Fate::Unheard) {
            self.gateways[g].unsent = Some(report);
            return;
        }
        let known = self.redis.gateways.get(&report.gateway).is_some_and(|(number, ..)| *number == report.number);
        if self.redis.report(&report, ReportKind::Change, now) {
            if !known {
                self.publish(&report);
            }
            if matches!(fate, Fate::AnswerLost) {
                self.gateways[g].unsent = Some(report);
            }
        } else {
            let lost = report.changes.into_iter().map(|change| change.room).collect();
            self.gateways[g].whole = Some(lost);
        }
    }

    fn beat(&mut self, g: usize) {
        let (now, gateway) = (self.now, &mut self.gateways[g]);
        if gateway.unsent.is_some() || gateway.whole.is_some() {
            return;
        }
        self.redis.gateways.retain(|id, (_, _, until, _)| *until > now || *id == gateway.rooms.own);
        let own = Arc::clone(&gateway.rooms.own);
        let stored = self.redis.gateways.get_mut(&own);
        let is_lost = match stored {
            Some((number, complete, until, _)) => {
                *until = now + PEER_LIFE;
                gateway.began && (*number != gateway.rooms.number() || !*complete)
            }
            None if gateway.began => true,
            None => {
                self.redis.gateways.insert(Arc::clone(&own), (0, true, now + PEER_LIFE, Stored::new()));
                false
            }
        };
        let peers = self.redis.peers(now).into_iter().filter(|peer| peer.gateway != own).collect();
        gateway.began = true;
        if is_lost {
            gateway.whole = Some(Vec::new());
        }
        gateway.rooms.apply_beat(&RoomsBeat { is_lost, peers }, now);
    }

    fn read(&mut self, g: usize) {
        let names = self.gateways[g].rooms.unread(16);
        let peers = self.redis.peers(self.now);
        let room = |name: &Arc<str>| {
            let at = |peer: &RoomsPeer| {
                let members = self.redis.gateways[&peer.gateway].3.get(name)?;
                Some((Arc::clone(&peer.gateway), members.values().cloned().collect::<Vec<_>>()))
            };
            peers.iter().filter_map(at).collect::<Vec<_>>()
        };
        let rooms = names.iter().map(room).collect();
        let peers = peers.clone();
        self.gateways[g].rooms.apply_read(&names, RoomsRead { peers, rooms }, self.now);
    }

    fn tell(&mut self, g: usize) {
        let gateway = &mut self.gateways[g];
        while gateway.rooms.expire(self.now) {}
        for news in gateway.rooms.take_news(self.now, "").0 {
            if let Some(told) = gateway.told.get_mut(&news.room) {
                for member in &news.joins {
                    told.insert(Arc::clone(&member.id), Arc::clone(&member.info));
                }
                for id in &news.leaves {
                    assert!(told.remove(id).is_some(), "{id} was never there");
                }
            }
            if let Some((list, _)) = news.list {
                let list = list.into_iter().map(|member| (member.id, member.info)).collect();
                if let Some(told) = gateway.told.get(&news.room) {
                    assert_eq!(*told, list, "the list is what the changes lead to");
                }
                if gateway.pages.iter().any(|(_, room, _)| *room == news.room) {
                    gateway.told.insert(news.room, list);
                }
            }
        }
    }

    /// Nothing fails any more, and six seconds pass.
    fn settle(&mut self) {
        for tick in 0..60 {
            self.now += WINDOW;
            for g in 0..self.gateways.len() {
                if tick % 10 == g {
                    self.beat(g);
                }
                self.report(g, Fate::Answered);
                self.read(g);
                while !self.gateways[g].inbox.is_empty() {
                    self.run(Step::Deliver(g, true));
                }
                self.tell(g);
            }
        }
    }

    fn truth(&self) -> BTreeSet<(Arc<str>, Arc<str>)> {
        let pages = self.gateways.iter().flat_map(|gateway| &gateway.pages);
        pages.map(|(_, room, id)| (Arc::clone(room), Arc::clone(id))).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn every_page_has_the_true_list_within_six_seconds_whatever_has_happened(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new();
        for step in steps {
            world.run(step);
        }
        world.settle();
        let truth = world.truth();
        let mut infos: HashMap<(Arc<str>, Arc<str>), Arc<str>> = HashMap::new();
        for gateway in &world.gateways {
            let rooms: BTreeSet<&Arc<str>> = gateway.pages.iter().map(|(_, room, _)| room).collect();
            for room in rooms {
                let told = &gateway.told[room];
                let members: BTreeSet<_> = told.keys().map(|id| (Arc::clone(room), Arc::clone(id))).collect();
                let expected: BTreeSet<_> = truth.iter().filter(|(of, _)| of == room).cloned().collect();
                prop_assert_eq!(members, expected, "{}", room);
                for (id, info) in told {
                    let known = infos.entry((Arc::clone(room), Arc::clone(id))).or_insert_with(|| Arc::clone(info));
                    prop_assert_eq!(&*known, info, "all pages know the same of a user");
                }
            }
            let own = gateway.rooms.own_members();
            let pages: BTreeSet<_> = gateway.pages.iter().map(|(_, room, id)| (room, id)).collect();
            prop_assert_eq!(own, pages.len());
            prop_assert!(gateway.rooms.count() <= 2 && gateway.rooms.untold.is_empty());
        }
    }
}
