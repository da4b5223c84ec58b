//! Component calls by AJAX, their shapes and status codes, cross-origin rules, cookies and broadcasts.

use std::io::Write as _;
use std::net::TcpStream;

use diffyne_tests::client::{Client, call, chat, increment};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::http::{HttpResponse, http, http_get, http_post};
use diffyne_tests::process::{Signal, eventually};
use serde_json::{Value, json};

fn post(cluster: &Cluster, path: &str, body: &Value) -> anyhow::Result<HttpResponse> {
    http_post(cluster.gateways[0].port, path, &[], &body.to_string())
}

#[test]
fn every_ajax_call_has_its_status_and_shape() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1))?;
    let update = "/_diffyne/update";
    let answer = post(&cluster, update, &increment("diffyne-a", 4, "r1"))?;
    let data = answer.message()?;
    assert_eq!((answer.status, data.is_ok(), &data.state()["count"]), (200, true, &json!(5)), "{data}");
    assert_eq!(data.get("requestId"), None, "a request needs none");
    assert_eq!(answer.header("content-type"), ["application/json"]);
    assert_eq!(answer.header("cache-control"), ["no-store"]);

    let counter = |changes: Value| {
        let mut data = increment("diffyne-a", 4, "r1");
        for (name, value) in changes.as_object().unwrap() {
            data[name] = value.clone();
        }
        data
    };
    let plain = |text: &str| json!({"success": false, "error": text});
    let typed = |text: &str, kind: &str| json!({"s": false, "error": text, "type": kind});
    let rows = [
        (counter(json!({"state": null})), 400, plain("Invalid request")),
        (counter(json!({"componentId": ""})), 400, plain("Invalid request")),
        (counter(json!({"componentId": null})), 400, plain("Invalid request")),
        (counter(json!({"componentClass": ""})), 404, plain("Component class not found")),
        (counter(json!({"type": null})), 400, plain("Invalid request type")),
        (counter(json!({"type": "mount"})), 400, plain("Invalid request type")),
        (json!([]), 400, plain("Invalid request")),
        (counter(json!({"method": ""})), 400, plain("Method not specified")),
        (counter(json!({"type": "update"})), 400, plain("Property not specified")),
        (
            counter(json!({"type": "update", "property": "count", "value": 1, "signature": "00"})),
            403,
            plain("Invalid state signature. State may have been tampered with."),
        ),
        (counter(json!({"type": "update", "property": "count", "value": 1})), 400, plain("Missing state signature")),
        (counter(json!({"componentClass": "App\\Nope"})), 404, plain("Component class not found")),
        (counter(json!({"method": "nope"})), 400, typed("Method [nope] does not exist on component.", "method_error")),
        (
            call("App\\Tests\\Probe", "p", "fail", json!([]), json!({"runs": 0}), "r"),
            500,
            typed("An error occurred while processing your request.", "server_error"),
        ),
        (
            call("App\\Tests\\Probe", "p", "panic", json!([]), json!({"runs": 0}), "r"),
            500,
            typed("An error occurred while processing your request.", "server_error"),
        ),
    ];
    for (body, status, expected) in rows {
        let answer = post(&cluster, update, &body)?;
        assert_eq!((answer.status, answer.json()?), (status, expected), "{body}");
    }
    let answer = post(&cluster, update, &chat("", "r"))?;
    let expected = json!({"s": false, "error": "Validation failed", "type": "validation_error",
        "errors": {"newMessage": ["The new message field is required."]}});
    assert_eq!((answer.status, answer.json()?), (422, expected));

    let health = http_get(cluster.gateways[0].port, "/_diffyne/health")?;
    let expected = json!({"status": "ok", "version": env!("CARGO_PKG_VERSION"), "transport": "websocket"});
    assert_eq!((health.status, health.json()?), (200, expected));
    let port = cluster.gateways[0].port;
    assert_eq!(http_get(port, update)?.status, 405);
    assert_eq!(http_post(port, "/_diffyne/nothing", &[], "{}")?.status, 404);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lazy_component_is_mounted_by_both_transports_and_signed_for_the_requested_id() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1))?;
    let report = json!({"componentClass": "Gallery\\Report", "componentId": "diffyne-lazy", "params": {"quarter": 3}, "queryParams": []});
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut by_socket = report.clone();
    by_socket["requestId"] = json!("m1");
    let answer = client.request("diffyne.mount", by_socket).await?;
    assert_eq!((answer.event(), answer.request_id()), ("diffyne.response", &json!("m1")));
    let mut answers = vec![answer];
    for path in ["/_diffyne/lazy", "/_diffyne/update/lazy"] {
        let answer = post(&cluster, path, &report)?;
        assert_eq!(answer.status, 200);
        answers.push(answer.message()?);
    }
    for (answer, by) in answers.iter().zip(["WebSocket", "AJAX", "AJAX"]) {
        for field in ["success", "id", "html", "state", "fingerprint", "signature", "eventListeners"] {
            assert!(answer.get(field).is_some(), "{field} in {answer}");
        }
        assert_eq!((&answer["id"], &answer["state"]["quarter"]), (&json!("diffyne-lazy"), &json!(3)));
        assert!(answer["html"].as_str().unwrap().contains(by), "{answer}");
        // What it came with is good for an update.
        let update = json!({"type": "update", "componentId": "diffyne-lazy", "componentClass": "Gallery\\Report",
            "property": "quarter", "value": 2, "state": answer["state"], "signature": answer["signature"]});
        assert_eq!(post(&cluster, "/_diffyne/update", &update)?.status, 200);
    }

    // What a page must not choose is dropped.
    let mut greedy = report.clone();
    greedy["params"]["rows"] = json!([["Nowhere", 1]]);
    assert_eq!(post(&cluster, "/_diffyne/lazy", &greedy)?.json()?["state"]["rows"], answers[0].state()["rows"]);

    // What is not lazy.
    let refused = [
        (json!({}), "Gallery\\Counter", "Invalid component class"),
        (json!({}), "App\\Nope", "Component class [App\\Nope] does not exist."),
    ];
    for (params, class, by_socket) in refused {
        let mut body = json!({"componentClass": class, "componentId": "diffyne-lazy", "params": params});
        let answer = post(&cluster, "/_diffyne/lazy", &body)?;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(answer.json()?, json!({"success": false, "error": "Invalid component class"}));
        body["requestId"] = json!("m2");
        let answer = client.request("diffyne.mount", body).await?;
        assert_eq!((answer.event(), answer.request_id()), ("diffyne.error", &json!("m2")), "{answer}");
        assert_eq!(answer.error(), by_socket, "{answer}");
    }
    Ok(())
}

#[test]
fn cors_headers_tell_pages_of_other_hosts_what_they_may_do() -> anyhow::Result<()> {
    let shape =
        Shape::new(1, 1).gateway("--ws-cors-origins", "https://shop.test").gateway("--ws-cors-headers", "X-One,X-Two");
    let cluster = Cluster::start(shape)?;
    let port = cluster.gateways[0].port;
    let preflight = |origin: &str| {
        let head = "OPTIONS /_diffyne/update HTTP/1.1\r\nHost: api.test\r\nAccess-Control-Request-Method: POST";
        http(port, &format!("{head}\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n"))
    };
    let answer = preflight("https://shop.test")?;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), ["https://shop.test"]);
    assert_eq!(answer.header("access-control-allow-methods"), ["GET, POST, OPTIONS"]);
    assert_eq!(answer.header("access-control-allow-headers"), ["X-One, X-Two"]);
    assert_eq!(answer.header("access-control-allow-credentials"), ["true"]);
    assert_eq!(answer.header("vary"), ["Origin"]);
    let answer = preflight("https://evil.test")?;
    assert_eq!((answer.status, answer.body.as_str()), (403, "Origin not allowed"));
    assert!(answer.header("access-control-allow-origin").is_empty());

    let body = increment("diffyne-a", 1, "r").to_string();
    let answer = http_post(port, "/_diffyne/update", &[("Origin", "https://evil.test")], &body)?;
    assert_eq!((answer.status, answer.body.as_str()), (403, "Origin not allowed"));
    let answer = http_post(port, "/_diffyne/update", &[("Origin", "https://shop.test")], &body)?;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), ["https://shop.test"]);
    Ok(())
}

#[test]
fn cookies_reach_the_component_and_come_back_except_for_a_foreign_page() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).gateway("--app-url", "http://127.0.0.1:8000"))?;
    let look = call("App\\Tests\\Visitor", "v", "look", json!([]), json!({}), "r").to_string();
    let ask = |headers: &[(&str, &str)]| http_post(cluster.gateways[0].port, "/_diffyne/update", headers, &look);
    let own = [("Cookie", "a=1; session=ada"), ("Origin", "http://127.0.0.1:8000"), ("X-Forwarded-For", "203.0.113.9")];
    let answer = ask(&own)?;
    let expected = json!({"session": "ada", "address": "203.0.113.9", "over_socket": false});
    assert_eq!(*answer.message()?.state(), expected);
    assert_eq!(answer.header("set-cookie"), ["seen=1; Path=/; HttpOnly", "theme=dark; Path=/"]);
    assert_eq!(answer.header("access-control-allow-credentials"), ["true"]);
    let answer = ask(&[("Cookie", "session=ada"), ("Origin", "https://evil.test")])?;
    assert_eq!(answer.message()?.state()["session"], Value::Null, "a guest");
    assert!(answer.header("access-control-allow-credentials").is_empty() && answer.header("set-cookie").is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ajax_call_broadcasts_to_everybody_but_the_socket_of_its_own_page() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(2, 1).with_redis())?;
    let mut own = Client::connect(&cluster.url(0)).await?;
    let mut other = Client::connect(&cluster.url(1)).await?;
    own.subscribe("message-sent").await?;
    other.subscribe("message-sent").await?;
    let body = chat("by AJAX", "r").to_string();
    let port = cluster.gateways[1].port;
    let answer = http_post(port, "/_diffyne/update", &[("X-Diffyne-Client-Id", &own.id)], &body)?;
    let reply = answer.message()?;
    let id = reply.event_id().unwrap_or_else(|| panic!("{reply}"));
    let push = other.receive().await?;
    assert_eq!((push.event(), push["id"].as_str()), ("diffyne.event", Some(id)));
    // A page that does not say who it is hears its own news; what it did not hear before would come first.
    let second = http_post(port, "/_diffyne/update", &[], &body)?.message()?;
    let push = own.receive().await?;
    assert_eq!((push.event(), push["id"].as_str()), ("diffyne.event", second.event_id()));
    // A reaction to a push that is too deep already stays here.
    let mut deep = chat("too deep", "r");
    deep["cause"] = json!({"id": id, "depth": 2});
    let reply = http_post(port, "/_diffyne/update", &[], &deep.to_string())?.message()?;
    assert_eq!(reply.event_id(), None, "{reply}");
    Ok(())
}

#[test]
fn requests_have_limits_and_a_full_gateway_says_so() -> anyhow::Result<()> {
    let shape = Shape::new(1, 1).gateway("--max-requests", "2");
    let shape = shape.gateway("--ws-max-message-size", "32KiB").gateway("--max-request-size", "64KiB");
    let cluster = Cluster::start(shape)?;
    let port = cluster.gateways[0].port;
    let mut large = increment("diffyne-a", 1, "r");
    large["state"]["filler"] = json!("x".repeat(64 * 1024));
    let answer = http_post(port, "/_diffyne/update", &[], &large.to_string())?;
    assert_eq!((answer.status, &answer.json()?["success"]), (413, &json!(false)));

    let slow = call("App\\Tests\\Probe", "p", "slow", json!(["t", 3000]), json!({"runs": 0}), "r").to_string();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let posts: Vec<_> =
            (0..4).map(|_| scope.spawn(|| http_post(port, "/_diffyne/update", &[], &slow).unwrap())).collect();
        posts
            .into_iter()
            .map(|post| post.join().unwrap())
            .map(|answer| {
                if answer.status == 503 {
                    assert_eq!(answer.message().unwrap().error_type(), "overloaded");
                    assert_eq!(answer.header("retry-after"), ["1"]);
                }
                answer.status
            })
            .collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 2, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 2, "{statuses:?}");
    // Browsers that go away give their places back, long before their calls would have ended.
    for _ in 0..2 {
        let slow = slow.replace("3000", "20000");
        let head = format!("POST /_diffyne/update HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", slow.len());
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all((head + &slow).as_bytes())?;
        eventually("the call has begun", || cluster.notes().iter().filter(|note| *note == "begin t").count() >= 3)?;
    }
    let again = || http_post(port, "/_diffyne/update", &[], &increment("diffyne-a", 1, "r").to_string());
    eventually("there is room again", || again().is_ok_and(|answer| answer.status == 200))?;
    let answer = http_post(port, "/_diffyne/update", &[], &increment("diffyne-a", 1, "r").to_string())?;
    assert_eq!(answer.status, 200);
    Ok(())
}

#[test]
fn a_request_under_way_is_finished_when_the_gateway_stops() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Shape::new(1, 1))?;
    let port = cluster.gateways[0].port;
    let slow = call("App\\Tests\\Probe", "p", "slow", json!(["stopping", 700]), json!({"runs": 0}), "r").to_string();
    let post = std::thread::spawn(move || http_post(port, "/_diffyne/update", &[], &slow));
    eventually("the call has begun", || cluster.notes().contains(&"begin stopping".to_owned()))?;
    cluster.gateways[0].process.signal(Signal::Term)?;
    assert_eq!(post.join().unwrap()?.status, 200);
    cluster.gateways[0].process.wait()?;
    Ok(())
}

#[test]
fn a_request_whose_worker_dies_fails_at_once() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Shape::new(1, 1))?;
    let port = cluster.gateways[0].port;
    let slow = call("App\\Tests\\Probe", "p", "slow", json!(["dying", 5000]), json!({"runs": 0}), "r").to_string();
    let post = std::thread::spawn(move || http_post(port, "/_diffyne/update", &[], &slow));
    eventually("the call has begun", || cluster.notes().contains(&"begin dying".to_owned()))?;
    cluster.workers[0].process.signal(Signal::Kill)?;
    let answer = post.join().unwrap()?;
    assert_eq!((answer.status, answer.message()?.error_type()), (502, "worker_lost"));
    cluster.workers[0].process.wait()?;
    Ok(())
}

#[test]
fn scripts_are_small_and_served_with_their_hash() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).gateway("--route-prefix", "/live"))?;
    let port = cluster.gateways[0].port;
    for entry in ["companion.js", "client.js"] {
        let mut sources = String::new();
        let mut wanted = vec![entry.to_owned()];
        let mut seen = Vec::new();
        while let Some(name) = wanted.pop() {
            if seen.contains(&name) {
                continue;
            }
            let answer = http_get(port, &format!("/live/{name}"))?;
            assert_eq!(answer.status, 200, "{name}");
            assert_eq!(answer.header("content-type"), ["text/javascript; charset=utf-8"]);
            assert_eq!(answer.header("access-control-allow-origin"), ["*"]);
            let kept = if name == entry { "no-cache" } else { "public, max-age=31536000, immutable" };
            assert_eq!(answer.header("cache-control"), [kept], "{name}");
            let etag = answer.header("etag")[0];
            let again =
                format!("GET /live/{name} HTTP/1.1\r\nHost: x\r\nIf-None-Match: {etag}\r\nConnection: close\r\n\r\n");
            assert_eq!(http(port, &again)?.status, 304);
            let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
            let imports = answer.body.split("from '").skip(1).filter_map(|rest| rest.split('\'').next());
            wanted.extend(imports.map(|path| match path.strip_prefix("../") {
                Some(path) => path.to_owned(),
                None => format!("{folder}/{}", path.trim_start_matches("./")).trim_start_matches('/').to_owned(),
            }));
            sources.push_str(&answer.body);
            seen.push(name);
        }
        let size = gzipped(&sources)?;
        assert!(size <= 20 * 1024, "{entry} and what it imports: {size} bytes");
    }
    assert_eq!(http_get(port, "/_diffyne/client.js")?.status, 404, "the prefix is another");
    Ok(())
}

fn gzipped(text: &str) -> anyhow::Result<usize> {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut gzip = Command::new("gzip").arg("-9c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    gzip.stdin.take().unwrap().write_all(text.as_bytes())?;
    Ok(gzip.wait_with_output()?.stdout.len())
}
