//! What an application is told of connections: by webhook to servers that fail in every way, and by calls of a PHP class.

use anyhow::Context as _;
use diffyne_tests::client::Client;
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::http::{HttpResponse, http, http_get};
use diffyne_tests::laravel::Laravel;
use diffyne_tests::process::{Signal, eventually};
use diffyne_tests::recorded::APP_KEY;
use diffyne_tests::redis::{self, Certificates};
use diffyne_tests::webhook_receiver::{Answer, WebhookReceiver};
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

const SECRET: &str = "a long random text";

/// Gateways of a cluster that tell this receiver.
fn shape(receiver: &WebhookReceiver, gateways: usize) -> Shape {
    Shape::new(gateways, 1)
        .gateway("--webhook-url", receiver.url())
        .gateway("--webhook-secret", &format!("the former one,{SECRET}"))
        .gateway("--webhook-timeout", "300ms")
        .gateway("--vacated-after", "300ms")
}

async fn subscribe(client: &mut Client, event: Value) -> anyhow::Result<()> {
    let answer = client.request("diffyne.subscribe", json!({"events": [event], "requestId": "r"})).await?;
    anyhow::ensure!(answer.event() == "diffyne.subscribed", "{answer}");
    Ok(())
}

/// The names of the events of a connection.
fn story(events: &[Value], client: &str) -> Vec<String> {
    let own = events.iter().filter(|event| event["connection"] == client);
    own.filter_map(|event| event["name"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_hangs_and_comes_back_misses_nothing_and_gets_it_in_order() -> anyhow::Result<()> {
    let receiver = WebhookReceiver::start(Answer::Status(500), SECRET).await?;
    let mut cluster = Cluster::start(shape(&receiver, 2).with_redis())?;
    let mut ada = Client::connect(&cluster.url(0)).await?;
    subscribe(&mut ada, json!({"name": "message-sent", "match": {"room_id": 5, "kind": "x"}})).await?;
    for answer in [Answer::Status(500), Answer::Hang, Answer::TakeSilently, Answer::Take] {
        receiver.answer(answer)?;
    }
    receiver.wait_for("occupied", 1)?;
    receiver.set(Answer::Refuse);
    let mut bob = Client::connect(&cluster.url(1)).await?;
    receiver.wait_until_asked(Answer::Refuse)?;
    receiver.answer(Answer::Status(302))?;
    // The same room, and all rooms.
    subscribe(&mut bob, json!({"name": "message-sent", "match": {"kind": "x", "room_id": 5}})).await?;
    subscribe(&mut bob, json!({"name": "message-sent"})).await?;
    let (ada_id, bob_id) = (ada.id.clone(), bob.id.clone());
    drop(ada);
    receiver.answer(Answer::Take)?;
    receiver.wait_for("disconnected", 1)?;
    // The room has another subscriber, on another gateway.
    let occupied = receiver.wait_for("occupied", 2)?;
    let room = json!({"room_id": 5, "kind": "x"});
    assert_eq!(occupied.iter().filter(|event| event["match"] == room).count(), 1, "{occupied:?}");
    bob.send("diffyne.unsubscribe", json!({"events": [{"name": "message-sent", "match": room}]})).await?;
    let vacated = receiver.wait_for("vacated", 1)?;
    assert_eq!((&vacated[0]["event"], &vacated[0]["match"]), (&json!("message-sent"), &room));
    let of_room = occupied.iter().find(|event| event["match"] == room).context("the room")?;
    assert!(vacated[0]["version"].as_u64() > of_room["version"].as_u64(), "{vacated:?} {of_room}");
    let events = receiver.events();
    assert_eq!(story(&events, &ada_id), ["connected", "subscribed", "disconnected"]);
    assert_eq!(story(&events, &bob_id), ["connected", "subscribed", "subscribed", "unsubscribed"]);
    let connected = receiver.wait_for("connected", 2)?;
    let fields = ["transport", "address", "user"].map(|name| connected[0][name].clone());
    assert_eq!(fields, [json!("websocket"), json!("127.0.0.1"), Value::Null]);
    // Some came twice, none is missing, and those of a gateway came in order.
    assert!(receiver.taken().len() > events.len());
    for (gateway, numbers) in receiver.numbers() {
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "{gateway}");
    }
    let metric = |name: &str| cluster.gateways[0].metric(&format!("diffyne_gateway_lifecycle_{name}"));
    assert!(metric("requests_total{result=\"failed\"}")? >= 1.0);
    assert!(metric("waiting")? < 1.0);
    // A gateway that stops tells the end of its connections and rooms before it ends.
    cluster.gateways[1].process.signal(Signal::Term)?;
    assert!(cluster.gateways[1].process.wait()?.success());
    let events = receiver.events();
    assert_eq!(story(&events, &bob_id).last().map(String::as_str), Some("disconnected"));
    assert_eq!(receiver.wait_for("vacated", 2)?[1]["match"], Value::Null);
    assert_eq!(events.iter().filter(|event| event["name"] == "gateway_lost").count(), 0);
    Ok(())
}

#[test]
fn what_a_lost_gateway_had_to_tell_is_taken_over_however_much_it_is() -> anyhow::Result<()> {
    const NEWS: usize = 9000;
    let directory = tempfile::tempdir()?;
    let (_server, port) = redis::start(directory.path())?;
    let keys = ["until", "rooms", "version", ""].map(|name| format!("{{diffyne}}:occupancy:{name}"));
    let seed = format!(
        "redis.call('ZADD', KEYS[1], 1, 'a') for n = 1, {NEWS} do redis.call('HSET', KEYS[2] .. 'news:a', 'room' .. n, n) end"
    );
    redis::cli(port, &["eval", &seed, "2", &keys[0], &keys[3]])?;
    let script = include_str!("../../shared/src/bus/redis/scripts/occupancy.lua");
    let step = |flags| {
        let [until, rooms, version, base] = keys.each_ref().map(String::as_str);
        redis::cli(port, &["eval", script, "4", until, rooms, version, base, "b", "10000", flags, "", "0", "0", "0"])
    };
    step("f")?;
    let remaining = || redis::cli(port, &["hlen", &format!("{}news:a", keys[3])]);
    for _ in 0..NEWS / 100 {
        if remaining()? == "0" {
            break;
        }
        step("s")?;
    }
    let taken = redis::cli(port, &["hlen", &format!("{}news:b", keys[3])])?;
    // One more: that the gateway is lost.
    assert_eq!((remaining()?.as_str(), taken), ("0", (NEWS + 1).to_string()));
    assert_eq!(redis::cli(port, &["zrange", &keys[0], "0", "-1"])?, "b");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_are_told_right_after_a_gateway_was_killed_and_redis_was_emptied() -> anyhow::Result<()> {
    let receiver = WebhookReceiver::start(Answer::Take, SECRET).await?;
    let mut cluster = Cluster::start(shape(&receiver, 2).with_redis().gateway("--webhook-rooms", "room-*,hall"))?;
    let mut ada = Client::connect(&cluster.url(0)).await?;
    let mut bob = Client::connect(&cluster.url(1)).await?;
    for (client, names) in [(&mut ada, vec!["room-1", "other"]), (&mut bob, vec!["room-1", "room-2"])] {
        for name in names {
            subscribe(client, json!({"name": name})).await?;
        }
    }
    receiver.wait_for("occupied", 2)?;
    receiver.wait_for("subscribed", 3)?;
    // Redis forgets everything: what is occupied is told again, with greater versions.
    redis::cli(cluster.redis_port, &["flushall"])?;
    let occupied = receiver.wait_for("occupied", 4)?;
    let version = |event: &Value| event["version"].as_u64().unwrap();
    let last = occupied[..2].iter().map(version).max();
    assert!(occupied[2..].iter().all(|event| Some(version(event)) > last), "{occupied:?}");
    let lost = receiver.events().iter().find(|event| event["connection"] == json!(bob.id)).unwrap()["gateway"].clone();
    cluster.gateways[1].process.kill()?;
    assert_eq!(receiver.wait_for("gateway_lost", 1)?[0]["lost"], lost);
    assert_eq!(receiver.wait_for("vacated", 1)?[0]["event"], "room-2");
    let names: Vec<Value> = receiver.events().iter().map(|event| event["name"].clone()).collect();
    let place = |wanted: &str| names.iter().position(|name| name == wanted);
    assert!(place("gateway_lost") < place("vacated"), "first who is lost, then what it has left: {names:?}");
    drop(ada);
    assert_eq!(receiver.wait_for("vacated", 2)?[1]["event"], "room-1");
    let keys = || redis::cli(cluster.redis_port, &["keys", "{diffyne}:occupancy:*"]).unwrap();
    eventually("nothing is left but the lease and the version", || keys().lines().count() == 2)
        .map_err(|error| error.context(keys()))?;
    Ok(())
}

/// Filters, each of which makes a room.
fn rooms(numbers: std::ops::Range<usize>) -> Value {
    numbers.map(|n| json!({"name": "message-sent", "match": {"room_id": n}})).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_a_refused_event_a_full_queue_a_lost_answer_and_a_new_secret_lose_and_double_nothing()
-> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let certificates = Certificates::make(directory.path())?;
    let receiver = WebhookReceiver::start_with_tls(Answer::Take, SECRET, &certificates).await?;
    let config = directory.path().join("d.toml");
    std::fs::write(&config, format!("webhook_secret = \"{SECRET}\"\n"))?;
    let shape = Shape::new(1, 0).with_redis().gateway("--config", &config.display().to_string());
    let shape = shape.gateway("--webhook-url", receiver.url()).gateway("--vacated-after", "0s");
    let shape = shape.gateway("--webhook-ca", &certificates.authority.display().to_string());
    let cluster = Cluster::start(
        shape
            .gateway("--webhook-timeout", "1s")
            .gateway("--webhook-queue", "64KiB")
            .gateway("--max-subscriptions", "1000"),
    )?;
    let metric = |name: &str| cluster.gateways[0].metric(&format!("diffyne_gateway_lifecycle_{name}"));

    // What is refused for good holds up its own connection alone, which goes on in order when it is taken.
    let mut ada = Client::connect(&cluster.url(0)).await?;
    receiver.wait_for("connected", 1)?;
    receiver.refuse(Some(&ada.id));
    subscribe(&mut ada, json!({"name": "order-paid"})).await?;
    let mut bob = Client::connect(&cluster.url(0)).await?;
    subscribe(&mut bob, json!({"name": "order-paid"})).await?;
    let bob_id = bob.id.clone();
    drop(bob);
    eventually("bob's are taken", || story(&receiver.events(), &bob_id).len() == 3)?;
    assert_eq!(story(&receiver.events(), &ada.id), ["connected"]);
    receiver.wait_for("occupied", 1)?;
    let ended = json!({"events": [{"name": "order-paid"}], "requestId": "r"});
    let answer = ada.request("diffyne.unsubscribe", ended).await?;
    anyhow::ensure!(answer.event() == "diffyne.unsubscribed", "{answer}");
    receiver.wait_for("vacated", 1)?;
    eventually("both wait", || metric("set_aside").is_ok_and(|count| (count - 2.0).abs() < 0.5))?;
    receiver.refuse(None);
    eventually("ada's are taken", || {
        story(&receiver.events(), &ada.id) == ["connected", "subscribed", "unsubscribed"]
    })?;
    eventually("none waits", || metric("set_aside").is_ok_and(|count| count < 0.5))?;
    assert!(metric("requests_total{result=\"refused\"}")? >= 1.0);

    // The queue is full for longer than a gateway's lease lasts; nobody takes this gateway for dead, and rooms are told.
    let (until, before) = ("{diffyne}:occupancy:until", receiver.wait_for("occupied", 1)?.len());
    receiver.set(Answer::Status(503));
    for start in (0..600).step_by(50) {
        let answer =
            ada.request("diffyne.subscribe", json!({"events": rooms(start..start + 50), "requestId": "r"})).await?;
        anyhow::ensure!(answer.event() == "diffyne.subscribed", "{answer}");
    }
    eventually("subscriptions are dropped", || {
        metric("events_total{result=\"dropped\"}").is_ok_and(|count| count > 0.0)
    })?;
    let lease = || redis::cli(cluster.redis_port, &["zrange", until, "0", "-1", "withscores"]);
    let deadline = || lease().ok()?.lines().last()?.parse::<f64>().ok();
    let first = deadline().with_context(|| format!("no lease: {:?}", lease()))?;
    eventually("the lease is renewed", || deadline().is_some_and(|now| now > first + 4000.0))?;

    // An answer of Redis gets lost: what it has found is told, and what waits is not told again.
    let server = cluster.redis.as_ref().context("no redis")?;
    server.signal(Signal::Stop)?;
    subscribe(&mut ada, json!({"name": "order-paid"})).await?;
    eventually("the gateway has noticed", || {
        cluster.gateways[0].process.output().contains("rooms are told of when it is back")
    })?;
    server.signal(Signal::Cont)?;
    receiver.answer(Answer::Take)?;
    receiver.wait_for("occupied", before + 601)?;
    let mut ids = std::collections::HashSet::new();
    let occupied = receiver.taken().into_iter().filter(|event| event["name"] == "occupied");
    assert!(occupied.map(|event| event["id"].to_string()).all(|id| ids.insert(id)), "each once");
    assert_eq!(receiver.events().iter().filter(|event| event["name"] == "gateway_lost").count(), 0);

    // Another secret, from SIGHUP on.
    let refused = metric("requests_total{result=\"refused\"}")?;
    receiver.set_secret("a new one");
    let ended = ada.id.clone();
    drop(ada);
    eventually("it is refused", || metric("requests_total{result=\"refused\"}").is_ok_and(|count| count > refused))?;
    std::fs::write(&config, "webhook_secret = \"a new one\"\n")?;
    cluster.gateways[0].process.signal(Signal::Hup)?;
    eventually("ada has gone", || story(&receiver.events(), &ended).last().is_some_and(|name| name == "disconnected"))?;
    receiver.wait_for("vacated", 602)?;
    Ok(())
}

/// Posts a body with this header to the application.
fn post(port: u16, signature: &str, body: &str) -> anyhow::Result<HttpResponse> {
    let length = body.len();
    let request = format!(
        "POST /hooks/diffyne HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         X-Diffyne-Signature: {signature}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    http(port, &request)
}

fn sign(secret: &str, time: u64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{time}.{body}").as_bytes());
    format!("v1={}", hex::encode(mac.finalize().into_bytes()))
}

/// The events that the application has noted.
fn noted(laravel: &Laravel, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(laravel.path("storage/app").join(file)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn wait_until_noted(laravel: &Laravel, file: &str, name: &str) -> anyhow::Result<Vec<Value>> {
    let has = || noted(laravel, file).iter().any(|event| event["name"] == name);
    eventually(&format!("{file} has {name}"), has).map_err(|error| error.context(laravel.log()))?;
    Ok(noted(laravel, file))
}

/// The application's session files.
fn sessions(laravel: &Laravel) -> usize {
    std::fs::read_dir(laravel.path("storage/framework/sessions")).map_or(0, |files| files.flatten().count())
}

/// Handles requests one after the other in the same application, as Octane does: a login, a worker's question and its call
/// of a listener that does not exist, and after each another request of the user. Prints what they answer, and the number
/// of sessions that are stored.
const SAME_APPLICATION: &str = r#"
    $_ENV['APP_RUNNING_IN_CONSOLE'] = 'false';
    require 'vendor/autoload.php';
    $app = require 'bootstrap/app.php';
    $kernel = $app->make(Illuminate\Contracts\Http\Kernel::class);
    $ask = function (string $verb, string $path, array $cookies, string $body = '') use ($kernel) {
        $server = $body === '' ? [] : ['HTTP_X_DIFFYNE_BRIDGE' => Diffyne\Cluster\Bridge::secret()];
        $request = Illuminate\Http\Request::create($path, $verb, [], $cookies, [], $server, $body);
        $response = $kernel->handle($request);
        $kernel->terminate($request, $response);

        return $response;
    };
    $cookies = [];
    foreach ($ask('GET', '/login/7', [])->headers->getCookies() as $cookie) {
        $cookies[$cookie->getName()] = $cookie->getValue();
    }
    foreach (['{"kind":"hello"}', '{"kind":"lifecycle"}'] as $head) {
        echo $ask('DIFFYNE', '/_diffyne-bridge', [], "$head
{}")->getStatusCode(), ' ';
        echo $ask('GET', '/whoami', $cookies)->getContent(), ' ';
    }
    echo count(glob('storage/framework/sessions/*'));
"#;

#[tokio::test(flavor = "multi_thread")]
async fn laravel_hears_of_users_by_signed_webhooks_and_by_a_listener_in_the_pool_and_in_fpm() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    laravel.install_package()?;
    let environment = std::fs::read_to_string(laravel.path(".env"))?;
    std::fs::write(laravel.path(".env"), format!("{environment}\nDIFFYNE_WEBHOOK_SECRET=\"{SECRET}\"\n"))?;
    // What is nobody's leaves no session, and takes none from the next request.
    let same = format!("chdir('{}');{SAME_APPLICATION}", laravel.directory);
    assert_eq!(laravel.php(&["-r", &same])?, "200 7 200 7 1");
    let (_php, site) = laravel.serve()?;
    // Nobody else can say such things.
    let (now, body) = (std::time::UNIX_EPOCH.elapsed()?.as_secs(), r#"{"events":[{"id":"x-1","name":"connected"}]}"#);
    let good = sign(SECRET, now, body);
    for (signature, body, status) in [
        (String::new(), body, 403),
        (format!("t={now},{}", sign("another text", now, body)), body, 403),
        (format!("t={now},{good}"), r#"{"events":[{"id":"x-1","name":"vacated"}]}"#, 403),
        (format!("t={},{good}", now - 1), body, 403),
        (format!("t={},{}", now - 301, sign(SECRET, now - 301, body)), body, 403),
        (format!("t={},{}", now + 900, sign(SECRET, now + 900, body)), body, 403),
        (good.clone(), body, 403),
        (format!("t={now},{}", sign(SECRET, now, "{}")), "{}", 400),
        (format!("t={now},v1=00,{good}"), body, 204),
    ] {
        assert_eq!(post(site, &signature, body)?.status, status, "{signature} {body}");
    }
    std::fs::remove_file(laravel.path("storage/app/posted.txt"))?;

    let by_webhook = laravel.shape(1, 1).gateway("--webhook-url", &format!("http://127.0.0.1:{site}/hooks/diffyne"));
    let by_webhook = by_webhook.gateway("--webhook-secret", SECRET);
    let by_listener = laravel.shape(1, 1).gateway("--lifecycle-listener", "App\\Lifecycle\\Presence");
    let (_fpm, socket) = laravel.serve_fpm(3)?;
    let in_fpm = Shape { signing_key: APP_KEY.to_owned(), ..Shape::new(1, 1) };
    let in_fpm = in_fpm.worker("--fastcgi", &format!("unix:{}", socket.display()));
    let in_fpm = in_fpm.worker("--fastcgi-script", &format!("{}/public/index.php", laravel.directory));
    let by_listener_in_fpm = in_fpm.gateway("--lifecycle-listener", "App\\Lifecycle\\Presence");
    for (file, shape) in [("posted.txt", by_webhook), ("heard.txt", by_listener), ("heard.txt", by_listener_in_fpm)] {
        for name in ["heard.txt", "failed"] {
            let _ = std::fs::remove_file(laravel.path("storage/app").join(name));
        }
        let shape =
            shape.gateway("--app-key", APP_KEY).gateway("--identify", "subscribe").gateway("--vacated-after", "0s");
        let cluster = Cluster::start(shape)?;
        let cookies = http_get(site, "/enter/2")?.cookies();
        let sessions_before = sessions(&laravel);
        let mut bob = Client::connect_with(&cluster.url(0), &[("Cookie", &cookies)]).await?;
        bob.subscribe("message-sent").await?;
        let id = bob.id.clone();
        wait_until_noted(&laravel, file, "occupied")?;
        drop(bob);
        wait_until_noted(&laravel, file, "disconnected")?;
        let mut events = wait_until_noted(&laravel, file, "vacated")?;
        if file == "heard.txt" {
            // The first batch came again, since the listener had failed; it runs as nobody.
            let first = events[0]["id"].clone();
            assert_eq!(events.iter().filter(|event| event["id"] == first).count(), 2, "{events:#?}");
            assert!(
                events.iter().all(|event| event["auth"].is_null() && event["request"] == "127.0.0.1"),
                "{events:#?}"
            );
            assert!(laravel.log().contains("the listener failed on purpose"));
        }
        let mut seen = std::collections::HashSet::new();
        events.retain(|event| seen.insert(event["id"].to_string()));
        let of_bob: Vec<(&str, &Value)> = events
            .iter()
            .filter(|event| event["connection"] == json!(id))
            .map(|event| (event["name"].as_str().unwrap(), &event["user"]))
            .collect();
        let user = json!("2");
        let expected =
            [("connected", &Value::Null), ("identified", &user), ("subscribed", &user), ("disconnected", &user)];
        assert_eq!(of_bob, expected, "{events:#?}");
        let rooms: Vec<&Value> =
            events.iter().filter(|event| event["event"] == "message-sent").map(|event| &event["name"]).collect();
        assert_eq!(rooms, ["subscribed", "occupied", "vacated"]);
        // Whoever posts to the application's routes is its own business.
        assert!(file == "posted.txt" || sessions(&laravel) == sessions_before, "a listener has no session");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_php_listener_fails_with_for_too_long_is_given_up_and_what_comes_later_is_told() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    for name in ["failing", "failed"] {
        std::fs::write(laravel.path("storage/app").join(name), "")?;
    }
    let shape = laravel.shape(1, 1).gateway("--lifecycle-listener", "App\\Lifecycle\\Presence");
    let cluster = Cluster::start(shape.gateway("--webhook-retry", "1s").gateway("--webhook-events", "connected"))?;
    let gateway = &cluster.gateways[0];
    let events =
        |result: &str| gateway.metric(&format!("diffyne_gateway_lifecycle_events_total{{result=\"{result}\"}}"));
    let first = Client::connect(&cluster.url(0)).await?;
    eventually("it is given up", || events("abandoned").is_ok_and(|count| count > 0.5))?;
    let log = gateway.process.output();
    let line = log.lines().find(|line| line.contains("events of connections are given up")).context(log.clone())?;
    assert!(line.contains("App\\Lifecycle\\Presence") && line.contains("count=1"), "{line}");
    let log = cluster.workers[0].process.output();
    assert!(log.contains("the listener fails again and again") && log.contains("Presence"), "{log}");
    assert!(gateway.metric("diffyne_gateway_lifecycle_requests_total{result=\"failed\"}")? > 1.5, "tried again before");
    assert!(gateway.metric("diffyne_gateway_lifecycle_bytes")? < 0.5, "it takes no memory any more");

    std::fs::remove_file(laravel.path("storage/app/failing"))?;
    let second = Client::connect(&cluster.url(0)).await?;
    let told = wait_until_noted(&laravel, "heard.txt", "connected")?;
    let told: Vec<&Value> = told.iter().map(|event| &event["connection"]).collect();
    assert_eq!(told, [&json!(second.id)], "and not {}", first.id);
    eventually("it is counted", || events("delivered").is_ok_and(|count| count > 0.5))
}
