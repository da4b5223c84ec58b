//! `diffyne-gateway bench`, on a real cluster.

use std::process::{Command, Output};

use anyhow::Context as _;
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::process::{Process, Signal, eventually, program};
use serde_json::Value;

fn bench(flags: &[&str]) -> anyhow::Result<Output> {
    Ok(Command::new(program("diffyne-gateway")?).arg("bench").args(flags).output()?)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_bench_tells_what_it_does_and_what_it_found_also_when_it_is_interrupted() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).gateway("--admin-token", "let-me").gateway("--ws-key", "a-key"))?;
    let (url, admin) = (format!("{}diffyne", cluster.url(0)), format!("127.0.0.1:{}", cluster.gateways[0].admin));
    let folder = tempfile::tempdir()?;
    let plot = folder.path().join("plot.svg");
    let always = ["--url", &url, "--ws-key", "a-key", "--admin-listen", &admin, "--admin-token", "let-me"];
    let few = ["--connections", "20", "--ramp", "1", "--duration", "2", "--calls", "200", "--broadcasts", "5"];
    let component = ["--component", "App\\Diffyne\\Counter", "--state", "{\"count\":1}"];
    let drawn = ["--json", "--plot", plot.to_str().context("no text")?];
    let output = bench(&[&always[..], &few, &component, &drawn].concat())?;
    assert!(output.status.success(), "{}", stderr(&output));
    let summary: Value = serde_json::from_slice(&output.stdout).with_context(|| stderr(&output))?;
    assert_eq!(
        (&summary["connections"], summary["timeline"].as_array().map(Vec::len)),
        (&20.into(), Some(3)),
        "{summary}"
    );
    // The gateway has counted the same calls.
    let calls = summary["calls"]["count"].as_u64().context("no calls")?;
    let counted = "diffyne_gateway_calls_total{component=\"App\\\\Diffyne\\\\Counter\",outcome=\"ok\"}";
    let counted = cluster.gateways[0].metric(counted)? as u64;
    assert!((100..=counted).contains(&calls), "{calls} of {counted}: {summary}");
    assert!(summary["calls"]["p99_ms"].as_f64() >= summary["calls"]["p50_ms"].as_f64());
    let (sent, heard) = (summary["broadcasts"].as_u64(), summary["deliveries"]["count"].as_u64());
    assert!(sent >= Some(5) && heard >= sent.map(|sent| (sent - 1) * 20), "{summary}");
    assert!(summary["errors"].as_object().is_some_and(serde_json::Map::is_empty), "{summary}");
    let seconds = stderr(&output).lines().filter(|line| line.contains("20 connections")).count();
    assert!(seconds >= 2, "a line each second: {}", stderr(&output));
    assert!(std::fs::read_to_string(&plot)?.contains("<polyline"));

    // Ctrl-C: what was measured until then. No component is needed.
    let long = ["--duration", "600", "--ramp", "0", "--connections", "5"];
    let mut running = Process::start("bench", folder.path(), &program("diffyne-gateway")?, |command| {
        command.arg("bench").args(always).args(long);
    })?;
    eventually("a second has passed", || running.output().contains("5 connections"))?;
    running.signal(Signal::Int)?;
    assert!(running.wait()?.success(), "{}", running.output());
    let text = running.output();
    assert!(
        text.contains("(interrupted): 5 connections, calls to a worker and back") && text.contains("no errors"),
        "{text}"
    );

    // Who may not connect is told why; and what keys a page's address has is nobody's business.
    let keyed = format!("{url}?key=of-the-page");
    for (url, key) in [(&url, &["--ws-key", "another"][..]), (&keyed, &[])] {
        let short = ["--url", url, "--ramp", "0", "--duration", "1", "--connections", "2", "--json"];
        let refused = bench(&[&short[..], key].concat())?;
        let text = format!("{}{}", String::from_utf8_lossy(&refused.stdout), stderr(&refused));
        assert!(!refused.status.success() && text.contains("\"handshake refused: 401"), "{text}");
        assert!(text.contains("/diffyne") && !text.contains("of-the-page") && !text.contains("another"), "{text}");
    }
    Ok(())
}

#[test]
fn a_bench_of_another_machine_has_to_be_meant() -> anyhow::Result<()> {
    // Addresses for documentation: nobody has them.
    for url in ["ws://192.0.2.1/diffyne", "wss://[2001:db8::1]/diffyne"] {
        let output = bench(&["--url", url])?;
        assert!(
            !output.status.success() && stderr(&output).contains("Add --yes if it is yours"),
            "{}",
            stderr(&output)
        );
    }
    let admin = ["--admin-listen", "192.0.2.1:16001", "--admin-token", "let-me"];
    let output = bench(&[&["--url", "ws://127.0.0.1:1/diffyne", "--broadcasts", "1"], &admin[..]].concat())?;
    let text = stderr(&output);
    assert!(
        !output.status.success() && text.contains("192.0.2.1") && text.contains("Add --yes if it is yours"),
        "{text}"
    );
    let output = bench(&["--url", "ws://127.0.0.1:1/diffyne", "--broadcasts", "1"])?;
    assert!(
        stderr(&output).contains("--admin-listen") || stderr(&output).contains("DIFFYNE_ADMIN_TOKEN"),
        "{}",
        stderr(&output)
    );
    Ok(())
}
