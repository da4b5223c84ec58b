//! Who may ask the admin listener, what they see of connections, and what is written of their changes.

use diffyne_tests::client::Client;
use diffyne_tests::cluster::{Cluster, Node, Shape};
use diffyne_tests::http::http;
use diffyne_tests::process::{Process, eventually};
use serde_json::{Value, json};

const ADA: &str = "0123456789abcdef";
const BOARD: &str = "fedcba9876543210";

/// Asks a node, with a token.
fn ask(node: &Node, token: &str, method: &str, path: &str, body: &str) -> anyhow::Result<(u16, Value)> {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = http(node.admin, &request)?;
    Ok((answer.status, answer.json()?))
}

fn shape(gateways: usize) -> Shape {
    let tokens = format!("ada:{ADA},board:read:{BOARD}");
    Shape::new(gateways, 1).gateway("--admin-tokens", &tokens).worker("--admin-tokens", &tokens)
}

fn lines(process: &Process, with: &str) -> Vec<String> {
    process.output().lines().filter(|line| line.contains(with)).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_connections_of_the_cluster_are_listed_in_pages() -> anyhow::Result<()> {
    let cluster = Cluster::start(shape(2).with_redis())?;
    let gateway = &cluster.gateways[0];
    let mut clients = Vec::new();
    for n in 0..5 {
        clients.push(Client::connect(&cluster.url(n % 2)).await?);
    }
    clients[0].subscribe("message-sent").await?;
    clients[0].check_increment(1).await?;
    let page = |query: &str| ask(gateway, BOARD, "GET", &format!("/api/connections?limit=2{query}"), "");
    eventually("both gateways know of all", || page("").is_ok_and(|(_, page)| page["total"] == 5))?;
    let (mut listed, mut after, mut pages): (Vec<Value>, String, usize) = (Vec::new(), String::new(), 0);
    loop {
        let (status, page) = page(&after)?;
        assert_eq!((status, &page["silent"]), (200, &json!([])), "{page}");
        listed.extend(page["connections"].as_array().cloned().unwrap_or_default());
        pages += 1;
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert!(pages >= 3, "{pages}");
    let text = |of: &Value, name: &str| of[name].as_str().unwrap_or_default().to_owned();
    let mut ids: Vec<String> = listed.iter().map(|of| text(of, "client")).collect();
    ids.dedup();
    assert_eq!(ids.len(), 5, "each once: {listed:?}");
    let gateways: std::collections::BTreeSet<String> = listed.iter().map(|of| text(of, "gateway")).collect();
    assert_eq!(gateways.len(), 2, "{listed:?}");
    let busy = listed.iter().find(|of| of["events"] == json!(["message-sent"])).expect("the one that subscribed");
    assert_eq!((&busy["address"], &busy["waiting_bytes"]), (&json!("127.0.0.1"), &json!(0)), "{busy}");
    let number = |name: &str| busy[name].as_u64().unwrap_or_default();
    assert!(number("bytes_in") > 100 && number("bytes_out") > 100 && number("since") > 1_700_000_000, "{busy}");
    let idle = listed.iter().filter(|of| of["bytes_in"] == 0).count();
    assert_eq!(idle, 4, "{listed:?}");

    let (status, slowest) = page("&order=waiting")?;
    assert_eq!((status, slowest["connections"].as_array().map(Vec::len)), (200, Some(2)), "{slowest}");
    for wrong in ["/api/connections?limit=0", "/api/connections?user=", "/api/connections?order=waiting&after=x"] {
        let (status, answer) = ask(gateway, BOARD, "GET", wrong, "")?;
        assert!(status == 422 && answer["error"].is_string(), "{wrong}: {answer}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_may_only_look_change_nothing_and_changes_are_logged_by_name() -> anyhow::Result<()> {
    let cluster = Cluster::start(shape(1))?;
    let (gateway, worker) = (&cluster.gateways[0], &cluster.workers[0]);
    let mut client = Client::connect(&cluster.url(0)).await?;
    let body = json!({"address": "127.0.0.1"}).to_string();
    for (token, status) in [(BOARD, 403), ("0123456789abcdeg", 401), ("", 401)] {
        for path in ["/api/disconnect", "/api/drain", "/api/broadcast"] {
            let (told, answer) = ask(gateway, token, "POST", path, &body)?;
            assert_eq!(told, status, "{path}: {answer}");
        }
        assert_eq!(ask(worker, token, "POST", "/api/reload", "")?.0, status);
    }
    client.check_increment(1).await?;
    assert_eq!(ask(gateway, BOARD, "GET", "/api/presence", "")?.0, 200);
    // A reload is a change: it cannot be had by looking.
    assert_eq!(ask(worker, ADA, "GET", "/api/reload", "")?.0, 404);

    let event = json!({"name": "message-sent", "params": []}).to_string();
    assert_eq!(ask(gateway, ADA, "POST", "/api/broadcast", &event)?.0, 202);
    assert_eq!(ask(gateway, ADA, "POST", "/api/disconnect", &body)?.1["disconnected"], 1);
    let changes = || lines(&gateway.process, "an operator asked for a change");
    eventually("the change is logged", || !changes().is_empty())?;
    let changes = changes();
    assert_eq!(changes.len(), 1, "{changes:?}");
    for part in [
        "operator=\"ada\"",
        "action=/api/disconnect",
        "what={\"address\":\"127.0.0.1\"}",
        "peer=127.0.0.1",
        "status=200",
    ] {
        assert!(changes[0].contains(part), "{part}: {}", changes[0]);
    }
    assert!(!lines(&gateway.process, "refused a request to the admin listener").is_empty());
    assert!(lines(&gateway.process, ADA).is_empty(), "no token in the log");
    Ok(())
}
