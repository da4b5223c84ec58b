//! What directives do on a page, in a real browser: a table of rows (`tests/data/directives.js`), each a component with
//! what a person does to it, and pages that are exchanged.

use diffyne_tests::browser::{Browser, Tab};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::http::http_post;
use diffyne_tests::process::eventually_async;
use diffyne_tests::stage::StagePages;
use serde_json::json;

const OPEN: &str = "document.documentElement.dataset.diffyneConnection === 'open'";
const CLIENT: &str = r#"<script type="module" src="/_diffyne/client.js" data-url="/diffyne"></script>"#;
const ROWS: &str = include_str!("../data/directives.js");

fn page(head: &str, body: &str) -> String {
    format!("<!DOCTYPE html><html><head><meta charset=\"utf-8\">{head}</head><body>{body}{CLIENT}</body></html>")
}

/// A component's wrapper, as a page comes with it. Calls need no signature.
fn component(id: &str, view: &str) -> String {
    let state = json!({"view": view, "n": 0, "said": "", "text": "", "open": false}).to_string();
    let state = state.replace('&', "&amp;").replace('"', "&quot;");
    let html = view.replace("{n}", "0");
    format!(
        r#"<div diff:id="{id}" diff:class="App\Tests\Stage" diff:state="{state}" diff:fingerprint="" diff:signature="" diff:listeners="[]" data-diffyne-component data-diffyne-loaded><div>{html}</div></div>"#
    )
}

fn cluster() -> anyhow::Result<Cluster> {
    Cluster::start(Shape::new(1, 1).gateway("--admin-token", "let-me"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_directive_does_what_its_row_says() -> anyhow::Result<()> {
    let cluster = cluster()?;
    let style = "<title>Rows</title><style>[diff\\:cloak] { display: none }</style>";
    let rows = page(style, "<script src=\"rows.js\"></script>");
    let pages = StagePages::start(&cluster, &[("rows.html", &rows), ("rows.js", ROWS)])?;
    let browser = Browser::start_with_windows()?;
    let mut tab = browser.open(&pages.url("rows.html")).await?;
    tab.wait_for(OPEN).await?;
    tab.eval("void runRows().then((faults) => { window.faults = faults; })").await?;
    tab.wait_for("window.faults").await?;
    assert_eq!(tab.eval("window.faults").await?, json!({}));
    sleeps_while_hidden(&browser, &pages, &mut tab).await?;
    hears_channels(&cluster, &mut tab).await?;
    assert_eq!(tab.errors, Vec::<String>::new());
    Ok(())
}

/// A poll waits while its tab is hidden behind another one.
async fn sleeps_while_hidden(browser: &Browser, pages: &StagePages, tab: &mut Tab) -> anyhow::Result<()> {
    tab.eval(
        "window.polled = stage('polled', '<i diff:poll=\"20\" diff:poll.action=\"add(1)\"></i><u diff:poll.keep-alive=\"20\" diff:poll.action=\"toggle\"></u>'); \
         window.count = (name) => calls.filter(({ component, method }) => component.id === 'polled' && method === name).length",
    )
    .await?;
    tab.wait_for("count('add') > 2").await?;
    let mut other = browser.open(&pages.url("rows.html")).await?;
    other.wait_for(OPEN).await?;
    tab.wait_for("document.hidden").await?;
    tab.eval("window.asleep = [count('add'), count('toggle')]").await?;
    tab.wait_for("count('toggle') > asleep[1] + 2").await?;
    assert!(tab.eval("count('add') - asleep[0]").await?.as_i64().unwrap() <= 1, "one may have been under way");
    tab.bring_to_front().await?;
    tab.wait_for("!document.hidden && count('add') > asleep[0] + 2").await?;
    tab.eval("polled.remove()").await?;
    Ok(())
}

/// Elements hear channels of Laravel, however many there are, each as long as it is there.
async fn hears_channels(cluster: &Cluster, tab: &mut Tab) -> anyhow::Result<()> {
    let publish = |name: &str, n: i64| {
        let event = json!({"name": name, "params": [n]}).to_string();
        let admin = cluster.gateways[0].admin;
        let answer = http_post(admin, "/api/broadcast", &[("Authorization", "Bearer let-me")], &event)?;
        anyhow::ensure!(answer.status == 202, "{}", answer.body);
        anyhow::Ok(())
    };
    tab.eval(
        "window.orders = Array.from({ length: 90 }, (_, n) => `diff:on.channel:orders.${n}:paid=\"add\"`).join(' '); \
         window.hearing = stage('hearing', `<i ${orders}></i><output>{n}</output>`); \
         window.other = stage('other', '<b diff:on.channel:orders.7:paid=\"add\"></b><output>{n}</output>'); \
         window.shown = (root) => Number(root.querySelector('output').textContent); 0",
    )
    .await?;
    // The last is heard once the page has subscribed to all of them.
    eventually_async("the page hears the last channel", async || {
        publish("channel:orders.89:paid", 1)?;
        Ok(tab.eval("shown(hearing) > 0").await? == true)
    })
    .await?;
    publish("channel:orders.7:paid", 1_000_000)?;
    tab.wait_for("shown(hearing) > 1_000_000 && shown(other) === 1_000_000").await?;
    // The other element hears it still.
    tab.eval("hearing.querySelector('i').remove()").await?;
    publish("channel:orders.7:paid", 10_000_000)?;
    tab.wait_for("shown(other) === 11_000_000").await?;
    assert_eq!(tab.eval("shown(hearing) < 10_000_000").await?, true);
    tab.eval("hearing.remove(); other.remove()").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_a_network_says_so_and_makes_its_calls_when_it_is_back() -> anyhow::Result<()> {
    let cluster = cluster()?;
    let view = r#"<button diff:click="add(1)">b</button><i diff:loading.show>wait</i><u diff:offline>offline</u><input diff:keydown.enter="add(10)"><output>{n}</output>"#;
    let html = page("<title>Offline</title>", &component("a", view)).replace(r#" data-url="/diffyne""#, "");
    let pages = StagePages::start(&cluster, &[("offline.html", &html)])?;
    let browser = Browser::start()?;
    let mut tab = browser.open(&pages.url("offline.html")).await?;
    tab.wait_for("document.documentElement.dataset.diffyneConnection === 'ajax'").await?;
    let is_shown = |name: &str| format!("document.querySelector('{name}').checkVisibility()");
    tab.wait_for(&format!("!{} && !{}", is_shown("u"), is_shown("i"))).await?;
    // Keys as a keyboard sends them.
    tab.click("input").await?;
    tab.type_text("a").await?;
    tab.enter().await?;
    tab.wait_for_text("output", "10").await?;
    tab.set_offline(true).await?;
    tab.wait_for(&is_shown("u")).await?;
    tab.click("button").await?;
    tab.wait_for(&is_shown("i")).await?;
    assert_eq!(tab.text("output").await?, "10");
    tab.set_offline(false).await?;
    tab.wait_for_text("output", "11").await?;
    tab.wait_for(&format!("!{} && !{}", is_shown("u"), is_shown("i"))).await?;
    assert_eq!(tab.errors, Vec::<String>::new());
    Ok(())
}

const FIRST_HEAD: &str = r#"<title>First</title><meta name="csrf-token" content="one"><meta name="of-the-first">
<link rel="stylesheet" href="shared.css"><script>window.first = (window.first ?? 0) + 1;</script>"#;
const SECOND_HEAD: &str = r#"<title>Second</title><meta name="csrf-token" content="two">
<link rel="stylesheet" href="shared.css"><style>h1 { color: rgb(1, 2, 3) }</style><script>window.second = (window.second ?? 0) + 1;</script>
<script src="library.js"></script>"#;

async fn scroll_is(tab: &mut Tab, y: u32) -> anyhow::Result<()> {
    tab.wait_for(&format!("Math.abs(window.scrollY - {y}) < 2")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_exchanged_and_back_finds_them_as_they_were() -> anyhow::Result<()> {
    let cluster = cluster()?;
    let tall = r#"<div style="height: 3000px"></div>"#;
    let counter = |id: &str| component(id, "<button diff:click=\"add(1)\">b</button><output>{n}</output>");
    let jump = component("j", "<button class=\"jump\" diff:click=\"go('/stage/second.html')\">go</button>");
    let first = page(
        FIRST_HEAD,
        &format!(
            "<h1>First</h1>{}{jump}<input id=\"own\">{tall}<a class=\"there\" href=\"second.html\" diff:navigate.hover>there</a>\
             <a class=\"part\" href=\"second.html#part\" diff:navigate>part</a><a class=\"lost\" href=\"nowhere.html\" diff:navigate>lost</a>",
            counter("a")
        ),
    );
    let second = page(
        SECOND_HEAD,
        &format!(
            "<h1>Second</h1>{}<script>window.shown = (window.shown ?? 0) + 1;</script>\
             <script src=\"library.js\"></script>{tall}<p id=\"part\">part</p><a class=\"back\" href=\"first.html\" diff:navigate>first</a>",
            counter("b")
        ),
    );
    let files = [
        ("first.html", first.as_str()),
        ("second.html", second.as_str()),
        ("shared.css", "body { margin: 0 }"),
        ("library.js", "window.library = (window.library ?? 0) + 1;"),
    ];
    let pages = StagePages::start(&cluster, &files)?;
    let browser = Browser::start()?;
    let mut tab = browser.open(&pages.url("first.html")).await?;
    tab.wait_for(OPEN).await?;
    tab.eval("window.same = true; document.querySelector('#own').value = 'typed'").await?;
    tab.click("[diff\\:id=a] button").await?;
    tab.wait_for_text("output", "1").await?;

    // The mouse rests on the link: the page is fetched, once.
    let fetched = "performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('second.html')).length";
    tab.hover(".there").await?;
    tab.wait_for(&format!("{fetched} === 1")).await?;
    let y = u32::try_from(tab.eval("Math.round(window.scrollY)").await?.as_i64().unwrap_or_default())?;
    assert!(y > 1000, "{y}");
    tab.click(".there").await?;
    tab.wait_for_text("h1", "Second").await?;
    tab.wait_for("document.title === 'Second' && location.pathname.endsWith('/second.html')").await?;
    scroll_is(&mut tab, 0).await?;
    assert_eq!(tab.eval(fetched).await?, 1, "what was fetched ahead is shown");
    tab.wait_for("window.shown === 1 && window.second === 1 && window.library === 1").await?;
    let seen = "[window.same, window.first, document.querySelector('[name=csrf-token]').content, document.querySelector('[name=of-the-first]'), \
        getComputedStyle(document.querySelector('h1')).color]";
    assert_eq!(tab.eval(seen).await?, json!([true, 1, "two", null, "rgb(1, 2, 3)"]));
    tab.click("[diff\\:id=b] button").await?;
    tab.wait_for_text("output", "1").await?;

    // Back: from memory, with what was typed, the components' states, and where it was scrolled to.
    let requests = "performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('first.html')).length";
    tab.travel(-1).await?;
    tab.wait_for_text("h1", "First").await?;
    scroll_is(&mut tab, y).await?;
    let state = "[document.title, document.querySelector('#own').value, document.querySelector('output').textContent, window.first, window.same]";
    assert_eq!(tab.eval(state).await?, json!(["First", "typed", "1", 1, true]));
    assert_eq!(tab.eval(requests).await?, 0, "nothing was fetched");
    tab.click("[diff\\:id=a] button").await?;
    tab.wait_for_text("output", "2").await?;
    tab.travel(1).await?;
    tab.wait_for_text("h1", "Second").await?;
    tab.click("[diff\\:id=b] button").await?;
    tab.wait_for_text("output", "2").await?;

    // A link of the second page; a place within a page; a redirect; what runs once has run once.
    tab.click(".back").await?;
    tab.wait_for_text("h1", "First").await?;
    tab.click(".part").await?;
    tab.wait_for(
        "location.hash === '#part' && document.querySelector('#part').getBoundingClientRect().top < innerHeight",
    )
    .await?;
    tab.travel(-1).await?;
    tab.wait_for_text("h1", "First").await?;
    tab.click(".jump").await?;
    tab.wait_for_text("h1", "Second").await?;
    tab.wait_for("window.shown === 3").await?;
    let once = "[window.same, window.first, window.second, window.library, document.querySelector('[name=csrf-token]').content]";
    assert_eq!(tab.eval(once).await?, json!([true, 1, 1, 1, "two"]));
    assert_eq!(tab.errors, Vec::<String>::new());

    // What cannot be fetched is loaded.
    tab.travel(-1).await?;
    tab.wait_for_text("h1", "First").await?;
    tab.click(".lost").await?;
    tab.wait_for("window.same === undefined && location.pathname.endsWith('/nowhere.html')").await?;
    Ok(())
}
