//! Broadcasts that are published in batches: through a real Redis whose replies get lost, by HTTP, and through the ingress
//! list.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use deadpool_redis::redis;
use diffyne_shared::bus::{Broadcast, Bus, BusEvent, GatewayIdentity, Publication};
use diffyne_shared::settings::gateway::{self, GatewaySettings};
use diffyne_shared::settings::{Files, Layers};
use diffyne_shared::token::Tokens;
use diffyne_tests::client::Client;
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::faulty_proxy::{FaultyProxy, ProxyState};
use diffyne_tests::http::{HttpResponse, http, http_post};
use diffyne_tests::process::{PATIENCE, Signal, eventually};
use serde_json::{Value, json};
use tokio::sync::mpsc;

const TOKEN: &str = "let-me";

/// A gateway's bus, with what it tells.
struct Member {
    bus: Bus,
    events: mpsc::UnboundedReceiver<BusEvent>,
}

impl Member {
    async fn start(name: &str, redis_port: u16) -> anyhow::Result<Self> {
        let flags = HashMap::from([("DIFFYNE_REDIS_URL".to_owned(), format!("redis://127.0.0.1:{redis_port}"))]);
        let layers = Layers::read(&gateway::specs(), &Files::default(), &HashMap::new(), &flags)?;
        let settings = GatewaySettings::read(&layers)?;
        let url = settings.redis.url.clone().context("no Redis")?;
        let identity = GatewayIdentity::new(name);
        let (bus, mut events) =
            Bus::redis(identity, &url, &settings.redis, Tokens::shared(&[]), None).map_err(anyhow::Error::msg)?;
        let first = tokio::time::timeout(PATIENCE, events.recv()).await?;
        ensure!(matches!(first, Some(BusEvent::Start { .. })), "{first:?}");
        // Nobody is slow here, as no gateway is.
        let (told, told_here) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                // The test may have ended.
                let _ = told.send(event);
            }
        });
        Ok(Self { bus, events: told_here })
    }

    fn publish(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let params = format!("[{number}]");
            let event =
                Publication { name: "news".to_owned(), params, except: None, depth: 0, user: None, trace: None };
            self.bus.publish(event).unwrap();
        }
    }

    /// The next broadcast that came through Redis; those that were delivered locally are noted.
    async fn broadcast(&mut self, local: &mut Vec<u64>) -> anyhow::Result<Broadcast> {
        loop {
            match tokio::time::timeout(PATIENCE, self.events.recv()).await.context("nothing came")? {
                Some(BusEvent::Broadcast(broadcast)) => return Ok(broadcast),
                Some(BusEvent::Local(broadcast)) => local.push(number(&broadcast)?),
                other => anyhow::bail!("{other:?}"),
            }
        }
    }
}

fn number(broadcast: &Broadcast) -> anyhow::Result<u64> {
    Ok(serde_json::from_str::<[u64; 1]>(&broadcast.event.params)?[0])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_reply_is_lost_is_in_the_history_once() -> anyhow::Result<()> {
    let cluster = Cluster::start_unready(Shape::new(0, 0).with_redis())?;
    let proxy = FaultyProxy::start(cluster.redis_port, ProxyState::Open)?;
    let mut near = Member::start("near", proxy.port).await?;
    let mut far = Member::start("far", cluster.redis_port).await?;
    let (mut next, mut local) = (0, Vec::new());
    for _ in 0..3 {
        // Its publisher has a connection, and waits for no reply.
        near.publish(next..next + 1);
        check(&far.broadcast(&mut Vec::new()).await?, next, None)?;
        next += 1;
        eventually("the reply is there", || near.bus.counters().published.load(Ordering::Relaxed) == next)?;
        proxy.lose_replies(true);
        near.publish(next..next + 300);
        // Redis has the first batch, and its publisher does not know it.
        let mut offset = check(&far.broadcast(&mut Vec::new()).await?, next, None)?;
        near.publish(next + 300..next + 600);
        proxy.lose_replies(false);
        for expected in next + 1..next + 600 {
            offset = check(&far.broadcast(&mut Vec::new()).await?, expected, Some(offset))?;
        }
        next += 600;
    }
    // Its own subscriber closes its gaps from the stream.
    let mut offset = None;
    for expected in 0..next {
        offset = Some(check(&near.broadcast(&mut local).await?, expected, offset)?);
    }
    assert!(local.is_sorted() && !local.is_empty(), "its clients got what waited, in order: {local:?}");
    let length = diffyne_tests::redis::cli(cluster.redis_port, &["xlen", "{diffyne}:stream"])?;
    assert_eq!(length, next.to_string());
    Ok(())
}

/// Checks a broadcast's number and that its offset follows. Returns the offset.
fn check(broadcast: &Broadcast, expected: u64, last: Option<u64>) -> anyhow::Result<u64> {
    let offset = broadcast.position.as_ref().context("no position")?.offset;
    ensure!(number(broadcast)? == expected, "{broadcast:?} instead of {expected}");
    ensure!(last.is_none_or(|last| last + 1 == offset), "{broadcast:?} follows {last:?}");
    Ok(offset)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_during_a_round_trip_leaves_in_one_batch() -> anyhow::Result<()> {
    let cluster = Cluster::start_unready(Shape::new(0, 0).with_redis())?;
    let mut member = Member::start("one", cluster.redis_port).await?;
    let redis = cluster.redis.as_ref().context("no Redis")?;
    member.publish(0..1);
    member.broadcast(&mut Vec::new()).await?;
    redis.signal(Signal::Stop)?;
    member.publish(1..601);
    redis.signal(Signal::Cont)?;
    for expected in 1..601 {
        check(&member.broadcast(&mut Vec::new()).await?, expected, None)?;
    }
    let sizes = &member.bus.counters().batch_sizes;
    // The lone one, what was there when the next attempt began, and the rest by 256.
    eventually("all replies are there", || sizes.get_sample_sum() as u64 == 601)?;
    assert!((2..=5).contains(&sizes.get_sample_count()), "{} batches", sizes.get_sample_count());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_stays_within_its_limits_whatever_the_batches() -> anyhow::Result<()> {
    let shape = Shape::new(1, 0).with_redis().gateway("--admin-token", TOKEN);
    let cluster = Cluster::start_unready(shape.gateway("--history-length", "100").gateway("--history-bytes", "20KiB"))?;
    eventually("redis is up", || cluster.gateways[0].health().is_ok_and(|health| health["redis"] == "up"))?;
    let cli = |arguments: &[&str]| diffyne_tests::redis::cli(cluster.redis_port, arguments);
    let (mut sent, mut kept) = (0, VecDeque::new());
    for (events, bytes) in [(1, 10), (50, 10), (300, 10), (1, 10), (60, 1000), (1, 30_000), (2, 10)] {
        let event = json!({"name": "news", "params": ["x".repeat(bytes)]});
        let answer = post(&cluster, &Value::from(vec![event.clone(); events]))?;
        assert_eq!((answer.status, ids(&answer)?.len()), (202, events));
        sent += events;
        kept.extend(vec![event.to_string().len() + r#","depth":0"#.len(); events]);
        while kept.len() > 100 || (kept.len() > 1 && kept.iter().sum::<usize>() > 20 * 1024) {
            kept.pop_front();
        }
        eventually("Redis has all", || {
            cli(&["hget", "{diffyne}:meta", "offset"]).is_ok_and(|it| it == sent.to_string())
        })?;
        let length: usize = cli(&["xlen", "{diffyne}:stream"])?.parse()?;
        let counted: usize = cli(&["hget", "{diffyne}:meta", "bytes"])?.parse()?;
        let held: usize = cli(&["eval", HELD_BYTES, "1", "{diffyne}:stream"])?.parse()?;
        let expected = (kept.len(), kept.iter().sum());
        assert_eq!((length, held), expected, "after {events} of {bytes} bytes");
        assert_eq!(counted, held, "after {events} of {bytes} bytes");
    }
    Ok(())
}

const HELD_BYTES: &str = "local sum = 0 \
    for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do sum = sum + #entry[2][8] end return sum";

fn post(cluster: &Cluster, body: &Value) -> anyhow::Result<HttpResponse> {
    post_to(cluster, 0, body)
}

fn post_to(cluster: &Cluster, gateway: usize, body: &Value) -> anyhow::Result<HttpResponse> {
    let bearer = format!("Bearer {TOKEN}");
    http_post(cluster.gateways[gateway].admin, "/api/broadcast", &[("Authorization", &bearer)], &body.to_string())
}

fn ids(answer: &HttpResponse) -> anyhow::Result<Vec<String>> {
    Ok(serde_json::from_value(answer.json()?["ids"].clone())?)
}

fn numbered(numbers: std::ops::Range<u64>) -> Value {
    numbers.map(|n| json!({"name": "message-sent", "params": [{"n": n}]})).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_by_http_arrives_everywhere_once_and_in_order() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(2, 1).with_redis().gateway("--admin-token", TOKEN))?;
    let mut clients = [Client::connect(&cluster.url(0)).await?, Client::connect(&cluster.url(1)).await?];
    for client in &mut clients {
        client.subscribe("message-sent").await?;
    }
    let answer = post(&cluster, &numbered(0..700))?;
    assert_eq!(answer.status, 202, "{answer:?}");
    let ids = ids(&answer)?;
    for client in &mut clients {
        for (n, id) in ids.iter().enumerate() {
            let push = client.receive().await?;
            assert_eq!((push.number(), push["id"].as_str()), (Some(n as i64), Some(id.as_str())), "{push}");
        }
        assert!(client.barrier().await?.is_empty());
    }
    let batches = cluster.gateways[0].metric("diffyne_gateway_publish_batch_broadcasts_count")?;
    let broadcasts = cluster.gateways[0].metric("diffyne_gateway_publish_batch_broadcasts_sum")?;
    assert!(broadcasts >= 700.0 && batches < 70.0, "{broadcasts} broadcasts in {batches} batches");
    assert_eq!(post(&cluster, &json!([{"name": "message-sent", "params": []}, 7]))?.status, 422);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_makes_http_wait_and_then_refuses() -> anyhow::Result<()> {
    // An attempt is under way until Redis counts as away; meanwhile the queue takes four.
    for (wait, redis_timeout, status) in [("30s", "1s", 202), ("0s", "30s", 503)] {
        let shape = Shape::new(1, 0).with_redis().gateway("--admin-token", TOKEN).gateway("--redis-queue", "4");
        let shape = shape.gateway("--publish-wait", wait).gateway("--redis-timeout", redis_timeout);
        let cluster = Cluster::start_unready(shape)?;
        eventually("redis is up", || cluster.gateways[0].health().is_ok_and(|health| health["redis"] == "up"))?;
        let redis = cluster.redis.as_ref().context("no Redis")?;
        redis.signal(Signal::Stop)?;
        post(&cluster, &numbered(0..1))?;
        let answer = post(&cluster, &numbered(1..20))?;
        assert_eq!(answer.status, status, "{wait}: {answer:?}");
        assert_eq!(ids(&answer)?.len() == 19, status == 202, "{wait}: {answer:?}");
        redis.signal(Signal::Cont)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_the_ingress_list_is_published_once_and_in_order_whoever_takes_it() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(3, 1).with_redis())?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    client.subscribe("message-sent").await?;
    let connection = redis::Client::open(cluster.redis_url())?;
    let mut connection = connection.get_multiplexed_async_connection().await?;
    let mut n = 0;
    for burst in [1, 3000, 1, 1, 700] {
        let mut push = redis::cmd("RPUSH");
        push.arg("{diffyne}:ingress").arg("no event");
        for _ in 0..burst {
            // Some say the same.
            push.arg(json!({"name": "message-sent", "params": [{"n": n / 2}]}).to_string());
            n += 1;
        }
        push.query_async::<i64>(&mut connection).await?;
    }
    for expected in 0..n {
        let push = tokio::time::timeout(Duration::from_secs(30), client.receive()).await??;
        assert_eq!(push.number(), Some(expected / 2), "{push}");
    }
    assert!(client.barrier().await?.is_empty());
    assert_eq!(diffyne_tests::redis::cli(cluster.redis_port, &["llen", "{diffyne}:ingress"])?, "0");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_a_key_is_published_once_whichever_gateway_is_asked() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(2, 1).with_redis().gateway("--admin-token", TOKEN))?;
    let mut clients = [Client::connect(&cluster.url(0)).await?, Client::connect(&cluster.url(1)).await?];
    for client in &mut clients {
        client.subscribe("message-sent").await?;
    }
    clients[1].subscribe("order-paid").await?;
    let event = |n: u64, key: &str| json!({"name": "message-sent", "params": [{"n": n}], "idempotency_key": key});
    let first = post(&cluster, &event(0, "a"))?;
    assert_eq!(first.status, 202, "{first:?}");
    // A list of which a part was published is sent again, to the other gateway.
    let list = post_to(&cluster, 1, &json!([event(0, "a"), event(1, "b")]))?;
    let ids = ids(&list)?;
    assert_eq!(Some(ids[0].as_str()), first.json()?["id"].as_str(), "{list:?}");
    assert_eq!(post(&cluster, &event(1, "b"))?.json()?["id"], ids[1].as_str(), "through Redis, and from memory");
    assert_eq!(post(&cluster, &event(1, "b"))?.json()?["id"], ids[1].as_str());
    for client in &mut clients {
        // Two gateways have published them, which have no order between them.
        let mut heard = [client.receive().await?.number(), client.receive().await?.number()];
        heard.sort_unstable();
        assert_eq!(heard, [Some(0), Some(1)]);
        assert!(client.barrier().await?.is_empty());
    }
    assert_eq!(post(&cluster, &event(2, ""))?.status, 422);

    // Who hears what, in the whole cluster.
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let request = format!("GET /api/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{bearer}\r\n\r\n");
    let events = http(cluster.gateways[0].admin, &request)?.json()?;
    let heard = json!([{"name": "message-sent", "subscribers": 2}, {"name": "order-paid", "subscribers": 1}]);
    assert_eq!((&events["events"], &events["silent"]), (&heard, &json!([])), "{events}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_ingress_list_that_is_too_long_the_oldest_are_dropped_and_counted() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).with_redis().gateway("--ingress-max", "100"))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    client.subscribe("message-sent").await?;
    let connection = redis::Client::open(cluster.redis_url())?;
    let mut connection = connection.get_multiplexed_async_connection().await?;
    let mut push = redis::cmd("RPUSH");
    push.arg("{diffyne}:ingress");
    for n in 0..500 {
        push.arg(json!({"name": "message-sent", "params": [{"n": n}]}).to_string());
    }
    push.query_async::<i64>(&mut connection).await?;
    // The one at the head was taken already when the rest was counted.
    for expected in std::iter::once(0).chain(400..500) {
        assert_eq!(client.receive().await?.number(), Some(expected));
    }
    let gateway = &cluster.gateways[0];
    assert_eq!(gateway.metric("diffyne_gateway_ingress_dropped_total")? as u64, 399);
    eventually("none waits", || gateway.metric("diffyne_gateway_ingress_waiting").is_ok_and(|waiting| waiting < 0.5))
}
