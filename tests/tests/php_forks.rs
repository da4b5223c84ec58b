//! PHP processes that are forked from one that has booted the application, and those that cannot be.

use std::collections::HashSet;
use std::process::Command;

use anyhow::Context as _;
use diffyne_tests::client::Client;
use diffyne_tests::cluster::Cluster;
use diffyne_tests::http::http;
use diffyne_tests::laravel::Laravel;
use diffyne_tests::laravel_probe::{call_for_text, call_probe};
use diffyne_tests::process::eventually;
use serde_json::{Value, json};

/// Each boot of the application leaves a line here.
const BOOTS: &str = "storage/boots";

fn application(at_boot: &str) -> anyhow::Result<Laravel> {
    let laravel = Laravel::new()?;
    let note =
        format!("<?php file_put_contents(dirname(__DIR__).'/{BOOTS}', getmypid().\"\\n\", FILE_APPEND); {at_boot}\n");
    laravel.change("bootstrap/app.php", "<?php", &note)?;
    Ok(laravel)
}

fn boots(laravel: &Laravel) -> usize {
    std::fs::read_to_string(laravel.path(BOOTS)).unwrap_or_default().lines().count()
}

const TOKEN: &str = "an-admin-token";

/// The ids of the worker's processes in a state.
fn processes(cluster: &Cluster, state: &str) -> Vec<u64> {
    let request =
        format!("GET /api/processes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n");
    let answer = http(cluster.workers[0].admin, &request).and_then(|answer| answer.json());
    let report: Value = answer.unwrap_or_default();
    let all = report["processes"].as_array().cloned().unwrap_or_default();
    all.iter().filter(|process| process["state"] == state).filter_map(|process| process["process"].as_u64()).collect()
}

fn kill(process: u64) -> anyhow::Result<()> {
    Command::new("kill").args(["-9", &process.to_string()]).status()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_are_forked_from_one_that_has_booted_and_share_nothing_that_they_must_not() -> anyhow::Result<()> {
    let laravel = application("mt_srand(7);")?;
    // A provider uses the database. A log is open, too.
    laravel.change(
        "app/Providers/AppServiceProvider.php",
        "config([",
        "\\Illuminate\\Support\\Facades\\DB::select('select 1'); \\Illuminate\\Support\\Facades\\Log::info('booted'); config([",
    )?;
    // Each waits until three run, so that no process runs two.
    let draw = "#[Invokable] public function draw(): void { touch(storage_path('drawn-'.getmypid())); \
                while (count(glob(storage_path('drawn-*'))) < 3) { usleep(5000); } \
                $this->text = getmypid().' '.mt_rand().' '.count(\\Illuminate\\Support\\Facades\\DB::select('select id from users')); }";
    laravel.change(
        "app/Diffyne/Probe.php",
        "public function version()",
        &format!("{draw}\n    public function version()"),
    )?;
    let cluster = Cluster::start(laravel.shape(1, 3).worker("--admin-token", TOKEN).worker("--php-fork", "reconnect"))?;
    eventually("three and a spare one", || processes(&cluster, "idle").len() == 4)?;
    assert_eq!(boots(&laravel), 1, "one has booted for all");
    let forked = processes(&cluster, "idle");
    let calls = (0..3).map(|_| async {
        let mut client = Client::connect(&cluster.url(0)).await?;
        let text = call_for_text(&mut client, "draw", json!([])).await?;
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        <[String; 3]>::try_from(words).ok().context(text)
    });
    let drawn = futures_util::future::try_join_all(calls).await?;
    let distinct = |at: usize| drawn.iter().map(|words| &words[at]).collect::<HashSet<_>>().len();
    assert_eq!((distinct(0), distinct(1)), (3, 3), "processes; their random numbers: {drawn:?}");
    assert!(drawn.iter().all(|words| words[2] == "2"), "each has a connection of its own: {drawn:?}");
    eventually("they go on", || processes(&cluster, "idle") == forked)?;

    // Without what they were forked from, processes go on, and print, until others have taken their place.
    let [template] = processes(&cluster, "template")[..] else { anyhow::bail!("no template") };
    let mut client = Client::connect(&cluster.url(0)).await?;
    kill(template)?;
    assert!(call_probe(&mut client, "shout", json!([1])).await?.is_ok());
    eventually("another one has booted, and all were replaced", || {
        let now = processes(&cluster, "idle");
        boots(&laravel) == 2 && now.len() == 4 && now.iter().all(|process| !forked.contains(process))
    })?;
    assert_eq!(processes(&cluster, "template").len(), 1);
    let died = "diffyne_worker_php_processes_ended_total{reason=\"template_died\"}";
    assert!((0.5..1.5).contains(&cluster.workers[0].metric(died)?));
    // One that ends is replaced by a fork.
    let process = call_for_text(&mut client, "wait", json!([0])).await?.parse()?;
    kill(process)?;
    eventually("a fork has its place", || {
        let now = processes(&cluster, "idle");
        now.len() == 4 && !now.contains(&process)
    })?;
    assert_eq!(boots(&laravel), 2);
    assert!(call_probe(&mut client, "wait", json!([0])).await?.is_ok());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_process_boots_where_they_cannot_be_forked() -> anyhow::Result<()> {
    let held = "$GLOBALS['held'] = fopen(__FILE__, 'r');";
    let socket = "$GLOBALS['held'] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);";
    // What is set on it would be lost with it.
    let database = "$GLOBALS['held'] = new PDO('sqlite:'.dirname(__DIR__).'/database/database.sqlite'); $GLOBALS['held']->query('select 1');";
    let rows = [
        // The template boots in vain.
        (database, "", 3, "opened /"),
        (held, "", 3, "opened"),
        (socket, "", 3, "opened a connection"),
        ("", "disable_functions=pcntl_fork", 2, "no pcntl_fork"),
        ("", "disable_functions=posix_kill", 2, "no posix_kill"),
        ("", "off", 2, ""),
    ];
    for (at_boot, setting, expected, reason) in rows {
        let laravel = application(at_boot)?;
        let shape = laravel.shape(1, 1).worker("--admin-token", TOKEN);
        let shape = match setting {
            "" => shape,
            "off" => shape.worker("--php-fork", "off"),
            ini => shape.worker("--php-ini", ini),
        };
        let cluster = Cluster::start(shape)?;
        eventually("one and a spare one", || processes(&cluster, "idle").len() == 2)?;
        assert_eq!((boots(&laravel), processes(&cluster, "template").len()), (expected, 0), "{at_boot}{setting}");
        let log = cluster.workers[0].process.output();
        let told = log.contains("each PHP process boots the application by itself");
        assert_eq!((told, log.contains(reason)), (!reason.is_empty(), true), "{log}");
        let mut client = Client::connect(&cluster.url(0)).await?;
        assert!(call_probe(&mut client, "wait", json!([0])).await?.is_ok());
    }
    Ok(())
}
