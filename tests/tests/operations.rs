//! What an operator does: start, look, configure, scrape, stop.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use diffyne_shared::signing::{Signer, SigningKey, VerifyState};
use diffyne_tests::client::{Client, chat, increment, probe};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::http::{handshake, http, http_get};
use diffyne_tests::ports::free_ports;
use diffyne_tests::process::{PATIENCE, Process, Signal, eventually, program, project, wait_for_port};
use diffyne_tests::prometheus::Prometheus;
use diffyne_tests::redis::Certificates;
use diffyne_tests::task::stop_task;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn dev_runs_everything_in_one_process_and_two_clients_chat_through_it() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let [port] = free_ports()?;
    let mut dev = Process::start("dev", directory.path(), &program("diffyne-dev")?, |command| {
        command.args(["--ws-port", &port.to_string()]);
        command.arg("--database").arg(directory.path().join("d.sqlite"));
    })?;
    wait_for_port(port)?;
    eventually("it says what to try", || dev.output().contains("open it in two tabs and chat"))?;
    let page = http_get(port, "/")?;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("diff:class=\"App\\Diffyne\\ChatRoom\"") && page.body.contains("/_diffyne/client.js"));
    let script = http_get(port, "/_diffyne/client.js")?;
    assert!(script.status == 200 && script.head.contains("text/javascript"));
    let etag = script.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    let again =
        format!("GET /_diffyne/client.js HTTP/1.1\r\nHost: x\r\nIf-None-Match: {etag}\r\nConnection: close\r\n\r\n");
    assert_eq!(http(port, &again)?.status, 304);

    let url = format!("ws://127.0.0.1:{port}/");
    eventually("the worker in the process is there", || {
        http_get(port, "/health").is_ok_and(|health| health.body.contains(r#""workers":1"#))
    })?;
    let (mut ada, mut bob) = (Client::connect(&url).await?, Client::connect(&url).await?);
    bob.subscribe("message-sent").await?;
    let answer = ada.call(chat("hello <Bob> & all", "1")).await?;
    assert_eq!(answer.state()["messages"][0]["content"], "hello <Bob> & all", "{answer}");
    let push = bob.receive().await?;
    let heard = json!({"roomId": 1, "messages": [], "newMessage": ""});
    let params = push.params().clone();
    let data =
        diffyne_tests::client::call("App\\Diffyne\\ChatRoom", "diffyne-b", "handleNewMessage", params, heard, "2");
    let patches = bob.call(data).await?.patches().clone();
    let mut made = patches.as_array().unwrap().iter().map(|patch| &patch["d"]["node"]["c"][0]["x"]);
    assert!(made.any(|text| text == "hello <Bob> & all"), "{patches}");
    assert!(http_get(port, "/")?.body.contains("hello &lt;Bob&gt; &amp; all"));

    let errors = ada.call(chat("", "3")).await?["errors"].clone();
    assert_eq!(errors, json!({"newMessage": ["The new message field is required."]}));
    let errors = ada.call(chat(&"x".repeat(501), "4")).await?["errors"].clone();
    assert_eq!(errors, json!({"newMessage": ["The new message field must not be greater than 500 characters."]}));

    dev.signal(Signal::Term)?;
    assert_eq!(ada.closed().await?, 1001);
    assert!(dev.wait()?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_200_refused_handshakes_through_nginx_the_next_one_succeeds() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(3, 1).with_redis().with_nginx().gateway("--max-connections", "2"))?;
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(Client::connect(&cluster.nginx_url()).await?);
    }
    for _ in 0..200 {
        let refused = http(cluster.nginx_port, &handshake("/", &[]))?;
        assert_eq!((refused.status, refused.body.as_str()), (503, "Too many connections"));
    }
    let direct = http(cluster.gateways[0].port, &handshake("/", &[]))?;
    let seconds: u32 = direct.header("retry-after")[0].parse()?;
    assert!((1..=30).contains(&seconds), "{}", direct.head);
    // One place, on one gateway: nginx has to find it.
    drop(held.pop());
    let mut next = None;
    eventually("the next one is let in", || {
        let client = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(Client::connect(&cluster.nginx_url()))
        });
        next = client.ok();
        next.is_some()
    })?;
    let mut client = next.unwrap();
    client.check_increment(1).await?;
    let refused: f64 = cluster
        .gateways
        .iter()
        .map(|gateway| gateway.metric(r#"diffyne_gateway_handshakes_total{result="full"}"#).unwrap())
        .sum();
    assert!(refused >= 600.0, "nginx asked all three each time: {refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documentations_own_nginx_block_works_and_cookies_pass_with_app_url() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).gateway("--app-url", "http://shop.test"))?;
    let [port] = free_ports()?;
    let gateway = cluster.gateways[0].port;
    let site = format!(
        "upstream diffyne_websocket {{ server 127.0.0.1:{gateway}; }}\nserver {{\n  listen 127.0.0.1:{port};\n\
         location /diffyne {{\n    proxy_pass http://diffyne_websocket;\n    proxy_http_version 1.1;\n\
         proxy_set_header Upgrade $http_upgrade;\n    proxy_set_header Connection \"upgrade\";\n  }}\n}}\n"
    );
    let _nginx = cluster.run_nginx(&site, port)?;
    let url = format!("ws://127.0.0.1:{port}/diffyne");
    let own = [("Origin", "http://shop.test"), ("Cookie", "a=b")];
    let mut client = Client::connect_with(&url, &own).await?;
    client.check_increment(1).await?;
    let guests = || cluster.gateways[0].metric("diffyne_gateway_guest_handshakes_total");
    assert!(guests()? < 0.5);
    Client::connect_with(&url, &[("Origin", "http://evil.test"), ("Cookie", "a=b")]).await?;
    assert!((guests()? - 1.0).abs() < 0.5);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_gateway_finishes_its_calls_closes_1001_and_is_not_ready_meanwhile() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Shape::new(1, 1))?;
    assert_eq!(cluster.gateways[0].ready()?, 200);
    let mut idle = Client::connect(&cluster.url(0)).await?;
    let mut busy = Client::connect(&cluster.url(0)).await?;
    busy.send("diffyne.call", probe("diffyne-p", "hold", json!(["all", "x"]), "slow")).await?;
    cluster.wait_until_begun("x")?;
    cluster.gateways[0].process.signal(Signal::Term)?;
    assert_eq!(idle.closed().await?, 1001, "idle connections do not wait for others' calls");
    assert_eq!(cluster.gateways[0].ready()?, 503);
    assert!(http_get(cluster.gateways[0].port, "/health").is_err(), "no new connections");
    let goodbye = busy.receive().await?;
    assert!(goodbye.event() == "diffyne.disconnect" && goodbye["reconnect"] == true, "{goodbye}");
    // All this while the call runs.
    cluster.release("all")?;
    let answer = busy.receive().await?;
    assert_eq!((answer.is_ok(), answer.request_id()), (true, &json!("slow")));
    assert_eq!(busy.closed().await?, 1001);
    assert!(cluster.gateways[0].process.wait()?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_gateway_takes_what_its_accept_queue_holds() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Shape::new(1, 1))?;
    let gateway = &mut cluster.gateways[0];
    // Frozen, it accepts nothing: the kernel holds these connections, their handshakes sent.
    gateway.process.signal(Signal::Stop)?;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", gateway.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        std::io::Write::write_all(&mut stream, handshake("/", &[]).as_bytes())?;
        waiting.push(stream);
    }
    gateway.process.signal(Signal::Term)?;
    gateway.process.signal(Signal::Cont)?;
    for stream in &mut waiting {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(stream, &mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with("HTTP/1.1 101") && text.contains("diffyne.connected"), "{text}");
        // A close frame with 1001.
        assert!(bytes.windows(4).any(|window| window[0] == 0x88 && window[2..] == [0x03, 0xe9]), "{text}");
    }
    drop(waiting);
    assert!(gateway.process.wait()?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_consumer_is_closed_and_others_are_not_held_up() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).gateway("--outbox-bytes", "64KiB"))?;
    let mut stuck = Client::connect(&cluster.url(0)).await?;
    let mut fine = Client::connect(&cluster.url(0)).await?;
    // Answers of a megabyte that nobody reads: more than the kernel takes for a connection.
    let ping =
        json!({"event": "diffyne.subscribe", "data": {"events": [{"name": "x", "match": {"a": "x".repeat(60_000)}}]}});
    for _ in 0..400 {
        if stuck.send_text(&ping.to_string()).await.is_err() {
            break;
        }
    }
    eventually("the slow one is closed and counted", || {
        cluster.gateways[0].metric("diffyne_gateway_slow_consumers_total").is_ok_and(|closed| closed > 0.5)
    })?;
    assert!(fine.call(increment("diffyne-a", 1, "r")).await?.is_ok());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_peers_are_found_by_pings() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).gateway("--ping-interval", "2s"))?;
    // This one reads nothing after its handshake, so it answers no ping.
    let dead =
        diffyne_tests::load::Socket::connect(SocketAddr::from(([127, 0, 0, 1], cluster.gateways[0].port)), "").await?;
    let mut alive = Client::connect(&cluster.url(0)).await?;
    // Whoever reads answers pings.
    let reading = tokio::spawn(async move { alive.receive_text_forever().await });
    eventually("the dead one is dropped", || {
        cluster.gateways[0].metric("diffyne_gateway_dead_peers_total").is_ok_and(|dropped| dropped > 0.5)
    })?;
    assert!(!reading.is_finished(), "nothing came, and the connection is open");
    stop_task(reading).await?;
    drop(dead);
    assert!(cluster.gateways[0].metric("diffyne_gateway_dead_peers_total")? < 1.5);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_scrapes_three_gateways_and_the_rules_pass() -> anyhow::Result<()> {
    let rules = project().join("deploy/prometheus");
    let tested = Command::new("promtool").args(["test", "rules", "alerts_test.yml"]).current_dir(&rules).output()?;
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stdout));

    let cluster = Cluster::start(Shape::new(3, 2).with_redis())?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    for count in 0..3 {
        client.call(increment("diffyne-a", count, "r")).await?;
    }
    client.call(diffyne_tests::client::call("Made\\Up", "d", "m", json!([]), json!({}), "r")).await?;

    let prometheus = Prometheus::start(&cluster)?;
    eventually("all five targets are up", || prometheus.value("sum(up)") == Some(5.0))?;
    let counter = r#"sum(diffyne_gateway_calls_total{component="App\\Diffyne\\Counter",outcome="ok"})"#;
    eventually("the calls are counted by component", || prometheus.value(counter) == Some(3.0))?;
    for metric in ["diffyne_gateway_connections", "diffyne_worker_calls_total", "process_resident_memory_bytes"] {
        assert!(prometheus.value(&format!("sum({metric})")).is_some_and(|value| value > 0.0), "{metric}");
    }
    // What nobody has recognised is no label.
    assert!(!cluster.gateways[0].metrics()?.contains("Made"));
    drop(prometheus);
    let lint = Command::new("bash")
        .args(["-c", &format!("curl -s 127.0.0.1:{}/metrics | promtool check metrics", cluster.gateways[0].admin)])
        .output()?;
    assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stderr));
    Ok(())
}

fn run(program_name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<(bool, String)> {
    let mut command = Command::new(program(program_name)?);
    command.args(arguments).envs(environment.iter().copied());
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Ok((output.status.success(), text.into_owned()))
}

#[test]
fn settings_show_their_origin_hide_secrets_and_prevent_the_start_when_invalid() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (toml, env) = (directory.path().join("d.toml"), directory.path().join("app.env"));
    std::fs::write(&toml, "max_connections = 11\nws_port = 6101\ncall_timeout = \"9s\"\nverify_state = \"strict\"\n")?;
    std::fs::write(
        &env,
        "APP_NAME=\"My App\"\nDIFFYNE_WS_PORT=6102\nDIFFYNE_WS_KEY=hush-hush\nDIFFYNE_CALL_TIMEOUT=8s\n",
    )?;
    let (toml, env) = (toml.display().to_string(), env.display().to_string());
    let files = ["check-config", "--config", &toml, "--env-file", &env];
    let (fine, text) =
        run("diffyne-gateway", &[&files[..], &["--call-timeout", "7s"]].concat(), &[("DIFFYNE_WS_PORT", "6103")])?;
    assert!(fine, "{text}");
    let row = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_default();
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("DIFFYNE_MAX_CONNECTIONS"), format!("11 {toml}"));
    assert_eq!(row("DIFFYNE_WS_PORT"), "6103 environment");
    assert_eq!(row("DIFFYNE_CALL_TIMEOUT"), "7s flag");
    assert_eq!(row("DIFFYNE_WS_PATH"), "/diffyne default");
    assert_eq!(row("DIFFYNE_WS_KEY"), format!("******** (9 characters) {env}"));
    assert!(!text.contains("hush"));

    let wrong = [
        ("diffyne-gateway", "DIFFYNE_WS_PORT", "eighty"),
        ("diffyne-gateway", "DIFFYNE_CALL_TIMEOUT", "28"),
        ("diffyne-worker", "DIFFYNE_WORKER_LISTEN", "somewhere"),
        ("diffyne-worker", "DIFFYNE_VERIFY_STATE", "perhaps"),
    ];
    for (name, setting, value) in wrong {
        let (started, text) = run(name, &["serve"], &[(setting, value), ("APP_KEY", "x")])?;
        let told = format!("{setting} = `{value}` (environment) is not allowed: it must be ");
        assert!(!started && text.contains(&told), "{text}");
    }
    let (started, text) = run("diffyne-worker", &["serve"], &[])?;
    assert!(!started && text.contains("DIFFYNE_SIGNING_KEY is not set"), "{text}");
    let (started, text) = run("diffyne-worker", &["serve", "--worker-listen", "0.0.0.0:0"], &[("APP_KEY", "x")])?;
    assert!(!started && text.contains("DIFFYNE_WORKER_TOKEN is not set"), "{text}");
    let (_, help) = run("diffyne-gateway", &["serve", "--help"], &[])?;
    assert!(help.contains("--ws-port") && help.contains("DIFFYNE_WS_PORT"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_exchanges_keys_and_the_log_level_without_a_restart() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("d.toml");
    std::fs::write(&config, "ws_key = \"old\"\nlog = \"warn\"\nlog_format = \"json\"\n")?;
    let logs = directory.path().join("logs");
    let cluster = Cluster::start(
        Shape::new(1, 1)
            .gateway("--config", &config.display().to_string())
            .gateway("--log-dir", &logs.display().to_string()),
    )?;
    let url = |key: &str| format!("{}?key={key}", cluster.url(0));
    let mut kept = Client::connect(&url("old")).await?;
    std::fs::write(&config, "ws_key = [\"new\"]\nlog = \"debug\"\nlog_format = \"json\"\n")?;
    cluster.gateways[0].process.signal(Signal::Hup)?;
    let log_text = || {
        let files = std::fs::read_dir(&logs).into_iter().flatten().flatten();
        files.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect::<String>()
    };
    eventually("it was reloaded", || log_text().contains("keys and log level reloaded"))?;
    assert!(Client::connect(&url("old")).await.is_err());
    let _new = Client::connect(&url("new")).await?;
    assert!(kept.barrier().await?.is_empty(), "who is connected stays so");
    for line in log_text().lines() {
        let event: Value = serde_json::from_str(line)?;
        assert!(event["level"].is_string() && event["timestamp"].is_string(), "{line}");
    }
    let name = std::fs::read_dir(&logs)?.next().unwrap()?.file_name().to_string_lossy().into_owned();
    assert!(name.starts_with("diffyne-gateway.20") && name.split('.').next_back() == Some("log"), "{name}");

    std::fs::write(&config, "ws_key = \"x\"\ncall_timeout = \"soon\"\n")?;
    cluster.gateways[0].process.signal(Signal::Hup)?;
    eventually("a wrong file changes nothing", || log_text().contains("nothing was reloaded"))?;
    // Scripts that rotate logs send it.
    cluster.gateways[0].process.signal(Signal::Usr1)?;
    eventually("a signal of no meaning ends nothing", || log_text().contains("SIGUSR1 does nothing"))?;
    let _still = Client::connect(&url("new")).await?;
    Ok(())
}

/// Makes a file whose reader waits until somebody writes.
fn make_pipe(path: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(Command::new("mkfifo").arg(path).status()?.success(), "no pipe at {}", path.display());
    Ok(())
}

#[test]
fn a_reload_while_a_program_starts_ends_nothing_and_is_done() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let certificates = Certificates::make(directory.path())?;
    let key = certificates.key.display().to_string();
    let database = directory.path().join("d.sqlite").display().to_string();
    for (name, flags, certificate, file) in [
        ("diffyne-gateway", &["--workers", "127.0.0.1:1", "--listen"][..], "--worker-tls-ca", &certificates.authority),
        (
            "test-worker",
            &["--signing-key", "k", "--database", &database, "--worker-tls-key", &key, "--worker-listen"],
            "--worker-tls-cert",
            &certificates.certificate,
        ),
    ] {
        let content = std::fs::read(file)?;
        let pipe = directory.path().join("pipe.pem");
        make_pipe(&pipe)?;
        let mut program = Process::start(name, directory.path(), &program(name)?, |command| {
            command.arg("serve").args(flags).arg(format!("unix:{}/{name}.sock", directory.path().display()));
            command.arg(certificate).arg(&pipe);
        })?;
        // It reads the file to check its settings, and again as it starts: there it waits, and gets the signal.
        let mut check = std::fs::File::options().write(true).open(&pipe)?;
        std::fs::remove_file(&pipe)?;
        make_pipe(&pipe)?;
        check.write_all(&content)?;
        drop(check);
        let mut start = std::fs::File::options().write(true).open(&pipe)?;
        std::fs::remove_file(&pipe)?;
        std::fs::copy(file, &pipe)?;
        program.signal(Signal::Hup)?;
        start.write_all(&content)?;
        drop(start);
        eventually("it has reloaded", || program.output().contains("keys and log level reloaded"))
            .map_err(|error| error.context(program.output()))?;
        assert!(program.is_running(), "{}", program.output());
        std::fs::remove_file(&pipe)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_key_is_rotated_in_a_running_worker() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("w.toml");
    std::fs::write(&config, "signing_key = \"old\"\nverify_state = \"strict\"\n")?;
    let path = config.display().to_string();
    let [port, admin] = free_ports()?;
    let worker = Process::start("worker", directory.path(), &program("test-worker")?, |command| {
        command.args(["serve", "--config", &path, "--worker-listen", &format!("127.0.0.1:{port}")]);
        command.args(["--worker-admin-listen", &format!("127.0.0.1:{admin}")]);
        command.arg("--database").arg(directory.path().join("d.sqlite"));
    })?;
    wait_for_port(port)?;
    let cluster = Cluster::start(Shape {
        reachable: Some(1),
        ..Shape::new(1, 0).gateway("--workers", &format!("127.0.0.1:{port}"))
    })?;
    let old = Signer::new(vec![SigningKey::parse("old")?], VerifyState::Strict, false).unwrap();
    let state = json!({"count": 1});
    let mut data = increment("diffyne-a", 1, "r");
    data["signature"] = json!(old.sign(&state, "diffyne-a"));
    let mut client = Client::connect(&cluster.url(0)).await?;
    let first = client.call(data.clone()).await?;
    assert_eq!(*first.signature(), old.sign(&json!({"count": 2}), "diffyne-a"));

    std::fs::write(&config, "signing_key = \"new,old\"\nverify_state = \"strict\"\n")?;
    worker.signal(Signal::Hup)?;
    eventually("the worker has reloaded", || worker.output().contains("keys and log level reloaded"))?;
    let second = client.call(data.clone()).await?;
    let new = Signer::new(vec![SigningKey::parse("new")?], VerifyState::Strict, false).unwrap();
    assert_eq!(
        *second.signature(),
        new.sign(&json!({"count": 2}), "diffyne-a"),
        "the new key signs, the old one verifies"
    );

    std::fs::write(&config, "signing_key = \"new\"\nverify_state = \"strict\"\n")?;
    worker.signal(Signal::Hup)?;
    eventually("and once more", || worker.output().matches("keys and log level reloaded").count() == 2)?;
    assert_eq!(client.call(data).await?.error_type(), "security_error");
    Ok(())
}

#[test]
fn a_gateway_serves_a_unix_socket_and_a_port_that_systemd_passes() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("g.sock");
    let _gateway = Process::start("unix", directory.path(), &program("diffyne-gateway")?, |command| {
        command.arg("serve").arg("--listen").arg(format!("unix:{}", path.display()));
    })?;
    eventually("the socket is there", || std::os::unix::net::UnixStream::connect(&path).is_ok())?;
    let mut stream = std::os::unix::net::UnixStream::connect(&path)?;
    std::io::Write::write_all(&mut stream, handshake("/", &[("X-Forwarded-For", "1.2.3.4")]).as_bytes())?;
    let mut buffer = [0; 4096];
    let read = std::io::Read::read(&mut stream, &mut buffer)?;
    assert!(buffer[..read].starts_with(b"HTTP/1.1 101"));

    // As systemd does it: descriptor 3 is the listener, and LISTEN_PID names the process.
    let [port] = free_ports()?;
    let activated = format!(
        "exec python3 -c \"import os,socket;s=socket.socket();s.setsockopt(1,2,1);s.bind(('127.0.0.1',{port}));s.listen(64);\
         os.dup2(s.fileno(),3);os.set_inheritable(3,True);os.environ.update(LISTEN_FDS='1',LISTEN_PID=str(os.getpid()));\
         os.execv('{}',['diffyne-gateway','serve','--ws-port','1','--admin-listen','127.0.0.1:0'])\"",
        program("diffyne-gateway")?.display()
    );
    let _activated = Process::start("activated", directory.path(), &PathBuf::from("bash"), |command| {
        command.args(["-c", &activated]);
    })?;
    eventually("the handed-over port is served", || http_get(port, "/health").is_ok_and(|health| health.status == 200))
}

#[test]
fn the_command_dev_of_the_first_release_names_the_program_that_took_its_place() -> anyhow::Result<()> {
    let run = std::process::Command::new(program("diffyne-gateway")?).args(["dev", "--ws-port", "7000"]).output()?;
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(!run.status.success() && said.contains("diffyne-dev") && said.contains("make run"), "{said}");
    let help = std::process::Command::new(program("diffyne-dev")?).arg("--help").output()?;
    let help = String::from_utf8_lossy(&help.stdout);
    assert!(help.contains("--ws-port") && help.contains("--database"), "the settings of both programs: {help}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_to_stop_serves_new_clients_until_load_balancers_have_left_it_out() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Shape::new(1, 1).gateway("--shutdown-delay", "60s"))?;
    cluster.shape.gateway_flags = vec!["--shutdown-delay".to_owned(), "3s".to_owned()];
    let shorter = cluster.start_gateway()?;
    cluster.gateways.push(shorter);
    cluster.wait_until_ready()?;
    for (index, ends_by_itself) in [(0, false), (1, true)] {
        let mut before = Client::connect(&cluster.url(index)).await?;
        let begun = std::time::Instant::now();
        cluster.gateways[index].process.signal(Signal::Term)?;
        eventually("load balancers are told", || cluster.gateways[index].ready().is_ok_and(|status| status == 503))?;
        let mut late = Client::connect(&cluster.url(index)).await?;
        late.check_increment(1).await?;
        before.check_increment(2).await?;
        if !ends_by_itself {
            cluster.gateways[index].process.signal(Signal::Term)?;
        }
        for client in [&mut before, &mut late] {
            assert_eq!(client.receive().await?.event(), "diffyne.disconnect");
            assert_eq!(client.closed().await?, 1001);
        }
        drop((before, late));
        assert!(cluster.gateways[index].process.wait()?.success());
        let lasted = begun.elapsed().as_secs();
        assert!(if ends_by_itself { lasted >= 3 } else { lasted < 60 }, "it went on for {lasted} s");
    }
    Ok(())
}
