//! What PHP processes start: copies of themselves and programs. No other call notices them, and none is left behind.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use diffyne_tests::client::{Client, call};
use diffyne_tests::cluster::Cluster;
use diffyne_tests::for_runtimes;
use diffyne_tests::laravel::{Laravel, Runtime};
use diffyne_tests::laravel_probe::assert_server_error;
use diffyne_tests::message::ServerMessage;
use diffyne_tests::process::{PATIENCE, Signal, eventually};
use serde_json::{Value, json};

/// A call of the component that starts processes.
fn launcher_call(method: &str, params: Value) -> Value {
    call("App\\Diffyne\\Launcher", "launcher", method, params, json!({"text": "", "process": 0}), "r")
}

async fn launch(client: &mut Client, method: &str, params: Value) -> anyhow::Result<ServerMessage> {
    client.call(launcher_call(method, params)).await
}

/// What a call has left behind; ended with the test.
struct Left(u32);

impl Drop for Left {
    fn drop(&mut self) {
        // It has ended, as most tests want.
        let _ = Command::new("kill").args(["-9", &self.0.to_string()]).output();
    }
}

impl Left {
    /// What the last call has left behind.
    fn by_last_call(laravel: &Laravel) -> anyhow::Result<Self> {
        Ok(Self(std::fs::read_to_string(laravel.path("left"))?.trim().parse()?))
    }

    /// Whether it runs: there is such a process, and somebody has not only to take note of its end.
    fn runs(&self) -> bool {
        state_and_parent(self.0).is_some_and(|(state, _)| state != 'Z')
    }
}

/// Calls a method that leaves a program behind and returns; the PHP process, and what it has left.
async fn leave_program(client: &mut Client, laravel: &Laravel, params: Value) -> anyhow::Result<(u32, Left)> {
    let answer = launch(client, "leaveProgram", params).await?;
    let process = answer.state()["process"].as_u64().context("no process")? as u32;
    Ok((process, Left::by_last_call(laravel)?))
}

/// The state of a process, and its parent.
fn state_and_parent(process: u32) -> Option<(char, u32)> {
    let stat = stat(process)?;
    Some((stat.first()?.chars().next()?, stat.get(1)?.parse().ok()?))
}

/// The group of a process.
fn group(process: u32) -> Option<u32> {
    stat(process)?.get(2)?.parse().ok()
}

/// What the system says of a process: its state, its parent, its group, ...
fn stat(process: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

/// Waits until a cluster with one process has the spare one, too: it would take the next call once it is ready.
fn wait_for_spare(cluster: &Cluster) -> anyhow::Result<()> {
    eventually("one process and a spare one", || {
        cluster.workers[0].metric("diffyne_worker_php_processes_ready").is_ok_and(|ready| (1.5..2.5).contains(&ready))
    })
}

/// The sockets that a process has open, by descriptor.
fn sockets(process: u32) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut sockets = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{process}/fd"))? {
        let entry = entry?;
        let target = std::fs::read_link(entry.path())?;
        if target.to_string_lossy().starts_with("socket:") {
            sockets.push((entry.file_name().to_string_lossy().into_owned(), target));
        }
    }
    Ok(sockets)
}

for_runtimes!(a_call_that_forks_takes_nobody_elses_answer: fast_path = FastPath, kernel = Kernel);
async fn a_call_that_forks_takes_nobody_elses_answer(runtime: Runtime) -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let kernel = if runtime == Runtime::Kernel { "always" } else { "auto" };
    let cluster = Cluster::start(laravel.shape(1, 1).worker("--bridge-kernel", kernel))?;
    wait_for_spare(&cluster)?;
    let mut forking = Client::connect(&cluster.url(0)).await?;
    let mut others = [Client::connect(&cluster.url(0)).await?, Client::connect(&cluster.url(0)).await?];
    let mut processes = HashSet::new();
    for round in 0..4 {
        for child in ["returns", "returns late", "throws", "exits", "dies", "afterwards"] {
            let text = format!("{child} {round}");
            let (method, params) = match child {
                "afterwards" => ("forkAfterwards", json!([])),
                _ => ("fork", json!([child, text])),
            };
            forking.send("diffyne.call", launcher_call(method, params)).await?;
            // These wait for the same process, and one is handed to it at once.
            for (user, client) in others.iter_mut().enumerate() {
                client.send("diffyne.call", launcher_call("say", json!([format!("{text} {user}")]))).await?;
            }
            let answer = forking.receive().await?;
            let expected = if child == "afterwards" { "" } else { &text };
            assert_eq!(answer.state()["text"], *expected, "{text}: {answer}");
            for (user, client) in others.iter_mut().enumerate() {
                let answer = client.receive().await?;
                assert_eq!(answer.state()["text"], format!("{text} {user}"), "{answer}");
                processes.insert(answer.state()["process"].as_u64().context("no process")?);
            }
        }
    }
    assert_eq!(processes.len(), 1, "one process has run them all");
    let process = *processes.iter().next().unwrap() as u32;
    let until = Instant::now() + PATIENCE;
    while has_children(process) {
        assert!(Instant::now() < until, "a child that has ended is left");
        // Some ended after the last call. The process takes note of them after the next one.
        launch(&mut forking, "say", json!([""])).await?;
    }
    Ok(())
}

/// Whether a process has children, those included that have ended without its taking note.
fn has_children(process: u32) -> bool {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(state_and_parent).any(|(_, parent)| parent == process)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_is_told_at_once_whatever_the_process_has_started() -> anyhow::Result<()> {
    // Without the extension that lets PHP close its channel in programs, they hold it.
    for (ini, closes_channel) in [("opcache.enable_cli=1", true), ("disable_functions=socket_recvmsg", false)] {
        let laravel = Laravel::new()?;
        // Those whose end is not noticed are answered as timed out.
        let shape = laravel.shape(1, 1).worker("--php-ini", ini).gateway("--call-timeout", "20s");
        let cluster = Cluster::start(shape)?;
        let mut client = Client::connect(&cluster.url(0)).await?;
        for method in ["leaveChild", "leaveProgram"] {
            for end in ["kill", "exit"] {
                assert_server_error(&launch(&mut client, method, json!([end])).await?);
                let left = Left::by_last_call(&laravel)?;
                if end == "kill" {
                    eventually("what it has started is killed with it", || !left.runs())?;
                }
                assert_eq!(launch(&mut client, "say", json!([end])).await?.state()["text"], end);
            }
        }
        let log = cluster.workers[0].process.output();
        assert_eq!(log.contains("PHP has no extension sockets"), !closes_channel, "{log}");
        if closes_channel {
            // A process that becomes another program has no channel any more.
            assert_server_error(&launch(&mut client, "becomeProgram", json!([])).await?);
            let program = Left::by_last_call(&laravel)?;
            eventually("the program is killed", || !program.runs())?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_call_without_end_has_started_is_killed_with_it() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(1, 1).gateway("--call-timeout", "2s"))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    for method in ["leaveChild", "leaveProgram"] {
        let answer = launch(&mut client, method, json!(["loop"])).await?;
        assert_eq!(answer.error_type(), "timeout", "{answer}");
        let left = Left::by_last_call(&laravel)?;
        eventually("what it has started is killed with it", || !left.runs())?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_goes_on_when_its_process_is_replaced() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(1, 1))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let (process, left) = leave_program(&mut client, &laravel, json!(["return"])).await?;
    cluster.workers[0].process.signal(Signal::Hup)?;
    eventually("the process is replaced", || state_and_parent(process).is_none())?;
    assert!(left.runs());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_with_a_session_of_its_own_outlives_a_process_that_is_killed() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(1, 1))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    wait_for_spare(&cluster)?;
    let (process, outside_group) = leave_program(&mut client, &laravel, json!(["return", "setsid"])).await?;
    eventually("it has a group of its own", || group(outside_group.0) == Some(outside_group.0))?;
    assert_eq!(group(process), Some(process));
    assert_server_error(&launch(&mut client, "leaveProgram", json!(["kill"])).await?);
    let in_group = Left::by_last_call(&laravel)?;
    eventually("what is in the group is killed", || state_and_parent(process).is_none() && !in_group.runs())?;
    assert_eq!(launch(&mut client, "say", json!(["after"])).await?.state()["text"], "after");
    assert!(outside_group.runs());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_inherit_no_channel() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(1, 1))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let (process, left) = leave_program(&mut client, &laravel, json!(["return"])).await?;
    let theirs = sockets(process)?;
    // The socket over which those of the channel came: nobody is at its other end.
    let (inherited, channel): (Vec<_>, Vec<_>) = theirs.into_iter().partition(|(descriptor, _)| descriptor == "3");
    assert_eq!((inherited.len(), channel.len()), (1, 2), "{inherited:?} {channel:?}");
    assert_eq!(sockets(left.0)?, inherited);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_a_program_holds_open_costs_the_worker_nothing() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(1, 1))?;
    let worker = cluster.workers[0].process.id();
    let descriptors = || std::fs::read_dir(format!("/proc/{worker}/fd")).unwrap().count();
    let mut client = Client::connect(&cluster.url(0)).await?;
    wait_for_spare(&cluster)?;
    let before = descriptors();
    let mut left = Vec::new();
    for _ in 0..5 {
        assert_server_error(&launch(&mut client, "leaveProgram", json!(["exit"])).await?);
        left.push(Left::by_last_call(&laravel)?);
    }
    wait_for_spare(&cluster)?;
    assert!(left.iter().all(Left::runs), "a program stays when its process exits");
    eventually("the worker has closed what the programs hold open", || descriptors() <= before)
        .with_context(|| format!("{before} descriptors before, {} now", descriptors()))?;
    tokio::time::timeout(Duration::from_secs(10), launch(&mut client, "say", json!(["x"]))).await??;
    Ok(())
}
