//! Clients that try to break rooms, whispers and pushes without a WebSocket: each gets a clear answer, and nobody else
//! notices.

use anyhow::{Context as _, ensure};
use diffyne_tests::attack::Bystander;
use diffyne_tests::client::Client;
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::events_client::{Block, EventsClient};
use diffyne_tests::http::http;
use diffyne_tests::members::{MEMBER, ORDER};
use diffyne_tests::process::eventually;
use diffyne_tests::visitor::{Visitor, room, room_name};
use serde_json::{Value, json};

/// Values where something else is expected.
fn odd_values() -> Vec<Value> {
    let nested = (0..100).fold(json!(1), |inner, _| json!([inner]));
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(1e308),
        json!(18_446_744_073_709_551_615_u64),
        json!(""),
        json!("\0"),
        json!("a\nb\r\nid: 9:9\ndata: x"),
        json!("\u{202e}\u{feff}😀"),
        json!("x".repeat(70_000)),
        json!([]),
        json!([[], {}]),
        json!({}),
        json!({"__proto__": {"a": 1}}),
        nested,
    ]
}

/// Messages of which each is wrong in one place.
fn messages() -> Vec<(&'static str, Value)> {
    let mut all = Vec::new();
    for odd in odd_values() {
        all.push(("diffyne.presence", odd.clone()));
        all.push(("diffyne.presence", json!({"rooms": odd})));
        all.push(("diffyne.presence", json!({"rooms": [odd]})));
        for field in ["name", "match", "componentClass", "grant"] {
            let mut wrong = room(1);
            wrong[field] = odd.clone();
            all.push(("diffyne.presence", json!({"rooms": [wrong], "requestId": odd})));
        }
        all.push((
            "diffyne.presence",
            json!({"rooms": [{"name": ORDER, "match": {"room": odd}, "componentClass": MEMBER}]}),
        ));
        all.push((
            "diffyne.presence",
            json!({"rooms": [{"name": format!("presence:{}", odd.as_str().unwrap_or("x y"))}]}),
        ));
        all.push(("diffyne.leave", json!({"rooms": odd})));
        all.push(("diffyne.leave", json!({"rooms": [odd]})));
        for field in ["room", "name", "data"] {
            let mut wrong = json!({"room": room_name(7), "name": "typing", "data": 1});
            wrong[field] = odd.clone();
            all.push(("diffyne.whisper", wrong));
        }
        all.push(("diffyne.whisper", odd));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn who_attacks_rooms_and_streams_of_events_gets_clear_answers_and_harms_nobody() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).gateway("--threads", "1").gateway("--signing-key", "k");
    let shape = shape.gateway("--app-url", "http://127.0.0.1").gateway("--admin-token", "let-me");
    let cluster = Cluster::start(shape)?;
    let gateway = &cluster.gateways[0];
    let metric = |name: &str| gateway.metric(&format!("diffyne_gateway_{name}"));
    let bystander = Bystander::start(&cluster).await?;
    let mut ada = Visitor::enter(&cluster.url(0), "ada", 7).await?;
    let mut bob = Visitor::enter(&cluster.url(0), "bob", 7).await?;
    ada.sees(7, &["ada", "bob"]).await?;
    let headers = [("Cookie", "session=zoe"), ("Origin", "http://127.0.0.1")];
    let subscription = json!({"rooms": [room(7)], "events": [{"name": "message-sent"}]});
    let mut zoe = EventsClient::post(gateway.port, "", &headers, &subscription).await?;
    ada.sees(7, &["ada", "bob", "zoe"]).await?;

    // Wrong types, lengths and characters in each place: an answer to each, and the connection lives.
    let mut eve =
        Client::connect_with(&cluster.url(0), &[("Cookie", "session=eve"), ("Origin", "http://127.0.0.1")]).await?;
    for (event, data) in messages() {
        eve.send(event, data.clone()).await?;
        let answers =
            eve.barrier().await.with_context(|| format!("{event} {data}").chars().take(200).collect::<String>())?;
        let is_answered = |answer: &diffyne_tests::message::ServerMessage| {
            ["error", "diffyne.error", "diffyne.left", "diffyne.joined", "diffyne.presence"].contains(&answer.event())
        };
        ensure!(answers.iter().all(is_answered), "{event}: {answers:?}");
        ensure!(answers.iter().all(|answer| answer.to_string().len() < 80_000), "{event}: no long answer");
    }
    // What a page enters under another's grant, a changed one, or for another room, a worker decides; never the grant.
    let grant = ada.grants[&room_name(7)].clone();
    let (content, signature) = grant.split_once('.').context("a grant")?;
    let shown = metric("presence_entries_total{result=\"shown\"}")?;
    let mut thief = Visitor::connect(&cluster.url(0), "session=thief").await?;
    for forged in [
        grant.clone(),
        format!("{content}."),
        format!(".{signature}"),
        format!("{content}.{}", signature.to_uppercase()),
        format!("{}.{signature}", &content[1..]),
        format!("{grant}\0"),
        format!(" {grant}"),
        "=".repeat(70_000),
    ] {
        let mut wanted = room(7);
        wanted["grant"] = json!(forged);
        thief.ask(json!([wanted])).await?;
        thief.sees(7, &["ada", "bob", "thief", "zoe"]).await?;
        thief.client.send("diffyne.leave", json!({"rooms": [room_name(7)]})).await?;
        thief.wait_until("it has left", |thief| thief.members.is_empty()).await?;
    }
    assert!((metric("presence_entries_total{result=\"shown\"}")? - shown).abs() < 0.5, "no grant of another counted");

    // Rooms without end, one after the other and many at once; entering and leaving as fast as it goes.
    for start in 0..20 {
        thief
            .client
            .send("diffyne.presence", json!({"rooms": (start * 20..start * 20 + 20).map(room).collect::<Value>()}))
            .await?;
    }
    for _ in 0..200 {
        thief.client.send("diffyne.presence", json!({"rooms": [room(8)]})).await?;
        thief.client.send("diffyne.leave", json!({"rooms": [room_name(8)]})).await?;
    }
    thief.client.barrier().await?;
    assert!(metric("presence_rooms")? < 50.0, "a connection is in so many rooms and no more");
    drop(thief);

    // Line breaks in what is whispered and published make no field and no end of a block for who hears a stream.
    ada.sees(7, &["ada", "bob", "zoe"]).await?;
    let raw = format!(
        "{{\"event\":\"diffyne.whisper\",\"data\":{{\"room\":{},\"name\":\"typing\",\"data\":{{\n\n\"id\":\r\n\r1,\n\"data\": \"a\\nb\"\r}}}}}}",
        json!(room_name(7))
    );
    bob.client.send_text(&raw).await?;
    ada.wait_until("the whisper", |ada| {
        ada.whispers.iter().any(|whisper| whisper["data"] == json!({"id": 1, "data": "a\nb"}))
    })
    .await?;
    let event = "{\"name\":\"message-sent\",\"params\":[{\n\n\"data\":\r\"x\\n\\nid: 7:7\"}]}";
    let length = event.len();
    let publish = |body: &str, length: usize| {
        http(
            gateway.admin,
            &format!(
                "POST /api/broadcast HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer let-me\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            ),
        )
    };
    assert_eq!(publish(event, length)?.status, 202);
    for name in ["a\\nid: 1", "a\\u0000", "", "a b"] {
        let body = format!("{{\"name\":\"{name}\",\"params\":[]}}");
        assert_eq!(publish(&body, body.len())?.status, 422, "{name}");
    }
    let (mut heard, mut whispered) = (false, false);
    while !(heard && whispered) {
        let Some(block) = zoe.next().await? else { anyhow::bail!("the stream has ended") };
        if let Block::Message(message) = block {
            whispered |=
                message.event() == "diffyne.whisper" && message.data()["data"] == json!({"id": 1, "data": "a\nb"});
            heard |= message["data"]["params"][0]["data"] == json!("x\n\nid: 7:7")
                || message.to_string().contains("id: 7:7");
        }
    }
    assert!(zoe.last_id.as_ref().is_none_or(|id| id != "7:7"), "{:?}", zoe.last_id);

    // Requests for events that are wrong in each place: a status that says so, at once.
    for odd in odd_values() {
        for wrong in [
            odd.clone(),
            json!({"events": odd}),
            json!({"rooms": odd}),
            json!({"events": [{"name": odd}]}),
            json!({"events": [{"name": ORDER}], "epoch": odd, "offset": odd}),
        ] {
            let client = EventsClient::post(gateway.port, "", &headers, &wrong).await?;
            ensure!(
                [200, 400, 413, 422].contains(&client.status),
                "{}: {}",
                client.status,
                wrong.to_string().chars().take(200).collect::<String>()
            );
        }
    }
    for query in [
        "poll=-1",
        "poll=999999999999",
        "poll=%00",
        "poll=x&poll=y",
        "events=%0A%0D",
        "events=%FF",
        "last_event_id=%0Aid:1",
        "=&=&=",
        "%",
    ] {
        let client = EventsClient::get(gateway.port, query, &headers).await?;
        ensure!([200, 400, 413, 422].contains(&client.status), "{query}: {}", client.status);
    }

    // Nobody has noticed anything, nothing is left, and no thread has panicked.
    drop((eve, bob, zoe));
    ada.sees(7, &["ada"]).await?;
    eventually("nothing is left of other rooms", || metric("presence_rooms").is_ok_and(|rooms| rooms < 1.5))?;
    ada.client.send("diffyne.leave", json!({"rooms": [room_name(7)]})).await?;
    eventually("nothing is left", || metric("presence_rooms").is_ok_and(|rooms| rooms < 0.5))?;
    bystander.finish().await?;
    let log = gateway.process.output();
    ensure!(!log.contains("panicked"), "{log}");
    Ok(())
}
