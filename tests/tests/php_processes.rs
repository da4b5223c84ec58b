//! The PHP processes of a worker: when they start, end, grow in number and are replaced, and that no call is lost then.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use diffyne_tests::client::Client;
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::for_runtimes;
use diffyne_tests::http::http_get;
use diffyne_tests::laravel::{Laravel, Runtime};
use diffyne_tests::laravel_probe::{assert_server_error, call_for_text, call_probe, probe_call};
use diffyne_tests::process::{PATIENCE, Signal, eventually};
use diffyne_tests::task::stop_task;
use serde_json::json;

for_runtimes!(a_call_handed_to_a_process_that_ends_is_run_by_another: fast_path = FastPath, kernel = Kernel);
async fn a_call_handed_to_a_process_that_ends_is_run_by_another(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let kernel = if runtime == Runtime::Kernel { "always" } else { "auto" };
    let cluster = Cluster::start(laravel.shape(1, 1).worker("--bridge-kernel", kernel))?;
    let mut first = Client::connect(&cluster.url(0)).await?;
    let mut second = Client::connect(&cluster.url(0)).await?;
    for how in ["exit", "kill"] {
        first.send("diffyne.call", probe_call("diffyne-probe", "depart", json!([how]))).await?;
        laravel.wait_until_begun(how)?;
        // While that one runs: it waits for the same process, and is handed to it with the answer.
        second.send("diffyne.call", probe_call("diffyne-probe", "wait", json!([0]))).await?;
        let calls = |metric: &str| cluster.workers[0].metric(metric).unwrap_or_default();
        eventually("the second call waits in the worker", || {
            calls("diffyne_worker_calls_running") + calls("diffyne_worker_calls_queued") > 1.5
        })?;
        laravel.release(how)?;
        let departed = first.receive().await?.state()["text"].clone();
        let answer = second.receive().await?;
        let ran = &answer.state()["text"];
        assert!(ran.is_string() && *ran != departed, "{how}: {departed} departed: {answer}");
    }
    Ok(())
}

/// Clients that call all the time, and how many calls each makes.
const RECORDING: (usize, usize) = (12, 40);

#[tokio::test(flavor = "multi_thread")]
async fn each_call_runs_once_whether_those_before_it_are_quick_or_slow_or_end_their_process() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(1, 2))?;
    let (clients, calls) = RECORDING;
    let recorders: Vec<_> = (0..clients)
        .map(|recorder| {
            let (url, mut random) = (cluster.url(0), fastrand::Rng::with_seed(recorder as u64));
            tokio::spawn(async move {
                let mut client = Client::connect(&url).await?;
                for call in 0..calls {
                    let id = format!("{recorder}-{call}");
                    // While one takes this long, another process takes over what lies there behind it.
                    let microseconds = [0, 0, 300, 2_000, 20_000][random.usize(..5)];
                    let end = match random.u8(..60) {
                        0 => "exit",
                        1 => "kill",
                        _ => "",
                    };
                    let reply = call_probe(&mut client, "record", json!([id, microseconds, end])).await?;
                    if end.is_empty() {
                        anyhow::ensure!(reply.is_ok() && reply.state()["text"] == id, "{id}: {reply}");
                    } else {
                        assert_server_error(&reply);
                    }
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for recorder in recorders {
        recorder.await??;
    }
    let record = std::fs::read_to_string(laravel.path("record"))?;
    let ran: HashSet<&str> = record.lines().collect();
    assert_eq!((record.lines().count(), ran.len()), (clients * calls, clients * calls), "each once");
    Ok(())
}

/// For how long a process gets no call: longer than the second of `default_socket_timeout` beside it.
const IDLE_TIME: Duration = Duration::from_millis(2500);

#[tokio::test(flavor = "multi_thread")]
async fn idle_processes_keep_running() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(1, 1).worker("--php-ini", "default_socket_timeout=1"))?;
    eventually("one process and a spare one", || {
        cluster.workers[0].metric("diffyne_worker_php_processes_ready").is_ok_and(|ready| ready >= 2.0)
    })?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let process = call_for_text(&mut client, "wait", json!([0])).await?;
    // The process has nothing to do for longer than PHP waits for sockets.
    tokio::time::sleep(IDLE_TIME).await;
    assert_eq!(call_for_text(&mut client, "wait", json!([0])).await?, process);
    let log = cluster.workers[0].process.output();
    assert!(!log.contains("had nothing to do"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_calls_wait_each_process_keeps_to_a_core_of_its_own() -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    let allowed = |process: &str| -> anyhow::Result<String> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        Ok(line.context("no list of cores")?.trim().to_owned())
    };
    let all = allowed("self")?;
    let laravel = Laravel::new()?;
    for affinity in ["auto", "off"] {
        let cluster = Cluster::start(laravel.shape(1, cores).worker("--php-cpu-affinity", affinity))?;
        // Each process has a call that runs, and as many calls wait.
        let processes = Arc::new(Mutex::new(HashSet::new()));
        let load: Vec<_> = (0..cores * 2)
            .map(|_| {
                let (url, processes) = (cluster.url(0), Arc::clone(&processes));
                tokio::spawn(async move {
                    let mut client = Client::connect(&url).await?;
                    while let Ok(process) = call_for_text(&mut client, "wait", json!([20])).await {
                        processes.lock().map(|mut known| known.insert(process)).ok();
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        let where_they_are = || -> Vec<String> {
            let processes = processes.lock().map(|processes| processes.clone()).unwrap_or_default();
            processes.iter().filter_map(|process| allowed(process).ok()).collect()
        };
        eventually("all processes run", || where_they_are().len() >= cores)?;
        if affinity == "auto" && cores > 1 {
            eventually("each is on a core of its own", || {
                let mut bound: HashSet<String> = where_they_are().into_iter().collect();
                bound.remove(&all);
                bound.len() == cores
            })?;
        } else {
            let places = where_they_are();
            assert!(places.iter().all(|list| *list == all), "{places:?}");
        }
        load.iter().for_each(tokio::task::JoinHandle::abort);
        // One that does not wait is where the system likes.
        eventually("nothing runs", || {
            cluster.workers[0].metric("diffyne_worker_calls_running").is_ok_and(|calls| calls < 0.5)
        })?;
        let process = call_for_text(&mut Client::connect(&cluster.url(0)).await?, "wait", json!([0])).await?;
        assert_eq!(allowed(&process)?, all);
    }
    Ok(())
}

/// What another user's call may take on a machine that does nothing else.
const SLOWEST_CALL: Duration = Duration::from_millis(1500);

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_calls_exit_again_and_again_slows_nobody() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(1, 2))?;
    let url = cluster.url(0);
    let vandal = tokio::spawn(async move {
        let mut client = Client::connect(&url).await?;
        for _ in 0..20 {
            assert_server_error(&call_probe(&mut client, "end", json!(["exit"])).await?);
        }
        anyhow::Ok(())
    });
    let mut client = Client::connect(&cluster.url(0)).await?;
    let (mut slowest, mut slowest_start) = (Duration::ZERO, Duration::ZERO);
    let mut calls = 0;
    while !vandal.is_finished() {
        let started = Instant::now();
        assert_eq!(call_for_text(&mut client, "say", json!(["hello"])).await?, "hello");
        slowest = slowest.max(started.elapsed());
        calls += 1;
        // What the machine needs at this time to start the application, without a worker.
        if calls % 20 == 0 {
            let started = Instant::now();
            laravel.tinker(&[], "")?;
            slowest_start = slowest_start.max(started.elapsed());
        }
    }
    vandal.await??;
    println!("{calls} calls, the slowest took {slowest:?}, the slowest start {slowest_start:?}");
    assert!(calls > 10, "only {calls} calls");
    // A call waits for the start of one process, and that start shares its core with the next and with other work.
    let allowed = SLOWEST_CALL.max(8 * slowest_start);
    assert!(slowest < allowed, "{calls} calls, the slowest took {slowest:?}, {allowed:?} is allowed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_under_load_fails_no_call_and_brings_the_new_code() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(1, 2))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    assert_eq!(call_for_text(&mut client, "ask", json!([])).await?, "VERSION-1");
    laravel.change("app/Diffyne/Probe.php", "VERSION-1", "VERSION-2")?;
    let answered = Arc::new(AtomicUsize::new(0));
    let load: Vec<_> = (0..2).map(|_| tokio::spawn(ask_repeatedly(cluster.url(0), Arc::clone(&answered)))).collect();
    cluster.workers[0].process.signal(Signal::Hup)?;
    let started = Instant::now();
    let mut in_a_row = 0;
    // Until the new code has answered for a while, and the load has gone on beside it.
    while in_a_row < 30 || answered.load(Ordering::Relaxed) < 60 {
        assert!(started.elapsed() < PATIENCE, "the old code goes on");
        assert!(load.iter().all(|task| !task.is_finished()), "a call under load failed");
        let answer = call_for_text(&mut client, "ask", json!([])).await?;
        in_a_row = if answer == "VERSION-2" { in_a_row + 1 } else { 0 };
    }
    for task in load {
        stop_task(task).await?;
    }
    Ok(())
}

/// Asks for the version of the code without end; the count of answers grows.
async fn ask_repeatedly(url: String, answered: Arc<AtomicUsize>) -> anyhow::Result<std::convert::Infallible> {
    /// Pacing: as much load as leaves the test's own calls their turn.
    const PAUSE: Duration = Duration::from_millis(15);
    let mut client = Client::connect(&url).await?;
    loop {
        anyhow::ensure!(call_for_text(&mut client, "ask", json!([])).await?.starts_with("VERSION-"));
        answered.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_leaks_or_has_run_enough_is_replaced() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let shape = laravel.shape(1, 1).worker("--php-max-memory", "160MiB").worker("--php-max-calls", "20");
    let cluster = Cluster::start(shape)?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut processes = HashSet::new();
    for _ in 0..8 {
        processes.insert(call_for_text(&mut client, "leak", json!([60])).await?);
    }
    assert!(processes.len() >= 3, "{processes:?}");
    let mut processes = HashSet::new();
    for _ in 0..80 {
        processes.insert(call_for_text(&mut client, "wait", json!([0])).await?);
    }
    assert!(processes.len() >= 3, "{processes:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_does_not_start_is_reported_and_retried() -> anyhow::Result<()> {
    let faults: [(&str, &str, &str, &str); 3] = [
        ("vendor/autoload.php", "<?php", "<?php syntax error here", "syntax error"),
        ("bootstrap/app.php", "<?php", "<?php throw new RuntimeException('not today');", "not today"),
        ("bootstrap/app.php", "<?php", "<?php exit(3);", "exit status: 3"),
    ];
    for (file, from, to, words) in faults {
        let laravel = Laravel::new()?;
        laravel.change(file, from, to)?;
        let shape = Shape { wait_for_php: false, ..laravel.shape(1, 1) };
        let cluster = Cluster::start(shape)?;
        let told = || {
            let answer = http_get(cluster.workers[0].admin, "/ready");
            answer.is_ok_and(|answer| answer.status == 503 && answer.body.contains(words))
        };
        eventually("the worker tells what is wrong", told)?;
        let mut client = Client::connect(&cluster.url(0)).await?;
        let started = Instant::now();
        assert_server_error(&call_probe(&mut client, "say", json!(["x"])).await?);
        assert!(started.elapsed() < Duration::from_secs(10), "without waiting for what does not come");
        laravel.change(file, to, from)?;
        eventually("it starts once it can", || cluster.workers[0].ready().is_ok_and(|status| status == 200))?;
        assert_eq!(call_for_text(&mut client, "say", json!(["well again"])).await?, "well again");
    }
    let laravel = Laravel::new()?;
    std::fs::remove_dir_all(laravel.path("vendor"))?;
    let cluster = Cluster::start(Shape { wait_for_php: false, ..laravel.shape(1, 1) })?;
    eventually("a missing vendor/ is told", || {
        let answer = http_get(cluster.workers[0].admin, "/ready");
        answer.is_ok_and(|answer| answer.body.contains("vendor/autoload.php is missing"))
    })?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_between_two_deploys_is_replaced_too() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(1, 2))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    for version in 2..5 {
        let victim: u32 = call_for_text(&mut client, "wait", json!([0])).await?.parse()?;
        let (from, to) = (format!("VERSION-{}", version - 1), format!("VERSION-{version}"));
        laravel.change("app/Diffyne/Probe.php", &from, &to)?;
        cluster.workers[0].process.signal(Signal::Hup)?;
        Command::new("kill").args(["-9", &victim.to_string()]).status()?;
        eventually("two processes, a spare one, and what they were forked from", || {
            cluster.workers[0]
                .metric("diffyne_worker_php_processes_ready")
                .is_ok_and(|ready| (2.5..3.5).contains(&ready))
                && alive(&laravel) == 4
        })?;
        let until = Instant::now() + PATIENCE;
        let mut in_a_row = 0;
        while in_a_row < 20 {
            assert!(Instant::now() < until, "the old code goes on");
            // The killed one may have been given a call.
            let answer = call_probe(&mut client, "ask", json!([])).await?;
            in_a_row = if answer.state()["text"] == to.as_str() { in_a_row + 1 } else { 0 };
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_starts_slowly_is_reported_and_runs_once_it_is_ready() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    laravel.change("bootstrap/app.php", "<?php", "<?php sleep(12);")?;
    let shape = laravel.shape(1, 1).worker("--php-start-timeout", "5s");
    let cluster = Cluster::start(Shape { wait_for_php: false, ..shape })?;
    eventually("the worker tells", || {
        let answer = http_get(cluster.workers[0].admin, "/ready");
        answer.is_ok_and(|answer| answer.status == 503 && answer.body.contains("not ready within 5s"))
    })?;
    // The gateway knows, too, and keeps to itself what it is.
    let told = || {
        let reasons = cluster.gateways[0].health().map(|health| health["reasons"].to_string());
        reasons.is_ok_and(|reasons| reasons.contains("1 of 1 workers cannot run calls") && !reasons.contains("5s"))
    };
    eventually("the gateway's health tells", told)?;
    assert!(cluster.workers[0].metric("diffyne_worker_php_start_failures_total")? >= 1.0);
    laravel.change("bootstrap/app.php", "sleep(12);", "usleep(600000);")?;
    eventually("it starts", || cluster.workers[0].ready().is_ok_and(|status| status == 200))?;
    eventually("the gateway knows", || cluster.gateways[0].health().is_ok_and(|health| health["status"] == "ok"))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    assert_eq!(call_for_text(&mut client, "say", json!(["slow and well"])).await?, "slow and well");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_php_does_not_start_takes_no_calls_from_one_that_works() -> anyhow::Result<()> {
    let (good, bad) = (Laravel::new()?, Laravel::new()?);
    bad.change("bootstrap/app.php", "<?php", "<?php throw new RuntimeException('not today');")?;
    let broken = Cluster::start(Shape { wait_for_php: false, ..bad.shape(0, 1) })?;
    let shape = good.shape(1, 1);
    let also = format!("127.0.0.1:{}", broken.workers[0].port);
    let mut cluster = Cluster::start(Shape { gateways: 0, ..shape })?;
    cluster.shape.gateways = 1;
    let both = format!("127.0.0.1:{},{also}", cluster.workers[0].port);
    cluster.shape.gateway_flags.extend(["--workers".to_owned(), both]);
    let gateway = cluster.start_gateway()?;
    eventually("one of two cannot run calls", || {
        gateway.health().is_ok_and(|health| health["reasons"].to_string().contains("1 of 2 workers cannot run calls"))
    })?;
    let mut client = Client::connect(&format!("ws://127.0.0.1:{}/", gateway.port)).await?;
    for n in 0..50 {
        assert_eq!(call_for_text(&mut client, "say", json!([n.to_string()])).await?, n.to_string());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_grows_while_calls_wait() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(1, 1).worker("--php-processes-max", "4"))?;
    let (seen, until) = (Arc::new(Mutex::new(HashSet::new())), Instant::now() + PATIENCE);
    let mut calls = Vec::new();
    // With four, three processes can be enough: each call then waits just as long as makes a pool grow.
    for _ in 0..6 {
        let (url, seen) = (cluster.url(0), Arc::clone(&seen));
        calls.push(tokio::spawn(async move {
            let mut client = Client::connect(&url).await?;
            // Starting one more takes as long as the machine has other things to do.
            while seen.lock().unwrap().len() < 4 && Instant::now() < until {
                let process = call_for_text(&mut client, "wait", json!([150])).await?;
                seen.lock().unwrap().insert(process);
            }
            anyhow::Ok(())
        }));
    }
    for call in calls {
        call.await??;
    }
    assert_eq!(seen.lock().unwrap().len(), 4);
    Ok(())
}

/// PHP processes of an application.
fn alive(laravel: &Laravel) -> usize {
    let marked = |pid: &Path| {
        std::fs::read_link(pid.join("cwd")).is_ok_and(|cwd| cwd.ends_with(laravel.directory.trim_start_matches('/')))
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| marked(&entry.path())).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_php_process_survives_its_worker() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    for signal in [Signal::Kill, Signal::Term] {
        let mut cluster = Cluster::start(laravel.shape(1, 2).worker("--worker-drain-timeout", "300ms"))?;
        eventually("two processes, a spare one, and what they were forked from", || alive(&laravel) == 4)?;
        let mut client = Client::connect(&cluster.url(0)).await?;
        // One of them in a loop without end.
        client.send("diffyne.call", probe_call("a", "end", json!(["loop"]))).await?;
        let mut other = Client::connect(&cluster.url(0)).await?;
        assert_eq!(call_for_text(&mut other, "say", json!(["hello"])).await?, "hello");
        cluster.workers[0].process.signal(signal)?;
        cluster.workers[0].process.wait()?;
        eventually("all are gone", || alive(&laravel) == 0)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_that_php_would_not_read_end_no_process() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(1, 1))?;
    // PHP changes names with dots, and reads 1 000 variables.
    let cookies: Vec<String> = (0..1500).map(|number| format!("a.{number}=1")).collect();
    let mut client = Client::connect_with(&cluster.url(0), &[("Cookie", &cookies.join("; "))]).await?;
    let first = call_for_text(&mut client, "wait", json!([0])).await?;
    assert_eq!(call_for_text(&mut client, "wait", json!([0])).await?, first, "the process goes on");
    Ok(())
}
