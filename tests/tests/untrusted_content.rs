//! HTML, state and redirects that users can choose: what they do to a worker, and to a page.

use diffyne_tests::browser::Browser;
use diffyne_tests::client::{Client, call, increment};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::for_runtimes;
use diffyne_tests::laravel::{Laravel, Runtime};
use diffyne_tests::message::ServerMessage;
use diffyne_tests::process::project;
use diffyne_worker::vdom::{Node, parse};
use serde_json::json;

const PAGE: &str = "App\\Tests\\Page";

async fn call_page(client: &mut Client, method: &str, param: &str) -> anyhow::Result<ServerMessage> {
    client.call(call(PAGE, "diffyne-page", method, json!([param]), json!({"html": ""}), "r")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_states_that_nest_5000_levels_fail_and_the_worker_lives() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Shape::new(1, 1))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    for open in ["<b>", "<div>", "<ul><li>", "<svg><g>", "<table><td>", "<a><b>"] {
        let answer = call_page(&mut client, "show", &open.repeat(5_000)).await?;
        assert_eq!((answer.is_ok(), answer.error_type()), (false, "server_error"), "{open}: {answer}");
    }
    let answer = call_page(&mut client, "show", &"<b>".repeat(50)).await?;
    assert!(answer.is_ok(), "{answer}");
    let state = "[".repeat(5_000) + &"]".repeat(5_000);
    for field in ["state", "params", "value", "cause", "queryParams", "requestId"] {
        let rest = if field == "state" { "" } else { r#""state":{"html":""},"# };
        let data = format!(
            r#"{{"type":"call","componentId":"d","componentClass":"App\\Tests\\Page","method":"show",{rest}"{field}":{state}}}"#
        );
        for event in ["diffyne.call", "diffyne.update", "diffyne.mount", "diffyne.subscribe", "diffyne.resume"] {
            client.send_text(&format!(r#"{{"event":"{event}","data":{data}}}"#)).await?;
            client.receive_text().await?;
        }
    }
    let nested = json!({"requestId": "n", "componentId": "d", "componentClass": PAGE, "method": "show"}).to_string();
    let nested = nested.replacen('{', &format!(r#"{{"state":{state},"#), 1);
    let mut other = Client::connect(&cluster.url(0)).await?;
    other.send_text(&format!(r#"{{"event":"diffyne.call","data":{nested}}}"#)).await?;
    let reply = other.receive().await?;
    assert_eq!(reply.error(), "The message nests more than 512 lists and objects.");
    assert_eq!(other.call(increment("diffyne-a", 1, "after")).await?.state()["count"], 2);
    assert!(cluster.workers[0].process.is_running() && cluster.gateways[0].process.is_running());
    let log = cluster.workers[0].process.output();
    assert!(log.contains("nests more than 512 elements"), "operators are told why: {log}");
    Ok(())
}

fn redirects() -> anyhow::Result<Vec<(String, bool)>> {
    Ok(serde_json::from_str(&std::fs::read_to_string(project().join("tests/data/redirects.json"))?)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rust_component_sends_pages_to_http_addresses_and_paths_only() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    for (url, followed) in redirects()? {
        let answer = call_page(&mut client, "go", &url).await?;
        if followed {
            assert_eq!(answer["redirect"]["url"], url, "{answer}");
        } else {
            assert_eq!((answer.is_ok(), answer.get("redirect")), (false, None), "{url:?}: {answer}");
        }
    }
    let log = cluster.workers[0].process.output();
    assert!(log.contains("scheme javascript"), "operators are told: {log}");
    Ok(())
}

for_runtimes!(a_laravel_component_sends_pages_to_http_addresses_and_paths_only: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi, without = HttpWithoutBridge);
async fn a_laravel_component_sends_pages_to_http_addresses_and_paths_only(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    laravel.change(
        "app/Diffyne/Counter.php",
        "public function leaveHard(): void { $this->redirect('https://example.com/x', false); }",
        "public function leaveHard(string $to = ''): void { $this->redirect(base64_decode(substr($to, 1)), false); }",
    )?;
    let deployment = laravel.deploy(runtime, 1)?;
    // Nobody has signed for the component's locked owner.
    let cluster = Cluster::start(deployment.shape.clone().worker("--locked", "upstream"))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    for (url, followed) in redirects()? {
        use base64::Engine as _;
        // The framework would make null of an empty one.
        let param = format!("x{}", base64::engine::general_purpose::STANDARD.encode(&url));
        let state = json!({"count": 0, "label": "a", "owner": 7});
        let data = call("App\\Diffyne\\Counter", "diffyne-a", "leaveHard", json!([param]), state, "r");
        let answer = client.call(data).await?;
        if followed {
            assert_eq!(answer["redirect"]["url"], url, "{answer}");
        } else {
            assert_eq!((answer.is_ok(), answer.get("redirect")), (false, None), "{url:?}: {answer}");
        }
    }
    Ok(())
}

/// Awaits an expression in a page's module scope.
fn in_module(script: &str, work: &str) -> String {
    format!("import('/_diffyne/{script}').then(async (module) => {{ {work} }})")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_follows_redirects_to_http_addresses_and_paths_only() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1))?;
    let browser = Browser::start()?;
    let mut tab = browser.open(&format!("http://127.0.0.1:{}/health", cluster.gateways[0].port)).await?;
    tab.wait_for("location.pathname === '/health' && document.readyState === 'complete'").await?;
    let table = redirects()?;
    let urls = serde_json::to_string(&table.iter().map(|(url, _)| url).collect::<Vec<_>>())?;
    let followed = tab.eval(&in_module("page.js", &format!("return {urls}.map(module.isFollowed)"))).await?;
    let expected: Vec<bool> = table.iter().map(|(_, followed)| *followed).collect();
    for ((url, expected), followed) in table.iter().zip(followed.as_array().unwrap()) {
        assert_eq!(followed, expected, "{url:?}");
    }
    // Both scripts get their answers from the same transport, by AJAX from applications as they are.
    let send = format!(
        "const transport = new module.Transport({{ url: null, endpoint: '/_diffyne', maxMessageSize: 9999 }}, {{}}); \
         const results = []; \
         for (const url of {urls}) {{ \
           window.fetch = async () => new Response(JSON.stringify({{ s: true, redirect: {{ url, spa: false }} }})); \
           results.push(await transport.send('call', {{}}).then((answer) => answer.redirect.url === url, () => false)); \
         }} \
         return results;"
    );
    assert_eq!(tab.eval(&in_module("transport.js", &send)).await?, json!(expected));
    Ok(())
}

/// Elements with their language, as the browser and as our tree have them.
fn outline(node: &Node<'_>, out: &mut Vec<String>) {
    if let Node::Element(element) = node {
        out.push(element.tag.to_ascii_lowercase());
        for child in &element.children {
            outline(child, out);
        }
        out.push("/".to_owned());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_parses_printed_html_into_the_same_tree() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1))?;
    let browser = Browser::start()?;
    let mut tab = browser.open(&format!("http://127.0.0.1:{}/health", cluster.gateways[0].port)).await?;
    tab.wait_for("location.pathname === '/health' && document.readyState === 'complete'").await?;
    let read = "(html) => { const out = []; const walk = (node) => { if (node.nodeType !== 1) return; \
        out.push(node.localName.toLowerCase()); \
        for (const child of (node.content ?? node).childNodes) walk(child); out.push('/'); }; \
        const div = document.createElement('div'); div.innerHTML = html; \
        for (const child of div.childNodes) walk(child); return out; }";
    let mut random = fastrand::Rng::with_seed(16);
    let mut pages: Vec<String> = [
        "<svg><style>&lt;img src=x onerror=alert(1)&gt;</style></svg>",
        "<math><style>&lt;img src=x onerror=alert(1)&gt;</style></math>",
        "<svg><xmp>&lt;img src=x onerror=alert(1)&gt;</xmp><noscript>&lt;img src=x onerror=alert(1)&gt;</noscript></svg>",
        "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=alert(1)&gt;\">",
        "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
        "<math><annotation-xml encoding=text/html><style>&lt;img src=x onerror=alert(1)&gt;</style></annotation-xml></math>",
        "<svg><foreignObject><style>a>b{}</style><p>x</p></foreignObject><desc><b>x</b></desc></svg>",
    ]
    .map(str::to_owned)
    .to_vec();
    let parts = [
        "<svg>",
        "<math>",
        "<style>",
        "</style>",
        "<title>",
        "<desc>",
        "<foreignObject>",
        "<mtext>",
        "<mglyph>",
        "<table>",
        "<td>",
        "<p>",
        "<a>",
        "</a>",
        "<b>",
        "</b>",
        "<form>",
        "</form>",
        "</p>",
        "</svg>",
        "</math>",
        "<xmp>",
        "<textarea>",
        "<noscript>",
        "<template>",
        "<annotation-xml encoding=text/html>",
        "&lt;i&gt;",
        "<!--",
        "-->",
        "x",
        "<br>",
        "<input>",
        "<button>",
        "<script>",
        "</script>",
        "<![CDATA[<i>]]>",
        "<font color=red>",
        "<ruby><rt>",
        "<li>",
        "<nobr>",
    ];
    for _ in 0..2_000 {
        let count = random.usize(2..12);
        pages.push((0..count).map(|_| parts[random.usize(..parts.len())]).collect());
    }
    let trees: Vec<Node<'_>> = pages.iter().filter_map(|html| parse(html).ok()).collect();
    assert!(trees.len() > pages.len() / 2, "{} of {}", trees.len(), pages.len());
    let printed: Vec<String> = trees.iter().map(Node::to_html).collect();
    let outlines: Vec<Vec<String>> =
        serde_json::from_value(tab.eval(&format!("{}.map({read})", serde_json::to_string(&printed)?)).await?)?;
    let mut different = Vec::new();
    for ((tree, html), found) in trees.iter().zip(&printed).zip(outlines) {
        let mut expected = Vec::new();
        outline(tree, &mut expected);
        if found != expected {
            different.push(format!("{html}\n  browser {}\n  tree    {}", found.concat(), expected.concat()));
        }
    }
    assert!(
        different.is_empty(),
        "{} of {}:\n{}",
        different.len(),
        printed.len(),
        different[..different.len().min(8)].join("\n")
    );
    Ok(())
}
