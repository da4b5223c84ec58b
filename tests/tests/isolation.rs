//! Nothing of one call reaches the next, and what the application has set up at its start is there for each: a walk through
//! every kind of state that code can change (`tests/data/isolation`), in the pool by both paths and beside PHP's own server.

use std::path::Path;

use anyhow::{Context as _, ensure};
use diffyne_tests::client::Client;
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::for_runtimes;
use diffyne_tests::isolation::{Subject, application};
use diffyne_tests::laravel::{Laravel, Runtime};
use diffyne_tests::laravel_probe::{assert_server_error, call_for_text, call_probe};
use diffyne_tests::process::{eventually, project};
use serde_json::json;

fn pool(laravel: &Laravel, runtime: Runtime) -> Shape {
    let shape = laravel.shape(1, 1);
    if runtime == Runtime::Kernel { shape.worker("--bridge-kernel", "always") } else { shape }
}

for_runtimes!(what_a_call_changes_is_gone_in_the_next: fast_path = FastPath, kernel = Kernel);
async fn what_a_call_changes_is_gone_in_the_next(runtime: Runtime) -> anyhow::Result<()> {
    let (laravel, proofs) = application()?;
    let mut subject = Subject::start(pool(&laravel, runtime)).await?;
    let mut faults = Vec::new();
    for (kind, proof) in &proofs {
        let fresh = subject.run(kind, "read").await?;
        subject.run(kind, "change").await?;
        let after = subject.run(kind, "read").await?;
        if after != fresh {
            faults.push(format!("{kind}: {fresh} became {after}"));
        }
        if proof.each.is_some() {
            let mut results = Vec::new();
            for _ in 0..2 {
                subject.run(kind, "change").await?;
                results.push(subject.run(kind, "each").await?);
            }
            if results[0] == results[1] {
                faults.push(format!("{kind}: two calls got {}", results[0]));
            }
        }
    }
    ensure!(faults.is_empty(), "{faults:#?}");
    Ok(())
}

for_runtimes!(what_providers_set_up_holds_for_every_call: fast_path = FastPath, kernel = Kernel);
async fn what_providers_set_up_holds_for_every_call(runtime: Runtime) -> anyhow::Result<()> {
    let (laravel, proofs) = application()?;
    let mut plain = Subject::start(pool(&laravel, runtime)).await?;
    let shape = pool(&laravel, runtime).worker("--php-environment", "DIFFYNE_TEST_BOOT=all");
    let mut subject = Subject::start(shape).await?;
    let (mut faults, mut set_up) = (Vec::new(), 0);
    for (kind, proof) in proofs.iter().filter(|(_, proof)| !proof.replaced) {
        let usual = plain.run(kind, "read").await?;
        let fresh = subject.run(kind, "read").await?;
        subject.run(kind, "change").await?;
        let after = subject.run(kind, "read").await?;
        if after != fresh {
            faults.push(format!("{kind}: a provider's {fresh} became {after}"));
        }
        if proof.has_boot() {
            set_up += 1;
            if fresh == usual {
                faults.push(format!("{kind}: a provider's change is not there: {fresh}"));
            }
        }
    }
    ensure!(faults.is_empty(), "{faults:#?}");
    ensure!(set_up > 40, "only {set_up} kinds are set up at the start");
    Ok(())
}

fn forking(laravel: &Laravel) -> Shape {
    laravel.shape(1, 1).worker("--php-isolation", "process")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_a_process_of_its_own_leaves_nothing_at_all() -> anyhow::Result<()> {
    let (laravel, proofs) = application()?;
    let mut subject = Subject::start(forking(&laravel).worker("--php-environment", "DIFFYNE_TEST_BOOT=all")).await?;
    for kind in proofs.keys() {
        let fresh = subject.run(kind, "read").await?;
        subject.run(kind, "change").await?;
        assert_eq!(subject.run(kind, "read").await?, fresh, "{kind}");
    }
    let ended = "diffyne_worker_php_processes_ended_total{reason=\"unclean\"}";
    assert!(subject.cluster.workers[0].metric(ended)? < 0.5, "nothing had to be replaced for that");
    assert_eq!(subject.run("shutdown functions", "read").await?, "false");
    subject.run("shutdown functions", "change").await?;
    // It runs after the answer, and before the next call.
    assert_eq!(subject.run("shutdown functions", "read").await?, "true");
    for _ in 0..2 {
        assert_eq!(subject.run("static variables", "read").await?, "1");
    }
    Ok(())
}

for_runtimes!(a_call_that_exits_still_runs_its_shutdown_functions: fast_path = FastPath, kernel = Kernel);
async fn a_call_that_exits_still_runs_its_shutdown_functions(runtime: Runtime) -> anyhow::Result<()> {
    let (laravel, _) = application()?;
    let mut subject = Subject::start(pool(&laravel, runtime)).await?;
    assert_server_error(&subject.reply("shutdown_functions", "exit").await?);
    let runs = |file: &str| std::fs::read_to_string(laravel.path(file)).unwrap_or_default();
    eventually("the functions have run", || runs("ended") == "1" && runs("ended too") == "1")?;
    // Those of the next call run with it, and these no more.
    subject.run("shutdown_functions", "change").await?;
    assert_eq!(subject.run("shutdown_functions", "read").await?, "[0,0]");
    assert_eq!((runs("registered"), runs("ended")), ("11".to_owned(), "11".to_owned()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_ends_its_own_process_is_told_and_the_next_one_runs() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(forking(&laravel))?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    for how in ["exit", "kill"] {
        laravel.release(how)?;
        let reply = call_probe(&mut client, "depart", json!([how])).await?;
        let own = reply.state()["text"].as_str().unwrap().to_owned();
        let next = call_for_text(&mut client, "wait", json!([0])).await?;
        assert_ne!(own, next, "{how}: each call has a process of its own");
    }
    for how in ["exit", "memory", "kill"] {
        assert_server_error(&call_probe(&mut client, "end", json!([how])).await?);
        call_for_text(&mut client, "wait", json!([0])).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_changes_is_seen_by_the_next_call() -> anyhow::Result<()> {
    let (laravel, _) = application()?;
    let mut subject = Subject::start(laravel.shape(1, 2)).await?;
    for version in 0..20 {
        std::fs::write(laravel.path("resources/views/left.blade.php"), format!("version {version}"))?;
        assert_eq!(subject.run("views", "read").await?, format!("\"version {version}\""));
    }
    Ok(())
}

/// A server that ends everything with its request is the measure of what a call finds.
#[tokio::test(flavor = "multi_thread")]
async fn calls_find_what_requests_of_another_server_find() -> anyhow::Result<()> {
    let (laravel, proofs) = application()?;
    let mut pool = Subject::start(laravel.shape(1, 1)).await?;
    let deployment = laravel.deploy(Runtime::Http, 1)?;
    let mut fpm = Subject::start(deployment.shape.clone()).await?;
    let mut faults = Vec::new();
    for (kind, _) in proofs.iter().filter(|(_, proof)| !proof.pool) {
        let mut found = Vec::new();
        for (name, subject) in [("the pool", &mut pool), ("php-fpm", &mut fpm)] {
            for part in ["change", "read"] {
                let ran = subject.run(kind, part).await;
                let text = ran.with_context(|| format!("{name}; the application's log: {}", laravel.log()))?;
                if part == "read" {
                    found.push(text);
                }
            }
        }
        if found[0] != found[1] {
            faults.push(format!("{kind}: {} here, {} there", found[0], found[1]));
        }
    }
    ensure!(faults.is_empty(), "{faults:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_replaced_after_what_cannot_be_put_back() -> anyhow::Result<()> {
    let (laravel, proofs) = application()?;
    let mut subject = Subject::start(laravel.shape(1, 1)).await?;
    for (kind, proof) in &proofs {
        // The first word is the catalogue's name.
        let name = kind.split(' ').next().unwrap();
        let before = subject.replaced(name)?;
        subject.run(kind, "change").await?;
        subject.run(kind, "read").await?;
        if proof.replaced {
            eventually(&format!("a process was replaced because of {kind}"), || {
                subject.replaced(name).is_ok_and(|now| now > before)
            })?;
            let log = subject.cluster.workers[0].process.output();
            ensure!(log.contains(name) && log.contains("App\\Diffyne\\Isolation"), "{log}");
        } else {
            ensure!(
                subject.replaced(name)? <= before,
                "{kind} was put back, and the process was replaced all the same"
            );
        }
    }
    Ok(())
}

/// A provider's `SET` is lost when its connection is closed, so the process goes with it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_has_set_on_a_connection_holds_after_a_call_has_changed_it() -> anyhow::Result<()> {
    let (laravel, _) = application()?;
    let own = "\\Illuminate\\Support\\Facades\\DB::statement('pragma cache_size = 555'); config(['auth";
    laravel.change("app/Providers/AppServiceProvider.php", "config(['auth", own)?;
    let mut subject = Subject::start(laravel.shape(1, 1)).await?;
    let kind = "settings of a connection";
    let fresh = subject.run(kind, "read").await?;
    assert!(fresh.contains("555"), "{fresh}");
    subject.run(kind, "change").await?;
    assert_eq!(subject.run(kind, "read").await?, fresh);
    assert!(subject.replaced("connections")? > 0.5);
    Ok(())
}

fn catalogue(laravel: &Laravel) -> anyhow::Result<Vec<(String, String)>> {
    let source = project().join("worker/src/backend/php/catalogue.php");
    std::fs::copy(source, laravel.path("catalogue.php"))?;
    let code = format!(
        "require '{}/catalogue.php'; foreach (Diffyne\\Cluster\\Loop\\Catalogue::kinds() as $name => $kind) \
         {{ echo json_encode([$name, $kind['about']], JSON_UNESCAPED_SLASHES), \"\\n\"; }}",
        laravel.directory
    );
    laravel.php(&["-r", &code])?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[test]
fn every_kind_of_the_catalogue_has_its_proof_and_its_line_in_the_docs() -> anyhow::Result<()> {
    let (laravel, proofs) = application()?;
    let kinds = catalogue(&laravel)?;
    for (name, _) in &kinds {
        ensure!(proofs.contains_key(name), "tests/data/isolation/isolation.php has no proof of {name}");
    }
    let lines = kinds.iter().map(|(name, about)| format!("| {} | {about} |\n", name.replace('_', " ")));
    let table: String = std::iter::once("| kind | what is put back |\n|---|---|\n".to_owned()).chain(lines).collect();
    let (begin, end) = ("<!-- made from catalogue.php -->\n", "<!-- end -->");
    let path: &Path = &project().join("docs/laravel.md");
    let page = std::fs::read_to_string(path)?;
    let (before, rest) = page.split_once(begin).context("no place for the table")?;
    let (old, after) = rest.split_once(end).context("no end of the table")?;
    if std::env::var_os("DIFFYNE_BLESS").is_some() {
        std::fs::write(path, format!("{before}{begin}{table}{end}{after}"))?;
    } else {
        ensure!(old == table, "run DIFFYNE_BLESS=1 cargo test -p diffyne-tests --test isolation every_kind");
    }
    Ok(())
}
