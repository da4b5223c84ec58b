//! `diffyne-gateway doctor` on set-ups that are well and on those that are not, with a real Laravel.

use std::process::Command;

use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::laravel::{Laravel, Runtime};
use diffyne_tests::ports::free_ports;
use diffyne_tests::process::program;
use diffyne_tests::recorded::APP_KEY;
use diffyne_tests::redis::cli;
use diffyne_tests::upload::UploadApplication;

fn doctor(flags: &[&str]) -> anyhow::Result<(bool, String)> {
    let output = Command::new(program("diffyne-gateway")?).arg("doctor").args(flags).env_clear().output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ok((output.status.success(), text))
}

fn line<'a>(text: &'a str, part: &str, words: &str) -> &'a str {
    let found = text.lines().find(|line| line.contains(&format!(" {part} ")) && line.contains(words));
    found.unwrap_or_else(|| panic!("no line of {part} with `{words}`:\n{text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_set_up_passes_every_check_and_a_real_call() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    laravel.load_bridge()?;
    let cluster = Cluster::start(laravel.shape(1, 1).with_redis())?;
    let environment = format!(
        "APP_NAME=\"My Shop\"\nAPP_URL=https://shop.test\nAPP_KEY={APP_KEY}\nDIFFYNE_WS_KEY=0123456789abcdef0123456789abcdef\n\
         DIFFYNE_WS_CORS_ORIGINS=https://shop.test\nDIFFYNE_REDIS_PREFIX=my-shop-database-\n"
    );
    std::fs::write(laravel.path(".env"), environment)?;
    // Under the same prefix as the worker, which has none here.
    let env_file = laravel.path(".env").display().to_string();
    let workers = format!("127.0.0.1:{}", cluster.workers[0].port);
    let listen = format!("127.0.0.1:{}", cluster.gateways[0].port);
    let redis = cluster.redis_url();
    let flags = ["--env-file", &env_file, "--redis-url", &redis, "--workers", &workers, "--listen", &listen];
    let (well, text) = doctor(&flags)?;
    assert!(well, "{text}");
    for (part, words) in [
        ("key", "one in force"),
        ("origins", "https://shop.test"),
        ("signing key", "it can be read"),
        ("port", "a gateway runs there"),
        ("redis", "answers, version"),
        ("eviction", "noeviction"),
        ("persistence", "on"),
        ("prefix", "as Laravel's"),
        ("worker", "runs calls on php"),
        ("bridge", "has it"),
        ("call", "through gateway, worker and application in"),
        ("application", "files in app/"),
    ] {
        assert!(line(&text, part, words).starts_with("ok "), "{text}");
    }
    // A component by name, really called.
    let call = ["--component", "App\\Diffyne\\Todo", "--method", "reverse"];
    let (well, text) = doctor(&[&flags[..], &call[..]].concat())?;
    assert!(well && line(&text, "call", "through").starts_with("ok "), "{text}");
    let call = ["--component", "App\\Diffyne\\Counter", "--method", "increment"];
    let (well, text) = doctor(&[&flags[..], &call[..]].concat())?;
    assert!(well && line(&text, "call", "has locked properties").starts_with("ok "), "{text}");
    let call = ["--component", "App\\Diffyne\\Todo", "--method", "nothing"];
    let (well, text) = doctor(&[&flags[..], &call[..]].concat())?;
    assert!(!well && line(&text, "call", "answered 400").starts_with("BAD "), "{text}");
    Ok(())
}

/// What is done to Redis, who asks it then, and what `doctor` says.
const USERS_OF_REDIS: [(&[&str], &str, &str, &str); 5] = [
    (
        &["ACL", "SETUSER", "few", "on", ">p", "~{diffyne}:*", "&{diffyne}:*", "+@all", "-@dangerous", "+role"],
        "few:p@",
        "ok ",
        "version unknown",
    ),
    (&["ACL", "SETUSER", "few", "resetchannels"], "few:p@", "BAD ", "its user may not"),
    (&["ACL", "SETUSER", "few", "&{diffyne}:*", "-publish"], "few:p@", "BAD ", "its user may not"),
    (&["ACL", "SETUSER", "few", "+publish", "resetkeys"], "few:p@", "BAD ", "its user may not"),
    (&["REPLICAOF", "127.0.0.1", "1"], "", "BAD ", "It is a replica"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_a_set_up_is_reported_with_its_remedy() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    laravel.change("app/Diffyne/Counter.php", "class Counter extends Component\n{", "class Counter extends Component\n{\n    use \\Diffyne\\Cluster\\InteractsWithWebSocket;\n\n    #[\\Diffyne\\Attributes\\On('x')]\n    public function hears(): void {}\n")?;
    std::fs::write(
        laravel.path(".env"),
        "APP_NAME=Laravel\nDIFFYNE_WS_KEY=d2c61c0f8393e8b5273e84879276cbe7\nREDIS_PREFIX=mine-\n",
    )?;
    let deployment = laravel.deploy(Runtime::HttpWithoutBridge, 1)?;
    let cluster = Cluster::start(Shape { redis: true, ..deployment.shape.clone() })?;
    let policy =
        ["-p", &cluster.redis_port.to_string(), "config", "set", "maxmemory-policy", "allkeys-lru"].map(str::to_owned);
    assert!(Command::new("redis-cli").args(&policy).output()?.status.success());
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let listen = taken.local_addr()?.to_string();
    let env_file = laravel.path(".env").display().to_string();
    let redis = cluster.redis_url();
    let flags = [
        "--env-file",
        &env_file,
        "--redis-url",
        &redis,
        "--listen",
        &listen,
        "--app-key",
        "another",
        "--debug",
        "true",
    ];
    let (well, text) = doctor(&flags)?;
    assert!(!well, "{text}");
    for (part, words) in [
        ("key", "the default that the package publishes"),
        ("origins", "APP_URL is not set"),
        ("debug", "reach every browser"),
        ("port", "cannot be had"),
        ("eviction", "allkeys-lru"),
        ("bridge", "calls the package's own endpoint"),
        ("bridge", "php-fpm has to load too"),
        ("call", "signing key is not the gateway's"),
    ] {
        assert!(line(&text, part, words).starts_with("BAD "), "{text}");
    }
    for (part, words) in [("prefix", "Laravel's is `mine-`"), ("listeners", "hears()"), ("locked", "Account.php")] {
        assert!(line(&text, part, words).starts_with("note"), "{text}");
    }
    for (before, user, mark, words) in USERS_OF_REDIS {
        cli(cluster.redis_port, before)?;
        let redis = format!("redis://{user}127.0.0.1:{}", cluster.redis_port);
        let (_, text) = doctor(&["--redis-url", &redis, "--listen", "127.0.0.1:0"])?;
        assert!(line(&text, "redis", words).starts_with(mark), "{text}");
    }
    let nobody = ["--redis-url", "redis://127.0.0.1:1", "--workers", "127.0.0.1:1", "--listen", "127.0.0.1:0"];
    let (well, text) = doctor(&nobody)?;
    assert!(!well);
    for (part, words) in
        [("key", "is not set"), ("redis", "does not answer"), ("worker", "refused"), ("signing key", "neither")]
    {
        assert!(line(&text, part, words).starts_with("BAD "), "{text}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_are_tried_where_they_would_go() -> anyhow::Result<()> {
    let application = UploadApplication::start()?;
    let url = application.url();
    for (flags, mark, words) in [
        (&["--upload-url", &url][..], "ok ", "takes them"),
        (&["--upload-url", &url, "--route-prefix", "/other"], "BAD ", "knows no POST /other/upload"),
        (&["--upload-url", "http://127.0.0.1:1"], "BAD ", "does not answer"),
        (&["--upload-url", "https://127.0.0.1", "--upload-ca", "/nowhere.pem"], "BAD ", "DIFFYNE_UPLOAD_CA"),
        (&[], "note", "DIFFYNE_UPLOAD_URL is not set"),
    ] {
        let (_, text) = doctor(&[flags, &["--listen", "127.0.0.1:0"]].concat())?;
        assert!(line(&text, "uploads", words).starts_with(mark), "{text}");
    }
    assert!(application.stored()?.is_empty(), "nothing is stored");
    Ok(())
}

/// Pages without a WebSocket hear nothing in time, and all act as nobody.
fn a_front_that_holds_events_back_and_hides_the_host(app: &str, key: &str) -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).gateway("--ws-key", key))?;
    let [port] = free_ports()?;
    let site = cluster.shipped_site("diffyne.conf", port)?;
    // No header of the gateway turns these buffers off.
    let site = site.replace("proxy_buffering off;", "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;");
    let _nginx = cluster.run_nginx(&site.replace("Host               $http_host;", "Host gateways.internal;"), port)?;
    let (well, text) = doctor(&["--url", &format!("ws://127.0.0.1:{port}/"), "--app-url", app, "--ws-key", key])?;
    assert!(!well && line(&text, "events", "proxy_buffering off").starts_with("BAD "), "{text}");
    assert!(line(&text, "cookies", "as guests").starts_with("BAD "), "{text}");
    assert!(line(&text, "cookies", "proxy_set_header Host").contains(app), "{text}");
    assert!(line(&text, "front call", "to a worker and back").starts_with("ok "), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_front_is_looked_at_as_a_page_sees_it() -> anyhow::Result<()> {
    const KEY: &str = "0123456789abcdef0123456789abcdef";
    let shape = Shape::new(1, 1).with_nginx();
    let shape = shape.gateway("--ws-key", KEY).gateway("--ws-cors-origins", "https://shop.test");
    let mut cluster = Cluster::start(shape.gateway("--admin-token", KEY))?;
    let (url, admin) = (cluster.nginx_url(), format!("127.0.0.1:{}", cluster.gateways[0].admin));
    let look = |url: &str, app: &str, more: &[&str]| {
        doctor(&[&["--url", url, "--app-url", app, "--admin-listen", &admin, "--admin-token", KEY], more].concat())
    };
    let (shop, key) = ("https://shop.test", ["--ws-key", KEY]);

    let (well, text) = look(&url, shop, &key)?;
    assert!(well && text.contains(", 0 to note, 0 problems"), "{text}");
    for part in ["front", "gateway", "front key", "front origin", "front call", "broadcast", "cookies", "events"] {
        assert!(line(&text, part, "").starts_with("ok "), "{text}");
    }
    // What a page of another site, with another key, or at another address would meet.
    for (url, app, more, words) in [
        (url.as_str(), shop, &["--ws-key", "another-key-entirely"], "the key is missing or wrong"),
        (&url, "https://other.test", &key, "DIFFYNE_WS_CORS_ORIGINS"),
        (&format!("{url}nowhere"), shop, &key, "locations"),
        (&url.replace("ws://", "wss://"), shop, &key, "TLS with 127.0.0.1"),
        ("shop.test/diffyne", shop, &key, "write it as pages do"),
    ] {
        let (well, text) = look(url, app, more)?;
        assert!(!well && line(&text, "front", words).starts_with("BAD "), "{url}: {text}");
        assert!(text.contains("\n1. front: "), "{text}");
    }
    // A proxy that waits for less than the gateway's pings ends connections that are quiet.
    let [port] = free_ports()?;
    let site = cluster.shipped_site("diffyne.conf", port)?.replace("proxy_read_timeout 80s", "proxy_read_timeout 1s");
    let impatient = cluster.run_nginx(&site, port)?;
    let (well, text) = look(&format!("ws://127.0.0.1:{port}/"), shop, &["--ws-key", KEY, "--idle", "10"])?;
    assert!(!well && line(&text, "idle", "DIFFYNE_PING_INTERVAL").starts_with("BAD "), "{text}");
    drop(impatient);
    a_front_that_holds_events_back_and_hides_the_host(shop, KEY)?;

    cluster.gateways[0].process.kill()?;
    let (well, text) = look(&url, shop, &["--ws-key", KEY, "--json"])?;
    // The error follows on the other stream.
    let json = text.rsplit_once('}').map_or("", |(json, _)| json).to_owned() + "}";
    let found: serde_json::Value = serde_json::from_str(&json)?;
    assert!(
        !well && found["problems"] == 1 && found["findings"][0]["text"].as_str().unwrap().contains("502"),
        "{found}"
    );
    Ok(())
}
