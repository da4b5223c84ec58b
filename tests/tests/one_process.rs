//! Gateway, worker and a Laravel application's PHP processes by one program: `diffyne-dev --app`.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use diffyne_tests::client::{Client, call, signed};
use diffyne_tests::cluster::Node;
use diffyne_tests::http::http_get;
use diffyne_tests::laravel::Laravel;
use diffyne_tests::laravel_probe::{call_for_text, probe_call};
use diffyne_tests::ports::free_ports;
use diffyne_tests::process::{Process, Signal, eventually, program};
use diffyne_tests::recorded::APP_KEY;
use serde_json::json;

/// The last call's rest, and the time for clients and PHP to leave; `DIFFYNE_DRAIN_TIMEOUT` is longer.
const STOPS_WITHIN: Duration = Duration::from_secs(8);

/// Starts the program with an application, and its worker's admin port.
fn start(laravel: &Laravel) -> anyhow::Result<(Node, u16)> {
    let [port, admin] = free_ports()?;
    let process = Process::start("dev", &laravel.path(""), &program("diffyne-dev")?, |command| {
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--admin-listen", &format!("127.0.0.1:{admin}")]);
        command.args(["--php-processes", "1"]);
        command.args(["--app", &laravel.directory, "--php-command", &laravel.command()]);
        command.args(["--worker-listen", "0.0.0.0:7001"]);
        command.args(["--workers", "127.0.0.1:1", "--worker-threads", "7"]);
        // PHP runs in a root of its own, where the worker does not find the file by itself.
        command.arg("--env-file").arg(laravel.path(".env"));
    })?;
    let node = Node::listening(process, port, admin)?;
    eventually("PHP is ready", || node.ready().is_ok_and(|status| status == 200))?;
    let said = node.process.output();
    let worker = said.split("worker   http://127.0.0.1:").nth(1).and_then(|rest| rest.split('/').next());
    let worker_admin = worker.context("it does not say where the worker's metrics are")?.parse()?;
    Ok((node, worker_admin))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_runs_by_one_program_through_dead_processes_a_reload_and_a_stop() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let (mut dev, worker_admin) = start(&laravel)?;
    eventually("it says what runs", || dev.process.output().contains("is running your application"))?;
    for name in ["DIFFYNE_WORKER_LISTEN", "DIFFYNE_WORKERS", "DIFFYNE_WORKER_THREADS"] {
        assert!(dev.process.output().contains(&format!("{name} has no effect")), "{name}");
    }
    assert_eq!(http_get(dev.port, "/")?.status, 404, "the demo's page is not the application's");
    assert_eq!(http_get(dev.port, "/_diffyne/client.js")?.status, 200);

    let url = format!("ws://127.0.0.1:{}/", dev.port);
    let mut client = Client::connect(&url).await?;
    let state = json!({"count": 41, "label": "a", "owner": 7});
    let counter = call("App\\Diffyne\\Counter", "diffyne-c", "increment", json!([]), state, "c");
    let reply = client.call(signed(counter.clone(), APP_KEY, &["owner"])?).await?;
    assert!(reply.is_ok() && reply.state()["count"] == 42, "{reply}");
    let reply = client.call(signed(counter, "another key", &["owner"])?).await?;
    assert!(!reply.is_ok(), "the application's own key signs: {reply}");

    let pid = async |client: &mut Client| -> anyhow::Result<String> { call_for_text(client, "wait", json!([0])).await };
    let first = pid(&mut client).await?;
    assert!(Command::new("kill").args(["-KILL", &first]).status()?.success());
    eventually("it is gone", || !Path::new(&format!("/proc/{first}")).exists())?;
    let second = pid(&mut client).await?;
    assert_ne!(first, second, "another process runs the next call");

    let settings = std::fs::read_to_string(laravel.path(".env"))?;
    std::fs::write(laravel.path(".env"), format!("{settings}\nDIFFYNE_LENIENT_FORMS=perhaps\n"))?;
    dev.process.signal(Signal::Hup)?;
    eventually("it says why not", || dev.process.output().contains("nothing was reloaded"))?;
    assert_eq!(pid(&mut client).await?, second, "a mistake in the worker's settings changes nothing");
    std::fs::write(laravel.path(".env"), settings)?;

    dev.process.signal(Signal::Hup)?;
    eventually("the worker has reloaded", || dev.process.output().contains("keys and log level reloaded"))?;
    eventually("the process is a new one", || !Path::new(&format!("/proc/{second}")).exists())?;
    let third = pid(&mut client).await?;
    assert_eq!(http_get(worker_admin, "/ready")?.status, 200);

    client.send("diffyne.call", probe_call("diffyne-last", "wait", json!([4_000]))).await?;
    eventually("the call runs", || {
        http_get(worker_admin, "/metrics").is_ok_and(|page| page.body.contains("diffyne_worker_calls_running 1"))
    })?;
    let told = Instant::now();
    dev.process.signal(Signal::Term)?;
    assert_eq!(client.receive().await?.event(), "diffyne.disconnect");
    let reply = client.receive().await?;
    assert!(reply.is_ok(), "a stop waits for what runs: {reply}");
    assert!(dev.process.wait()?.success());
    assert!(told.elapsed() < STOPS_WITHIN, "{:?}", told.elapsed());
    eventually("PHP ends with it", || !Path::new(&format!("/proc/{third}")).exists())?;
    Ok(())
}

#[test]
fn without_its_key_an_application_is_not_served() -> anyhow::Result<()> {
    let run = Command::new(program("diffyne-dev")?)
        .args(["--listen", "127.0.0.1:0", "--app", "/nowhere"])
        .env_clear()
        .output()?;
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(!run.status.success() && said.contains("APP_KEY"), "{said}");
    Ok(())
}
