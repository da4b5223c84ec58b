//! Reactions to one broadcast: equal calls of a method marked `#[Shared]` run once in a pool, and all others run as ever.

use std::collections::HashSet;

use anyhow::{Context as _, ensure};
use diffyne_tests::client::{Client, call, signed};
use diffyne_tests::cluster::Cluster;
use diffyne_tests::laravel::Laravel;
use diffyne_tests::message::ServerMessage;
use diffyne_tests::process::eventually;
use diffyne_tests::recorded::APP_KEY;
use serde_json::{Value, json};

const CLASS: &str = "App\\Diffyne\\Feed";
const PAGES: usize = 40;

/// An application, and pages that show the same component, each with an id of its own.
struct Room {
    laravel: Laravel,
    cluster: Cluster,
    pages: Vec<Client>,
}

impl Room {
    async fn open(pages: usize) -> anyhow::Result<Self> {
        let laravel = Laravel::new()?;
        let cluster = Cluster::start(laravel.shape(1, 2).worker("--worker-concurrency", "64"))?;
        let mut clients = Vec::new();
        for user in 0..pages {
            clients.push(Client::connect_with(&cluster.url(0), &[("cookie", &format!("user={user}"))]).await?);
        }
        let mut room = Self { laravel, cluster, pages: clients };
        // The worker learns from a first reply which methods are marked.
        room.laravel.release("first")?;
        for method in ["refresh", "refreshAlone"] {
            room.react_on(0, reaction(0, method, "first", "", &json!({"text": "", "round": 0}))).await?;
        }
        Ok(room)
    }

    async fn react_on(&mut self, page: usize, data: Value) -> anyhow::Result<ServerMessage> {
        self.pages[page].call(data).await
    }

    fn runs(&self, tag: &str) -> usize {
        std::fs::read_to_string(self.laravel.path(&format!("runs-{tag}"))).unwrap_or_default().len()
    }

    fn worker_metric(&self, name: &str) -> f64 {
        self.cluster.workers[0].metric(name).unwrap_or(-1.0)
    }

    /// All pages react to one broadcast while the first call runs; what each gets.
    async fn react(&mut self, tag: &str, data: impl Fn(usize) -> Value) -> anyhow::Result<Vec<ServerMessage>> {
        for (page, client) in self.pages.iter_mut().enumerate() {
            client.send("diffyne.call", data(page)).await?;
        }
        let others = self.pages.len() - 1;
        let all_are_there = || {
            let waiting = self.worker_metric("diffyne_worker_php_calls_sharing")
                + self.worker_metric("diffyne_worker_php_calls_queued");
            self.runs(tag) > 0 && waiting + self.runs(tag) as f64 > others as f64
        };
        eventually("all calls are at the worker", all_are_there)?;
        self.laravel.release(tag)?;
        let mut replies = Vec::new();
        for client in &mut self.pages {
            replies.push(client.receive().await?);
        }
        Ok(replies)
    }
}

fn id(page: usize) -> String {
    format!("diffyne-page{page:03}")
}

/// A page's call that reacts to the broadcast `tag`.
fn reaction(page: usize, method: &str, tag: &str, how: &str, state: &Value) -> Value {
    let params = if how.is_empty() { json!([tag]) } else { json!([tag, how]) };
    let mut data = call(CLASS, &id(page), method, params, state.clone(), &id(page));
    data["cause"] = json!({"id": format!("gateway-{tag}"), "depth": 0});
    signed(data, APP_KEY, &[]).unwrap()
}

fn texts(replies: &[ServerMessage]) -> HashSet<String> {
    replies.iter().map(|reply| reply.state()["text"].to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_reactions_to_a_broadcast_run_once_and_each_page_gets_its_own_reply() -> anyhow::Result<()> {
    let mut room = Room::open(PAGES).await?;
    let mut state = json!({"text": "", "round": 0});
    // The second time, the worker knows what the pages show.
    for round in 1..=2 {
        let (before, tag) = (room.worker_metric("diffyne_worker_php_calls_coalesced_total"), format!("round{round}"));
        let replies = room.react(&tag, |page| reaction(page, "refresh", &tag, "", &state)).await?;
        assert_eq!(room.runs(&tag), 1, "of {PAGES} pages");
        assert_eq!(texts(&replies).len(), 1, "all got the same");
        let coalesced = room.worker_metric("diffyne_worker_php_calls_coalesced_total") - before;
        assert_eq!(coalesced as usize, PAGES - 1);
        for (page, reply) in replies.iter().enumerate() {
            ensure!(reply.is_ok(), "{reply}");
            let own = id(page);
            assert_eq!((reply.data()["c"]["i"].as_str(), reply.request_id().as_str()), (Some(&*own), Some(&*own)));
            let text = reply.data()["c"].to_string();
            assert_eq!(text.matches("diffyne-").count(), text.matches(&own).count(), "{page}: {text}");
            assert_eq!(reply.state()["round"], round);
        }
        state = replies[0].state().clone();
        // An update is verified: the signature is for this page's id.
        for page in [0, PAGES - 1] {
            let update = json!({
                "type": "update", "componentId": id(page), "componentClass": CLASS, "property": "text", "value": "typed",
                "state": replies[page].state(), "fingerprint": replies[page].fingerprint(), "signature": replies[page].signature(),
            });
            let reply = room.pages[page].request("diffyne.update", update).await?;
            ensure!(reply.is_ok() && reply.state()["text"] == "typed", "{reply}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_not_marked_or_not_equal_run_by_themselves() -> anyhow::Result<()> {
    let mut room = Room::open(4).await?;
    let state = |page: usize| json!({"text": format!("of page {page}"), "round": 0});
    let same = json!({"text": "", "round": 0});
    let replies = room.react("alone", |page| reaction(page, "refreshAlone", "alone", "", &same)).await?;
    assert_eq!((room.runs("alone"), texts(&replies).len()), (4, 4));
    let replies = room.react("state", |page| reaction(page, "refresh", "state", "", &state(page))).await?;
    assert_eq!((room.runs("state"), texts(&replies).len()), (4, 4));
    let without_cause = |page: usize| {
        let mut data = reaction(page, "refresh", "click", "", &same);
        data.as_object_mut().unwrap().remove("cause");
        data
    };
    let replies = room.react("click", without_cause).await?;
    assert_eq!((room.runs("click"), texts(&replies).len()), (4, 4));
    assert_eq!(room.worker_metric("diffyne_worker_php_calls_coalesced_total") as u32, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_depends_on_its_user_is_nobody_elses() -> anyhow::Result<()> {
    let mut room = Room::open(4).await?;
    let same = json!({"text": "", "round": 0});
    let (own_words, others) = (
        [
            ("session", "the session"),
            ("user", "the session"),
            ("gate", "the session"),
            ("token", "the user"),
            ("cookie", "cookies"),
            ("queued cookie", "cookies"),
        ],
        ["event", "event to itself", "redirect", "failure", "validation"],
    );
    for how in own_words.iter().map(|(how, _)| *how).chain(others) {
        let tag = how.replace(' ', "-");
        let replies = room.react(&tag, |page| reaction(page, "refresh", &tag, how, &same)).await?;
        assert_eq!(room.runs(&tag), 4, "{how}");
        ensure!(
            replies.iter().all(|reply| reply.is_ok() != matches!(how, "failure" | "validation")),
            "{how}: {}",
            replies[0]
        );
    }
    assert_eq!(room.worker_metric("diffyne_worker_php_calls_coalesced_total") as u32, 0);
    let log = room.cluster.workers[0].process.output();
    for (how, word) in own_words {
        let line = log.lines().find(|line| line.contains("was not shared") && line.contains(word));
        let line = line.with_context(|| format!("{how}: {log}"))?;
        ensure!(line.contains(CLASS) && line.contains("refresh"), "{line}");
    }
    Ok(())
}
