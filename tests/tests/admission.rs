//! What a gateway takes and of whom: too many at once, too fast, too long, and what operators do about it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use diffyne_tests::client::{Client, increment, probe};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::http::{handshake, http, http_get, http_post};
use diffyne_tests::process::{PATIENCE, eventually, program};
use serde_json::{Value, json};

fn refused(cluster: &Cluster, headers: &[(&str, &str)]) -> anyhow::Result<(u16, bool)> {
    // A handshake that succeeds has no end: its head is enough.
    let mut stream = TcpStream::connect(("127.0.0.1", cluster.gateways[0].port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(handshake("/?key=k", headers).as_bytes())?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head)?.to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse()?;
    let seconds = head.lines().find_map(|line| line.strip_prefix("retry-after: ")?.trim().parse::<u32>().ok());
    Ok((status, seconds.is_some_and(|seconds| (1..=30).contains(&seconds))))
}

fn handshakes(cluster: &Cluster, result: &str) -> f64 {
    cluster.gateways[0].metric(&format!("diffyne_gateway_handshakes_total{{result=\"{result}\"}}")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_per_address_and_per_key_are_limited() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).gateway("--max-connections-per-address", "3").gateway("--ws-key", "k");
    let cluster = Cluster::start(shape.clone())?;
    let url = format!("{}?key=k", cluster.url(0));
    let from = |address: &'static str| [("X-Forwarded-For", address)];
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Client::connect_with(&url, &from("203.0.113.9")).await?);
    }
    assert_eq!(refused(&cluster, &from("203.0.113.9"))?, (429, true));
    for address in ["2001:db8::1", "2001:db8::2", "2001:db8::3:4"] {
        clients.push(Client::connect_with(&url, &from(address)).await?);
    }
    assert_eq!(refused(&cluster, &from("2001:db8::ffff"))?, (429, true), "one customer has a whole /64");
    clients.push(Client::connect_with(&url, &from("2001:db8:0:1::1")).await?);
    clients.remove(0);
    eventually("a place is free again", || refused(&cluster, &from("203.0.113.9")).unwrap().0 == 101)?;
    assert!(handshakes(&cluster, "address") >= 2.0);

    let cluster =
        Cluster::start(Shape::new(1, 1).gateway("--max-connections-per-key", "2").gateway("--ws-key", "k,l"))?;
    let url = format!("{}?key=k", cluster.url(0));
    let _two = (Client::connect(&url).await?, Client::connect(&url).await?);
    assert_eq!(refused(&cluster, &[])?, (429, true));
    let _other = Client::connect(&format!("{}?key=l", cluster.url(0))).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_handshakes_is_admitted_at_the_configured_rate_and_the_log_stays_short() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).gateway("--handshake-rate", "20/s:30"))?;
    let mut calm = Client::connect(&cluster.url(0)).await?;
    let (started, mut let_in, mut turned_away) = (Instant::now(), 0, 0);
    while turned_away < 100 || started.elapsed() < Duration::from_secs(2) {
        match refused(&cluster, &[])? {
            (101, _) => let_in += 1,
            (429, true) => turned_away += 1,
            other => panic!("{other:?}"),
        }
    }
    // The burst less the calm client's own, and so many as the seconds allow.
    let seconds = started.elapsed().as_secs();
    assert!((29..=32 + 20 * (seconds + 1)).contains(&let_in), "{let_in} let in within {seconds} s");
    assert!(calm.call(increment("c", 1, "r")).await?.is_ok(), "who is in is not harmed");
    let log = cluster.gateways[0].process.output();
    let lines = log.lines().filter(|line| line.contains("refused a handshake: a limit is reached")).count() as u64;
    assert!((1..=seconds + 2).contains(&lines), "{lines} lines for {turned_away} refusals");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_calls_get_an_error_and_too_many_messages_close_the_connection() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).gateway("--call-rate", "5/s:10").gateway("--message-rate", "20/s:40");
    let cluster = Cluster::start(shape)?;
    let gateway = &cluster.gateways[0];
    let mut client = Client::connect(&cluster.url(0)).await?;
    let started = Instant::now();
    for n in 0..15 {
        client.send("diffyne.call", increment(&format!("c{n}"), 1, &format!("r{n}"))).await?;
    }
    let (mut ran, mut limited) = (0, 0);
    for _ in 0..15 {
        let reply = client.receive().await?;
        match reply.error_type() {
            "" => ran += 1,
            "rate_limited" => limited += 1,
            other => panic!("{other}"),
        }
    }
    let allowed = 11 + 5 * started.elapsed().as_secs();
    assert!((10..=allowed).contains(&ran), "{ran} ran, {limited} were told, {allowed} are allowed");
    let mut neighbour = Client::connect(&cluster.url(0)).await?;
    for _ in 0..400 {
        if client.send("diffyne.ping", json!({})).await.is_err() {
            break;
        }
    }
    assert_eq!(client.closed().await?, 1008);
    assert!(neighbour.call(increment("c", 1, "r")).await?.is_ok());
    eventually("what was limited is counted", || {
        let count = |what: &str| gateway.metric(&format!("diffyne_gateway_limited_total{{what=\"{what}\"}}")).unwrap();
        (count("calls") - f64::from(limited)).abs() < 0.1 && (count("messages") - 1.0).abs() < 0.1
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_above_its_rate_is_not_broadcast_and_stays_in_the_response() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).gateway("--broadcast-rate", "1/s:5"))?;
    let mut sender = Client::connect(&cluster.url(0)).await?;
    let mut other = Client::connect(&cluster.url(0)).await?;
    other.subscribe("message-sent").await?;
    let (started, mut published) = (Instant::now(), 0);
    for n in 0..20 {
        let reply = sender.call(probe("p", "announce", json!([n]), &format!("r{n}"))).await?;
        assert_eq!(reply.events().len(), 1, "the sender has it in any case");
        published += u32::from(reply.event_id().is_some());
    }
    let allowed = 6 + started.elapsed().as_secs();
    assert!((5..=allowed).contains(&published.into()), "{published} published, {allowed} are allowed");
    for _ in 0..published {
        assert_eq!(other.receive().await?.event(), "diffyne.event");
    }
    eventually("the others are counted", || {
        let held = cluster.gateways[0].metric("diffyne_gateway_broadcasts_held_total{reason=\"rate\"}").unwrap();
        (held - f64::from(20 - published)).abs() < 0.1
    })?;
    assert_eq!(other.barrier().await?, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_and_old_connections_are_closed_and_others_stay() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).gateway("--idle-timeout", "2s"))?;
    let mut idle = Client::connect(&cluster.url(0)).await?;
    let mut listener = Client::connect(&cluster.url(0)).await?;
    listener.subscribe("message-sent").await?;
    let goodbye = idle.receive().await?;
    assert_eq!((goodbye["reason"].as_str(), goodbye["reconnect"].as_bool()), (Some("idle"), Some(false)));
    assert_eq!(idle.closed().await?, 1000);
    listener.barrier().await?;

    let cluster = Cluster::start(Shape::new(1, 1).gateway("--max-connection-age", "2s"))?;
    let started = Instant::now();
    let mut old = Client::connect(&cluster.url(0)).await?;
    let goodbye = old.receive().await?;
    assert_eq!((goodbye["reason"].as_str(), goodbye["reconnect"].as_bool()), (Some("age"), Some(true)));
    assert!(started.elapsed() > Duration::from_millis(900), "{:?}", started.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_is_closed_after_a_while() -> anyhow::Result<()> {
    let cluster =
        Cluster::start(Shape::new(1, 1).gateway("--outbox-timeout", "2s").gateway("--outbox-bytes", "64MiB"))?;
    let mut sender = Client::connect(&cluster.url(0)).await?;
    let mut deaf = Client::connect(&cluster.url(0)).await?;
    deaf.subscribe("message-sent").await?;
    for _ in 0..60 {
        assert!(sender.call(probe("p", "blast", json!([0, 200_000]), "r")).await?.is_ok());
        // What fits into the kernel's buffers counts as read.
        if cluster.gateways[0].metric("diffyne_gateway_slow_consumers_total")? > 0.0 {
            break;
        }
    }
    eventually("it is closed", || cluster.gateways[0].metric("diffyne_gateway_slow_consumers_total").unwrap() > 0.0)?;
    sender.barrier().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_short_of_memory_refuses_new_clients_and_closes_the_slowest() -> anyhow::Result<()> {
    // All that a gateway of this build needs by itself, and a little.
    let plain = Cluster::start(Shape::new(1, 1))?;
    let own = plain.gateways[0].process.resident_kib()? * 1024;
    let shape = Shape::new(1, 1).gateway("--outbox-bytes", "256MiB").gateway("--history-bytes", "1MiB");
    let cluster = Cluster::start(shape.gateway("--memory-max", &(own + (24 << 20)).to_string()))?;
    let mut sender = Client::connect(&cluster.url(0)).await?;
    let mut healthy = Client::connect(&cluster.url(0)).await?;
    healthy.subscribe("message-sent").await?;
    let mut deaf = Client::connect(&cluster.url(0)).await?;
    deaf.subscribe("message-sent").await?;
    let shed = || cluster.gateways[0].metric("diffyne_gateway_closes_total{code=\"1013\"}").unwrap();
    let mut sent = 0;
    while shed() == 0.0 && sent < 300 {
        assert!(sender.call(probe("p", "blast", json!([sent, 400_000]), "r")).await?.is_ok(), "calls go on");
        assert_eq!(healthy.receive().await?.event(), "diffyne.event", "and so do those who read");
        sent += 1;
    }
    assert!(shed() >= 1.0, "the one that does not read went: {sent} broadcasts");
    let log = cluster.gateways[0].process.output();
    assert!(log.contains("memory is short"), "{log}");
    assert!(cluster.gateways[0].metric("diffyne_gateway_memory_max_bytes")? > own as f64);
    healthy.barrier().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_find_and_close_connections_on_every_gateway() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(3, 1).with_redis().gateway("--admin-token", "let-me"))?;
    let bearer = [("Authorization", "Bearer let-me")];
    let get = |path: &str| -> anyhow::Result<(u16, Value)> {
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer let-me\r\n\r\n");
        let answer = http(cluster.gateways[0].admin, &head)?;
        Ok((answer.status, serde_json::from_str(&answer.body)?))
    };
    let from = [("X-Forwarded-For", "203.0.113.5")];
    let mut theirs = Vec::new();
    for gateway in 0..3 {
        theirs.push(Client::connect_with(&cluster.url(gateway), &from).await?);
    }
    let mut other = Client::connect(&cluster.url(2)).await?;
    theirs[1].subscribe("message-sent").await?;
    eventually("all are counted", || get("/api/presence").unwrap().1["connections"] == 4)?;
    let (status, found) = get("/api/connections?address=203.0.113.5")?;
    assert_eq!((status, found["connections"].as_array().unwrap().len(), &found["silent"]), (200, 3, &json!([])));
    let gateways: std::collections::HashSet<&str> =
        found["connections"].as_array().unwrap().iter().map(|found| found["gateway"].as_str().unwrap()).collect();
    assert_eq!(gateways.len(), 3);
    let (_, found) = get(&format!("/api/connections?client={}", theirs[1].id))?;
    assert_eq!(found["connections"][0]["events"], json!(["message-sent"]), "{found}");
    for (path, status) in
        [("/api/connections?limit=none", 422), ("/api/connections?address=nobody", 422), ("/api/nothing", 404)]
    {
        assert_eq!(get(path)?.0, status, "{path}");
    }
    assert_eq!(http_get(cluster.gateways[0].admin, "/api/presence")?.status, 401);
    assert_eq!(http_post(cluster.gateways[0].admin, "/api/disconnect", &[], "{}")?.status, 401);

    let one = json!({"client": theirs[0].id}).to_string();
    let answer = http_post(cluster.gateways[1].admin, "/api/disconnect", &bearer, &one)?;
    assert_eq!(serde_json::from_str::<Value>(&answer.body)?["disconnected"], 1, "{answer:?}");
    let goodbye = theirs[0].receive().await?;
    assert_eq!((goodbye.event(), &goodbye["reconnect"]), ("diffyne.disconnect", &json!(false)));
    assert_eq!(theirs[0].closed().await?, 1008);
    let answer = http_post(cluster.gateways[1].admin, "/api/disconnect", &bearer, r#"{"address":"203.0.113.5"}"#)?;
    assert_eq!(serde_json::from_str::<Value>(&answer.body)?["disconnected"], 2, "{answer:?}");
    assert_eq!(theirs[2].closed().await?, 1008);
    other.barrier().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_disconnects_clients_at_the_configured_rate_while_they_keep_working() -> anyhow::Result<()> {
    let mut cluster =
        Cluster::start(Shape::new(1, 1).gateway("--drain-rate", "10").gateway("--admin-token", "let-me"))?;
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(Client::connect(&cluster.url(0)).await?);
    }
    let admin = format!("127.0.0.1:{}", cluster.gateways[0].admin);
    let started = Instant::now();
    let drain = tokio::task::spawn_blocking(move || {
        let flags = ["drain", "--admin-listen", &admin, "--admin-token", "let-me"];
        std::process::Command::new(program("diffyne-gateway").unwrap()).args(flags).output()
    });
    let mut tasks = Vec::new();
    for mut client in clients {
        tasks.push(tokio::spawn(async move {
            let goodbye = client.receive().await?;
            assert_eq!(goodbye.event(), "diffyne.disconnect");
            let told = goodbye["retryAfter"].as_u64().unwrap();
            // Whoever has time left can use it.
            let mut answered = false;
            if told > 1000 {
                answered = client.call(increment("c", 1, "r")).await?.is_ok();
            }
            assert_eq!(client.closed().await?, 1001);
            anyhow::Ok((told, started.elapsed(), answered))
        }));
    }
    let mut left = Vec::new();
    for task in tasks {
        left.push(task.await??);
    }
    left.sort_by_key(|(told, ..)| *told);
    assert!(left.iter().filter(|(_, _, answered)| *answered).count() >= 20);
    for (told, at, _) in &left {
        let early = *told as i64 - at.as_millis() as i64;
        assert!(early < 50, "told {told} ms, closed at {at:?}");
    }
    // So many a second, and no more.
    for window in left.windows(12) {
        let span = window[11].0 - window[0].0;
        assert!(span > 700, "12 are told to leave within {span} ms");
    }
    let output = drain.await??;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("40 connections are left") && text.contains("done"), "{output:?}");
    assert!(cluster.gateways[0].process.wait()?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refused_request_is_logged_with_its_reason_and_what_would_have_been_allowed() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1)
        .gateway("--ws-cors-origins", "https://shop.test,https://*.pages.test")
        .gateway("--ws-key", "right")
        .gateway("--ws-path", "/socket");
    let cluster = Cluster::start(shape)?;
    let gateway = &cluster.gateways[0];
    let lines = || -> Vec<String> {
        let log = gateway.process.output();
        log.lines().filter(|line| line.contains("refused a ")).map(str::to_owned).collect()
    };
    let from = ("X-Forwarded-For", "203.0.113.9");
    let own = ("Origin", "https://shop.test");
    let evil = ("Origin", "https://evil.test");
    let version = ("Sec-WebSocket-Version", "7");
    for (path, headers, status, words) in [
        (
            "/?key=right",
            &[from, evil][..],
            403,
            "origin=https://evil.test allowed=\"https://shop.test, https://*.pages.test\"",
        ),
        ("/?key=stolen", &[from, own], 401, "given=\"another key\""),
        ("/elsewhere?key=right", &[from, own], 404, "path=/elsewhere allowed=\"/, /socket\""),
        ("/?key=right", &[from, own, version], 426, "version=7"),
    ] {
        let before = lines().len();
        assert_eq!(http(gateway.port, &handshake(path, headers))?.status, status, "{path}");
        eventually("the line is there", || lines().len() > before)?;
        let line = lines().pop().unwrap();
        assert!(line.contains(words) && line.contains("address=203.0.113.9"), "{line}");
        assert!(!line.contains("stolen") && !line.contains("right"), "a key is no business of a log: {line}");
    }
    // Many of one kind are one line a second, and hide no other kind.
    let before = lines().len();
    let started = Instant::now();
    for _ in 0..200 {
        assert_eq!(http(gateway.port, &handshake("/?key=right", &[evil]))?.status, 403);
    }
    let most = started.elapsed().as_secs() as usize + 2;
    assert!(lines().len() - before <= most, "{} lines in {:?}", lines().len() - before, started.elapsed());
    Ok(())
}
