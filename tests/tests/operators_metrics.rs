//! What metrics and log files tell operators of several processes on one host.

use std::collections::BTreeSet;
use std::path::PathBuf;

use diffyne_tests::client::{Client, call, increment};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::http::{http, http_get};
use diffyne_tests::laravel::Laravel;
use diffyne_tests::laravel_probe::{call_for_text, call_probe};
use diffyne_tests::ports::free_ports;
use diffyne_tests::process::{PATIENCE, Process, eventually, program, wait_for_port};
use serde_json::{Value, json};

/// The upper bounds of a histogram's buckets, by its name.
fn bounds(metrics: &str, histogram: &str) -> BTreeSet<String> {
    let start = format!("{histogram}_bucket{{");
    let lines = metrics.lines().filter(|line| line.starts_with(&start));
    lines.filter_map(|line| Some(line.split("le=\"").nth(1)?.split('"').next()?.to_owned())).collect()
}

/// The label of the probe.
const OF_PROBE: &str = r#"{component="App\\Diffyne\\Probe"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn every_time_has_the_same_buckets_and_the_queue_counts_components_calls_alone() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(1, 1).worker("--status-ttl", "1s"))?;
    let (gateway, worker) = (&cluster.gateways[0], &cluster.workers[0]);
    let mut client = Client::connect(&cluster.url(0)).await?;
    for _ in 0..3 {
        assert_eq!(call_for_text(&mut client, "say", json!(["hello"])).await?, "hello");
    }
    // The connection's status is written into the application's cache meanwhile, by calls of no component.
    let waits = |what: &str| worker.metric(&format!("diffyne_worker_php_queue_wait_seconds_{what}{OF_PROBE}"));
    eventually("calls are counted", || waits("count").is_ok_and(|count| count > 2.5))?;
    let written =
        || std::fs::read_dir(laravel.path("storage/framework/cache/data")).is_ok_and(|mut all| all.next().is_some());
    eventually("the status was written", written)?;
    let count = waits("count")?;
    assert!((count - 3.0).abs() < 0.5, "{count} waits for 3 calls");

    let (ours, theirs) = (gateway.metrics()?, worker.metrics()?);
    let usual = bounds(&ours, "diffyne_gateway_call_duration_seconds");
    assert!(usual.len() > 10 && usual.contains("30"), "more than a call may take: {usual:?}");
    assert!(!theirs.contains(r#"php_queue_wait_seconds_count{component="unknown"}"#), "{theirs}");
    for (metrics, name) in [
        (&ours, "diffyne_gateway_queue_wait_seconds"),
        (&ours, "diffyne_gateway_fan_out_seconds"),
        (&ours, "diffyne_gateway_publish_wait_seconds"),
        (&theirs, "diffyne_worker_call_duration_seconds"),
        (&theirs, "diffyne_worker_php_queue_wait_seconds"),
    ] {
        assert_eq!(bounds(metrics, name), usual, "{name}");
    }
    // Without Redis, there is nothing to say about it.
    assert!(!ours.contains("diffyne_gateway_redis_up"), "{ours}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn components_events_and_processes_are_counted_by_the_applications_names_and_slow_calls_are_logged()
-> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(1, 1).gateway("--slow-call", "30ms"))?;
    let (gateway, worker) = (&cluster.gateways[0], &cluster.workers[0]);
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut other = Client::connect(&cluster.url(0)).await?;
    other.subscribe("message-sent").await?;
    assert!(call_probe(&mut client, "wait", json!([60])).await?.is_ok());
    assert!(call_probe(&mut client, "tell", json!(["news"])).await?.is_ok());
    other.receive().await?;
    // A component that does not exist has no name but the client's.
    client.call(call("App\\NoSuchThing", "x", "go", json!([]), json!({}), "r")).await?;

    for (node, name) in [
        (gateway, "diffyne_gateway_call_duration_seconds_count"),
        (gateway, "diffyne_gateway_queue_wait_seconds_count"),
        (worker, "diffyne_worker_call_duration_seconds_count"),
    ] {
        eventually(name, || node.metric(&format!("{name}{OF_PROBE}")).is_ok_and(|count| count > 1.5))?;
    }
    let bytes = || gateway.metric(r#"diffyne_gateway_broadcast_bytes_total{event="message-sent"}"#);
    eventually("bytes are counted by event", || bytes().is_ok_and(|bytes| bytes > 100.0))?;
    assert!(gateway.metric(r#"diffyne_gateway_broadcasts_received_total{event="message-sent"}"#)? > 0.5);
    let idle = || worker.metric(r#"diffyne_worker_php_processes{state="idle"}"#);
    eventually("one process and a spare one wait", || idle().is_ok_and(|idle| (idle - 2.0).abs() < 0.5))?;
    let version = env!("CARGO_PKG_VERSION");
    for node in [gateway, worker] {
        let metrics = node.metrics()?;
        assert!(metrics.contains(&format!("_build_info{{revision=\"unknown\",version=\"{version}\"}} 1")), "{metrics}");
        assert!(!metrics.contains("NoSuchThing"), "{metrics}");
    }

    let line = || gateway.process.output().lines().find(|line| line.contains("a call was slow")).map(str::to_owned);
    eventually("the slow call is logged", || line().is_some())?;
    let line = line().unwrap();
    for part in ["component=App\\Diffyne\\Probe method=wait request=", "outcome=\"ok\"", "queue_ms=0"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let number = |name: &str| -> Option<u64> { line.split(name).nth(1)?.split(' ').next()?.parse().ok() };
    let [run, total] = ["run_ms=", "total_ms="].map(|name| number(name).unwrap_or_default());
    assert!(run >= 60 && total >= run, "{line}");
    let parts = ["queue_ms=", "relay_ms=", "worker_queue_ms=", "render_ms=", "diff_ms="].map(number);
    assert!(parts.iter().flatten().sum::<u64>() <= total - run, "{line}");
    assert!(parts.iter().all(Option::is_some), "{line}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cpu_time_is_measured_in_less_than_seconds_and_redis_is_told_where_there_is_one() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).with_redis())?;
    let gateway = &cluster.gateways[0];
    let mut client = Client::connect(&cluster.url(0)).await?;
    let cpu = || gateway.metric("process_cpu_seconds_total");
    let until = std::time::Instant::now() + PATIENCE;
    // A fraction of a second shows after a fraction of a second.
    while cpu()?.fract() < 0.005 {
        assert!(std::time::Instant::now() < until, "{}", cpu()?);
        client.call(increment("diffyne-a", 1, "r")).await?;
    }
    assert!((gateway.metric("diffyne_gateway_redis_up")? - 1.0).abs() < 0.5);
    Ok(())
}

#[test]
fn gateways_that_share_a_directory_for_logs_have_files_and_names_of_their_own() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let logs = folder.path().join("logs");
    let mut running = Vec::new();
    for name in ["blue", "green"] {
        let [port] = free_ports()?;
        running.push(Process::start(name, folder.path(), &program("diffyne-gateway")?, |command| {
            command.args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--admin-listen", "127.0.0.1:0"]);
            command.args(["--gateway-name", name, "--log-format", "json", "--log-dir"]).arg(&logs);
        })?);
        wait_for_port(port)?;
    }
    let files = || -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&logs).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    eventually("each has a file with lines", || {
        files().len() == 2 && files().iter().all(|file| std::fs::metadata(file).is_ok_and(|file| file.len() > 0))
    })?;
    for file in files() {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let instance = if name.ends_with(".blue.log") { "blue" } else { "green" };
        assert!(name.starts_with("diffyne-gateway.20") && name.ends_with(&format!(".{instance}.log")), "{name}");
        for line in std::fs::read_to_string(&file)?.lines() {
            let event: Value = serde_json::from_str(line)?;
            assert_eq!(event["instance"], instance, "{line}");
        }
    }
    Ok(())
}

/// A control group of the kernel's first version, where this machine has them: the suite runs as root there.
struct MemoryGroup(PathBuf);

impl MemoryGroup {
    fn new(bytes: u64) -> Option<Self> {
        let group = Self(PathBuf::from(format!("/sys/fs/cgroup/memory/diffyne-test-{}", std::process::id())));
        std::fs::create_dir(&group.0).ok()?;
        std::fs::write(group.0.join("memory.limit_in_bytes"), bytes.to_string()).ok()?;
        Some(group)
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // It can be removed once its process has ended.
        let _ = eventually("the group is removed", || std::fs::remove_dir(&self.0).is_ok());
    }
}

#[test]
fn a_gateways_memory_budget_respects_the_limit_of_its_control_group() -> anyhow::Result<()> {
    const LIMIT: u64 = 256 << 20;
    let folder = tempfile::tempdir()?;
    // Where no group can be made, the tests of `diffyne_shared::memory` on recorded files are all there is.
    let Some(group) = MemoryGroup::new(LIMIT) else { return Ok(()) };
    let [port, admin] = free_ports()?;
    let script = format!("echo $$ >{}/cgroup.procs; exec \"$@\"", group.0.display());
    let gateway = Process::start("limited", folder.path(), &PathBuf::from("bash"), |command| {
        command.args(["-c", &script, "limited"]).arg(program("diffyne-gateway").unwrap());
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--admin-listen", &format!("127.0.0.1:{admin}")]);
    })?;
    wait_for_port(port)?;
    let budget = || -> Option<f64> {
        let metrics = http_get(admin, "/metrics").ok()?.body;
        metrics.lines().find_map(|line| line.strip_prefix("diffyne_gateway_memory_max_bytes ")?.parse().ok())
    };
    eventually("the budget is known", || budget().is_some_and(|bytes| bytes > 0.0))?;
    let bytes = budget().unwrap();
    assert!(bytes < LIMIT as f64 && bytes > LIMIT as f64 / 2.0, "{bytes} of {LIMIT}");
    drop(gateway);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_told_the_status_alone_and_operators_everything() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).with_nginx())?;
    let gateway = &cluster.gateways[0];
    let ask = |port: u16, from: &[(&str, &str)]| -> anyhow::Result<Value> {
        let headers: String = from.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        http(port, &format!("GET /health HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n"))?.json()
    };
    let stranger = [("X-Forwarded-For", "203.0.113.9")];
    assert_eq!(ask(gateway.port, &stranger)?, json!({"status": "ok"}));
    assert_eq!(ask(gateway.port, &[("X-Forwarded-For", "127.0.0.1, 203.0.113.9")])?, json!({"status": "ok"}));
    // This machine, also through nginx, which replaces what a client says of itself.
    for (port, from) in [(gateway.port, &[][..]), (cluster.nginx_port, &[]), (cluster.nginx_port, &stranger)] {
        let health = ask(port, from)?;
        assert!(health["gateway"].is_string() && health["workers"] == 1, "{health}");
    }
    assert!(ask(gateway.admin, &[])?["connections"].is_object(), "the admin port tells all");
    assert_eq!(ask(cluster.workers[0].admin, &[])?, json!({"error": "Not Found"}));
    Ok(())
}
