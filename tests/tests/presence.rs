//! Who is here: rooms over all gateways, and what their members whisper.

use std::time::{Duration, Instant};

use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::events_client::EventsClient;
use diffyne_tests::http::http;
use diffyne_tests::members::{MEMBER, ORDER};
use diffyne_tests::process::{Signal, eventually};
use diffyne_tests::redis;
use diffyne_tests::visitor::{Visitor, room, room_name};
use serde_json::{Value, json};

/// How long a killed gateway's users may be seen.
const LIMIT: Duration = Duration::from_secs(6);

fn shape(gateways: usize) -> Shape {
    let shape = Shape::new(gateways, 1).with_redis().gateway("--signing-key", "k").gateway("--threads", "2");
    // The page is on another port than the socket.
    shape.gateway("--app-url", "http://127.0.0.1").gateway("--admin-token", "let-me")
}

fn get(cluster: &Cluster, gateway: usize, path: &str) -> anyhow::Result<(u16, Value)> {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer let-me\r\n\r\n");
    let answer = http(cluster.gateways[gateway].admin, &request)?;
    Ok((answer.status, answer.json()?))
}

/// Who is in a room, as a gateway tells an application.
fn members(cluster: &Cluster, gateway: usize, room: &str) -> anyhow::Result<Vec<String>> {
    let query: String = room.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let (status, answer) = get(cluster, gateway, &format!("/api/presence?room={query}"))?;
    anyhow::ensure!(status == 200, "{answer}");
    let members = answer["members"].as_array().unwrap();
    Ok(members.iter().map(|member| member["id"].as_str().unwrap().to_owned()).collect())
}

fn entries(cluster: &Cluster, result: &str) -> f64 {
    let metric = format!("diffyne_gateway_presence_entries_total{{result=\"{result}\"}}");
    cluster.gateways.iter().map(|gateway| gateway.metric(&metric).unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn users_see_each_other_come_and_go_once_each_over_all_gateways() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(shape(3).gateway("--presence-grace", "1s"))?;
    let url = |gateway| cluster.url(gateway);
    let mut ada = Visitor::enter(&url(0), "ada", 7).await?;
    ada.sees(7, &["ada"]).await?;
    let mut bob = Visitor::enter(&url(1), "bob", 7).await?;
    bob.sees(7, &["ada", "bob"]).await?;
    ada.sees(7, &["ada", "bob"]).await?;
    assert_eq!(ada.members[&room_name(7)]["bob"], json!({"name": "bob"}), "what the worker says, and nothing else");

    // Another room is another room, whatever the order of its fields.
    let mut eve = Visitor::connect(&url(2), "session=eve").await?;
    let other = json!({"name": ORDER, "match": {"b": 2, "a": "1"}, "componentClass": MEMBER});
    eve.ask(json!([other, room(8)])).await?;
    let name = format!(r#"{ORDER}{{"a":"1","b":2}}"#);
    eve.wait_until("both lists", |eve| eve.members.len() == 2).await?;
    assert_eq!(eve.members[&name].keys().collect::<Vec<_>>(), ["eve"]);

    // More tabs at whatever gateway are the same user, of whom the latest counts.
    let mut second = Visitor::connect(&url(1), "session=ada; name=Countess").await?;
    second.ask(json!([room(7)])).await?;
    second.sees(7, &["ada", "bob"]).await?;
    let countess = json!({"name": "Countess"});
    for visitor in [&mut ada, &mut bob, &mut second] {
        let is_told = |visitor: &Visitor| visitor.members[&room_name(7)]["ada"] == countess;
        visitor.wait_until("what is told last counts", is_told).await?;
    }
    let mut third = Visitor::enter(&url(0), "ada", 7).await?;
    let name = json!({"name": "ada"});
    for visitor in [&mut ada, &mut bob, &mut second, &mut third] {
        visitor.wait_until("and so on", |visitor| visitor.members[&room_name(7)]["ada"] == name).await?;
    }
    for gateway in 0..3 {
        eventually("the API agrees", || members(&cluster, gateway, &room_name(7)).unwrap() == ["ada", "bob"])?;
    }
    assert_eq!(members(&cluster, 2, &format!(r#"{ORDER}{{"b":2,"a":"1"}}"#))?, ["eve"]);
    assert!(members(&cluster, 0, "nobody-is-here")?.is_empty());
    for wrong in ["", "a%20b", "x%7B", "x%7B%22a%22"] {
        assert_eq!(get(&cluster, 0, &format!("/api/presence?room={wrong}"))?.0, 422, "{wrong}");
    }
    assert!(get(&cluster, 0, "/api/presence")?.1["gateways"].is_object(), "without a room as before");

    // One tab after the other goes; a reload is no departure; who says goodbye goes at once.
    drop((second, third));
    bob.changes.clear();
    drop(ada);
    let mut ada = Visitor::connect(&url(2), "session=ada").await?;
    ada.ask(json!([room(7)])).await?;
    ada.sees(7, &["ada", "bob"]).await?;
    // Whose connection ends after that, and who does not come back, is gone when the time of the one before is over.
    drop(Visitor::enter(&url(0), "tom", 7).await?);
    bob.wait_until("tom has gone", |bob| bob.changes.last().is_some_and(|change| change == "-tom")).await?;
    assert_eq!(bob.changes, ["+tom", "-tom"], "ada was never away");
    let asked = Instant::now();
    ada.client.send("diffyne.leave", json!({"rooms": [room_name(7)], "requestId": "bye"})).await?;
    bob.sees(7, &["bob"]).await?;
    assert!(asked.elapsed() < Duration::from_millis(900), "no grace for who leaves");
    ada.catch_up().await?;
    assert!(ada.members.is_empty(), "who has left hears nothing more");

    // Whoever has a grant needs no worker, on whatever gateway.
    let granted = entries(&cluster, "granted");
    let mut shown = room(7);
    shown["grant"] = json!(ada.grants[&room_name(7)]);
    let mut back = Visitor::connect(&url(0), "session=ada").await?;
    back.ask(json!([shown.clone()])).await?;
    back.sees(7, &["ada", "bob"]).await?;
    assert!((entries(&cluster, "granted") - granted).abs() < 0.5 && (entries(&cluster, "shown") - 1.0).abs() < 0.5);

    // A stream of events is in a room as well.
    let subscription = json!({"rooms": [room(7)]});
    let headers = [("Cookie", "session=zoe"), ("Origin", "http://127.0.0.1")];
    let mut zoe = EventsClient::post(cluster.gateways[1].port, "", &headers, &subscription).await?;
    let list = loop {
        let message = zoe.receive().await?;
        if message.event() == "diffyne.presence" {
            break message;
        }
    };
    assert!(list.data().to_string().contains(r#""id":"zoe""#), "{list}");
    bob.sees(7, &["ada", "bob", "zoe"]).await?;
    drop(zoe);
    bob.sees(7, &["ada", "bob"]).await?;

    // A killed gateway's users are gone within the lease, and so is nobody else.
    let killed = Instant::now();
    cluster.gateways[0].process.signal(Signal::Kill)?;
    bob.sees(7, &["bob"]).await?;
    assert!(killed.elapsed() < LIMIT, "{:?}", killed.elapsed());
    eventually("the others' API agrees", || members(&cluster, 2, &room_name(7)).unwrap() == ["bob"])?;

    // Redis comes back empty: nobody has left, and it is exact again.
    let mut ada = Visitor::enter(&cluster.url(2), "ada", 7).await?;
    ada.sees(7, &["ada", "bob"]).await?;
    bob.sees(7, &["ada", "bob"]).await?;
    bob.changes.clear();
    cluster.kill_redis()?;
    let mut zoe = Visitor::connect(&cluster.url(1), "session=zoe").await?;
    zoe.ask(json!([room(7)])).await?;
    zoe.wait_until("the list, without redis", |zoe| !zoe.members.is_empty()).await?;
    cluster.start_redis()?;
    ada.sees(7, &["ada", "bob", "zoe"]).await?;
    zoe.sees(7, &["ada", "bob", "zoe"]).await?;
    bob.sees(7, &["ada", "bob", "zoe"]).await?;
    assert_eq!(bob.changes, ["+zoe"], "nobody else came or went");
    eventually("the API agrees", || {
        members(&cluster, 1, &room_name(7)).is_ok_and(|members| members == ["ada", "bob", "zoe"])
    })?;
    // What gateways of other releases say there, and strangers, harms nobody: kinds of messages, fields and states of a newer
    // one, members that nobody can read, and an older one that has no rooms at all.
    let foreign = [
        r#"{"gateway":"new.1","kind":"typing","rooms":{"a":1}}"#,
        r#"{"gateway":"new.1","number":"7","changes":[{"room":7}]}"#,
        r#"{"gateway":"new.1","number":1,"changes":[{"room":"nobody-is-here","joins":[],"tags":["x"]}],"zone":"eu"}"#,
        r#"{"gateway":"new.1","whispers":[{"room":"nobody-is-here","name":"x","from":"y","data":1,"to":["z"]}]}"#,
        "\u{1}\u{2} no JSON",
    ];
    for message in foreign {
        redis::cli(cluster.redis_port, &["PUBLISH", "{diffyne}:rooms", message])?;
    }
    let key = format!("{{diffyne}}:room:new.2:{}", room_name(7));
    redis::cli(cluster.redis_port, &["HSET", "{diffyne}:rooms:gateways", "new.1", "9 v2", "new.2", "3"])?;
    redis::cli(
        cluster.redis_port,
        &["ZADD", "{diffyne}:rooms:until", "9e15", "new.1", "9e15", "new.2", "9e15", "old.1"],
    )?;
    redis::cli(cluster.redis_port, &["HSET", &key, "mallory", "v2:{}", "", "1 {}"])?;
    let mut tom = Visitor::enter(&cluster.url(2), "tom", 7).await?;
    tom.sees(7, &["ada", "bob", "tom", "zoe"]).await?;
    bob.sees(7, &["ada", "bob", "tom", "zoe"]).await?;
    tom.client.send("diffyne.leave", json!({"rooms": [room_name(7)]})).await?;
    bob.sees(7, &["ada", "bob", "zoe"]).await?;
    bob.changes.truncate(1);
    redis::cli(cluster.redis_port, &["FLUSHALL"])?;
    eventually("it is all there again", || {
        members(&cluster, 2, &room_name(7)).is_ok_and(|members| members == ["ada", "bob", "zoe"])
    })?;
    drop(zoe);
    bob.sees(7, &["ada", "bob"]).await?;
    assert_eq!(bob.changes, ["+zoe", "-zoe"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_is_granted_a_room_is_in_it_hears_it_and_whispers_there() -> anyhow::Result<()> {
    let shape = shape(2).gateway("--presence-max-members", "3").gateway("--presence-max-rooms", "4");
    let cluster = Cluster::start(shape.gateway("--whisper-rate", "5/s:5").gateway("--whisper-bytes", "100"))?;
    let closed = json!({"name": ORDER, "match": {"closed": 1}, "componentClass": MEMBER});
    let closed_name = format!(r#"{ORDER}{{"closed":1}}"#);
    let mut ada = Visitor::connect(&cluster.url(0), "session=ada").await?;
    ada.ask(json!([closed, room(7)])).await?;
    ada.wait_until("both", |ada| ada.members.len() == 2).await?;
    let grant = ada.grants[&closed_name].clone();

    let mut eve = Visitor::connect(&cluster.url(1), "session=eve").await?;
    let mut guest = Visitor::connect(&cluster.url(1), "").await?;
    let stolen = json!({"name": ORDER, "match": {"closed": 1}, "componentClass": MEMBER, "grant": grant});
    for (is_guest, wanted, words) in [
        (true, room(7), "Not granted"),
        (false, closed.clone(), "Not granted"),
        (true, stolen.clone(), "Not granted"),
        (false, stolen, "Not granted"),
        (false, json!({"name": ORDER, "componentClass": "App\\Tests\\Listener"}), "Not granted"),
        (false, json!({"name": ORDER, "componentClass": "App\\Nobody"}), "Not granted"),
        (false, json!({"name": ORDER}), "rooms must be"),
        (false, json!({"name": "private:orders.1", "componentClass": MEMBER}), "rooms must be"),
        (false, json!({"name": "presence:a:b", "componentClass": MEMBER}), "rooms must be"),
        // It would be the room of another event.
        (false, json!({"name": closed_name, "componentClass": MEMBER}), "rooms must be"),
        (false, json!({"name": "x".repeat(129), "componentClass": MEMBER}), "rooms must be"),
        (false, json!(7), "rooms must be"),
    ] {
        let visitor = if is_guest { &mut guest } else { &mut eve };
        visitor.ask(json!([wanted])).await?;
        let answer = visitor.client.receive_event("diffyne.error").await?;
        assert_eq!((answer.error_type(), answer.request_id()), ("subscribe_error", &json!("r")), "{wanted}: {answer}");
        assert!(answer.error().contains(words), "{wanted}: {answer}");
    }
    // What can be entered is, beside what cannot; what a client says of itself counts for nothing.
    let mut claim = room(7);
    claim["id"] = json!("ada");
    claim["info"] = json!({"name": "Admin"});
    eve.ask(json!([claim, closed])).await?;
    eve.sees(7, &["ada", "eve"]).await?;
    assert_eq!(eve.members[&room_name(7)]["eve"], json!({"name": "eve"}));
    assert_eq!(eve.members.len(), 1);

    // Whispers: to the others in the room, once, and to nobody else.
    let mut second = Visitor::enter(&cluster.url(0), "ada", 7).await?;
    ada.sees(7, &["ada", "eve"]).await?;
    let whisper = |room: &str, data: Value| json!({"room": room, "name": "typing", "data": data, "requestId": "w"});
    ada.client.send("diffyne.whisper", whisper(&room_name(7), json!({"at": 1.0}))).await?;
    for visitor in [&mut eve, &mut second] {
        visitor.wait_until("the whisper", |visitor| visitor.whispers.len() == 1).await?;
        let expected = json!({"room": room_name(7), "name": "typing", "from": "ada", "data": {"at": 1.0}});
        assert_eq!(visitor.whispers, [expected]);
    }
    // While Redis does not answer, whoever is on the same gateway hears all the same.
    let redis = cluster.redis.as_ref().unwrap();
    redis.signal(Signal::Stop)?;
    for at in 0..2_usize {
        ada.client.send("diffyne.whisper", whisper(&room_name(7), json!({"paused": at}))).await?;
        second.wait_for(Duration::from_secs(1), "the whisper", |second| second.whispers.len() == 2 + at).await?;
    }
    redis.signal(Signal::Cont)?;
    for (room, data, kind) in [
        (closed_name.as_str(), json!(1), "subscribe_error"),
        ("", json!(1), "subscribe_error"),
        (&room_name(7), json!("x".repeat(99)), "too_large"),
    ] {
        eve.client.send("diffyne.whisper", whisper(room, data)).await?;
        let answer = eve.client.receive_event("diffyne.error").await?;
        assert_eq!((answer.error_type(), answer.request_id()), (kind, &json!("w")), "{room}: {answer}");
    }
    let answer = guest.client.request("diffyne.whisper", whisper(&room_name(7), json!(1))).await?;
    assert_eq!(answer.error_type(), "subscribe_error", "{answer}");
    for at in 0..20 {
        eve.client.send("diffyne.whisper", whisper(&room_name(7), json!(at))).await?;
    }
    let limited = eve.client.receive_event("diffyne.error").await?;
    assert_eq!(limited.error_type(), "rate_limited", "{limited}");
    eve.client.barrier().await?;
    ada.wait_until("the first ones", |ada| ada.whispers.len() >= 5).await?;
    ada.catch_up().await?;
    assert!(ada.whispers.len() < 10 && ada.whispers[0]["data"] == 0, "{:?}", ada.whispers);
    assert!(eve.whispers.len() == 1 && guest.client.barrier().await?.is_empty());

    // A room has its limit, and so has a connection.
    let bob = Visitor::enter(&cluster.url(1), "bob", 7).await?;
    ada.sees(7, &["ada", "bob", "eve"]).await?;
    let mut zoe = Visitor::connect(&cluster.url(0), "session=zoe").await?;
    zoe.ask(json!([room(7)])).await?;
    let full = zoe.client.receive_event("diffyne.error").await?;
    assert_eq!(
        (full.error(), full["rooms"].clone()),
        (&*format!("The room is full: {}", room_name(7)), json!([room_name(7)]))
    );
    drop(bob);
    ada.sees(7, &["ada", "eve"]).await?;
    zoe.ask(json!([room(7)])).await?;
    zoe.sees(7, &["ada", "eve", "zoe"]).await?;
    zoe.ask((1..=5).map(room).collect()).await?;
    assert!(zoe.client.receive_event("diffyne.error").await?.error().contains("at most 4 rooms"));
    zoe.ask((1..=4).map(room).collect()).await?;
    let refused = zoe.client.receive_event("diffyne.error").await?;
    assert!(refused.error().contains("at most 4 rooms"), "{refused}");

    // Who has logged out enters with no grant from before: a worker is asked.
    let mut tom = Visitor::enter(&cluster.url(0), "tom", 9).await?;
    let mut shown = room(9);
    shown["grant"] = json!(tom.grants[&room_name(9)]);
    let call = diffyne_tests::client::call(MEMBER, "m", "leave", json!([]), json!({"calls": 0}), "c");
    tom.client.send("diffyne.call", call).await?;
    tom.wait_until("it is in no room", |tom| tom.members.is_empty()).await?;
    let (granted, by_grant) = (entries(&cluster, "granted"), entries(&cluster, "shown"));
    tom.ask(json!([shown])).await?;
    tom.sees(9, &["tom"]).await?;
    assert!((entries(&cluster, "granted") - granted - 1.0).abs() < 0.5, "a worker has decided");
    assert!((entries(&cluster, "shown") - by_grant).abs() < 0.5);
    drop(tom);

    // A login leaves what the user before was in.
    zoe.catch_up().await?;
    let call = diffyne_tests::client::call(MEMBER, "m", "enter", json!(["eve"]), json!({"calls": 0}), "c");
    zoe.client.send("diffyne.call", call).await?;
    ada.sees(7, &["ada", "eve"]).await?;
    zoe.wait_until("it is in no room", |zoe| zoe.members.is_empty()).await?;
    eventually("nothing is left of rooms without anybody", || {
        cluster.gateways[0].metric("diffyne_gateway_presence_rooms").is_ok_and(|rooms| rooms < 2.5)
    })
}
