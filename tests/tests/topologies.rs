//! Redis behind Sentinels, as a Cluster and over TLS; workers on other hosts over TLS.

use std::time::Duration;

use diffyne_tests::client::{Client, increment, probe};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::process::eventually;
use diffyne_tests::redis::{Certificates, RedisCluster, Sentinels, with_tls};
use diffyne_tests::visitor::Visitor;
use serde_json::json;

/// A cluster whose gateways and workers find each other in this Redis.
fn over(url: &str, shape: Shape) -> Shape {
    let shape = shape.gateway("--redis-url", url).worker("--redis-url", url);
    Shape { redis: false, ..shape }
}

async fn announce(sender: &mut Client, n: i64) -> anyhow::Result<()> {
    let answer = sender.call(probe("p", "announce", json!([n]), "r")).await?;
    anyhow::ensure!(answer.is_ok(), "{answer}");
    Ok(())
}

fn wait_until_connected(cluster: &Cluster, workers: usize) -> anyhow::Result<()> {
    for gateway in &cluster.gateways {
        eventually("the gateway has Redis and its workers", || {
            gateway.health().is_ok_and(|health| health["redis"] == "up" && health["workers"] == workers)
        })?;
    }
    Ok(())
}

async fn check_that_broadcasts_cross(cluster: &Cluster) -> anyhow::Result<()> {
    let mut sender = Client::connect(&cluster.url(0)).await?;
    let mut other = Client::connect(&cluster.url(1)).await?;
    other.subscribe("message-sent").await?;
    for n in 0..20 {
        announce(&mut sender, n).await?;
    }
    for n in 0..20 {
        assert_eq!(other.receive().await?.number(), Some(n));
    }
    Ok(())
}

async fn check_that_rooms_cross(cluster: &Cluster) -> anyhow::Result<()> {
    let room = json!({"name": "message-sent", "match": {"room_id": 1}, "componentClass": "App\\Diffyne\\ChatRoom"});
    let mut pages = [Visitor::connect(&cluster.url(0), "").await?, Visitor::connect(&cluster.url(1), "").await?];
    for page in &mut pages {
        page.ask(json!([room])).await?;
    }
    for page in &mut pages {
        page.wait_until("each sees both", |page| page.members.values().any(|here| here.len() == 2)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_cluster_carries_broadcasts_registry_status_ingress_and_rooms() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let redis = RedisCluster::start(directory.path())?;
    assert_eq!(redis.count(), 3);
    let shape =
        over(&redis.url(), Shape::new(2, 1)).gateway("--workers", "127.0.0.1:1").gateway("--status-key", "app:status");
    let cluster = Cluster::start_unready(shape)?;
    wait_until_connected(&cluster, 1)?;
    check_that_broadcasts_cross(&cluster).await?;
    let mut listener = Client::connect(&cluster.url(1)).await?;
    listener.subscribe("message-sent").await?;
    let port = redis.url().rsplit(':').next().unwrap().to_owned();
    let cli =
        |arguments: &[&str]| std::process::Command::new("redis-cli").args(["-c", "-p", &port]).args(arguments).output();
    cli(&["rpush", "{diffyne}:ingress", r#"{"name":"message-sent","params":[{"n":99}]}"#])?;
    assert_eq!(listener.receive().await?.number(), Some(99));
    let status = || String::from_utf8_lossy(&cli(&["get", "app:status"]).unwrap().stdout).trim().to_owned();
    eventually("Laravel's key is in its own slot", || status() == r#"s:9:"connected";"#)?;
    check_that_rooms_cross(&cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_over_tls_requires_the_right_authority_user_and_password() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let certificates = Certificates::make(directory.path())?;
    let (_redis, port) = with_tls(directory.path(), &certificates)?;
    let authority = certificates.authority.display().to_string();
    let url = format!("rediss://diffyne:s3cret@127.0.0.1:{port}");
    let shape = over(&url, Shape::new(2, 1)).gateway("--workers", "127.0.0.1:1");
    let cluster = Cluster::start_unready(shape.gateway("--redis-ca", &authority).worker("--redis-ca", &authority))?;
    wait_until_connected(&cluster, 1)?;
    check_that_broadcasts_cross(&cluster).await?;
    let wrong = [(url.clone(), None), (url.replace("s3cret", "guess"), Some(&authority))];
    for (url, authority) in wrong {
        let mut shape = over(&url, Shape::new(1, 0));
        if let Some(authority) = authority {
            shape = shape.gateway("--redis-ca", authority);
        }
        let cluster = Cluster::start_unready(shape)?;
        eventually("it says that Redis does not answer", || {
            cluster.gateways[0].health().is_ok_and(|health| health["redis"] == "down" && health["status"] == "degraded")
        })?;
        let log = || cluster.gateways[0].process.output();
        eventually("it says so in its log", || log().contains("no subscription to Redis"))?;
        assert!(!log().contains("guess"), "{}", log());
    }
    Ok(())
}

/// Pacing: the broadcasts go on for as long as the failover takes.
const PAUSE: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_of_sentinels_while_broadcasting_loses_nothing_that_the_replica_had() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut redis = Sentinels::start(directory.path())?;
    assert_eq!(redis.count(), 3);
    let shape = over(&redis.url(), Shape::new(2, 1)).gateway("--workers", "127.0.0.1:1");
    let cluster = Cluster::start_unready(shape)?;
    wait_until_connected(&cluster, 1)?;
    let mut sender = Client::connect(&cluster.url(0)).await?;
    let mut other = Client::connect(&cluster.url(1)).await?;
    other.subscribe("message-sent").await?;
    let total = 300;
    let sending = tokio::spawn(async move {
        for n in 0..total {
            announce(&mut sender, n).await?;
            tokio::time::sleep(PAUSE).await;
        }
        anyhow::Ok(())
    });
    let (mut heard, mut gaps) = (Vec::new(), 0);
    while heard.len() < 40 {
        heard.push(other.receive_event("diffyne.event").await?.number());
    }
    // It lives on until the end of the test.
    let redis = tokio::task::spawn_blocking(move || redis.fail_over().map(|()| redis)).await??;
    redis.primary()?;
    while heard.last() != Some(&Some(total - 1)) {
        let message = other.receive().await?;
        match message.event() {
            "diffyne.event" => heard.push(message.number()),
            "diffyne.gap" => gaps += 1,
            _ => {}
        }
    }
    sending.await??;
    let distinct: std::collections::BTreeSet<Option<i64>> = heard.iter().copied().collect();
    println!(
        "sent {total}, delivered {}, doubled {}, told of a gap {gaps}",
        distinct.len(),
        heard.len() - distinct.len()
    );
    assert_eq!(heard.len(), distinct.len(), "none twice");
    assert!(distinct.len() as i64 == total || gaps > 0, "what is missing was told: {} of {total}", distinct.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_on_other_hosts_require_tls_and_the_token() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let certificates = Certificates::make(directory.path())?;
    let path = |path: &std::path::Path| path.display().to_string();
    let (certificate, key) = (path(&certificates.certificate), path(&certificates.key));
    let tls = |shape: Shape| {
        shape.worker("--worker-tls-cert", &certificate).worker("--worker-tls-key", &key).worker("--worker-token", "t")
    };
    let shape =
        tls(Shape::new(1, 1)).gateway("--worker-tls-ca", &path(&certificates.authority)).gateway("--worker-token", "t");
    let cluster = Cluster::start(shape)?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    for n in 0..50 {
        assert_eq!(client.call(increment("c", n, "r")).await?.state()["count"], n + 1);
    }
    // In the clear, and with another authority, nobody gets through.
    let other = tempfile::tempdir()?;
    let others = Certificates::make(other.path())?;
    for authority in [None, Some(path(&others.authority))] {
        let mut shape = tls(Shape::new(1, 1)).gateway("--worker-token", "t");
        if let Some(authority) = &authority {
            shape = shape.gateway("--worker-tls-ca", authority);
        }
        let cluster = Cluster::start_unready(shape)?;
        let worker = || cluster.workers[0].process.output();
        eventually("the worker turns it away", || worker().contains("no TLS (DIFFYNE_WORKER_TLS_CA"))?;
        assert_eq!(cluster.gateways[0].health()?["workers"], 0);
    }
    // What is announced is an address that others can reach.
    let program = diffyne_tests::process::program("test-worker")?;
    let flags = [
        "serve",
        "--worker-listen",
        "0.0.0.0:0",
        "--worker-token",
        "t",
        "--signing-key",
        "k",
        "--redis-url",
        "redis://127.0.0.1:1",
    ];
    let refused = std::process::Command::new(program).args(flags).output()?;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("DIFFYNE_WORKER_ADVERTISE is not set"), "{refused:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tls_site_serves_pages_sockets_and_calls_by_gateways_on_unix_sockets() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let certificates = Certificates::make(directory.path())?;
    // Two gateways on sockets, one file of the three that does not exist; and something that serves pages.
    let mut cluster = Cluster::start_unready(Shape::new(0, 1))?;
    let worker = format!("127.0.0.1:{}", cluster.workers[0].port);
    let mut gateways = Vec::new();
    for port in [6001, 6002] {
        let socket = directory.path().join(format!("{port}.sock"));
        let [admin] = diffyne_tests::ports::free_ports()?;
        let program = diffyne_tests::process::program("diffyne-gateway")?;
        gateways.push(diffyne_tests::process::Process::start(
            &format!("gateway-{port}"),
            directory.path(),
            &program,
            |command| {
                command.args(["serve", "--listen", &format!("unix:{}", socket.display()), "--workers", &worker]);
                command.args(["--admin-listen", &format!("127.0.0.1:{admin}")]);
            },
        )?);
        eventually("it listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok())?;
    }
    let [port, pages] = diffyne_tests::ports::free_ports()?;
    let folder = directory.path().display().to_string();
    let site = std::fs::read_to_string(diffyne_tests::process::project().join("nginx/tls.conf"))?
        .replace("listen 443 ssl", &format!("listen 127.0.0.1:{port} ssl"))
        .replace("your.host", "localhost")
        .replace("/etc/ssl/diffyne/fullchain.pem", &certificates.certificate.display().to_string())
        .replace("/etc/ssl/diffyne/privkey.pem", &certificates.key.display().to_string())
        .replace("/run/diffyne/", &format!("{folder}/"))
        .replace("127.0.0.1:8000", &format!("127.0.0.1:{pages}"));
    let site = format!("{site}\nserver {{ listen 127.0.0.1:{pages}; location / {{ return 200 'a page'; }} }}\n");
    cluster.nginx = Some(cluster.run_nginx(&site, port)?);
    let authority = certificates.authority.display().to_string();
    let curl = |path: &str, more: &[&str]| -> anyhow::Result<String> {
        let url = format!("https://localhost:{port}{path}");
        let mut arguments = vec!["-s", "-i", "--http1.1", "--max-time", "3", "--cacert", &authority, &url];
        arguments.extend(more);
        Ok(String::from_utf8_lossy(&std::process::Command::new("curl").args(arguments).output()?.stdout).into_owned())
    };
    let upgrade = [
        "-H",
        "Connection: Upgrade",
        "-H",
        "Upgrade: websocket",
        "-H",
        "Sec-WebSocket-Version: 13",
        "-H",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    for path in ["/diffyne", "/", "/?key=x"] {
        let answer = curl(path, &upgrade)?;
        assert!(answer.starts_with("HTTP/1.1 101") && answer.contains("diffyne.connected"), "{path}: {answer}");
    }
    for path in ["/", "/orders"] {
        assert!(curl(path, &[])?.ends_with("a page"), "{path}");
    }
    eventually("a call comes through", || {
        let data = increment("c", 1, "r").to_string();
        curl("/_diffyne/update", &["-H", "Content-Type: application/json", "-d", &data])
            .is_ok_and(|answer| answer.contains("\"count\":2"))
    })?;
    assert!(curl("/_diffyne/companion.js", &[])?.contains("200 OK"));
    Ok(())
}
