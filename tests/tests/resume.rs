//! Clients that lose their connection miss nothing: what was broadcast meanwhile is replayed, in order, without a gap
//! or a double where replay and live meet; whoever cannot be helped is told.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use diffyne_tests::client::{Client, probe};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::message::ServerMessage;
use diffyne_tests::process::{Signal, eventually_async};
use serde_json::{Value, json};

/// A page that remembers where it was.
struct ResumingClient {
    client: Client,
    place: Value,
}

impl ResumingClient {
    async fn open(url: &str) -> anyhow::Result<Self> {
        let mut client = Client::connect(url).await?;
        let answer = client.subscribe("message-sent").await?;
        let place = answer.place();
        Ok(Self { client, place })
    }

    /// Connects again, somewhere; the replayed numbers, and whether that was all.
    async fn resume(&mut self, url: &str, filter: Option<Value>) -> anyhow::Result<(Vec<i64>, bool)> {
        self.client = Client::connect(url).await?;
        let mut data = self.place.clone();
        data["events"] = json!([{"name": "message-sent"}]);
        if let Some(filter) = filter {
            data["events"][0]["match"] = filter;
        }
        data["requestId"] = json!("again");
        self.client.send("diffyne.resume", data).await?;
        let mut replayed = Vec::new();
        loop {
            let message = self.client.receive().await?;
            if message.event() == "diffyne.resumed" {
                assert_eq!(message.request_id(), "again");
                self.place = message.place();
                return Ok((replayed, message["recovered"] == true));
            }
            replayed.push(self.take(&message));
        }
    }

    /// Takes a push.
    fn take(&mut self, message: &ServerMessage) -> i64 {
        assert_eq!(message.event(), "diffyne.event", "{message}");
        let offset = message["offset"].as_u64().unwrap();
        assert_eq!(offset, self.place["offset"].as_u64().unwrap() + 1, "dense: {message}");
        self.place["offset"] = json!(offset);
        message.number().unwrap()
    }
}

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

#[tokio::test(flavor = "multi_thread")]
async fn exactly_what_was_missed_is_replayed_on_any_gateway() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Shape::new(2, 1).with_redis())?;
    let mut sender = Client::connect(&cluster.url(1)).await?;
    let mut page = ResumingClient::open(&cluster.url(0)).await?;
    announce(&mut sender, 0..3).await?;
    for n in 0..3 {
        let push = page.client.receive().await?;
        assert_eq!(page.take(&push), n);
    }
    page.client.socket.close(None).await?;
    announce(&mut sender, 3..8).await?;
    wait_until_delivered(&cluster.url(1), 8).await?;
    assert_eq!(page.resume(&cluster.url(1), None).await?, ((3..8).collect(), true));
    announce(&mut sender, 8..9).await?;
    let push = page.client.receive().await?;
    assert_eq!(page.take(&push), 8, "and it goes on live");

    // A gateway that was not there yet knows it from the stream.
    page.place["offset"] = json!(4);
    let late = cluster.start_gateway()?;
    cluster.gateways.push(late);
    cluster.wait_until_ready()?;
    assert_eq!(page.resume(&cluster.url(2), None).await?, ((4..9).collect(), true));
    // Filtered as the subscription is; the place still moves on.
    page.client = Client::connect(&cluster.url(2)).await?;
    let wanted =
        json!({"epoch": page.place["epoch"], "offset": 0, "events": [{"name": "message-sent", "match": {"n": 5}}]});
    let push = page.client.request("diffyne.resume", wanted).await?;
    assert_eq!(*push.params(), json!([{"n": 5}]));
    let resumed = page.client.receive().await?;
    assert_eq!((&resumed["recovered"], &resumed["offset"]), (&json!(true), &json!(9)));
    // Nothing missed, nothing replayed.
    assert_eq!(page.resume(&cluster.url(0), None).await?, (vec![], true));

    // A client whose resume is refused is told no newer place, from which it would miss what was before.
    let mut refused = Client::connect(&cluster.url(0)).await?;
    assert_eq!(refused.request("diffyne.ping", json!({})).await?["offset"], 9);
    let unnamed = json!({"epoch": page.place["epoch"], "offset": 0, "events": [{"name": 7}]});
    assert_eq!(refused.request("diffyne.resume", unnamed).await?.event(), "diffyne.error");
    let pong = refused.request("diffyne.ping", json!({})).await?;
    assert!(pong.event() == "diffyne.pong" && pong["offset"].is_null(), "{pong}");
    // Nonsense is told.
    page.client
        .send("diffyne.resume", json!({"epoch": 1, "offset": -1, "events": [{"name": "x"}], "requestId": "q"}))
        .await?;
    let answer = page.client.receive().await?;
    assert_eq!((answer.event(), answer.error_type()), ("diffyne.error", "subscribe_error"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_was_away_too_long_is_told() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(2, 1).with_redis().gateway("--history-length", "10"))?;
    let mut sender = Client::connect(&cluster.url(0)).await?;
    let mut page = ResumingClient::open(&cluster.url(0)).await?;
    announce(&mut sender, 0..15).await?;
    wait_until_delivered(&cluster.url(1), 15).await?;
    assert_eq!(page.resume(&cluster.url(1), None).await?, (vec![], false), "15 missed, 10 kept");
    page.place["offset"] = json!(5);
    assert_eq!(page.resume(&cluster.url(1), None).await?, ((5..15).collect(), true));
    page.place["offset"] = json!(99);
    assert!(!page.resume(&cluster.url(1), None).await?.1, "above the head");
    page.place["epoch"] = json!("another");
    assert!(!page.resume(&cluster.url(1), None).await?.1, "another past");
    let alone = Cluster::start(Shape::new(1, 1))?;
    let mut page = ResumingClient::open(&alone.url(0)).await?;
    let mut sender = Client::connect(&alone.url(0)).await?;
    announce(&mut sender, 0..4).await?;
    // On each of the gateway's threads, whichever the page comes back to.
    for _ in 0..4 {
        wait_until_delivered(&alone.url(0), 4).await?;
    }
    page.client.socket.close(None).await?;
    assert_eq!(page.resume(&alone.url(0), None).await?, ((0..4).collect(), true), "without Redis as well");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_gap_and_no_double_where_replay_and_live_meet() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(3, 1).with_redis())?;
    let stop = Arc::new(AtomicBool::new(false));
    let (url, ended) = (cluster.url(0), Arc::clone(&stop));
    let sending = tokio::spawn(async move {
        let mut sender = Client::connect(&url).await?;
        let mut n = 0;
        while !ended.load(Ordering::Relaxed) {
            announce(&mut sender, n..n + 1).await?;
            n += 1;
        }
        anyhow::Ok(n)
    });
    let mut pages = Vec::new();
    for number in 0..20 {
        let urls: Vec<String> = (0..3).map(|gateway| cluster.url(gateway)).collect();
        pages.push(tokio::spawn(async move {
            let mut page = ResumingClient::open(&urls[number % 3]).await?;
            let mut next = None;
            let mut seen = 0;
            for round in 0..40 {
                // Some live ones, in between anything.
                for _ in 0..round % 4 {
                    let push = page.client.receive().await?;
                    let n = page.take(&push);
                    assert!(next.is_none_or(|next| next == n), "{n} after {next:?}");
                    next = Some(n + 1);
                    seen += 1;
                }
                // The connection breaks without a word.
                let (replayed, recovered) = page.resume(&urls[(number + round) % 3], None).await?;
                assert!(recovered, "round {round}");
                for n in replayed {
                    assert!(next.is_none_or(|next| next == n), "{n} after {next:?}");
                    next = Some(n + 1);
                    seen += 1;
                }
            }
            anyhow::Ok(seen)
        }));
    }
    let mut seen = 0;
    for page in pages {
        seen += page.await??;
    }
    stop.store(true, Ordering::Relaxed);
    let sent = sending.await??;
    assert!(sent > 50 && seen > 1000, "{sent} sent, {seen} seen");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_clients_of_a_killed_gateway_miss_nothing() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(3, 1).with_redis())?;
    let mut pages = Vec::new();
    for _ in 0..200 {
        pages.push(ResumingClient::open(&cluster.url(0)).await?);
    }
    let mut sender = Client::connect(&cluster.url(1)).await?;
    announce(&mut sender, 0..10).await?;
    cluster.gateways[0].process.signal(Signal::Kill)?;
    announce(&mut sender, 10..40).await?;
    wait_until_delivered(&cluster.url(2), 40).await?;
    let mut resumes = Vec::new();
    for (number, mut page) in pages.into_iter().enumerate() {
        let url = cluster.url(1 + number % 2);
        resumes.push(tokio::spawn(async move {
            // What the dead gateway had still sent is taken first.
            let mut seen = Vec::new();
            while let Ok(push) = page.client.receive().await {
                seen.push(page.take(&push));
            }
            let (replayed, recovered) = page.resume(&url, None).await?;
            seen.extend(replayed);
            assert!(recovered);
            anyhow::Ok(seen)
        }));
    }
    let mut all = HashSet::new();
    for resume in resumes {
        all.insert(resume.await??);
    }
    assert_eq!(all, HashSet::from([(0..40).collect::<Vec<_>>()]), "everybody saw everything, once, in order");
    Ok(())
}
