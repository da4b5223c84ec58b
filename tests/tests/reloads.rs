//! A deploy of application code that does not start: everybody who should know is told, and the old code goes on.

use std::process::{Command, Output};

use diffyne_tests::client::Client;
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::http::http_get;
use diffyne_tests::laravel::Laravel;
use diffyne_tests::laravel_probe::call_for_text;
use diffyne_tests::process::{eventually, program};
use serde_json::json;

const TOKEN: &str = "an-admin-token";

/// `diffyne-worker reload` for the cluster's worker.
fn reload(cluster: &Cluster) -> anyhow::Result<Output> {
    let admin = format!("127.0.0.1:{}", cluster.workers[0].admin);
    let flags = ["reload", "--signing-key", "x", "--worker-admin-listen", &admin, "--admin-token", TOKEN];
    Ok(Command::new(program("diffyne-worker")?).args(flags).output()?)
}

fn doctor(cluster: &Cluster) -> anyhow::Result<String> {
    let workers = format!("127.0.0.1:{}", cluster.workers[0].port);
    let flags = ["doctor", "--workers", &workers, "--listen", "127.0.0.1:0"];
    let output = Command::new(program("diffyne-gateway")?).args(flags).output()?;
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_with_code_that_does_not_start_fails_with_phps_words_and_the_old_code_goes_on() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster = Cluster::start(laravel.shape(1, 1).worker("--admin-token", TOKEN))?;
    let (worker, gateway) = (&cluster.workers[0], &cluster.gateways[0]);
    let mut client = Client::connect(&cluster.url(0)).await?;
    let path = laravel.path("bootstrap/app.php");
    let working = std::fs::read_to_string(&path)?;
    for (broken, words) in [
        ("<?php this is no PHP;", "syntax error, unexpected identifier"),
        ("<?php throw new RuntimeException('the database is gone');", "the database is gone"),
        ("<?php class Twice {} class Twice {}", "Cannot redeclare class Twice"),
        ("<?php echo \"no licence\\n\"; exit(3);", "no licence"),
    ] {
        std::fs::write(&path, broken)?;
        let failed = reload(&cluster)?;
        let text = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert!(!failed.status.success(), "{broken}: {text}");
        assert!(text.contains(words) && text.contains("old code still serves"), "{broken}: {text}");
        let ready = http_get(worker.admin, "/ready")?;
        assert!(ready.status == 200 && ready.body.contains("old code still serves"), "{ready:?}");
        assert!(ready.body.contains(words), "{ready:?}");
        assert!(worker.metric("diffyne_worker_old_code_serves")? > 0.5);
        eventually("the gateway's metrics and health tell", || {
            let health = gateway.health().is_ok_and(|health| {
                let reasons = health["reasons"].to_string();
                health["workers"] == 1 && reasons.contains("old code still serves on 1 of 1 workers")
            });
            health && gateway.metric("diffyne_gateway_workers_with_old_code").is_ok_and(|workers| workers > 0.5)
        })?;
        let report = doctor(&cluster)?;
        assert!(
            report.lines().any(|line| line.starts_with("BAD ") && line.contains("old code still serves")),
            "{report}"
        );
        assert_eq!(call_for_text(&mut client, "say", json!(["still here"])).await?, "still here");

        std::fs::write(&path, &working)?;
        let done = reload(&cluster)?;
        assert!(done.status.success() && String::from_utf8_lossy(&done.stdout).contains("done"), "{done:?}");
        assert_eq!(http_get(worker.admin, "/ready")?.body, r#"{"ready":true}"#);
        eventually("nothing is wrong", || {
            let is_well = gateway.health().is_ok_and(|health| health["status"] == "ok");
            is_well && gateway.metric("diffyne_gateway_workers_with_old_code").is_ok_and(|workers| workers < 0.5)
        })?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_php_does_not_start_is_faulty_and_not_reachable() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let working = std::fs::read_to_string(laravel.path("bootstrap/app.php"))?;
    std::fs::write(laravel.path("bootstrap/app.php"), "<?php throw new RuntimeException('not today');")?;
    let shape = laravel.shape(1, 1).worker("--admin-token", TOKEN);
    let cluster = Cluster::start(Shape { wait_for_php: false, ..shape })?;
    let gateway = &cluster.gateways[0];
    let workers =
        |state: &str| gateway.metric(&format!("diffyne_gateway_workers{{state=\"{state}\"}}")).unwrap_or(-1.0);
    eventually("the worker counts as faulty", || workers("faulty") > 0.5)?;
    assert!(workers("reachable").abs() < 0.5 && workers("unreachable").abs() < 0.5, "{}", gateway.metrics()?);
    let ready = http_get(gateway.admin, "/ready")?;
    assert!(ready.status == 503 && ready.body.contains("1 of 1 workers cannot run calls"), "{ready:?}");
    let failed = reload(&cluster)?;
    let text = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success() && text.contains("not today") && text.contains("no PHP process runs"), "{text}");

    std::fs::write(laravel.path("bootstrap/app.php"), working)?;
    let done = reload(&cluster)?;
    assert!(done.status.success(), "{done:?}");
    eventually("the worker is reachable", || workers("reachable") > 0.5 && workers("faulty").abs() < 0.5)
}
