//! What operators look at: each query of the board and of the alerts finds the metrics of a real cluster, and the runbook
//! has each alert.

use std::collections::BTreeSet;
use std::time::Instant;

use diffyne_tests::client::{Client, chat};
use diffyne_tests::cluster::Cluster;
use diffyne_tests::laravel::Laravel;
use diffyne_tests::laravel_probe::{assert_server_error, call_plain, call_probe};
use diffyne_tests::process::{PATIENCE, Signal, eventually, project};
use diffyne_tests::prometheus::Prometheus;
use serde_json::{Value, json};

const BOARD: &str = "deploy/grafana/dashboards/diffyne.json";
const RUNBOOK: &str = "docs/operations.md";
/// What names of our metrics, and of those that come with them, begin with.
const METRICS: [&str; 4] = ["diffyne_", "process_", "up", "ALERTS"];

/// A query of the board as Grafana asks it for everything: the variables have their values.
fn filled_in(query: &str) -> String {
    query.replace("$gateway", ".*").replace("$worker", ".*").replace("$__rate_interval", "1m")
}

/// Everything at a place of the board that has the key, as text.
fn texts(board: &Value, place: &str, key: &str) -> Vec<String> {
    fn collect(value: &Value, key: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get(key).and_then(Value::as_str).map(filled_in));
                map.values().for_each(|value| collect(value, key, found));
            }
            Value::Array(list) => list.iter().for_each(|value| collect(value, key, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(&board[place], key, &mut found);
    found
}

/// The series that a query reads: names of metrics, with their matchers.
fn selectors(query: &str) -> Vec<String> {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut found = Vec::new();
    let mut rest = query;
    while let Some(begin) = rest.find(is_word) {
        rest = &rest[begin..];
        let name = &rest[..rest.find(|letter| !is_word(letter)).unwrap_or(rest.len())];
        rest = &rest[name.len()..];
        let matchers = if rest.starts_with('{') { &rest[..=rest.find('}').unwrap_or(0)] } else { "" };
        rest = &rest[matchers.len()..];
        if METRICS.iter().any(|known| name == *known || (known.ends_with('_') && name.starts_with(known))) {
            found.push(format!("{name}{matchers}"));
        }
    }
    found
}

#[test]
fn selectors_are_metrics_with_their_matchers() {
    let query = r#"sum by (instance, le) (rate(diffyne_a_bucket{x=~"up|b"}[5m])) > 1 and up{job="j"} == 0 or vector(0) / process_b"#;
    assert_eq!(selectors(query), [r#"diffyne_a_bucket{x=~"up|b"}"#, r#"up{job="j"}"#, "process_b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_board_and_of_the_alerts_finds_metrics_and_the_runbook_has_every_alert() -> anyhow::Result<()>
{
    let board: Value = serde_json::from_str(&std::fs::read_to_string(project().join(BOARD))?)?;
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(2, 1).with_redis().worker("--locked", "upstream"))?;
    let prometheus = Prometheus::start(&cluster)?;
    eventually("all three targets are up", || prometheus.value("sum(up)") == Some(3.0))?;

    // What panels show that count by what an application, or a process's end, brings with it.
    let mut client = Client::connect(&cluster.url(0)).await?;
    cluster.workers[0].process.signal(Signal::Hup)?;
    let panels = texts(&board, "panels", "expr");
    assert!(panels.len() > 40, "{}", panels.len());
    let mut missing = panels.clone();
    // A rate needs calls before and after a scrape.
    let deadline = Instant::now() + PATIENCE;
    while !missing.is_empty() {
        assert!(Instant::now() < deadline, "panels without data: {missing:#?}");
        for answer in [call_plain(&mut client, "say", json!(["hello"])).await?, client.call(chat("hello", "c")).await?]
        {
            assert!(answer.is_ok(), "{answer}");
        }
        assert_server_error(&call_probe(&mut client, "end", json!(["throw"])).await?);
        let mut empty = Vec::new();
        for query in missing {
            if prometheus.query(&query)?.is_empty() {
                empty.push(query);
            }
        }
        missing = empty;
    }

    let rules = prometheus.get("/api/v1/rules")?;
    let groups = rules["groups"].as_array().cloned().unwrap_or_default();
    let rules: Vec<&Value> = groups.iter().filter_map(|group| group["rules"].as_array()).flatten().collect();
    let alerts: BTreeSet<&str> = rules.iter().filter_map(|rule| rule["name"].as_str()).collect();
    assert!(alerts.len() == rules.len() && alerts.len() >= 14, "{alerts:?}");
    let mut queries: Vec<String> = rules.iter().filter_map(|rule| rule["query"].as_str().map(str::to_owned)).collect();
    queries.extend(texts(&board, "annotations", "expr"));
    for definition in texts(&board, "templating", "definition") {
        queries.push(definition.replace("label_values(", "("));
    }
    for selector in queries.iter().chain(&panels).flat_map(|query| selectors(query)) {
        // It has series while alerts fire.
        let found = selector.starts_with("ALERTS") || prometheus.value(&format!("count({selector})")).is_some();
        assert!(found, "no series of a healthy cluster is {selector}");
    }

    let runbook = std::fs::read_to_string(project().join(RUNBOOK))?;
    let headings: BTreeSet<&str> = runbook.lines().filter_map(|line| line.strip_prefix("### Diffyne")).collect();
    let names: BTreeSet<&str> = alerts.iter().filter_map(|name| name.strip_prefix("Diffyne")).collect();
    assert_eq!(headings, names, "the alerts with a heading in {RUNBOOK}, and those of deploy/prometheus/alerts.yml");
    Ok(())
}
