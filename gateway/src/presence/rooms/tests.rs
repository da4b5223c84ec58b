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
    let mut news = rooms.take_news(*now);
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
