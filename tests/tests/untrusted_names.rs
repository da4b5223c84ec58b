//! Names that strangers choose: of classes, methods and properties, by the thousand and by the megabyte.

use std::collections::BTreeSet;

use diffyne_tests::client::{Client, call};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::for_runtimes;
use diffyne_tests::laravel::{Deployment, Laravel, Runtime};
use diffyne_tests::message::ServerMessage;
use diffyne_tests::process::eventually;
use serde_json::json;

const COUNTER: &str = "App\\Diffyne\\Counter";
/// As a label of Prometheus is written.
const COUNTER_LABEL: &str = "App\\\\Diffyne\\\\Counter";

/// A cluster whose clients may call as often as they like, and sign nothing.
fn cluster(shape: Shape) -> anyhow::Result<Cluster> {
    let shape = shape.worker("--locked", "upstream");
    Cluster::start(shape.gateway("--message-rate", "0").gateway("--call-rate", "0"))
}

async fn call_by_name(client: &mut Client, class: &str, method: &str) -> anyhow::Result<ServerMessage> {
    let state = json!({"count": 0, "label": "a"});
    client.call(call(class, "diffyne-a", method, json!([]), state, "r")).await
}

/// Calls side by side, so that thousands take seconds; how many went well.
async fn call_all(client: &mut Client, names: &[(String, String)]) -> anyhow::Result<usize> {
    let mut well = 0;
    for some in names.chunks(8) {
        for (index, (class, method)) in some.iter().enumerate() {
            let state = json!({"count": 0, "label": "a"});
            let data = call(class, &format!("diffyne-{index}"), method, json!([]), state, "r");
            client.send("diffyne.call", data).await?;
        }
        for _ in some {
            well += usize::from(client.receive().await?.is_ok());
        }
    }
    Ok(well)
}

/// What gateway and worker have written and what they show, in bytes: logs, and metrics.
fn sizes(cluster: &Cluster) -> anyhow::Result<(usize, usize)> {
    let nodes = || cluster.gateways.iter().chain(&cluster.workers);
    let logs = nodes().map(|node| node.process.output().len()).sum();
    let mut metrics = 0;
    for node in nodes() {
        metrics += node.metrics()?.len();
    }
    Ok((logs, metrics))
}

/// The values of a label of all calls that a node has counted.
fn labels(metrics: &str, label: &str) -> BTreeSet<String> {
    let lines = metrics.lines().filter(|line| line.contains("_calls_total{component="));
    lines.filter_map(|line| Some(line.split_once(&format!("{label}=\""))?.1.split_once('"')?.0.to_owned())).collect()
}

/// Sooner or later a gateway's threads add up what they have counted.
fn counted(
    cluster: &Cluster,
    component: &str,
) -> anyhow::Result<(BTreeSet<String>, BTreeSet<String>, BTreeSet<String>)> {
    eventually("the calls are counted", || {
        cluster.gateways[0].metrics().is_ok_and(|metrics| labels(&metrics, "component").contains(component))
    })?;
    let (gateway, worker) = (cluster.gateways[0].metrics()?, cluster.workers[0].metrics()?);
    Ok((labels(&gateway, "component"), labels(&worker, "component"), labels(&worker, "method")))
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

fn deploy(runtime: Option<Runtime>) -> anyhow::Result<(Option<Laravel>, Deployment)> {
    let Some(runtime) = runtime else {
        let shape = Shape::new(1, 1).worker_variable("DIFFYNE_RECORDED", "1");
        return Ok((None, Deployment { shape, processes: Vec::new() }));
    };
    let laravel = Laravel::new()?;
    let deployment = laravel.deploy(runtime, 1)?;
    Ok((Some(laravel), deployment))
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_400_kb_reach_neither_logs_nor_metrics_of_rust_components() -> anyhow::Result<()> {
    check_names_of_400_kb(None).await
}

for_runtimes!(names_of_400_kb_reach_neither_logs_nor_metrics: fast_path = FastPath, kernel = Kernel, http = Http, fastcgi = FastCgi, without = HttpWithoutBridge);
async fn names_of_400_kb_reach_neither_logs_nor_metrics(runtime: Runtime) -> anyhow::Result<()> {
    check_names_of_400_kb(Some(runtime)).await
}

async fn check_names_of_400_kb(runtime: Option<Runtime>) -> anyhow::Result<()> {
    let (laravel, deployment) = deploy(runtime)?;
    let cluster = cluster(deployment.shape.clone())?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    call_by_name(&mut client, COUNTER, "increment").await?;
    let before = sizes(&cluster)?;
    let long = |number: usize, text: &str| format!("{text}{number}").repeat(400_000 / (text.len() + 3) + 1);
    for number in 100..172 {
        let name = long(number, ["x", "Ab\\", "-\n", "é"][number % 4]);
        let answer = match number % 3 {
            0 => call_by_name(&mut client, &name, "increment").await?,
            1 => call_by_name(&mut client, COUNTER, &name).await?,
            _ => {
                let state = json!({"count": 0, "label": "a", &name: 1});
                let data = json!({"type": "update", "componentId": "d", "componentClass": COUNTER, "property": name,
                    "value": 1, "state": state, "signature": "00", "requestId": "r"});
                client.send("diffyne.update", data).await?;
                client.receive().await?
            }
        };
        assert!(!answer.is_ok(), "{:.300}", answer.to_string());
        assert!(answer.to_string().len() < 2_000, "answers do not repeat it: {:.300}", answer.to_string());
    }
    let after = sizes(&cluster)?;
    println!("logs {before:?}, {after:?} bytes");
    assert!(after.0 < before.0 + 4_000, "logs grew from {} to {} bytes", before.0, after.0);
    assert!(after.1 < before.1 + 4_000, "metrics grew from {} to {} bytes", before.1, after.1);
    let log = laravel.map(|laravel| laravel.log()).unwrap_or_default();
    assert!(log.len() < 4_000, "the application's log has {} bytes", log.len());
    Ok(())
}

/// A name in some letters' other case.
fn varied(random: &mut fastrand::Rng, name: &str) -> String {
    let other = |c: char| if c.is_ascii_uppercase() { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
    name.chars().map(|c| if random.bool() { other(c) } else { c }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_spelling_of_a_rust_component_is_one_metric_series() -> anyhow::Result<()> {
    check_spellings(None, 4_000).await
}

for_runtimes!(every_spelling_of_a_component_is_one_metric_series: fast_path = FastPath, kernel = Kernel, http = Http);
async fn every_spelling_of_a_component_is_one_metric_series(runtime: Runtime) -> anyhow::Result<()> {
    // Behind HTTP each call starts the application.
    let times = match runtime {
        Runtime::FastPath => 1_500,
        Runtime::Kernel => 500,
        _ => 125,
    };
    check_spellings(Some(runtime), times).await
}

async fn check_spellings(runtime: Option<Runtime>, times: usize) -> anyhow::Result<()> {
    let (_laravel, deployment) = deploy(runtime)?;
    let cluster = cluster(deployment.shape.clone())?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut random = fastrand::Rng::with_seed(7);
    // A process of PHP has to load the class before it knows other spellings, and each is replaced now and then.
    let named = |number: usize| {
        if number % 100 < 16 {
            return (COUNTER.to_owned(), "increment".to_owned());
        }
        (varied(&mut random, COUNTER), varied(&mut random, "increment"))
    };
    let names: Vec<(String, String)> = (0..times).map(named).collect();
    let well = call_all(&mut client, &names).await?;
    // PHP runs them once it has loaded the class; Rust knows one spelling.
    assert!(if runtime.is_some_and(Runtime::is_pool) { well > times / 2 } else { well <= times }, "{well} of {times}");
    let (gateway, worker, methods) = counted(&cluster, COUNTER_LABEL)?;
    for found in [&gateway, &worker] {
        assert!(found.is_subset(&set([COUNTER_LABEL, "unknown"])), "{found:?}");
    }
    assert!(methods.is_subset(&set(["increment", "unknown"])), "{methods:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_junk_classes_a_rust_component_has_its_name() -> anyhow::Result<()> {
    check_after_junk_classes(None).await
}

for_runtimes!(after_junk_classes_a_component_has_its_name: fast_path = FastPath, http = Http, without = HttpWithoutBridge);
async fn after_junk_classes_a_component_has_its_name(runtime: Runtime) -> anyhow::Result<()> {
    check_after_junk_classes(Some(runtime)).await
}

async fn check_after_junk_classes(runtime: Option<Runtime>) -> anyhow::Result<()> {
    let (laravel, deployment) = deploy(runtime)?;
    let cluster = cluster(deployment.shape.clone())?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let junk = |number: usize| {
        let class = match number % 4 {
            0 => format!("Facades\\Junk{number}"),
            1 => format!("App\\Http\\Junk{number}"),
            2 => "Illuminate\\Support\\Str".to_owned(),
            _ => format!("App\\Diffyne\\Junk{number}"),
        };
        (class, format!("junk{number}"))
    };
    // Behind HTTP each call starts the application.
    let count = if runtime.is_none_or(Runtime::is_pool) { 500 } else { 125 };
    let names: Vec<(String, String)> = (0..count).map(junk).collect();
    assert_eq!(call_all(&mut client, &names).await?, 0);
    call_all(
        &mut client,
        &(0..count / 5).map(|number| (COUNTER.to_owned(), format!("junk{number}"))).collect::<Vec<_>>(),
    )
    .await?;
    assert!(call_by_name(&mut client, COUNTER, "increment").await?.is_ok());
    // The package's own endpoint tells no names: those that went well are written in small letters.
    let without = runtime.is_some_and(|runtime| !runtime.has_bridge());
    let label = if without { COUNTER_LABEL.to_ascii_lowercase() } else { COUNTER_LABEL.to_owned() };
    let (gateway, worker, methods) = counted(&cluster, &label)?;
    for found in [&gateway, &worker] {
        assert!(found.contains(&label) && found.is_subset(&set([&label, "unknown"])), "{found:?}");
    }
    assert_eq!(methods, set(["increment", "unknown"]));
    if let Some(laravel) = laravel {
        let made = std::fs::read_dir(laravel.path("storage/framework/cache"))?.flatten();
        let made: Vec<_> = made.filter(|entry| entry.file_name().to_string_lossy().starts_with("facade")).collect();
        assert!(made.is_empty(), "asking for a class made files: {made:?}");
    }
    Ok(())
}

/// Says how much memory its process uses.
const MEMORY: &str = r"<?php
namespace App\Diffyne;
class Memory extends \Diffyne\Component
{
    public int $bytes = 0;
    #[\Diffyne\Attributes\Invokable] public function measure(): void { gc_collect_cycles(); $this->bytes = memory_get_usage(); }
    public function render(): string { return '<p>'.$this->bytes.'</p>'; }
}
";

/// What Composer does: it remembers what it has not found.
const COMPOSER: &str = r"
eval('namespace Composer\Autoload; class ClassLoader {
    private $missingClasses = [];
    public function loadClass($class) { if (! isset($this->missingClasses[$class])) { $this->missingClasses[$class] = true; } }
}');
spl_autoload_register([new \Composer\Autoload\ClassLoader(), 'loadClass']);
";

#[tokio::test(flavor = "multi_thread")]
async fn unknown_names_take_no_memory_of_php() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    std::fs::write(laravel.path("app/Diffyne/Memory.php"), MEMORY)?;
    let autoload = laravel.path("vendor/autoload.php");
    let text = std::fs::read_to_string(&autoload)?;
    std::fs::write(&autoload, text + COMPOSER)?;
    // The only process is not replaced, whatever it has done.
    let cluster = cluster(laravel.shape(1, 1).worker("--php-max-calls", "1000000"))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut memory = Vec::new();
    for round in 0..4 {
        // The first round is for what PHP and Laravel keep anyway.
        let class = |number: usize| format!("App\\Diffyne\\Unknown{round}x{number}");
        let method = |number: usize| format!("unknown{round}x{number}");
        let mut names: Vec<_> = (0..1_400).map(|number| (COUNTER.to_owned(), method(number))).collect();
        names.extend((0..600).map(|number| (class(number), "increment".to_owned())));
        call_all(&mut client, &names).await?;
        client
            .send("diffyne.call", call("App\\Diffyne\\Memory", "m", "measure", json!([]), json!({"bytes": 0}), "r"))
            .await?;
        let answer = client.receive().await?;
        memory.push(answer.state()["bytes"].as_i64().unwrap_or_else(|| panic!("{answer}")));
    }
    // Memory kept for names would grow in every round; what PHP sets up once grows in one of them.
    let mut grown: Vec<i64> = memory.windows(2).map(|pair| pair[1] - pair[0]).collect();
    grown.sort_unstable();
    assert!(grown[1] < 12_000, "1 400 unknown methods and 600 unknown classes took {grown:?} bytes: {memory:?}");
    Ok(())
}
