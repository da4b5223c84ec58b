//! The Composer package `diffyne/cluster` in a real Laravel.

use diffyne_tests::client::Client;
use diffyne_tests::cluster::Cluster;
use diffyne_tests::laravel::Laravel;
use diffyne_tests::laravel_probe::call_for_text;
use serde_json::json;

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
