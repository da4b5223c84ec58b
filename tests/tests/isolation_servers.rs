//! Nothing of one call reaches the next on connections to databases that stay open, and a connection that its server has
//! closed costs no call: with a real Redis and a real MariaDB.

use anyhow::ensure;
use diffyne_tests::cluster::Shape;
use diffyne_tests::isolation::{Subject, application, proofs, walk};
use diffyne_tests::laravel::Laravel;
use diffyne_tests::mariadb::MariaDb;
use diffyne_tests::process::eventually;
use diffyne_tests::redis;

fn with_environment(laravel: &Laravel, variables: &[(&str, &str)]) -> Shape {
    let list: Vec<String> = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    laravel.shape(1, 1).worker("--php-environment", &list.join(","))
}

async fn nothing_stays_on_connections_to_redis(client: &str) -> anyhow::Result<()> {
    let (laravel, _) = application()?;
    let (_redis, port) = redis::start(&laravel.path(""))?;
    let mut proofs = proofs(&laravel, "redis.php")?;
    proofs.retain(|_, proof| client == "phpredis" || !proof.phpredis);
    let shape = with_environment(&laravel, &[("REDIS_PORT", &port.to_string()), ("REDIS_CLIENT", client)]);
    walk(&mut Subject::start(shape).await?, &proofs).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stays_on_connections_of_phpredis() -> anyhow::Result<()> {
    nothing_stays_on_connections_to_redis("phpredis").await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stays_on_connections_of_predis() -> anyhow::Result<()> {
    nothing_stays_on_connections_to_redis("predis").await
}

/// The provider connects at the start, so that no process starts while the server is away: all have to be there before.
fn wait_for_all_processes(subject: &Subject) -> anyhow::Result<()> {
    let worker = &subject.cluster.workers[0];
    eventually("the process and its spare one are ready", || {
        worker.metric("diffyne_worker_php_processes_ready").is_ok_and(|ready| ready > 1.5)
    })
}

/// `server has gone away` is nothing that a user sees, as behind php-fpm, whose connections end with each request.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_stays_on_connections_to_mariadb_and_closed_ones_cost_no_call() -> anyhow::Result<()> {
    let (laravel, _) = application()?;
    let mut server = MariaDb::start(&laravel.path(""))?;
    let shape = with_environment(&laravel, &[("MARIADB_PORT", &server.port.to_string())]);
    let mut subject = Subject::start(shape).await?;
    walk(&mut subject, &proofs(&laravel, "mariadb.php")?).await?;
    let kind = "connection that MariaDB has killed";
    let usual = subject.run(kind, "read").await?;
    wait_for_all_processes(&subject)?;
    server.restart()?;
    let read = subject.run(kind, "read").await?;
    ensure!(read == usual, "{read} instead of {usual} after a restart of the server");
    // In a transaction that its call has left open.
    let usual = subject.run("transaction of MariaDB", "read").await?;
    subject.run("transaction of MariaDB", "change").await?;
    wait_for_all_processes(&subject)?;
    server.restart()?;
    let read = subject.run("transaction of MariaDB", "read").await?;
    ensure!(read == usual, "{read} instead of {usual} after a transaction and a restart of the server");
    Ok(())
}
