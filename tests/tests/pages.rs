//! Pages whose connection fails, is refused, or is not wanted; with our client, and with companion.js beside a script
//! that has the surface of diffyne.js (and beside the real one, when `DIFFYNE_JS` says where it is).

use anyhow::Context as _;
use diffyne_shared::signing::LockedValues;
use diffyne_tests::application::{Application, Script};
use diffyne_tests::browser::{Browser, Tab};
use diffyne_tests::cluster::{Cluster, Node, Shape};
use diffyne_tests::faulty_proxy::{FaultyProxy, ProxyState};
use diffyne_tests::process::{Signal, eventually, eventually_async};

const OPEN: &str = "document.documentElement.dataset.diffyneConnection === 'open'";
const BY_EVENTS: &str = "document.documentElement.dataset.diffyneConnection === 'sse'";
const CLOSED: &str = "document.documentElement.dataset.diffyneConnection === 'closed'";
const PLUS: &str = "[aria-label='one more']";

fn all_scripts() -> Vec<Script> {
    std::iter::once(Script::Client).chain(Script::companions()).collect()
}

/// Calls by AJAX that the gateways have taken.
fn ajax_calls(cluster: &Cluster) -> anyhow::Result<u64> {
    let name = "diffyne_gateway_http_calls_total{result=\"accepted\"}";
    cluster.gateways.iter().map(|gateway| Ok(gateway.metric(name)? as u64)).sum()
}

async fn say(tab: &mut Tab, text: &str) -> anyhow::Result<()> {
    tab.click("[aria-label=Message]").await?;
    tab.type_text(text).await?;
    tab.enter().await
}

fn no_script_errors(tab: &Tab, script: &Script) {
    assert_eq!(tab.errors, Vec::<String>::new(), "{script:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_reconnects_by_itself_when_its_gateway_is_killed() -> anyhow::Result<()> {
    let browser = Browser::start()?;
    for script in all_scripts() {
        let cluster = Cluster::start(Shape::new(3, 1).with_redis())?;
        let application = Application::start(&cluster, &script, "/diffyne", "").await?;
        let mut ada = browser.open(&application.url("/counter+chat")).await?;
        ada.wait_for(OPEN).await?;
        ada.click(PLUS).await?;
        ada.wait_for_text("output", "1").await?;
        let has_her = |gateway: &Node| gateway.health().is_ok_and(|health| health["connections"]["local"] == 1);
        eventually("a gateway has her connection", || cluster.gateways.iter().any(has_her))?;
        let hers = cluster.gateways.iter().position(has_her).unwrap();
        let other = cluster.url((hers + 1) % 3);
        let near = Application::start(&cluster, &Script::Client, &format!("{other}diffyne"), "").await?;
        let mut bob = browser.open(&near.url("/chat")).await?;
        bob.wait_for(OPEN).await?;

        let note = "document.addEventListener('diffyne:connection', ({ detail }) => { window.broke ||= detail.state === 'closed' })";
        ada.eval(note).await?;
        cluster.gateways[hers].process.signal(Signal::Kill)?;
        // A click that is on its way in this moment is rejected, never sent twice.
        ada.wait_for("window.broke").await?;
        ada.click(PLUS).await?;
        say(&mut bob, "did you hear that?").await?;
        ada.wait_for_text("output", "2").await?;
        ada.wait_for(OPEN).await?;
        ada.wait_for_text(".chat li:last-child", "did you hear that?").await?;
        // What had been said meanwhile was replayed: the page is as it was, and its counter counts on.
        ada.click(PLUS).await?;
        ada.wait_for_text("output", "3").await?;
        say(&mut ada, "I did").await?;
        bob.wait_for_text(".chat li:last-child", "I did").await?;
        no_script_errors(&ada, &script);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_websocket_a_page_works_by_ajax_and_returns_when_it_can() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(2, 1).with_redis())?;
    let browser = Browser::start()?;
    for script in all_scripts() {
        let proxy = FaultyProxy::start(cluster.gateways[0].port, ProxyState::Refusing)?;
        let socket = format!("ws://127.0.0.1:{}/diffyne", proxy.port);
        let application = Application::start(&cluster, &script, &socket, "").await?;
        let by_socket = Application::start(&cluster, &Script::Client, "/diffyne", "").await?;
        let mut bob = browser.open(&by_socket.url("/chat")).await?;
        bob.wait_for(OPEN).await?;

        let mut ada = browser.open(&application.url("/counter+chat")).await?;
        ada.wait_for(BY_EVENTS).await?;
        let before = ajax_calls(&cluster)?;
        ada.click(PLUS).await?;
        ada.wait_for_text("output", "1").await?;
        say(&mut ada, &format!("by AJAX {before}")).await?;
        bob.wait_for_text(".chat li:last-child", &format!("by AJAX {before}")).await?;
        say(&mut bob, &format!("heard without a socket {before}")).await?;
        ada.wait_for_text(".chat li:last-child", &format!("heard without a socket {before}")).await?;
        // A listener in her own page hears it as well.
        assert!(ajax_calls(&cluster)? >= before + 2, "a click, a message");

        proxy.set(ProxyState::Open);
        ada.eval("window.dispatchEvent(new Event('online'))").await?;
        ada.wait_for(OPEN).await?;
        let before = ajax_calls(&cluster)?;
        ada.click(PLUS).await?;
        ada.wait_for_text("output", "2").await?;
        say(&mut bob, &format!("welcome back {before}")).await?;
        ada.wait_for_text(".chat li:last-child", &format!("welcome back {before}")).await?;
        assert_eq!(ajax_calls(&cluster)?, before, "the socket carries the calls again");

        // Cut in the middle of the page's life.
        proxy.set(ProxyState::Refusing);
        ada.wait_for(BY_EVENTS).await?;
        ada.click(PLUS).await?;
        ada.wait_for_text("output", "3").await?;
        no_script_errors(&ada, &script);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_two_seconds_for_a_socket_that_does_not_open() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1))?;
    let browser = Browser::start()?;
    for script in all_scripts() {
        let proxy = FaultyProxy::start(cluster.gateways[0].port, ProxyState::Silent)?;
        let socket = format!("ws://127.0.0.1:{}/diffyne", proxy.port);
        let application = Application::start(&cluster, &script, &socket, "").await?;
        let mut tab = browser.open(&application.url("/counter")).await?;
        tab.wait_for("document.readyState === 'complete' && document.documentElement.dataset.diffyneConnection")
            .await?;
        tab.click(PLUS).await?;
        tab.wait_for_text("output", "1").await?;
        let seconds = tab.eval("performance.now() / 1000").await?.as_f64().unwrap();
        assert!(seconds >= 1.9, "{seconds} s");
        no_script_errors(&tab, &script);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_marked_for_ajax_uses_it_while_its_neighbour_uses_the_socket() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(2, 1).with_redis())?;
    let browser = Browser::start()?;
    for script in all_scripts() {
        let application = Application::start(&cluster, &script, "/diffyne", r#" data-ajax="Counter""#).await?;
        let mut tab = browser.open(&application.url("/counter+chat+todo")).await?;
        tab.wait_for(OPEN).await?;
        let before = ajax_calls(&cluster)?;
        tab.click(PLUS).await?;
        tab.wait_for_text("output", "1").await?;
        assert_eq!(ajax_calls(&cluster)?, before + 1, "named by the script tag");
        say(&mut tab, &format!("by socket {before}")).await?;
        tab.wait_for_text(".chat li:last-child", &format!("by socket {before}")).await?;
        assert_eq!(ajax_calls(&cluster)?, before + 1, "its neighbour");
        tab.eval("document.querySelectorAll('article')[2].dataset.diffyneTransport = 'ajax'").await?;
        tab.click("li:nth-child(2) [aria-label='up']").await?;
        tab.wait_for_text("ol li:nth-child(1) span", "Start three gateways").await?;
        assert_eq!(ajax_calls(&cluster)?, before + 2, "marked by what is around it");
        tab.eval("document.querySelectorAll('article')[0].dataset.diffyneTransport = 'websocket'").await?;
        tab.click(PLUS).await?;
        tab.wait_for_text("output", "2").await?;
        assert_eq!(ajax_calls(&cluster)?, before + 2, "a mark wins over the script tag");
        assert_eq!((tab.errors, tab.network_errors), (Vec::new(), Vec::new()), "{script:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_click_letter_or_push_is_lost_beside_diffyne_js() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(2, 2).with_redis())?;
    let browser = Browser::start()?;
    for script in Script::companions() {
        let application = Application::start(&cluster, &script, "/diffyne", "").await?;
        let by_client = Application::start(&cluster, &Script::Client, "/diffyne", "").await?;
        let mut bob = browser.open(&by_client.url("/chat")).await?;
        bob.wait_for(OPEN).await?;

        let mut ada = browser.open(&application.url("/counter+chat+search")).await?;
        ada.wait_for(OPEN).await?;
        let clicks = |n: u32| format!("for (let i = 0; i < {n}; i++) document.querySelector(\"{PLUS}\").click()");
        ada.eval(&clicks(120)).await?;
        say(&mut bob, "a push in between").await?;
        ada.eval(&clicks(80)).await?;
        ada.wait_for_text("output", "200").await?;
        ada.wait_for_text(".chat li:last-child", "a push in between").await?;

        // Typing fast in a live field.
        let field = "document.querySelector('input[type=search]')";
        ada.click("input[type=search]").await?;
        let long = "outbox and whatever else one types without a pause";
        ada.type_text(long).await?;
        assert_eq!(ada.eval(&format!("{field}.value")).await?, long);
        ada.wait_for("document.querySelectorAll('article')[2].textContent.includes('0 shown of 0')").await?;
        assert_eq!(ada.eval(&format!("{field}.value")).await?, long);

        // A fault is shown, and what was typed stays.
        ada.click(".chat button").await?;
        ada.wait_for_text(".chat em", "The message field is required.").await?;
        say(&mut ada, "now with words").await?;
        bob.wait_for_text(".chat li:last-child", "now with words").await?;
        ada.wait_for("document.querySelector('[aria-label=Message]').value === ''").await?;
        no_script_errors(&ada, &script);

        // A lazy component loads, over the socket, and can be called.
        let mut lazy = browser.open(&application.url("/report")).await?;
        lazy.wait_for_text("h3", "Quarter 1").await?;
        lazy.wait_for("document.body.textContent.includes('It came by WebSocket.')").await?;
        lazy.click("section button").await?;
        lazy.wait_for_text("h3", "Quarter 2").await?;
        assert_eq!((lazy.errors, lazy.network_errors), (Vec::new(), Vec::new()), "{script:?}");
        assert_eq!(ada.network_errors, Vec::<String>::new(), "{script:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_sockets_limit_goes_by_ajax() -> anyhow::Result<()> {
    let browser = Browser::start()?;
    for script in all_scripts() {
        // The gateway says its limit; the page's own idea of it is another one.
        let cluster = Cluster::start(Shape::new(1, 1).gateway("--ws-max-message-size", "4096"))?;
        let application = Application::start(&cluster, &script, "/diffyne", "").await?;
        let mut tab = browser.open(&application.url("/chat")).await?;
        tab.wait_for(OPEN).await?;
        let fill = |length: usize| {
            format!(
                "(() => {{ const f = document.querySelector('[aria-label=Message]'); f.value = 'x'.repeat({length}); \
                 f.dispatchEvent(new Event('input', {{bubbles: true}})); document.querySelector('.chat form').requestSubmit() }})()"
            )
        };
        // The first thing that the page sends.
        tab.eval(&fill(5000)).await?;
        tab.wait_for("document.querySelector('em').textContent.includes('200 characters')").await?;
        assert_eq!((ajax_calls(&cluster)?, tab.eval(OPEN).await?), (1, true.into()), "{script:?}");
        tab.eval(&fill(3)).await?;
        tab.wait_for_text(".chat li:last-child", "xxx").await?;
        assert_eq!(ajax_calls(&cluster)?, 1, "{script:?}");
        no_script_errors(&tab, &script);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_key_is_refused_says_so_once() -> anyhow::Result<()> {
    let browser = Browser::start()?;
    for script in all_scripts() {
        let cluster = Cluster::start(Shape::new(1, 1).gateway("--ws-key", "a+b/c=="))?;
        // Through nginx, and with the gateway on another origin than the page.
        for socket in ["/diffyne".to_owned(), format!("{}diffyne", cluster.url(0))] {
            let application = Application::start(&cluster, &script, &format!("{socket}?key=wrong"), "").await?;
            let mut tab = browser.open(&application.url("/counter")).await?;
            tab.wait_for(CLOSED).await?;
            tab.click(PLUS).await?;
            tab.wait_for_text("output", "1").await?;
            eventually_async("the page says so", async || {
                tab.eval("1").await?;
                Ok(!tab.errors.is_empty())
            })
            .await?;
            // Wait for two more attempts, of which neither says anything.
            let handshakes = || cluster.gateways[0].metric("diffyne_gateway_handshakes_total{result=\"key\"}");
            let before = handshakes()?;
            eventually("the page tries again", || handshakes().is_ok_and(|count| count >= before + 2.0))?;
            tab.eval("1").await?;
            assert_eq!(tab.errors.len(), 1, "{script:?} {socket}: {:?}", tab.errors);
            assert!(tab.errors[0].contains("refuses the key of this page"), "{:?}", tab.errors);
            for good in ["a%2Bb%2Fc%3D%3D", "a+b/c=="] {
                let application = Application::start(&cluster, &script, &format!("{socket}?key={good}"), "").await?;
                let mut tab = browser.open(&application.url("/counter")).await?;
                tab.wait_for(OPEN).await?;
                no_script_errors(&tab, &script);
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_missed_too_much_is_fetched_again_but_not_under_the_users_typing() -> anyhow::Result<()> {
    let browser = Browser::start()?;
    for script in all_scripts() {
        // Four pages a second may be fetched when all have missed something.
        let shape = Shape::new(2, 1).with_redis().gateway("--history-length", "1").gateway("--reaction-rate", "4");
        let cluster = Cluster::start(shape)?;
        let proxy = FaultyProxy::start(cluster.gateways[0].port, ProxyState::Open)?;
        let socket = format!("ws://127.0.0.1:{}/diffyne", proxy.port);
        // There are no events either without the socket.
        let application = Application::start(&cluster, &script, &socket, r#" data-endpoint="/nowhere""#).await?;
        let near = Application::start(&cluster, &Script::Client, &format!("{}diffyne", cluster.url(1)), "").await?;
        let mut bob = browser.open(&near.url("/chat")).await?;
        bob.wait_for(OPEN).await?;
        let mut ada = browser.open(&application.url("/chat+search")).await?;
        ada.wait_for(OPEN).await?;
        ada.click("[aria-label=Message]").await?;
        ada.type_text("half a sen").await?;

        proxy.set(ProxyState::Refusing);
        ada.wait_for(CLOSED).await?;
        for text in ["one", "two", "three"] {
            say(&mut bob, text).await?;
            bob.wait_for_text(".chat li:last-child", text).await?;
        }
        let fetched = "performance.getEntriesByType('resource').filter((entry) => entry.name === location.href).length";
        assert_eq!(ada.eval(fetched).await?, 0, "{script:?}");
        proxy.set(ProxyState::Open);
        // She is late in the window that the gateway has sized for all connections.
        let late = "Math.random = () => 0.9; document.addEventListener('diffyne:connection', ({ detail }) => { \
                    if (detail.state === 'open') window.openAt = performance.now() })";
        ada.eval(late).await?;
        ada.eval("window.dispatchEvent(new Event('online'))").await?;
        ada.wait_for(OPEN).await?;
        ada.wait_for(&format!("{fetched} >= 1")).await?;
        let waited =
            "performance.getEntriesByType('resource').find((entry) => entry.name === location.href).startTime - openAt";
        assert!(ada.eval(waited).await?.as_f64().unwrap() >= 0.9 * 250.0, "{script:?}");
        ada.type_text("tence").await?;
        assert_eq!(ada.eval("document.activeElement.value").await?, "half a sentence", "{script:?}");
        // When she leaves the field, the component is brought up to date, once.
        ada.click("input[type=search]").await?;
        ada.wait_for("document.querySelectorAll('.chat li:not(.quiet)').length === 3").await?;
        ada.wait_for_text(".chat li:last-child", "three").await?;
        say(&mut bob, "four").await?;
        ada.wait_for_text(".chat li:last-child", "four").await?;
        assert_eq!(ada.eval("document.querySelectorAll('.chat').length").await?, 1);
        no_script_errors(&ada, &script);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_moves_on_when_its_gateway_is_stopped_and_no_click_is_lost() -> anyhow::Result<()> {
    let browser = Browser::start()?;
    for script in all_scripts() {
        let mut cluster = Cluster::start(Shape::new(2, 1).with_redis().with_nginx())?;
        let application = Application::start(&cluster, &script, "/diffyne", "").await?;
        let mut ada = browser.open(&application.url("/counter+chat")).await?;
        ada.wait_for(OPEN).await?;
        let has_her = |gateway: &Node| gateway.health().is_ok_and(|health| health["connections"]["local"] == 1);
        eventually("a gateway has her connection", || cluster.gateways.iter().any(has_her))?;
        let hers = cluster.gateways.iter().position(has_her).unwrap();
        // She clicks all the time, and by no other way than the socket.
        let before = ajax_calls(&cluster)?;
        ada.eval(&format!("window.clicks = 0; window.clicking = setInterval(() => {{ window.clicks++; document.querySelector(\"{PLUS}\").click(); }}, 15)")).await?;
        ada.wait_for("window.clicks > 10").await?;
        cluster.gateways[hers].process.signal(Signal::Term)?;
        assert!(cluster.gateways[hers].process.wait()?.success());
        cluster.restart_gateway(hers)?;
        ada.wait_for("window.clicks > 60").await?;
        ada.eval("clearInterval(window.clicking)").await?;
        ada.wait_for("Number(document.querySelector('output').textContent) === window.clicks").await?;
        ada.wait_for(OPEN).await?;
        assert_eq!(ajax_calls(&cluster)?, before, "the next connection was waited for");
        no_script_errors(&ada, &script);
    }
    Ok(())
}

/// Goes through the wizard, whose step is locked: each call takes what was typed along.
async fn complete_wizard(tab: &mut Tab) -> anyhow::Result<()> {
    for (step, text) in [(1, "Crabs"), (2, "4")] {
        tab.wait_for(&format!("document.querySelector('progress').value === {step}")).await?;
        tab.click("input").await?;
        tab.type_text(text).await?;
        // What does not arrive here was lost by the browser, and what is lost later by the page.
        let typed = tab.wait_for(&format!("document.querySelector('input').value === '{text}'")).await;
        explained(tab, typed, "typed").await?;
        tab.enter().await?;
    }
    let shown = tab.wait_for_text("section > p", "Crabs, 4 seats.").await;
    explained(tab, shown, "sent").await
}

/// An error with what the page shows.
async fn explained(tab: &mut Tab, waited: anyhow::Result<()>, what: &str) -> anyhow::Result<()> {
    let Err(error) = waited else { return Ok(()) };
    let seen = "[document.querySelector('input')?.value, document.activeElement.outerHTML, document.querySelector('section').outerHTML]";
    let seen = tab.eval(seen).await?;
    Err(error.context(format!("what was not {what}: the page shows {seen}; {:?}", tab.network_errors)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_a_locked_property_sends_edits_along_whoever_signed_it() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1))?;
    let browser = Browser::start()?;
    for (script, rendered) in all_scripts()
        .into_iter()
        .flat_map(|script| [LockedValues::Signed, LockedValues::Upstream].map(|by| (script.clone(), by)))
    {
        for more in ["", " data-ajax=\"Wizard\""] {
            let application = Application::start_signing(&cluster, &script, "/diffyne", more, rendered).await?;
            let mut tab = browser.open(&application.url("/wizard")).await?;
            tab.wait_for(OPEN).await?;
            complete_wizard(&mut tab)
                .await
                .map_err(|error| error.context(format!("{script:?} {rendered:?} {more}")))?;
            no_script_errors(&tab, &script);
        }
    }

    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real diffyne.js: set DIFFYNE_JS to its path"]
async fn diffyne_js_alone_edits_pages_that_we_have_signed_and_is_refused_on_those_of_the_package() -> anyhow::Result<()>
{
    let script = Script::alone().context("DIFFYNE_JS is not set: it names the real diffyne.js")?;
    let cluster = Cluster::start(Shape::new(1, 1))?;
    let browser = Browser::start()?;
    let application = Application::start(&cluster, &script, "/diffyne", "").await?;
    let mut tab = browser.open(&application.url("/wizard")).await?;
    complete_wizard(&mut tab).await?;
    let application = Application::start_signing(&cluster, &script, "/diffyne", "", LockedValues::Upstream).await?;
    let mut tab = browser.open(&application.url("/wizard")).await?;
    tab.wait_for("window.diffyne?.transport !== undefined").await?;
    let send = "(async () => { const old = diffyne.transport.send.bind(diffyne.transport); \
        diffyne.transport.send = (payload) => old(payload).catch((error) => { window.refused = error.message; throw error; }); })()";
    tab.eval(send).await?;
    tab.click("input").await?;
    tab.type_text("Crabs").await?;
    tab.enter().await?;
    tab.wait_for("window.refused?.includes('No signature covers the locked properties')").await
}
