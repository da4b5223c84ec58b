//! A real Laravel behind the cluster: its broadcasts, its logins, and the ways to serve it.

use diffyne_tests::client::Client;
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::for_runtimes;
use diffyne_tests::http::http_post;
use diffyne_tests::laravel::{Laravel, Runtime};
use diffyne_tests::laravel_probe::{PROBE, assert_server_error, call_for_text, call_probe, probe_call};
use diffyne_tests::recorded::APP_KEY;
use serde_json::{Value, json};

for_runtimes!(a_message_crosses_from_php_to_the_clients_of_another_gateway: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn a_message_crosses_from_php_to_the_clients_of_another_gateway(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 2)?;
    let cluster = Cluster::start(deployment.shape.clone().with_redis())?;
    let mut sender = Client::connect(&cluster.url(0)).await?;
    let mut other = Client::connect(&cluster.url(1)).await?;
    sender.subscribe("message-sent").await?;
    other.subscribe("message-sent").await?;
    let answer = call_probe(&mut sender, "tell", json!(["hello"])).await?;
    assert!(answer.event_id().is_some(), "{answer}");
    let push = other.receive().await?;
    assert_eq!(*push.params(), json!([{"what": "hello"}]), "{push}");
    let body = probe_call("a", "tell", json!(["by AJAX"])).to_string();
    http_post(cluster.gateways[0].port, "/_diffyne/update", &[], &body)?;
    for client in [&mut sender, &mut other] {
        assert_eq!(*client.receive().await?.params(), json!([{"what": "by AJAX"}]));
    }
    // A listener is callable, though it is not marked as invokable.
    assert_eq!(call_for_text(&mut other, "hear", json!([{"what": "hello"}])).await?, "hello");
    // A lazy component comes with its signature and listeners.
    let lazy = json!({"componentClass": PROBE, "componentId": "diffyne-lazy", "params": {"text": "from the page"}});
    let answer = http_post(cluster.gateways[0].port, "/_diffyne/lazy", &[], &lazy.to_string())?;
    let mounted = answer.message()?;
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
async fn an_application_publishes_through_redis_and_over_http() -> anyhow::Result<()> {
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
            let event = &push["events"][0];
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
    assert_eq!(clients[1].receive().await?["id"], answer["id"]);
    // Whatever came to the one that was left out, or twice, would stand before a broadcast that follows.
    let next = json!({"name": "order-paid", "params": [{"n": 12}]}).to_string();
    assert_eq!(http_post(port, "/api/broadcast", &token, &next)?.status, 202);
    for client in &mut clients {
        assert_eq!(client.receive().await?.number(), Some(12));
    }
    Ok(())
}

for_runtimes!(a_login_over_the_socket_reaches_the_browser_and_nobody_else: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn a_login_over_the_socket_reaches_the_browser_and_nobody_else(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 2)?;
    let shape = deployment.shape.clone().with_redis().gateway("--app-key", APP_KEY);
    let cluster = Cluster::start(shape)?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let first = call_probe(&mut client, "look", json!([])).await?;
    assert_eq!(first.get("session"), None, "{first}");
    let answer = call_probe(&mut client, "login", json!(["ada"])).await?;
    let (url, token) = (answer["session"]["url"].as_str().unwrap(), answer["session"]["token"].as_str().unwrap());
    assert_eq!(call_probe(&mut client, "look", json!([])).await?.state()["user"], "ada", "the connection itself knows");

    // The page brings the token to another gateway, once.
    let port = cluster.gateways[1].port;
    let body = json!({"token": token}).to_string();
    let foreign = http_post(port, url, &[("Origin", "https://evil.test")], &body)?;
    assert_eq!((foreign.status, foreign.head.to_lowercase().contains("set-cookie")), (410, false), "another page");
    let cookies = http_post(port, url, &[], &body)?;
    assert_eq!(cookies.status, 200, "{cookies:?}");
    let cookie = cookies.cookies();
    assert!(cookie.split("; ").any(|pair| pair.starts_with("laravel_session=")), "{cookies:?}");
    assert_eq!(
        http_post(cluster.gateways[0].port, url, &[], &body)?.status,
        410,
        "it is good once, in the whole cluster"
    );
    assert_eq!(http_post(port, url, &[], "{}")?.status, 410);

    // With them the browser is logged in: by AJAX, and in a new connection.
    let look = probe_call("a", "look", json!([])).to_string();
    let answer = http_post(port, "/_diffyne/update", &[("Cookie", &cookie)], &look)?;
    assert_eq!(answer.message()?.state()["user"], "ada");
    let mut again = Client::connect_with(&cluster.url(1), &[("Cookie", &cookie)]).await?;
    assert_eq!(call_probe(&mut again, "look", json!([])).await?.state()["user"], "ada");
    let mut other = Client::connect(&cluster.url(1)).await?;
    assert_eq!(call_probe(&mut other, "look", json!([])).await?.state()["user"], Value::Null);

    // The session ends elsewhere: the client is told to come back with the cookies that the browser has now.
    for entry in std::fs::read_dir(laravel.path("storage/framework/sessions"))? {
        std::fs::remove_file(entry?.path())?;
    }
    let answer = call_probe(&mut again, "look", json!([])).await?;
    assert_eq!((answer.is_ok(), answer.error_type()), (false, "session_ended"), "not as a guest: {answer}");
    let goodbye = again.receive().await?;
    assert_eq!((goodbye.event(), &goodbye["reconnect"]), ("diffyne.disconnect", &json!(true)));
    assert_eq!(again.closed().await?, 1001);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_over_http_keeps_its_sessions_and_reports_its_errors() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    laravel.load_bridge()?;
    let (server, port) = laravel.serve()?;
    let cluster = Cluster::start(laravel.shape_over_http(port).gateway("--app-key", APP_KEY))?;
    let agent = [("User-Agent", "Browser/7"), ("Host", "shop.test"), ("X-Forwarded-For", "203.0.113.7")];
    let mut client = Client::connect_with(&cluster.url(0), &agent).await?;
    let answer = call_probe(&mut client, "login", json!(["ada"])).await?;
    assert!(answer["session"]["token"].is_string(), "{answer}");
    let answer = call_probe(&mut client, "look", json!([])).await?;
    let seen = &answer.state()["seen"];
    assert_eq!(answer.state()["user"], "ada");
    assert_eq!(
        (&seen["agent"], &seen["url"], &seen["socket"]),
        (&json!("Browser/7"), &json!("http://shop.test/x"), &json!(true))
    );
    for typed in ["", "  two  spaces ", "0"] {
        assert_eq!(call_for_text(&mut client, "say", json!([typed])).await?, typed);
    }
    for how in ["exit", "die", "fatal", "throw", "notice"] {
        assert_server_error(&call_probe(&mut client, "end", json!([how])).await?);
        assert_eq!(call_for_text(&mut client, "say", json!([how])).await?, how, "the next call after {how}");
    }
    assert_server_error(&call_probe(&mut client, "big", json!([3])).await?);
    // Only who has the secret may use the bridge.
    let stranger =
        [("X-HTTP-Method-Override", "DIFFYNE"), ("X-Diffyne-Bridge", "guess"), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(http_post(port, "/_diffyne-bridge", &stranger, "{\"kind\":\"hello\"}\n")?.status, 404);
    drop(server);
    let answer = call_probe(&mut client, "say", json!(["anybody?"])).await?;
    assert_server_error(&answer);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn http_over_a_unix_socket_and_kept_fastcgi_connections_work() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    laravel.load_bridge()?;
    let (_fpm, socket) = laravel.serve_fpm(2)?;
    let (_nginx, _port) = laravel.serve_nginx(&socket)?;
    let own = Shape { signing_key: APP_KEY.to_owned(), ..Shape::new(1, 1) };
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
                    assert_eq!(call_for_text(&mut client, "say", json!([what])).await?, what);
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
            assert_server_error(&call_probe(&mut client, "end", json!(["kill"])).await?);
            assert_eq!(call_for_text(&mut client, "say", json!(["again"])).await?, "again");
        }
    }
    Ok(())
}
