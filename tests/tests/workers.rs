//! Workers that die, stop, are busy or fail: what their callers see.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use diffyne_shared::rpc::{self, Frame, Hello, Outcome, Reply, VersionRange};
use diffyne_tests::client::{Client, increment, probe};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::process::{Process, Signal, Stopwatch, eventually, program};
use diffyne_tests::relay::FakeWorker;
use serde_json::{Value, json};

/// Clients with a slow call each, under way on both workers.
async fn start_slow_calls(cluster: &Cluster, count: usize, ms: u64) -> anyhow::Result<Vec<Client>> {
    start_calls(cluster, count, |index| {
        probe("diffyne-p", "slow", json!([format!("c{index}"), ms]), &format!("r{index}"))
    })
    .await
}

/// Connects clients first, so that their calls begin together.
async fn start_calls(cluster: &Cluster, count: usize, call: impl Fn(usize) -> Value) -> anyhow::Result<Vec<Client>> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(Client::connect(&cluster.url(0)).await?);
    }
    for (index, client) in clients.iter_mut().enumerate() {
        client.send("diffyne.call", call(index)).await?;
    }
    Ok(clients)
}

/// How often each call has begun, by its tag.
fn count_runs(notes: &[String]) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for tag in notes.iter().filter_map(|note| note.strip_prefix("begin ")) {
        *counts.entry(tag).or_insert(0) += 1;
    }
    counts
}

/// When the gateway tells a client that its worker is lost, on a machine that does nothing else. The gateway sees it
/// from the connection; a second later it would be a timeout.
const TOLD_WITHIN: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_fails_only_its_own_calls_at_once_and_none_runs_twice() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Shape::new(1, 2))?;
    // Their calls run until the test releases them.
    let call = |index: usize| {
        let note = format!("c{index}");
        probe("diffyne-p", "hold", json!(["all", note]), &format!("r{index}"))
    };
    let clients = start_calls(&cluster, 200, call).await?;
    eventually("all 200 have begun", || count_runs(&cluster.notes()).len() == 200)?;
    let lost_calls = cluster.workers[0].metric("diffyne_worker_calls_running")? as usize;
    assert!((40..=160).contains(&lost_calls), "both workers have a share: {lost_calls}");
    // Everybody listens when it happens; the time of each answer is taken as it comes.
    let answered = Arc::new(AtomicUsize::new(0));
    let gateway = cluster.gateways[0].process.id();
    let stopwatch = Arc::new(Stopwatch::start(&[gateway]));
    let listening: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let (answered, stopwatch) = (Arc::clone(&answered), Arc::clone(&stopwatch));
            tokio::spawn(async move {
                let reply = client.receive().await?;
                answered.fetch_add(1, Ordering::Relaxed);
                anyhow::Ok((reply, stopwatch.elapsed(), client))
            })
        })
        .collect();
    let killed = stopwatch.elapsed();
    cluster.workers[0].process.kill()?;
    eventually("the clients of the killed worker are told", || answered.load(Ordering::Relaxed) >= lost_calls)?;
    cluster.release("all")?;
    let mut clients = Vec::new();
    let (mut lost, mut well) = (0, 0);
    for (index, answer) in listening.into_iter().enumerate() {
        let (reply, at, client) = answer.await??;
        clients.push(client);
        assert_eq!((reply.event(), reply.request_id()), ("diffyne.response", &json!(format!("r{index}"))));
        if reply.is_ok() {
            well += 1;
        } else {
            assert_eq!(reply.error_type(), "worker_lost", "{reply}");
            assert!(at.saturating_sub(killed) < TOLD_WITHIN, "told after {:?}", at.saturating_sub(killed));
            lost += 1;
        }
    }
    println!("200 calls: {lost} told lost, {well} answered");
    assert_eq!((lost, well), (lost_calls, 200 - lost_calls));
    assert!(count_runs(&cluster.notes()).values().all(|runs| *runs == 1));

    // The next calls go to the other worker.
    clients[0].check_increment(1).await?;
    eventually("the gateway says that a worker is missing", || {
        cluster.gateways[0].health().is_ok_and(|health| health["status"] == "degraded")
    })?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_worker_finishes_its_calls_hands_back_the_rest_and_none_fails() -> anyhow::Result<()> {
    // Ten places and thirty that wait: some are queued in a worker when it is told to stop.
    let shape = Shape::new(1, 2).with_redis().worker("--worker-concurrency", "10").worker("--worker-queue", "30");
    let mut cluster = Cluster::start(shape)?;
    let mut clients = start_slow_calls(&cluster, 60, 1000).await?;
    eventually("the worker runs ten and holds some back", || {
        let worker = &cluster.workers[0];
        worker.metric("diffyne_worker_calls_running").is_ok_and(|running| running >= 10.0)
            && worker.metric("diffyne_worker_calls_queued").is_ok_and(|queued| queued > 0.0)
    })?;
    cluster.workers[0].process.signal(Signal::Term)?;
    for client in &mut clients {
        let answer = client.receive().await?;
        assert!(answer.is_ok(), "{answer}");
    }
    assert!(cluster.workers[0].process.wait()?.success());
    assert!(cluster.workers[0].process.output().contains("stopped"));
    let notes = cluster.notes();
    assert_eq!(count_runs(&notes).len(), 60);
    assert!(count_runs(&notes).values().all(|runs| *runs == 1), "none ran twice");
    assert!(cluster.gateways[0].metric("diffyne_gateway_calls_handed_back_total")? > 0.0);
    eventually("the gateway has forgotten it, and is well", || {
        cluster.gateways[0].health().is_ok_and(|health| health["workers"] == 1 && health["status"] == "ok")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_one_component_run_in_order_and_others_side_by_side() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 2))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    for (component, tag, ms) in [("diffyne-a", "a1", 1000), ("diffyne-a", "a2", 1), ("diffyne-b", "b1", 1000)] {
        client.send("diffyne.call", probe(component, "slow", json!([tag, ms]), tag)).await?;
    }
    let mut order = Vec::new();
    for _ in 0..3 {
        order.push(client.receive().await?.request_id().clone());
    }
    let at = |tag: &str| order.iter().position(|id| id == tag).unwrap();
    assert!(at("a1") < at("a2"), "{order:?}");
    let notes = cluster.notes();
    let line = |text: &str| notes.iter().position(|note| note == text).unwrap();
    assert!(line("end a1") < line("begin a2"), "{notes:?}");
    assert!(line("begin b1") < line("end a1") && line("begin a1") < line("end b1"), "they overlap: {notes:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_each_call_gets_its_response() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).gateway("--call-timeout", "3s").gateway("--max-calls-per-connection", "3");
    let mut cluster = Cluster::start(shape)?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let cases = [
        (probe("diffyne-p", "fail", json!([]), "f"), "server_error"),
        (probe("diffyne-p", "panic", json!([]), "p"), "server_error"),
        (probe("diffyne-p", "nope", json!([]), "n"), "method_error"),
        (probe("diffyne-p", "slow", json!(["x"]), "m"), "method_error"),
        (probe("diffyne-p", "slow", json!(["late", 20_000]), "t"), "timeout"),
    ];
    for (data, kind) in cases {
        let id = data["requestId"].clone();
        let answer = client.call(data).await?;
        assert_eq!(answer.event(), "diffyne.response");
        assert_eq!((answer.error_type(), answer.request_id()), (kind, &id), "{answer}");
    }
    for index in 0..4 {
        let params = json!([format!("q{index}"), 1000]);
        client.send("diffyne.call", probe(&format!("diffyne-{index}"), "slow", params, &index.to_string())).await?;
    }
    let refused = client.receive().await?;
    assert_eq!((refused.error_type(), refused.request_id()), ("overloaded", &json!("3")));
    for _ in 0..3 {
        assert!(client.receive().await?.is_ok());
    }

    // Whoever leaves takes the waiting calls along.
    let mut leaver = Client::connect(&cluster.url(0)).await?;
    for tag in ["l1", "l2", "l3"] {
        leaver.send("diffyne.call", probe("diffyne-l", "slow", json!([tag, 2000]), tag)).await?;
    }
    eventually("its first call runs", || cluster.notes().iter().any(|note| note == "begin l1"))?;
    leaver.socket.close(None).await?;
    eventually("no call is in flight", || {
        cluster.gateways[0].metric("diffyne_gateway_calls_in_flight").is_ok_and(|calls| calls.abs() < 0.5)
    })?;
    assert!(!cluster.notes().iter().any(|note| note == "begin l2"));

    cluster.workers[0].process.kill()?;
    let answer = client.call(increment("diffyne-a", 0, "none")).await?;
    assert!(!answer.is_ok(), "{answer}");
    assert_eq!(answer.request_id(), "none");
    assert_eq!(cluster.gateways[0].ready()?, 503);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saturated_pool_lets_calls_wait_and_answers_overloaded_beyond_the_queue() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1)
        .worker("--worker-concurrency", "2")
        .worker("--worker-queue", "0")
        .gateway("--call-queue", "4")
        .gateway("--threads", "1");
    let cluster = Cluster::start(shape)?;
    let mut clients = start_slow_calls(&cluster, 10, 1000).await?;
    let (mut well, mut overloaded) = (0, 0);
    for client in &mut clients {
        let answer = client.receive().await?;
        match answer.error_type() {
            "" => well += 1,
            "overloaded" => overloaded += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((well, overloaded), (6, 4), "two run, four wait, four are refused at once");
    assert_eq!(count_runs(&cluster.notes()).len(), 6);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_worker_is_not_asked_again_for_each_call_that_waits() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).worker("--worker-concurrency", "2").worker("--worker-queue", "2");
    let cluster = Cluster::start(shape)?;
    let mut clients = start_slow_calls(&cluster, 100, 10).await?;
    for client in &mut clients {
        assert!(client.receive().await?.is_ok());
    }
    let handed_back = cluster.gateways[0].metric("diffyne_gateway_calls_handed_back_total")?;
    // Two threads of a gateway see the room only as it was a moment ago, and now and then find out: some do come back.
    // When each answer let all go that waited, it was more than a thousand.
    assert!(handed_back < 300.0, "100 calls, {handed_back} handed back");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_quick_calls_wait_in_a_worker_and_do_not_stay_behind_a_slow_one() -> anyhow::Result<()> {
    let shape = Shape::new(1, 2)
        .worker("--worker-concurrency", "1")
        .worker("--worker-queue", "1")
        .worker("--worker-queue-time", "200ms");
    let cluster = Cluster::start(shape)?;
    let limits = || cluster.workers.iter().map(|worker| worker.metric("diffyne_worker_calls_queued_limit"));
    for _ in 0..5 {
        for client in &mut start_slow_calls(&cluster, 60, 1).await? {
            assert!(client.receive().await?.is_ok());
        }
    }
    for limit in limits() {
        assert!(limit? > 20.0, "calls take a millisecond each");
    }
    let runs = cluster.notes().len();
    let mut slow = start_slow_calls(&cluster, 1, 4_000).await?;
    eventually("it runs", || cluster.notes().len() == runs + 1)?;
    let told = Stopwatch::start(&[]);
    let mut quick = start_slow_calls(&cluster, 30, 1).await?;
    // One may always wait in the worker with the slow call; the other worker runs the rest.
    let ended = || cluster.notes().iter().filter(|note| note.starts_with("end ")).count();
    eventually("nearly all have run", || ended() >= 300 + 29)?;
    assert!(told.elapsed() < Duration::from_secs(3), "they waited for the slow one: {:?}", told.elapsed());
    for client in quick.iter_mut().chain(&mut slow) {
        assert!(client.receive().await?.is_ok());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_queued_in_a_worker_is_dropped_when_its_client_leaves() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).worker("--worker-concurrency", "1").worker("--worker-queue", "5"))?;
    let mut first = start_slow_calls(&cluster, 1, 3000).await?;
    eventually("the first runs", || cluster.notes().len() == 1)?;
    let mut leaver = Client::connect(&cluster.url(0)).await?;
    leaver.send("diffyne.call", probe("diffyne-l", "slow", json!(["left", 1]), "l")).await?;
    eventually("the second is queued in the worker", || {
        cluster.workers[0].metric("diffyne_worker_calls_queued").is_ok_and(|queued| queued > 0.5)
    })?;
    leaver.socket.close(None).await?;
    assert!(first[0].receive().await?.is_ok());
    // Long before its time would be over.
    eventually("nothing is in flight", || {
        cluster.gateways[0].metric("diffyne_gateway_calls_in_flight").is_ok_and(|calls| calls.abs() < 0.5)
    })?;
    assert_eq!(count_runs(&cluster.notes()).len(), 1, "it never ran");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_worker_is_left_out_within_the_health_interval_and_comes_back() -> anyhow::Result<()> {
    // One thread: each judges for itself, and /health tells of the first that leaves a worker out.
    let shape = Shape::new(1, 2).gateway("--worker-health", "1s").gateway("--threads", "1");
    let cluster = Cluster::start(shape)?;
    cluster.workers[0].process.signal(Signal::Stop)?;
    eventually("one worker is left out", || cluster.gateways[0].health().is_ok_and(|h| h["workers"] == 1))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    for count in 0..20 {
        client.check_increment(count).await?;
    }
    cluster.workers[0].process.signal(Signal::Cont)?;
    eventually("it is back", || cluster.gateways[0].health().is_ok_and(|h| h["workers"] == 2))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_reaches_a_worker_on_a_unix_socket() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let socket = format!("unix:{}", directory.path().join("w.sock").display());
    let cluster = Cluster::start(Shape::new(1, 0).gateway("--workers", &socket))?;
    let worker = Process::start("unix-worker", directory.path(), &program("test-worker")?, |command| {
        command.args(["serve", "--worker-listen", &socket, "--signing-key", "x"]);
        command.arg("--database").arg(directory.path().join("d.sqlite"));
    })?;
    eventually("the worker is found", || cluster.gateways[0].ready().is_ok_and(|status| status == 200))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    client.check_increment(4).await?;
    drop(worker);
    Ok(())
}

/// A worker of another release: says hello with a range of versions, and answers every call, beside frames that mean
/// nothing to the gateway.
async fn start_foreign_worker(versions: VersionRange) -> anyhow::Result<FakeWorker> {
    FakeWorker::start(move || {
        move |frame: &Frame<'_>| {
            let answer = match frame {
                Frame::Hello(_) => Frame::Hello(Hello {
                    versions,
                    features: vec!["from-the-past".to_owned()],
                    id: "foreign".to_owned(),
                    capacity: 4,
                    backend: "fake".to_owned(),
                    ..Hello::default()
                }),
                Frame::Call(call) => {
                    Frame::Reply(Reply::new(call.id, Outcome::Ok, 200, br#"{"s":true,"from":"foreign"}"#))
                }
                _ => Frame::Pong(rpc::Pong::default()),
            };
            vec![answer, Frame::Unknown(77), Frame::Busy(rpc::CallId { id: 123_456_789 })]
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_another_release_is_used_in_a_common_version_or_refused_clearly() -> anyhow::Result<()> {
    let older = start_foreign_worker(VersionRange { min: 0, max: 1 }).await?;
    let beyond = rpc::VERSIONS.max + 1;
    let newer = start_foreign_worker(VersionRange { min: beyond, max: beyond + 1 }).await?;
    let start = |worker: &FakeWorker| {
        Cluster::start_unready(Shape::new(1, 0).gateway("--workers", &format!("127.0.0.1:{}", worker.port)))
    };
    let (with_older, with_newer) = (start(&older)?, start(&newer)?);

    eventually("the older worker is used", || with_older.gateways[0].ready().is_ok_and(|status| status == 200))?;
    let mut client = Client::connect(&with_older.url(0)).await?;
    assert_eq!(client.call(increment("diffyne-a", 0, "r")).await?["from"], "foreign");

    eventually("the refusal is in the log", || {
        with_newer.gateways[0].process.output().contains("no common protocol version")
    })?;
    assert_eq!(with_newer.gateways[0].ready()?, 503);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_refused_with_a_clear_line_on_both_sides() -> anyhow::Result<()> {
    let right = Shape::new(1, 1).worker("--worker-token", "right,old");
    let wrong = Shape { reachable: Some(0), ..right.clone().gateway("--worker-token", "wrong") };
    let refused = Cluster::start(wrong)?;
    eventually("both sides tell", || {
        let said = |output: String| output.contains("wrong worker token (DIFFYNE_WORKER_TOKEN)");
        said(refused.gateways[0].process.output()) && said(refused.workers[0].process.output())
    })?;
    assert_eq!(refused.gateways[0].ready()?, 503);

    let cluster = Cluster::start(right.gateway("--worker-token", "old"))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    assert!(client.call(increment("diffyne-a", 0, "r")).await?.is_ok());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_would_wait_too_long_is_refused_at_once() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).worker("--worker-concurrency", "1").worker("--worker-queue", "0");
    let cluster = Cluster::start(shape.gateway("--threads", "1").gateway("--call-timeout", "4s"))?;
    let mut crowd = (Client::connect(&cluster.url(0)).await?, Client::connect(&cluster.url(0)).await?);
    let mut late = Client::connect(&cluster.url(0)).await?;
    for client in [&mut crowd.0, &mut crowd.1] {
        for index in 0..45 {
            let call = probe(&format!("c{index}"), "slow", json!([format!("t{index}"), 100]), &format!("r{index}"));
            client.send("diffyne.call", call).await?;
        }
    }
    // Ten a second: those who wait already take far longer than four seconds. Whose came first is not known.
    let ended = || cluster.notes().iter().filter(|note| note.starts_with("end ")).count();
    eventually("some have run", || ended() >= 12)?;
    let reply = late.call(probe("p", "slow", json!(["late", 100]), "late")).await?;
    assert_eq!(reply.error_type(), "overloaded", "at once, and not a timeout: {reply}");
    assert!(!cluster.notes().iter().any(|note| note == "begin late"), "it was not run");
    Ok(())
}
