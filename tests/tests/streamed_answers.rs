//! Answers that stream: a method sends parts while it runs, and the page gets each as it comes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use diffyne_tests::application::{Application, Script};
use diffyne_tests::browser::Browser;
use diffyne_tests::client::{Client, call};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::for_runtimes;
use diffyne_tests::http::{HttpResponse, http_post};
use diffyne_tests::laravel::{Laravel, Runtime};
use diffyne_tests::process::{PATIENCE, eventually};
use diffyne_tests::recorded::APP_KEY;
use serde_json::{Value, json};

const PHP: &str = "App\\Diffyne\\Speaker";
const RUST: &str = "App\\Diffyne\\Assistant";

/// A call of a page whose script shows parts.
fn speak(class: &str, method: &str, params: Value) -> Value {
    let state = if class == PHP { json!({"answer": "", "process": 0}) } else { json!({"answer": ""}) };
    let mut data = call(class, "diffyne-a", method, params, state, method);
    data["accepts"] = json!(["parts"]);
    data
}

fn part(method: &str, content: &str) -> Value {
    json!({"componentId": "diffyne-a", "requestId": method, "to": "answer", "content": content})
}

/// An AJAX call whose answer is read as it comes.
struct Lines(BufReader<TcpStream>);

impl Lines {
    fn request(port: u16, data: &Value) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let body = data.to_string();
        write!(
            stream,
            "POST /_diffyne/update HTTP/1.1\r\nHost: x\r\nAccept: application/json, application/x-ndjson\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        )?;
        Ok(Self(BufReader::new(stream)))
    }

    /// The next line that is a JSON object: not a head, nor the length of a chunk.
    fn line(&mut self) -> anyhow::Result<Value> {
        loop {
            let mut line = String::new();
            anyhow::ensure!(self.0.read_line(&mut line)? > 0, "the answer has ended");
            if line.starts_with('{') {
                return Ok(serde_json::from_str(&line)?);
            }
        }
    }
}

for_runtimes!(a_method_in_php_sends_parts_while_it_runs_and_hears_when_nobody_listens: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn a_method_in_php_sends_parts_while_it_runs_and_hears_when_nobody_listens(
    runtime: Runtime,
) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let cluster = Cluster::start(deployment.shape.clone().gateway("--signing-key", APP_KEY))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    client.send("diffyne.call", speak(PHP, "speak", json!(["socket"]))).await?;
    let first = client.receive().await?;
    assert_eq!((first.event(), first.data()), ("diffyne.part", &part("speak", "one ")));
    laravel.release("socket")?;
    assert_eq!(*client.receive().await?.data(), part("speak", "two"));
    let answer = client.receive().await?;
    assert!(answer.is_ok() && answer.state()["answer"] == "one two", "{answer}");

    // Over AJAX, for a script that asks for lines; its cookies came too late for the headers.
    let port = cluster.gateways[0].port;
    let mut lines = Lines::request(port, &speak(PHP, "speak", json!(["ajax"])))?;
    let first = lines.line()?;
    assert_eq!((&first["event"], &first["data"]["content"]), (&json!("diffyne.part"), &json!("one ")));
    laravel.release("ajax")?;
    assert_eq!(lines.line()?["data"]["content"], "two");
    let last = lines.line()?;
    assert_eq!((&last["event"], &last["data"]["c"]["st"]["answer"]), (&json!("diffyne.response"), &json!("one two")));
    let session = last["data"]["session"].to_string();
    let cookies = http_post(port, "/_diffyne/session", &[], &session)?;
    assert!(cookies.header("set-cookie").iter().any(|line| line.starts_with("spoken=")), "{session} {cookies:?}");

    // One that does not gets a single answer.
    let whole =
        |data: &Value| -> anyhow::Result<HttpResponse> { http_post(port, "/_diffyne/update", &[], &data.to_string()) };
    let answer = whole(&speak(PHP, "speak", json!(["ajax"])))?;
    assert_eq!((answer.status, &answer.json()?["c"]["st"]["answer"]), (200, &json!("one two")));
    assert!(answer.header("set-cookie").iter().any(|line| line.starts_with("spoken=")), "{answer:?}");
    let mut old = speak(PHP, "speak", json!(["ajax"]));
    old["accepts"] = json!(["push"]);
    let answer = client.call(old).await?;
    assert_eq!(answer.state()["answer"], "one two", "without parts");
    let answer = client.call(speak(PHP, "mumble", json!([]))).await?;
    assert_eq!(answer.error_type(), "property_error", "{answer}");

    // The browser leaves: over the socket, and in the middle of an AJAX answer.
    let mut leaving = Client::connect(&cluster.url(0)).await?;
    leaving.send("diffyne.call", speak(PHP, "speakOn", json!(["socket"]))).await?;
    assert_eq!(*leaving.receive().await?.data(), part("speakOn", "again "));
    leaving.socket.close(None).await?;
    let mut lines = Lines::request(port, &speak(PHP, "speakOn", json!(["ajax"])))?;
    assert_eq!(lines.line()?["data"]["content"], "again ");
    drop(lines);
    for tag in ["socket", "ajax"] {
        eventually("the method has ended", || laravel.path(&format!("ended-{tag}")).exists())?;
        let heard: Value = serde_json::from_str(&std::fs::read_to_string(laravel.path(&format!("aborted-{tag}")))?)?;
        assert_eq!(heard, json!({"went": false, "status": 1}));
        assert!(!laravel.path(&format!("went-on-{tag}")).exists(), "its next part ended it");
    }
    // Nothing of that is left for the next call.
    let answer = client.call(speak(PHP, "recite", json!([0, 0]))).await?;
    assert!(answer.is_ok(), "{answer}");
    let log = cluster.workers[0].process.output();
    // But that of a part which is too large.
    let mut failed = log.lines().filter(|line| line.contains("a component failed") && !line.contains("method=mumble"));
    assert!(!log.contains("died in a call") && failed.next().is_none(), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_hears_that_its_client_has_left_although_a_call_lies_behind_it() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(1, 1).worker("--worker-concurrency", "4"))?;
    let running = |calls: f64| {
        eventually("the calls are with the pool", || {
            cluster.workers[0].metric("diffyne_worker_calls_running").is_ok_and(|running| running > calls - 0.5)
        })
    };
    let url = cluster.url(0);
    let (mut first, mut leaving) = (Client::connect(&url).await?, Client::connect(&url).await?);
    let mut behind = Client::connect(&url).await?;
    first.send("diffyne.call", speak(PHP, "speak", json!(["first"]))).await?;
    assert_eq!(*first.receive().await?.data(), part("speak", "one "));
    // With the answer to the first, the process is sent both of these at once.
    leaving.send("diffyne.call", speak(PHP, "speakOn", json!(["socket"]))).await?;
    running(2.0)?;
    behind.send("diffyne.call", speak(PHP, "recite", json!([0, 0]))).await?;
    running(3.0)?;
    laravel.release("first")?;
    assert_eq!(*leaving.receive().await?.data(), part("speakOn", "again "));
    leaving.socket.close(None).await?;
    assert!(behind.receive().await?.is_ok());
    eventually("the method has ended", || laravel.path("ended-socket").exists())?;
    let heard: Value = serde_json::from_str(&std::fs::read_to_string(laravel.path("aborted-socket"))?)?;
    assert_eq!(heard, json!({"went": false, "status": 1}));
    let log = cluster.workers[0].process.output();
    assert!(!log.contains("died in a call") && !log.contains("out of time"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_slows_its_own_method_and_no_other() -> anyhow::Result<()> {
    const PARTS: usize = 1200;
    let cluster = Cluster::start(Shape::new(1, 1).gateway("--threads", "1"))?;
    let mut slow = Client::connect(&cluster.url(0)).await?;
    slow.send("diffyne.call", speak(RUST, "flood", json!([PARTS, 40_000]))).await?;
    cluster.wait_until_begun("flood")?;
    // It stands still when what lies between it and its client is full.
    let (mut before, mut looks) = (0, 0);
    eventually("the method waits", || {
        let sent = cluster.workers[0].metric("diffyne_worker_parts_total").unwrap_or_default() as usize;
        looks = if sent > 0 && sent == before { looks + 1 } else { 0 };
        before = sent;
        looks == 10
    })?;
    assert!(before < PARTS / 2, "{before} parts of 40 kB");
    let mut other = Client::connect(&cluster.url(0)).await?;
    for n in 0..20 {
        other.send("diffyne.call", speak(RUST, "say", json!([n.to_string()]))).await?;
        assert_eq!(*other.receive().await?.data(), part("say", &n.to_string()));
        assert!(other.receive().await?.is_ok());
    }
    assert!(!cluster.notes().contains(&"end flood".to_owned()));
    for n in 0..PARTS {
        let part = slow.receive().await?;
        let content = part["content"].as_str().unwrap_or_default();
        assert!(content.len() == 40_000 && content.starts_with(&format!("{n} ")), "{n}: {content:.20}");
    }
    assert!(slow.receive().await?.is_ok());
    eventually("the gateway has counted them", || {
        cluster.gateways[0].metric("diffyne_gateway_parts_total").is_ok_and(|parts| parts as usize == PARTS + 20)
    })?;

    // Who leaves ends the method, also one that waits for something else.
    other.send("diffyne.call", speak(RUST, "wait", json!(["held"]))).await?;
    assert_eq!(*other.receive().await?.data(), part("wait", "begins"));
    other.socket.close(None).await?;
    eventually("the method is dropped", || cluster.notes().contains(&"end held".to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_streams_is_shown_word_by_word() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1))?;
    let browser = Browser::start()?;
    let mut scripts = vec![Script::Client];
    scripts.extend(Script::companions());
    for script in scripts {
        let application = Application::start(&cluster, &script, "/diffyne", "").await?;
        for ajax in [false, true] {
            let mut tab = browser.open(&application.url("/speaker")).await?;
            tab.wait_for("document.documentElement.dataset.diffyneConnection === 'open'").await?;
            if ajax {
                tab.eval("document.querySelector('[data-diffyne-component]').dataset.diffyneTransport = 'ajax'")
                    .await?;
            }
            let seen = "window.seen = []; new MutationObserver(() => { \
                        const text = document.querySelector('[diff\\\\:stream]').textContent; \
                        if (text !== seen.at(-1)) seen.push(text); \
                        }).observe(document.querySelector('main'), { subtree: true, childList: true, characterData: true })";
            tab.eval(seen).await?;
            tab.click("article button").await?;
            tab.wait_for("document.querySelector('[diff\\\\:stream]').dataset.done === 'yes'").await?;
            let seen = tab.eval("JSON.stringify(seen.filter((text) => text))").await?;
            let seen: Vec<String> = serde_json::from_str(seen.as_str().unwrap_or_default())?;
            let grows = seen.windows(2).all(|pair| pair[1].starts_with(&pair[0]));
            assert!(seen.len() > 10 && grows, "{script:?}, AJAX {ajax}: {seen:?}");
            assert_eq!(tab.text("[diff\\:stream]").await?, *seen.last().unwrap_or(&String::new()));
            assert_eq!(tab.errors, Vec::<String>::new());
        }
    }
    Ok(())
}
