//! Pages that survive a deploy: one of an older release is told by its first answer, and offers to load again, or does
//! it when nothing is typed.

use diffyne_tests::application::{Application, Script};
use diffyne_tests::browser::{Browser, Tab};
use diffyne_tests::client::{Client, increment};
use diffyne_tests::cluster::{Cluster, Node, Shape};
use diffyne_tests::http::http_post;
use diffyne_tests::laravel::Laravel;
use diffyne_tests::laravel_pages::LaravelPages;
use diffyne_tests::process::{Signal, eventually, eventually_async};
use serde_json::{Value, json};

const OPEN: &str = "document.documentElement.dataset.diffyneConnection === 'open'";
const PLUS: &str = "[aria-label='one more']";
const FIELD: &str = "[aria-label=Message]";
const BAR: &str = "document.querySelector('.diffyne-stale')";
/// Notes what a page is told.
const NOTE: &str = "window.isOld = true; window.told = []; \
    document.addEventListener('diffyne:stale', ({ detail }) => told.push([detail.release, detail.policy, performance.now()]))";

fn shape(release: &str) -> Shape {
    Shape::new(1, 1).gateway("--release", release).worker("--release", release)
}

fn stop(node: &mut Node) -> anyhow::Result<()> {
    node.process.signal(Signal::Term)?;
    node.process.wait()?;
    Ok(())
}

/// Replaces a worker by one of another release, and waits until the gateways have it.
fn deploy_worker(cluster: &mut Cluster, index: usize, release: &str) -> anyhow::Result<()> {
    cluster.shape.worker_flags = vec!["--release".to_owned(), release.to_owned()];
    stop(&mut cluster.workers[index])?;
    cluster.restart_worker(index)?;
    cluster.wait_until_ready()
}

/// Replaces the gateway by one of another release.
fn deploy_gateway(cluster: &mut Cluster, release: &str) -> anyhow::Result<()> {
    let at = cluster.shape.gateway_flags.iter().position(|flag| flag == "--release").unwrap() + 1;
    cluster.shape.gateway_flags[at] = release.to_owned();
    stop(&mut cluster.gateways[0])?;
    cluster.restart_gateway(0)?;
    cluster.wait_until_ready()
}

async fn open(browser: &Browser, application: &Application, path: &str) -> anyhow::Result<Tab> {
    let mut tab = browser.open(&application.url(path)).await?;
    tab.wait_for(OPEN).await?;
    tab.eval(NOTE).await?;
    Ok(tab)
}

async fn count(tab: &mut Tab, shown: &str) -> anyhow::Result<()> {
    tab.click(PLUS).await?;
    tab.wait_for_text("output", shown).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_an_older_release_offers_a_reload_or_does_it_when_nothing_is_typed() -> anyhow::Result<()> {
    let browser = Browser::start()?;
    let mut cluster = Cluster::start(shape("one"))?;
    let mut scripts = vec![Script::Client];
    scripts.extend(Script::companions());
    let mut offering = Vec::new();
    for script in &scripts {
        let application = Application::start(&cluster, script, "/diffyne", "").await?;
        let mut tab = open(&browser, &application, "/counter").await?;
        count(&mut tab, "1").await?;
        assert_eq!(tab.eval("told").await?, json!([]), "{script:?}: the page is of this release");
        offering.push((application, tab));
    }
    let marked = async |policy| {
        let more = format!(" data-diffyne-stale=\"{policy}\"");
        Application::start(&cluster, &Script::Client, "/diffyne", &more).await
    };
    let (reloading, ignoring) = (marked("reload").await?, marked("ignore").await?);
    let mut typing = open(&browser, &reloading, "/counter+chat").await?;
    let mut idle = open(&browser, &ignoring, "/counter").await?;
    typing.click(FIELD).await?;
    typing.type_text("half a sentence").await?;

    // The components are newer, the scripts are not.
    deploy_worker(&mut cluster, 0, "two")?;
    for (_, tab) in &mut offering {
        count(tab, "2").await?;
        tab.wait_for(BAR).await?;
        assert_eq!(tab.eval("told.length === 1 && told[0].slice(0, 2).join()").await?, "two,prompt");
        assert_eq!(tab.eval(&format!("getComputedStyle({BAR}).position")).await?, "fixed");
        // Later.
        tab.click(".diffyne-stale button:nth-of-type(2)").await?;
        tab.wait_for(&format!("!{BAR}")).await?;
        count(tab, "3").await?;
        assert_eq!(tab.eval(&format!("told.length === 1 && !{BAR}")).await?, true, "once is enough");
    }
    count(&mut idle, "1").await?;
    idle.wait_for("told[0][1] === 'ignore'").await?;
    assert_eq!(idle.eval(&format!("!{BAR}")).await?, true);
    count(&mut typing, "1").await?;
    typing.wait_for("performance.now() - told[0][2] > 1500").await?;
    assert_eq!(typing.eval(&format!("document.querySelector('{FIELD}').value")).await?, "half a sentence");
    typing.eval(&format!("document.querySelector('{FIELD}').select()")).await?;
    typing.backspace().await?;
    typing.wait_for(&format!("!window.isOld && {OPEN}")).await?;
    // The web server still serves the old page, which is not loaded again and again.
    typing.eval(NOTE).await?;
    count(&mut typing, "1").await?;
    assert_eq!(typing.eval("told.length === 0 && window.isOld").await?, true);

    // The scripts are newer as well: the page hears it from the gateway to which it comes back.
    deploy_gateway(&mut cluster, "three")?;
    let (application, tab) = &mut offering[0];
    tab.wait_for(&format!("{OPEN} && {BAR}")).await?;
    assert_eq!(tab.eval("told.at(-1)[0]").await?, "three");
    tab.click(".diffyne-stale button:nth-of-type(1)").await?;
    tab.wait_for(&format!("!window.isOld && {OPEN}")).await?;
    assert!(!application.url("/").is_empty());
    for (_, tab) in &offering {
        assert_eq!(tab.errors, Vec::<String>::new());
    }
    Ok(())
}

/// The `release` of an answer, over the socket and by AJAX.
async fn told(cluster: &Cluster, client: &mut Client, release: Option<Value>) -> anyhow::Result<Value> {
    told_of("diffyne-a", cluster, client, release).await
}

async fn told_of(id: &str, cluster: &Cluster, client: &mut Client, release: Option<Value>) -> anyhow::Result<Value> {
    let mut data = increment(id, 1, "r");
    if let Some(release) = release {
        data["release"] = release;
    }
    let answer = client.call(data.clone()).await?;
    assert!(answer.is_ok(), "{answer}");
    let by_socket = answer.get("release").cloned().unwrap_or_default();
    let by_ajax = http_post(cluster.gateways[0].port, "/_diffyne/update", &[], &data.to_string())?.json()?;
    assert_eq!((&by_ajax["s"], &by_ajax["release"]), (&json!(true), &by_socket));
    Ok(by_socket)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_notices_and_nobody_is_told_while_two_releases_run() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Shape { workers: 2, ..shape("one") })?;
    let mut client = Client::connect(&cluster.url(0)).await?;
    let page = |scripts: &str, components: &str| Some(json!({"scripts": scripts, "components": components}));
    assert_eq!(told(&cluster, &mut client, None).await?, Value::Null, "a script that does not ask");
    assert_eq!(told(&cluster, &mut client, page("one", "one")).await?, Value::Null);
    let both = json!({"scripts": "one", "components": "one"});
    assert_eq!(told(&cluster, &mut client, page("zero", "zero")).await?, both);
    assert_eq!(told(&cluster, &mut client, page("one", "")).await?, json!({"components": "one"}), "it does not know");
    for odd in [json!("one"), json!([]), json!({"scripts": 7, "components": {"a": 1}}), Value::Null] {
        let answer = told(&cluster, &mut client, Some(odd.clone())).await?;
        assert!(answer.get("scripts").is_none(), "{odd}: {answer}");
    }
    // An answer that fails tells it, too: what the page calls may be gone.
    let mut gone = increment("diffyne-a", 1, "r");
    gone["method"] = json!("gone");
    gone["release"] = json!({"scripts": "one", "components": "zero"});
    let answer = client.call(gone).await?;
    assert_eq!((answer.error_type(), &answer["release"]), ("method_error", &json!({"components": "one"})), "{answer}");

    deploy_worker(&mut cluster, 0, "two")?;
    // Of so many components, each worker is preferred by some.
    for number in 0..8 {
        let id = format!("diffyne-{number}");
        assert_eq!(
            told_of(&id, &cluster, &mut client, page("one", "one")).await?,
            Value::Null,
            "the deploy is not over"
        );
    }
    deploy_worker(&mut cluster, 1, "two")?;
    let is_told = async || Ok(told(&cluster, &mut client, page("one", "one")).await? == json!({"components": "two"}));
    eventually_async("the deploy is over", is_told).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_laravel_notices_other_view_files() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let cluster =
        Cluster::start(laravel.shape(1, 1).worker("--php-watch", &laravel.path("resources").to_string_lossy()))?;
    let pages = LaravelPages::start(&cluster, &laravel, &Script::Client, "")?;
    let browser = Browser::start()?;
    let mut tab = browser.open(&pages.url("/pages/Counter")).await?;
    tab.wait_for(OPEN).await?;
    tab.eval(NOTE).await?;
    let plus = "document.querySelector('[diff\\\\:click]').click()";
    let state = "diffyneClient && document.body.textContent";
    let before = tab.eval(state).await?;
    tab.eval(plus).await?;
    tab.wait_for(&format!("document.body.textContent !== {before}")).await?;
    assert_eq!(tab.eval("told").await?, json!([]));
    let view = "resources/views/diffyne/counter.blade.php";
    std::fs::write(
        laravel.path(view),
        std::fs::read_to_string(laravel.path(view))?.replace("</div>", "<i>new</i></div>"),
    )?;
    let reloads = || cluster.workers[0].metric("diffyne_worker_php_watch_reloads_total").unwrap_or_default();
    eventually("the worker has noticed", || reloads() > 0.5)?;
    // The processes are replaced one after the other.
    tab.wait_for(&format!("({plus}, told.length)")).await?;
    tab.wait_for(BAR).await?;
    assert_eq!(tab.errors, Vec::<String>::new());
    Ok(())
}
