//! Who may hear: subscriptions that a worker grants, in the user's own session, and what a client shows afterwards.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use diffyne_tests::client::{Client, probe};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::laravel::{Laravel, Way};
use diffyne_tests::ways;
use serde_json::{Value, json};

const LISTENER: &str = "App\\Tests\\Listener";

fn shape() -> Shape {
    Shape::new(2, 1)
        .with_redis()
        .gateway("--subscribe", "granted")
        .gateway("--signing-key", "k")
        .gateway("--grant-life", "6s")
        // The page is on another port than the socket.
        .gateway("--app-url", "http://127.0.0.1")
}

fn room(room: i64) -> Value {
    json!({"name": "message-sent", "match": {"room": room}, "componentClass": LISTENER})
}

async fn ask(client: &mut Client, event: &str, data: Value) -> anyhow::Result<Value> {
    let mut data = data;
    data["requestId"] = json!("r");
    client.send(event, data).await?;
    client.receive().await
}

/// Calls for grants that workers have seen.
fn asked(cluster: &Cluster) -> f64 {
    let results = ["given", "refused", "failed"];
    let count = |gateway: usize, result: &str| {
        cluster.gateways[gateway].metric(&format!("diffyne_gateway_grants_total{{result=\"{result}\"}}")).unwrap()
    };
    (0..2).flat_map(|gateway| results.map(|result| count(gateway, result))).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_is_granted_an_event_hears_it_and_comes_back_without_a_worker() -> anyhow::Result<()> {
    let cluster = Cluster::start(shape())?;
    let cookie = [("Cookie", "session=ada"), ("Origin", "http://127.0.0.1")];
    let mut ada = Client::connect_with(&cluster.url(0), &cookie).await?;
    let mut guest = Client::connect(&cluster.url(0)).await?;
    // Without a class nobody can be asked; a class that does not listen, or says no, is no way in.
    for (events, words) in [
        (json!([{"name": "message-sent"}]), "must name the componentClass"),
        (json!([{"name": "message-sent", "componentClass": "App\\Diffyne\\Counter"}]), "Not granted: message-sent"),
        (json!([{"name": "message-sent", "componentClass": "App\\Nobody"}]), "could not be asked"),
        (json!([room(7)]), "Not granted"),
    ] {
        let answer = ask(&mut guest, "diffyne.subscribe", json!({"events": events})).await?;
        assert_eq!((&answer["event"], &answer["data"]["type"]), (&json!("diffyne.error"), &json!("subscribe_error")));
        assert!(
            answer["data"]["error"].as_str().unwrap().contains(words) && answer["data"]["requestId"] == "r",
            "{answer}"
        );
    }
    let answer = ask(&mut ada, "diffyne.subscribe", json!({"events": [room(7), room(8)]})).await?;
    assert_eq!(
        answer["data"]["error"],
        format!("Not granted: message-sent for {LISTENER}"),
        "one of the two: {answer}"
    );
    let answer = ada.receive().await?;
    assert_eq!(
        (&answer["event"], &answer["data"]["events"]),
        (&json!("diffyne.subscribed"), &json!([room(7)])),
        "{answer}"
    );
    let grant = answer["data"]["grant"].as_str().unwrap().to_owned();
    let place = json!({"epoch": answer["data"]["epoch"], "offset": answer["data"]["offset"]});

    let mut sender = Client::connect(&cluster.url(1)).await?;
    for room in [7, 8, 7] {
        ask(&mut sender, "diffyne.call", probe("p", "post", json!([room]), "r")).await?;
    }
    let mut heard = Vec::new();
    while heard.len() < 2 {
        heard.push(ada.receive().await?["data"]["events"][0]["params"][0]["room"].clone());
    }
    assert_eq!(heard, [7, 7]);
    assert_eq!(guest.barrier().await?, Vec::<Value>::new(), "who was refused hears nothing");

    // Back at the other gateway, with the grant: no worker is asked, and nothing is missed.
    let before = asked(&cluster);
    let resume = |grant: Option<&str>, events: Value| json!({"epoch": place["epoch"], "offset": place["offset"], "events": events, "grant": grant});
    let mut back = Client::connect_with(&cluster.url(1), &cookie).await?;
    back.send("diffyne.resume", resume(Some(&grant), json!([room(7)]))).await?;
    for _ in 0..2 {
        assert_eq!(back.receive().await?["data"]["events"][0]["params"][0]["room"], 7);
    }
    assert_eq!(back.receive().await?["data"]["recovered"], true);
    assert!((asked(&cluster) - before).abs() < 0.5, "no worker was asked");
    // For more than it names, or changed, it is no grant; without one a worker is asked.
    let (content, signature) = grant.split_once('.').unwrap();
    let forged = format!("{}.{signature}", content.chars().rev().collect::<String>());
    for (grant, events) in
        [(grant.as_str(), json!([room(8)])), (forged.as_str(), json!([room(7)])), ("x", json!([room(7)]))]
    {
        let mut thief = Client::connect(&cluster.url(1)).await?;
        let answer = ask(&mut thief, "diffyne.resume", resume(Some(grant), events)).await?;
        assert_eq!(answer["data"]["type"], "subscribe_error", "{answer}");
        ask(&mut sender, "diffyne.call", probe("p", "post", json!([7]), "r")).await?;
        assert_eq!(thief.barrier().await?, Vec::<Value>::new());
    }
    let mut without = Client::connect(&cluster.url(1)).await?;
    let answer = ask(&mut without, "diffyne.resume", resume(None, json!([room(7)]))).await?;
    assert_eq!(answer["data"]["type"], "subscribe_error", "a guest may not: {answer}");

    // Past half of its life it is renewed, after it not taken.
    tokio::time::sleep(Duration::from_millis(3500)).await;
    let mut old = Client::connect_with(&cluster.url(0), &cookie).await?;
    old.send("diffyne.resume", resume(Some(&grant), json!([room(7)]))).await?;
    let answer = loop {
        let message = old.receive().await?;
        if message["event"] == "diffyne.resumed" {
            break message;
        }
    };
    let newer = answer["data"]["grant"].as_str().unwrap().to_owned();
    assert_ne!(newer, grant);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut late = Client::connect_with(&cluster.url(0), &cookie).await?;
    let answer = ask(&mut late, "diffyne.resume", resume(Some(&grant), json!([room(7)]))).await?;
    assert_eq!(answer["data"]["type"], "grant_expired", "{answer}");
    late.send("diffyne.resume", resume(Some(&newer), json!([room(7)]))).await?;
    let answer = loop {
        let message = late.receive().await?;
        if message["event"] == "diffyne.resumed" {
            break message;
        }
    };
    assert_eq!(answer["data"]["recovered"], true);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_worker_a_grant_that_is_good_still_holds() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(shape().gateway("--worker-wait", "1s"))?;
    let cookie = [("Cookie", "session=ada"), ("Origin", "http://127.0.0.1")];
    let mut ada = Client::connect_with(&cluster.url(0), &cookie).await?;
    let answer = ask(&mut ada, "diffyne.subscribe", json!({"events": [room(7)]})).await?;
    let grant = answer["data"]["grant"].clone();
    cluster.workers[0].process.signal(diffyne_tests::process::Signal::Kill)?;
    cluster.workers[0].process.wait()?;
    // Past half of its life.
    tokio::time::sleep(Duration::from_millis(3500)).await;
    let mut back = Client::connect_with(&cluster.url(1), &cookie).await?;
    let data = json!({"epoch": answer["data"]["epoch"], "offset": answer["data"]["offset"], "events": [room(7)], "grant": grant});
    let answer = ask(&mut back, "diffyne.resume", data).await?;
    assert_eq!((&answer["event"], &answer["data"]["recovered"]), (&json!("diffyne.resumed"), &json!(true)), "{answer}");
    let mut stranger = Client::connect_with(&cluster.url(1), &cookie).await?;
    let answer = ask(&mut stranger, "diffyne.subscribe", json!({"events": [room(7)]})).await?;
    assert_eq!(answer["event"], "diffyne.error", "who has none waits for a worker in vain: {answer}");
    Ok(())
}

ways!(components_in_php_say_who_may_hear: short = Short, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn components_in_php_say_who_may_hear(way: Way) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let served = laravel.served(way, 1)?;
    let key = diffyne_tests::recorded::APP_KEY;
    let cluster = Cluster::start(served.shape.clone().gateway("--subscribe", "granted").gateway("--app-key", key))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let class = "App\\Diffyne\\Probe";
    let wish = |room: i64| json!({"events": [{"name": "probed", "match": {"room_id": room}, "componentClass": class}]});
    let answer = ask(&mut client, "diffyne.subscribe", wish(2)).await?;
    assert_eq!(answer["data"]["type"], "subscribe_error", "nobody yet: {answer}");
    let state = json!({"text": "", "user": null, "seen": []});
    let login = diffyne_tests::client::call(class, "diffyne-probe", "login", json!(["ada"]), state, "r");
    ask(&mut client, "diffyne.call", login).await?;
    let answer = ask(&mut client, "diffyne.subscribe", wish(2)).await?;
    assert!(answer["data"]["grant"].is_string(), "in the user's own session: {answer}");
    let unheard = json!({"events": [{"name": "unheard", "componentClass": class}]});
    let answer = ask(&mut client, "diffyne.subscribe", unheard).await?;
    assert_eq!(answer["data"]["error"], format!("Not granted: unheard for {class}"), "{answer}");
    Ok(())
}
