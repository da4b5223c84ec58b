//! A real Laravel 13 with its default middleware behind the cluster: what users type, who they are, and everything
//! that application code can do to the process it runs in.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use diffyne_tests::client::{Client, call, signed};
use diffyne_tests::cluster::{Cluster, Shape, http_post};
use diffyne_tests::laravel::{Laravel, Runtime};
use diffyne_tests::process::{Signal, eventually};
use diffyne_tests::recorded::APP_KEY;
use diffyne_tests::for_runtimes;
use serde_json::{Value, json};

const PROBE: &str = "App\\Diffyne\\Probe";

fn state() -> Value {
    json!({"text": "", "user": null, "seen": []})
}

/// Calls a method of the probe; the answer's data.
async fn probe(client: &mut Client, method: &str, params: Value) -> anyhow::Result<Value> {
    client.send("diffyne.call", call(PROBE, "diffyne-probe", method, params, state(), "r")).await?;
    Ok(client.receive().await?["data"].clone())
}

/// The same with the component that needs nothing of the bridge.
async fn plain(client: &mut Client, method: &str, params: Value) -> anyhow::Result<Value> {
    let data = call("App\\Diffyne\\Plain", "diffyne-plain", method, params, json!({"text": "x"}), "r");
    client.send("diffyne.call", data).await?;
    Ok(client.receive().await?["data"].clone())
}

async fn text(client: &mut Client, method: &str, params: Value) -> anyhow::Result<String> {
    let answer = probe(client, method, params).await?;
    Ok(answer["c"]["st"]["text"].as_str().unwrap_or_else(|| panic!("{method}: {answer}")).to_owned())
}

fn fails(answer: &Value) {
    let general = "An error occurred while processing your request.";
    assert_eq!(
        (&answer["s"], &answer["error"], &answer["type"]),
        (&json!(false), &json!(general), &json!("server_error"))
    );
}

for_runtimes!(what_is_typed_arrives_as_it_was_typed_and_the_next_update_verifies: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn what_is_typed_arrives_as_it_was_typed_and_the_next_update_verifies(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut signed = probe(&mut client, "say", json!(["start"])).await?["c"].clone();
    for typed in ["", "  two  spaces ", "0", "😀", "a\u{2028}b", "null", "<b>&amp;", "0.10", "last"] {
        assert_eq!(text(&mut client, "say", json!([typed])).await?, typed, "as a parameter");
        let update = json!({"type": "update", "componentId": "diffyne-probe", "componentClass": PROBE, "property": "text",
            "value": typed, "state": signed["st"], "fingerprint": signed["f"], "signature": signed["sig"], "requestId": "u"});
        client.send("diffyne.update", update.clone()).await?;
        let answer = client.receive().await?["data"].clone();
        assert_eq!(answer["c"]["st"]["text"], typed, "as a value: {answer}");
        let mut by_ajax = update;
        by_ajax.as_object_mut().unwrap().remove("requestId");
        let by_ajax = http_post(cluster.gateways[0].port, "/_diffyne/update", &[], &by_ajax.to_string())?;
        assert_eq!(serde_json::from_str::<Value>(&by_ajax.body)?["c"]["st"]["text"], typed, "by AJAX");
        // Now it is in the state.
        signed = answer["c"].clone();
    }
    let mut tampered = json!({"type": "update", "componentId": "diffyne-probe", "componentClass": PROBE, "property": "text",
        "value": "x", "state": signed["st"], "signature": signed["sig"], "requestId": "u"});
    tampered["state"]["user"] = json!("admin");
    client.send("diffyne.update", tampered).await?;
    assert_eq!(client.receive().await?["data"]["type"], "security_error", "refused before PHP hears of it");
    // Marked, but not public.
    let answer = probe(&mut client, "guarded", json!([])).await?;
    assert_eq!(answer["type"], "method_error", "{answer}");
    Ok(())
}

for_runtimes!(nothing_of_one_user_reaches_the_next: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn nothing_of_one_user_reaches_the_next(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let users = 8;
    let mut clients = Vec::new();
    for user in 0..users {
        let agent = format!("Browser/{user}");
        let headers = [("User-Agent", agent.as_str()), ("X-Forwarded-For", "203.0.113.7"), ("Host", "shop.test")];
        let mut client = Client::connect_with(&cluster.url(0), &headers).await?;
        let answer = probe(&mut client, "login", json!([format!("user-{user}")])).await?;
        assert_eq!(answer["c"]["st"]["user"], format!("user-{user}"), "{answer}");
        clients.push(client);
    }
    let mut guest = Client::connect(&cluster.url(0)).await?;
    let mut processes = HashSet::new();
    let mut round = 0;
    let rounds = if runtime.is_pool() { 250 } else { 60 };
    while round < rounds {
        for (user, client) in clients.iter_mut().enumerate() {
            let method = if (round + user) % 2 == 0 { "litter" } else { "look" };
            let params = if method == "litter" { json!([format!("user-{user}")]) } else { json!([]) };
            client.send("diffyne.call", call(PROBE, "diffyne-probe", method, params, state(), "r")).await?;
        }
        for (user, client) in clients.iter_mut().enumerate() {
            let answer = client.receive().await?["data"].clone();
            let state = &answer["c"]["st"];
            assert_eq!(state["user"], format!("user-{user}"), "round {round}: {answer}");
            if let Some(seen) = state["seen"].as_object() {
                processes.insert(seen["process"].as_u64());
                let own = if seen["session"] == "nothing" { "nothing".to_owned() } else { format!("user-{user}") };
                let expected = json!({"locale": "en", "config": "Laravel", "shared": "nothing", "time_zone": "UTC",
                    "transaction": 0, "session": own, "agent": format!("Browser/{user}"), "address": "203.0.113.7",
                    "url": "http://shop.test/x", "socket": true, "superglobal": "nothing", "guest": true, "auth": null,
                    "process": seen["process"]});
                assert_eq!(*seen, *expected.as_object().unwrap(), "round {round}");
            }
        }
        if round % 50 == 0 {
            let answer = probe(&mut guest, "look", json!([])).await?;
            assert_eq!(answer["c"]["st"]["user"], Value::Null, "a guest stays one");
        }
        round += 1;
    }
    assert!((2..=4).contains(&processes.len()), "a few processes for all of them: {processes:?}");
    assert_eq!(laravel.php(&["-r", &format!(
        "echo (new PDO('sqlite:{}/database/database.sqlite'))->query('select count(*) from messages')->fetchColumn();",
        laravel.directory)])?, "0", "what was left open was rolled back");
    Ok(())
}

for_runtimes!(whatever_ends_a_call_ends_that_call_only: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn whatever_ends_a_call_ends_that_call_only(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let cluster = Cluster::start(deployment.shape.clone().gateway("--call-timeout", "2s"))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    for how in ["exit", "die", "fatal", "memory", "kill", "notice", "throw", "deep"] {
        let answer = probe(&mut client, "end", json!([how])).await?;
        fails(&answer);
        assert_eq!(text(&mut client, "say", json!([how])).await?, how, "the next call after {how}");
    }
    let answer = probe(&mut client, "end", json!(["abort"])).await?;
    assert_eq!(answer["s"], false, "{answer}");
    let answer = probe(&mut client, "end", json!(["loop"])).await?;
    assert_eq!((&answer["s"], &answer["type"]), (&json!(false), &json!("timeout")), "{answer}");
    assert_eq!(text(&mut client, "say", json!(["after the loop"])).await?, "after the loop");
    // What goes where no output belongs harms nothing.
    assert_eq!(text(&mut client, "shout", json!([3])).await?, "said");
    assert_eq!(text(&mut client, "big", json!([1])).await?.len(), 1 << 20);
    fails(&probe(&mut client, "big", json!([3])).await?);
    assert_eq!(text(&mut client, "spoil", json!([])).await?, "spoilt");
    assert_eq!(text(&mut client, "say", json!(["still here"])).await?, "still here");
    let words: &[&str] = match runtime {
        Runtime::FastPath | Runtime::Kernel => &["bytes of output in a call went nowhere", "terminate throws", "died in a call"],
        _ => &["ended in the middle of its answer", "the application answered instead of the component"],
    };
    for words in words.iter().chain(&["thrown on purpose"]) {
        // What a process says after its answer arrives when it arrives.
        let log = || std::fs::read_to_string(&cluster.workers[0].process.log).unwrap_or_default();
        eventually(words, || log().contains(words)).with_context(|| format!("the worker's log: {}", log()))?;
    }
    assert!(laravel.log().contains("thrown on purpose"), "the application's own log as well");
    Ok(())
}

for_runtimes!(a_call_that_lies_ready_for_a_process_that_ends_is_run_by_another: fast_path = FastPath, kernel = Kernel);
async fn a_call_that_lies_ready_for_a_process_that_ends_is_run_by_another(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let kernel = if runtime == Runtime::Kernel { "always" } else { "auto" };
    let cluster = Cluster::start(laravel.shape(1, 1).worker("--bridge-kernel", kernel))?;
    let mut first = Client::connect(&cluster.url(0)).await?;
    let mut second = Client::connect(&cluster.url(0)).await?;
    for how in ["exit", "kill"] {
        first.send("diffyne.call", call(PROBE, "diffyne-probe", "depart", json!([how]), state(), "r")).await?;
        // While that one runs: it waits for the same process, and is handed to it with the answer.
        eventually("the first call runs", || {
            cluster.workers[0].metric("diffyne_worker_calls_running").is_ok_and(|calls| (0.5..1.5).contains(&calls))
        })?;
        second.send("diffyne.call", call(PROBE, "diffyne-probe", "wait", json!([0]), state(), "r")).await?;
        let departed = first.receive().await?["data"]["c"]["st"]["text"].clone();
        let answer = second.receive().await?;
        let ran = &answer["data"]["c"]["st"]["text"];
        assert!(ran.is_string() && *ran != departed, "{how}: {departed} departed: {answer}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_have_nothing_to_do_stay() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(1, 1).worker("--php-ini", "default_socket_timeout=1"))?;
    eventually("one process and a spare one", || {
        cluster.workers[0].metric("diffyne_worker_php_processes_ready").is_ok_and(|ready| ready >= 2.0)
    })?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let process = text(&mut client, "wait", json!([0])).await?;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(text(&mut client, "wait", json!([0])).await?, process);
    let log = std::fs::read_to_string(&cluster.workers[0].process.log)?;
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
                    while let Ok(process) = text(&mut client, "wait", json!([20])).await {
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
        let process = text(&mut Client::connect(&cluster.url(0)).await?, "wait", json!([0])).await?;
        assert_eq!(allowed(&process)?, all);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_calls_exit_a_hundred_times_slows_nobody() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(1, 2))?;
    let url = cluster.url(0);
    let vandal = tokio::spawn(async move {
        let mut client = Client::connect(&url).await?;
        for _ in 0..100 {
            fails(&probe(&mut client, "end", json!(["exit"])).await?);
        }
        anyhow::Ok(())
    });
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut slowest = Duration::ZERO;
    let mut calls = 0;
    while !vandal.is_finished() {
        let started = Instant::now();
        assert_eq!(text(&mut client, "say", json!(["hello"])).await?, "hello");
        slowest = slowest.max(started.elapsed());
        calls += 1;
    }
    vandal.await??;
    assert!(calls > 50 && slowest < Duration::from_millis(1500), "{calls} calls, the slowest took {slowest:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_under_load_fails_no_call_and_brings_the_new_code() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(1, 2))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    assert_eq!(text(&mut client, "ask", json!([])).await?, "VERSION-1");
    laravel.change("app/Diffyne/Probe.php", "VERSION-1", "VERSION-2")?;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut load = Vec::new();
    for _ in 0..2 {
        let (url, stop) = (cluster.url(0), std::sync::Arc::clone(&stop));
        load.push(tokio::spawn(async move {
            let mut client = Client::connect(&url).await?;
            let mut answers = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(text(&mut client, "ask", json!([])).await?.starts_with("VERSION-"));
                answers += 1;
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
            anyhow::Ok(answers)
        }));
    }
    cluster.workers[0].process.signal(Signal::Hup)?;
    let started = Instant::now();
    let mut in_a_row = 0;
    while in_a_row < 30 || started.elapsed() < Duration::from_secs(1) {
        assert!(started.elapsed() < Duration::from_secs(20), "the old code goes on");
        let answer = text(&mut client, "ask", json!([])).await?;
        in_a_row = if answer == "VERSION-2" { in_a_row + 1 } else { 0 };
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for task in load {
        assert!(task.await?? > 30, "the load went on");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_leaks_or_has_run_enough_is_replaced() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let shape = laravel.shape(1, 1).worker("--php-max-memory", "160MiB").worker("--php-max-calls", "20");
    let cluster = Cluster::start(shape)?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut processes = HashSet::new();
    for _ in 0..8 {
        processes.insert(text(&mut client, "leak", json!([60])).await?);
    }
    assert!(processes.len() >= 3, "{processes:?}");
    let mut processes = HashSet::new();
    for _ in 0..80 {
        processes.insert(text(&mut client, "wait", json!([0])).await?);
    }
    assert!(processes.len() >= 3, "{processes:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_does_not_start_is_told_and_tried_again() -> anyhow::Result<()> {
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
            let answer = diffyne_tests::cluster::http_get(cluster.workers[0].admin, "/ready");
            answer.is_ok_and(|answer| answer.status == 503 && answer.body.contains(words))
        };
        eventually("the worker tells what is wrong", told)?;
        let mut client = Client::connect(&cluster.url(0)).await?;
        let started = Instant::now();
        fails(&probe(&mut client, "say", json!(["x"])).await?);
        assert!(started.elapsed() < Duration::from_secs(2), "without waiting for what does not come");
        laravel.change(file, to, from)?;
        eventually("it starts once it can", || cluster.workers[0].ready().is_ok_and(|status| status == 200))?;
        assert_eq!(text(&mut client, "say", json!(["well again"])).await?, "well again");
    }
    let laravel = Laravel::new()?;
    std::fs::remove_dir_all(laravel.path("vendor"))?;
    let cluster = Cluster::start(Shape { wait_for_php: false, ..laravel.shape(1, 1) })?;
    eventually("a missing vendor/ is told", || {
        let answer = diffyne_tests::cluster::http_get(cluster.workers[0].admin, "/ready");
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
        let victim: u32 = text(&mut client, "wait", json!([0])).await?.parse()?;
        let (from, to) = (format!("VERSION-{}", version - 1), format!("VERSION-{version}"));
        laravel.change("app/Diffyne/Probe.php", &from, &to)?;
        cluster.workers[0].process.signal(Signal::Hup)?;
        std::process::Command::new("kill").args(["-9", &victim.to_string()]).status()?;
        eventually("two processes and a spare one", || {
            cluster.workers[0]
                .metric("diffyne_worker_php_processes_ready")
                .is_ok_and(|ready| (2.5..3.5).contains(&ready))
                && alive(&laravel) == 3
        })?;
        let until = Instant::now() + Duration::from_secs(20);
        let mut in_a_row = 0;
        while in_a_row < 20 {
            assert!(Instant::now() < until, "the old code goes on");
            // The killed one may have been given a call.
            let answer = probe(&mut client, "ask", json!([])).await?;
            in_a_row = if answer["c"]["st"]["text"] == to.as_str() { in_a_row + 1 } else { 0 };
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_starts_slowly_is_told_and_waited_for() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    laravel.change("bootstrap/app.php", "<?php", "<?php sleep(3);")?;
    let shape = laravel.shape(1, 1).worker("--php-start-timeout", "1s");
    let cluster = Cluster::start(Shape { wait_for_php: false, ..shape })?;
    eventually("the worker tells", || {
        let answer = diffyne_tests::cluster::http_get(cluster.workers[0].admin, "/ready");
        answer.is_ok_and(|answer| answer.status == 503 && answer.body.contains("not ready within 1s"))
    })?;
    // The gateway knows, too, and keeps to itself what it is.
    let told = || {
        let reasons = cluster.gateways[0].health().map(|health| health["reasons"].to_string());
        reasons.is_ok_and(|reasons| reasons.contains("1 of 1 workers cannot run calls") && !reasons.contains("1s"))
    };
    eventually("the gateway's health tells", told)?;
    assert!(cluster.workers[0].metric("diffyne_worker_php_start_failures_total")? >= 1.0);
    laravel.change("bootstrap/app.php", "sleep(3);", "usleep(600000);")?;
    eventually("it starts", || cluster.workers[0].ready().is_ok_and(|status| status == 200))?;
    eventually("the gateway knows", || cluster.gateways[0].health().is_ok_and(|health| health["status"] == "ok"))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    assert_eq!(text(&mut client, "say", json!(["slow and well"])).await?, "slow and well");
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
        assert_eq!(text(&mut client, "say", json!([n.to_string()])).await?, n.to_string());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_grows_while_calls_wait() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(1, 1).worker("--php-processes-max", "4"))?;
    let mut calls = Vec::new();
    // With four, three processes can be enough: each call then waits just as long as makes a pool grow.
    for _ in 0..6 {
        let url = cluster.url(0);
        calls.push(tokio::spawn(async move {
            let mut client = Client::connect(&url).await?;
            let mut processes = HashSet::new();
            for _ in 0..10 {
                processes.insert(text(&mut client, "wait", json!([150])).await?);
            }
            anyhow::Ok(processes)
        }));
    }
    let mut processes = HashSet::new();
    for call in calls {
        processes.extend(call.await??);
    }
    assert!(processes.len() >= 4, "{processes:?}");
    Ok(())
}

/// PHP processes of an application.
fn alive(laravel: &Laravel) -> usize {
    let marked = |pid: &std::path::Path| {
        std::fs::read_link(pid.join("cwd")).is_ok_and(|cwd| cwd.ends_with(laravel.directory.trim_start_matches('/')))
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| marked(&entry.path())).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_php_process_survives_its_worker() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    for signal in [Signal::Kill, Signal::Term] {
        let mut cluster = Cluster::start(laravel.shape(1, 2).worker("--worker-drain-timeout", "300ms"))?;
        eventually("two processes and a spare one", || alive(&laravel) == 3)?;
        let mut client = Client::connect(&cluster.url(0)).await?;
        // One of them in a loop without end.
        client.send("diffyne.call", call(PROBE, "a", "end", json!(["loop"]), state(), "r")).await?;
        let mut other = Client::connect(&cluster.url(0)).await?;
        assert_eq!(text(&mut other, "say", json!(["hello"])).await?, "hello");
        cluster.workers[0].process.signal(signal)?;
        cluster.workers[0].process.wait()?;
        eventually("all are gone", || alive(&laravel) == 0)?;
    }
    Ok(())
}

for_runtimes!(cached_routes_and_a_route_for_everything_are_not_in_the_way: fast_path = FastPath, kernel = Kernel, fastcgi = FastCgi);
async fn cached_routes_and_a_route_for_everything_are_not_in_the_way(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let catch_all = "Route::any('/{any}', [App\\Http\\Everything::class, 'show'])->where('any', '.*');\n";
    let routes = std::fs::read_to_string(laravel.path("routes/web.php"))?;
    let head: String = routes.lines().take(2).map(|line| format!("{line}\n")).collect();
    std::fs::write(laravel.path("routes/web.php"), format!("{head}{catch_all}"))?;
    std::fs::create_dir_all(laravel.path("app/Http"))?;
    let controller = "<?php\nnamespace App\\Http;\nclass Everything { public function show() { return '<html>not this</html>'; } }\n";
    std::fs::write(laravel.path("app/Http/Everything.php"), controller)?;
    let deployment = laravel.deploy(runtime, 1)?;
    for cached in [false, true] {
        if cached {
            laravel.artisan("route:cache")?;
            laravel.artisan("config:cache")?;
        }
        let cluster = Cluster::start(deployment.shape.clone())?;
        let mut client = Client::connect(&cluster.url(0)).await?;
        assert_eq!(text(&mut client, "say", json!(["found"])).await?, "found", "cached: {cached}");
    }
    Ok(())
}

for_runtimes!(middleware_of_the_application_may_refuse_a_call: pool = FastPath, http = Http, fastcgi = FastCgi);
async fn middleware_of_the_application_may_refuse_a_call(runtime: Runtime) -> anyhow::Result<()> {
    for (body, status, words) in [
        ("return redirect('/login');", 401, "You have to log in."),
        ("abort(419);", 419, "The page has expired. Reload it, please."),
        ("return response('<html>big red page</html>', 500);", 500, "An error occurred while processing your request."),
    ] {
        let laravel = Laravel::new()?;
        std::fs::create_dir_all(laravel.path("app/Http"))?;
        let guard = format!(
            "<?php\nnamespace App\\Http;\nclass Guard {{ public function handle($request, $next) {{ {body} }} }}\n"
        );
        std::fs::write(laravel.path("app/Http/Guard.php"), guard)?;
        let guarded = "config(['diffyne.middleware' => ['web', \\App\\Http\\Guard::class]]); config(['auth.providers";
        laravel.change("app/Providers/AppServiceProvider.php", "config(['auth.providers", guarded)?;
        let deployment = laravel.deploy(runtime, 1)?;
        let cluster = Cluster::start(Shape { wait_for_php: runtime.is_pool(), ..deployment.shape.clone() })?;
        let mut client = Client::connect(&cluster.url(0)).await?;
        let answer = probe(&mut client, "say", json!(["x"])).await?;
        assert_eq!((&answer["error"], &answer["type"]), (&json!(words), &json!("server_error")), "{answer}");
        let data = call(PROBE, "a", "say", json!(["x"]), state(), "r").to_string();
        let answer = http_post(cluster.gateways[0].port, "/_diffyne/update", &[], &data)?;
        assert_eq!(answer.status, status);
        assert!(!answer.body.contains("html"), "{answer:?}");
    }
    Ok(())
}

for_runtimes!(a_message_crosses_from_php_to_the_clients_of_another_gateway: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn a_message_crosses_from_php_to_the_clients_of_another_gateway(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 2)?;
    let cluster = Cluster::start(deployment.shape.clone().with_redis())?;
    let mut sender = Client::connect(&cluster.url(0)).await?;
    let mut other = Client::connect(&cluster.url(1)).await?;
    sender.subscribe("message-sent").await?;
    other.subscribe("message-sent").await?;
    let answer = probe(&mut sender, "tell", json!(["hello"])).await?;
    assert!(answer["eventIds"][0].is_string(), "{answer}");
    let push = other.receive().await?;
    assert_eq!(push["data"]["events"][0]["params"], json!([{"what": "hello"}]), "{push}");
    let body = call(PROBE, "a", "tell", json!(["by AJAX"]), state(), "r").to_string();
    http_post(cluster.gateways[0].port, "/_diffyne/update", &[], &body)?;
    for client in [&mut sender, &mut other] {
        assert_eq!(client.receive().await?["data"]["events"][0]["params"], json!([{"what": "by AJAX"}]));
    }
    // A listener is callable, though it is not marked as invokable.
    assert_eq!(text(&mut other, "hear", json!([{"what": "hello"}])).await?, "hello");
    // A lazy component comes with its signature and listeners.
    let lazy = json!({"componentClass": PROBE, "componentId": "diffyne-lazy", "params": {"text": "from the page"}});
    let answer = http_post(cluster.gateways[0].port, "/_diffyne/lazy", &[], &lazy.to_string())?;
    let mounted: Value = serde_json::from_str(&answer.body)?;
    assert_eq!(
        (&mounted["id"], &mounted["html"]),
        (&json!("diffyne-lazy"), &json!("<p>from the page</p>")),
        "{mounted}"
    );
    assert_eq!(mounted["eventListeners"], json!({"message-sent": ["hear"], "probed": ["heard"]}));
    let not_lazy = json!({"componentClass": "App\\Diffyne\\Counter", "componentId": "x", "params": {}});
    assert_eq!(http_post(cluster.gateways[0].port, "/_diffyne/lazy", &[], &not_lazy.to_string())?.status, 400);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_publishes_by_itself_through_redis_and_over_http() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let shape = laravel.shape(2, 1).with_redis().gateway("--admin-token", "let-me");
    let shape = shape.gateway("--redis-prefix", "laravel-database-").worker("--redis-prefix", "laravel-database-");
    let cluster = Cluster::start(shape)?;
    let mut clients = Vec::new();
    for gateway in 0..2 {
        let mut client = Client::connect(&cluster.url(gateway)).await?;
        client.subscribe("order-paid").await?;
        clients.push(client);
    }
    let redis_port = cluster.redis_port.to_string();
    let environment = [
        ("REDIS_PORT", redis_port.as_str()),
        ("REDIS_HOST", "127.0.0.1"),
        ("REDIS_PREFIX", "laravel-database-"),
        ("REDIS_CLIENT", "phpredis"),
    ];
    // From a queued job, ten at once, with something that is no event between them.
    laravel.tinker(&environment, "dispatch(new App\\Jobs\\Announce());")?;
    for client in &mut clients {
        for n in 1..=10 {
            let push = client.receive().await?;
            let event = &push["data"]["events"][0];
            assert_eq!(event["params"], json!([{"n": n, "sum": 1.5, "tags": {}}]), "in order and untouched: {push}");
        }
    }
    // Over HTTP, with a client left out.
    let port = cluster.gateways[0].admin;
    let body = json!({"name": "order-paid", "params": [{"n": 11}], "except": clients[0].id}).to_string();
    assert_eq!(http_post(port, "/api/broadcast", &[], &body)?.status, 401);
    assert_eq!(http_post(port, "/api/broadcast", &[("Authorization", "Bearer wrong")], &body)?.status, 401);
    let token = [("Authorization", "Bearer let-me")];
    assert_eq!(http_post(port, "/api/broadcast", &token, "{}")?.status, 422);
    assert_eq!(http_post(port, "/api/nothing", &token, "{}")?.status, 404);
    let post = format!(
        "echo file_get_contents('http://127.0.0.1:{port}/api/broadcast', false, stream_context_create(['http' => ['method' => 'POST', \
         'header' => \"Authorization: Bearer let-me\\r\\nContent-Type: application/json\", 'content' => '{body}']]));"
    );
    let answer: Value = serde_json::from_str(&laravel.php(&["-r", &post])?)?;
    assert_eq!(clients[1].receive().await?["data"]["id"], answer["id"]);
    clients[0].silent_for(Duration::from_millis(100)).await?;
    for client in &mut clients {
        assert_eq!(client.barrier().await?, Vec::<Value>::new(), "nothing twice");
    }
    Ok(())
}

for_runtimes!(a_login_over_the_socket_reaches_the_browser_and_nobody_else: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn a_login_over_the_socket_reaches_the_browser_and_nobody_else(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 2)?;
    let shape = deployment.shape.clone().with_redis().gateway("--app-key", diffyne_tests::recorded::APP_KEY);
    let cluster = Cluster::start(shape)?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let first = probe(&mut client, "look", json!([])).await?;
    assert_eq!(first.get("session"), None, "{first}");
    let answer = probe(&mut client, "login", json!(["ada"])).await?;
    let (url, token) = (answer["session"]["url"].as_str().unwrap(), answer["session"]["token"].as_str().unwrap());
    assert_eq!(probe(&mut client, "look", json!([])).await?["c"]["st"]["user"], "ada", "the connection itself knows");

    // The page brings the token to another gateway, once.
    let port = cluster.gateways[1].port;
    let body = json!({"token": token}).to_string();
    let foreign = http_post(port, url, &[("Origin", "https://evil.test")], &body)?;
    assert_eq!((foreign.status, foreign.head.to_lowercase().contains("set-cookie")), (410, false), "another page");
    let cookies = http_post(port, url, &[], &body)?;
    assert_eq!(cookies.status, 200, "{cookies:?}");
    let lines = cookies.head.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
    let pairs: Vec<&str> = lines.filter_map(|line| line.split(';').next()).collect();
    assert!(pairs.iter().any(|pair| pair.starts_with("laravel_session=")), "{cookies:?}");
    assert_eq!(
        http_post(cluster.gateways[0].port, url, &[], &body)?.status,
        410,
        "it is good once, in the whole cluster"
    );
    assert_eq!(http_post(port, url, &[], "{}")?.status, 410);

    // With them the browser is logged in: by AJAX, and in a new connection.
    let cookie = pairs.join("; ");
    let look = call(PROBE, "a", "look", json!([]), state(), "r").to_string();
    let answer = http_post(port, "/_diffyne/update", &[("Cookie", &cookie)], &look)?;
    assert_eq!(serde_json::from_str::<Value>(&answer.body)?["c"]["st"]["user"], "ada");
    let mut again = Client::connect_with(&cluster.url(1), &[("Cookie", &cookie)]).await?;
    assert_eq!(probe(&mut again, "look", json!([])).await?["c"]["st"]["user"], "ada");
    let mut other = Client::connect(&cluster.url(1)).await?;
    assert_eq!(probe(&mut other, "look", json!([])).await?["c"]["st"]["user"], Value::Null);

    // The session ends elsewhere: the client is told to come back with the cookies that the browser has now.
    for entry in std::fs::read_dir(laravel.path("storage/framework/sessions"))? {
        std::fs::remove_file(entry?.path())?;
    }
    let answer = probe(&mut again, "look", json!([])).await?;
    assert_eq!(answer["c"]["st"]["user"], Value::Null, "{answer}");
    let goodbye = again.receive().await?;
    assert_eq!((&goodbye["event"], &goodbye["data"]["reconnect"]), (&json!("diffyne.disconnect"), &json!(true)));
    assert_eq!(again.closed().await?, 1001);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_over_http_keeps_its_sessions_and_tells_its_faults() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    laravel.load_bridge()?;
    let (server, port) = laravel.serve()?;
    let cluster = Cluster::start(laravel.shape_over_http(port).gateway("--app-key", diffyne_tests::recorded::APP_KEY))?;
    let agent = [("User-Agent", "Browser/7"), ("Host", "shop.test"), ("X-Forwarded-For", "203.0.113.7")];
    let mut client = Client::connect_with(&cluster.url(0), &agent).await?;
    let answer = probe(&mut client, "login", json!(["ada"])).await?;
    assert!(answer["session"]["token"].is_string(), "{answer}");
    let answer = probe(&mut client, "look", json!([])).await?;
    let seen = &answer["c"]["st"]["seen"];
    assert_eq!(answer["c"]["st"]["user"], "ada");
    assert_eq!(
        (&seen["agent"], &seen["url"], &seen["socket"]),
        (&json!("Browser/7"), &json!("http://shop.test/x"), &json!(true))
    );
    for typed in ["", "  two  spaces ", "0"] {
        assert_eq!(text(&mut client, "say", json!([typed])).await?, typed);
    }
    for how in ["exit", "die", "fatal", "throw", "notice"] {
        fails(&probe(&mut client, "end", json!([how])).await?);
        assert_eq!(text(&mut client, "say", json!([how])).await?, how, "the next call after {how}");
    }
    fails(&probe(&mut client, "big", json!([3])).await?);
    // Only who has the secret may use the bridge.
    let stranger =
        [("X-HTTP-Method-Override", "DIFFYNE"), ("X-Diffyne-Bridge", "guess"), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(http_post(port, "/_diffyne-bridge", &stranger, "{\"kind\":\"hello\"}\n")?.status, 404);
    drop(server);
    let answer = probe(&mut client, "say", json!(["anybody?"])).await?;
    fails(&answer);
    Ok(())
}

for_runtimes!(without_the_bridge_the_packages_own_endpoint_is_translated: http = HttpWithoutBridge, fastcgi = FastCgiWithoutBridge);
async fn without_the_bridge_the_packages_own_endpoint_is_translated(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let cluster = Cluster::start(deployment.shape.clone().gateway("--call-timeout", "2s"))?;
    eventually("the worker's log says what is missing", || {
        std::fs::read_to_string(&cluster.workers[0].process.log)
            .is_ok_and(|log| log.contains("has not loaded the bridge"))
    })?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    client.subscribe("message-sent").await?;
    let answer = plain(&mut client, "say", json!([" trimmed "])).await?;
    assert_eq!(answer["c"]["st"]["text"], "trimmed", "by the framework's middleware: {answer}");
    let answer = plain(&mut client, "tell", json!(["news"])).await?;
    assert_eq!(answer["events"][0]["params"], json!([{"what": "news"}]));
    assert!(answer["eventIds"][0].is_string(), "{answer}");
    let rows = [
        (
            "hear",
            json!([{"what": "x"}]),
            "Method [hear] is not invokable. Add #[Invokable] attribute to allow client invocation.",
            "method_error",
        ),
        ("nope", json!([]), "Method [nope] does not exist on component.", "method_error"),
        ("end", json!(["throw"]), "An error occurred while processing your request.", "server_error"),
        ("end", json!(["fatal"]), "An error occurred while processing your request.", "server_error"),
        ("end", json!(["die"]), "An error occurred while processing your request.", "server_error"),
    ];
    for (method, params, error, kind) in rows {
        let answer = plain(&mut client, method, params).await?;
        assert_eq!((&answer["error"], &answer["type"]), (&json!(error), &json!(kind)), "{method}: {answer}");
    }
    let chat = json!({"roomId": 1, "messages": [], "newMessage": ""});
    client.send("diffyne.call", call("App\\Diffyne\\ChatRoom", "c", "sendMessage", json!([]), chat, "r")).await?;
    let answer = client.receive().await?["data"].clone();
    assert_eq!(answer["errors"], json!({"newMessage": ["The new message field is required."]}), "{answer}");
    let counter = json!({"count": 1, "label": "a", "owner": 7});
    let leave = call("App\\Diffyne\\Counter", "c", "leave", json!([]), counter, "r");
    client.send("diffyne.call", signed(leave, APP_KEY, &["owner"])?).await?;
    assert_eq!(client.receive().await?["data"]["redirect"], json!({"url": "/status", "spa": true}));
    for how in ["exit", "memory", "kill", "deep"] {
        fails(&plain(&mut client, "end", json!([how])).await?);
    }
    let answer = plain(&mut client, "end", json!(["loop"])).await?;
    assert_eq!(answer["type"], "timeout", "{answer}");
    let unknown = call("App\\Nothing", "c", "leave", json!([]), json!({"count": 1}), "r");
    client.send("diffyne.call", unknown).await?;
    assert_eq!(client.receive().await?["data"]["type"], "exception");
    let answer = plain(&mut client, "say", json!(["still here"])).await?;
    assert_eq!(answer["c"]["st"]["text"], "still here", "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_server_on_a_unix_socket_and_php_fpm_with_kept_connections_serve_as_well() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    laravel.load_bridge()?;
    let (_fpm, socket) = laravel.serve_fpm(2)?;
    let (_nginx, _port) = laravel.serve_nginx(&socket)?;
    let own = Shape { signing_key: diffyne_tests::recorded::APP_KEY.to_owned(), ..Shape::new(1, 1) };
    let by_socket = own
        .clone()
        .worker("--backend-url", "http://shop.test")
        .worker("--backend-socket", &laravel.path("nginx/http.sock").display().to_string());
    let kept = own
        .worker("--fastcgi", &format!("unix:{}", socket.display()))
        .worker("--fastcgi-connections", "2")
        .worker("--fastcgi-keep-alive", "true")
        .worker("--fastcgi-script", &format!("{}/public/index.php", laravel.directory));
    for shape in [by_socket, kept] {
        let cluster = Cluster::start(shape)?;
        let mut calls = Vec::new();
        for n in 0..8 {
            let url = cluster.url(0);
            calls.push(tokio::spawn(async move {
                let mut client = Client::connect(&url).await?;
                for m in 0..10 {
                    let what = format!("{n}-{m}");
                    assert_eq!(text(&mut client, "say", json!([what])).await?, what);
                }
                anyhow::Ok(())
            }));
        }
        for call in calls {
            call.await??;
        }
        // A child that ends takes its connection with it; the next call makes another.
        let mut client = Client::connect(&cluster.url(0)).await?;
        for _ in 0..3 {
            fails(&probe(&mut client, "end", json!(["kill"])).await?);
            assert_eq!(text(&mut client, "say", json!(["again"])).await?, "again");
        }
    }
    Ok(())
}
