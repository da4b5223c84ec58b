//! What operators and developers have of PHP processes: what each does, and their replacement when files change.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use diffyne_tests::client::Client;
use diffyne_tests::cluster::{Cluster, Node};
use diffyne_tests::http::{http, http_get};
use diffyne_tests::laravel::Laravel;
use diffyne_tests::laravel_probe::{PROBE, call_for_text, call_probe, probe_call};
use diffyne_tests::process::{eventually, eventually_async, program};
use serde_json::{Value, json};

const TOKEN: &str = "an-admin-token";

/// What a worker tells of its processes, with this token.
fn processes(worker: &Node, token: &str) -> anyhow::Result<(u16, Value)> {
    let request =
        format!("GET /api/processes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
    let answer = http(worker.admin, &request)?;
    Ok((answer.status, answer.json()?))
}

/// What `diffyne-worker top` prints about a worker.
fn top(cluster: &Cluster, flags: &[&str]) -> anyhow::Result<String> {
    run_on_worker("top", cluster, flags)
}

/// What a command of the worker prints about a running one.
fn run_on_worker(command: &str, cluster: &Cluster, flags: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program("diffyne-worker")?)
        .args([command, "--worker-admin-listen", &format!("127.0.0.1:{}", cluster.workers[0].admin)])
        .args(["--admin-token", TOKEN, "--signing-key", &cluster.shape.signing_key])
        .args(flags)
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_what_each_process_does() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(1, 1).worker("--admin-token", TOKEN))?;
    let worker = &cluster.workers[0];
    let states = |report: &Value| -> Vec<String> {
        let processes = report["processes"].as_array().cloned().unwrap_or_default();
        processes.iter().map(|process| process["state"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let calls = |report: &Value| -> u64 {
        let processes = report["processes"].as_array().into_iter().flatten();
        processes.filter_map(|process| process["calls"].as_u64()).sum()
    };
    eventually("one process and a spare one wait, and the connection's status has been written", || {
        processes(worker, TOKEN)
            .is_ok_and(|(_, report)| states(&report) == ["template", "idle", "idle"] && calls(&report) == 1)
    })?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut other = Client::connect(&cluster.url(0)).await?;
    client.send("diffyne.call", probe_call("p", "writeWhenReleased", json!(["held"]))).await?;
    laravel.wait_until_begun("held")?;
    other.send("diffyne.call", probe_call("p", "wait", json!([0]))).await?;
    eventually("the other call waits", || {
        processes(worker, TOKEN).is_ok_and(|(_, report)| report["calls_queued"] == 1)
    })?;
    let (status, report) = processes(worker, TOKEN)?;
    assert_eq!((status, &report["slots"], &report["slots_free"]), (200, &json!(1), &json!(0)), "{report}");
    let all = report["processes"].as_array().context("no list")?;
    let busy = all.iter().find(|process| process["state"] == "busy").context("none is busy")?;
    let call = &busy["call"];
    assert_eq!((&call["component"], &call["method"]), (&json!(PROBE), &json!("writeWhenReleased")), "{report}");
    assert!(call["request"].as_str().is_some_and(|request| !request.is_empty()), "{report}");
    assert!(busy["memory_bytes"].as_u64() > Some(4 << 20) && busy["calls"].as_u64() >= Some(1), "{report}");
    let text = top(&cluster, &[])?;
    let line = text.lines().find(|line| line.contains("busy")).with_context(|| text.clone())?;
    assert!(line.contains(&busy["process"].to_string()) && line.contains("App\\Diffyne\\Probe::writeWhenReleased"));
    assert!(!text.contains('\x1b') && text.contains("1 waiting"), "{text}");
    assert_eq!(serde_json::from_str::<Value>(&top(&cluster, &["--json"])?)?["slots"], 1);
    let listed = run_on_worker("ps", &cluster, &[])?;
    assert!(listed.lines().any(|line| line.contains("busy") && line.contains("writeWhenReleased")), "{listed}");
    // The worker's own page, and the gateway's, which asks its workers.
    for admin in [worker.admin, cluster.gateways[0].admin] {
        let page = http_get(admin, "/")?.body;
        assert!(page.contains("App\\Diffyne\\Probe::writeWhenReleased") && page.contains("<td>busy</td>"), "{page}");
    }
    laravel.release("held")?;
    assert!(client.receive().await?.is_ok() && other.receive().await?.is_ok());
    eventually("both wait again", || {
        processes(worker, TOKEN).is_ok_and(|(_, report)| states(&report) == ["template", "idle", "idle"])
    })?;
    // Nobody without the token, and no other worker.
    assert_eq!(processes(worker, "wrong")?.0, 401);
    let native = Cluster::start(diffyne_tests::cluster::Shape::new(0, 1).worker("--admin-token", TOKEN))?;
    assert_eq!(processes(&native.workers[0], TOKEN)?.0, 409);
    Ok(())
}

/// Between two changes of a file that changes all the time.
const BETWEEN_WRITES: Duration = Duration::from_millis(5);

/// Asks for the version of the code until it is this one.
async fn wait_for_version(client: &mut Client, version: &str) -> anyhow::Result<()> {
    let holds = async || Ok(call_for_text(client, "ask", json!([])).await? == version);
    eventually_async(&format!("{version} runs"), holds).await
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_files_replace_the_processes_and_no_call_fails() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let watch: Vec<String> = ["app", "routes", "bootstrap", "no-such-folder"]
        .map(|folder| laravel.path(folder).to_string_lossy().into_owned())
        .to_vec();
    let cluster = Cluster::start(laravel.shape(1, 1).worker("--php-watch", &watch.join(",")))?;
    let worker = &cluster.workers[0];
    let log = || worker.process.output();
    eventually("a missing folder is told", || {
        log().contains("does not exist here") && log().contains("no-such-folder")
    })?;
    let reloads = || worker.metric("diffyne_worker_php_watch_reloads_total").unwrap_or_default();
    let mut held = Client::connect(&cluster.url(0)).await?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    assert_eq!(call_for_text(&mut client, "ask", json!([])).await?, "VERSION-1");
    // A call that runs while the code changes ends as it began.
    held.send("diffyne.call", probe_call("p", "writeWhenReleased", json!(["held"]))).await?;
    laravel.wait_until_begun("held")?;
    laravel.change("app/Diffyne/Probe.php", "VERSION-1", "VERSION-2")?;
    eventually("it has noticed", || reloads() > 0.5)?;
    laravel.release("held")?;
    assert_eq!(held.receive().await?.state()["text"], "held");
    wait_for_version(&mut client, "VERSION-2").await?;
    assert!(log().contains("Probe.php"), "{}", log());
    // What the application itself writes is not a change.
    let before = reloads();
    std::fs::write(laravel.path("bootstrap/cache/compiled.php"), "<?php return [];")?;
    // Code that does not start leaves the old in place, and the next change is tried at once.
    laravel.change("app/Providers/AppServiceProvider.php", "<?php", "<?php this is no PHP;")?;
    eventually("it has noticed", || reloads() - before > 0.5)?;
    eventually("it tells", || log().contains("PHP does not start"))?;
    assert_eq!(call_for_text(&mut client, "ask", json!([])).await?, "VERSION-2");
    assert!(reloads() - before < 1.5, "{before} reloads before, {} now", reloads());
    laravel.change("app/Diffyne/Probe.php", "VERSION-2", "VERSION-3")?;
    laravel.change("app/Providers/AppServiceProvider.php", "<?php this is no PHP;", "<?php")?;
    wait_for_version(&mut client, "VERSION-3").await?;
    assert_eq!(http_get(worker.admin, "/ready")?.status, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_changes_are_one_reload_a_second() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let watch = laravel.path("app").to_string_lossy().into_owned();
    let cluster = Cluster::start(laravel.shape(1, 1).worker("--php-watch", &watch))?;
    let worker = &cluster.workers[0];
    eventually("files are watched", || worker.process.output().contains("replaced when files change"))?;
    let started = Instant::now();
    let is_over = Arc::new(AtomicBool::new(false));
    let (file, writer_is_over): (PathBuf, _) = (laravel.path("app/Changing.php"), Arc::clone(&is_over));
    let writer = std::thread::spawn(move || -> std::io::Result<u64> {
        let mut writes = 0;
        while !writer_is_over.load(Ordering::Relaxed) {
            std::fs::write(&file, format!("<?php // {writes}"))?;
            writes += 1;
            std::thread::sleep(BETWEEN_WRITES);
        }
        Ok(writes)
    });
    let reloads = || worker.metric("diffyne_worker_php_watch_reloads_total").unwrap_or_default();
    let watched = eventually("it has reloaded three times", || reloads() > 2.5);
    is_over.store(true, Ordering::Relaxed);
    let writes = writer.join().unwrap()?;
    let (seconds, reloads) = (started.elapsed().as_secs_f64(), reloads());
    watched?;
    assert!(writes as f64 > 3.0 * reloads, "{writes} changes, {reloads} reloads");
    assert!(reloads <= seconds + 1.0, "{reloads} reloads for {writes} changes in {seconds} s");
    let mut client = Client::connect(&cluster.url(0)).await?;
    assert!(call_probe(&mut client, "ask", json!([])).await?.is_ok());
    Ok(())
}
