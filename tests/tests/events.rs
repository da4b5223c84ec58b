//! Pushes without a WebSocket: server-sent events and polls, by the gateway itself and behind the nginx file as it is
//! shipped. What holds for the socket holds here.

use diffyne_tests::client::{Client, probe};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::events_client::{Block, EventsClient};
use diffyne_tests::http::{http, http_get, http_post};
use diffyne_tests::message::ServerMessage;
use diffyne_tests::process::{Signal, eventually, eventually_async};
use serde_json::{Value, json};

async fn announce(sender: &mut Client, numbers: std::ops::Range<i64>) -> anyhow::Result<()> {
    for n in numbers {
        sender.call(probe("diffyne-sender", "announce", json!([n]), "r")).await?;
    }
    Ok(())
}

/// Waits until a gateway has delivered this many broadcasts.
async fn wait_until_delivered(url: &str, offset: u64) -> anyhow::Result<()> {
    let mut client = Client::connect(url).await?;
    eventually_async(&format!("the gateway has delivered offset {offset}"), async || {
        let pong = client.request("diffyne.ping", json!({})).await?;
        Ok(pong["offset"].as_u64() >= Some(offset))
    })
    .await
}

/// The id of an event at the place that a message names.
fn id_of(place: &Value) -> String {
    format!("{}:{}", place["epoch"].as_str().unwrap(), place["offset"])
}

fn numbers(messages: &[ServerMessage]) -> Vec<i64> {
    messages.iter().filter_map(ServerMessage::number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_those_of_the_socket_and_a_client_goes_on_where_it_was_over_any_transport() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(2, 1).with_redis().with_nginx().gateway("--admin-token", "t"))?;
    let mut socket = Client::connect(&cluster.url(0)).await?;
    let place = socket.subscribe("message-sent").await?.place();
    let mut sender = Client::connect(&cluster.url(1)).await?;

    let mut events = EventsClient::hear(cluster.nginx_port, "message-sent", None).await?;
    assert!(events.head.to_lowercase().contains("content-type: text/event-stream"), "{}", events.head);
    let subscribed = events.expect("diffyne.subscribed").await?;
    assert_eq!(events.last_id, Some(id_of(subscribed.data())));
    announce(&mut sender, 0..3).await?;
    for n in 0..3 {
        let text = socket.receive_text().await?;
        let message = events.receive().await?;
        assert_eq!((message.number(), &events.last_text), (Some(n), &text), "byte by byte");
        assert_eq!(events.last_id, Some(format!("{}:{}", place["epoch"].as_str().unwrap(), message["offset"])));
    }
    // A broadcast whose JSON has lines of its own is the same message.
    let body = "{\"name\": \"message-sent\", \"params\": [{\"n\":\r\n 3}]}";
    let bearer = [("Authorization", "Bearer t")];
    assert_eq!(http_post(cluster.gateways[0].admin, "/api/broadcast", &bearer, body)?.status, 202);
    assert_eq!(events.receive().await?, socket.receive().await?);

    // Away, and back at another gateway: from the socket to events, by the header of browsers, and to the socket.
    let id = events.last_id.clone().unwrap();
    drop(events);
    announce(&mut sender, 4..7).await?;
    wait_until_delivered(&cluster.url(1), 7).await?;
    let mut back =
        EventsClient::get(cluster.gateways[1].port, "events=message-sent&lastEventId=old:1", &[("Last-Event-ID", &id)])
            .await?;
    back.expect("diffyne.connected").await?;
    for n in 4..7 {
        assert_eq!(back.receive().await?.number(), Some(n));
    }
    assert_eq!(back.expect("diffyne.resumed").await?["recovered"], true);
    let (epoch, _) = id.rsplit_once(':').unwrap();
    assert_eq!(back.last_id, Some(format!("{epoch}:7")));
    announce(&mut sender, 7..8).await?;
    assert_eq!(back.receive().await?.number(), Some(7), "and it goes on live");
    wait_until_delivered(&cluster.url(0), 8).await?;
    let mut again = Client::connect(&cluster.url(0)).await?;
    let wanted = json!({"epoch": epoch, "offset": 6, "events": [{"name": "message-sent"}]});
    let messages = [again.request("diffyne.resume", wanted).await?, again.receive().await?];
    assert_eq!(numbers(&messages), [6, 7]);
    assert_eq!(again.receive().await?["recovered"], true);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_ends_with_the_first_news_and_nothing_is_lost_between_two() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(2, 1).with_redis().with_nginx())?;
    let mut sender = Client::connect(&cluster.url(0)).await?;
    let wanted = |id: &str| {
        let (epoch, offset) = id.rsplit_once(':').unwrap();
        json!({"events": [{"name": "message-sent"}], "epoch": epoch, "offset": offset.parse::<u64>().unwrap()})
    };
    // The first one tells the place at once.
    let subscribe = json!({"events": [{"name": "message-sent"}]});
    let mut poll = EventsClient::post(cluster.nginx_port, "poll=25", &[], &subscribe).await?;
    let messages = poll.rest().await?;
    let client = messages[0]["clientId"].as_str().unwrap().to_owned();
    assert_eq!(messages[1].event(), "diffyne.subscribed");
    let mut id = poll.last_id.unwrap();

    // What comes between two polls is there at once.
    announce(&mut sender, 0..2).await?;
    wait_until_delivered(&cluster.url(1), 2).await?;
    let mut poll = EventsClient::post(cluster.gateways[1].port, "poll=25", &[], &wanted(&id)).await?;
    assert_eq!(numbers(&poll.rest().await?), [0, 1]);
    id = poll.last_id.unwrap();

    // A poll that waits, under the name of the one before, ends with the first broadcast.
    let headers = [("X-Diffyne-Client-Id", client.as_str())];
    let wait = tokio::spawn({
        let (port, data, client) = (cluster.gateways[0].port, wanted(&id), client.clone());
        async move { EventsClient::post(port, "poll=25", &[("X-Diffyne-Client-Id", &client)], &data).await?.rest().await }
    });
    let waiting = "diffyne_gateway_transport_connections{transport=\"poll\"}";
    eventually("it waits", || cluster.gateways[0].metric(waiting).is_ok_and(|count| count > 0.5))?;
    announce(&mut sender, 2..3).await?;
    let messages = wait.await??;
    assert_eq!((numbers(&messages), &messages[0]["clientId"]), (vec![2], &json!(client)));
    let (epoch, offset) = id.rsplit_once(':').unwrap();
    id = format!("{epoch}:{}", offset.parse::<u64>()? + 1);

    // One without news ends, too, and tells the place.
    let mut poll = EventsClient::post(cluster.nginx_port, "poll=1", &headers, &wanted(&id)).await?;
    let messages = poll.rest().await?;
    assert_eq!(messages[1].event(), "diffyne.resumed", "{messages:?}");
    assert_eq!((numbers(&messages), poll.last_id), (vec![], Some(id)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_connect_and_how_often_is_as_for_sockets() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1)
        .gateway("--max-connections-per-address", "3")
        .gateway("--ws-key", "k,other+key")
        .gateway("--ws-cors-origins", "https://shop.test")
        .gateway("--admin-token", "t")
        .gateway("--ping-interval", "1s")
        .gateway("--history-length", "3");
    let cluster = Cluster::start(shape)?;
    let gateway = &cluster.gateways[0];
    let status = async |query: &str, headers: &[(&str, &str)]| -> anyhow::Result<u16> {
        Ok(EventsClient::get(gateway.port, query, headers).await?.status)
    };
    let own = ("Origin", "https://shop.test");
    assert_eq!(status("key=k", &[("Origin", "https://evil.test")]).await?, 403);
    assert_eq!(status("key=wrong", &[own]).await?, 401);
    assert_eq!(status("", &[own]).await?, 401);
    for query in ["key=k&poll=0", "key=k&events=["] {
        assert_eq!(status(query, &[own]).await?, 400, "{query}");
    }
    let too_large = json!({"grant": "x".repeat(300_000)});
    let refused = EventsClient::post(gateway.port, "key=k", &[], &too_large).await?;
    assert_eq!(refused.status, 400);
    for (key, status) in [("k", 200), ("other key", 200), ("wrong", 401)] {
        assert_eq!(EventsClient::post(gateway.port, "", &[own], &json!({"key": key})).await?.status, status, "{key}");
    }
    let put = "PUT /_diffyne/events?key=k HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(http(gateway.port, put)?.status, 405);
    let preflight =
        format!("OPTIONS{}Origin: https://shop.test\r\n\r\n", put[3..].trim_end_matches("\r\n").to_owned() + "\r\n");
    let answer = http(gateway.port, &preflight)?;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, vec!["https://shop.test"]));

    // Sockets and events are connections alike.
    let from = ("X-Forwarded-For", "203.0.113.5");
    let mut socket = Client::connect_with(&format!("{}?key=k", cluster.url(0)), &[from]).await?;
    let mut events = EventsClient::get(gateway.port, "key=other%2Bkey&events=message-sent", &[own, from]).await?;
    assert!(events.head.contains("access-control-allow-origin: https://shop.test\r\n"), "{}", events.head);
    assert!(events.head.contains("x-accel-buffering: no\r\n"), "{}", events.head);
    let mut idle = EventsClient::get(gateway.port, "", &[own, from, ("Authorization", "Bearer k")]).await?;
    let refused = EventsClient::get(gateway.port, "key=k", &[own, from]).await?;
    assert_eq!(refused.status, 429);
    assert!(refused.head.to_lowercase().contains("retry-after: "), "{}", refused.head);

    // Nothing that is wrong in a subscription ends a connection.
    let wrong = json!({"events": [{"name": ""}], "requestId": "q"});
    let mut told = EventsClient::post(gateway.port, "key=k", &[], &wrong).await?;
    told.expect("diffyne.connected").await?;
    let error = told.expect("diffyne.error").await?;
    assert_eq!((error.error_type(), error.request_id()), ("subscribe_error", &json!("q")));

    // A silent client is told where it is, so that it misses nothing that was not for it.
    let bearer = [("Authorization", "Bearer t")];
    let publish = |n: i64| {
        let body = json!({"name": "other", "params": [n]}).to_string();
        http_post(gateway.admin, "/api/broadcast", &bearer, &body)
    };
    events.expect("diffyne.connected").await?;
    events.expect("diffyne.subscribed").await?;
    let first = events.last_id.clone().unwrap();
    assert_eq!(publish(1)?.status, 202);
    while events.last_id.as_ref() == Some(&first) {
        assert!(matches!(events.next().await?, Some(Block::Comment(_))));
    }
    // A place that the history has left, or never had, is told.
    (2..6).try_for_each(|n| publish(n).map(drop))?;
    for id in [first.as_str(), "elsewhere:1", "nonsense"] {
        let mut late = EventsClient::get(gateway.port, "key=k&events=other", &[("Last-Event-ID", id)]).await?;
        late.expect("diffyne.connected").await?;
        assert_eq!(late.expect("diffyne.resumed").await?["recovered"], false, "{id}");
    }

    // Operators see and end them.
    let listed = http_get_with(gateway.admin, "/api/connections?address=203.0.113.5", "Bearer t")?;
    let transports: Vec<&str> =
        listed["connections"].as_array().unwrap().iter().filter_map(|one| one["transport"].as_str()).collect();
    assert_eq!(transports.iter().filter(|transport| **transport == "sse").count(), 2, "{listed}");
    let id = idle.expect("diffyne.connected").await?["clientId"].as_str().unwrap().to_owned();
    assert_eq!(gateway.disconnect("t", &id)?["disconnected"], 1);
    assert_eq!(idle.expect("diffyne.disconnect").await?["reconnect"], false);
    assert_eq!(idle.rest().await?, []);
    socket.barrier().await?;

    // A gateway that stops tells them when to come back, and ends.
    gateway.process.signal(Signal::Term)?;
    let goodbye = events.expect("diffyne.disconnect").await?;
    assert_eq!(goodbye["reconnect"], true);
    assert_eq!(events.rest().await?, []);
    Ok(())
}

fn http_get_with(port: u16, path: &str, bearer: &str) -> anyhow::Result<Value> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer}\r\nConnection: close\r\n\r\n");
    http(port, &request)?.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_does_not_read_is_closed_and_the_others_hear() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1)
        .gateway("--admin-token", "t")
        .gateway("--outbox-bytes", "256KiB")
        .gateway("--connection-bytes", "512KiB")
        .gateway("--broadcast-events", "*");
    let cluster = Cluster::start(shape)?;
    let gateway = &cluster.gateways[0];
    let mut lazy = EventsClient::hear(gateway.port, "big", None).await?;
    lazy.expect("diffyne.subscribed").await?;
    let mut reads = EventsClient::hear(gateway.port, "big", None).await?;
    reads.expect("diffyne.subscribed").await?;
    let body = json!({"name": "big", "params": ["x".repeat(100_000)]}).to_string();
    let mut sent = 0;
    while gateway.metric("diffyne_gateway_slow_consumers_total")? < 0.5 {
        assert!(sent < 1000, "nobody was closed");
        assert_eq!(http_post(gateway.admin, "/api/broadcast", &[("Authorization", "Bearer t")], &body)?.status, 202);
        assert!(reads.expect("diffyne.event").await?["id"].is_string());
        sent += 1;
    }
    let open = "diffyne_gateway_transport_connections{transport=\"sse\"}";
    eventually("it is gone", || gateway.metric(open).is_ok_and(|count| (count - 1.0).abs() < 0.1))?;
    assert_eq!(http_get(gateway.port, "/health")?.status, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_grants_in_the_session_of_the_request_and_the_grant_is_good_for_every_transport() -> anyhow::Result<()>
{
    let shape = Shape::new(2, 1).with_redis().gateway("--subscribe", "granted").gateway("--signing-key", "k");
    let cluster = Cluster::start(shape.gateway("--app-url", "http://127.0.0.1"))?;
    let room = json!([{"name": "message-sent", "match": {"room": 7}, "componentClass": "App\\Tests\\Listener"}]);
    let own = [("Cookie", "session=ada"), ("Origin", "http://127.0.0.1")];
    let foreign = [("Cookie", "session=ada"), ("Origin", "http://evil.test")];
    for headers in [&foreign[..], &own[1..]] {
        let mut guest = EventsClient::post(cluster.gateways[0].port, "", headers, &json!({"events": room})).await?;
        assert!(!guest.head.contains("allow-credentials") || headers[0].1 == own[1].1, "{}", guest.head);
        guest.expect("diffyne.connected").await?;
        assert!(guest.expect("diffyne.error").await?.error().contains("Not granted"));
    }
    let mut ada = EventsClient::post(cluster.gateways[0].port, "", &own, &json!({"events": room})).await?;
    ada.expect("diffyne.connected").await?;
    let subscribed = ada.expect("diffyne.subscribed").await?;
    let mut sender = Client::connect(&cluster.url(1)).await?;
    sender.call(probe("p", "post", json!([7]), "r")).await?;
    assert_eq!(ada.receive().await?.params()[0]["room"], 7);
    // With the grant, anywhere and by any transport, no worker is asked.
    let place = subscribed.place();
    let shown = json!({
        "epoch": place["epoch"], "offset": place["offset"], "events": room, "grant": subscribed["grant"],
    });
    let mut poll = EventsClient::post(cluster.gateways[1].port, "poll=25", &own, &shown).await?;
    let heard = poll.rest().await?;
    assert_eq!(heard.iter().filter(|message| message.event() == "diffyne.event").count(), 1, "{heard:?}");
    let mut socket = Client::connect_with(&cluster.url(1), &own).await?;
    assert_eq!(socket.request("diffyne.resume", shown).await?.params()[0]["room"], 7);
    assert!(cluster.gateways[1].metric("diffyne_gateway_grants_total{result=\"shown\"}")? > 1.5);
    Ok(())
}
