//! Every example component in a real browser, through nginx and three gateways, driven by clicks and keys.

use diffyne_tests::application::{Application, Script};
use diffyne_tests::browser::{Browser, Tab};
use diffyne_tests::cluster::{Cluster, Shape};

const OPEN: &str = "document.documentElement.dataset.diffyneConnection === 'open'";

fn cluster() -> anyhow::Result<Cluster> {
    Cluster::start(Shape::new(3, 2).with_redis())
}

async fn open(browser: &Browser, application: &Application, path: &str) -> anyhow::Result<Tab> {
    let mut tab = browser.open(&application.url(path)).await?;
    tab.wait_for(OPEN).await?;
    Ok(tab)
}

async fn counts(tab: &mut Tab) -> anyhow::Result<()> {
    for _ in 0..3 {
        tab.click("[aria-label='one more']").await?;
    }
    tab.click("[aria-label='one less']").await?;
    tab.wait_for_text("output", "2").await?;
    tab.eval("for (let i = 0; i < 198; i++) document.querySelector('[aria-label=\"one more\"]').click()").await?;
    tab.wait_for_text("output", "200").await
}

async fn lists(tab: &mut Tab) -> anyhow::Result<()> {
    tab.click("[aria-label='New item']").await?;
    tab.type_text("ab").await?;
    tab.enter().await?;
    tab.wait_for("document.querySelector('em').textContent === 'The new item field must be at least 3 characters.'")
        .await?;
    assert_eq!(tab.eval("document.querySelector('[aria-label=\"New item\"]').value").await?, "ab", "nothing is lost");
    tab.type_text("c").await?;
    tab.enter().await?;
    tab.wait_for_text("li:nth-child(4) span", "abc").await?;
    assert_eq!(tab.text("em").await?, "");
    // The nodes of a list that is turned around stay the same nodes.
    tab.eval("window.kept = [...document.querySelectorAll('li')]").await?;
    tab.eval("[...document.querySelectorAll('button')].find((b) => b.textContent === 'Reverse').click()").await?;
    tab.wait_for_text("li:nth-child(1) span", "abc").await?;
    let same = "[...document.querySelectorAll('li')].every((li, i) => li === kept[3 - i])";
    assert_eq!(tab.eval(same).await?, true, "moved, not made anew");
    tab.click("li:nth-child(4) [aria-label='up']").await?;
    tab.wait_for_text("li:nth-child(3) span", "Read the README").await?;
    // Edited in place.
    tab.click("li:nth-child(2) span").await?;
    tab.click("li:nth-child(2) input").await?;
    tab.wait_for("document.querySelector('li:nth-child(2) input').value === 'Kill one of them'").await?;
    tab.type_text("!").await?;
    tab.enter().await?;
    tab.wait_for("document.querySelector('li:nth-child(2) span')?.textContent.includes('!')").await?;
    tab.click("li:nth-child(1) [aria-label='remove']").await?;
    tab.wait_for("document.querySelectorAll('li').length === 3").await?;
    tab.click("li:nth-child(1) [aria-label='done']").await?;
    tab.wait_for("document.querySelector('li.done')").await
}

/// The button with this text.
fn button(text: &str) -> String {
    format!("[...document.querySelectorAll('button')].find((b) => b.textContent === '{text}')")
}

async fn asks_before_it_removes(tab: &mut Tab) -> anyhow::Result<()> {
    tab.click("li:nth-child(2) span").await?;
    let dirty = "document.querySelector('[diff\\\\:dirty]')?.checkVisibility()";
    tab.wait_for(&format!("{dirty} === false")).await?;
    tab.click("li:nth-child(2) input").await?;
    tab.type_text("?").await?;
    tab.wait_for(&format!("{dirty} === true")).await?;
    tab.enter().await?;
    tab.wait_for("document.querySelector('li:nth-child(2) span')?.textContent.includes('?')").await?;
    let (items, clear) = ("document.querySelectorAll('li').length", button("Clear done"));
    let before = tab.eval(items).await?;
    tab.eval(&format!("window.confirm = (text) => {{ window.asked = text; return false }}; {clear}.click()")).await?;
    tab.wait_for("window.asked === 'Remove what is done (1)?'").await?;
    assert_eq!(tab.eval(items).await?, before, "who says no loses nothing");
    tab.eval(&format!("window.confirm = () => true; {clear}.click()")).await?;
    tab.wait_for("!document.querySelector('li.done')").await?;
    tab.wait_for(&format!("{items} === {before} - 1")).await
}

async fn goes_from_page_to_page(tab: &mut Tab) -> anyhow::Result<()> {
    // A link that is clicked before its directive has come loads its page.
    tab.wait_for("!document.querySelector('[diff\\\\:cloak]')").await?;
    tab.eval("window.samePage = true").await?;
    tab.click("a[href='/counter']").await?;
    tab.wait_for("location.pathname === '/counter' && document.title === 'Counter'").await?;
    tab.click("[aria-label='one more']").await?;
    tab.wait_for_text("output", "1").await?;
    tab.travel(-1).await?;
    tab.wait_for("location.pathname === '/' && document.querySelector(\"a[href='/counter']\")").await?;
    tab.travel(1).await?;
    tab.wait_for_text("output", "1").await?;
    tab.click("h1 a").await?;
    tab.wait_for("location.pathname === '/'").await?;
    assert_eq!(tab.eval("window.samePage").await?, true, "without a page load");
    // Without a network the page says so.
    let notice = "document.querySelector('.notice').checkVisibility()";
    assert_eq!(tab.eval(notice).await?, false);
    tab.set_offline(true).await?;
    tab.wait_for(notice).await?;
    tab.set_offline(false).await?;
    tab.wait_for(&format!("!{notice}")).await
}

async fn signs_up(tab: &mut Tab) -> anyhow::Result<()> {
    tab.eval("window.addEventListener('joined', ({ detail }) => { window.joined = detail.plan; })").await?;
    tab.click("form > button").await?;
    tab.wait_for_text("[diff\\:error=name]", "The name field is required.").await?;
    tab.wait_for_text("[diff\\:error=email]", "The e-mail field is required.").await?;
    assert_eq!(tab.eval("document.querySelector('input').getAttribute('aria-invalid')").await?, "true");
    // One field at a time while it is filled in.
    tab.click("label:nth-of-type(3) input").await?;
    tab.type_text("17").await?;
    tab.click("label:nth-of-type(1) input").await?;
    tab.wait_for_text("[diff\\:error=age]", "You have to be 18 to join.").await?;
    tab.type_text("Ada").await?;
    tab.click("label:nth-of-type(2) input").await?;
    tab.type_text("ada@example.com").await?;
    tab.click("label:nth-of-type(3) input").await?;
    tab.backspace().await?;
    tab.type_text("8").await?;
    tab.eval("(() => { const s = document.querySelector('select'); s.value = 'large'; s.dispatchEvent(new Event('change', {bubbles: true})); })()").await?;
    tab.click("input[type=checkbox]").await?;
    tab.click("form > button").await?;
    tab.wait_for_text("p.good", "Welcome, Ada!").await?;
    tab.wait_for("window.joined === 'large'").await?;
    assert_eq!(tab.text("[diff\\:error=age]").await?, "");
    Ok(())
}

/// The numbers of the first and the last entry, and how many there are.
const SPAN: &str = "(() => { const n = [...document.querySelectorAll('.timeline li')].map((li) => Number(li.getAttribute('diff:key'))); \
    return [n[0], n.at(-1), n.length].join() })()";

async fn goes_both_ways(tab: &mut Tab) -> anyhow::Result<()> {
    let press = |text: &str| {
        format!("[...document.querySelectorAll('.timeline button')].find((b) => b.textContent === '{text}').click()")
    };
    assert_eq!(tab.eval(SPAN).await?, "500,519,20", "the page comes with its part of the list");
    tab.eval("WebSocket.prototype.send = new Proxy(WebSocket.prototype.send, { apply(to, self, [text]) { (window.sent ??= []).push(text); return Reflect.apply(to, self, [text]); } })").await?;
    for span in ["500,539,40", "500,559,60", "520,579,60"] {
        // A little up first, until the browser has seen that the end is out of view.
        tab.eval(
            "(async () => { const box = document.querySelector('.scroll'); box.scrollTop -= 400; \
             for (let frame = 0; frame < 2; frame++) await new Promise((done) => requestAnimationFrame(done)); \
             box.scrollTop = box.scrollHeight })()",
        )
        .await?;
        tab.wait_for(&format!("{SPAN} === '{span}'")).await?;
    }
    // What is looked at stays where it is when something comes before it.
    tab.eval("window.seen = document.querySelector('[diff\\\\:key=\"520\"]'); document.querySelector('.scroll').scrollTop = 0").await?;
    let place = "Math.round(seen.getBoundingClientRect().top)";
    let before = tab.eval(place).await?;
    tab.eval(&press("Earlier")).await?;
    tab.wait_for(&format!("{SPAN} === '500,559,60'")).await?;
    assert_eq!(tab.eval(place).await?, before);
    // One that is there is changed where it is, one is taken out.
    tab.eval("document.querySelector('[diff\\\\:key=\"501\"] [aria-label=star]').click()").await?;
    tab.wait_for("document.querySelector('.timeline li:nth-child(2).starred')").await?;
    tab.eval("document.querySelector('[diff\\\\:key=\"500\"] [aria-label=hide]').click()").await?;
    tab.wait_for(&format!("{SPAN} === '501,559,59'")).await?;
    assert!(
        tab.eval("Math.max(...sent.map((text) => text.length)) < 1500").await? == true,
        "the items are in no message"
    );
    // A value comes later, and the list works meanwhile.
    for hand_over in [false, true] {
        tab.eval("window.sent = []").await?;
        // A call that waits behind the first one is before the value, which then comes for an older state.
        let more = if hand_over { press("Later") } else { "null".to_owned() };
        tab.eval(&format!("{}; {more}", press("Count"))).await?;
        tab.wait_for_text(".timeline [role=status]", "Counting…").await?;
        tab.wait_for_text(".timeline [role=status]", "1000 deploys by 5 people").await?;
        assert_eq!(tab.eval("sent.some((text) => text.includes('$async'))").await?, hand_over);
    }
    Ok(())
}

async fn searches(tab: &mut Tab) -> anyhow::Result<()> {
    tab.click("input").await?;
    tab.type_text("out").await?;
    tab.wait_for("document.querySelectorAll('li').length === 1").await?;
    tab.wait_for("location.search === '?q=out'").await?;
    // What is waited for has to be on the new page.
    tab.eval("window.isOld = true; location.reload()").await?;
    tab.wait_for(&format!("!window.isOld && document.querySelector('input')?.value === 'out' && {OPEN}")).await?;
    assert_eq!(tab.text("li").await?, "outbox");
    tab.click("input").await?;
    tab.eval("document.querySelector('input').setSelectionRange(3, 3)").await?;
    for _ in 0..3 {
        tab.backspace().await?;
    }
    tab.wait_for("document.querySelectorAll('li').length === 6 && location.search === ''").await?;
    tab.eval("[...document.querySelectorAll('button')].find((b) => b.textContent === 'More').click()").await?;
    tab.wait_for("document.querySelectorAll('li').length === 12").await?;
    // Fast typing loses no character, whatever answers come in between.
    tab.click("input").await?;
    let long = "the quick brown fox jumps over the lazy dog and does not stop";
    tab.type_text(long).await?;
    assert_eq!(tab.eval("document.querySelector('input').value").await?, long);
    tab.wait_for_text("section p", "0 shown of 0").await?;
    tab.wait_for(&format!("new URLSearchParams(location.search).get('q') === '{long}'")).await?;
    assert_eq!(tab.eval("document.querySelector('input').value").await?, long);
    Ok(())
}

async fn asks_step_by_step(tab: &mut Tab) -> anyhow::Result<()> {
    tab.click("input").await?;
    tab.enter().await?;
    tab.wait_for_text("em", "The team field is required.").await?;
    tab.type_text("Ferris").await?;
    tab.enter().await?;
    tab.wait_for("document.querySelector('progress').value === 2").await?;
    tab.eval("[...document.querySelectorAll('button')].find((b) => b.textContent === 'Back').click()").await?;
    tab.wait_for("document.querySelector('input')?.value === 'Ferris'").await?;
    tab.click("form button").await?;
    tab.wait_for("document.querySelector('progress').value === 2").await?;
    tab.click("input").await?;
    tab.type_text("12").await?;
    tab.enter().await?;
    tab.wait_for_text("section > p", "Ferris, 12 seats.").await?;
    tab.eval("window.samePage = true").await?;
    tab.click("section > button").await?;
    tab.wait_for_text("article p", "That was all.").await?;
    assert_eq!(tab.eval("location.pathname").await?, "/done");
    assert_eq!(tab.eval("window.samePage").await?, true, "without a page load");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_works_in_a_browser() -> anyhow::Result<()> {
    let cluster = cluster()?;
    let application = Application::start(&cluster, &Script::Client, "/diffyne", "").await?;
    let browser = Browser::start()?;

    let mut tab = open(&browser, &application, "/").await?;
    goes_from_page_to_page(&mut tab).await?;
    let mut tab = open(&browser, &application, "/counter").await?;
    counts(&mut tab).await?;
    assert_eq!(tab.errors, Vec::<String>::new());
    let mut tab = open(&browser, &application, "/todo").await?;
    lists(&mut tab).await?;
    asks_before_it_removes(&mut tab).await?;
    assert_eq!(tab.errors, Vec::<String>::new());
    let mut tab = open(&browser, &application, "/signup").await?;
    signs_up(&mut tab).await?;
    assert_eq!(tab.errors, Vec::<String>::new());
    let mut tab = open(&browser, &application, "/search").await?;
    searches(&mut tab).await?;
    assert_eq!(tab.errors, Vec::<String>::new());
    let mut tab = open(&browser, &application, "/wizard").await?;
    asks_step_by_step(&mut tab).await?;
    assert_eq!(tab.errors, Vec::<String>::new());

    let mut tab = open(&browser, &application, "/timeline").await?;
    goes_both_ways(&mut tab).await?;
    assert_eq!(tab.errors, Vec::<String>::new());

    let mut tab = open(&browser, &application, "/dashboard").await?;
    tab.wait_for("Number(document.querySelector('.polls').textContent) >= 2").await?;
    tab.wait_for("document.querySelectorAll('rect').length >= 3").await?;
    let drawn = "document.querySelector('rect:last-of-type') instanceof SVGRectElement";
    assert_eq!(tab.eval(drawn).await?, true, "what a patch adds to a drawing is drawn");
    assert_eq!(tab.errors, Vec::<String>::new());

    let mut tab = open(&browser, &application, "/report").await?;
    tab.wait_for_text("h3", "Quarter 1").await?;
    tab.click("section > button").await?;
    tab.wait_for_text("h3", "Quarter 2").await?;
    assert_eq!((tab.errors, tab.network_errors), (Vec::new(), Vec::new()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_browsers_on_two_gateways_chat() -> anyhow::Result<()> {
    let cluster = cluster()?;
    let browsers = (Browser::start()?, Browser::start()?);
    let mut scripts = vec![Script::Client];
    scripts.extend(Script::companions());
    for script in scripts {
        // Each page is told a gateway of its own.
        let urls = (cluster.url(0), cluster.url(2));
        let first = Application::start(&cluster, &script, &format!("{}diffyne", urls.0), "").await?;
        let second = Application::start(&cluster, &script, &format!("{}diffyne", urls.1), "").await?;
        let mut ada = open(&browsers.0, &first, "/chat").await?;
        let mut bob = open(&browsers.1, &second, "/chat").await?;
        let before = ada.eval("document.querySelectorAll('.chat li:not(.quiet)').length").await?.as_u64().unwrap_or(0);
        for (index, text) in ["hello <b>Bob</b> & all", "are you there?"].into_iter().enumerate() {
            ada.click("[aria-label=Message]").await?;
            ada.type_text(text).await?;
            ada.enter().await?;
            for tab in [&mut ada, &mut bob] {
                let count = before + index as u64 + 1;
                tab.wait_for(&format!("document.querySelectorAll('.chat li:not(.quiet)').length === {count}")).await?;
                assert_eq!(tab.text(".chat li:last-child").await?, text);
            }
            ada.wait_for("document.querySelector('[aria-label=Message]').value === ''").await?;
        }
        // What Bob is typing stays while messages come in.
        bob.click("[aria-label=Message]").await?;
        bob.type_text("half a sen").await?;
        ada.click("[aria-label=Message]").await?;
        ada.type_text("a push").await?;
        ada.enter().await?;
        bob.wait_for_text(".chat li:last-child", "a push").await?;
        bob.type_text("tence").await?;
        assert_eq!(bob.eval("document.querySelector('[aria-label=Message]').value").await?, "half a sentence");
        bob.enter().await?;
        ada.wait_for_text(".chat li:last-child", "half a sentence").await?;
        assert_eq!((ada.errors, bob.errors), (Vec::new(), Vec::new()), "{script:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn components_may_come_later_and_a_patch_keeps_focus_and_selection() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1))?;
    let application = Application::start(&cluster, &Script::Client, "/diffyne", "").await?;
    let browser = Browser::start()?;
    let mut tab = open(&browser, &application, "/signup").await?;
    // Somebody else's script brings two more components, one of them lazy.
    let bring = "fetch('/todo+report').then((r) => r.text()).then((html) => { \
                 const page = new DOMParser().parseFromString(html, 'text/html'); \
                 document.querySelector('main').append(...page.querySelectorAll('article')) })";
    tab.eval(bring).await?;
    tab.click("[aria-label='New item']").await?;
    tab.type_text("a late one").await?;
    tab.enter().await?;
    tab.wait_for_text("ol li:nth-child(4) span", "a late one").await?;
    tab.wait_for_text("h3", "Quarter 1").await?;

    // A patch that comes while part of a field is selected.
    tab.click("label:nth-of-type(1) input").await?;
    tab.type_text("Grace").await?;
    tab.click("label:nth-of-type(2) input").await?;
    tab.type_text("not an address").await?;
    tab.eval("document.activeElement.setSelectionRange(4, 6)").await?;
    tab.eval("(() => { const s = document.querySelector('select'); s.value = 'small'; s.dispatchEvent(new Event('change', {bubbles: true})); })()").await?;
    tab.wait_for("document.querySelector('option[value=small]').hasAttribute('selected')").await?;
    let state = "JSON.stringify([document.activeElement.value, document.activeElement.selectionStart, document.activeElement.selectionEnd])";
    assert_eq!(tab.eval(state).await?, r#"["not an address",4,6]"#);
    assert_eq!(tab.errors, Vec::<String>::new());
    Ok(())
}
