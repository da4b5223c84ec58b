//! What a component sees of its request, and what clients hear of its exceptions, is what the package's own endpoint
//! would make of the same message. That endpoint, in PHP's own server, is the measure.

use diffyne_tests::client::{Client, call};
use diffyne_tests::cluster::Cluster;
use diffyne_tests::for_runtimes;
use diffyne_tests::http::{HttpResponse, http, http_post};
use diffyne_tests::laravel::{Laravel, Runtime};
use diffyne_tests::message::ServerMessage;
use diffyne_tests::verification::app_signer;
use serde_json::{Value, json};

const ASKED: &str = "App\\Diffyne\\Asked";
const REFUSALS: &str = "App\\Diffyne\\Refusals";
const ID: &str = "diffyne-endpoint";
/// What the browser says of itself.
const BROWSER: [(&str, &str); 3] = [("Host", "shop.test"), ("User-Agent", "Browser/7"), ("Accept-Language", "de")];
/// What components throw in `Refusals`.
const KINDS: [&str; 20] = [
    "argument",
    "argument below",
    "call",
    "macro",
    "validation",
    "domain",
    "logic",
    "function",
    "authorization",
    "authentication",
    "model",
    "abort",
    "missing",
    "response",
    "type",
    "error",
    "notice",
    "division",
    "query",
    "fine",
];
const GENERAL: &str = "An error occurred while processing your request.";

/// A request to the package's own endpoint, as diffyne.js sends it.
fn post(port: u16, path: &str, body: &str) -> anyhow::Result<HttpResponse> {
    let lines: String = BROWSER.iter().flat_map(|(name, value)| [*name, ": ", *value, "\r\n"]).collect();
    let asks = if path.ends_with("lazy") {
        "Accept: application/json\r\n"
    } else {
        "Accept: */*\r\nX-Requested-With: XMLHttpRequest\r\n"
    };
    let length = body.len();
    http(
        port,
        &format!(
            "POST {path} HTTP/1.1\r\nConnection: close\r\nContent-Type: application/json\r\nSec-Fetch-Site: same-origin\r\n\
             Content-Length: {length}\r\n{lines}{asks}\r\n{body}"
        ),
    )
}

/// An update, signed.
fn update(class: &str, state: &Value, value: &str) -> anyhow::Result<Value> {
    let signature = app_signer()?.sign(state, ID);
    Ok(json!({"type": "update", "componentId": ID, "componentClass": class, "property": "text", "value": value,
        "state": state, "signature": signature, "requestId": "r"}))
}

/// What a component has seen.
fn seen(answer: &Value) -> Value {
    let state = if answer["state"].is_object() { &answer["state"] } else { &answer["c"]["st"] };
    let text = state["seen"].as_str().unwrap_or_else(|| panic!("{answer}"));
    serde_json::from_str(text).unwrap()
}

fn message_of(event: &str) -> anyhow::Result<(&'static str, Value)> {
    let state = json!({"text": "x", "seen": "before"});
    Ok(match event {
        "diffyne.call" => ("/_diffyne/update", call(ASKED, ID, "ask", json!(["first", {"deep": 5}]), state, "r")),
        "diffyne.update" => ("/_diffyne/update", update(ASKED, &state, "typed")?),
        _ => (
            "/_diffyne/update/lazy",
            json!({"componentClass": ASKED, "componentId": ID, "params": {"text": "y"}, "queryParams": {}, "requestId": "r"}),
        ),
    })
}

/// Checks that each kind of message shows a component the same request as the package's endpoint does.
async fn check_requests(laravel: &Laravel, runtime: Runtime) -> anyhow::Result<()> {
    let deployment = laravel.deploy(runtime, 1)?;
    let (_server, port) = laravel.serve()?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let mut client = Client::connect_with(&cluster.url(0), &BROWSER).await?;
    for round in 0..2 {
        for event in ["diffyne.call", "diffyne.update", "diffyne.mount"] {
            let (path, data) = message_of(event)?;
            let expected = seen(&post(port, path, &data.to_string())?.json()?);
            let answer = client.request(event, data).await?;
            let seen = seen(answer.data());
            for (name, expected) in expected.as_object().unwrap() {
                assert_eq!(seen[name], *expected, "round {round}, {event}: {name}");
            }
            assert_eq!(seen["path"], path.trim_start_matches('/'));
        }
    }
    // The bridge's own route is as far away as before.
    for verb in ["GET", "POST", "DIFFYNE"] {
        let request = format!(
            "{verb} /_diffyne-bridge HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        let status = http(port, &request)?.status;
        assert!([404, 405, 501].contains(&status), "{verb}: {status}");
    }
    Ok(())
}

for_runtimes!(a_component_sees_the_request_that_the_packages_endpoint_would_see: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn a_component_sees_the_request_that_the_packages_endpoint_would_see(runtime: Runtime) -> anyhow::Result<()> {
    check_requests(&Laravel::new()?, runtime).await
}

for_runtimes!(what_middleware_adds_to_the_request_reaches_the_component: pool = FastPath, http = Http, fastcgi = FastCgi);
async fn what_middleware_adds_to_the_request_reaches_the_component(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    std::fs::create_dir_all(laravel.path("app/Http"))?;
    let tenant = "<?php\nnamespace App\\Http;\nclass Tenant { public function handle($request, $next) {\n\
         $request->merge(['tenant' => 'seven']); $request->headers->set('X-Tenant', '7'); $request->attributes->set('tenant', 'seven');\n\
         $request->path(); $request->fullUrl(); return $next($request); } }\n";
    std::fs::write(laravel.path("app/Http/Tenant.php"), tenant)?;
    let provider = "class AppServiceProvider extends \\Illuminate\\Support\\ServiceProvider {";
    let booting = "public function __construct($app) { parent::__construct($app); $this->booting(fn () => \
         config(['diffyne.middleware' => ['web', \\App\\Http\\Tenant::class]])); }";
    laravel.change("app/Providers/AppServiceProvider.php", provider, &format!("{provider} {booting}"))?;
    check_requests(&laravel, runtime).await
}

/// What clients hear: the type, the text, and the texts by field.
fn heard(answer: &ServerMessage) -> (bool, String, String, Value) {
    let errors = answer.get("errors").cloned().unwrap_or_default();
    (answer.is_ok(), answer.error_type().to_owned(), answer.error().to_owned(), errors)
}

for_runtimes!(exceptions_are_told_in_their_own_words_only_where_the_package_does: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn exceptions_are_told_in_their_own_words_only_where_the_package_does(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let (_server, port) = laravel.serve()?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let state = json!({"text": "x", "kind": "fine"});
    let mut wrong = Vec::new();
    for kind in KINDS {
        for place in ["refuse", "refuseToRender", "updating"] {
            let data = if place == "updating" {
                update(REFUSALS, &state, kind)?
            } else {
                call(REFUSALS, ID, place, json!([kind]), state.clone(), "r")
            };
            // An `Error` ends the package's endpoint with a page of the framework: clients hear nothing more of it.
            let theirs = post(port, "/_diffyne/update", &data.to_string())?;
            let theirs = theirs.message().ok().filter(|answer| answer.is_ok() || answer.get("type").is_some());
            let expected = theirs
                .as_ref()
                .map_or_else(|| (false, "server_error".to_owned(), GENERAL.to_owned(), Value::Null), heard);
            let event = if place == "updating" { "diffyne.update" } else { "diffyne.call" };
            let by_ajax = http_post(cluster.gateways[0].port, "/_diffyne/update", &[], &data.to_string())?.message()?;
            let by_socket = client.request(event, data).await?;
            for (how, answer) in [("socket", by_socket), ("AJAX", by_ajax)] {
                if heard(&answer) != expected || answer.to_string().contains("secret") {
                    wrong.push(format!("{kind} in {place} by {how}: {expected:?} was expected: {answer}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
    // Text that is no UTF-8 harms nobody.
    let answer = client.call(call(REFUSALS, ID, "refuse", json!(["no UTF-8"]), state, "r")).await?;
    assert_eq!((answer.error_type(), answer.error()), ("property_error", "Not \u{fffd} this."), "{answer}");
    Ok(())
}
