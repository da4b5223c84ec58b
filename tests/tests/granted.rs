//! Who may hear: subscriptions that a worker grants, in the user's own session, and what a client shows afterwards.

use std::time::{Duration, Instant};

use diffyne_tests::client::{Client, probe};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::for_runtimes;
use diffyne_tests::http::http_post;
use diffyne_tests::laravel::{Laravel, Runtime};
use diffyne_tests::laravel_probe::{PROBE, call_probe, probe_call};
use diffyne_tests::message::ServerMessage;
use diffyne_tests::recorded::APP_KEY;
use serde_json::{Value, json};

const LISTENER: &str = "App\\Tests\\Listener";

/// How long a grant of [`shape`] is good; past half of it a gateway renews it.
const GRANT_LIFE: Duration = Duration::from_secs(12);

/// Lets a part of a grant's life pass, counted from when it was given.
async fn wait_for_life(given: Instant, part: f64) {
    tokio::time::sleep_until((given + GRANT_LIFE.mul_f64(part)).into()).await;
}

fn shape() -> Shape {
    shape_with_life(&format!("{}s", GRANT_LIFE.as_secs()))
}

/// Gateways that ask workers for grants, which are good for this long.
fn shape_with_life(life: &str) -> Shape {
    let shape = Shape::new(2, 1).with_redis().gateway("--subscribe", "granted").gateway("--signing-key", "k");
    // The page is on another port than the socket.
    shape.gateway("--app-url", "http://127.0.0.1").gateway("--grant-life", life)
}

fn room(room: i64) -> Value {
    json!({"name": "message-sent", "match": {"room": room}, "componentClass": LISTENER})
}

async fn request(client: &mut Client, event: &str, mut data: Value) -> anyhow::Result<ServerMessage> {
    data["requestId"] = json!("r");
    client.request(event, data).await
}

/// Calls for grants that workers have seen.
fn count_questions(cluster: &Cluster) -> f64 {
    let results = ["given", "refused", "failed"];
    let count = |gateway: usize, result: &str| {
        cluster.gateways[gateway].metric(&format!("diffyne_gateway_grants_total{{result=\"{result}\"}}")).unwrap()
    };
    (0..2).flat_map(|gateway| results.map(|result| count(gateway, result))).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_clients_with_a_grant_hear_an_event_and_resume_without_a_worker() -> anyhow::Result<()> {
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
        let answer = request(&mut guest, "diffyne.subscribe", json!({"events": events})).await?;
        assert_eq!((answer.event(), answer.error_type()), ("diffyne.error", "subscribe_error"));
        assert!(answer.error().contains(words) && answer.request_id() == "r", "{answer}");
    }
    let given = Instant::now();
    let answer = request(&mut ada, "diffyne.subscribe", json!({"events": [room(7), room(8)]})).await?;
    assert_eq!(answer.error(), format!("Not granted: message-sent for {LISTENER}"), "one of the two: {answer}");
    let answer = ada.receive().await?;
    assert_eq!((answer.event(), answer.events()), ("diffyne.subscribed", &[room(7)][..]), "{answer}");
    let grant = answer["grant"].as_str().unwrap().to_owned();
    let place = answer.place();

    let mut sender = Client::connect(&cluster.url(1)).await?;
    for room in [7, 8, 7] {
        request(&mut sender, "diffyne.call", probe("p", "post", json!([room]), "r")).await?;
    }
    let mut heard = Vec::new();
    while heard.len() < 2 {
        heard.push(ada.receive().await?.params()[0]["room"].clone());
    }
    assert_eq!(heard, [7, 7]);
    assert_eq!(guest.barrier().await?, [], "who was refused hears nothing");

    // Back at the other gateway, with the grant: no worker is asked, and nothing is missed.
    let before = count_questions(&cluster);
    let resume = |grant: Option<&str>, events: Value| json!({"epoch": place["epoch"], "offset": place["offset"], "events": events, "grant": grant});
    let mut back = Client::connect_with(&cluster.url(1), &cookie).await?;
    back.send("diffyne.resume", resume(Some(&grant), json!([room(7)]))).await?;
    for _ in 0..2 {
        assert_eq!(back.receive().await?.params()[0]["room"], 7);
    }
    assert_eq!(back.receive().await?["recovered"], true);
    assert!((count_questions(&cluster) - before).abs() < 0.5, "no worker was asked");
    // For more than it names, or changed, it is no grant; without one a worker is asked.
    let (content, signature) = grant.split_once('.').unwrap();
    let forged = format!("{}.{signature}", content.chars().rev().collect::<String>());
    for (grant, events) in
        [(grant.as_str(), json!([room(8)])), (forged.as_str(), json!([room(7)])), ("x", json!([room(7)]))]
    {
        let mut thief = Client::connect(&cluster.url(1)).await?;
        let answer = request(&mut thief, "diffyne.resume", resume(Some(grant), events)).await?;
        assert_eq!(answer.error_type(), "subscribe_error", "{answer}");
        request(&mut sender, "diffyne.call", probe("p", "post", json!([7]), "r")).await?;
        assert_eq!(thief.barrier().await?, []);
    }
    let mut without = Client::connect(&cluster.url(1)).await?;
    let answer = request(&mut without, "diffyne.resume", resume(None, json!([room(7)]))).await?;
    assert_eq!(answer.error_type(), "subscribe_error", "a guest may not: {answer}");

    // Past half of its life it is renewed, after it not taken.
    wait_for_life(given, 0.6).await;
    let mut old = Client::connect_with(&cluster.url(0), &cookie).await?;
    old.send("diffyne.resume", resume(Some(&grant), json!([room(7)]))).await?;
    let answer = old.receive_event("diffyne.resumed").await?;
    let newer = answer["grant"].as_str().unwrap().to_owned();
    assert_ne!(newer, grant);
    wait_for_life(given, 1.1).await;
    let mut late = Client::connect_with(&cluster.url(0), &cookie).await?;
    let answer = request(&mut late, "diffyne.resume", resume(Some(&grant), json!([room(7)]))).await?;
    assert_eq!(answer.error_type(), "grant_expired", "{answer}");
    late.send("diffyne.resume", resume(Some(&newer), json!([room(7)]))).await?;
    let answer = late.receive_event("diffyne.resumed").await?;
    assert_eq!(answer["recovered"], true);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_valid_grant_holds_without_a_worker() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(shape().gateway("--worker-wait", "1s"))?;
    let cookie = [("Cookie", "session=ada"), ("Origin", "http://127.0.0.1")];
    let mut ada = Client::connect_with(&cluster.url(0), &cookie).await?;
    let given = Instant::now();
    let answer = request(&mut ada, "diffyne.subscribe", json!({"events": [room(7)]})).await?;
    let grant = answer["grant"].clone();
    cluster.workers[0].process.kill()?;
    wait_for_life(given, 0.6).await;
    let mut back = Client::connect_with(&cluster.url(1), &cookie).await?;
    let data = json!({"epoch": answer["epoch"], "offset": answer["offset"], "events": [room(7)], "grant": grant});
    let answer = request(&mut back, "diffyne.resume", data).await?;
    assert!(answer.event() == "diffyne.resumed" && answer["recovered"] == true, "{answer}");
    let mut stranger = Client::connect_with(&cluster.url(1), &cookie).await?;
    let answer = request(&mut stranger, "diffyne.subscribe", json!({"events": [room(7)]})).await?;
    assert_eq!(answer.event(), "diffyne.error", "who has none waits for a worker in vain: {answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_expires_on_time_without_a_worker() -> anyhow::Result<()> {
    /// Pacing: some twenty times in the life of a grant.
    const PAUSE: Duration = Duration::from_millis(500);
    let mut cluster = Cluster::start(shape().gateway("--worker-wait", "200ms"))?;
    let cookie = [("Cookie", "session=ada"), ("Origin", "http://127.0.0.1")];
    let mut ada = Client::connect_with(&cluster.url(0), &cookie).await?;
    let given = Instant::now();
    let answer = request(&mut ada, "diffyne.subscribe", json!({"events": [room(7)]})).await?;
    let mut grant = answer["grant"].clone();
    let place = answer;
    cluster.workers[0].process.kill()?;
    // Again and again, with whatever the gateway gave last.
    let mut held = 0;
    loop {
        let mut back = Client::connect_with(&cluster.url(held % 2), &cookie).await?;
        let data = json!({"epoch": place["epoch"], "offset": place["offset"], "events": [room(7)], "grant": grant});
        let answer = request(&mut back, "diffyne.resume", data).await?;
        if answer.error_type() == "grant_expired" {
            break;
        }
        assert_eq!(answer.event(), "diffyne.resumed", "{answer}");
        assert!(given.elapsed() < 3 * GRANT_LIFE, "a life of {GRANT_LIFE:?} has no end");
        if answer["grant"].is_string() {
            grant = answer["grant"].clone();
        }
        held += 1;
        tokio::time::sleep(PAUSE).await;
    }
    assert!(given.elapsed() > GRANT_LIFE.mul_f64(0.8) && held > 5, "it held until then: {held} times");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_of_no_use_in_another_session() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(shape_with_life("1h").gateway("--worker-wait", "300ms"))?;
    let own = ("Origin", "http://127.0.0.1");
    let ada = [("Cookie", "session=ada; theme=dark"), own];
    let mut client = Client::connect_with(&cluster.url(0), &ada).await?;
    let answer = request(&mut client, "diffyne.subscribe", json!({"events": [room(7)]})).await?;
    let place = answer;
    let resume =
        json!({"epoch": place["epoch"], "offset": place["offset"], "events": [room(7)], "grant": place["grant"]});
    let other_sessions = |cluster: &Cluster| {
        let count =
            |gateway: usize| cluster.gateways[gateway].metric("diffyne_gateway_grants_total{result=\"other_session\"}");
        count(0).unwrap() + count(1).unwrap()
    };
    // Many of the same session: no worker is asked.
    let before = count_questions(&cluster);
    for n in 0..50 {
        let mut back = Client::connect_with(&cluster.url(n % 2), &ada).await?;
        assert_eq!(request(&mut back, "diffyne.resume", resume.clone()).await?.event(), "diffyne.resumed");
    }
    let mut turned = Client::connect_with(&cluster.url(1), &[("Cookie", "theme=dark; session=ada"), own]).await?;
    assert_eq!(request(&mut turned, "diffyne.resume", resume.clone()).await?.event(), "diffyne.resumed");
    assert!((count_questions(&cluster) - before).abs() < 0.5, "no worker was asked");
    // Whoever has another session, or none, is asked about as if there were no grant.
    let foreign = [("Cookie", "session=ada; theme=dark"), ("Origin", "http://evil.test")];
    let thieves: [&[(&str, &str)]; 5] =
        [&[("Cookie", "session=eve; theme=dark"), own], &[("Cookie", "theme=dark"), own], &[own], &[], &foreign];
    for (number, headers) in thieves.iter().enumerate() {
        let mut thief = Client::connect_with(&cluster.url(number % 2), headers).await?;
        let answer = request(&mut thief, "diffyne.resume", resume.clone()).await?;
        assert!(answer.error().contains("Not granted"), "{headers:?}: {answer}");
        let mut sender = Client::connect(&cluster.url(1)).await?;
        request(&mut sender, "diffyne.call", probe("p", "post", json!([7]), "r")).await?;
        assert_eq!(thief.barrier().await?, [], "{headers:?} hears nothing");
    }
    assert!(other_sessions(&cluster) > 4.5);
    // The same user with other cookies costs a question, not an error.
    let mut changed = Client::connect_with(&cluster.url(0), &[("Cookie", "session=ada; theme=light"), own]).await?;
    changed.send("diffyne.resume", resume.clone()).await?;
    let answer = loop {
        let message = changed.receive().await?;
        if message.event() != "diffyne.event" {
            break message;
        }
    };
    assert_eq!((answer.event(), answer["grant"].is_string()), ("diffyne.resumed", true), "{answer}");
    // With no worker there is nobody who says yes to a thief.
    cluster.workers[0].process.kill()?;
    let mut thief = Client::connect_with(&cluster.url(0), thieves[0]).await?;
    assert_eq!(request(&mut thief, "diffyne.resume", resume.clone()).await?.event(), "diffyne.error");
    Ok(())
}

/// The cookies that a call over the socket has set, as a browser gets and sends them.
fn fetch_cookies(cluster: &Cluster, reply: &ServerMessage) -> anyhow::Result<String> {
    let session = &reply["session"];
    let body = json!({"token": session["token"]}).to_string();
    Ok(http_post(cluster.gateways[1].port, session["url"].as_str().unwrap(), &[], &body)?.cookies())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_laravel_keeps_its_grant_when_its_cookies_are_encrypted_anew() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(Runtime::Kernel, 1)?;
    let key = APP_KEY;
    let shape = Shape { gateways: 2, ..deployment.shape.clone() }.with_redis();
    let cluster = Cluster::start(shape.gateway("--subscribe", "granted").gateway("--app-key", key))?;
    let class = PROBE;
    let events = json!([{"name": "probed", "match": {"room_id": 2}, "componentClass": class}]);
    let call = |method: &str, params: Value| probe_call("diffyne-probe", method, params);
    let log_in = async |name: &str| -> anyhow::Result<(Client, String)> {
        let mut client = Client::connect(&cluster.url(0)).await?;
        let answer = request(&mut client, "diffyne.call", call("login", json!([name]))).await?;
        Ok((client, fetch_cookies(&cluster, &answer)?))
    };
    let (mut ada, cookies) = log_in("ada").await?;
    let answer = request(&mut ada, "diffyne.subscribe", json!({"events": events})).await?;
    let place = answer;
    assert!(place["grant"].is_string(), "{place}");
    let resume = json!({"epoch": place["epoch"], "offset": place["offset"], "events": events, "grant": place["grant"]});
    // Each answer over HTTP brings the same session in other words; an analytics script adds its own.
    let refreshed = {
        let body = call("look", json!([])).to_string();
        let answer = http_post(cluster.gateways[1].port, "/_diffyne/update", &[("Cookie", &cookies)], &body)?;
        let fresh = answer.cookies();
        format!("{}; _ga=GA1.1.1234", if fresh.is_empty() { &cookies } else { &fresh })
    };
    assert_ne!(refreshed, cookies);
    let before = count_questions(&cluster);
    for cookie in [&cookies, &refreshed, &cookies] {
        let mut back = Client::connect_with(&cluster.url(1), &[("Cookie", cookie)]).await?;
        let answer = request(&mut back, "diffyne.resume", resume.clone()).await?;
        assert_eq!(answer.event(), "diffyne.resumed", "{answer}");
    }
    assert!((count_questions(&cluster) - before).abs() < 0.5, "no worker was asked");
    // Another user's session, and the same browser before its login.
    let mut before_login = Client::connect(&cluster.url(1)).await?;
    let answer = request(&mut before_login, "diffyne.resume", resume.clone()).await?;
    assert_eq!(answer.error_type(), "subscribe_error", "{answer}");
    let (_bob, others) = log_in("bob").await?;
    let mut bob = Client::connect_with(&cluster.url(1), &[("Cookie", &others)]).await?;
    request(&mut bob, "diffyne.resume", resume.clone()).await?;
    assert!((count_questions(&cluster) - before - 2.0).abs() < 0.5, "a worker was asked about both");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_token_can_be_used_only_once() -> anyhow::Result<()> {
    /// How long a token could be used: all of it has to pass.
    const TOKEN_LIFE: Duration = Duration::from_secs(30);
    /// Whole seconds are counted: what lies around the end.
    const MARGIN: Duration = Duration::from_millis(1500);
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
    while used.elapsed() < TOKEN_LIFE + MARGIN {
        for cluster in &clusters {
            assert_eq!(fetch(cluster)?, 410, "after {:?}", used.elapsed());
        }
        // Around the end of the token's life, and of the mark that it was used, often.
        let near = used.elapsed() + MARGIN > TOKEN_LIFE;
        tokio::time::sleep(Duration::from_millis(if near { 20 } else { 500 })).await;
    }
    Ok(())
}

for_runtimes!(components_in_php_decide_who_may_subscribe: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn components_in_php_decide_who_may_subscribe(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let key = APP_KEY;
    let cluster = Cluster::start(deployment.shape.clone().gateway("--subscribe", "granted").gateway("--app-key", key))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let class = PROBE;
    let subscription =
        |room: i64| json!({"events": [{"name": "probed", "match": {"room_id": room}, "componentClass": class}]});
    let answer = request(&mut client, "diffyne.subscribe", subscription(2)).await?;
    assert_eq!(answer.error_type(), "subscribe_error", "nobody yet: {answer}");
    call_probe(&mut client, "login", json!(["ada"])).await?;
    let answer = request(&mut client, "diffyne.subscribe", subscription(2)).await?;
    assert!(answer["grant"].is_string(), "in the user's own session: {answer}");
    let unheard = json!({"events": [{"name": "unheard", "componentClass": class}]});
    let answer = request(&mut client, "diffyne.subscribe", unheard).await?;
    assert_eq!(answer.error(), format!("Not granted: unheard for {class}"), "{answer}");
    Ok(())
}
