//! A client that makes a gateway hold memory, sockets or requests gets its share and no more.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use diffyne_tests::attack::{address_of, connect_attacker, connect_from, receive_message};
use diffyne_tests::client::{Client, increment, probe};
use diffyne_tests::cluster::{Cluster, Node, Shape};
use diffyne_tests::http::{handshake, http_get, http_post};
use diffyne_tests::load::client_frame;
use diffyne_tests::process::{PATIENCE, eventually};
use diffyne_tests::task::stop_task;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_large_filters_of_one_client_took_no_more_than_its_share() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).gateway("--connection-bytes", "4MiB");
    let cluster = Cluster::start(shape)?;
    let node = &cluster.gateways[0];
    let before = node.process.resident_kib()?;
    let mut attacker = connect_attacker(node).await?;
    let mut refused = 0;
    for name in 0..100 {
        for part in 0..2 {
            let filters: Vec<Value> = (0..50)
                .map(|i| json!({"name": format!("e{name}"), "match": {"a": vec![i + part * 50; 400]}}))
                .collect();
            let message = json!({"event": "diffyne.subscribe", "data": {"events": filters}}).to_string();
            attacker.send(&client_frame(&message)).await?;
            refused += usize::from(receive_message(&mut attacker).await?.event() == "diffyne.error");
        }
    }
    let grown = node.process.resident_kib()? - before;
    println!("{refused} of 200 messages refused, resident {grown} KiB more");
    ensure!(refused > 100 && grown < 24 * 1024, "{refused} refused, {grown} KiB");
    // What it has still works, and what it gives back can be used again.
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_calls_count_towards_the_memory_of_their_connection() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).worker("--worker-concurrency", "1").gateway("--outbox-bytes", "1MiB");
    let cluster = Cluster::start(shape.gateway("--connection-bytes", "3MiB"))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    for n in 0..6 {
        let mut call = probe("p", "slow", json!([format!("t{n}"), 200]), &format!("r{n}"));
        call["state"]["ballast"] = json!("x".repeat(900_000));
        client.send("diffyne.call", call).await?;
    }
    // They are more than it may hold: it is read from as room comes.
    for _ in 0..6 {
        let answer = client.receive().await?;
        ensure!(answer.is_ok(), "{answer}");
    }
    for n in 0..60 {
        let mut call = probe("p", "slow", json!([format!("u{n}"), 50]), &format!("s{n}"));
        call["state"]["ballast"] = json!("x".repeat(60_000));
        client.send("diffyne.call", call).await?;
    }
    let mut refused = 0;
    for _ in 0..60 {
        let answer = client.receive().await?;
        refused += usize::from(answer.error_type() == "overloaded");
    }
    println!("{refused} of 60 refused");
    ensure!((1..55).contains(&refused), "{refused} of 60 refused");
    ensure!(client.call(increment("diffyne-a", 1, "again")).await?.is_ok(), "what was held is given back");
    Ok(())
}

fn says_memory(node: &Node) -> bool {
    node.health().is_ok_and(|health| health["reasons"].to_string().contains("memory: above DIFFYNE_MEMORY_MAX"))
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_messages_are_shed_when_memory_is_short_and_new_clients_come_in() -> anyhow::Result<()> {
    /// A megabyte that the gateway does not read is not sent to its end.
    const WRITE_TIME: Duration = Duration::from_secs(2);
    let shape = Shape::new(1, 1).gateway("--memory-max", "200MiB").gateway("--handshake-rate", "off");
    let cluster = Cluster::start(shape)?;
    let node = &cluster.gateways[0];
    let begin = {
        let mut bytes = vec![0x81, 0x80 | 127];
        bytes.extend(1_048_000_u64.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(vec![b' '; 1_000_000]);
        bytes
    };
    let mut streams = Vec::new();
    let (mut told, mut sent) = (false, 0);
    for n in 0..600_u32 {
        // A gateway that is short of memory refuses, and ends those that are writing.
        let Ok(mut stream) = connect_from([127, 0, 1, (n % 200) as u8 + 1], node).await else { continue };
        if stream.write_all(handshake("/", &[]).as_bytes()).await.is_ok() {
            let written = tokio::time::timeout(WRITE_TIME, stream.write_all(&begin)).await;
            sent += usize::from(matches!(written, Ok(Ok(()))));
        }
        streams.push(stream);
        told |= says_memory(node);
    }
    println!("{sent} of 600 beginnings were sent");
    // More than fits below the limit.
    ensure!(sent > 100, "only {sent} beginnings of a message were sent");
    // What was sent may still lie in socket buffers.
    eventually("/health says that memory is short", || told || says_memory(node))?;
    eventually("the largest are ended", || node.metric("diffyne_gateway_shed_total").is_ok_and(|shed| shed > 0.0))?;
    // While messages still come in, memory may be short once more: clients try again, as they are told.
    let deadline = Instant::now() + PATIENCE;
    let mut client = loop {
        match Client::connect(&cluster.url(0)).await {
            Ok(client) => break client,
            Err(error) if Instant::now() > deadline => return Err(error.context("no new client comes in")),
            Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    };
    ensure!(client.call(increment("diffyne-a", 1, "r")).await?.is_ok());
    eventually("the gateway uses no more than its limit", || {
        node.process.resident_kib().is_ok_and(|resident| resident < 215 * 1024)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_message_closes_its_connection() -> anyhow::Result<()> {
    /// The time a message may take.
    const MESSAGE_TIMEOUT: Duration = Duration::from_secs(2);
    let timeout = format!("{}s", MESSAGE_TIMEOUT.as_secs());
    let cluster = Cluster::start(Shape::new(1, 1).gateway("--message-timeout", &timeout))?;
    let node = &cluster.gateways[0];
    // Half a head, half a payload, fragments without an end.
    let beginnings: [&[u8]; 3] = [&[0x81], &[0x81, 0x85, 0, 0, 0, 0, b'x'], &[0x01, 0x81, 0, 0, 0, 0, b'x']];
    for beginning in beginnings {
        let mut stream = TcpStream::connect(address_of(node)).await?;
        stream.write_all(handshake("/", &[]).as_bytes()).await?;
        stream.write_all(beginning).await?;
        let mut all = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await.context("it stayed")??;
        ensure!(String::from_utf8_lossy(&all).contains("did not arrive in time"), "{beginning:?}");
    }
    // Whoever sends whole messages stays for longer than that, with pauses between them.
    let mut client = Client::connect(&cluster.url(0)).await?;
    for _ in 0..6 {
        tokio::time::sleep(MESSAGE_TIMEOUT / 3).await;
        client.barrier().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_sockets_locked_nobody_out() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).gateway("--header-timeout", "2m"))?;
    let node = &cluster.gateways[0];
    let mut silent = Vec::new();
    // One address alone has its limit.
    for _ in 0..700 {
        silent.push(connect_from([127, 0, 2, 1], node).await?);
    }
    eventually("the address is told apart", || {
        node.metric(r#"diffyne_gateway_handshakes_total{result="address"}"#).is_ok_and(|refused| refused >= 188.0)
    })?;
    // Many together fill the house: the oldest silent ones make room.
    for n in 0..8400_u32 {
        silent.push(connect_from([127, 0, 3, (n % 40) as u8 + 1], node).await?);
    }
    // Long before their time for a request is over.
    let started = Instant::now();
    let mut client = Client::connect(&cluster.url(0)).await?;
    ensure!(client.call(increment("diffyne-a", 1, "r")).await?.is_ok());
    ensure!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    eventually("the oldest silent ones made room", || {
        node.metric(r#"diffyne_gateway_handshakes_total{result="evicted"}"#).is_ok_and(|evicted| evicted > 0.0)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_ajax_bodies_of_one_address_refuse_nobody_else() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).gateway("--header-timeout", "2m").gateway("--max-http-connections-per-address", "0");
    let cluster = Cluster::start(shape)?;
    let node = &cluster.gateways[0];
    let mut held = Vec::new();
    for _ in 0..1024 {
        let mut stream = connect_from([127, 0, 4, 1], node).await?;
        let head = "POST /_diffyne/update HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{";
        stream.write_all(head.as_bytes()).await?;
        held.push(stream);
    }
    eventually("the address is refused more", || {
        node.metric(r#"diffyne_gateway_http_calls_total{result="address"}"#).is_ok_and(|refused| refused >= 768.0)
    })?;
    let mut refused = held.pop().context("one")?;
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(PATIENCE, refused.read(&mut answer)).await??;
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    ensure!(answer.starts_with("HTTP/1.1 429") && answer.contains("rate_limited"), "{answer}");
    let body = increment("diffyne-a", 1, "r").to_string();
    let other = http_post(node.port, "/_diffyne/update", &[], &body)?;
    ensure!(other.status == 200, "{other:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_its_ajax_answer_is_ended() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).gateway("--outbox-timeout", "3s").gateway("--max-requests", "1");
    let cluster = Cluster::start(shape)?;
    let node = &cluster.gateways[0];
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    let mut deaf = socket.connect(address_of(node)).await?;
    let body = probe("p", "blast", json!([1, 1_900_000]), "r").to_string();
    let head = format!("POST /_diffyne/update HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    // Enough answers that no socket buffer holds them; none is read.
    let many = format!("{head}{body}").repeat(8);
    let writing = tokio::spawn(async move {
        // The gateway ends the connection; until then the socket is open.
        let written = deaf.write_all(many.as_bytes()).await;
        std::future::pending::<()>().await;
        anyhow::Ok((deaf, written))
    });
    // Before others ask for the place, so that the client has it.
    eventually("its first call is accepted", || {
        node.metric(r#"diffyne_gateway_http_calls_total{result="accepted"}"#).is_ok_and(|accepted| accepted > 0.5)
    })?;
    let call = increment("diffyne-a", 1, "r").to_string();
    // Its place is taken while its answer is not read, and given back when it is ended.
    eventually("the only place is taken", || {
        http_post(node.port, "/_diffyne/update", &[], &call).is_ok_and(|answer| answer.status == 503)
    })?;
    eventually("it is given back", || {
        http_post(node.port, "/_diffyne/update", &[], &call).is_ok_and(|answer| answer.status == 200)
    })?;
    ensure!(http_get(node.port, "/health")?.status == 200);
    stop_task(writing).await
}
