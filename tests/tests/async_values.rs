//! Values that come after the answer of their call: over the socket, to the page that goes on meanwhile; and streams, as
//! scripts of ours and others get them.

use diffyne_tests::client::{Client, call};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::http::http_post;
use diffyne_tests::message::ServerMessage;
use diffyne_tests::process::{Signal, eventually};
use serde_json::{Value, json};

const CLASS: &str = "App\\Tests\\Later";

fn new_state() -> Value {
    let value = json!({"loading": null, "value": null, "failed": null});
    json!({"value": value, "other": value, "clicks": 0})
}

/// A page with one component.
struct Page {
    client: Client,
    id: &'static str,
    state: Value,
    signature: Value,
    accepts: Value,
}

impl Page {
    async fn open(cluster: &Cluster, id: &'static str, accepts: &[&str]) -> anyhow::Result<Self> {
        let client = Client::connect(&cluster.url(0)).await?;
        let mut page = Self { client, id, state: new_state(), signature: json!(""), accepts: json!(accepts) };
        // The state is locked: it has to be signed.
        let signed = diffyne_tests::client::signed(page.call("click", json!([])), "test", &["value"])?;
        page.signature = signed["signature"].clone();
        Ok(page)
    }

    fn call(&self, method: &str, params: Value) -> Value {
        let mut data = call(CLASS, self.id, method, params, self.state.clone(), method);
        data["signature"] = self.signature.clone();
        data["accepts"] = self.accepts.clone();
        data
    }

    /// Calls, and shows what comes.
    async fn run(&mut self, method: &str, params: Value) -> anyhow::Result<ServerMessage> {
        let answer = self.client.call(self.call(method, params)).await?;
        assert!(answer.is_ok(), "{answer}");
        self.show(&answer["c"]);
        Ok(answer)
    }

    fn show(&mut self, component: &Value) {
        self.state = component["st"].clone();
        self.signature = component["sig"].clone();
    }

    async fn push(&mut self) -> anyhow::Result<ServerMessage> {
        let push = self.client.receive().await?;
        assert_eq!((push.event(), &push["componentId"]), ("diffyne.push", &json!(self.id)), "{push}");
        Ok(push)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_comes_after_the_answer_and_a_page_that_has_gone_on_hands_it_over() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1))?;
    let mut page = Page::open(&cluster, "diffyne-a", &["push", "streams"]).await?;
    let answer = page.run("load", json!(["one"])).await?;
    assert_eq!((&answer["async"], answer.patches()[0]["d"]["x"].as_str()), (&json!(1), Some("loading")), "{answer}");
    assert!(page.state["value"]["loading"].is_u64());
    cluster.release("one")?;
    let push = page.push().await?;
    assert_eq!((&push["base"], &push["property"]), (answer.fingerprint(), &json!("value")), "{push}");
    assert_eq!(push["c"]["st"]["value"], json!({"loading": null, "value": "one", "failed": null}), "{push}");
    assert_eq!(push["c"]["p"][0]["d"]["x"], "one");
    page.show(&push["c"]);

    // Two values of one call build on each other.
    page.run("both", json!([])).await?;
    cluster.release("second")?;
    let second = page.push().await?;
    assert_eq!((&second["c"]["st"]["other"]["value"], &second["c"]["p"]), (&json!("second"), &json!([])));
    cluster.release("first")?;
    let first = page.push().await?;
    assert_eq!((&first["base"], &first["c"]["st"]["other"]["value"]), (&second["c"]["f"], &json!("second")));
    page.show(&first["c"]);

    // A page that has gone on has a newer state, which stays.
    page.run("load", json!(["two"])).await?;
    page.run("click", json!([])).await?;
    cluster.release("two")?;
    let push = page.push().await?;
    let hand = |state: &Value, number: &Value| json!(["value", number, state, push["c"]["sig"]]);
    let mut forged = push["c"]["st"].clone();
    forged["value"]["value"] = json!("forged");
    let refused = page.client.call(page.call("$async", hand(&forged, &push["number"]))).await?;
    assert_eq!(refused.error_type(), "security_error", "{refused}");
    let nonsense = page.client.call(page.call("$async", json!(["value", "x", 1, []]))).await?;
    assert_eq!(nonsense.error_type(), "validation_error", "{nonsense}");
    page.run("$async", hand(&push["c"]["st"], &json!(7))).await?;
    assert!(page.state["value"]["loading"].is_u64(), "that was another value");
    page.run("$async", hand(&push["c"]["st"], &push["number"])).await?;
    assert_eq!((&page.state["value"]["value"], &page.state["clicks"]), (&json!("two"), &json!(1)));

    // What failed is told without its reason, and the old value is still there.
    page.run("load", json!(["fails"])).await?;
    cluster.release("fails")?;
    let push = page.push().await?;
    let failed = json!({"loading": null, "value": "two", "failed": "The value could not be loaded."});
    assert_eq!(push["c"]["st"]["value"], failed);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_ends_with_its_client_or_its_worker_and_others_wait_for_it() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Shape::new(1, 1))?;
    let mut page = Page::open(&cluster, "diffyne-a", &["push"]).await?;
    page.run("load", json!(["left"])).await?;
    cluster.wait_until_begun("left")?;
    page.client.socket.close(None).await?;
    eventually("the future is dropped", || cluster.notes().contains(&"end left".to_owned()))?;

    // A script that takes no pushes, and AJAX, wait for the value.
    let mut old = Page::open(&cluster, "diffyne-b", &[]).await?;
    let data = old.call("load", json!(["waited"]));
    old.client.send("diffyne.call", data).await?;
    cluster.wait_until_begun("waited")?;
    assert!(old.client.barrier().await?.is_empty(), "no answer yet");
    cluster.release("waited")?;
    let answer = old.client.receive().await?;
    assert_eq!((&answer.state()["value"]["value"], answer.get("async")), (&json!("waited"), None), "{answer}");
    let page = Page::open(&cluster, "diffyne-c", &["push"]).await?;
    let by_ajax = http_post(
        cluster.gateways[0].port,
        "/_diffyne/update",
        &[],
        &page.call("load", json!(["waited"])).to_string(),
    )?;
    assert_eq!(by_ajax.json()?["c"]["st"]["value"]["value"], "waited", "{by_ajax:?}");

    // A connection has so many open calls; the next one waits.
    let mut many = Page::open(&cluster, "diffyne-d", &["push"]).await?;
    for _ in 0..16 {
        assert_eq!(many.run("load", json!(["many"])).await?["async"], 1);
    }
    let data = many.call("load", json!(["many"]));
    many.client.send("diffyne.call", data).await?;
    assert!(many.client.barrier().await?.is_empty(), "it waits");
    cluster.release("many")?;
    let mut messages = Vec::new();
    while messages.len() < 17 {
        messages.push(many.client.receive().await?);
    }
    assert_eq!(messages.iter().filter(|message| message.event() == "diffyne.push").count(), 16);

    // What is too large for the gateway is told like what was lost.
    let mut page = Page::open(&cluster, "diffyne-h", &["push"]).await?;
    cluster.release("huge")?;
    page.run("load", json!(["huge"])).await?;
    let push = page.push().await?;
    assert_eq!(push["lost"], true, "{:.300}", push.to_string());
    page.run("$async", json!([])).await?;
    assert_eq!(page.state["value"]["failed"], "The connection was lost before the value came.");

    // A worker that dies leaves its values undone; the page is told, and gives them up.
    let mut page = Page::open(&cluster, "diffyne-e", &["push"]).await?;
    page.run("load", json!(["lost"])).await?;
    cluster.workers[0].process.signal(Signal::Kill)?;
    let push = page.push().await?;
    assert_eq!(push["lost"], true, "{push}");
    cluster.workers[0].process.wait()?;
    cluster.restart_worker(0)?;
    cluster.wait_until_ready()?;
    page.run("$async", json!([])).await?;
    assert_eq!(page.state["value"]["failed"], "The connection was lost before the value came.");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn items_of_a_stream_are_patches_for_scripts_that_know_no_streams() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1))?;
    let mut ours = Page::open(&cluster, "diffyne-a", &["streams"]).await?;
    let mut other = Page::open(&cluster, "diffyne-b", &[]).await?;
    let answer = ours.run("change", json!(["k"])).await?;
    let item = |key: &str, text: &str| format!("<li diff:key=\"{key}\">{text}</li>");
    assert_eq!(
        answer["c"]["s"],
        json!([
            {"n": "items", "insert": {"key": "k", "at": -1, "html": item("k", "k")}},
            {"n": "items", "insert": {"key": "0", "at": 0, "html": item("0", "zero")}},
            {"n": "items", "insert": {"key": "1", "at": 1, "html": item("1", "one")}},
            {"n": "items", "delete": "x"},
            {"n": "items", "keepLast": 9},
        ])
    );
    assert_eq!(*answer.patches(), json!([{"t": "t", "p": [1, 0], "d": {"x": "1"}}]));
    let answer = other.run("change", json!(["k"])).await?;
    let create = |at: i64, key: &str, text: &str| json!({"t": "c", "p": [2, at], "d": {"node": {"t": "li", "a": {"diff:key": key}, "c": [{"x": text}], "k": key}}});
    let patches = answer.patches().as_array().unwrap();
    assert_eq!(patches[1..], [create(i64::from(i32::MAX), "k", "k"), create(0, "0", "zero"), create(1, "1", "one")]);
    assert_eq!(answer["c"].get("s"), None);

    // A table with something else in it is read as browsers read it, and the log does not fill with that.
    let data =
        call("App\\Tests\\Page", "diffyne-p", "show", json!(["<table><i>x</i></table>"]), json!({"html": ""}), "p");
    let answer = other.client.call(data).await?;
    assert!(answer.is_ok() && answer.patches().to_string().contains("\"i\""), "{answer}");
    let log = cluster.workers[0].process.output();
    assert!(!log.contains("foster"), "{log}");
    Ok(())
}
