//! Rooms by themselves; and in `model` those of three gateways.

mod model;

use diffyne_shared::bus::{RoomsBeat, RoomsPeer, RoomsRead};

use super::super::room::WINDOW;
use super::*;

const GRACE: Duration = Duration::from_secs(2);

fn limits() -> RoomLimits {
    RoomLimits { members_max: 3, bytes_max: 200, grace: GRACE }
}

fn member(id: &str, info: &str, at: u64) -> RoomMember {
    RoomMember { id: id.into(), info: info.into(), at }
}

fn watcher(key: usize) -> Watcher {
    Watcher { shard: 0, key }
}

fn ids(members: &[RoomMember]) -> Vec<&str> {
    members.iter().map(|member| &*member.id).collect()
}

/// What connections hear next, at its time.
fn next(rooms: &mut Rooms, now: &mut Instant) -> RoomNews {
    *now += WINDOW;
    let (mut news, more) = rooms.take_news(*now, "");
    assert_eq!(more, None);
    assert!(news.len() <= 1, "{news:?}");
    news.pop().unwrap_or_default()
}

#[test]
fn a_user_with_several_pages_is_one_entry() {
    let (mut rooms, mut now, room): (_, _, Arc<str>) = (Rooms::new("g", false, limits()), Instant::now(), "r".into());
    rooms.join(&room, watcher(1), member("ada", "{}", 1), now).unwrap();
    let news = next(&mut rooms, &mut now);
    assert_eq!((ids(&news.joins), news.leaves.len()), (vec!["ada"], 0));
    let (list, to) = news.list.unwrap();
    assert_eq!((ids(&list), to), (vec!["ada"], vec![watcher(1)]));

    rooms.join(&room, watcher(2), member("ada", "{}", 2), now).unwrap();
    let news = next(&mut rooms, &mut now);
    assert!(news.joins.is_empty(), "the second page is nobody new");
    assert_eq!(news.list.unwrap().1, [watcher(2)], "but wants the list");
    rooms.leave(&room, watcher(1), &"ada".into(), Departure::Now, now);
    assert_eq!(next(&mut rooms, &mut now), RoomNews::default(), "the other page is there");

    // What there is to know of a user changes.
    rooms.join(&room, watcher(3), member("ada", r#"{"n":2}"#, 3), now).unwrap();
    assert_eq!(&*next(&mut rooms, &mut now).joins[0].info, r#"{"n":2}"#);
    for key in [2, 3] {
        rooms.leave(&room, watcher(key), &"ada".into(), Departure::Now, now);
    }
    assert!(rooms.count() == 0 && rooms.untold.is_empty() && rooms.own_members() == 0);
}

#[test]
fn what_was_read_before_the_last_report_is_read_again() {
    let (mut rooms, now, room): (_, _, Arc<str>) = (Rooms::new("g", true, limits()), Instant::now(), "r".into());
    rooms.join(&room, watcher(1), member("ada", "{}", 1), now).unwrap();
    let peer = |number| RoomsPeer { gateway: "h".into(), number, is_complete: true, life: PEER_LIFE };
    rooms.apply_beat(&RoomsBeat { is_lost: false, peers: vec![peer(5)] }, now);
    let names = rooms.unread(9);
    // The sixth report comes before the answer, which has the fifth.
    let report = |number, id| {
        let joins = vec![member(id, "{}", 1)];
        let change = RoomChange { room: "r".into(), joins, leaves: Vec::new(), is_whole: false };
        RoomReport { gateway: "h".into(), number, changes: vec![change] }
    };
    assert!(rooms.apply_report(report(6, "eve"), now));
    let read = |number, ids: &[&str]| RoomsRead {
        peers: vec![peer(number)],
        rooms: vec![vec![("h".into(), ids.iter().map(|id| member(id, "{}", 1)).collect())]],
    };
    rooms.apply_read(&names, read(5, &["bob"]), now);
    assert_eq!(rooms.unread(9), names, "bob is missing");
    rooms.apply_read(&names, read(6, &["bob", "eve"]), now);
    assert!(rooms.unread(9).is_empty());
    assert_eq!(ids(&rooms.list("r").unwrap()), ["ada", "bob", "eve"]);
}

#[test]
fn what_was_read_while_the_heartbeat_of_another_gateway_was_late_is_read_again() {
    let (mut rooms, now, room): (_, _, Arc<str>) = (Rooms::new("g", true, limits()), Instant::now(), "r".into());
    rooms.join(&room, watcher(1), member("ada", "{}", 1), now).unwrap();
    let peer = || RoomsPeer { gateway: "h".into(), number: 1, is_complete: true, life: PEER_LIFE };
    rooms.apply_beat(&RoomsBeat { is_lost: false, peers: vec![peer()] }, now);
    let names = rooms.unread(9);
    // Redis does not count it as living, and gives nothing of it.
    rooms.apply_read(&names, RoomsRead { peers: Vec::new(), rooms: vec![Vec::new()] }, now);
    assert!(rooms.unread(9).is_empty(), "it is not asked for again and again");
    rooms.apply_beat(&RoomsBeat { is_lost: false, peers: vec![peer()] }, now);
    assert_eq!(rooms.unread(9), names, "it may have members there");
    let members = vec![("h".into(), vec![member("bob", "{}", 1)])];
    rooms.apply_read(&names, RoomsRead { peers: vec![peer()], rooms: vec![members] }, now);
    assert!(rooms.unread(9).is_empty());
    assert_eq!(ids(&rooms.list("r").unwrap()), ["ada", "bob"]);
}

#[test]
fn under_overload_the_room_that_has_waited_longest_is_reported_first_whatever_its_name_is() {
    let limits = RoomLimits { bytes_max: 200_000, ..limits() };
    let (mut rooms, now) = (Rooms::new("g", true, limits), Instant::now());
    let large = format!("\"{}\"", "x".repeat(50_000));
    let join = |rooms: &mut Rooms, room: &str| {
        rooms.join(&room.into(), watcher(1), member("ada", &large, 1), now).unwrap();
    };
    join(&mut rooms, "z");
    let (mut reported, mut came) = (Vec::new(), 0);
    while !reported.contains(&"z".to_owned()) {
        // More comes than goes into one report.
        for _ in 0..6 {
            came += 1;
            join(&mut rooms, &format!("a{came}"));
        }
        let report = rooms.take_report().unwrap();
        assert!(report.changes.len() < 6, "{}", report.changes.len());
        reported.extend(report.changes.iter().map(|change| change.room.to_string()));
        assert!(came <= 6, "rooms with earlier names are reported again and again");
    }
}

#[test]
fn rooms_that_nobody_can_be_told_of_do_not_pile_up() {
    let (mut rooms, now) = (Rooms::new("g", true, limits()), Instant::now());
    for n in 0..UNREPORTED_MAX + 100 {
        let room: Arc<str> = format!("r{n}").into();
        rooms.join(&room, watcher(1), member("ada", "{}", 1), now).unwrap();
        rooms.leave(&room, watcher(1), &"ada".into(), Departure::Now, now);
    }
    assert!(rooms.count() <= UNREPORTED_MAX && rooms.unreported.len() <= UNREPORTED_MAX);
    let number = rooms.number();
    assert!(rooms.take_forgotten() && !rooms.take_forgotten());
    assert_eq!(rooms.number(), number + 1, "the others see that something is missing");
}

#[test]
fn what_a_worker_has_said_last_counts_not_what_a_page_has_shown() {
    let (mut rooms, now, room): (_, _, Arc<str>) = (Rooms::new("g", false, limits()), Instant::now(), "r".into());
    rooms.join(&room, watcher(1), member("ada", r#"{"role":"none"}"#, 9), now).unwrap();
    rooms.join(&room, watcher(2), member("ada", r#"{"role":"admin"}"#, 3), now).unwrap();
    assert_eq!(&*rooms.list("r").unwrap()[0].info, r#"{"role":"none"}"#);
    assert_eq!((rooms.members_in("r"), rooms.audience("r")), (1, 2));
}

#[test]
fn who_comes_back_in_time_has_not_left() {
    let (mut rooms, mut now, room): (_, _, Arc<str>) = (Rooms::new("g", false, limits()), Instant::now(), "r".into());
    for (key, id) in [(1, "ada"), (2, "bob")] {
        rooms.join(&room, watcher(key), member(id, "{}", 1), now).unwrap();
    }
    next(&mut rooms, &mut now);
    rooms.leave(&room, watcher(1), &"ada".into(), Departure::AfterGrace, now);
    now += GRACE / 2;
    rooms.expire(now);
    rooms.join(&room, watcher(3), member("ada", "{}", 2), now).unwrap();
    let news = next(&mut rooms, &mut now);
    assert!(news.joins.is_empty() && news.leaves.is_empty() && news.list.is_some());
    now += GRACE;
    rooms.expire(now);
    assert_eq!(next(&mut rooms, &mut now), RoomNews::default(), "the wait of the first connection is over");
    rooms.leave(&room, watcher(3), &"ada".into(), Departure::AfterGrace, now);
    now += GRACE;
    rooms.expire(now);
    assert_eq!(next(&mut rooms, &mut now).leaves, [Arc::<str>::from("ada")]);
    // Within one window nobody hears of it at all.
    rooms.join(&room, watcher(4), member("eve", "{}", 2), now).unwrap();
    rooms.leave(&room, watcher(4), &"eve".into(), Departure::Now, now);
    assert_eq!(next(&mut rooms, &mut now), RoomNews::default());
}

#[test]
fn a_room_has_so_many_members_and_bytes_and_no_more() {
    let (mut rooms, now, room): (_, _, Arc<str>) = (Rooms::new("g", false, limits()), Instant::now(), "r".into());
    for (key, id) in [(1, "a"), (2, "b"), (3, "c")] {
        rooms.join(&room, watcher(key), member(id, "{}", 1), now).unwrap();
    }
    assert_eq!(rooms.join(&room, watcher(4), member("d", "{}", 1), now), Err(RoomFull));
    assert_eq!(rooms.join(&room, watcher(5), member("c", "{}", 1), now), Ok(()), "who is there may have another page");
    rooms.leave(&room, watcher(1), &"a".into(), Departure::Now, now);
    assert_eq!(rooms.join(&room, watcher(4), member("d", "{}", 1), now), Ok(()));
    let large = format!("\"{}\"", "x".repeat(193));
    let other: Arc<str> = "s".into();
    assert_eq!(rooms.join(&other, watcher(1), member("large", &large, 1), now), Ok(()));
    assert_eq!(rooms.join(&other, watcher(2), member("b", "{}", 1), now), Err(RoomFull));
    let more = format!("\"{}\"", "x".repeat(300));
    let third: Arc<str> = "t".into();
    assert_eq!(rooms.join(&third, watcher(1), member("a", &more, 1), now), Err(RoomFull));
    assert_eq!(rooms.count(), 2, "nothing is left of a room that nobody could enter");
}

#[test]
fn what_concerns_all_rooms_is_done_in_steps_of_bounded_work() {
    let mut now = Instant::now();
    let limits = RoomLimits { members_max: 1000, bytes_max: usize::MAX, grace: GRACE };
    let mut rooms = Rooms::new("g", true, limits);
    let (room_count, peer_members) = (2000, 50);
    let peer = |number| RoomsPeer { gateway: "h".into(), number, is_complete: true, life: PEER_LIFE };
    rooms.apply_beat(&RoomsBeat { is_lost: false, peers: vec![peer(0)] }, now);
    for n in 0..room_count {
        let room: Arc<str> = format!("r{n}").into();
        rooms.join(&room, watcher(n), member("ada", "{}", 1), now).unwrap();
        let joins = (0..peer_members).map(|id| member(&format!("u{id}"), "{}", 1)).collect();
        let change = RoomChange { room, joins, leaves: Vec::new(), is_whole: false };
        rooms.apply_report(RoomReport { gateway: "h".into(), number: n as u64 + 1, changes: vec![change] }, now);
    }
    let members = |rooms: &Rooms| rooms.by_name.values().map(|room| room.members.len()).sum::<usize>();
    let most = WORK_MAX + peer_members + 1;

    // What nobody could read yet is told all the same, and read again.
    while rooms.give_up_reading() {}
    let unread = |rooms: &mut Rooms| rooms.unread(16).len();
    assert_eq!((unread(&mut rooms), rooms.unread_new.len(), rooms.unread.len()), (16, 0, room_count));
    rooms.unread = NameQueue::default();
    rooms.reread_after = Some("".into());
    assert_eq!((unread(&mut rooms), rooms.unread.len()), (16, 16), "only what is read next is listed");
    let mut seen = BTreeSet::new();
    while unread(&mut rooms) > 0 {
        let names = std::mem::take(&mut rooms.unread);
        assert!(names.iter().all(|name| seen.insert(Arc::clone(name))), "each once");
    }
    assert_eq!(seen.len(), room_count);

    // The other gateway dies with its hundred thousand members.
    for _ in 0..2 {
        now += PEER_LIFE / 2;
        rooms.apply_beat(&RoomsBeat { is_lost: false, peers: Vec::new() }, now);
    }
    let mut before = members(&rooms);
    assert_eq!(before, room_count * (peer_members + 1), "nothing was done yet");
    let (mut steps, mut longest, began) = (0, Duration::ZERO, Instant::now());
    loop {
        let step = Instant::now();
        let has_more = rooms.expire(now);
        longest = longest.max(step.elapsed());
        if !has_more {
            break;
        }
        let left = members(&rooms);
        assert!(before - left <= most, "{before} {left}");
        (before, steps) = (left, steps + 1);
    }
    println!(
        "{} members in {:?} and {steps} steps, the longest {longest:?}",
        room_count * peer_members,
        began.elapsed()
    );
    assert_eq!(members(&rooms), room_count);
    assert!(steps >= room_count * peer_members / most, "{steps}");

    // So are the news of it, and a report of everything.
    now += WINDOW * 10;
    let (mut after, mut told): (Option<Arc<str>>, usize) = (Some("".into()), 0);
    while let Some(last) = after {
        let (news, next) = rooms.take_news(now, &last);
        let work: usize = news.iter().map(|news| 1 + news.joins.len() + news.leaves.len()).sum();
        assert!(work <= most, "{work}");
        (after, told) = (next, told + news.len());
    }
    assert_eq!((told, rooms.untold.len()), (room_count, 0));
    let (mut whole, mut named, mut parts) = (WholeReport::new(vec!["lost".into(), "r0".into()]), BTreeSet::new(), 0);
    while !whole.is_complete() {
        let part = rooms.take_part(&mut whole);
        assert!(part.changes.len() <= WORK_MAX && part.changes.iter().all(|change| change.is_whole));
        named.extend(part.changes.into_iter().map(|change| change.room));
        parts += 1;
    }
    assert_eq!(named.len(), room_count + 1);
    assert!(parts > 1, "{parts}");
}

#[test]
fn a_gateway_that_comes_back_while_it_is_swept_keeps_its_members() {
    let mut now = Instant::now();
    let mut rooms = Rooms::new("g", true, limits());
    let peer = |number| RoomsPeer { gateway: "h".into(), number, is_complete: true, life: PEER_LIFE };
    let beat = |number: Option<u64>| RoomsBeat { is_lost: false, peers: number.map(peer).into_iter().collect() };
    rooms.apply_beat(&beat(Some(0)), now);
    let count = WORK_MAX + 5;
    let name = |n: usize| Arc::<str>::from(format!("r{n:05}"));
    for n in 0..count {
        rooms.join(&name(n), watcher(n), member("ada", "{}", 1), now).unwrap();
        let change =
            RoomChange { room: name(n), joins: vec![member("bob", "{}", 1)], leaves: Vec::new(), is_whole: false };
        rooms.apply_report(RoomReport { gateway: "h".into(), number: n as u64 + 1, changes: vec![change] }, now);
    }
    for _ in 0..2 {
        now += PEER_LIFE / 2;
        rooms.apply_beat(&beat(None), now);
    }
    assert!(rooms.expire(now), "the first step does not do it all");
    rooms.apply_beat(&beat(Some(count as u64)), now);
    assert!(!rooms.expire(now));
    let last = name(count - 1);
    assert_eq!(ids(&rooms.list(&last).unwrap()), ["ada", "bob"]);
    // What was swept before is read again.
    loop {
        let names = rooms.unread(16);
        if names.is_empty() {
            break;
        }
        let stored = names.iter().map(|_| vec![("h".into(), vec![member("bob", "{}", 1)])]).collect();
        rooms.apply_read(&names, RoomsRead { peers: vec![peer(count as u64)], rooms: stored }, now);
    }
    assert!((0..count).all(|n| ids(&rooms.list(&name(n)).unwrap()) == ["ada", "bob"]));
}
