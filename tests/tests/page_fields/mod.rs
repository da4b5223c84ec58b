//! Fields and patches in a real browser, through nginx: each kind of field on each type of a property, through all that
//! can happen to it, and all that patches can go wrong with. With our client, and with companion.js beside a script that
//! has the surface of diffyne.js (and beside the real one, when `DIFFYNE_JS` says where it is).

use diffyne_tests::application::{Application, Script};
use diffyne_tests::browser::{Browser, Tab};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::process::project;
use serde_json::json;

const OPEN: &str = "document.documentElement.dataset.diffyneConnection === 'open'";
/// What applying 3 000 patches to a table of 3 000 rows may take.
const PATCHES_MS_MAX: f64 = 300.0;

fn all_scripts() -> Vec<Script> {
    std::iter::once(Script::Client).chain(Script::companions()).collect()
}

async fn open(browser: &Browser, application: &Application, path: &str) -> anyhow::Result<Tab> {
    let mut tab = browser.open(&application.url(path)).await?;
    ready(&mut tab).await?;
    Ok(tab)
}

async fn ready(tab: &mut Tab) -> anyhow::Result<()> {
    tab.wait_for(&format!("{OPEN} && document.getElementById('dump')?.textContent")).await?;
    tab.eval(include_str!("table.js")).await?;
    Ok(())
}

/// Clicks, and waits until the answers to all calls are on the page: the count of calls tells.
async fn press(tab: &mut Tab, id: &str) -> anyhow::Result<()> {
    tab.eval("window.before = walk.state().calls").await?;
    tab.eval(&format!("document.getElementById('{id}').click()")).await?;
    tab.wait_for("walk.state().calls > before").await
}

async fn check(tab: &mut Tab, step: &str, look: &str) -> anyhow::Result<()> {
    // Updates that wait behind the call are answered a moment later.
    let waited = tab.wait_for(&format!("!walk.{look}.length")).await;
    let faults = tab.eval(&format!("walk.{look}")).await?;
    let seen = tab.eval("[document.documentElement.dataset.diffyneConnection, walk.state()]").await?;
    assert!(waited.is_ok(), "{step}: {faults}; {seen}; {:?} {:?}", tab.errors, tab.network_errors);
    Ok(())
}

/// The rows of the table, column by column.
async fn walks_the_table(browser: &Browser, application: &Application, tab: &mut Tab) -> anyhow::Result<()> {
    check(tab, "first paint", "wrong('first')").await?;

    tab.eval("walk.act()").await?;
    check(tab, "at work", "wrong('typed')").await?;
    press(tab, "save").await?;
    check(tab, "what was sent", "unlike('state')").await?;
    check(tab, "after the answer", "wrong('typed')").await?;

    press(tab, "fill").await?;
    check(tab, "an answer", "wrong('other')").await?;

    tab.eval("walk.act()").await?;
    press(tab, "save").await?;
    check(tab, "at work again", "unlike('state')").await?;
    let mut bob = open(browser, application, "/fields").await?;
    bob.eval("document.getElementById('tell').click()").await?;
    check(tab, "a push", "wrong('other')").await?;

    tab.eval("walk.fill()").await?;
    press(tab, "save").await?;
    check(tab, "filled in by the browser", "unlike('state')").await?;
    check(tab, "filled in, after the answer", "wrong('typed')").await?;

    tab.eval("document.getElementById('reset').click()").await?;
    tab.wait_for("document.getElementById('text').value === ''").await?;
    press(tab, "save").await?;
    check(tab, "reset", "unlike('reset')").await?;
    assert_eq!(tab.eval("document.getElementById('size-s').checked").await?, true, "nothing chosen: the state shows");
    // What was typed and never sent is gone, too.
    tab.eval("walk.act(); document.getElementById('reset').click()").await?;
    tab.wait_for("document.getElementById('text').value === ''").await?;
    press(tab, "save").await?;
    check(tab, "typed and reset", "unlike('reset')").await
}

/// What the browser restores is what is sent.
async fn comes_back(tab: &mut Tab) -> anyhow::Result<()> {
    tab.eval("walk.act()").await?;
    press(tab, "save").await?;
    tab.eval("document.getElementById('text').value = 'restored'; location.assign('/counter')").await?;
    tab.wait_for(&format!("{OPEN} && document.querySelector('output')")).await?;
    tab.travel(-1).await?;
    ready(tab).await?;
    tab.wait_for("document.getElementById('text').value === 'restored'").await?;
    press(tab, "save").await?;
    check(tab, "after Back", "unlike('state').filter((text) => !text.startsWith('text:'))").await?;
    check(tab, "after Back, shown", "wrong('typed').filter((text) => !text.startsWith('text:'))").await?;
    assert_eq!(tab.eval("walk.state().text").await?, "restored");
    Ok(())
}

/// Fields that patches make anew: what was typed, the focus and the selection stay.
async fn stays_through_new_fields(tab: &mut Tab) -> anyhow::Result<()> {
    tab.eval(
        "window.old = document.getElementById('text'); old.focus(); old.value = 'unsent'; old.setSelectionRange(1, 3)",
    )
    .await?;
    tab.eval("document.getElementById('new').click()").await?;
    tab.wait_for("!old.isConnected").await?;
    let kept = "(() => { const e = document.getElementById('text'); \
                return [e.value, document.activeElement === e, e.selectionStart, e.selectionEnd, walk.state().text]; })()";
    assert_eq!(tab.eval(kept).await?, json!(["unsent", true, 1, 3, "unsent"]));
    check(tab, "made anew", "wrong('typed').filter((text) => !text.startsWith('text:'))").await?;
    // A field that comes as one of another type: the state has what was typed.
    tab.eval("window.old = document.getElementById('kind'); old.focus(); old.value = '5'; old.setSelectionRange(0, 1)")
        .await?;
    let before = tab.eval("old.type").await?;
    tab.eval("document.getElementById('new').click()").await?;
    tab.wait_for("!old.isConnected").await?;
    let shown = "(() => { const e = document.getElementById('kind'); return [old.type, e.type, e.value, walk.state().kind]; })()";
    assert_eq!(before, "text");
    assert_eq!(tab.eval(shown).await?, json!(["text", "number", "5", "5"]));
    Ok(())
}

/// Keys, while the answers to the keys before come in.
async fn types(tab: &mut Tab) -> anyhow::Result<()> {
    for (field, parts, state) in [
        ("price", [("1.", json!(1.0)), ("05", json!(1.05))], json!(1.05)),
        ("live", [("ab ", json!("ab")), ("cd", json!("ab cd"))], json!("ab cd")),
    ] {
        tab.eval(&format!("document.getElementById('{field}').select()")).await?;
        for (part, answered) in parts {
            tab.type_text(part).await?;
            tab.wait_for(&format!("walk.state().{field} === {answered}")).await?;
        }
        let text = state.as_str().map_or_else(|| state.to_string(), str::to_owned);
        assert_eq!(tab.eval(&format!("document.getElementById('{field}').value")).await?, text, "{field}");
    }
    // Half a number: an answer in between does not take it away.
    tab.eval("document.getElementById('price').select()").await?;
    tab.type_text("-").await?;
    press(tab, "save").await?;
    tab.type_text("5").await?;
    tab.wait_for("walk.state().price === -5 && document.getElementById('price').value === '-5'").await?;
    // A call right behind a key: what it has emptied stays empty.
    tab.eval("document.getElementById('live').select()").await?;
    tab.type_text("hello").await?;
    press(tab, "empty").await?;
    press(tab, "save").await?;
    assert_eq!(tab.eval("[document.getElementById('live').value, walk.state().live]").await?, json!(["", ""]));
    Ok(())
}

/// Radio buttons, the second chosen while the update of the first is under way.
async fn does_not_jump_back(tab: &mut Tab) -> anyhow::Result<()> {
    tab.eval(
        "{ const [first, second] = ['size-m', 'size-l'].map((id) => document.getElementById(id)); first.click(); second.click(); window.jumps = 0;
           const look = setInterval(() => {
             if (!second.checked) window.jumps += 1;
             if (walk.state().size === 'l') { clearInterval(look); window.chosen = true; }
           }, 1); }",
    )
    .await?;
    tab.wait_for("window.chosen").await?;
    assert_eq!(tab.eval("window.jumps").await?, 0);
    Ok(())
}

/// What a browser shows in a file field is no value. Nobody takes the upload here.
async fn sends_no_name_of_a_file(tab: &mut Tab) -> anyhow::Result<()> {
    tab.choose_files("#file", &[&project().join("Cargo.toml")]).await?;
    tab.wait_for("document.getElementById('file').value.includes('Cargo.toml')").await?;
    press(tab, "save").await?;
    press(tab, "save").await?;
    assert_eq!(tab.eval("walk.state().file").await?, "");
    Ok(())
}

/// A component within a component: what is typed there belongs to it alone.
async fn keeps_components_apart(browser: &Browser, application: &Application) -> anyhow::Result<()> {
    let mut tab = open(browser, application, "/fields+fields").await?;
    tab.eval(
        "{ const [outer, inner] = document.querySelectorAll('[data-diffyne-component]'); outer.firstElementChild.append(inner);
           window.theirs = inner.querySelector('#text'); theirs.value = 'theirs';
           for (const type of ['input', 'change']) theirs.dispatchEvent(new Event(type, {bubbles: true}));
           const tag = inner.querySelector('#tag-a'); tag.click(); window.innerState = () => JSON.parse(inner.querySelector('#dump').textContent); }",
    )
    .await?;
    tab.wait_for("innerState().tags.length === 2").await?;
    // Neither what is wrong nor what is loading in the outer one shows in the inner one.
    tab.eval(
        "{ const inner = theirs.closest('[data-diffyne-component]').firstElementChild; window.touched = 0;
           inner.insertAdjacentHTML('beforeend', '<em diff:error=\"text\">wrong</em><i class=\"diffyne-error-message\">wrong</i><b diff:loading>b</b>');
           new MutationObserver((changes) => { window.touched += changes.length; })
             .observe(inner, {attributes: true, characterData: true, childList: true, subtree: true}); }",
    )
    .await?;
    press(&mut tab, "save").await?;
    press(&mut tab, "save").await?;
    let seen = "[walk.state().text, walk.state().tags, theirs.value, innerState().calls, touched]";
    assert_eq!(tab.eval(seen).await?, json!(["a", ["b"], "theirs", 0, 0]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_field_shows_is_what_is_sent() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1).gateway("--broadcast-events", "fields-told"))?;
    let browser = Browser::start()?;
    for script in all_scripts() {
        println!("{script:?}");
        let application = Application::start(&cluster, &script, "/diffyne", "").await?;
        let mut tab = open(&browser, &application, "/fields").await?;
        walks_the_table(&browser, &application, &mut tab).await?;
        comes_back(&mut tab).await?;
        stays_through_new_fields(&mut tab).await?;
        types(&mut tab).await?;
        does_not_jump_back(&mut tab).await?;
        assert_eq!(tab.errors, Vec::<String>::new(), "{script:?}");
        sends_no_name_of_a_file(&mut tab).await?;
        keeps_components_apart(&browser, &application).await?;
    }
    Ok(())
}

const READ: &str =
    "['#words', '#tight', '#tags', '#late'].map((s) => document.querySelector(s)?.innerText.trim() ?? null)";

async fn step_to(tab: &mut Tab, step: u32) -> anyhow::Result<()> {
    tab.eval("document.getElementById('next').click()").await?;
    tab.wait_for(&format!("document.querySelector('#clobber b').textContent === '{step}'")).await
}

async fn changes_the_page(tab: &mut Tab) -> anyhow::Result<()> {
    let first = json!(["Hello world", "ab", "c c a a", null]);
    assert_eq!(tab.eval(READ).await?, first, "first paint");
    tab.eval("window.kept = [...document.querySelectorAll('#tags li')]; window.limited = document.querySelector('#limited'); limited.value = '7'").await?;
    step_to(tab, 1).await?;
    assert_eq!(tab.eval(READ).await?, json!(["Hello world again", "abc", "a a b b c c", "Hello world"]));
    let moved = "kept.every((li) => li.isConnected) && kept[1] === document.querySelector('#tags li')";
    assert_eq!(tab.eval(moved).await?, true, "moved, not made anew");
    let namespaces = "[...document.querySelectorAll('svg, linearGradient, use, foreignObject i, math, mrow, mi, annotation-xml, annotation-xml p')]
        .map(({ localName, namespaceURI }) => `${localName} ${namespaceURI.split('/').pop()}`)";
    let expected = [
        "svg svg",
        "linearGradient svg",
        "use svg",
        "i xhtml",
        "math MathML",
        "mrow MathML",
        "mi MathML",
        "annotation-xml MathML",
        "p xhtml",
    ];
    assert_eq!(tab.eval(namespaces).await?, json!(expected));
    assert_eq!(tab.eval("document.querySelector('use').href.baseVal").await?, "#g");
    assert_eq!(tab.eval("document.querySelector('template').content.textContent").await?, "1");
    assert_eq!(tab.eval("limited.value").await?, "150", "its limit is set first");
    assert_eq!(tab.eval("document.querySelector('#clobber i').textContent").await?, "new");
    step_to(tab, 2).await?;
    assert_eq!(tab.eval(READ).await?, first, "back again");
    Ok(())
}

/// A patch that cannot be applied costs nothing else, and the component comes anew.
async fn recovers_from_a_broken_patch(tab: &mut Tab) -> anyhow::Result<()> {
    tab.eval(
        "window.addEventListener('went', () => { window.went = true; }); window.old = document.querySelector('#clobber'); old.replaceChildren(); \
         document.getElementById('next').click()",
    )
    .await?;
    tab.wait_for("!old.isConnected && document.querySelector('#clobber b')").await?;
    assert_eq!(tab.eval("window.went").await?, true, "the rest of the answer is taken");
    step_to(tab, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_do_what_the_server_has_rendered() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1))?;
    let browser = Browser::start()?;
    for script in all_scripts() {
        println!("{script:?}");
        let application = Application::start(&cluster, &script, "/diffyne", "").await?;
        let mut tab = browser.open(&application.url("/patched")).await?;
        tab.wait_for(OPEN).await?;
        changes_the_page(&mut tab).await?;
        assert_eq!(tab.errors, Vec::<String>::new(), "{script:?}");
        recovers_from_a_broken_patch(&mut tab).await?;
    }
    let application = Application::start(&cluster, &Script::Client, "/diffyne", "").await?;
    let mut tab = browser.open(&application.url("/counter")).await?;
    let ms = tab.eval(include_str!("many.js")).await?;
    println!("3 000 patches in 3 000 rows: {ms} ms");
    assert!(ms.as_object().unwrap().values().all(|ms| ms.as_f64().unwrap() < PATCHES_MS_MAX), "{ms}");
    Ok(())
}

/// What the rest of the view shows, and what the island shows.
const SHOWN: &str = "['rest', 'in'].map((id) => document.getElementById(id).textContent.trim())";

/// Clicks, and waits for what the rest and the island show then.
async fn steps(tab: &mut Tab, id: &str, shown: [&str; 2]) -> anyhow::Result<()> {
    tab.eval(&format!("document.getElementById('{id}').click()")).await?;
    let waited = tab.wait_for(&format!("String({SHOWN}) === '{}'", shown.join(","))).await;
    let seen = tab.eval(SHOWN).await?;
    assert!(waited.is_ok(), "{id}: {seen}, not {shown:?}; {:?} {:?}", tab.errors, tab.network_errors);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_island_is_rendered_alone_and_a_script_that_knows_none_gets_the_whole() -> anyhow::Result<()> {
    let cluster = Cluster::start(Shape::new(1, 1))?;
    let browser = Browser::start()?;
    for script in all_scripts() {
        let application = Application::start(&cluster, &script, "/diffyne", "").await?;
        let mut tab = browser.open(&application.url("/islands")).await?;
        tab.wait_for(OPEN).await?;
        if !matches!(script, Script::Client) {
            for (id, n) in [("step", "1"), ("alone", "2"), ("outside", "3"), ("named", "4"), ("all", "5")] {
                steps(&mut tab, id, [n, n]).await?;
            }
            assert_eq!(tab.errors, Vec::<String>::new());
            continue;
        }
        // Nothing of the rest is touched.
        tab.eval(
            "window.touched = []; new MutationObserver((changes) => touched.push(...changes.map(({ target }) => target))) \
             .observe(island.parentNode, { attributes: true, characterData: true, childList: true, subtree: true })",
        )
        .await?;
        steps(&mut tab, "step", ["0", "1"]).await?;
        steps(&mut tab, "named", ["0", "2"]).await?;
        steps(&mut tab, "alone", ["0", "3"]).await?;
        tab.click("#word").await?;
        tab.type_text("w").await?;
        tab.wait_for(&format!("String({SHOWN}) === '0,3 w'")).await?;
        let outside = "touched.filter((node) => node.isConnected && (!island.contains(node) || node === island)) \
                       .map((node) => node.outerHTML ?? node.data)";
        assert_eq!(tab.eval(outside).await?, json!([]));
        assert_eq!(tab.eval("document.querySelectorAll('#island li').length").await?, 3);
        assert_eq!(tab.eval("document.activeElement.id").await?, "word");
        // The whole view catches up, from wherever it is rendered.
        steps(&mut tab, "outside", ["4 w", "4 w"]).await?;
        assert_eq!(tab.eval("island.className").await?, "n4");
        steps(&mut tab, "step", ["4 w", "5 w"]).await?;
        steps(&mut tab, "all", ["6 w", "6 w"]).await?;
        steps(&mut tab, "step", ["6 w", "7 w"]).await?;
        steps(&mut tab, "up", ["8 w", "8 w"]).await?;
        // A page that is cloned in between knows what it shows.
        steps(&mut tab, "step", ["8 w", "9 w"]).await?;
        tab.eval("document.body.replaceWith(document.body.cloneNode(true))").await?;
        steps(&mut tab, "outside", ["10 w", "10 w"]).await?;
        // What a field says shows elsewhere with the next answer, whatever that is about.
        tab.click("#draft").await?;
        tab.type_text("note").await?;
        steps(&mut tab, "step", ["10 w", "11 w"]).await?;
        assert_eq!(tab.text("#preview").await?, "");
        steps(&mut tab, "outside", ["12 w", "12 w"]).await?;
        assert_eq!(tab.text("#preview").await?, "note");
        assert_eq!(tab.eval("document.getElementById('draft').value").await?, "note");
        assert_eq!((tab.errors, tab.network_errors), (Vec::new(), Vec::new()));
    }
    Ok(())
}
