//! Laravel's own broadcasting over the cluster: `BROADCAST_CONNECTION=diffyne` of the package `diffyne/cluster`.

use diffyne_tests::application::Script;
use diffyne_tests::browser::{Browser, Tab};
use diffyne_tests::client::{Client, call};
use diffyne_tests::cluster::Cluster;
use diffyne_tests::http::{http, http_get};
use diffyne_tests::laravel::Laravel;
use diffyne_tests::laravel_pages::LaravelPages;
use diffyne_tests::message::ServerMessage;
use diffyne_tests::process::{eventually, project};
use diffyne_tests::recorded::APP_KEY;
use serde_json::{Value, json};

const TOKEN: &str = "let-me";
const PRIVATE: &str = "private:orders.1:OrderPaid";

/// What a page's script hears, by `window.heard`.
const LISTENING: &str = r"<script type='module'>
    import { channel, privateChannel, join } from '/_diffyne/channels.js';
    window.heard = [];
    const note = (where) => (data) => window.heard.push([where, data]);
    channel('orders').listen('OrderPaid', () => { throw new Error('one that fails'); }).listen('OrderPaid', note('public'));
    privateChannel('orders.1').listen('OrderPaid', note('of 1')).notification(note('notified'));
    privateChannel('orders.2').listen('App\\Events\\OrderPaid', note('of 2'));
    join('warehouse').listen('.order.shipped', note('shipped'));
</script>
<script type='module' src='/_diffyne/channels.js'></script>";
const CLIENT: &str = r#"<script type="module" src="/_diffyne/client.js" data-url="/diffyne"></script>"#;

/// A real Laravel with the package and channels, and a cluster that it publishes to.
fn start() -> anyhow::Result<(Laravel, Cluster)> {
    let laravel = Laravel::new()?;
    laravel.install_package()?;
    laravel.use_channels()?;
    let shape = laravel.shape(1, 1).with_redis().gateway("--admin-token", TOKEN).gateway("--app-key", APP_KEY);
    let shape = shape.gateway("--redis-prefix", "laravel-database-").worker("--redis-prefix", "laravel-database-");
    let mut cluster = Cluster::start(shape)?;
    let settings = format!(
        "BROADCAST_CONNECTION=diffyne\nBROADCAST_DRIVER=diffyne\nDIFFYNE_ADMIN_TOKEN={TOKEN}\n\
         DIFFYNE_PUBLISH_URL=http://127.0.0.1:{}/api/broadcast\n",
        cluster.gateways[0].admin
    );
    let environment = std::fs::read_to_string(laravel.path(".env"))?;
    std::fs::write(laravel.path(".env"), environment + &settings)?;
    cluster.restart_worker(0)?;
    cluster.wait_until_ready()?;
    Ok((laravel, cluster))
}

/// How many subscribe to each event.
fn subscribers(cluster: &Cluster) -> Value {
    let request =
        format!("GET /api/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    let answer = http(cluster.gateways[0].admin, &request).unwrap().json().unwrap();
    let events = answer["events"].as_array().unwrap();
    events.iter().map(|event| (event["name"].as_str().unwrap().to_owned(), event["subscribers"].clone())).collect()
}

fn wait_for_subscribers(cluster: &Cluster, expected: &Value) -> anyhow::Result<()> {
    let wait = eventually("all have subscribed", || subscribers(cluster) == *expected);
    wait.map_err(|error| error.context(subscribers(cluster).to_string()))
}

fn refused(cluster: &Cluster) -> u64 {
    cluster.gateways[0].metric("diffyne_gateway_grants_total{result=\"refused\"}").unwrap() as u64
}

async fn log_in(browser: &Browser, pages: &LaravelPages, user: u32) -> anyhow::Result<Tab> {
    let mut tab = browser.open(&pages.url(&format!("/enter/{user}"))).await?;
    tab.wait_for_text("body", &format!("logged in as {user}")).await?;
    browser.open(&pages.url("/pages/Orders")).await
}

async fn wait_to_hear(tab: &mut Tab, expected: &Value) -> anyhow::Result<()> {
    let heard = format!("JSON.stringify(window.heard) === JSON.stringify({expected})");
    let wait = tab.wait_for(&heard).await;
    if wait.is_err() {
        let heard = tab.eval("JSON.stringify(window.heard)").await?;
        return wait.map_err(|error| error.context(format!("{heard} instead of {expected}")));
    }
    wait
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_hear_public_channels_and_private_ones_of_their_own_user_alone() -> anyhow::Result<()> {
    let (laravel, cluster) = start()?;
    let stand_in = Script::Companion(project().join("tests/data/stand-in.js"));
    let pages = LaravelPages::start(&cluster, &laravel, &stand_in, "")?;
    let companion = std::fs::read_to_string(laravel.path("tags.html"))?;
    let (ada_browser, bob_browser) = (Browser::start()?, Browser::start()?);
    std::fs::write(laravel.path("tags.html"), format!("{CLIENT}{LISTENING}"))?;
    let mut ada = log_in(&ada_browser, &pages, 1).await?;
    ada.wait_for("document.documentElement.dataset.diffyneConnection === 'open'").await?;
    std::fs::write(laravel.path("tags.html"), format!("{companion}{LISTENING}"))?;
    let mut bob = log_in(&bob_browser, &pages, 2).await?;
    let expected = json!({
        "channel:orders:OrderPaid": 2,
        "order-seen": 2,
        PRIVATE: 1,
        "private:orders.1:Illuminate.Notifications.Events.BroadcastNotificationCreated": 1,
        "private:orders.2:OrderPaid": 1,
        "presence:warehouse:order.shipped": 1,
    });
    wait_for_subscribers(&cluster, &expected)?;
    let get = |path: &str| http_get(pages.port, path);

    // Each hears its own, in order; the component of the page hears what is public.
    for path in ["/pay/7/1", "/pay/8/2", "/ship/7", "/notify/1", "/pay/9/3"] {
        assert_eq!(get(path)?.status, 200, "{path}: {}", laravel.log());
    }
    let paid = |order: u32, user: u32| json!({"order": order, "user": user});
    let public = |order: u32, user: u32| json!(["public", paid(order, user)]);
    let note = json!({"invoice": 12});
    ada.wait_for("window.heard.length === 6").await?;
    let id =
        ada.eval("(() => { const [, note] = window.heard[4]; return [delete note.id, delete note.type]; })()").await?;
    assert_eq!(id, json!([true, true]));
    let heard = [
        public(7, 1),
        json!(["of 1", paid(7, 1)]),
        public(8, 2),
        json!(["shipped", {"number": 7}]),
        json!(["notified", note]),
        public(9, 3),
    ];
    wait_to_hear(&mut ada, &json!(heard)).await?;
    let heard = [public(7, 1), public(8, 2), json!(["of 2", paid(8, 2)]), public(9, 3)];
    wait_to_hear(&mut bob, &json!(heard)).await?;
    for tab in [&mut ada, &mut bob] {
        tab.wait_for_text("output", "paid 9").await?;
        tab.eval("window.heard.length = 0").await?;
    }

    // toOthers() leaves out the page whose component has broadcast.
    ada.click("button").await?;
    wait_to_hear(&mut bob, &json!([public(30, 3)])).await?;
    get("/pay/10/3")?;
    wait_to_hear(&mut ada, &json!([public(10, 3)])).await?;

    // Who has ended listening hears nothing more, and the other listener of the same event does.
    ada.eval("diffyne.channel('orders').leave()").await?;
    ada.eval("diffyne.private('orders.1').stopListening('OrderPaid')").await?;
    let expected = json!({
        // The component still wants it.
        "channel:orders:OrderPaid": 2,
        "order-seen": 2,
        "private:orders.1:Illuminate.Notifications.Events.BroadcastNotificationCreated": 1,
        "private:orders.2:OrderPaid": 1,
        "presence:warehouse:order.shipped": 1,
    });
    wait_for_subscribers(&cluster, &expected)?;
    get("/pay/11/1")?;
    ada.wait_for_text("output", "paid 11").await?;
    wait_to_hear(&mut ada, &json!([public(10, 3)])).await?;
    Ok(())
}

/// What a page's script shows of who is here.
const PRESENT: &str = r"<script type='module'>
    import { join, room } from '/_diffyne/channels.js';
    const names = (users) => users.map(({ name }) => name).sort();
    window.log = [];
    window.lobby = join('room.1')
      .here((users) => { window.here = names(users); })
      .joining(({ name }) => { window.here = [...window.here, name].sort(); window.log.push(`+${name}`); })
      .leaving(({ name }) => { window.here = window.here.filter((other) => other !== name); window.log.push(`-${name}`); })
      .listenForWhisper('typing', ({ text }, from) => window.log.push(`${from}: ${text}`));
    window.order = room('order-seen', { order: 7 }, 'App\\Diffyne\\Orders').here((users) => { window.seen = names(users); });
    join('room.2').here(() => window.log.push('in room 2')).error((error) => { window.refused = error; });
</script>
<script type='module' src='/_diffyne/channels.js'></script>";

#[tokio::test(flavor = "multi_thread")]
async fn two_users_in_two_browsers_see_each_other_come_type_and_go() -> anyhow::Result<()> {
    let (laravel, cluster) = start()?;
    let stand_in = Script::Companion(project().join("tests/data/stand-in.js"));
    let pages = LaravelPages::start(&cluster, &laravel, &stand_in, "")?;
    let companion = std::fs::read_to_string(laravel.path("tags.html"))?;
    let (ada_browser, bob_browser) = (Browser::start()?, Browser::start()?);
    std::fs::write(laravel.path("tags.html"), format!("{CLIENT}{PRESENT}"))?;
    let mut ada = log_in(&ada_browser, &pages, 1).await?;
    ada.wait_for("String(window.here) === 'user 1' && String(window.seen) === 'user 1'").await?;
    ada.wait_for("window.refused === 'Not granted: presence:room.2'").await?;
    // With the companion beside diffyne.js it is the same.
    std::fs::write(laravel.path("tags.html"), format!("{companion}{PRESENT}"))?;
    let mut bob = log_in(&bob_browser, &pages, 2).await?;
    for tab in [&mut bob, &mut ada] {
        tab.wait_for("String(window.here) === 'user 1,user 2'").await?;
    }
    bob.wait_for("String(window.seen) === 'user 1,user 2'").await?;
    bob.eval("diffyne.join('room.1').whisper('typing', { text: 'hello' }) && null").await?;
    ada.wait_for("String(window.log) === '+user 2,2: hello'").await?;

    let settings = [("DIFFYNE_ADMIN_TOKEN", TOKEN)];
    let code = "echo json_encode([Diffyne\\Cluster\\Presence::in('presence-room.1'), \
                Diffyne\\Cluster\\Presence::has('order-seen', 2, ['order' => 7]), Diffyne\\Cluster\\Presence::in('presence-room.2')]);";
    let printed = laravel.tinker(&settings, code)?;
    let one = |id: u32| json!({"id": id.to_string(), "info": {"id": id, "name": format!("user {id}")}});
    let expected = json!([[one(1), one(2)], true, []]);
    assert!(printed.contains(&expected.to_string()), "{printed} instead of {expected}");

    // A reload is nobody's departure; a closed page is, and so is one that leaves.
    bob.eval("window.isOld = true, location.reload()").await?;
    bob.wait_for("!window.isOld && String(window.here) === 'user 1,user 2'").await?;
    bob.eval("window.order.leave() || null").await?;
    drop(bob);
    drop(bob_browser);
    ada.wait_for("String(window.here) === 'user 1'").await?;
    assert_eq!(ada.eval("String(window.log)").await?, "+user 2,2: hello,-user 2");
    Ok(())
}

/// A client with the session of a user.
async fn connect_as(cluster: &Cluster, site: u16, user: u32) -> anyhow::Result<Client> {
    let cookies = http_get(site, &format!("/enter/{user}"))?.cookies();
    Client::connect_with(&cluster.url(0), &[("Cookie", &cookies)]).await
}

async fn ask(client: &mut Client, event: &str, data: Value) -> anyhow::Result<ServerMessage> {
    let mut data = data;
    data["requestId"] = json!("r");
    client.request(event, data).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_way_leads_to_the_private_channel_of_another_user() -> anyhow::Result<()> {
    let (laravel, cluster) = start()?;
    let (_php, site) = laravel.serve()?;
    let mut ada = connect_as(&cluster, site, 1).await?;
    let answer = ask(&mut ada, "diffyne.subscribe", json!({"events": [{"name": PRIVATE}]})).await?;
    assert_eq!(answer.event(), "diffyne.subscribed", "{answer}");
    let grant = answer["grant"].as_str().unwrap().to_owned();
    let place = answer.place();

    let mut guest = Client::connect(&cluster.url(0)).await?;
    let mut bob = connect_as(&cluster, site, 2).await?;
    let before = refused(&cluster);
    let mut asked = 0;
    for client in [&mut guest, &mut bob] {
        for event in [
            json!({"name": PRIVATE}),
            json!({"name": PRIVATE, "match": {"order": 7}}),
            // A class that listens to anything is no way in.
            json!({"name": PRIVATE, "componentClass": "App\\Diffyne\\Orders"}),
            json!({"name": "presence:warehouse:order.shipped"}),
            json!({"name": "private:broken:OrderPaid"}),
            json!({"name": "private:nobody-knows-it:OrderPaid"}),
            json!({"name": "private:encrypted-orders.1:OrderPaid"}),
            json!({"name": "private::OrderPaid", "componentClass": "App\\Diffyne\\Orders"}),
        ] {
            let answer = ask(client, "diffyne.subscribe", json!({"events": [event]})).await?;
            assert_eq!(
                (answer.event(), answer.error_type()),
                ("diffyne.error", "subscribe_error"),
                "{event}: {answer}"
            );
            asked += 1;
        }
        // Neither another's grant, nor one that is asked for on the way to a replay.
        for grant in [json!(grant), Value::Null] {
            let mut resume = place.clone();
            resume["events"] = json!([{"name": PRIVATE}]);
            if !grant.is_null() {
                resume["grant"] = grant;
            }
            let answer = ask(client, "diffyne.resume", resume).await?;
            assert_eq!(answer.error_type(), "subscribe_error", "{answer}");
            asked += 1;
        }
        // What everybody may hear is heard all the same.
        let both = json!({"events": [{"name": "channel:orders:OrderPaid"}, {"name": PRIVATE}]});
        let data = json!({"events": both["events"], "requestId": "both"});
        client.send("diffyne.subscribe", data).await?;
        let told = client.receive_event("diffyne.error").await?;
        assert_eq!(told.error(), format!("Not granted: {PRIVATE}"));
        let answer = client.receive_event("diffyne.subscribed").await?;
        assert_eq!(answer["events"], json!([{"name": "channel:orders:OrderPaid"}]), "{answer}");
        asked += 1;
    }
    assert_eq!(refused(&cluster) - before, asked, "each was asked about, and refused");
    assert_eq!(subscribers(&cluster), json!({"channel:orders:OrderPaid": 2, PRIVATE: 1}));
    http_get(site, "/pay/7/1")?;
    assert_eq!(*ada.receive().await?.params(), json!([{"order": 7, "user": 1}]));
    for client in [&mut guest, &mut bob] {
        let push = client.receive_event("diffyne.event").await?;
        assert_eq!(
            (&push["events"][0]["name"], push["events"].as_array().map(Vec::len)),
            (&json!("channel:orders:OrderPaid"), Some(1))
        );
        assert_eq!(client.barrier().await?, []);
    }
    // Ada's own grant is good for her next connection, where no worker has to be asked.
    let mut again = connect_as(&cluster, site, 1).await?;
    let answer = ask(&mut again, "diffyne.subscribe", json!({"events": [{"name": PRIVATE}]})).await?;
    let mut resume = place;
    resume["events"] = json!([{"name": PRIVATE}, {"name": "channel:orders:OrderPaid"}]);
    resume["grant"] = answer["grant"].clone();
    again.send("diffyne.resume", resume).await?;
    let mut replayed = Vec::new();
    for _ in 0..2 {
        replayed.push(again.receive_event("diffyne.event").await?["events"][0]["name"].clone());
    }
    assert_eq!(replayed, [json!("channel:orders:OrderPaid"), json!(PRIVATE)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn broadcasts_go_through_redis_as_well_and_what_cannot_be_published_fails() -> anyhow::Result<()> {
    let (laravel, cluster) = start()?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut caller = Client::connect(&cluster.url(0)).await?;
    for client in [&mut client, &mut caller] {
        client.subscribe("channel:orders:OrderPaid").await?;
    }
    let redis_port = cluster.redis_port.to_string();
    let redis = [
        ("DIFFYNE_PUBLISH_URL", ""),
        ("REDIS_PORT", redis_port.as_str()),
        ("REDIS_HOST", "127.0.0.1"),
        ("REDIS_PREFIX", "laravel-database-"),
        ("REDIS_CLIENT", "phpredis"),
    ];
    let broadcast = "broadcast(new App\\Events\\OrderPaid(1, 1));";
    laravel.tinker(&redis, broadcast)?;
    for client in [&mut client, &mut caller] {
        assert_eq!(*client.receive().await?.params(), json!([{"order": 1, "user": 1}]));
    }
    // The page that sent a request of the application's own is left out.
    let code = format!(
        "request()->headers->set('X-Socket-ID', '{}'); broadcast(new App\\Events\\OrderPaid(2, 1))->toOthers();",
        caller.id
    );
    laravel.tinker(&redis, &code)?;
    assert_eq!(*client.receive().await?.params(), json!([{"order": 2, "user": 1}]));
    assert_eq!(caller.barrier().await?, []);
    let on_channel = |channel: &str| {
        format!(
            "broadcast(new class implements Illuminate\\Contracts\\Broadcasting\\ShouldBroadcastNow {{ \
             public function broadcastOn() {{ return new Illuminate\\Broadcasting\\{channel}; }} \
             public function broadcastAs() {{ return 'x'; }} }});"
        )
    };
    let [spaced, encrypted, empty] =
        ["Channel('with space')", "EncryptedPrivateChannel('orders.1')", "PrivateChannel('')"].map(on_channel);
    let debug = ("APP_DEBUG", "false");
    for (environment, code, error) in [
        (("DIFFYNE_PUBLISH_URL", "http://127.0.0.1:1/api/broadcast"), broadcast, "cannot be reached"),
        (("DIFFYNE_ADMIN_TOKEN", "not-this-one"), broadcast, "401"),
        (debug, spaced.as_str(), "without spaces"),
        (debug, encrypted.as_str(), "Encrypted channels are not supported"),
        (debug, empty.as_str(), "needs a name"),
    ] {
        let code = format!(
            "try {{ {code} }} catch (Illuminate\\Broadcasting\\BroadcastException $e) {{ echo $e->getMessage(); }}"
        );
        let printed = laravel.tinker(&[environment], &code)?;
        assert!(printed.contains(error) && !printed.contains("not-this-one"), "{error}: {printed}");
    }
    // A component's call, whose class has nothing to do with the channel.
    let state = json!({"text": "nothing"});
    let answer = caller.call(call("App\\Diffyne\\Orders", "diffyne-orders", "pay", json!([5]), state, "r")).await?;
    assert_eq!(answer.state()["text"], "paying 5", "{answer}");
    assert_eq!(*client.receive().await?.params(), json!([{"order": 5, "user": 3}]));
    assert_eq!(caller.barrier().await?, []);
    Ok(())
}
