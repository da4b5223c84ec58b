//! Users, as workers tell them: who gets their events, who lists and disconnects them.

use std::collections::VecDeque;

use anyhow::Context as _;
use diffyne_tests::client::{Client, call};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::events_client::EventsClient;
use diffyne_tests::for_runtimes;
use diffyne_tests::http::{http, http_post};
use diffyne_tests::laravel::{Laravel, Runtime};
use diffyne_tests::members::{MEMBER, ORDER};
use diffyne_tests::message::ServerMessage;
use diffyne_tests::process::{PATIENCE, eventually, eventually_async};
use diffyne_tests::recorded::APP_KEY;
use diffyne_tests::redis;
use serde_json::{Value, json};

const TOKEN: (&str, &str) = ("Authorization", "Bearer let-me");

fn shape() -> Shape {
    // The page is on another port than the socket.
    let shape = Shape::new(2, 1).with_redis().gateway("--signing-key", "k").gateway("--app-url", "http://127.0.0.1");
    shape.gateway("--admin-token", "let-me").gateway("--threads", "2")
}

fn cookie(user: &str) -> String {
    format!("session={user}")
}

fn member_call(component: &str, method: &str, params: Value) -> Value {
    call(MEMBER, component, method, params, json!({"calls": 0}), "r")
}

/// A connection that hears nothing is pinged for ever.
async fn in_time<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(PATIENCE, work).await.context("it did not come")?
}

/// A page: a connection, and what it has heard.
struct Page(Client, VecDeque<i64>);

impl Page {
    async fn open(cluster: &Cluster, gateway: usize, user: &str) -> anyhow::Result<Self> {
        let cookie = cookie(user);
        let headers = [("Cookie", cookie.as_str()), ("Origin", "http://127.0.0.1")];
        let headers: &[_] = if user.is_empty() { &[] } else { &headers };
        Ok(Self(Client::connect_with(&cluster.url(gateway), headers).await?, VecDeque::new()))
    }

    /// Calls a method, and returns the response.
    async fn call(&mut self, method: &str, params: Value) -> anyhow::Result<ServerMessage> {
        self.0.send("diffyne.call", member_call("m", method, params)).await?;
        loop {
            let message = in_time(self.0.receive()).await?;
            match message.event() {
                "diffyne.event" => self.1.extend(message.params()[0]["n"].as_i64()),
                "diffyne.response" => {
                    anyhow::ensure!(message.is_ok(), "{method}: {message}");
                    return Ok(message);
                }
                _ => {}
            }
        }
    }

    /// Waits for the next order.
    async fn next(&mut self) -> anyhow::Result<i64> {
        if let Some(heard) = self.1.pop_front() {
            return Ok(heard);
        }
        let push = in_time(self.0.receive_event("diffyne.event")).await?;
        Ok(push.params()[0]["n"].as_i64().unwrap_or(-99))
    }

    /// The orders that have come so far.
    async fn orders(&mut self) -> anyhow::Result<Vec<i64>> {
        let messages = self.0.barrier().await?;
        let orders = messages.iter().filter(|message| message.event() == "diffyne.event");
        Ok(orders.map(|push| push.params()[0]["n"].as_i64().unwrap_or(-99)).collect())
    }
}

fn publish(cluster: &Cluster, user: &Value, n: i64) -> anyhow::Result<()> {
    let mut event = json!({"name": ORDER, "params": [{"n": n}]});
    if !user.is_null() {
        event["user"] = user.clone();
    }
    let answer = http_post(cluster.gateways[1].admin, "/api/broadcast", &[TOKEN], &event.to_string())?;
    anyhow::ensure!(answer.status == 202, "{}", answer.body);
    Ok(())
}

fn connections(cluster: &Cluster, user: &str) -> anyhow::Result<Value> {
    let path = format!("/api/connections?user={user}");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{}: {}\r\nConnection: close\r\n\r\n", TOKEN.0, TOKEN.1);
    http(cluster.gateways[0].admin, &request)?.json()
}

/// Sends everybody an order: once it has come, everything that was sent before has as well.
fn mark(cluster: &Cluster, n: i64) -> anyhow::Result<()> {
    publish(cluster, &Value::Null, n)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_for_a_user_reaches_that_user_alone_over_all_gateways_transports_and_logins() -> anyhow::Result<()> {
    let cluster = Cluster::start(shape())?;
    let mut pages = Vec::new();
    for (gateway, user) in [(0, "ada"), (1, "ada"), (1, "eve"), (0, "")] {
        let mut page = Page::open(&cluster, gateway, user).await?;
        page.0.subscribe(ORDER).await?;
        // Nobody knows the user yet; and what a client says of itself counts for nothing.
        let mut claim = member_call("m", "say_nothing", json!([]));
        claim["user"] = json!("ada");
        page.0.call(claim).await?;
        pages.push(page);
    }
    assert_eq!(connections(&cluster, "ada")?["total"], 0);
    let mut grants = Vec::new();
    for page in &mut pages {
        page.call("touch", json!([])).await?;
        let messages = page.0.barrier().await?;
        let grant = messages.iter().find_map(|message| message.get("grant").cloned());
        grants.push(grant.unwrap_or_default());
    }
    let [mut ada, mut second, mut eve, mut guest]: [Page; 4] = pages.try_into().ok().unwrap();
    // Gateways that have just started know each other with their first heartbeats.
    let is_found = |found: Value| found["total"] == 2 && found["connections"][0]["user"] == "ada";
    eventually("both connections of the user are found", || connections(&cluster, "ada").is_ok_and(is_found))?;
    assert!((cluster.gateways[1].metric("diffyne_gateway_user_connections")? - 2.0).abs() < 0.5, "one of each");

    // From a component, over HTTP, and through the list in Redis; a client without a WebSocket as well.
    let headers = [("Cookie", "known=ada"), ("Origin", "http://127.0.0.1")];
    let wish = json!({"events": [{"name": ORDER}]});
    let mut stream = EventsClient::post(cluster.gateways[1].port, "", &headers, &wish).await?;
    in_time(async {
        while stream.receive().await?.event() != "diffyne.subscribed" {}
        Ok(())
    })
    .await?;
    let response = eve.call("order", json!(["ada", 1])).await?;
    assert!(response.get("events").is_none(), "it is not the caller's: {response}");
    let failed = eve.0.call(member_call("m", "order_and_fail", json!(["ada"]))).await?;
    assert!(!failed.is_ok(), "{failed}");
    publish(&cluster, &json!("ada"), 2)?;
    let item = json!({"name": ORDER, "params": [{"n": 3}], "user": "ada"}).to_string();
    redis::cli(cluster.redis_port, &["RPUSH", "{diffyne}:ingress", &item])?;
    ada.call("order", json!(["ada", 4])).await?;
    for page in [&mut ada, &mut second] {
        let mut heard = Vec::new();
        while heard.len() < 4 {
            heard.push(page.next().await?);
        }
        heard.sort_unstable();
        assert_eq!(heard, [1, 2, 3, 4]);
    }
    let mut heard = Vec::new();
    while heard.len() < 4 {
        let message = in_time(stream.receive()).await?;
        if message.event() == "diffyne.event" {
            heard.push(message.params()[0]["n"].clone());
        }
    }
    assert_eq!(heard.len(), 4);
    long_polls_hear_what_is_for_their_user(&cluster, &wish).await?;
    mark(&cluster, 5)?;
    for page in [&mut ada, &mut second, &mut eve, &mut guest] {
        assert_eq!(page.next().await?, 5, "nobody else has heard of them");
    }
    let history = redis::cli(cluster.redis_port, &["XRANGE", "{diffyne}:stream", "-", "+"])?;
    assert!(
        history.contains(r#""name":"","params":[{"n":3}]"#),
        "older gateways find no name that they know: {history}"
    );
    // Webhooks are off, so nothing of this is noted for them.
    assert_eq!(redis::cli(cluster.redis_port, &["KEYS", "{diffyne}:occupancy:*"])?, "");
    assert!(cluster.gateways[0].metric("diffyne_gateway_lifecycle_waiting")? < 0.5);

    a_client_that_resumes_gets_what_was_for_its_user(&cluster, second, &grants[1]).await?;
    a_login_on_the_same_connection_changes_who_hears(&cluster, ada, eve).await
}

async fn long_polls_hear_what_is_for_their_user(cluster: &Cluster, wish: &Value) -> anyhow::Result<()> {
    let (port, headers) = (cluster.gateways[0].port, [("Cookie", "known=zoe"), ("Origin", "http://127.0.0.1")]);
    let first = EventsClient::post(port, "poll=25", &headers, wish).await?.rest().await?;
    let subscribed = first.iter().find(|message| message.event() == "diffyne.subscribed").context("no place")?;
    let mut place = wish.clone();
    for name in ["epoch", "offset", "grant"] {
        place[name] = subscribed[name].clone();
    }
    publish(cluster, &json!("yan"), -2)?;
    publish(cluster, &json!("zoe"), -1)?;
    let news = in_time(async { EventsClient::post(port, "poll=25", &headers, &place).await?.rest().await }).await?;
    let heard: Vec<_> = news.iter().filter(|message| message.event() == "diffyne.event").collect();
    assert_eq!(heard.iter().map(|push| push.params()[0]["n"].clone()).collect::<Vec<_>>(), [-1], "{news:?}");
    Ok(())
}

async fn a_client_that_resumes_gets_what_was_for_its_user(
    cluster: &Cluster,
    mut second: Page,
    grant: &Value,
) -> anyhow::Result<()> {
    second.0.send("diffyne.ping", json!({})).await?;
    let place = second.0.receive_event("diffyne.pong").await?;
    drop(second);
    for (user, n) in [("ada", 6), ("eve", 7), ("ada", 8)] {
        publish(cluster, &json!(user), n)?;
    }
    mark(cluster, 9)?;
    let mut probe = Client::connect(&cluster.url(0)).await?;
    eventually_async("the other gateway has them too", async || {
        let pong = probe.request("diffyne.ping", json!({})).await?;
        Ok(pong["offset"].as_u64() >= place["offset"].as_u64().map(|offset| offset + 4))
    })
    .await?;
    let resume =
        json!({"epoch": place["epoch"], "offset": place["offset"], "events": [{"name": ORDER}], "grant": grant});
    for (user, expected) in [("ada", vec![6, 8, 9]), ("eve", vec![9]), ("", vec![9])] {
        let mut page = Page::open(cluster, 0, user).await?;
        page.0.send("diffyne.resume", resume.clone()).await?;
        let mut heard = Vec::new();
        loop {
            let message = page.0.receive().await?;
            match message.event() {
                "diffyne.event" => heard.push(message.params()[0]["n"].as_i64().unwrap()),
                "diffyne.resumed" => break,
                _ => {}
            }
        }
        assert_eq!(heard, expected, "who has the cookies of {user} and the grant of ada");
    }
    Ok(())
}

async fn a_login_on_the_same_connection_changes_who_hears(
    cluster: &Cluster,
    mut ada: Page,
    mut eve: Page,
) -> anyhow::Result<()> {
    for expected in [6, 8, 9] {
        assert_eq!(ada.next().await?, expected, "what the other tab was sent again has come here at once");
    }
    // A call that began before the login, and ends after it.
    ada.0.send("diffyne.call", member_call("slow", "touch_slowly", json!(["login"]))).await?;
    ada.call("enter", json!(["bob"])).await?;
    publish(cluster, &json!("ada"), 10)?;
    publish(cluster, &json!("bob"), 11)?;
    assert_eq!(ada.next().await?, 11, "the page is bob's now");
    cluster.release("login")?;
    let slow = ada.0.receive_event("diffyne.response").await?;
    assert!(slow.is_ok(), "{slow}");
    publish(cluster, &json!("ada"), 12)?;
    mark(cluster, 13)?;
    assert_eq!(ada.next().await?, 13, "the late answer did not bring the former user back");
    ada.call("touch", json!([])).await?;
    publish(cluster, &json!("bob"), 14)?;
    assert_eq!(ada.next().await?, 14);
    ada.call("leave", json!([])).await?;
    publish(cluster, &json!("bob"), 15)?;
    mark(cluster, 16)?;
    assert_eq!(ada.next().await?, 16, "a guest");
    assert_eq!(connections(cluster, "bob")?["total"], 0);

    // Disconnected over the whole cluster, by an operator and by the application, and nobody else is.
    let mut others = Vec::new();
    for gateway in [0, 1, 0] {
        let mut page = Page::open(cluster, gateway, "carl").await?;
        page.0.subscribe(ORDER).await?;
        page.call("touch", json!([])).await?;
        others.push(page);
    }
    let grant = in_time(others[2].0.receive_event("diffyne.subscribed")).await?;
    others[2].0.send("diffyne.ping", json!({})).await?;
    let place = others[2].0.receive_event("diffyne.pong").await?;
    let body = json!({"user": "carl"}).to_string();
    let answer = http_post(cluster.gateways[1].admin, "/api/disconnect", &[TOKEN], &body)?.json()?;
    assert_eq!(answer, json!({"disconnected": 3, "silent": []}));
    for page in &mut others {
        let told = in_time(page.0.receive_event("diffyne.disconnect")).await?;
        assert_eq!((&told["reconnect"], page.0.closed().await?), (&json!(false), 1008));
    }
    // What it was granted is void everywhere, on a gateway that starts later as well.
    let late = cluster.start_gateway()?;
    eventually("the gateway has the history", || late.health().is_ok_and(|health| health["redis"] == "up"))?;
    let url = format!("ws://127.0.0.1:{}/", late.port);
    let resume = json!({"epoch": place["epoch"], "offset": place["offset"], "events": [{"name": ORDER}], "grant": grant["grant"]});
    publish(cluster, &json!("carl"), 17)?;
    mark(cluster, 18)?;
    for url in [cluster.url(0), cluster.url(1), url] {
        let mut back =
            Client::connect_with(&url, &[("Cookie", "session=carl"), ("Origin", "http://127.0.0.1")]).await?;
        back.send("diffyne.resume", resume.clone()).await?;
        let first = in_time(back.receive_event("diffyne.event")).await?;
        assert_eq!(first.params()[0]["n"], 18, "{first}");
    }
    eve.orders().await?;
    let event = json!({"name": "diffyne.disconnect", "params": [{"reconnect": true}], "user": "eve"}).to_string();
    redis::cli(cluster.redis_port, &["RPUSH", "{diffyne}:ingress", &event])?;
    let told = in_time(eve.0.receive_event("diffyne.disconnect")).await?;
    assert_eq!(told["reconnect"], true, "{told}");
    assert_eq!(ada.orders().await?, [18], "ada's connection goes on");
    for wrong in [
        json!({"user": ""}),
        json!({"user": [7]}),
        json!({"user": "x".repeat(256)}),
        json!({"user": "a", "client": "b"}),
    ] {
        let answer = http_post(cluster.gateways[1].admin, "/api/disconnect", &[TOKEN], &wrong.to_string())?;
        assert_eq!(answer.status, 422, "{wrong}");
    }
    Ok(())
}

const SELLER: &str = "App\\Diffyne\\Seller";

async fn sell(client: &mut Client, method: &str, params: Value) -> anyhow::Result<ServerMessage> {
    client.send("diffyne.call", call(SELLER, "diffyne-seller", method, params, json!({"text": ""}), "r")).await?;
    client.receive_event("diffyne.response").await
}

async fn next_order(client: &mut Client) -> anyhow::Result<Value> {
    Ok(in_time(client.receive_event("diffyne.event")).await?.params()[0]["n"].clone())
}

for_runtimes!(the_users_of_laravel_get_their_events: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn the_users_of_laravel_get_their_events(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let shape = deployment.shape.clone().gateway("--app-key", APP_KEY).gateway("--admin-token", "let-me");
    let cluster = Cluster::start(shape)?;
    let gateway = &cluster.gateways[0];
    let mut ada = Client::connect(&cluster.url(0)).await?;
    let mut bob = Client::connect(&cluster.url(0)).await?;
    for (client, id) in [(&mut ada, 1), (&mut bob, 2)] {
        client.subscribe(ORDER).await?;
        sell(client, "enter", json!([id])).await?;
    }
    let response = sell(&mut bob, "sell", json!([1, 7])).await?;
    let names: Vec<&Value> = response.events().iter().map(|event| &event["name"]).collect();
    assert_eq!(names, ["noted", "sold"], "the others stay in the answer, in order: {response}");
    assert_eq!(next_order(&mut ada).await?, 7);
    for method in ["sellAndFail", "sellBadly"] {
        let answer = sell(&mut bob, method, json!(if method == "sellBadly" { vec![] } else { vec![1] })).await?;
        assert!(!answer.is_ok(), "{method}: {answer}");
    }
    sell(&mut ada, "sell", json!([1, 8])).await?;
    assert_eq!(next_order(&mut ada).await?, 8, "the caller's own page hears it as the others do");

    // A page whose session has a user: its first call tells it, though nothing in it asks for the user.
    let mut browser = Client::connect(&cluster.url(0)).await?;
    let answer = sell(&mut browser, "enter", json!([1])).await?;
    let body = json!({"token": answer["session"]["token"]}).to_string();
    let fetched = http_post(gateway.port, answer["session"]["url"].as_str().unwrap(), &[], &body)?;
    let cookies = fetched.cookies();
    drop(browser);
    let mut tab = Client::connect_with(&cluster.url(0), &[("Cookie", &cookies)]).await?;
    tab.subscribe(ORDER).await?;
    sell(&mut tab, "sayNothing", json!([])).await?;
    let grant = in_time(tab.receive_event("diffyne.subscribed")).await?;
    assert!(grant["grant"].is_string(), "{grant}");
    let found =
        || -> anyhow::Result<usize> { Ok(connections(&cluster, "1")?["total"].as_u64().unwrap_or(99) as usize) };
    eventually("ada's first tab and this one are known", || found().is_ok_and(|found| found == 2))?;

    // From outside of calls: a queue job, a command.
    let url = format!("http://127.0.0.1:{}/api/broadcast", gateway.admin);
    if deployment.shape.worker_flags.iter().all(|flag| flag != "--app") {
        let environment = [("DIFFYNE_PUBLISH_URL", url.as_str()), ("DIFFYNE_ADMIN_TOKEN", "let-me")];
        let code = "Diffyne\\Cluster\\Users::send(1, 'order-paid', ['n' => 9]); \
                    echo Diffyne\\Cluster\\Users::count(1), Diffyne\\Cluster\\Users::connections(2)[0]['user'];";
        assert_eq!(laravel.tinker(&environment, code)?, "22");
        for client in [&mut ada, &mut tab] {
            assert_eq!(next_order(client).await?, 9);
        }
    }
    // A logout, and a user who is disconnected.
    sell(&mut ada, "leave", json!([])).await?;
    sell(&mut bob, "sell", json!([1, 10])).await?;
    assert_eq!(next_order(&mut tab).await?, 10);
    let since = ada.barrier().await?;
    assert!(since.iter().all(|message| message.event() != "diffyne.event"), "a guest: {since:?}");
    sell(&mut bob, "expel", json!([1])).await?;
    assert_eq!(in_time(tab.receive_event("diffyne.disconnect")).await?["reconnect"], true);
    sell(&mut bob, "sell", json!([2, 11])).await?;
    assert_eq!(next_order(&mut bob).await?, 11);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_names_the_user_and_is_asked_for_anew_when_the_user_changes() -> anyhow::Result<()> {
    let cluster = Cluster::start(shape().gateway("--subscribe", "granted"))?;
    let events = json!([{"name": ORDER, "match": {"closed": true}, "componentClass": MEMBER}, {"name": ORDER, "componentClass": MEMBER}]);
    let mut ada = Page::open(&cluster, 0, "ada").await?;
    let granted = ada.0.request("diffyne.subscribe", json!({"events": events})).await?;
    assert!(granted["grant"].is_string(), "{granted}");
    assert_eq!(connections(&cluster, "ada")?["total"], 1, "known with the grant, before any call");
    publish(&cluster, &json!("ada"), 1)?;
    assert_eq!(ada.next().await?, 1);
    // Back with the grant alone: no worker is asked.
    let resume =
        json!({"epoch": granted["epoch"], "offset": granted["offset"], "events": events, "grant": granted["grant"]});
    let mut back = Page::open(&cluster, 1, "ada").await?;
    back.0.send("diffyne.resume", resume.clone()).await?;
    assert_eq!(back.next().await?, 1, "replayed");
    assert_eq!(connections(&cluster, "ada")?["total"], 2);
    // Another user on the same connection: what was granted to the first is asked about again.
    ada.call("enter", json!(["bob"])).await?;
    let mut said = Vec::new();
    while said.len() < 2 {
        said.push(ada.0.receive().await?);
    }
    let refused = said.iter().find(|message| message.event() == "diffyne.error").unwrap();
    assert!(refused.error().contains("Not granted"), "{refused}");
    let newer = said.iter().find(|message| message.event() == "diffyne.subscribed").unwrap();
    assert_eq!(newer.events().len(), 1, "{newer}");
    publish(&cluster, &json!("ada"), 2)?;
    publish(&cluster, &json!("bob"), 3)?;
    assert_eq!(ada.next().await?, 3);
    assert_eq!(back.next().await?, 2);
    // Disconnected: the grant is void, and a worker is asked in the session that there is.
    let body = json!({"user": "ada"}).to_string();
    http_post(cluster.gateways[0].admin, "/api/disconnect", &[TOKEN], &body)?;
    let mut again = Page::open(&cluster, 1, "ada").await?;
    again.0.send("diffyne.resume", resume).await?;
    again.0.receive_event("diffyne.resumed").await?;
    let revoked = cluster.gateways[1].metric("diffyne_gateway_grants_total{result=\"revoked\"}")?;
    assert!((revoked - 1.0).abs() < 0.5, "{revoked}");
    // A new user of whom no worker can say what that user may hear: the former one's events end.
    again.call("enter", json!(["nobody-knows"])).await?;
    let told = in_time(again.0.receive_event("diffyne.disconnect")).await?;
    assert_eq!((&told["reconnect"], &told["reason"]), (&json!(true), &json!("the user has changed")));
    let mut eve = Page::open(&cluster, 1, "eve").await?;
    eve.0.request("diffyne.subscribe", json!({"events": [events[1]]})).await?;
    publish(&cluster, &json!("ada"), 4)?;
    mark(&cluster, 5)?;
    assert_eq!(eve.next().await?, 5);
    assert_eq!(again.orders().await?, Vec::<i64>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_makes_no_call_is_known_where_workers_are_asked_when_it_subscribes() -> anyhow::Result<()> {
    for (identify, known) in [("call", 0), ("subscribe", 1)] {
        let cluster = Cluster::start(shape().gateway("--identify", identify))?;
        let headers = [("Cookie", "known=ada"), ("Origin", "http://127.0.0.1")];
        let mut ada = Page(Client::connect_with(&cluster.url(0), &headers).await?, VecDeque::new());
        ada.0.subscribe(ORDER).await?;
        assert_eq!(connections(&cluster, "ada")?["total"], known, "{identify}");
        publish(&cluster, &json!("ada"), 1)?;
        mark(&cluster, 2)?;
        assert_eq!(ada.next().await?, if known == 1 { 1 } else { 2 }, "{identify}");
    }
    Ok(())
}
