//! The page's scripts in a real browser, where WebSockets do not get through: which transport they end with, and that
//! they keep their place on the way from each to each other.

use anyhow::Context as _;
use diffyne_tests::browser::{Browser, Tab};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::faults::drops::{publish_by_redis, publish_while};
use diffyne_tests::faulty_proxy::{FaultyProxy, ProxyState};
use diffyne_tests::http::http_get;
use diffyne_tests::ports::free_ports;
use serde_json::json;
use tokio::sync::watch;

/// What an nginx has in its files that holds responses back.
const HOLDS_BACK: &str = "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;
    gzip on; gzip_types text/event-stream; gzip_proxied any; gzip_min_length 0;";
/// Broadcasts a second.
const RATE: u64 = 50;

/// Has a page hear by the scripts that its gateway serves. What it hears is in `heard`, the states of its connection in
/// `states`.
async fn hear(tab: &mut Tab, socket_port: u16) -> anyhow::Result<()> {
    let script = format!(
        "(async () => {{
            window.heard = [];
            window.states = [];
            // As if somebody looked at both tabs.
            Object.defineProperty(document, 'hidden', {{ get: () => false }});
            document.addEventListener('diffyne:connection', ({{ detail }}) => states.push(detail.state));
            const {{ Transport }} = await import('/_diffyne/transport.js');
            const options = {{ url: 'ws://127.0.0.1:{socket_port}/?key=', endpoint: '/_diffyne', maxMessageSize: 1e6 }};
            const transport = new Transport(options, {{
                pushed: ([event]) => heard.push(event.params[0].n), missed: () => heard.push('missed'), valued() {{}},
            }});
            transport.listen([{{ name: 'message-sent' }}]);
        }})()"
    );
    tab.wait_for("location.protocol === 'http:' && document.readyState === 'complete'").await?;
    tab.eval(&script).await.map(drop)
}

async fn wait_for_state(tab: &mut Tab, state: &str) -> anyhow::Result<()> {
    let reached = tab.wait_for(&format!("document.documentElement.dataset.diffyneConnection === '{state}'")).await;
    let states = tab.eval("`${states}, heard ${heard.length}`").await?;
    reached.with_context(|| format!("{state} was not reached: {states}"))
}

/// Waits until the page has heard something since.
async fn wait_for_more(tab: &mut Tab) -> anyhow::Result<()> {
    tab.eval("window.before = heard.length").await?;
    tab.wait_for("heard.length > before").await
}

/// Checks that the page has heard everything from its first number to the last, once and in order.
async fn assert_all_heard(tab: &mut Tab, last: u64) -> anyhow::Result<()> {
    tab.wait_for(&format!("heard.at(-1) === {last}")).await?;
    let wrong = tab.eval("heard.filter((n, at) => n !== heard[0] + at)").await?;
    assert_eq!(wrong, json!([]), "{}", tab.eval("`${heard} ${states}`").await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_hears_everything_once_and_in_order_whatever_its_proxies_let_through() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(2, 1).with_redis().with_nginx())?;
    // One proxy for the WebSockets, and one for everything else, in front of nginx as it is shipped.
    let sockets = FaultyProxy::start(cluster.nginx_port, ProxyState::Brief)?;
    let streams = FaultyProxy::start(cluster.nginx_port, ProxyState::Open)?;
    // And nginx as others have it: it compresses what comes, and holds it back until there is enough of it.
    let [held] = free_ports()?;
    let site = cluster.shipped_site("diffyne.conf", held)?;
    let site = site.replace("proxy_buffering off;", HOLDS_BACK);
    let _held = cluster.run_nginx(&site.replace("diffyne_", "held_"), held)?;
    assert_eq!(http_get(held, "/health")?.status, 200);

    let browser = Browser::start()?;
    let page = |port: u16| format!("http://127.0.0.1:{port}/health");
    let (mut ada, mut bob) = (browser.open(&page(streams.port)).await?, browser.open(&page(held)).await?);
    let refused = FaultyProxy::start(cluster.nginx_port, ProxyState::Refusing)?;
    hear(&mut bob, refused.port).await?;
    hear(&mut ada, sockets.port).await?;
    // Sockets that open and are cut after a moment: two tries, and no more.
    wait_for_state(&mut ada, "sse").await?;
    let opened = ada.eval("states.filter((state) => state === 'open').length").await?;
    assert_eq!(opened, 2, "{}", ada.eval("states").await?);

    let (url, (stop, stopped)) = (cluster.redis_url(), watch::channel(false));
    let sending = tokio::spawn(async move { publish_while(&url, RATE, |_| !*stopped.borrow()).await });
    wait_for_more(&mut ada).await?;
    // A cut stream goes on where it was.
    streams.set(ProxyState::Refusing);
    wait_for_state(&mut ada, "closed").await?;
    streams.set(ProxyState::Open);
    wait_for_state(&mut ada, "sse").await?;
    wait_for_more(&mut ada).await?;
    // The WebSocket again, once it lasts, and back.
    sockets.set(ProxyState::Open);
    ada.eval("dispatchEvent(new Event('online'))").await?;
    wait_for_state(&mut ada, "open").await?;
    wait_for_more(&mut ada).await?;
    sockets.set(ProxyState::Refusing);
    wait_for_state(&mut ada, "sse").await?;
    wait_for_more(&mut ada).await?;
    // What comes in pieces and is held back comes by polls.
    wait_for_state(&mut bob, "poll").await?;
    wait_for_more(&mut bob).await?;
    stop.send_replace(true);
    let count = sending.await??;
    for tab in [&mut ada, &mut bob] {
        assert_all_heard(tab, count - 1).await?;
    }

    // The next page in the tab begins with what has worked, and the socket that failed is not asked first.
    ada.eval("location.reload()").await?;
    ada.wait_for("document.readyState === 'complete' && !window.heard").await?;
    ada.network_errors.clear();
    hear(&mut ada, sockets.port).await?;
    wait_for_state(&mut ada, "sse").await?;
    assert_eq!((&ada.errors, &ada.network_errors), (&Vec::new(), &Vec::new()));
    publish_by_redis(&cluster.redis_url(), 1, RATE).await?;
    ada.wait_for("heard.length === 1").await?;
    Ok(())
}
