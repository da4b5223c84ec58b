//! The Composer package `diffyne/cluster` in a real Laravel.

use std::path::PathBuf;

use diffyne_tests::client::Client;
use diffyne_tests::cluster::Cluster;
use diffyne_tests::http::http_get;
use diffyne_tests::laravel::Laravel;
use diffyne_tests::laravel_probe::call_for_text;
use diffyne_tests::ports::free_ports;
use diffyne_tests::process::{Process, Signal, eventually, program};
use serde_json::json;

/// A line of the method that clients call.
const PROVIDER: &str = "app/Providers/AppServiceProvider.php";
const SAYS: &str = "$this->text = $text;";

#[tokio::test(flavor = "multi_thread")]
async fn composer_installs_the_package_and_laravel_finds_it() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    laravel.install_package()?;
    let code = "echo json_encode([get_class(app('diffyne.websocket.health')), config('diffyne.cluster.publish_url'), \
                config('diffyne.cluster.broadcast_events'), (new ReflectionClass(Diffyne\\Cluster\\Bridge::class))->getFileName()]);";
    let printed = laravel.tinker(&[("DIFFYNE_PUBLISH_URL", "http://gateway.test/api/broadcast")], code)?;
    let bridge = format!("{}/packages/diffyne-cluster/src/Bridge.php", laravel.directory);
    let expected = json!([
        "Diffyne\\Cluster\\WebSocketHealthChecker",
        "http://gateway.test/api/broadcast",
        "message-sent",
        bridge
    ]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&printed)?, expected);
    // A published configuration counts.
    laravel.php(&[&format!("{}/artisan", laravel.directory), "vendor:publish", "--tag=diffyne-cluster"])?;
    laravel.change("config/diffyne-cluster.php", "'message-sent'", "'order-paid'")?;
    laravel.artisan("config:cache")?;
    assert_eq!(laravel.tinker(&[], "echo config('diffyne.cluster.broadcast_events');")?, "order-paid");
    // Behind another server the bridge is there without a line in the application, and in the pool it is the worker's.
    let (_server, port) = laravel.serve()?;
    for shape in [laravel.shape_over_http(port), laravel.shape(1, 1)] {
        let cluster = Cluster::start(shape)?;
        let mut client = Client::connect(&cluster.url(0)).await?;
        assert_eq!(call_for_text(&mut client, "say", json!(["  as typed "])).await?, "  as typed ");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_artisan_command_starts_a_cluster_that_others_check_and_restart() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    laravel.install_package()?;
    // The application's root has no other files of this machine.
    std::fs::create_dir_all(laravel.path("bin"))?;
    for name in ["diffyne-gateway", "diffyne-worker"] {
        std::fs::copy(program(name)?, laravel.path("bin").join(name))?;
    }
    let [gateway, worker, admin, worker_admin] = free_ports()?;
    let settings = format!(
        "DIFFYNE_PROGRAMS=bin\nDIFFYNE_ADMIN_TOKEN=let-me\nDIFFYNE_PUBLISH_URL=http://127.0.0.1:{admin}/api/broadcast\n\
         DIFFYNE_ADMIN_LISTEN=127.0.0.1:{admin}\nDIFFYNE_WORKER_ADMIN_LISTEN=127.0.0.1:{worker_admin}\n\
         DIFFYNE_PHP_PROCESSES_MAX=1\n"
    );
    let environment = std::fs::read_to_string(laravel.path(".env"))?;
    std::fs::write(laravel.path(".env"), environment + &settings)?;
    // What a provider sets is read when the application boots.
    laravel.change(PROVIDER, "config([", "config(['greeting' => '', ")?;
    laravel.change("app/Diffyne/Plain.php", SAYS, &SAYS.replace("$text;", "config('greeting').$text;"))?;
    let start = || {
        Process::start_parent("artisan", &laravel.path(""), &PathBuf::from("chroot"), |command| {
            let (listen, at) = (format!("--listen=127.0.0.1:{gateway}"), format!("--worker=127.0.0.1:{worker}"));
            command.arg(laravel.root()).args(["php8.4", &format!("{}/artisan", laravel.directory), "diffyne:cluster"]);
            command.args([listen.as_str(), at.as_str(), "--processes=2", "--watch=routes"]);
        })
    };
    let is_ready = || http_get(admin, "/ready").is_ok_and(|answer| answer.status == 200);
    let mut command = start()?;
    eventually("the gateway has a worker", is_ready).map_err(|error| error.context(command.output()))?;
    eventually("PHP is ready", || http_get(worker_admin, "/ready").is_ok_and(|answer| answer.status == 200))?;
    let mut client = Client::connect(&format!("ws://127.0.0.1:{gateway}/")).await?;
    assert_eq!(call_for_text(&mut client, "say", json!(["hello"])).await?, "hello");
    let run = |name: &str, option: String| laravel.php(&[&format!("{}/artisan", laravel.directory), name, &option]);
    // Changed code that nobody watches counts from the restart on.
    laravel.change(PROVIDER, "'greeting' => ''", "'greeting' => 'new: '")?;
    assert_eq!(call_for_text(&mut client, "say", json!(["hello"])).await?, "hello");
    run("diffyne:restart", format!("--admin=127.0.0.1:{worker_admin}"))?;
    assert_eq!(call_for_text(&mut client, "say", json!(["hello"])).await?, "new: hello");
    let check = || {
        let checked = run("diffyne:doctor", format!("--workers=127.0.0.1:{worker}")).map_err(|error| error.to_string());
        checked.unwrap_or_else(|found| found)
    };
    let checked = check();
    for line in ["ok    publishing", "note  broadcasting", "ok    worker       127.0.0.1:"] {
        assert!(checked.contains(line), "{line}: {checked}");
    }
    // Nobody listens there.
    laravel.change(".env", &format!("127.0.0.1:{admin}/api"), "127.0.0.1:1/api")?;
    let checked = check();
    let line =
        "BAD   publishing   http://127.0.0.1:1/api/broadcast: http://127.0.0.1:1/api/broadcast cannot be reached";
    assert!(checked.contains(line), "{checked}");
    // What it shows says which program has said it. Ctrl-C ends both, and so does a terminal that is closed.
    let shown = command.output();
    assert!(shown.contains("gateway | ") && shown.contains("worker  | "), "{shown}");
    for signal in [Signal::Int, Signal::Hup] {
        command.signal(signal)?;
        assert!(command.wait()?.success(), "{}", command.output());
        for port in [gateway, worker] {
            assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "{port}: {}", command.output());
        }
        if signal == Signal::Int {
            command = start()?;
            eventually("the gateway has a worker", is_ready).map_err(|error| error.context(command.output()))?;
        }
    }
    Ok(())
}
