//! A component's calls reach the worker of its previous call, through any gateway, as long as that worker's load allows.

use std::collections::{HashMap, HashSet};

use diffyne_tests::client::{Client, probe};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::http::http_post;
use diffyne_tests::message::ServerMessage;
use diffyne_tests::process::{Signal, eventually};
use serde_json::{Value, json};

const WORKERS: usize = 4;
/// So many that each worker is the first choice of some: the chance that one of four is not is 4 * 0.75^64.
const COMPONENTS: usize = 64;
/// Rounds of calls of which one has to be quiet.
const QUIET_ROUNDS: usize = 5;

fn component(index: usize) -> String {
    format!("diffyne-{index:016}")
}

/// A call that takes this long and tells its worker.
fn locate(index: usize, ms: u64) -> Value {
    probe(&component(index), "locate", json!([ms]), "r")
}

/// The process id of the worker that ran a call.
fn worker_of(answer: &ServerMessage) -> u64 {
    assert!(answer.is_ok(), "{answer}");
    answer.state()["runs"].as_u64().unwrap()
}

/// The workers that ran the calls of each component, in order.
#[derive(Default)]
struct Runs(HashMap<usize, Vec<u64>>);

impl Runs {
    fn add(&mut self, component: usize, worker: u64) {
        self.0.entry(component).or_default().push(worker);
    }

    /// The share of calls that reached the worker of the component's previous call.
    fn same_worker(&self) -> f64 {
        let pairs = || self.0.values().flat_map(|workers| workers.windows(2));
        pairs().filter(|pair| pair[0] == pair[1]).count() as f64 / pairs().count() as f64
    }

    fn workers(&self) -> HashSet<u64> {
        self.0.values().flatten().copied().collect()
    }
}

/// Calls each component once over each way into the cluster, one call at a time.
async fn call_quietly(cluster: &Cluster, clients: &mut [Client], runs: &mut Runs) -> anyhow::Result<()> {
    for index in 0..COMPONENTS {
        for client in clients.iter_mut() {
            runs.add(index, worker_of(&client.call(locate(index, 0)).await?));
        }
        for gateway in &cluster.gateways {
            let answer = http_post(gateway.port, "/_diffyne/update", &[], &locate(index, 0).to_string())?.message()?;
            runs.add(index, worker_of(&answer));
        }
    }
    Ok(())
}

/// Calls sent to the workers that their components prefer, and to others, over all gateways.
fn sent(cluster: &Cluster, to: &str) -> anyhow::Result<f64> {
    let name = format!("diffyne_gateway_calls_sent_total{{worker=\"{to}\"}}");
    cluster.gateways.iter().map(|gateway| gateway.metric(&name)).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_components_keep_their_worker_through_any_gateway_and_only_those_of_a_worker_that_leaves_move()
-> anyhow::Result<()> {
    let mut cluster = Cluster::start(Shape::new(2, WORKERS).with_redis())?;
    let mut clients = vec![Client::connect(&cluster.url(0)).await?, Client::connect(&cluster.url(1)).await?];
    let mut before = Runs::default();
    call_quietly(&cluster, &mut clients, &mut before).await?;
    let same = before.same_worker();
    println!("quiet: {same:.3} of the calls reached the worker of the previous call");
    assert!(same > 0.9, "{same}");
    assert_eq!(before.workers().len(), WORKERS, "each worker has components");
    let total = (COMPONENTS * 4) as f64;
    eventually("all calls are counted", || {
        sent(&cluster, "preferred").is_ok_and(|preferred| {
            preferred > 0.9 * total && sent(&cluster, "other").is_ok_and(|other| preferred + other > total - 0.5)
        })
    })?;

    let gone = u64::from(cluster.workers[0].process.id());
    cluster.workers[0].process.signal(Signal::Term)?;
    assert!(cluster.workers[0].process.wait()?.success());
    let mut after = Runs::default();
    // A machine that is busy with something else makes workers slow, and then calls go where they are faster.
    for _ in 0..QUIET_ROUNDS {
        after = Runs::default();
        call_quietly(&cluster, &mut clients, &mut after).await?;
        if after.same_worker() > 0.9 {
            break;
        }
    }
    let usual = |runs: &Runs, index: usize| *runs.0[&index].last().unwrap();
    let stayed = |index: &usize| usual(&before, *index) == usual(&after, *index);
    let (mut kept, mut others) = (0, 0);
    for index in (0..COMPONENTS).filter(|index| usual(&before, *index) != gone) {
        others += 1;
        kept += usize::from(stayed(&index));
    }
    println!("of {others} components of other workers, {kept} stayed; {:.3} then", after.same_worker());
    assert!(kept * 10 >= others * 9, "{kept} of {others}");
    assert!(after.same_worker() > 0.9 && !after.workers().contains(&gone));

    // It comes back under its address, and gets its own components and no others.
    cluster.restart_worker(0)?;
    eventually("both gateways have it", || {
        cluster.gateways.iter().all(|gateway| gateway.health().is_ok_and(|health| health["workers"] == WORKERS))
    })?;
    let back = u64::from(cluster.workers[0].process.id());
    let mut again = Runs::default();
    call_quietly(&cluster, &mut clients, &mut again).await?;
    let expected = |index: usize| if usual(&before, index) == gone { back } else { usual(&before, index) };
    let right = (0..COMPONENTS).filter(|index| usual(&again, *index) == expected(*index)).count();
    assert!(right * 10 >= COMPONENTS * 9, "{right} of {COMPONENTS}");
    Ok(())
}

/// Clients that call these components at once, again and again; the calls take 5 ms.
async fn call_at_once(cluster: &Cluster, components: &[usize]) -> anyhow::Result<Runs> {
    let mut tasks = Vec::new();
    for &index in components {
        let mut client = Client::connect(&cluster.url(0)).await?;
        tasks.push(tokio::spawn(async move {
            let mut workers = Vec::new();
            for _ in 0..CALLS {
                workers.push(worker_of(&client.call(locate(index, 5)).await?));
            }
            anyhow::Ok(workers)
        }));
    }
    let mut runs = Runs::default();
    for (index, task) in components.iter().zip(tasks) {
        runs.0.insert(*index, task.await??);
    }
    Ok(runs)
}

/// Calls of each client under load.
const CALLS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn under_load_most_calls_keep_their_worker_and_a_full_one_gets_no_more_than_it_can_run() -> anyhow::Result<()> {
    // As a worker with two PHP processes: two run, two are next.
    let shape = Shape::new(1, WORKERS).worker("--worker-concurrency", "4").worker("--worker-queue", "4");
    let cluster = Cluster::start(shape)?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let mut components: HashMap<u64, Vec<usize>> = HashMap::new();
    for index in 0..2 * COMPONENTS {
        let worker = worker_of(&client.call(locate(index, 0)).await?);
        components.entry(worker).or_default().push(index);
    }
    let fewest = components.values().map(Vec::len).min();
    assert!(components.len() == WORKERS && fewest >= Some(8), "each worker has components: {components:?}");

    let two_of_each: Vec<usize> = components.values().flat_map(|own| own[..2].to_vec()).collect();
    let runs = call_at_once(&cluster, &two_of_each).await?;
    println!("two clients a worker: {:.3} reached the worker of the previous call", runs.same_worker());
    assert!(runs.same_worker() > 0.6, "{}", runs.same_worker());
    assert_eq!(runs.workers().len(), WORKERS);

    let (worker, own) = components.iter().next().unwrap();
    let runs = call_at_once(&cluster, &own[..8]).await?;
    let there = runs.0.values().flatten().filter(|other| *other == worker).count();
    println!("eight clients of one worker: it ran {there} of {} calls", 8 * CALLS);
    assert!(there > 8 * CALLS / 10, "it is still preferred: {there}");
    assert!(there < 8 * CALLS * 6 / 10, "others run what it cannot: {there}");
    assert_eq!(runs.workers().len(), WORKERS);
    Ok(())
}
