//! Broadcasts: everybody who listens gets them once, wherever they are connected; the sender does not.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use diffyne_tests::client::{Client, call, chat, probe};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::process::{Signal, eventually};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_message_reaches_29_others_on_three_gateways_exactly_once_100_times() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(3, 2).with_redis().with_nginx())?;
    let mut clients = Vec::new();
    for _ in 0..30 {
        let mut client = Client::connect(&cluster.nginx_url()).await?;
        client.subscribe("message-sent").await?;
        clients.push(client);
    }
    for gateway in &cluster.gateways {
        eventually("every gateway knows of all 30", || {
            gateway.health().is_ok_and(|health| health["connections"]["cluster"] == 30)
        })?;
        let local = gateway.health()?["connections"]["local"].as_u64().unwrap();
        assert!((5..=15).contains(&local), "nginx spreads the connections: {local}");
    }
    for round in 0..100 {
        let sender = round % clients.len();
        let text = format!("message {round}");
        clients[sender].send("diffyne.call", chat(&text, "m")).await?;
        let answer = clients[sender].receive().await?;
        assert_eq!(answer["data"]["requestId"], "m", "{answer}");
        let id = answer["data"]["eventIds"][0].as_str().unwrap().to_owned();
        for (index, client) in clients.iter_mut().enumerate().filter(|(index, _)| *index != sender) {
            let push = client.receive().await?;
            assert_eq!(push["event"], "diffyne.event", "{push}");
            assert_eq!(push["data"]["id"], id, "round {round}, client {index}");
            assert_eq!(push["data"]["offset"], round + 1);
            assert_eq!(push["data"]["events"][0]["params"], json!([{"room_id": 1}]));
        }
    }
    // Whatever came twice, or came to the sender, would stand before the answer to this.
    for client in &mut clients {
        assert_eq!(client.barrier().await?, Vec::<Value>::new());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn match_filters_unsubscribe_and_depth_are_heeded() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1))?;
    let mut sender = Client::connect(&cluster.url(0)).await?;
    let mut room = Client::connect(&cluster.url(0)).await?;
    room.send("diffyne.subscribe", json!({"events": [{"name": "message-sent", "match": {"n": 7}}]})).await?;
    assert_eq!(room.receive().await?["event"], "diffyne.subscribed");
    for n in [6, 7, 8] {
        sender.send("diffyne.call", probe("diffyne-a", "announce", json!([n]), "r")).await?;
        sender.receive().await?;
    }
    let push = room.receive().await?;
    assert_eq!(push["data"]["events"][0]["params"], json!([{"n": 7}]));
    assert_eq!(push["data"]["depth"], 0);
    assert!(room.barrier().await?.is_empty());

    for (depth, published) in [(1, true), (2, false)] {
        let mut data = probe("diffyne-a", "announce", json!([7]), "r");
        data["cause"] = json!({"id": push["data"]["id"], "depth": depth});
        sender.send("diffyne.call", data).await?;
        let answer = sender.receive().await?;
        assert_eq!(answer["data"]["events"][0]["name"], "message-sent");
        assert_eq!(answer["data"].get("eventIds").is_some(), published, "{answer}");
    }
    assert_eq!(room.receive().await?["data"]["depth"], 2);

    room.send("diffyne.unsubscribe", json!({"events": [{"name": "message-sent"}]})).await?;
    assert_eq!(room.receive().await?["event"], "diffyne.unsubscribed");
    sender.send("diffyne.call", probe("diffyne-a", "announce", json!([7]), "r")).await?;
    sender.receive().await?;
    room.silent_for(Duration::from_millis(100)).await?;

    sender.send("diffyne.subscribe", json!({"events": "all", "requestId": 5})).await?;
    let refused = sender.receive().await?;
    assert_eq!((&refused["event"], &refused["data"]["type"]), (&json!("diffyne.error"), &json!("subscribe_error")));
    assert_eq!(refused["data"]["requestId"], 5);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_forgets_a_killed_gateway_and_laravel_reads_the_status() -> anyhow::Result<()> {
    let key = "laravel_database_laravel_cache:diffyne:websocket:status";
    let shape = Shape::new(2, 1).with_redis().gateway("--status-key", key).gateway("--status-db", "1");
    let mut cluster = Cluster::start(shape)?;
    let mut clients = Vec::new();
    for index in [0, 0, 0, 1, 1] {
        clients.push(Client::connect(&cluster.url(index)).await?);
    }
    for gateway in &cluster.gateways {
        eventually("both gateways know of all five", || {
            gateway.health().is_ok_and(|health| health["connections"]["cluster"] == 5)
        })?;
    }
    let client = deadpool_redis::redis::Client::open(format!("{}/1", cluster.redis_url()))?;
    let mut redis = client.get_multiplexed_async_connection().await?;
    let mut status = async || -> Option<String> {
        deadpool_redis::redis::cmd("GET").arg(key).query_async(&mut redis).await.ok().flatten()
    };
    assert_eq!(status().await.as_deref(), Some(r#"s:9:"connected";"#));

    cluster.gateways[0].process.signal(Signal::Kill)?;
    eventually("the killed gateway's connections are forgotten within its TTL", || {
        cluster.gateways[1].health().is_ok_and(|health| health["connections"]["cluster"] == 2)
    })?;
    assert_eq!(status().await.as_deref(), Some(r#"s:9:"connected";"#));

    cluster.gateways[1].process.signal(Signal::Term)?;
    assert!(cluster.gateways[1].process.wait()?.success());
    assert_eq!(status().await.as_deref(), Some(r#"s:12:"disconnected";"#));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_outside_the_list_stays_in_its_response() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).gateway("--broadcast-events", "other-*"))?;
    let mut sender = Client::connect(&cluster.url(0)).await?;
    let mut other = Client::connect(&cluster.url(0)).await?;
    other.subscribe("message-sent").await?;
    let state = json!({"roomId": 1, "messages": [], "newMessage": "hi"});
    let data = call("App\\Diffyne\\ChatRoom", "diffyne-c", "sendMessage", json!([]), state, "r");
    sender.send("diffyne.call", data).await?;
    let answer = sender.receive().await?;
    assert_eq!(answer["data"]["events"][0]["name"], "message-sent");
    assert!(answer["data"].get("eventIds").is_none());
    other.silent_for(Duration::from_millis(100)).await
}
