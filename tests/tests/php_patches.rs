//! Patches of PHP components: PHP renders, and the worker compares the HTML with what the client shows.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use diffyne_tests::client::{Client, call, signed};
use diffyne_tests::cluster::{Cluster, Node as Program};
use diffyne_tests::http::http_post;
use diffyne_tests::laravel::{Laravel, Runtime};
use diffyne_tests::laravel_probe::call_for_text;
use diffyne_tests::message::ServerMessage;
use diffyne_tests::process::PATIENCE;
use diffyne_tests::recorded::APP_KEY;
use diffyne_tests::{dom, for_runtimes};
use diffyne_worker::vdom::{Node, parse};
use serde_json::{Map, Value, json};

const BOARD: &str = "App\\Diffyne\\Board";
const ID: &str = "diffyne-board";

/// The HTML of the board.
fn html(lines: &[&str], seen: u32, draft: &str) -> String {
    let lines: String = lines.iter().map(|line| format!("<li>{line}</li>")).collect();
    format!("<div><p>{seen}</p><ul>{lines}</ul><input diff:model=\"draft\" value=\"{draft}\"></div>")
}

fn tree(lines: &[&str], seen: u32, draft: &str) -> Node<'static> {
    let html = html(lines, seen, draft);
    let whole = json!({"t": "c", "p": [], "d": {"node": parse(&html).unwrap()}});
    dom::sorted(&dom::apply(&Node::Comment("".into()), &[whole]).unwrap())
}

/// The board on a page, as a client holds it.
#[derive(Clone)]
struct Page {
    tree: Node<'static>,
    state: Map<String, Value>,
    fingerprint: Value,
    signature: Value,
}

impl Page {
    /// As the application's own server has rendered it.
    fn new(lines: &[&str]) -> Self {
        let state = json!({"seen": 0, "draft": ""});
        let message = signed(call(BOARD, ID, "look", json!([]), state.clone(), "r"), APP_KEY, &[]).unwrap();
        Self {
            tree: tree(lines, 0, ""),
            state: state.as_object().unwrap().clone(),
            fingerprint: "b35e951ba958819ccddb9224b2df2a55".into(),
            signature: message["signature"].clone(),
        }
    }

    fn message(&self, method: &str) -> Value {
        let mut message = call(BOARD, ID, method, json!([]), Value::Object(self.state.clone()), "r");
        message["fingerprint"] = self.fingerprint.clone();
        message["signature"] = self.signature.clone();
        message
    }

    /// Applies an answer, as a client does; its patches.
    fn apply(&mut self, answer: &ServerMessage) -> Vec<Value> {
        assert!(answer.is_ok(), "{answer}");
        let c = &answer["c"];
        let patches = c["p"].as_array().unwrap().clone();
        self.tree = dom::sorted(&dom::apply(&self.tree, &patches).unwrap());
        self.state = c["st"].as_object().unwrap().clone();
        (self.fingerprint, self.signature) = (c["f"].clone(), c["sig"].clone());
        patches
    }

    async fn call(&mut self, client: &mut Client, method: &str) -> anyhow::Result<Vec<Value>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = client.call(self.message(method)).await?;
            // The gateway has not found a new worker yet.
            if !answer.error().starts_with("No worker is available") || Instant::now() > deadline {
                return Ok(self.apply(&answer));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// How often the board was rendered since the last question.
fn renderings(laravel: &Laravel) -> usize {
    let file = laravel.path("renderings");
    let count = std::fs::read(&file).unwrap_or_default().len();
    let _ = std::fs::remove_file(file);
    count
}

fn write_lines(laravel: &Laravel, lines: &[&str]) -> anyhow::Result<()> {
    Ok(std::fs::write(laravel.path("lines"), lines.join("\n"))?)
}

for_runtimes!(patches_start_from_what_the_client_shows: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn patches_start_from_what_the_client_shows(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    write_lines(&laravel, &["a", "b"])?;
    let deployment = laravel.deploy(runtime, 1)?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut page = Page::new(&["a", "b"]);
    // The worker does not know what the application's own server has sent to the page.
    page.call(&mut client, "count").await?;
    assert_eq!((page.tree.clone(), renderings(&laravel)), (tree(&["a", "b"], 1, ""), 2));
    // From here on it does, and what others have changed arrives, whether the state changes or not.
    write_lines(&laravel, &["a", "b", "c"])?;
    page.call(&mut client, "look").await?;
    assert_eq!((page.tree.clone(), renderings(&laravel)), (tree(&["a", "b", "c"], 1, ""), 1));
    write_lines(&laravel, &["b"])?;
    page.call(&mut client, "count").await?;
    assert_eq!((page.tree.clone(), renderings(&laravel)), (tree(&["b"], 2, ""), 1));
    assert!(page.call(&mut client, "look").await?.is_empty());
    assert_eq!(renderings(&laravel), 1);
    // An answer that the page has not applied: it goes on from what it shows.
    let before = page.clone();
    page.call(&mut client, "count").await?;
    let mut page = before;
    write_lines(&laravel, &["b", "d"])?;
    renderings(&laravel);
    page.call(&mut client, "look").await?;
    assert_eq!((page.tree.clone(), renderings(&laravel)), (tree(&["b", "d"], 2, ""), 1));
    // Over AJAX it is the same page.
    let browser = [("Sec-Fetch-Site", "same-origin")];
    let body = page.message("count").to_string();
    page.apply(&http_post(cluster.gateways[0].port, "/_diffyne/update", &browser, &body)?.message()?);
    assert_eq!((page.tree.clone(), renderings(&laravel)), (tree(&["b", "d"], 3, ""), 1));
    let metric = |name: &str| cluster.workers[0].metric(&format!("diffyne_worker_tree_cache_{name}"));
    assert_eq!((metric("hits_total")?, metric("misses_total")?), (6.0, 1.0));
    assert!(metric("bytes")? > 0.0 && metric("entries")? > 1.0);
    Ok(())
}

for_runtimes!(what_a_field_shows_is_not_written_again: fast_path = FastPath, fastcgi = FastCgi);
async fn what_a_field_shows_is_not_written_again(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    write_lines(&laravel, &["a"])?;
    let deployment = laravel.deploy(runtime, 1)?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut page = Page::new(&["a"]);
    page.call(&mut client, "look").await?;
    // A field that was typed into, with a script that keeps the original value and with one that does not.
    for base in [true, false] {
        page.state.insert("draft".into(), "typed".into());
        let mut message = page.message("keep");
        if base {
            message["base"] = json!({"draft": ""});
        }
        renderings(&laravel);
        let answer = client.call(message).await?;
        let patches = page.clone().apply(&answer);
        assert_eq!((patches, renderings(&laravel)), (Vec::new(), 2), "the field shows it already");
        let mut message = page.message("clear");
        if base {
            message["base"] = json!({"draft": ""});
        }
        let answer = client.call(message).await?;
        let cleared = json!([{"t": "a", "p": [2], "d": {"s": {"value": ""}}}]);
        assert_eq!(answer["c"]["p"], cleared, "the field is cleared: {answer}");
        page.state.insert("draft".into(), "".into());
    }
    // A script that writes fields by itself: the page shows what the server has sent, known or rendered anew.
    for is_known in [true, false] {
        page.state.insert("draft".into(), "typed".into());
        let mut message = page.message("keep");
        message["base"] = json!({"draft": ""});
        message["accepts"] = json!(["base"]);
        if !is_known {
            message["fingerprint"] = "b35e951ba958819ccddb9224b2df2a55".into();
        }
        renderings(&laravel);
        let answer = client.call(message).await?;
        let patches = json!(page.clone().apply(&answer));
        let shows = json!([{"t": "a", "p": [2], "d": {"s": {"value": "typed"}}}]);
        assert_eq!((patches, renderings(&laravel)), (shows, if is_known { 1 } else { 2 }), "{is_known}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_does_not_know_the_page_has_the_old_state_rendered_as_well() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    write_lines(&laravel, &["a"])?;
    let mut cluster = Cluster::start(laravel.shape(1, 1))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut page = Page::new(&["a"]);
    page.call(&mut client, "count").await?;
    cluster.restart_worker(0)?;
    renderings(&laravel);
    page.call(&mut client, "count").await?;
    assert_eq!((page.tree.clone(), renderings(&laravel)), (tree(&["a"], 2, ""), 2));
    // What has changed meanwhile is not seen: the old state is rendered as it would be now.
    cluster.restart_worker(0)?;
    write_lines(&laravel, &["a", "b"])?;
    page.call(&mut client, "count").await?;
    assert_eq!(page.tree, tree(&["a"], 3, ""));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_cache_and_without_the_workers_patches_pages_show_the_same() -> anyhow::Result<()> {
    for (flag, value) in [("--tree-cache", "0"), ("--patches", "application")] {
        let laravel = Laravel::new()?;
        write_lines(&laravel, &["a"])?;
        let cluster = Cluster::start(laravel.shape(1, 1).worker(flag, value))?;
        let mut client = Client::connect(&cluster.url(0)).await?;
        let mut page = Page::new(&["a"]);
        for seen in 1..4 {
            page.call(&mut client, "count").await?;
            assert_eq!((page.tree.clone(), renderings(&laravel)), (tree(&["a"], seen, ""), 2), "{flag}");
        }
        let entries = |worker: &Program| worker.metric("diffyne_worker_tree_cache_entries");
        assert_eq!(entries(&cluster.workers[0])? as u64, 0, "{flag}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_with_a_renderer_of_its_own_makes_its_own_patches() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    write_lines(&laravel, &["a"])?;
    laravel.change(
        "app/Providers/AppServiceProvider.php",
        "config(['auth.providers",
        "$this->app->singleton(\\Diffyne\\VirtualDOM\\Renderer::class, fn () => new class () extends \\Diffyne\\VirtualDOM\\Renderer { \
         public function renderUpdate(\\Diffyne\\Component $component): array { return array_replace(parent::renderUpdate($component), ['patches' => []]); } }); \
         config(['auth.providers",
    )?;
    let cluster = Cluster::start(laravel.shape(1, 1))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut page = Page::new(&["a"]);
    for _ in 0..2 {
        assert!(page.call(&mut client, "count").await?.is_empty());
    }
    assert_eq!(page.state["seen"], 2);
    Ok(())
}

/// Reads from files by a process, as the system counts them. What comes over its socket is not among them.
fn file_reads(process: &str) -> anyhow::Result<u64> {
    let counts = std::fs::read_to_string(format!("/proc/{process}/io"))?;
    let reads = counts.lines().find_map(|line| line.strip_prefix("syscr: "));
    Ok(reads.with_context(|| counts.clone())?.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_call_reads_no_file() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(1, 1))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let process = call_for_text(&mut client, "wait", json!([0])).await?;
    let view = call("App\\Diffyne\\Layers", "l", "write", json!(["b"]), json!({"page": "stack", "text": "a"}), "r");
    // The first calls compile the view.
    for _ in 0..3 {
        assert!(client.call(view.clone()).await?.is_ok());
    }
    let before = file_reads(&process)?;
    for _ in 0..20 {
        assert!(client.call(view.clone()).await?.is_ok());
    }
    let read = file_reads(&process)? - before;
    assert_eq!(call_for_text(&mut client, "wait", json!([0])).await?, process, "another process ran the calls");
    assert_eq!(read, 0, "files were read in warm calls");
    Ok(())
}
