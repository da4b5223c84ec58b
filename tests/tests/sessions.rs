//! Sessions of a real Laravel behind the cluster: alive only where a call uses them, never lost, never revived.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use diffyne_tests::client::{Client, call};
use diffyne_tests::cluster::Cluster;
use diffyne_tests::for_runtimes;
use diffyne_tests::http::http_post;
use diffyne_tests::laravel::{Laravel, Runtime};
use diffyne_tests::laravel_probe::{call_probe, probe_call};
use diffyne_tests::message::ServerMessage;
use diffyne_tests::process::{Signal, eventually};
use serde_json::{Value, json};

/// How long the application's cache keeps the status of the gateways.
const STATUS_LIFE: Duration = Duration::from_secs(6);

fn session_files(laravel: &Laravel) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(laravel.path("storage/framework/sessions")).unwrap();
    entries.flatten().map(|entry| entry.path()).collect()
}

for_runtimes!(a_session_that_ends_in_a_call_stays_ended: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn a_session_that_ends_in_a_call_stays_ended(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    call_probe(&mut client, "login", json!(["ada"])).await?;
    assert!(session_files(&laravel).iter().any(|file| std::fs::read_to_string(file).unwrap().contains("ada")));
    client.send("diffyne.call", probe_call("slow", "writeWhenReleased", json!(["late"]))).await?;
    laravel.wait_until_begun("late")?;
    // A logout in another tab.
    for file in session_files(&laravel) {
        std::fs::remove_file(file)?;
    }
    laravel.release("late")?;
    let answer = client.receive().await?;
    assert!(answer.is_ok() && answer.state()["user"] == "ada", "it ran as the user: {answer}");
    let disconnect = client.receive().await?;
    assert_eq!(disconnect.event(), "diffyne.disconnect", "the client is told: {disconnect}");
    for file in session_files(&laravel) {
        let text = std::fs::read_to_string(&file)?;
        assert!(!text.contains("ada") && !text.contains("late"), "revived: {text}");
    }
    Ok(())
}

for_runtimes!(what_two_calls_write_into_one_session_is_there_afterwards: fast_path = FastPath, kernel = Kernel);
async fn what_two_calls_write_into_one_session_is_there_afterwards(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    call_probe(&mut client, "login", json!(["ada"])).await?;
    // Two components: side by side, in two processes. Both have read the session before either writes.
    for component in ["one", "two"] {
        client.send("diffyne.call", probe_call(component, "writeWhenReleased", json!([component]))).await?;
        laravel.wait_until_begun(component)?;
    }
    for component in ["two", "one"] {
        laravel.release(component)?;
        let reply = client.receive().await?;
        assert!(reply.is_ok() && reply.state()["text"] == component, "{reply}");
    }
    let answer = call_probe(&mut client, "readSession", json!([])).await?;
    let expected = json!({"uid": "ada", "one": "written", "two": "written"});
    assert_eq!(answer.state()["seen"], expected, "{answer}");
    Ok(())
}

for_runtimes!(logins_by_the_framework_persist_and_end: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn logins_by_the_framework_persist_and_end(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let cluster = Cluster::start(deployment.shape.clone().gateway("--app-key", diffyne_tests::recorded::APP_KEY))?;
    let port = cluster.gateways[0].port;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let who = |answer: &ServerMessage| answer.state()["seen"]["auth"].clone();
    let answer = call_probe(&mut client, "look", json!([])).await?;
    assert_eq!(who(&answer), Value::Null);
    let answer = call_probe(&mut client, "enter", json!([2])).await?;
    let session = answer["session"].clone();
    assert_eq!(who(&call_probe(&mut client, "look", json!([])).await?), 2, "the connection knows: {answer}");
    let body = json!({"token": session["token"]}).to_string();
    let cookies = http_post(port, session["url"].as_str().unwrap(), &[], &body)?;
    let cookies = cookies.cookies();
    let pairs: Vec<&str> = cookies.split("; ").collect();
    assert!(pairs.iter().any(|pair| pair.starts_with("remember_web_")), "{cookies:?}");
    // Remembered beyond the session.
    let remembered: Vec<&str> = pairs.iter().filter(|pair| pair.starts_with("remember_web_")).copied().collect();
    let mut again = Client::connect_with(&cluster.url(0), &[("Cookie", &remembered.join("; "))]).await?;
    assert_eq!(who(&call_probe(&mut again, "look", json!([])).await?), 2);
    let mut stranger = Client::connect(&cluster.url(0)).await?;
    assert_eq!(who(&call_probe(&mut stranger, "look", json!([])).await?), Value::Null);
    call_probe(&mut client, "exitUser", json!([])).await?;
    assert_eq!(who(&call_probe(&mut client, "look", json!([])).await?), Value::Null, "logged out");
    Ok(())
}

for_runtimes!(flashed_data_and_queued_cookies_reach_the_next_call: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn flashed_data_and_queued_cookies_reach_the_next_call(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    call_probe(&mut client, "flashErrors", json!([])).await?;
    let answer = call_probe(&mut client, "readErrors", json!([])).await?;
    assert_eq!(answer.state()["text"], "from before|1|dark", "errors and a queued cookie: {answer}");
    let answer = call_probe(&mut client, "readErrors", json!([])).await?;
    assert_eq!(answer.state()["text"], "|0|dark", "once: {answer}");
    Ok(())
}

/// Replaces all PHP processes of the worker, and waits until the older ones have ended.
fn replace_processes(cluster: &Cluster) -> anyhow::Result<()> {
    let worker = &cluster.workers[0];
    let ended = || worker.metric("diffyne_worker_php_processes_ended_total{reason=\"replaced\"}");
    eventually("two processes and a spare one are ready", || {
        worker.metric("diffyne_worker_php_processes_ready").is_ok_and(|ready| ready >= 3.0)
    })?;
    let before = ended()?;
    worker.process.signal(Signal::Hup)?;
    eventually("the older processes have ended", || ended().is_ok_and(|ended| ended >= before + 3.0))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_uses_no_session_creates_none_and_keeps_the_users_alive() -> anyhow::Result<()> {
    sessions_are_kept_alive("sandbox").await
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_processes_of_their_own_keep_a_session_alive_as_rarely() -> anyhow::Result<()> {
    sessions_are_kept_alive("process").await
}

async fn sessions_are_kept_alive(isolation: &str) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(Runtime::FastPath, 1)?;
    let cluster = Cluster::start(deployment.shape.clone().worker("--php-isolation", isolation))?;
    let mut guest = Client::connect(&cluster.url(0)).await?;
    for _ in 0..5 {
        call_probe(&mut guest, "say", json!(["hello"])).await?;
    }
    assert_eq!(session_files(&laravel), Vec::<PathBuf>::new(), "a guest's calls leave nothing behind");
    let mut client = Client::connect(&cluster.url(0)).await?;
    call_probe(&mut client, "login", json!(["ada"])).await?;
    // A session that was written an hour ago, and processes that have not seen it.
    let age = |file: &PathBuf| file.metadata().unwrap().modified().unwrap().elapsed().unwrap_or_default();
    let [file] = &session_files(&laravel)[..] else { panic!("one session") };
    let before = std::fs::read(file)?;
    replace_processes(&cluster)?;
    let long_ago = SystemTime::now() - Duration::from_hours(1);
    std::fs::File::options().write(true).open(file)?.set_modified(long_ago)?;
    call_probe(&mut client, "say", json!(["still here"])).await?;
    eventually("it is kept alive", || age(file) < Duration::from_mins(1))?;
    assert_eq!(std::fs::read(file)?, before, "and is what it was");
    // Once a minute is enough.
    std::fs::File::options().write(true).open(file)?.set_modified(long_ago)?;
    for _ in 0..6 {
        call_probe(&mut client, "say", json!(["and again"])).await?;
    }
    let mut touched = 0;
    for _ in 0..3 {
        touched += usize::from(age(file) < Duration::from_mins(1));
        std::fs::File::options().write(true).open(file)?.set_modified(long_ago)?;
        call_probe(&mut client, "say", json!(["and again"])).await?;
    }
    assert!(touched <= 2, "each of three processes once at most: {touched}");
    // One that has expired is not brought back, and neither is one that is gone.
    let expired = SystemTime::now() - Duration::from_hours(3);
    std::fs::File::options().write(true).open(file)?.set_modified(expired)?;
    replace_processes(&cluster)?;
    call_probe(&mut client, "say", json!(["too late"])).await?;
    // Whatever a process does after its answer, it has done when it has ended.
    replace_processes(&cluster)?;
    // Now and then the framework sweeps expired sessions out.
    let is_old = |file: &PathBuf| !file.exists() || age(file) > Duration::from_hours(2);
    assert!(is_old(file), "an expired session stays expired");
    if file.exists() {
        std::fs::remove_file(file)?;
    }
    call_probe(&mut client, "say", json!(["gone"])).await?;
    replace_processes(&cluster)?;
    assert_eq!(session_files(&laravel), Vec::<PathBuf>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_in_a_database_persist_and_end() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    laravel.change(".env", "SESSION_DRIVER=file", "SESSION_DRIVER=database")?;
    let sql = |statement: &str| {
        laravel.php(&[
            "-r",
            &format!(
                "echo json_encode((new PDO('sqlite:{}/database/database.sqlite'))->query(\"{statement}\")->fetchAll(PDO::FETCH_ASSOC));",
                laravel.directory
            ),
        ])
    };
    sql(
        "create table sessions (id text primary key, user_id integer, ip_address text, user_agent text, payload text, last_activity integer)",
    )?;
    let deployment = laravel.deploy(Runtime::FastPath, 1)?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    call_probe(&mut client, "login", json!(["ada"])).await?;
    assert_eq!(call_probe(&mut client, "look", json!([])).await?.state()["user"], "ada");
    let rows: Value = serde_json::from_str(&sql("select ip_address, last_activity from sessions")?)?;
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["ip_address"]), (1, &json!("127.0.0.1")), "{rows}");
    sql("delete from sessions")?;
    call_probe(&mut client, "say", json!(["x"])).await?;
    assert_eq!(sql("select id from sessions")?, "[]", "a call that does not use it brings it not back");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_in_maintenance_mode_refuses_calls_by_both_transports() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(Runtime::FastPath, 1)?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    assert!(call_probe(&mut client, "say", json!(["open"])).await?.is_ok());
    std::fs::write(laravel.path("storage/framework/down"), "{}")?;
    let answer = call_probe(&mut client, "say", json!(["closed?"])).await?;
    assert_eq!((answer.is_ok(), answer.error_type()), (false, "server_error"), "{answer}");
    let status = http_post(
        cluster.gateways[0].port,
        "/_diffyne/update",
        &[],
        &probe_call("a", "say", json!(["x"])).to_string(),
    )?;
    assert_eq!(status.status, 503);
    std::fs::remove_file(laravel.path("storage/framework/down"))?;
    assert!(call_probe(&mut client, "say", json!(["open again"])).await?.is_ok());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_that_reset_for_octane_run_for_each_call() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let events = "<?php\nnamespace Laravel\\Octane\\Events;\n\
         class RequestReceived { public function __construct(public $app, public $sandbox, public $request) {} }\n\
         class RequestTerminated { public function __construct(public $app, public $sandbox, public $request, public $response) {} }\n";
    std::fs::write(laravel.path("app/octane.php"), events)?;
    let provider = "class AppServiceProvider extends \\Illuminate\\Support\\ServiceProvider {";
    let register = "public function register(): void { require_once __DIR__.'/../octane.php'; \
         $this->app['events']->listen(\\Laravel\\Octane\\Events\\RequestReceived::class, function ($event) { \
         $event->sandbox['config']->set('app.name', 'set for '.$event->request->userAgent()); \
         $event->sandbox['session']->driver()->flush(); $event->sandbox['session']->driver()->regenerate(); }); }";
    laravel.change("app/Providers/AppServiceProvider.php", provider, &format!("{provider} {register}"))?;
    for runtime in [Runtime::FastPath, Runtime::Kernel] {
        let deployment = laravel.deploy(runtime, 1)?;
        let cluster = Cluster::start(deployment.shape.clone())?;
        for agent in ["one", "two", "three"] {
            let mut client = Client::connect_with(&cluster.url(0), &[("User-Agent", agent)]).await?;
            call_probe(&mut client, "login", json!([agent])).await?;
            let answer = call_probe(&mut client, "look", json!([])).await?;
            assert_eq!(answer.state()["seen"]["config"], format!("set for {agent}"), "{runtime:?}: {answer}");
            // They empty the session of the request before, and not the user's.
            assert_eq!(answer.state()["user"], agent, "{runtime:?}: {answer}");
        }
    }
    Ok(())
}

for_runtimes!(a_component_sees_the_request_as_over_ajax: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi);
async fn a_component_sees_the_request_as_over_ajax(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    let cluster = Cluster::start(deployment.shape.clone())?;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let headers = [
        ("Host", "shop.test"),
        ("Origin", "https://shop.test"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("Accept-Language", "de-AT"),
        ("Authorization", "Bearer of-the-user"),
        ("traceparent", parent.as_str()),
    ];
    let mut client = Client::connect_with(&cluster.url(0), &headers).await?;
    let seen = call_probe(&mut client, "headers", json!([])).await?.state()["seen"].clone();
    for (name, value) in [
        ("x-diffyne-transport", "websocket"),
        ("x-diffyne-client-id", client.id.as_str()),
        ("accept-language", "de-AT"),
        ("authorization", "Bearer of-the-user"),
        ("path", "_diffyne/update"),
        ("host", "shop.test"),
    ] {
        assert_eq!(seen[name], value, "{name}: {seen}");
    }
    assert_eq!(seen["secure"], true, "{seen}");
    assert!(seen["traceparent"].as_str().unwrap().starts_with(&format!("00-{trace}-")), "{seen}");
    let first = seen["x-request-id"].as_str().unwrap().to_owned();
    let second = call_probe(&mut client, "headers", json!([])).await?.state()["seen"]["x-request-id"].clone();
    assert!(!first.is_empty() && second != first.as_str(), "each call has its own: {first} {second}");
    // A failure's line in the worker's log names the request.
    let body = probe_call("a", "end", json!(["throw"])).to_string();
    http_post(cluster.gateways[0].port, "/_diffyne/update", &[("X-Request-Id", "from-the-proxy")], &body)?;
    eventually("the log names the request", || cluster.workers[0].process.output().contains("request=from-the-proxy"))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_applications_cache_knows_whether_gateways_are_connected() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let shape =
        laravel.deploy(Runtime::FastPath, 1)?.shape.worker("--status-ttl", &format!("{}s", STATUS_LIFE.as_secs()));
    let mut cluster = Cluster::start(shape)?;
    let cached = || laravel.tinker(&[], "echo cache()->get('diffyne:websocket:status', 'nothing');").unwrap();
    eventually("connected", || cached() == "connected")?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let seen = call_probe(&mut client, "health", json!([])).await?.state()["seen"].clone();
    assert_eq!((&seen["status"], &seen["healthy"]), (&json!("connected"), &json!(true)), "{seen}");
    // The gateway tells it again before the cache forgets it: the entry's whole life has to pass.
    tokio::time::sleep(STATUS_LIFE + Duration::from_secs(1)).await;
    assert_eq!(cached(), "connected");
    let mut gateway = cluster.gateways.remove(0);
    gateway.process.kill()?;
    eventually("the last gateway is gone", || cached() == "disconnected")?;
    Ok(())
}

/// As a browser returns a value: keys that are indexes come first in each object, the smallest first.
fn in_javascript_order(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(in_javascript_order).collect(),
        Value::Object(map) => {
            let index =
                |key: &str| key.parse().ok().filter(|index: &u32| *index < u32::MAX && index.to_string() == key);
            let mut members: Vec<(String, Value)> = map.into_iter().collect();
            members.sort_by_key(|(key, _)| index(key).unwrap_or(u32::MAX));
            Value::Object(members.into_iter().map(|(key, value)| (key, in_javascript_order(value))).collect())
        }
        scalar => scalar,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn states_signed_by_php_verify_here_and_the_reverse() -> anyhow::Result<()> {
    use diffyne_shared::signing::{Signer, SigningKey, VerifyState};
    use proptest::strategy::{Strategy as _, ValueTree as _};
    let laravel = Laravel::new()?;
    let leaf = proptest::prop_oneof![
        proptest::prelude::Just(Value::Null),
        proptest::prelude::any::<bool>().prop_map(Value::from),
        proptest::prelude::any::<i64>().prop_map(Value::from),
        (-1.0e15..1.0e15).prop_map(Value::from),
        proptest::prelude::any::<f64>()
            .prop_filter("JSON knows no others", |number| number.is_finite())
            .prop_filter("browsers print them as integers", |number| *number != 0.0
                && !(1e17..9.3e18).contains(&number.abs()))
            .prop_map(Value::from),
        "[ -~äöü€😀\u{2028}\u{7f}\\n\\t/\"\\\\]{0,12}".prop_map(Value::from),
    ];
    let tree = leaf.prop_recursive(4, 24, 5, |inner| {
        proptest::prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec(("[a-zA-Z0-9_äé -]{0,6}", inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    });
    let state = proptest::collection::vec(("[a-zA-Z][a-zA-Z0-9_]{0,8}", tree), 1..6)
        .prop_map(|pairs| Value::Object(pairs.into_iter().collect()));
    let mut runner = proptest::test_runner::TestRunner::default();
    let key = SigningKey::parse(diffyne_tests::recorded::APP_KEY)?;
    let signer = Signer::new(vec![key], VerifyState::Strict, false).unwrap();
    let mut lines = String::new();
    let mut states = Vec::new();
    for number in 0..1000 {
        let state = state.new_tree(&mut runner).map_err(|reason| anyhow::anyhow!("{reason}"))?.current();
        // Where PHP's comparison of keys is not transitive, its sort depends on the order before it.
        let state = in_javascript_order(state);
        let id = format!("diffyne-{number}");
        lines += &json!({"id": id, "state": state, "signature": signer.sign(&state, &id)}).to_string();
        lines += "\n";
        states.push((id, state));
    }
    std::fs::write(laravel.path("states.jsonl"), &lines)?;
    // What upstream's own signer does with a state that came as JSON.
    // The rule that both apply beside the signer: empty text is null.
    let code = "foreach (file('states.jsonl') as $line) { $case = json_decode($line, true); \
         array_walk_recursive($case['state'], static function (&$value) { $value = $value === '' ? null : $value; }); \
         $signature = Diffyne\\Security\\StateSigner::sign($case['state'], $case['id']); \
         echo json_encode([$signature, hash_equals($signature, $case['signature'])]), \"\\n\"; }";
    let told = laravel.tinker(&[], code)?;
    let mut checked = 0;
    for ((id, state), line) in states.iter().zip(told.lines()) {
        let (signature, theirs_agrees): (String, bool) = serde_json::from_str(line)?;
        assert!(theirs_agrees, "PHP refuses what we have signed: {state}");
        assert!(signer.covers(state, id, &signature), "we refuse what PHP has signed: {state}");
        let mut other = signature.clone();
        other.replace_range(0..1, if signature.starts_with('0') { "1" } else { "0" });
        assert!(!signer.covers(state, id, &other));
        checked += 1;
    }
    assert_eq!(checked, 1000);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ajax_call_that_bypasses_the_workers_is_broadcast_by_the_cluster() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    laravel.load_bridge()?;
    let (_fpm, socket) = laravel.serve_fpm(2)?;
    let (_nginx, port) = laravel.serve_nginx(&socket)?;
    let shape = laravel.shape(2, 1).with_redis().gateway("--redis-prefix", "laravel-database-");
    let shape = shape.gateway("--admin-token", "let-me").worker("--redis-prefix", "laravel-database-");
    let cluster = Cluster::start(shape)?;
    let redis = cluster.redis_port;
    let environment =
        format!("REDIS_HOST=127.0.0.1\nREDIS_PORT={redis}\nREDIS_PREFIX=laravel-database-\nREDIS_CLIENT=phpredis\n");
    let plain = std::fs::read_to_string(laravel.path(".env"))?;
    let over_http = format!(
        "DIFFYNE_PUBLISH_URL=http://127.0.0.1:{}/api/broadcast\nDIFFYNE_ADMIN_TOKEN=let-me\n",
        cluster.gateways[0].admin
    );
    let mut sender = Client::connect(&cluster.url(0)).await?;
    let mut other = Client::connect(&cluster.url(1)).await?;
    sender.subscribe("message-sent").await?;
    other.subscribe("message-sent").await?;
    let plain_call = |what: &str, cause: Value| {
        let mut data = call("App\\Diffyne\\Plain", "p", "tell", json!([what]), json!({"text": "x"}), "r");
        data["cause"] = cause;
        let headers = [("X-Diffyne-Client-Id", sender.id.clone()), ("Sec-Fetch-Site", "same-origin".to_owned())];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        http_post(port, "/_diffyne/update", &headers, &data.to_string())
    };
    for (how, settings) in [("redis", &environment), ("http", &over_http)] {
        std::fs::write(laravel.path(".env"), format!("{plain}{settings}"))?;
        let answer = plain_call(how, Value::Null)?;
        assert_eq!(answer.status, 200, "{answer:?}");
        let push = other.receive().await?;
        assert_eq!(*push.params(), json!([{"what": how}]), "{push}");
        assert_eq!(push["depth"], 0);
        // A reaction to a push tells how deep it is, and ends where the cluster says.
        plain_call("deeper", json!({"id": "x", "depth": 0}))?;
        assert_eq!(other.receive().await?["depth"], 1);
        plain_call("too deep", json!({"id": "x", "depth": 2}))?;
        assert_eq!(other.barrier().await?, []);
    }
    assert_eq!(sender.barrier().await?, [], "the sender has it in its answer");
    let errors = laravel.log();
    assert!(!errors.contains("ERROR"), "{errors}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_by_command_replaces_every_process() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(1, 2).worker("--admin-token", "let-me"))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    assert_eq!(call_probe(&mut client, "ask", json!([])).await?.state()["text"], "VERSION-1");
    laravel.change("app/Diffyne/Probe.php", "VERSION-1", "VERSION-2")?;
    let admin = format!("127.0.0.1:{}", cluster.workers[0].admin);
    let reload = |token: &str| {
        let program = diffyne_tests::process::program("diffyne-worker").unwrap();
        let flags = ["reload", "--signing-key", "x", "--worker-admin-listen", &admin, "--admin-token", token];
        Command::new(program).args(flags).output()
    };
    let refused = reload("guess")?;
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("token"), "{refused:?}");
    let done = reload("let-me")?;
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(
        done.status.success() && told.contains("PHP processes are to be replaced") && told.contains("done"),
        "{done:?}"
    );
    for _ in 0..20 {
        assert_eq!(call_probe(&mut client, "ask", json!([])).await?.state()["text"], "VERSION-2");
    }
    let ended = || cluster.workers[0].metric("diffyne_worker_php_processes_ended_total{reason=\"replaced\"}");
    // Those that were let go take a moment to end; the spare one may still have been on its way.
    eventually("the older processes have ended", || ended().is_ok_and(|ended| ended >= 2.0))?;
    assert!(ended()? <= 4.0, "{}", ended()?);
    Ok(())
}
