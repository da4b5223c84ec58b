//! Broadcasts: everybody who listens gets them once, wherever they are connected; the sender does not.

use diffyne_tests::client::{Client, call, chat, probe};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::http::http_post;
use diffyne_tests::process::{Signal, eventually};
use serde_json::json;

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
        let answer = clients[sender].call(chat(&text, "m")).await?;
        assert_eq!(answer.request_id(), "m", "{answer}");
        let id = answer.event_id().unwrap().to_owned();
        for (index, client) in clients.iter_mut().enumerate().filter(|(index, _)| *index != sender) {
            let push = client.receive().await?;
            assert_eq!(push.event(), "diffyne.event", "{push}");
            assert_eq!(push["id"], id, "round {round}, client {index}");
            assert_eq!(push["offset"], round + 1);
            assert_eq!(*push.params(), json!([{"room_id": 1}]));
        }
    }
    // Whatever came twice, or came to the sender, would stand before the answer to this.
    for client in &mut clients {
        assert_eq!(client.barrier().await?, []);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn match_filters_unsubscriptions_and_the_depth_limit_are_respected() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1))?;
    let mut sender = Client::connect(&cluster.url(0)).await?;
    let mut room = Client::connect(&cluster.url(0)).await?;
    assert_eq!(
        room.request("diffyne.subscribe", json!({"events": [{"name": "message-sent", "match": {"n": 7}}]}))
            .await?
            .event(),
        "diffyne.subscribed"
    );
    for n in [6, 7, 8] {
        sender.call(probe("diffyne-a", "announce", json!([n]), "r")).await?;
    }
    let push = room.receive().await?;
    assert_eq!(*push.params(), json!([{"n": 7}]));
    assert_eq!(push["depth"], 0);
    assert!(room.barrier().await?.is_empty());

    for (depth, published) in [(1, true), (2, false)] {
        let mut data = probe("diffyne-a", "announce", json!([7]), "r");
        data["cause"] = json!({"id": push["id"], "depth": depth});
        let answer = sender.call(data).await?;
        assert_eq!(answer["events"][0]["name"], "message-sent");
        assert_eq!(answer.event_id().is_some(), published, "{answer}");
    }
    assert_eq!(room.receive().await?["depth"], 2);

    assert_eq!(
        room.request("diffyne.unsubscribe", json!({"events": [{"name": "message-sent"}]})).await?.event(),
        "diffyne.unsubscribed"
    );
    sender.call(probe("diffyne-a", "announce", json!([7]), "r")).await?;
    // It would stand before a broadcast that follows it.
    assert_eq!(
        room.request("diffyne.subscribe", json!({"events": [{"name": "message-sent", "match": {"n": 8}}]}))
            .await?
            .event(),
        "diffyne.subscribed"
    );
    sender.call(probe("diffyne-a", "announce", json!([8]), "r")).await?;
    assert_eq!(room.receive().await?.number(), Some(8));

    let refused = sender.request("diffyne.subscribe", json!({"events": "all", "requestId": 5})).await?;
    assert_eq!((refused.event(), refused.error_type()), ("diffyne.error", "subscribe_error"));
    assert_eq!(refused.request_id(), 5);
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
    let shape = Shape::new(1, 1).gateway("--broadcast-events", "other-*").gateway("--admin-token", "let-me");
    let cluster = Cluster::start(shape)?;
    let mut sender = Client::connect(&cluster.url(0)).await?;
    let mut other = Client::connect(&cluster.url(0)).await?;
    other.subscribe("message-sent").await?;
    other.subscribe("other-news").await?;
    let state = json!({"roomId": 1, "messages": [], "newMessage": "hi"});
    let data = call("App\\Diffyne\\ChatRoom", "diffyne-c", "sendMessage", json!([]), state, "r");
    let answer = sender.call(data).await?;
    assert_eq!(answer["events"][0]["name"], "message-sent");
    assert_eq!(answer.event_id(), None);
    // It would stand before a broadcast that follows it.
    let token = [("Authorization", "Bearer let-me")];
    let next = json!({"name": "other-news", "params": []}).to_string();
    assert_eq!(http_post(cluster.gateways[0].admin, "/api/broadcast", &token, &next)?.status, 202);
    assert_eq!(other.receive().await?["events"][0]["name"], "other-news");
    Ok(())
}
