//! Who may hear: subscriptions that a worker grants, in the user's own session, and what a client shows afterwards.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use diffyne_tests::client::{Client, probe};
use diffyne_tests::cluster::{Cluster, Shape, http_post};
use diffyne_tests::laravel::{Laravel, Way};
use diffyne_tests::ways;
use serde_json::{Value, json};

const LISTENER: &str = "App\\Tests\\Listener";

fn shape() -> Shape {
    lasting("6s")
}

/// Grants with a life.
fn lasting(life: &str) -> Shape {
    let shape = Shape::new(2, 1).with_redis().gateway("--subscribe", "granted").gateway("--signing-key", "k");
    // The page is on another port than the socket.
    shape.gateway("--app-url", "http://127.0.0.1").gateway("--grant-life", life)
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

#[tokio::test(flavor = "multi_thread")]
async fn with_no_worker_a_grant_ends_when_it_was_to_end() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(shape().gateway("--worker-wait", "200ms"))?;
    let cookie = [("Cookie", "session=ada"), ("Origin", "http://127.0.0.1")];
    let mut ada = Client::connect_with(&cluster.url(0), &cookie).await?;
    let given = Instant::now();
    let answer = ask(&mut ada, "diffyne.subscribe", json!({"events": [room(7)]})).await?;
    let mut grant = answer["data"]["grant"].clone();
    let place = answer["data"].clone();
    cluster.workers[0].process.signal(diffyne_tests::process::Signal::Kill)?;
    cluster.workers[0].process.wait()?;
    // Again and again, with whatever the gateway gave last.
    let mut held = 0;
    loop {
        let mut back = Client::connect_with(&cluster.url(held % 2), &cookie).await?;
        let data = json!({"epoch": place["epoch"], "offset": place["offset"], "events": [room(7)], "grant": grant});
        let answer = ask(&mut back, "diffyne.resume", data).await?;
        if answer["data"]["type"] == "grant_expired" {
            break;
        }
        assert_eq!(answer["event"], "diffyne.resumed", "{answer}");
        assert!(given.elapsed() < Duration::from_secs(8), "a life of 6 s has no end");
        if answer["data"]["grant"].is_string() {
            grant = answer["data"]["grant"].clone();
        }
        held += 1;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(given.elapsed() > Duration::from_secs(4) && held > 5, "it held until then: {held} times");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_of_no_use_in_another_session() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(lasting("1h").gateway("--worker-wait", "300ms"))?;
    let own = ("Origin", "http://127.0.0.1");
    let ada = [("Cookie", "session=ada; theme=dark"), own];
    let mut client = Client::connect_with(&cluster.url(0), &ada).await?;
    let answer = ask(&mut client, "diffyne.subscribe", json!({"events": [room(7)]})).await?;
    let place = answer["data"].clone();
    let resume =
        json!({"epoch": place["epoch"], "offset": place["offset"], "events": [room(7)], "grant": place["grant"]});
    let other_sessions = |cluster: &Cluster| {
        let count =
            |gateway: usize| cluster.gateways[gateway].metric("diffyne_gateway_grants_total{result=\"other_session\"}");
        count(0).unwrap() + count(1).unwrap()
    };
    // Many of the same session: no worker is asked.
    let before = asked(&cluster);
    for n in 0..50 {
        let mut back = Client::connect_with(&cluster.url(n % 2), &ada).await?;
        assert_eq!(ask(&mut back, "diffyne.resume", resume.clone()).await?["event"], "diffyne.resumed");
    }
    let mut turned = Client::connect_with(&cluster.url(1), &[("Cookie", "theme=dark; session=ada"), own]).await?;
    assert_eq!(ask(&mut turned, "diffyne.resume", resume.clone()).await?["event"], "diffyne.resumed");
    assert!((asked(&cluster) - before).abs() < 0.5, "no worker was asked");
    // Whoever has another session, or none, is asked about as if there were no grant.
    let foreign = [("Cookie", "session=ada; theme=dark"), ("Origin", "http://evil.test")];
    let thieves: [&[(&str, &str)]; 5] =
        [&[("Cookie", "session=eve; theme=dark"), own], &[("Cookie", "theme=dark"), own], &[own], &[], &foreign];
    for (number, headers) in thieves.iter().enumerate() {
        let mut thief = Client::connect_with(&cluster.url(number % 2), headers).await?;
        let answer = ask(&mut thief, "diffyne.resume", resume.clone()).await?;
        assert!(answer["data"]["error"].as_str().unwrap_or_default().contains("Not granted"), "{headers:?}: {answer}");
        let mut sender = Client::connect(&cluster.url(1)).await?;
        ask(&mut sender, "diffyne.call", probe("p", "post", json!([7]), "r")).await?;
        assert_eq!(thief.barrier().await?, Vec::<Value>::new(), "{headers:?} hears nothing");
    }
    assert!(other_sessions(&cluster) > 4.5);
    // The same user with other cookies costs a question, not an error.
    let mut changed = Client::connect_with(&cluster.url(0), &[("Cookie", "session=ada; theme=light"), own]).await?;
    changed.send("diffyne.resume", resume.clone()).await?;
    let answer = loop {
        let message = changed.receive().await?;
        if message["event"] != "diffyne.event" {
            break message;
        }
    };
    assert_eq!((&answer["event"], answer["data"]["grant"].is_string()), (&json!("diffyne.resumed"), true), "{answer}");
    // With no worker there is nobody who says yes to a thief.
    cluster.workers[0].process.signal(diffyne_tests::process::Signal::Kill)?;
    cluster.workers[0].process.wait()?;
    let mut thief = Client::connect_with(&cluster.url(0), thieves[0]).await?;
    assert_eq!(ask(&mut thief, "diffyne.resume", resume.clone()).await?["event"], "diffyne.error");
    Ok(())
}

/// The cookies that a call over the socket has set, as a browser gets and sends them.
fn fetch_cookies(cluster: &Cluster, answer: &Value) -> anyhow::Result<String> {
    let session = &answer["data"]["session"];
    let body = json!({"token": session["token"]}).to_string();
    let fetched = http_post(cluster.gateways[1].port, session["url"].as_str().unwrap(), &[], &body)?;
    let lines = fetched.head.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
    Ok(lines.filter_map(|line| line.split(';').next()).collect::<Vec<_>>().join("; "))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_laravel_keeps_its_grant_when_its_cookies_are_encrypted_anew() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let served = laravel.served(Way::Kernel, 1)?;
    let key = diffyne_tests::recorded::APP_KEY;
    let shape = Shape { gateways: 2, ..served.shape.clone() }.with_redis();
    let cluster = Cluster::start(shape.gateway("--subscribe", "granted").gateway("--app-key", key))?;
    let class = "App\\Diffyne\\Probe";
    let events = json!([{"name": "probed", "match": {"room_id": 2}, "componentClass": class}]);
    let state = || json!({"text": "", "user": null, "seen": []});
    let call =
        |method: &str, params: Value| diffyne_tests::client::call(class, "diffyne-probe", method, params, state(), "r");
    let log_in = async |name: &str| -> anyhow::Result<(Client, String)> {
        let mut client = Client::connect(&cluster.url(0)).await?;
        let answer = ask(&mut client, "diffyne.call", call("login", json!([name]))).await?;
        Ok((client, fetch_cookies(&cluster, &answer)?))
    };
    let (mut ada, cookies) = log_in("ada").await?;
    let answer = ask(&mut ada, "diffyne.subscribe", json!({"events": events})).await?;
    let place = answer["data"].clone();
    assert!(place["grant"].is_string(), "{answer}");
    let resume = json!({"epoch": place["epoch"], "offset": place["offset"], "events": events, "grant": place["grant"]});
    // Each answer over HTTP brings the same session in other words; an analytics script adds its own.
    let refreshed = {
        let body = call("look", json!([])).to_string();
        let answer = http_post(cluster.gateways[1].port, "/_diffyne/update", &[("Cookie", &cookies)], &body)?;
        let lines = answer.head.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
        let fresh: Vec<&str> = lines.filter_map(|line| line.split(';').next()).collect();
        format!("{}; _ga=GA1.1.1234", if fresh.is_empty() { cookies.clone() } else { fresh.join("; ") })
    };
    assert_ne!(refreshed, cookies);
    let before = asked(&cluster);
    for cookie in [&cookies, &refreshed, &cookies] {
        let mut back = Client::connect_with(&cluster.url(1), &[("Cookie", cookie)]).await?;
        let answer = ask(&mut back, "diffyne.resume", resume.clone()).await?;
        assert_eq!(answer["event"], "diffyne.resumed", "{answer}");
    }
    assert!((asked(&cluster) - before).abs() < 0.5, "no worker was asked");
    // Another user's session, and the same browser before its login.
    let mut before_login = Client::connect(&cluster.url(1)).await?;
    let answer = ask(&mut before_login, "diffyne.resume", resume.clone()).await?;
    assert_eq!(answer["data"]["type"], "subscribe_error", "{answer}");
    let (_bob, others) = log_in("bob").await?;
    let mut bob = Client::connect_with(&cluster.url(1), &[("Cookie", &others)]).await?;
    ask(&mut bob, "diffyne.resume", resume.clone()).await?;
    assert!((asked(&cluster) - before - 2.0).abs() < 0.5, "a worker was asked about both");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_token_is_good_once_however_long_one_waits() -> anyhow::Result<()> {
    let handover = diffyne_gateway::auth::sealed_cookies::SealedCookies::new(&[b"k".to_vec()]);
    let shape = Shape::new(1, 1).gateway("--signing-key", "k");
    let clusters = [Cluster::start(shape.clone())?, Cluster::start(shape.with_redis())?];
    let token = handover.seal(&["laravel_session=x; Path=/".to_owned()]).unwrap();
    let body = json!({"token": token}).to_string();
    let fetch = |cluster: &Cluster| {
        http_post(cluster.gateways[0].port, "/_diffyne/session", &[], &body).map(|answer| answer.status)
    };
    for cluster in &clusters {
        assert_eq!(fetch(cluster)?, 200);
    }
    let used = Instant::now();
    // Whole seconds and the mark's end lie around here.
    while used.elapsed() < Duration::from_millis(31_500) {
        for cluster in &clusters {
            assert_eq!(fetch(cluster)?, 410, "after {:?}", used.elapsed());
        }
        let near = used.elapsed() > Duration::from_secs(29);
        tokio::time::sleep(Duration::from_millis(if near { 20 } else { 500 })).await;
    }
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
