//! Calls of a real Laravel with its default middleware: what users type arrives as they typed it, nobody sees what
//! another user's call has left behind, and a call that fails is the only one.

use std::collections::HashSet;

use anyhow::Context as _;
use diffyne_tests::client::{Client, call, signed};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::for_runtimes;
use diffyne_tests::http::http_post;
use diffyne_tests::laravel::{Laravel, Runtime};
use diffyne_tests::laravel_probe::{PROBE, assert_server_error, call_for_text, call_plain, call_probe, probe_call};
use diffyne_tests::message::ServerMessage;
use diffyne_tests::process::eventually;
use diffyne_tests::recorded::APP_KEY;
use diffyne_tests::verification::app_signer;
use serde_json::{Value, json};

for_runtimes!(what_is_typed_arrives_as_it_was_typed_and_the_next_update_verifies: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn what_is_typed_arrives_as_it_was_typed_and_the_next_update_verifies(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut last = call_probe(&mut client, "say", json!(["start"])).await?;
    for typed in ["", "  two  spaces ", "0", "😀", "a\u{2028}b", "null", "<b>&amp;", "0.10", "last"] {
        assert_eq!(call_for_text(&mut client, "say", json!([typed])).await?, typed, "as a parameter");
        let update = json!({"type": "update", "componentId": "diffyne-probe", "componentClass": PROBE, "property": "text",
            "value": typed, "state": last.state(), "fingerprint": last.fingerprint(), "signature": last.signature(), "requestId": "u"});
        let answer = client.request("diffyne.update", update.clone()).await?;
        assert_eq!(answer.state()["text"], typed, "as a value: {answer}");
        let mut by_ajax = update;
        by_ajax.as_object_mut().unwrap().remove("requestId");
        let by_ajax = http_post(cluster.gateways[0].port, "/_diffyne/update", &[], &by_ajax.to_string())?;
        assert_eq!(by_ajax.message()?.state()["text"], typed, "by AJAX");
        // Now it is in the state.
        last = answer;
    }
    let mut tampered = json!({"type": "update", "componentId": "diffyne-probe", "componentClass": PROBE, "property": "text",
        "value": "x", "state": last.state(), "signature": last.signature(), "requestId": "u"});
    tampered["state"]["user"] = json!("admin");
    assert_eq!(
        client.request("diffyne.update", tampered).await?.error_type(),
        "security_error",
        "refused before PHP hears of it"
    );
    // Marked, but not public.
    let answer = call_probe(&mut client, "guarded", json!([])).await?;
    assert_eq!(answer.error_type(), "method_error", "{answer}");
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
        let answer = call_probe(&mut client, "login", json!([format!("user-{user}")])).await?;
        assert_eq!(answer.state()["user"], format!("user-{user}"), "{answer}");
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
            client.send("diffyne.call", probe_call("diffyne-probe", method, params)).await?;
        }
        for (user, client) in clients.iter_mut().enumerate() {
            let answer = client.receive().await?;
            let state = answer.state();
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
            let answer = call_probe(&mut guest, "look", json!([])).await?;
            assert_eq!(answer.state()["user"], Value::Null, "a guest stays one");
        }
        round += 1;
    }
    // A busy machine lets the pool grow, and replaces a process now and then.
    assert!((2..=users).contains(&processes.len()), "a few processes for all of them: {processes:?}");
    assert_eq!(laravel.php(&["-r", &format!(
        "echo (new PDO('sqlite:{}/database/database.sqlite'))->query('select count(*) from messages')->fetchColumn();",
        laravel.directory)])?, "0", "what was left open was rolled back");
    Ok(())
}

/// The call `end` of the probe ran out of time: both sides count that, and the worker's log names the call.
fn assert_timeout_is_reported(cluster: &Cluster) -> anyhow::Result<()> {
    let (worker, gateway) = (&cluster.workers[0], &cluster.gateways[0]);
    let labels = r#"{component="App\\Diffyne\\Probe",method="end",outcome="timeout"}"#;
    eventually("the worker counts it", || {
        worker.metric(&format!("diffyne_worker_calls_total{labels}")).is_ok_and(|calls| calls > 0.5)
    })?;
    let metrics = gateway.metrics()?;
    let counts =
        |line: &&str| line.starts_with("diffyne_gateway_calls_total{") && line.contains(r#"outcome="timeout""#);
    assert_eq!(metrics.lines().filter(counts).count(), 1, "{metrics}");
    let log = worker.process.output();
    let line = log.lines().find(|line| line.contains("a call took too long")).with_context(|| log.clone())?;
    let request = line.split("request=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    assert!(line.contains("component=App\\Diffyne\\Probe method=end") && request.len() >= 16, "{line}");
    Ok(())
}

for_runtimes!(whatever_ends_a_call_ends_that_call_only: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn whatever_ends_a_call_ends_that_call_only(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let cluster = Cluster::start(deployment.shape.clone().gateway("--call-timeout", "6s"))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    for how in ["exit", "die", "fatal", "memory", "kill", "notice", "throw", "deep"] {
        let answer = call_probe(&mut client, "end", json!([how])).await?;
        assert_server_error(&answer);
        assert_eq!(call_for_text(&mut client, "say", json!([how])).await?, how, "the next call after {how}");
    }
    let answer = call_probe(&mut client, "end", json!(["abort"])).await?;
    assert!(!answer.is_ok(), "{answer}");
    let answer = call_probe(&mut client, "end", json!(["loop"])).await?;
    assert_eq!((answer.is_ok(), answer.error_type()), (false, "timeout"), "{answer}");
    assert_timeout_is_reported(&cluster)?;
    assert_eq!(call_for_text(&mut client, "say", json!(["after the loop"])).await?, "after the loop");
    // What goes where no output belongs harms nothing.
    assert_eq!(call_for_text(&mut client, "shout", json!([3])).await?, "said");
    assert_eq!(call_for_text(&mut client, "big", json!([1])).await?.len(), 1 << 20);
    assert_server_error(&call_probe(&mut client, "big", json!([3])).await?);
    assert_eq!(call_for_text(&mut client, "spoil", json!([])).await?, "spoilt");
    assert_eq!(call_for_text(&mut client, "say", json!(["still here"])).await?, "still here");
    let words: &[&str] = match runtime {
        Runtime::FastPath | Runtime::Kernel => &[
            "bytes of output in a call went nowhere",
            "terminate throws",
            "a PHP process died in a call",
            "signal: 9 (SIGKILL)",
        ],
        _ => &["ended in the middle of its answer", "the application answered instead of the component"],
    };
    for words in words.iter().chain(&["thrown on purpose"]) {
        // What a process says after its answer arrives when it arrives.
        let log = || cluster.workers[0].process.output();
        eventually(words, || log().contains(words)).with_context(|| format!("the worker's log: {}", log()))?;
    }
    assert!(laravel.log().contains("thrown on purpose"), "the application's own log as well");
    Ok(())
}

const FAULTY: &str = "App\\Diffyne\\Faulty";
const ID: &str = "diffyne-faulty";
/// How the component fails, the method that is named with it, and the application's words.
const FAULTS: [(&str, &str, &str); 17] = [
    ("method", "fail", "fault in method"),
    ("argument", "fail", "fault in argument"),
    ("macro", "fail", "faultInMacro"),
    ("type", "fail", "strlen()"),
    ("class", "fail", "FaultInClass"),
    ("query", "fail", "fault_in_query"),
    ("constraint", "fail", "insert into"),
    ("view", "fail", "fault-in-view"),
    ("blade", "fail", "faultInBlade"),
    ("mount", "mount", "fault in mount"),
    ("updated", "update", "fault in updated"),
    ("memory", "fail", "Allowed memory size"),
    ("slowly", "fail", "Allowed memory size"),
    ("trait", "fail", "FaultInTrait"),
    ("middleware", "fail", "fault in middleware"),
    ("after", "fail", "fault_after_the_answer"),
    ("refused", "fail", "not in any log"),
];

/// A middleware that fails in one request.
const FAULTING: &str = "<?php namespace App; class Faulting { public function handle($request, $next) {
    throw_if($request->header('X-Request-Id') === 'request-middleware', \\LogicException::class, 'fault in middleware');
    return $next($request); } }";

/// Has the component fail, in a request with an id of its own.
fn fail(cluster: &Cluster, how: &str, request: &str) -> anyhow::Result<ServerMessage> {
    let state = json!({"text": "", "view": ""});
    let (path, data) = match how {
        "mount" => {
            let params = json!({"text": "mount"});
            ("/update/lazy", json!({"componentClass": FAULTY, "componentId": ID, "params": params, "queryParams": {}}))
        }
        "updated" => {
            let signature = app_signer()?.sign(&state, ID);
            let mut data = json!({"type": "update", "componentId": ID, "componentClass": FAULTY, "property": "text"});
            (data["value"], data["state"], data["signature"]) = ("x".into(), state, signature.into());
            ("/update", data)
        }
        "refused" => ("/update", call(FAULTY, ID, "missing", json!([]), state, "r")),
        _ => ("/update", call(FAULTY, ID, "fail", json!([how]), state, "r")),
    };
    let (port, header) = (cluster.gateways[0].port, [("X-Request-Id", request)]);
    http_post(port, &format!("/_diffyne{path}"), &header, &data.to_string())?.message()
}

for_runtimes!(every_failure_of_a_component_is_in_the_log_once_with_what_it_takes_to_find_it: fast_path = FastPath, kernel = Kernel, fastcgi = FastCgi);
async fn every_failure_of_a_component_is_in_the_log_once_with_what_it_takes_to_find_it(
    runtime: Runtime,
) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    if runtime == Runtime::Kernel {
        std::fs::write(laravel.path("app/Faulting.php"), FAULTING)?;
        laravel.change(
            "bootstrap/app.php",
            "(Middleware $m) {",
            "(Middleware $m) { $m->append(\\App\\Faulting::class);",
        )?;
    }
    let deployment = laravel.deploy(runtime, 1)?;
    let cluster = Cluster::start(deployment.shape.clone().worker("--php-ini", "memory_limit=64M"))?;
    let log = || cluster.workers[0].process.output();
    let mut client = Client::connect(&cluster.url(0)).await?;
    for (how, method, words) in FAULTS {
        let (request, before) = (format!("request-{how}"), log().len());
        let answer = fail(&cluster, how, &request)?;
        assert!(how == "after" || !answer.is_ok(), "{how}: {answer}");
        let is_about = |line: &&str| line.contains(words);
        let is_told = match how {
            "refused" => false,
            "after" => runtime.is_pool(),
            "middleware" => runtime == Runtime::Kernel,
            _ => true,
        };
        if !is_told {
            continue;
        }
        eventually(how, || log()[before..].lines().any(|line| is_about(&line))).with_context(log)?;
        // What a process prints, and when it has ended, comes when it comes.
        assert_eq!(call_for_text(&mut client, "say", json!([how])).await?, how);
        let log = log()[before..].to_owned();
        let lines: Vec<&str> = log.lines().filter(is_about).collect();
        assert!(!log.contains("Server Error"), "what Laravel would print: {log}");
        assert_eq!(lines.len(), 1, "{how}: {log}");
        assert!(lines[0].contains(&request) && lines[0].contains("Faulty") && lines[0].contains(method), "{lines:#?}");
    }
    let log = log();
    assert!(!log.contains("users' own") && !log.contains("request-refused") && !log.contains("left_out=1"), "{log}");
    let log = laravel.log();
    assert!(log.contains("fault in method") && log.contains("Allowed memory size"), "the application's own log: {log}");
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
        assert_eq!(call_for_text(&mut client, "say", json!(["found"])).await?, "found", "cached: {cached}");
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
        let answer = call_probe(&mut client, "say", json!(["x"])).await?;
        assert_eq!((answer.error(), answer.error_type()), (words, "server_error"), "{answer}");
        let data = probe_call("a", "say", json!(["x"])).to_string();
        let answer = http_post(cluster.gateways[0].port, "/_diffyne/update", &[], &data)?;
        assert_eq!(answer.status, status);
        assert!(!answer.body.contains("html"), "{answer:?}");
    }
    Ok(())
}

for_runtimes!(without_the_bridge_the_packages_own_endpoint_is_translated: http = HttpWithoutBridge, fastcgi = FastCgiWithoutBridge);
async fn without_the_bridge_the_packages_own_endpoint_is_translated(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let cluster = Cluster::start(deployment.shape.clone().gateway("--call-timeout", "4s"))?;
    eventually("the worker's log says what is missing", || {
        std::fs::read_to_string(&cluster.workers[0].process.log)
            .is_ok_and(|log| log.contains("has not loaded the bridge"))
    })?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    client.subscribe("message-sent").await?;
    let answer = call_plain(&mut client, "say", json!([" trimmed "])).await?;
    assert_eq!(answer.state()["text"], "trimmed", "by the framework's middleware: {answer}");
    let answer = call_plain(&mut client, "tell", json!(["news"])).await?;
    assert_eq!(*answer.params(), json!([{"what": "news"}]));
    assert!(answer.event_id().is_some(), "{answer}");
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
        let answer = call_plain(&mut client, method, params).await?;
        assert_eq!((answer.error(), answer.error_type()), (error, kind), "{method}: {answer}");
    }
    let chat = json!({"roomId": 1, "messages": [], "newMessage": ""});
    let answer = client.call(call("App\\Diffyne\\ChatRoom", "c", "sendMessage", json!([]), chat, "r")).await?;
    assert_eq!(answer["errors"], json!({"newMessage": ["The new message field is required."]}), "{answer}");
    let counter = json!({"count": 1, "label": "a", "owner": 7});
    let leave = call("App\\Diffyne\\Counter", "c", "leave", json!([]), counter, "r");
    assert_eq!(
        client.call(signed(leave, APP_KEY, &["owner"])?).await?["redirect"],
        json!({"url": "/status", "spa": true})
    );
    for how in ["exit", "memory", "kill", "deep"] {
        assert_server_error(&call_plain(&mut client, "end", json!([how])).await?);
    }
    let answer = call_plain(&mut client, "end", json!(["loop"])).await?;
    assert_eq!(answer.error_type(), "timeout", "{answer}");
    let unknown = call("App\\Nothing", "c", "leave", json!([]), json!({"count": 1}), "r");
    assert_eq!(client.call(unknown).await?.error_type(), "exception");
    let answer = call_plain(&mut client, "say", json!(["still here"])).await?;
    assert_eq!(answer.state()["text"], "still here", "{answer}");
    Ok(())
}
